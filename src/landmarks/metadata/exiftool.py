"""ExifTool (https://exiftool.org) as a helper process that never sees the user's files, only copies.

One process serves many photos (`-stay_open`): starting Perl for each would take 0.2 s. Arguments are passed line
by line on its standard input, without a shell; the copies have plain names, so the user's file names are not
passed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from landmarks.errors import InputError, MetadataError
from landmarks.files.atomic import storage_errors
from landmarks.files.closing import Closing
from landmarks.files.temporary import TemporaryFolder
from landmarks.metadata import gps
from landmarks.metadata.entries import SINGLES, Entries, Location

COMMAND = "exiftool"
_MISSING = (
    "writing into photos needs ExifTool: install it (Debian: libimage-exiftool-perl; others: exiftool.org) "
    "or use sidecars"
)
_SECONDS = 60  # timeout per photo
_LISTS = {
    "keywords": "XMP-dc:Subject",
    "hierarchy": "XMP-lr:HierarchicalSubject",
    "tag_paths": "XMP-digiKam:TagsList",
    "sublocation": "XMP-iptcCore:Location",
    "city": "XMP-photoshop:City",
    "region": "XMP-photoshop:State",
    "country": "XMP-photoshop:Country",
    "country_code": "XMP-iptcCore:CountryCode",
    "iptc_keywords": "IPTC:Keywords",
}
_READ = [
    *("-j", "-struct", "-n", "-G1", *(f"-{tag}" for tag in _LISTS.values()), "-XMP-iptcExt:LocationShown"),
    *("-GPS:GPSLatitude", "-GPS:GPSLongitude", "-GPS:GPSProcessingMethod", "-XMP-exif:GPSLatitude"),
    "-IPTC:CodedCharacterSet",
]
_GPS_TAGS = ("GPSLatitude", "GPSLatitudeRef", "GPSLongitude", "GPSLongitudeRef", "GPSProcessingMethod")


def require_exiftool() -> None:
    """Raise an `InputError` if ExifTool is missing, before any work is done."""
    if shutil.which(COMMAND) is None:
        raise InputError(_MISSING)


class ExifTool(Closing):
    """The helper process, started on first use; a context manager. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryFolder | None = None

    def close(self) -> None:
        """End the process; the next use starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it has no state to lose
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):  # unread input is discarded
                        stream.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def read(self, photo: Path, content: bytes) -> tuple[Entries, bool]:
        """Read what is embedded in a photo.

        Args:
            photo: Path of the photo, for messages.
            content: The photo's bytes.

        Returns:
            The entries, and whether the photo has a camera position. A position that we wrote is an entry.

        Raises:
            MetadataError: ExifTool is missing or cannot read the photo.
        """
        if not content:
            raise MetadataError(photo, "ExifTool cannot read it (the file is empty)")
        copy = self._copy(content)
        output, errors = self._run(photo, [*_READ, str(copy)])
        try:
            # Numbers stay text: a keyword 2015 is not a number.
            values = json.loads(output, parse_int=str, parse_float=str)[0]
        except (ValueError, LookupError) as error:
            raise MetadataError(photo, f"ExifTool cannot read it ({_reason(errors)})") from error
        lists: dict[str, Any] = {name: _strings(values.get(tag)) for name, tag in _LISTS.items()}
        if "IPTC:CodedCharacterSet" not in values:  # then ExifTool reads Latin, but many programs wrote UTF-8
            lists["iptc_keywords"] = tuple(
                word.encode("cp1252").decode() if _is_text(word, "cp1252", "utf-8") else word
                for word in lists["iptc_keywords"]
            )
        shown = values.get("XMP-iptcExt:LocationShown") or []
        lists["locations"] = tuple(_location(item) for item in shown if isinstance(item, dict))
        taken = "GPS:GPSLatitude" in values or "XMP-exif:GPSLatitude" in values
        position = _position(values.get("GPS:GPSLatitude"), values.get("GPS:GPSLongitude"))
        if position is not None and gps.is_ours(str(values.get("GPS:GPSProcessingMethod", "")), position):
            taken = "XMP-exif:GPSLatitude" in values
        else:
            position = None
        return Entries(**lists, position=position), taken

    def edit(self, photo: Path, content: bytes, *, remove: Entries, add: Entries) -> bytes:
        """Return the photo with entries removed and added; the compressed image data is unchanged.

        Args:
            photo: Path of the photo, for messages.
            content: The photo's bytes.
            remove: Entries to remove.
            add: Entries to append to their lists.

        Raises:
            MetadataError: ExifTool is missing, or cannot write this photo.
        """
        copy = self._copy(content)
        arguments = ["-n", "-overwrite_original"]
        for sign, entries in (("-", remove), ("+", add)):
            for name, tag in _LISTS.items():
                how = "" if sign == "+" and name in SINGLES else sign
                arguments += [f"-{tag}{how}={value}" for value in getattr(entries, name)]
            arguments += [f"-XMP-iptcExt:LocationShown{sign}={_struct(place)}" for place in entries.locations]
        arguments += _position_arguments(remove, add)
        if add.iptc_keywords:
            arguments += self._iptc_arguments(photo, copy, "".join(add.iptc_keywords))
        output, errors = self._run(photo, [*arguments, str(copy)])
        if b"1 image files updated" not in output:
            raise MetadataError(photo, f"ExifTool cannot write it ({_reason(errors)}): use a sidecar")
        return copy.read_bytes()

    def _iptc_arguments(self, photo: Path, copy: Path, keywords: str) -> list[str]:
        """Return what declares UTF-8, the only character set of IPTC for all languages, in a new IPTC record.

        A record of the user's without it is converted as a whole where it cannot hold the keywords otherwise.
        """
        output, _ = self._run(photo, ["-j", "-charset", "iptc=Latin", "-IPTC:all", str(copy)])
        values = json.loads(output or b"[{}]")[0]
        values.pop("SourceFile", None)
        if not values:
            return ["-IPTC:CodedCharacterSet=UTF8"]
        text = json.dumps(values, ensure_ascii=False)
        theirs = "UTF8" if _is_text(text, "cp1252", "utf-8") else "Latin"  # many programs do not declare it
        kept = theirs == "Latin" and not text.isascii() and _is_text(keywords, "latin-1", "latin-1")
        if keywords.isascii() or kept or values.get("CodedCharacterSet") == "UTF8":
            return []
        # -m: a text of the user's that is too long in UTF-8 is not cut off.
        how = ["-n", "-m", "-overwrite_original", "-charset", f"iptc={theirs}"]
        output, errors = self._run(
            photo, [*how, "-tagsFromFile", "@", "-IPTC:all", "-IPTC:CodedCharacterSet=UTF8", str(copy)]
        )
        if b"1 image files updated" not in output:
            raise MetadataError(photo, f"ExifTool cannot convert its IPTC ({_reason(errors)}): leave out IPTC")
        return []

    def _copy(self, content: bytes) -> Path:
        if self._folder is None:
            self._folder = TemporaryFolder("landmarks-exiftool-")
        copy = self._folder.path / "photo"
        with storage_errors(copy):
            copy.write_bytes(content)
        return copy

    def _run(self, photo: Path, arguments: Sequence[str]) -> tuple[bytes, str]:
        process = self._started(photo)
        # A line break would start a new argument.
        lines = [" ".join(argument.splitlines()) for argument in arguments]
        command = "\n".join([*lines, "-echo4", "{ready}", "-execute", ""])
        timer = threading.Timer(_SECONDS, process.kill)
        timer.start()
        try:
            if process.stdin is None or process.stdout is None or process.stderr is None:
                raise MetadataError(photo, "ExifTool's pipes are closed")
            process.stdin.write(command.encode("utf-8", "replace"))
            process.stdin.flush()
            return _until_ready(process.stdout), _until_ready(process.stderr).decode("utf-8", "replace")
        except OSError as error:  # includes the end of its output: it was killed or crashed on this photo
            self.close()
            raise MetadataError(photo, "ExifTool broke down on it: use a sidecar") from error
        finally:
            timer.cancel()

    def _started(self, photo: Path) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = shutil.which(COMMAND)
            if command is None:
                raise MetadataError(photo, _MISSING)
            # An empty -config prevents a configuration file, which is code, from running.
            self._process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                [command, "-config", "", "-stay_open", "True", "-@", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # lest Ctrl-C end it before the photo in flight is written
            )
        return self._process


def _until_ready(stream: IO[bytes]) -> bytes:
    lines = []
    while (line := stream.readline()).strip() != b"{ready}":
        if not line:
            raise BrokenPipeError
        lines.append(line)
    return b"".join(lines)


def _reason(errors: str) -> str:
    lines = [line.partition(" - ")[0].removeprefix("Error: ") for line in errors.splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"


def _is_text(text: str, written: str, read: str) -> bool:
    """Return whether a text fits a character set, and its bytes another one."""
    try:
        text.encode(written).decode(read)
    except UnicodeError:
        return False
    return True


def _strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def _location(values: dict[str, Any]) -> Location:
    identifiers = _strings(values.get("LocationId"))
    latitude, longitude = _position(values.get("GPSLatitude"), values.get("GPSLongitude")) or (None, None)
    return Location(
        name=str(values.get("LocationName", "")),
        city=str(values.get("City", "")),
        country=str(values.get("CountryName", "")),
        country_code=str(values.get("CountryCode", "")),
        latitude=latitude,
        longitude=longitude,
        identifier=identifiers[0] if identifiers else "",
    )


def _position(latitude: object, longitude: object) -> tuple[float, float] | None:
    """Return what ExifTool says as a position; None if it is none, such as the 0/0 of a camera without a fix."""
    try:
        position = float(str(latitude)), float(str(longitude))
    except ValueError:
        return None
    return position if gps.in_range(*position) else None


def _struct(place: Location) -> str:
    """Return a place in ExifTool's structure syntax."""
    values: dict[str, str] = {
        "LocationName": place.name,
        "City": place.city,
        "CountryName": place.country,
        "CountryCode": place.country_code,
        "LocationId": place.identifier,
    }
    if place.latitude is not None and place.longitude is not None:
        values |= {"GPSLatitude": f"{place.latitude:.7f}", "GPSLongitude": f"{place.longitude:.7f}"}
    return "{" + ",".join(f"{key}={_quoted(value)}" for key, value in values.items() if value) + "}"


def _quoted(value: str) -> str:
    return "".join(f"|{character}" if character in "|,{}[]" else character for character in value)


def _position_arguments(remove: Entries, add: Entries) -> list[str]:
    if add.position is not None:
        latitude, longitude = add.position
        values = (
            f"{abs(latitude):.7f}",
            "S" if latitude < 0 else "N",
            f"{abs(longitude):.7f}",
            "W" if longitude < 0 else "E",
            gps.our_method(add.position),
        )
        return [f"-GPS:{tag}={value}" for tag, value in zip(_GPS_TAGS, values, strict=True)]
    if remove.position is not None:
        return [f"-GPS:{tag}=" for tag in _GPS_TAGS]
    return []
