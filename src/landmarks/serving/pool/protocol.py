"""The protocol between the service and its workers: frames of a JSON header and bytes, over a pipe.

JSON rather than pickle: a decoder compromised by a malicious image can send a wrong answer, but no code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from io import RawIOBase
from typing import Any, Literal

SIZES = struct.Struct(">II")
"""Length of the header and of the bytes after it."""

Also = Literal["embedding", "size", "preview"]
"""What an answer may contain besides: embedding, width and height, a small JPEG of the image."""

LEFT = {"left": True}
"""Header of a frame that says that nobody waits for the image in progress, and of the answer to it."""


def pack(head: Mapping[str, Any], body: bytes = b"") -> list[bytes]:
    """Return the parts of a frame, to be written in order."""
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    return [SIZES.pack(len(text), len(body)) + text, body]


def read(file: RawIOBase) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame, or return None if the other side has closed the pipe.

    Args:
        file: An unbuffered binary file: with a buffer, nobody could tell whether another frame is waiting.
    """
    sizes = _exactly(file, SIZES.size)
    if sizes is None:
        return None
    head_size, body_size = SIZES.unpack(sizes)
    text, body = _exactly(file, head_size), _exactly(file, body_size)
    return None if text is None or body is None else (parse_head(text), body)


def _exactly(file: RawIOBase, size: int) -> bytes | None:
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        count = file.readinto(view[filled:])
        if not count:
            return None
        filled += count
    return bytes(content)


def parse_head(text: bytes) -> dict[str, Any]:
    """Parse the header of a frame.

    Raises:
        ValueError: It is not a JSON object.
    """
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("the header of a frame is not a JSON object")
    return head
