"""Pictures and sidecars of other projects, as they come: LANDMARKS_CORPUS names a folder with checkouts of, for
example, python-pillow/Pillow, Exiv2/exiv2, exiftool/exiftool and ianare/exif-samples. None is part of this one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from landmarks.errors import ImageError, MetadataError
from landmarks.geo.gazetteer import Place
from landmarks.imaging.decoding import load_rgb, photo_header
from landmarks.imaging.formats import PHOTO_SUFFIXES
from landmarks.metadata.edit import plan
from landmarks.metadata.entries import Entries
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.packet import PacketError
from landmarks.metadata.reading import embedded_position
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.keywords import entries_for
from landmarks.tagging.tags import Tag

CORPUS = os.environ.get("LANDMARKS_CORPUS")
TOOLS = shutil.which("exiv2") and shutil.which("exiftool")
pytestmark = [
    pytest.mark.skipif(CORPUS is None, reason="LANDMARKS_CORPUS names no folder of other projects' test pictures"),
    pytest.mark.skipif(not TOOLS, reason="exiv2 and ExifTool, which judge here, are not both installed"),
    pytest.mark.timeout(3000),
]
PICTURES = set(PHOTO_SUFFIXES)
RAW = {".cr2", ".cr3", ".nef", ".dng", ".rw2", ".mrw"}
PLACE = Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243")
WANTED = entries_for([Tag("Eiffel Tower", "landmark", 0.97, PLACE, "eiffel_tower")], gps=True)


def files(suffixes: set[str]) -> list[Path]:
    return sorted(
        path for path in Path(CORPUS or "").rglob("*") if path.suffix.lower() in suffixes and path.is_file()
    )


def exiftool(paths: list[Path]) -> Iterator[tuple[Path, dict[str, object]]]:
    """Give what ExifTool says of orientation, position and profile, many files at once."""
    fields = (
        "-IFD0:Orientation",
        "-GPS:GPSLatitude",
        "-GPS:GPSLongitude",
        "-GPS:GPSLatitudeRef",
        "-GPS:GPSLongitudeRef",
    )
    for start in range(0, len(paths), 200):
        command = ["exiftool", "-j", "-n", "-q", "-q", *fields, *paths[start : start + 200]]
        said = subprocess.run(command, capture_output=True, check=False).stdout
        yield from ((Path(row["SourceFile"]), row) for row in (json.loads(said) if said.strip() else []))


def exiv2(path: Path) -> tuple[set[str], str]:
    done = subprocess.run(["exiv2", "-PXkt", "pr", path], capture_output=True, check=False)
    keys = {line.split()[0] for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()}
    return keys, done.stderr.decode("utf-8", "replace")


def test_pictures_are_read_or_refused_in_one_sentence() -> None:
    counts: Counter[str] = Counter()
    for path in files(PICTURES):
        try:
            load_rgb(path)
            counts["read"] += 1
        except ImageError as error:
            said = str(error).replace(str(path), "")
            counts[type(error).__name__ if "\n" not in said else "not one sentence"] += 1
    print(f"\npictures: {dict(counts)}")
    assert counts["read"]
    assert not counts["not one sentence"]


def test_orientation_and_position_are_what_exiftool_says() -> None:
    counts: Counter[str] = Counter()
    differing = []
    for path, said in exiftool(files({".jpg", ".jpeg"} | RAW)):
        with photo_header(path) as image:
            if image is None:
                continue
            try:
                turned = int(image.getexif().get(0x0112, 1))
            except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
                turned = 1
        counts["orientation"] += 1
        if "Orientation" in said and str(said["Orientation"]).isdigit() and said["Orientation"] != turned:
            differing.append((path.name, said["Orientation"], turned))
        latitude, longitude = said.get("GPSLatitude"), said.get("GPSLongitude")
        if (
            not isinstance(latitude, int | float)
            or not isinstance(longitude, int | float)
            or not (latitude or longitude)
        ):
            continue
        signed = (
            -latitude if str(said.get("GPSLatitudeRef", "")).upper().startswith("S") else latitude,
            -longitude if str(said.get("GPSLongitudeRef", "")).upper().startswith("W") else longitude,
        )
        counts["position"] += 1
        found = embedded_position(path)
        sensible = abs(latitude) <= 90 and abs(longitude) <= 180
        if sensible and (found is None or found != pytest.approx(signed, abs=1e-4)):
            differing.append((path.name, signed, found))
    print(f"\ncompared: {dict(counts)}, differing: {differing}")
    assert len(differing) <= counts["orientation"] // 100


def test_sidecars_keep_what_they_say_and_exiv2_still_reads_them(tmp_path: Path) -> None:
    """Every packet of the corpus as a sidecar: ours comes in and goes out again."""
    counts: Counter[str] = Counter()
    photo, sidecar = tmp_path / "photo.jpg", tmp_path / "photo.xmp"
    photo.touch()
    for number, raw in enumerate(_packets()):
        sidecar.write_bytes(raw)
        keys, errors = exiv2(sidecar)
        try:
            before = XmpPacket(raw).entries()
            with ExifTool() as tool:
                made = plan(photo, WANTED, Entries(), options=WriteOptions(gps=True), tool=tool)
        except (MetadataError, PacketError):
            counts["refused"] += 1
            assert errors or not keys, f"exiv2 reads packet {number}, and we do not"
            continue
        sidecar.write_bytes(made.after)
        after, worse = exiv2(sidecar)
        counts[
            "written" if keys and not errors else "written, though exiv2 reads it neither before nor after"
        ] += 1
        if keys and not errors:
            assert not worse, f"packet {number}: {worse}"
            assert keys <= after
        with ExifTool() as tool:
            gone = plan(photo, Entries(), made.ours, options=WriteOptions(), tool=tool)
        assert XmpPacket(gone.after).entries().keywords == before.keywords
    print(f"\npackets: {dict(counts)}")
    assert counts["written"]


def _packets() -> Iterator[bytes]:
    for path in files({".xmp"}):
        raw = path.read_bytes()
        if raw.startswith(b"\xff\x01Exiv2"):
            continue  # Exiv2's own container under the name of a sidecar
        if b"adobe:ns:meta" in raw.replace(b"\0", b"") or b"22-rdf-syntax-ns" in raw.replace(b"\0", b""):
            yield raw
    for path in files(PICTURES):
        with photo_header(path) as image:
            raw = image.info.get("xmp") if image is not None else None
        if isinstance(raw, bytes) and raw.strip(b"\0"):
            yield raw.rstrip(b"\0")
