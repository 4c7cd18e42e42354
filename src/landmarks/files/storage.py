"""Folders and files by path or URL (fsspec): local disk, object storage, archives."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from landmarks.errors import InputError, LandmarksError, StorageError
from landmarks.files.atomic import atomic_path, is_temporary, storage_errors, write_bytes

_VERSIONS = ("ETag", "etag", "content_md5", "LastModified", "last_modified", "updated", "mtime", "created")
"""What file systems call a value that changes with the content of a file; the first that is there is taken."""


@dataclass(frozen=True)
class StoredFile:
    """A file in any file system.

    Attributes:
        path: Its path there.
        size: Bytes.
        version: Changes with the content; "" if the file system tells nothing of the kind.
    """

    path: str
    size: int
    version: str


@dataclass(frozen=True)
class Storage:
    """A folder or file in any file system.

    Attributes:
        address: As given by the user: a path, or a URL such as `s3://bucket/photos`.
        system: Its file system.
        root: Its path there.
    """

    address: str
    system: Any
    root: str

    @classmethod
    def at(cls, address: str) -> Storage:
        """Open the file system of a path or URL.

        Raises:
            InputError: The URL scheme is unknown, or its package is not installed.
        """
        try:
            system, root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError, OSError) as error:
            raise InputError(f"{address}: cannot be reached ({error}): check the address") from error
        return cls(address, system, root)

    @property
    def is_local(self) -> bool:
        """Whether it is on a local disk."""
        return isinstance(self.system, LocalFileSystem)

    def inside(self, name: str) -> str:
        """Return the path of a file in this folder."""
        return f"{self.root.rstrip('/')}/{name}"

    @property
    def is_file(self) -> bool:
        """Whether it is one file.

        Raises:
            InputError: It cannot be reached.
        """
        with _reached(self.address):
            return bool(self.system.isfile(self.root))

    def files(self) -> list[StoredFile]:
        """List every file below, except hidden ones, sorted by path.

        Raises:
            InputError: There is nothing there, or it cannot be reached.
        """
        with _reached(self.address):
            if not self.system.exists(self.root):
                if self.is_local:
                    raise FileNotFoundError
                # A web server that does not answer looks the same to its client library.
                raise InputError(
                    f"{self.address}: there is nothing, or no server that answers: check address and network"
                )
            found = self.system.find(self.root, detail=True)
        return [
            StoredFile(path, int(about.get("size") or 0), _version(about))
            for path, about in sorted(found.items())
            if not self._is_hidden(path)
        ]

    def download(self, file: StoredFile, target: Path) -> None:
        """Copy a file to the local disk, atomically.

        Raises:
            InputError: It cannot be read, or has another size by now.
            StorageError: It cannot be written.
        """
        address = f"{self.address}: {file.path}"
        with atomic_path(target) as temporary:
            with _reached(address):
                self.system.get_file(file.path, str(temporary))
            if temporary.stat().st_size != file.size:
                raise InputError(f"{address}: it was changed while it was read: run the command again")

    def _is_hidden(self, path: str) -> bool:
        return any(part.startswith(".") for part in path.removeprefix(self.root).split("/"))

    def names(self) -> set[str]:
        """Return the names of the entries in this folder, as of now; empty if it does not exist yet.

        Raises:
            InputError: It cannot be reached.
        """
        with _reached(self.address), suppress(FileNotFoundError):
            self.system.invalidate_cache(self.root)  # other processes write here
            return {path.rstrip("/").rpartition("/")[2] for path in self.system.ls(self.root, detail=False)}
        return set()

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Open a file in this folder for reading; raises `InputError` if it cannot be read."""
        with _reached(f"{self.address}/{name}"), self.system.open(self.inside(name)) as file:
            yield file

    def has(self, name: str) -> bool:
        """Return whether this folder contains a file; raises `InputError` if it cannot be reached."""
        with _reached(self.address):
            return bool(self.system.exists(self.inside(name)))

    def remove(self, name: str) -> None:
        """Remove a file or folder in this folder, recursively, if it exists; raises `InputError` if that fails."""
        with _reached(self.address), suppress(FileNotFoundError):
            self.system.rm(self.inside(name), recursive=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file in this folder atomically; raises `StorageError` if it cannot be written."""
        path = self.inside(name)
        if self.is_local:
            write_bytes(Path(path), content)
            return
        try:
            # Object storage shows a file only when it is complete.
            self.system.pipe_file(path, content)
        except Exception as error:  # what its client library raises, which differs by file system
            raise StorageError(
                f"{self.address}: {name} cannot be written ({_reason(error)}): check credentials and rights"
            ) from error

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON; see `write`."""
        self.write(name, (json.dumps(value, indent=2) + "\n").encode())  # in ASCII: a path need not be text

    def read_json(self, name: str) -> Any:
        """Read a file written by `write_json`.

        Raises:
            InputError: It is missing or damaged.
        """
        with _reached(f"{self.address}/{name}"):
            content = self.system.cat_file(self.inside(name))
        try:
            return json.loads(content)
        except ValueError as error:
            raise InputError(f"{self.address}/{name}: damaged: choose another folder for the results") from error

    def sweep(self) -> None:
        """Remove partial files that a killed process left on a local disk."""
        if self.is_local and Path(self.root).is_dir():
            with storage_errors(Path(self.root)):
                for left in filter(is_temporary, Path(self.root).iterdir()):
                    left.unlink(missing_ok=True)


def _version(about: Mapping[str, Any]) -> str:
    return next((str(about[key]) for key in _VERSIONS if about.get(key)), "")


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{address}: no such file or folder: check the spelling") from error
    except LandmarksError:
        raise
    except Exception as error:  # what its client library raises, which differs by file system
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise  # that is the local disk
        raise InputError(
            f"{address}: cannot be read ({_reason(error)}): check address, credentials and network"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
