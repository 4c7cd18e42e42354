"""Reverse deltas: restore an old file from its new version. They are small, because a photo's pixels are in both.

Writing metadata shifts the compressed image data without changing it. The delta is a list of runs to copy from the
new file and of bytes that only the old one has, compressed with zlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_RUN = struct.Struct("<QQ")  # offset in the new file, or _LITERAL; number of bytes
_LITERAL = 2**64 - 1
_ANCHOR = 64  # bytes to search for in the new file to resynchronise after a difference
_BLOCK = 2**16


def make_delta(old: bytes, new: bytes) -> bytes:
    """Return the delta with which `apply_delta` restores `old` from `new`."""
    parts: list[bytes] = []
    for start, length, at in _runs(old, new):
        if at is None:
            parts += (_RUN.pack(_LITERAL, length), old[start : start + length])
        else:
            parts.append(_RUN.pack(at, length))
    return zlib.compress(b"".join(parts))


def apply_delta(delta: bytes, new: bytes) -> bytes:
    """Return the old content.

    Args:
        delta: Delta from `make_delta`.
        new: Exactly the content that the delta was made for.
    """
    packed = zlib.decompress(delta)
    parts: list[bytes] = []
    position = 0
    while position < len(packed):
        at, length = _RUN.unpack_from(packed, position)
        position += _RUN.size
        if at == _LITERAL:
            parts.append(packed[position : position + length])
            position += length
        else:
            parts.append(new[at : at + length])
    return b"".join(parts)


def _runs(old: bytes, new: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Split `old` into runs: start, length, and the offset of the same bytes in `new`, or None."""
    position = at = 0
    while position < len(old):
        length = _common(old, position, new, at)
        if length >= _ANCHOR or (length and position + length == len(old)):
            yield position, length, at
            position, at = position + length, at + length
        start, found = _next_anchor(old, position, new, at)
        if start > position:
            yield position, start - position, None
        position, at = start, found


def _common(old: bytes, position: int, new: bytes, at: int) -> int:
    """Return how many bytes are equal from these two offsets on."""
    length = 0
    while (block := old[position + length : position + length + _BLOCK]) and new.startswith(block, at + length):
        length += len(block)
    low, high = 0, len(block)
    while low < high:  # the first difference is in this block
        middle = (low + high + 1) // 2
        if new.startswith(block[:middle], at + length):
            low = middle
        else:
            high = middle - 1
    return length + low


def _next_anchor(old: bytes, position: int, new: bytes, at: int) -> tuple[int, int]:
    """Return the next offset from `position` on whose bytes `new` has too, and where; else the end of `old`.

    The steps double, so a difference of any size costs few searches; an overshoot is walked back.
    """
    step = 0
    while position + step + _ANCHOR <= len(old):
        start = position + step
        anchor = old[start : start + _ANCHOR]
        found = new.find(anchor, at)
        if found < 0:
            found = new.find(anchor, 0, at + _ANCHOR)
        if found >= 0:
            while start > position and found > 0 and old[start - 1] == new[found - 1]:
                start, found = start - 1, found - 1
            return start, found
        step = step * 2 or _ANCHOR
    return len(old), 0
