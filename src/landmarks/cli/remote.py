"""Data sets by URL, for the commands that train."""

from __future__ import annotations

from pathlib import Path

from landmarks.cli.declare import Verbosity
from landmarks.cli.progress import RunProgress
from landmarks.files.paths import is_url


def local_data(data: str, cache: Path | None, verbosity: Verbosity | None = None) -> Path:
    """Return the folder or table of a path or URL; what is behind a URL is copied into the cache first."""
    if not is_url(data):
        return Path(data)
    from landmarks.training.data.remote import LocalCopy, local_copy

    with RunProgress(verbosity, unit="files") as shown:
        shown.stage(f"copying {data}")
        copy = local_copy(data, cache, progress=shown.progress)
        if copy != LocalCopy(copy.path):  # else it is on a local disk
            shown.remark(
                f"{copy.path}: {copy.copied} files copied, {copy.unchanged} unchanged, {copy.removed} removed"
                + (f", {len(copy.left_out)} left out, whose names no file can have" if copy.left_out else "")
            )
        for address in copy.left_out:
            shown.detail(f"{address}: left out: no file can have this name")
    return copy.path
