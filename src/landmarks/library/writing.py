"""Files of a library on the disk: what they are now, how they are replaced, and what a killed process left."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from landmarks.errors import LandmarksError, StorageError
from landmarks.files.atomic import atomic_path
from landmarks.files.checksums import sha256_file
from landmarks.library.ledger import Ledger
from landmarks.library.records import Change


class ChangedMeanwhileError(LandmarksError):
    """A file is not any more what it was when the work on it began; it was left alone."""


@dataclass(frozen=True)
class Snapshot:
    """A file at one moment.

    Attributes:
        size: Bytes.
        mtime_ns: Time of its last change.
        identity: Inode and time of the last change of any kind, which no program can set back.
        sha256: Of its content; None before it was read.
    """

    size: int
    mtime_ns: int
    identity: tuple[int, int]
    sha256: bytes | None

    @classmethod
    def of(cls, path: Path, *, read: bool = True) -> Snapshot:
        """Look at a file, and read its content too unless told otherwise; raises `OSError` when that fails."""
        # The status comes first: a change while the content is read shows as one since.
        status = path.stat()
        identity = (status.st_ino, status.st_ctime_ns)
        digest = bytes.fromhex(sha256_file(path)) if read else None
        return cls(status.st_size, status.st_mtime_ns, identity, digest)

    def with_content(self, path: Path, sha256: bytes | None) -> Snapshot:
        """Return the same with the digest of a content that was read since, or else is read now."""
        if self.sha256 is not None or sha256 is not None:
            return self if self.sha256 is not None else replace(self, sha256=sha256)
        with suppress(OSError):
            now = Snapshot.of(path)
            if replace(now, sha256=None) == self:
                return now
        return self

    def still_true(self, path: Path) -> bool:
        """Tell whether the file has the same content; it is read again only where the system says otherwise."""
        try:
            now = path.stat()
            stamp = (now.st_size, now.st_mtime_ns, (now.st_ino, now.st_ctime_ns))
            if stamp == (self.size, self.mtime_ns, self.identity):
                return True
            return now.st_size == self.size and bytes.fromhex(sha256_file(path)) == self.sha256
        except OSError:
            return False


def digest(content: bytes | None) -> bytes | None:
    """Return the SHA-256 of a content, None for no file."""
    return None if content is None else hashlib.sha256(content).digest()


def content_of(path: Path) -> bytes | None:
    """Return the content of a file, None where there is none; raises `OSError` when it cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def put_file(
    path: Path,
    content: bytes | None,
    *,
    expected: bytes | None,
    mode: int | None = None,
    mtime_ns: int | None = None,
) -> None:
    """Replace a file whole or not at all, if it still is what we think it is.

    Owner, permissions and extended attributes of the old file stay.

    Args:
        path: The file.
        content: What shall stand there; None removes the file.
        expected: SHA-256 of what must stand there now, None for no file.
        mode: Permissions to set.
        mtime_ns: Time of the last change to set; None is now.

    Raises:
        ChangedMeanwhileError: Something else stands there.
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
                with suppress(OSError):  # only an administrator may give files away
                    os.chown(temporary, old.st_uid, old.st_gid)
        if mode is not None:
            temporary.chmod(mode & 0o7777)
        now = time.time_ns() if mtime_ns is None else mtime_ns
        os.utime(temporary, ns=(now, now))
        _expect(path, expected)


def _expect(path: Path, expected: bytes | None) -> None:
    if digest(content_of(path)) != expected:
        raise ChangedMeanwhileError(f"{path}: another program changed it meanwhile")


def is_full(error: StorageError) -> bool:
    """Tell whether the disk is full, so that going on with other files is of no use."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


def recover(ledger: Ledger, root: Path) -> None:
    """Bring to an end what killed processes left half done; the content of each file tells how far they came."""
    for change in ledger.left_open():
        path = root / os.fsdecode(change.target)
        with suppress(OSError):
            _remove_temporaries(path, change)
        try:
            now = digest(content_of(path))
        except OSError:
            continue  # unreachable at the moment: the next run asks again
        with ledger.transaction():
            if change.state == "writing" and now == change.before_hash:
                ledger.set_state(change.id, None)
            elif change.state == "undoing" and now == change.before_hash:
                ledger.set_state(change.id, "undone")
                ledger.forget(change.photo)
            else:
                # Also where others changed the file since: an undo then takes out our entries alone.
                ledger.set_state(change.id, "done")
    ledger.drop_dead_claims()


def _remove_temporaries(path: Path, change: Change) -> None:
    """Remove what `atomic_path` had begun to write beside `path`, told by its name and its age."""
    name = re.compile(re.escape(f".{path.stem[:40]}-") + "[a-z0-9_]{8}" + re.escape(path.suffix))
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_ctime >= change.time - 1:
                Path(entry.path).unlink(missing_ok=True)
