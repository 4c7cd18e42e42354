"""What a camera recorded with a photo."""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import ExifTags, Image, PngImagePlugin
from tiny_model import camera_exif, save_colour

from landmarks.metadata.reading import Facts, read_facts


@pytest.mark.parametrize(
    ("maker", "model", "said"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("SONY\0\0", " ", "SONY"),
        ("", "", ""),
    ],
)
def test_the_name_of_a_camera(tmp_path: Path, maker: str, model: str, said: str) -> None:
    exif = camera_exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = maker, model
    assert read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=exif)).camera == said


def test_all_of_a_photo_at_once(tmp_path: Path) -> None:
    exif = camera_exif((51.0, -2.0), "2024:05:01 10:00:00")
    exif[ExifTags.Base.Orientation] = 6
    facts = read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), (64, 48), exif))
    assert facts == Facts(datetime(2024, 5, 1, 10), (51.0, -2.0), "drawn", size=(48, 64))


@pytest.mark.parametrize(
    ("original", "zone", "hours"),
    [
        ("2024:05:01 10:00:00", "+02:00", 2),
        ("2024:05:01 10:00:00", "   :  ", None),
        ("2024:05:01 10:00:00", "+2:00", None),
        ("2024:05:01 10:00:00", "GMT+2", None),
        ("2024:05:01 10:00:00", "+99:00", None),
        ("    :  :     :  :  ", "   :  ", None),
        ("0000:00:00 00:00:00", "", None),
        ("yesterday", "", None),
    ],
)
def test_a_time_is_read_past_what_is_unknown(tmp_path: Path, original: str, zone: str, hours: int | None) -> None:
    exif = camera_exif(None, original, zone)
    exif[ExifTags.Base.DateTime] = "2024:05:01 10:00:00"
    zoned = None if hours is None else timezone(timedelta(hours=hours))
    facts = read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=exif))
    assert facts.taken == datetime(2024, 5, 1, 10, tzinfo=zoned)


EXIF, PHOTOSHOP, XMP = (
    f'xmlns:{prefix}="http://ns.adobe.com/{address}" {prefix}'
    for prefix, address in [("exif", "exif/1.0/"), ("photoshop", "photoshop/1.0/"), ("xmp", "xap/1.0/")]
)


def packet(said: str) -> bytes:
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    text = f'<rdf:RDF xmlns:rdf="{rdf}"><rdf:Description {said}/></rdf:RDF>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{text}</x:xmpmeta>'.encode()


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (f'{EXIF}:DateTimeOriginal="2024-05-01T10:00:00.12+02:00"', datetime(2024, 5, 1, 8, tzinfo=UTC)),
        (f'{EXIF}:DateTimeOriginal="2024:05:01 10:00:00.000"', datetime(2024, 5, 1, 10)),  # darktable
        (f'{PHOTOSHOP}:DateCreated="2024-05-01T10:00Z"', datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (f'{XMP}:CreateDate="2024-05-01T10:00:00"', datetime(2024, 5, 1, 10)),
        (f'{PHOTOSHOP}:DateCreated="2024-05-01"', None),
    ],
)
def test_a_time_in_xmp(tmp_path: Path, said: str, taken: datetime | None) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", xmp=packet(said))
    assert read_facts(tmp_path / "a.webp").taken == taken
    (tmp_path / "b.xmp").write_bytes(packet(said))
    save_colour(tmp_path / "b.png", (1, 2, 3))
    assert read_facts(tmp_path / "b.png").taken == taken


def test_a_time_that_was_corrected_in_a_sidecar_comes_first(tmp_path: Path) -> None:
    save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=camera_exif(None, "2024:05:01 10:00:00", "+02:00"))
    (tmp_path / "a.xmp").write_bytes(packet(f'{EXIF}:DateTimeOriginal="2024-05-01T11:00:00"'))
    assert read_facts(tmp_path / "a.jpg").taken == datetime(2024, 5, 1, 9, tzinfo=UTC)


def test_metadata_of_a_large_file_are_read(tmp_path: Path) -> None:
    """Tagging takes files of 458 MiB; what cameras and people wrote into them counts too."""
    photo = save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=camera_exif((51.0, -2.0), "2024:05:01 10:00:00"))
    with photo.open("ab") as file:
        file.truncate(300 * 2**20)
    assert read_facts(photo).position == (51.0, -2.0)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("kind", ["eXIf", "iTXt", "zTXt", "tEXt"])
def test_metadata_of_a_png_are_read_without_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, cut: bool
) -> None:
    """Some programs store them behind the pixels, for which Pillow would decode all of these, however many."""

    def load(_image: object) -> None:
        raise AssertionError("the pixels were decoded")

    exif = camera_exif(None, "2024:05:01 10:00:00").tobytes()
    profile = f"\nexif\n{len(exif)}\n{exif.hex()}\n".encode()
    content = {
        "eXIf": exif.removeprefix(b"Exif\0\0"),
        "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + packet(f'{PHOTOSHOP}:DateCreated="2024-05-01T10:00:00"'),
        "zTXt": b"Raw profile type exif\0\0" + zlib.compress(profile),
        "tEXt": b"Software\0none",
    }[kind]
    body = kind.encode() + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    photo = save_colour(tmp_path / "a.png", (1, 2, 3))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    whole, end = photo.read_bytes()[:-12], photo.read_bytes()[-12:]
    photo.write_bytes(whole + chunk + (b"" if cut else end))
    taken = None if kind == "tEXt" else datetime(2024, 5, 1, 10)
    assert read_facts(photo) == Facts(taken, None, "drawn" if kind in {"eXIf", "zTXt"} else "", size=(64, 48))


def test_of_what_is_no_photo_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert read_facts(tmp_path / "a.jpg") == read_facts(tmp_path / "none.jpg") == Facts()
