"""What is open until it is closed, for use in a `with` block."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context manager that closes itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open."""
