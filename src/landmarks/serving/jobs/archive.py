"""Finds the images of a job: files as they are, and those in ZIP archives, which are unpacked one at a time."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from landmarks.files.walker import count_skipped
from landmarks.imaging.photos import photo_rules
from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.settings import JobLimits

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second one is empty
_END = b"PK\x05\x06"
_END_SIZE = 22
_END_64 = b"PK\x06\x07"  # of archives with more than 65,535 entries, or above 4 GiB
_ENTRY_BYTES = 1024  # of the directory of an archive, on average
_ENCRYPTED = 0x1
_MAX_NAME = 255  # maximum characters of a name to return
_RULES = photo_rules()

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Packed:
    """An image that is unpacked when it is needed.

    Attributes:
        file: Its name, or None.
        size: Bytes that it has at most.
        content: Returns its content; raises `RequestError` if the archive is damaged.
    """

    file: str | None
    size: int
    content: Callable[[], bytes]


def images_of(
    uploads: Iterable[Upload], limits: JobLimits, max_file_bytes: int
) -> tuple[list[Packed], Mapping[str, int]]:
    """Return the images, with archives replaced by their photos, and the number of files left out by reason.

    Args:
        uploads: The files of a request.
        limits: Limits of jobs.
        max_file_bytes: Largest image. Of a larger one in an archive, one byte more is returned, so that it is
            refused like any other that is too large.

    Raises:
        RequestError: An archive is damaged, or there are too many images or bytes in all.
    """
    images: list[Packed] = []
    skipped: Counter[str] = Counter()
    size = 0
    for image in _each(uploads, limits, max_file_bytes, skipped):
        images.append(image)
        size += image.size
        if len(images) > limits.job_files:
            raise RequestError(
                "too_large", f"a job takes up to {limits.job_files} images: send the rest as another"
            )
        if size > limits.job_mb * 2**20:
            raise RequestError("too_large", f"the images of the jobs have more than {limits.job_mb:g} MiB")
    if not images:
        others = f" (left out: {count_skipped(skipped)})" if skipped else ""
        raise RequestError(
            "bad_request", f"there is no image in the request{others}: send files, or a ZIP archive of them"
        )
    return images, skipped


def _each(
    uploads: Iterable[Upload], limits: JobLimits, max_file_bytes: int, skipped: Counter[str]
) -> Iterator[Packed]:
    for upload in uploads:
        content = upload.content
        if content.startswith(_ZIP):
            _check_directory(content, limits.job_files)
            yield from _entries(content, max_file_bytes, skipped)
        else:
            yield Packed(upload.file, len(content), lambda content=content: content)  # type: ignore[misc]


def _check_directory(content: bytes, most: int) -> None:
    """Refuse an archive with a huge directory, which takes much more memory once it is read."""
    end = content.rfind(_END, -_END_SIZE - 0xFFFF)
    if end < 0 or len(content) < end + _END_SIZE:
        raise RequestError("bad_request", "the archive cannot be read: it is cut off")
    (size,) = struct.unpack_from("<I", content, end + 12)
    if size > most * _ENTRY_BYTES or content[max(0, end - 20) :].startswith(_END_64):
        raise RequestError("too_large", f"the archive has too many entries: a job takes up to {most} images")


def _entries(content: bytes, max_file_bytes: int, skipped: Counter[str]) -> Iterator[Packed]:
    """List the photos of an archive by the rules for a folder."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _UNREADABLE as error:
        raise RequestError("bad_request", "the archive cannot be read: it is damaged: pack it again") from error
    for entry in archive.infolist():
        path = entry.filename.replace("\\", "/")  # some programs on Windows write these
        parts = PurePosixPath(path).parts
        if path.endswith("/") or not parts:
            continue  # a folder
        if ".." in parts:
            raise RequestError(
                "bad_request", f"{entry.filename[:_MAX_NAME]!r} leads out of the archive: pack it again without .."
            )
        if reason := _RULES.skips_path(path):
            skipped[reason] += 1
            continue
        most = max_file_bytes + 1  # whatever size the archive declares, no more is unpacked
        yield Packed(
            entry.filename[:_MAX_NAME], min(entry.file_size, most), partial(_unpack, archive, entry, most)
        )


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return the first bytes of an entry; no more than it declares can come."""
    name = f"{entry.filename[:_MAX_NAME]} in the archive"
    if entry.flag_bits & _ENCRYPTED:
        raise RequestError("bad_request", f"{name} is encrypted: pack it again without a password")
    try:
        with archive.open(entry) as file:
            return file.read(most)
    except NotImplementedError as error:
        message = f"{name} is compressed in an unknown way: pack it again as an ordinary ZIP"
        raise RequestError("bad_request", message) from error
    except _UNREADABLE as error:
        raise RequestError("bad_request", f"{name} is damaged: pack it again") from error
