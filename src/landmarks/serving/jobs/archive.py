"""Unpacks the images of a job: files as they are, and those in ZIP archives."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator

from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.settings import JobLimits

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second one is empty
_END = b"PK\x05\x06"
_END_SIZE = 22
_END_64 = b"PK\x06\x07"  # of archives with more than 65,535 entries, or above 4 GiB
_ENTRY_BYTES = 1024  # of the directory of an archive, on average
_HIDDEN = ("__MACOSX/", ".")

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,  # an encrypted entry; its subclass NotImplementedError, a rare compression
)


def unpack(uploads: Iterable[Upload], limits: JobLimits, max_file_bytes: int) -> list[tuple[str | None, bytes]]:
    """Return name and content of each image, with ZIP archives replaced by what is in them.

    Args:
        uploads: The files of a request.
        limits: Limits of jobs.
        max_file_bytes: Largest image. Of a larger one in an archive, one byte more is returned, so that it is
            refused like any other that is too large.

    Raises:
        RequestError: An archive is damaged, or there are too many images or bytes in all.
    """
    images: list[tuple[str | None, bytes]] = []
    size = 0
    for name, content in _each(uploads, limits, max_file_bytes):
        images.append((name, content))
        size += len(content)
        if len(images) > limits.job_files:
            raise RequestError(
                "too_large", f"a job takes up to {limits.job_files} images: send the rest as another"
            )
        if size > limits.job_mb * 2**20:
            raise RequestError("too_large", f"the images of the jobs have more than {limits.job_mb:g} MiB")
    if not images:
        raise RequestError("bad_request", "there is no image in the request: send files, or a ZIP archive of them")
    return images


def _each(uploads: Iterable[Upload], limits: JobLimits, max_file_bytes: int) -> Iterator[tuple[str | None, bytes]]:
    for upload in uploads:
        if upload.content.startswith(_ZIP):
            _check_directory(upload.content, limits.job_files)
            yield from _entries(upload.content, max_file_bytes)
        else:
            yield upload.file, upload.content


def _check_directory(content: bytes, most: int) -> None:
    """Refuse an archive with a huge directory, which takes much more memory once it is read."""
    end = content.rfind(_END, -_END_SIZE - 0xFFFF)
    if end < 0 or len(content) < end + _END_SIZE:
        raise RequestError("bad_request", "the archive cannot be read: it is cut off")
    (size,) = struct.unpack_from("<I", content, end + 12)
    if size > most * _ENTRY_BYTES or content[max(0, end - 20) :].startswith(_END_64):
        raise RequestError("too_large", f"the archive has too many entries: a job takes up to {most} images")


def _entries(content: bytes, max_file_bytes: int) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                last = entry.filename.rpartition("/")[2]
                if not last or last.startswith(".") or entry.filename.startswith(_HIDDEN):
                    continue  # a folder, or what a system adds on its own
                with archive.open(entry) as file:
                    # Whatever size the archive declares, no more is unpacked.
                    yield entry.filename[:255], file.read(max_file_bytes + 1)
    except _UNREADABLE as error:
        raise RequestError("bad_request", f"the archive cannot be read: {error}") from error
