"""The name of a picture in its data set: the same on every machine, with every cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

UNPACKED = "parquet-"
"""Start of the name of a cache folder in which the pictures of a Parquet file are unpacked; a hash follows."""

_UNPACKED = re.compile(rf"{UNPACKED}[0-9a-f]{{20}}")


def picture_name(picture: Path, root: Path) -> str:
    """Return the path of a picture relative to the data set, or Parquet file and row if it was unpacked.

    Args:
        picture: Its path.
        root: Folder or table of the data set.
    """
    return str(unpacked_name(picture) or os.path.relpath(picture, root))


def shown_name(picture: Path, root: Path) -> str:
    """Return the path of a picture in the data set for people: relative to its folder, or that of the table."""
    return picture_name(picture, root if root.is_dir() else root.parent)


def unpacked_name(picture: Path) -> Path | None:
    """Return file and row of a picture of a Parquet file: `train.parquet/00000007.jpg`; None for any other."""
    *_, folder, file, row = ("", "", *picture.parts)
    return Path(file, row) if _UNPACKED.fullmatch(folder) else None
