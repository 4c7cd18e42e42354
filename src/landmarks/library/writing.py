"""Files of a library on disk: their state, safe replacement, and recovery after a killed process."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from landmarks.errors import LandmarksError, StorageError
from landmarks.files.atomic import atomic_path, is_temporary, storage_errors
from landmarks.files.checksums import sha256_file
from landmarks.files.walker import program_folder
from landmarks.library.ledger import Ledger
from landmarks.library.records import Change


class ChangedMeanwhileError(LandmarksError):
    """A file has changed since the work on it began; it was left alone."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a file at one moment.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of its last change, in nanoseconds.
        identity: Inode and ctime, which no program can set back.
        sha256: SHA-256 of its content; None before it was read.
    """

    size: int
    mtime_ns: int
    identity: tuple[int, int]
    sha256: bytes | None

    @classmethod
    def of(cls, path: Path, *, read: bool = True) -> Snapshot:
        """Take a snapshot of a file, with its content unless `read` is False; raises `OSError` if that fails."""
        # The status comes first, so that a change while the content is read is noticed.
        status = path.stat()
        identity = (status.st_ino, status.st_ctime_ns)
        digest = bytes.fromhex(sha256_file(path)) if read else None
        return cls(status.st_size, status.st_mtime_ns, identity, digest)

    def with_content(self, path: Path, sha256: bytes | None) -> Snapshot:
        """Return a copy with the digest of the content, given or else read now."""
        if self.sha256 is not None or sha256 is not None:
            return self if self.sha256 is not None else replace(self, sha256=sha256)
        with suppress(OSError):
            now = Snapshot.of(path)
            if replace(now, sha256=None) == self:
                return now
        return self

    def still_true(self, path: Path) -> bool:
        """Return whether the file has the same content; it is read again only if its status has changed."""
        try:
            now = path.stat()
            stamp = (now.st_size, now.st_mtime_ns, (now.st_ino, now.st_ctime_ns))
            if stamp == (self.size, self.mtime_ns, self.identity):
                return True
            return now.st_size == self.size and bytes.fromhex(sha256_file(path)) == self.sha256
        except OSError:
            return False


def digest(content: bytes | None) -> bytes | None:
    """Return the SHA-256 of content, None for no file."""
    return None if content is None else hashlib.sha256(content).digest()


def content_of(path: Path) -> bytes | None:
    """Return the content of a file, None if it does not exist; raises `OSError` if it cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def put_file(
    path: Path,
    content: bytes | None,
    *,
    expected: bytes | Snapshot | None,
    mode: int | None = None,
    mtime_ns: int | None = None,
) -> None:
    """Replace a file atomically, if it has the expected content.

    Permissions and extended attributes of the old file are preserved, and its group and owner if this is allowed.

    Args:
        path: The file.
        content: The new content; None removes the file.
        expected: SHA-256 of the expected current content, for which the file is read; or a snapshot, for which it
            is read only if its status has changed; None for no file.
        mode: Permissions to set.
        mtime_ns: Modification time to set, in nanoseconds; None for now.

    Raises:
        ChangedMeanwhileError: The file has other content.
        StorageError: The file cannot be written.
    """
    if content is None:
        _expect(path, expected)
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        if expected is not None:
            with suppress(FileNotFoundError):
                shutil.copystat(path, temporary)
                old = path.stat()
                for owner in (-1, old.st_uid):  # only root may change the owner, and members the group
                    with suppress(OSError):
                        os.chown(temporary, owner, old.st_gid)
        if mode is not None:
            temporary.chmod(mode & 0o7777)
        now = time.time_ns() if mtime_ns is None else mtime_ns
        os.utime(temporary, ns=(now, now))
        _expect(path, expected)


def require_writable(paths: Iterable[Path]) -> None:
    """Check that something can be written beside photos and into folders, before any work is done.

    Raises:
        StorageError: A folder may not be written, or belongs to a photo program.
    """
    for path in paths:
        folder = path if path.is_dir() else path.parent
        if (program := program_folder(folder)) is not None:
            raise StorageError(f"{program}: only its photo program may change it: export photos and tag those")
        if folder.is_dir() and not os.access(folder, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            with storage_errors(folder):
                raise OSError(code, os.strerror(code), str(folder))


def _expect(path: Path, expected: bytes | Snapshot | None) -> None:
    same = expected.still_true(path) if isinstance(expected, Snapshot) else digest(content_of(path)) == expected
    if not same:
        raise ChangedMeanwhileError(f"{path}: another program changed it in the meantime")


def is_full(error: StorageError) -> bool:
    """Return whether the disk is full, so that there is no point in trying other files."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


def was_written(path: Path, before: bytes | None, photo: Path) -> bool:
    """Return whether an interrupted change reached its file, whose SHA-256 was `before`; None for no file.

    A file that others changed since counts as written: undo then removes only our entries. Raises `OSError` if it
    cannot be read, or neither it nor the photo is there: then their drive may not be.
    """
    content = content_of(path)
    if content is None:
        photo.lstat()
    return digest(content) != before


def recover(ledger: Ledger, root: Path) -> None:
    """Complete the unfinished changes of killed processes; the content of each file shows how far they got."""
    for change in ledger.left_open():
        path = root / os.fsdecode(change.target)
        with suppress(OSError):
            _remove_temporaries(path, change)
        try:
            written = was_written(path, change.before_hash, root / os.fsdecode(change.photo))
        except OSError:
            continue  # unreachable at the moment: the next run tries again
        with ledger.transaction():
            if change.state == "writing" and not written:
                ledger.set_state(change.id, None)
            elif change.state == "undoing" and not written:
                ledger.set_state(change.id, "undone")
                ledger.forget(change.photo)
            else:
                ledger.set_state(change.id, "done")
    ledger.drop_dead_claims()


def _remove_temporaries(path: Path, change: Change) -> None:
    """Remove temporary files of `atomic_path` beside `path`, recognised by name and age."""
    with os.scandir(path.parent) as entries:
        for entry in entries:
            ours = is_temporary(Path(entry.path), path)
            if ours and entry.stat(follow_symlinks=False).st_ctime >= change.time - 1:
                Path(entry.path).unlink(missing_ok=True)
