"""Where state about a folder of photos is stored: in the folder itself, or with the user where it cannot be.

SQLite needs locks and shared memory that network file systems lack or only claim to have, and nothing can be
stored in a folder that may not be written.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

from landmarks.files.walker import program_folder

_REMOTE = frozenset(
    {
        *("9p", "afs", "ceph", "cifs", "coda", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("smb2", "smb3", "smbfs", "vboxsf", "fuse.vmhgfs-fuse", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.davfs2", "fuse.gvfsd-fuse", "fuse.glusterfs", "fuse.smbnetfs", "fuse.curlftpfs", "fuse.juicefs"),
    }
)
"""Types of file systems that are on another machine."""

_MOUNTS = Path("/proc/self/mountinfo")
_DRIVE_REMOTE = 4  # of Windows


def home() -> Path:
    """Return the user's home folder; the root of the file system if there is none, as in containers."""
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user without an entry among the system's
        return Path("/")


def user_state() -> Path:
    """Return the user's folder for state: `$XDG_STATE_HOME/landmarks`, or what is usual on the system."""
    base = os.environ.get("XDG_STATE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else home() / ".local" / "state") / "landmarks"


def user_cache() -> Path:
    """Return the user's folder for what can be made again: `$XDG_CACHE_HOME/landmarks`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "landmarks"


def user_data() -> Path:
    """Return the user's folder for what is kept: `$XDG_DATA_HOME/landmarks`, else `~/.local/share/landmarks`."""
    return Path(os.environ.get("XDG_DATA_HOME") or home() / ".local" / "share") / "landmarks"


def state_of(root: Path, base: Path | None = None) -> Path:
    """Return the folder for the state about `root` outside of it.

    Args:
        root: An absolute path.
        base: The folder for the state about all folders; None for the user's.
    """
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9-]+", "-", root.name).strip("-")[:40]
    return (user_state() / "libraries" if base is None else base) / f"{name or 'photos'}-{digest}"


def may_store(folder: Path) -> bool:
    """Return whether files may be stored in a folder: it may be written and is no photo program's."""
    return os.access(folder, os.W_OK) and program_folder(folder) is None


def keeps_state(root: Path) -> bool:
    """Return whether state can be stored in a folder: it may be written and is on this machine."""
    return may_store(root) and not is_remote(root)


def is_remote(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether a folder is on a network file system; False where the system does not say.

    Args:
        path: The folder; it need not exist yet.
        mounts: The table of mounts, on Linux.
    """
    real = os.path.realpath(path)
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - no other system needs it

        root = os.path.splitdrive(real)[0] + "\\"
        return root.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(root) == _DRIVE_REMOTE
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return False
    nearest, kind = b"", b""
    for line in lines:
        fields, _, about = line.partition(b" - ")
        if len(fields.split()) < 5 or not about:
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), fields.split()[4])
        inside = os.fsencode(real) + b"/"
        if inside.startswith(point.rstrip(b"/") + b"/") and len(point) >= len(nearest):
            nearest, kind = point, about.split()[0]
    return os.fsdecode(kind) in _REMOTE
