"""Reads tables of the FlatBuffers format by the number of their fields.

A table begins with the distance to its list of field offsets, in which 0 stands for a field at its default
(https://flatbuffers.dev/internals/).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """One table of a file.

    Every method takes the number of a field, and raises `ValueError` or `struct.error` if the file is damaged.

    Attributes:
        content: The whole file.
        place: Where the table begins.
    """

    content: bytes
    place: int

    @classmethod
    def root(cls, content: bytes) -> Table:
        """Return the outermost table of a file."""
        return cls(content, _number(content, 0, "<I"))

    def scalar(self, field: int, kind: str, default: float = 0) -> Any:
        """Return a number; `kind` is its format in `struct`, such as `<i`."""
        place = self._field(field)
        return default if place is None else _number(self.content, place, kind)

    def table(self, field: int) -> Table | None:
        """Return a table, or None if the field is missing."""
        place = self._field(field)
        return None if place is None else Table(self.content, self._target(place))

    def tables(self, field: int) -> list[Table]:
        """Return a list of tables, empty if the field is missing."""
        start, count = self._vector(field, 4)
        return [Table(self.content, self._target(start + 4 * number)) for number in range(count)]

    def array(self, field: int, dtype: str) -> NDArray[Any]:
        """Return a list of numbers of a dtype, empty if the field is missing."""
        kind = np.dtype(dtype)
        start, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self.content, kind, count, start) if count else np.empty(0, kind)

    def text(self, field: int) -> str:
        """Return a text, empty if the field is missing."""
        return self.array(field, "u1").tobytes().decode("utf-8")

    def _field(self, field: int) -> int | None:
        listed = self.place - _number(self.content, self.place, "<i")
        position = 4 + 2 * field
        if position >= _number(self.content, listed, "<H"):
            return None
        offset = _number(self.content, listed + position, "<H")
        return self.place + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where the elements of a list begin, and how many there are."""
        place = self._field(field)
        if place is None:
            return 0, 0
        start = self._target(place)
        count = _number(self.content, start, "<I")
        if start + 4 + count * size > len(self.content):
            raise ValueError("a list runs past the end of the file")
        return start + 4, count

    def _target(self, place: int) -> int:
        return place + int(_number(self.content, place, "<I"))


def _number(content: bytes, place: int, kind: str) -> Any:
    if place < 0:
        raise ValueError("an offset points before the file")
    return struct.unpack_from(kind, content, place)[0]
