"""Downloads over HTTP: resumes an interrupted download and keeps nothing wrong.

A file is written as `NAME.part` and renamed only when its size and its git blob SHA-1 are right. The next attempt
requests the missing end of a part; a server without range support sends the whole file again.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import DownloadError
from landmarks.files.atomic import storage_errors

_BLOCK = 1 << 18
_RESERVE = 16 << 20
"""Bytes to leave free on the disk."""
_PAUSES = (1.0, 3.0)
"""Seconds before the second and the third attempt."""

Progress = Callable[[int], None]
"""Called with the number of bytes just received."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        path: Path relative to the URL, and to the local folder.
        size: Size in bytes.
        sha1: Its git hash: SHA-1 of `blob SIZE`, a zero byte and the content.
    """

    path: str
    size: int
    sha1: str


def is_right(path: Path, file: RemoteFile) -> bool:
    """Return whether a local file is the expected one."""
    return path.is_file() and path.stat().st_size == file.size and _git_blob_sha1(path) == file.sha1


def fetch(
    files: Sequence[RemoteFile],
    address: str,
    folder: Path,
    *,
    progress: Progress = lambda _: None,
    timeout: float = 30.0,
    pauses: Sequence[float] = _PAUSES,
) -> None:
    """Download files that do not exist yet.

    Args:
        files: The files.
        address: Base URL, `http://` or `https://`; the path of each file is appended.
        folder: Local folder; each file is stored under its path.
        progress: Called for every block, and for files that exist already.
        timeout: Seconds without data before giving up on a server.
        pauses: Seconds to wait before each retry after a broken connection.

    Raises:
        DownloadError: A file cannot be downloaded, or is not the expected one. Complete files are kept.
        StorageError: The disk is full or read-only.
    """
    if not address.startswith(("http://", "https://")):
        raise DownloadError(f"{address}: not a web address: give one that begins with https://")
    missing = [file for file in files if not is_right(folder / file.path, file)]
    progress(sum(file.size for file in files) - sum(file.size for file in missing))
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, sum(file.size for file in missing))
    for file in missing:
        _fetch_one(
            file,
            f"{address.rstrip('/')}/{file.path}",
            folder / file.path,
            progress=progress,
            timeout=timeout,
            pauses=pauses,
        )


def _fetch_one(
    file: RemoteFile, url: str, target: Path, *, progress: Progress, timeout: float, pauses: Sequence[float]
) -> None:
    part = target.with_name(f"{target.name}.part")
    with storage_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    for pause in (*pauses, None):
        try:
            _append(file, url, part, progress, timeout)
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if pause is None:
                raise DownloadError(f"{url}: the connection broke ({error}): run the command again") from error
            time.sleep(pause)
        else:
            break
    if not is_right(part, file):
        part.unlink()
        raise DownloadError(
            f"{url}: the file is not the one that was expected (SHA-1): run the command again later"
        )
    with storage_errors(target):
        part.replace(target)


def _append(file: RemoteFile, url: str, part: Path, progress: Progress, timeout: float) -> None:
    """Download the missing end of a part."""
    held = part.stat().st_size if part.is_file() else 0
    if held > file.size:
        held = 0
    if held == file.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})  # noqa: S310
    try:
        # The scheme was checked in `fetch`.
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            goes_on = held > 0 and answer.status == http.HTTPStatus.PARTIAL_CONTENT
            with storage_errors(part), part.open("ab" if goes_on else "wb") as out:
                progress(held if goes_on else 0)
                _copy(answer, out.write, file.size - (held if goes_on else 0), progress)
    except urllib.error.HTTPError as error:
        raise DownloadError(_refused(url, error)) from error
    except urllib.error.URLError as error:
        raise DownloadError(
            f"{url}: the server cannot be reached ({error.reason}): check the connection and HTTPS_PROXY, or "
            "fetch the files by hand and name their folder with `source`"
        ) from error


def _copy(
    answer: http.client.HTTPResponse, write: Callable[[bytes], int], wanted: int, progress: Progress
) -> None:
    while wanted:
        block = answer.read(min(_BLOCK, wanted))
        if not block:
            raise ConnectionError(f"it ended {wanted} bytes too early")
        write(block)
        wanted -= len(block)
        progress(len(block))


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    if error.code in {http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE}:
        return f"{url}: the file is not there any more ({error.code}): name another address with `address`"
    if error.code == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return f"{url}: the proxy wants a password: set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT"
    return f"{url}: the server refused it ({error.code} {error.reason}): try again later"


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed and free < needed + _RESERVE:
        raise DownloadError(
            f"{folder}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free: free some space"
        )


def _git_blob_sha1(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
