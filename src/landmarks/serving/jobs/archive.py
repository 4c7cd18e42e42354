"""Finds the images of a job: files as they are, and those in ZIP archives, which are unpacked one at a time."""

from __future__ import annotations

import io
import lzma
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
_ENTRY = b"PK\x01\x02"  # begins each entry of the directory of an archive
_ENTRIES = 20  # entries of an archive for each image that a job may have: folders, sidecars and the like
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
        content: Returns its content; raises `RequestError` if it is encrypted or damaged in its archive.
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
            raise RequestError(
                "too_large", f"the images have more than the {limits.job_mb:g} MiB of all jobs: send fewer"
            )
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
            # Before it is read: that takes much more memory.
            if content.count(_ENTRY) > _ENTRIES * limits.job_files:
                raise RequestError(
                    "too_large",
                    f"the archive has too many entries: a job takes up to {limits.job_files} images",
                )
            yield from _entries(content, max_file_bytes, skipped)
        else:
            yield Packed(upload.file, len(content), lambda content=content: content)  # type: ignore[misc]


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
