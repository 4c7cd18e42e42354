"""The protocol between the service and its workers: frames of a JSON header and bytes, over a pipe.

JSON rather than pickle: a decoder compromised by a malicious image can send a wrong answer, but no code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

SIZES = struct.Struct(">II")
"""Length of the header and of the bytes after it."""


def pack(head: Mapping[str, Any], body: bytes = b"") -> list[bytes]:
    """Return the parts of a frame, to be written in order."""
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    return [SIZES.pack(len(text), len(body)) + text, body]


def read(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame, or return None if the other side has closed the pipe.

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
    """Parse the header of a frame.

    Raises:
        ValueError: It is not a JSON object.
    """
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("the header of a frame is not a JSON object")
    return head
