"""Data sets by URL, such as `s3://bucket/photos`: copied once into the cache, and from then on like any folder.

Every epoch and every later run reads the copy. Copying again fetches what is new or changed and removes what is
gone; a copy that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import InputError, StorageError
from landmarks.files.atomic import remove_temporaries, storage_errors, write_json
from landmarks.files.locks import locked
from landmarks.files.state import user_cache
from landmarks.files.storage import Storage, StoredFile
from landmarks.training.data.cache import Progress
from landmarks.training.data.tables import is_table_file

LIST = "copied.json"
"""Beside the copy: the address, and size and version of each file that was copied."""

_AT_ONCE = 16  # requests: each waits for the network most of the time
_KEEP = 2000  # files after which the list is written, for when the process is killed
_WAIT = 24 * 3600.0  # seconds, for another process that copies the same


@dataclass(frozen=True)
class LocalCopy:
    """A data set on the local disk.

    Attributes:
        path: The folder or table.
        copied: Files that were copied.
        unchanged: Files that were there already.
        removed: Files that are no longer at the address.
        left_out: Addresses of files whose names no local file can have.
    """

    path: Path
    copied: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: tuple[str, ...] = ()


def local_copy(
    address: str, cache: Path | None = None, *, progress: Progress = lambda _done, _total: None
) -> LocalCopy:
    """Copy a data set to the local disk, or update the copy.

    A table of paths is copied with all files of its folder, because its images lie there.

    Args:
        address: URL of a folder or table, in any file system of fsspec; credentials come from the environment.
        cache: Folder of the copy, or None for the user's cache folder.
        progress: Called with (files done, files to copy).

    Raises:
        InputError: There is nothing at the address, or it cannot be read. What was copied stays for the next time.
        StorageError: The local disk is full or cannot be written.
    """
    source = Storage.at(address)
    if source.is_local:  # file:///photos
        return LocalCopy(Path(source.root))
    table = source.root.rstrip("/").rpartition("/")[2] if source.is_file else ""
    if is_table_file(Path(table)):
        source = Storage.at(address[: address.rindex(table)].rstrip("/"))
    place = (cache or user_cache()) / "remote" / hashlib.sha256(source.address.encode()).hexdigest()[:16]
    folder = place / (source.root.rstrip("/").rpartition("/")[2] or "data")
    busy = StorageError(f"{place}: another process has been copying {address} for a day: end it")
    with locked(place / "copy.lock", wait=_WAIT, busy=busy):
        copy = _update(source, place, folder, progress)
    return LocalCopy(folder / table, copy.copied, copy.unchanged, copy.removed, copy.left_out)


def _update(source: Storage, place: Path, folder: Path, progress: Progress) -> LocalCopy:
    """Make the folder hold what is at the address, and nothing else."""
    files = {_relative(source, file): file for file in source.files()}
    left_out = tuple(sorted(file.path for name, file in files.items() if not _is_name(name)))
    files = {name: file for name, file in files.items() if _is_name(name)}
    if not files:
        raise InputError(f"{source.address}: there are no files in it: check the address")
    remove_temporaries(folder)
    known = _read_list(place)
    kept = {name: known[name] for name, file in files.items() if _is_there(folder / name, file, known.get(name))}
    gone = [path for path in folder.rglob("*") if path.is_file() and _name_in(folder, path) not in files]
    with storage_errors(folder):
        for path in gone:
            path.unlink(missing_ok=True)
            _remove_if_empty(path.parent, folder)
    missing = [(name, file) for name, file in files.items() if name not in kept]
    _require_space(place, missing)
    unchanged = len(kept)
    _write_list(place, source, kept)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, len(missing), _KEEP):
            block = missing[start : start + _KEEP]
            jobs = [threads.submit(source.download, file, folder / name) for name, file in block]
            try:
                for done, ((name, file), job) in enumerate(zip(block, jobs, strict=True), start + 1):
                    job.result()
                    kept[name] = [file.size, file.version]
                    progress(done, len(missing))
            finally:
                for job in jobs:
                    job.cancel()
                _write_list(place, source, kept)
    return LocalCopy(folder, len(missing), unchanged, len(gone), left_out)


def _relative(source: Storage, file: StoredFile) -> str:
    inside = file.path.removeprefix(source.root.rstrip("/")).lstrip("/")
    return inside or file.path.rpartition("/")[2]


def _name_in(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _remove_if_empty(inner: Path, folder: Path) -> None:
    """Remove folders that hold nothing any more, up to that of the copy: object storage has no empty ones."""
    while inner != folder:
        try:
            inner.rmdir()
        except OSError:
            return
        inner = inner.parent


def _is_name(name: str) -> bool:
    """Return whether a key of object storage can be a path below a folder."""
    return not any(part in {"", ".", ".."} or "\0" in part or "\\" in part for part in name.split("/"))


def _is_there(path: Path, file: StoredFile, known: Sequence[object] | None) -> bool:
    if known is None or list(known) != [file.size, file.version]:
        return False
    try:
        return path.stat().st_size == file.size
    except OSError:
        return False


def _require_space(place: Path, missing: Sequence[tuple[str, StoredFile]]) -> None:
    needed, free = sum(file.size for _, file in missing), shutil.disk_usage(place).free
    if needed > free:
        raise StorageError(
            f"{place}: {needed / 2**20:,.0f} MiB are to be copied here, and {free / 2**20:,.0f} MiB are free: "
            "free some space, or give `cache` on a larger disk"
        )


def _read_list(place: Path) -> Mapping[str, Sequence[object]]:
    """Return the size and version of each file that was copied; empty if the list is missing or damaged."""
    try:
        files = json.loads((place / LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _write_list(place: Path, source: Storage, files: Mapping[str, Sequence[object]]) -> None:
    write_json(place / LIST, {"address": source.address, "files": files})
