"""The boxes that JPEG 2000 and JPEG XL files consist of (ISO/IEC 15444-1, annex I)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

_MAX_BOXES = 1000


def boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box and the length of its content in bytes; the file is at the content meanwhile."""
    at, last = 0, file.seek(0, os.SEEK_END)
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size, skipped = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, skipped = int.from_bytes(file.read(8), "big"), 16
        end = last if size == 0 else min(last, at + max(size, skipped))
        yield head[4:], max(0, end - at - skipped)
        at = end
