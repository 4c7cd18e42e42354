"""Memory that is freed and asked for again at every training step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3), and the values that glibc's own adjustment ends at.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 64 * 2**20, 65536
_NO_LIMIT = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in this process until the block ends, where the C library is glibc.

    By default glibc returns a block of more than 32 MiB, such as one activation of a batch, to the system as soon
    as it is freed, and at the next step the system clears it again page by page. Without that an epoch of
    fine-tuning at 192 pixels was 1.2 times as fast (`benchmarks/results/training_speed.md`), with about a sixth
    more memory.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NO_LIMIT)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        library.malloc_trim(0)
