"""How the service and its worker processes talk: frames of a JSON head and bytes, over a pipe.

JSON and not pickle: a decoder that a hostile picture has taken over can send a wrong answer, but no code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

SIZES = struct.Struct(">II")
"""Length of the head and of the bytes behind it."""


def pack(head: Mapping[str, Any], body: bytes = b"") -> list[bytes]:
    """Return the parts of a frame, to be written one after the other."""
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    return [SIZES.pack(len(text), len(body)) + text, body]


def read(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame, or return None where the other side has closed the pipe.

    Args:
        file: A buffered binary file.
    """
    sizes = file.read(SIZES.size)
    if len(sizes) < SIZES.size:
        return None
    head_size, body_size = SIZES.unpack(sizes)
    text, body = file.read(head_size), file.read(body_size)
    if len(text) < head_size or len(body) < body_size:
        return None
    return parse_head(text), body


def parse_head(text: bytes) -> dict[str, Any]:
    """Read the head of a frame.

    Raises:
        ValueError: It is not a JSON object.
    """
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("the head of a frame is no JSON object")
    return head
