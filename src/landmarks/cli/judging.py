"""Looks up verdicts and recorded tags of photos in any library, without writing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from landmarks.errors import InputError, LedgerError
from landmarks.library.roots import find_ledger, library_root, root_of_ledger

if TYPE_CHECKING:
    from landmarks.library.library import Library
    from landmarks.tagging.tags import ImageTags, Tag


class Judge:
    """Looks photos up in the library that each is stored in; a context manager.

    Args:
        state: Folder of all ledgers, if they are not stored with the photos.
        ledger: The ledger of one library, if it is not stored with the photos.
    """

    def __init__(self, state: Path | None = None, ledger: Path | None = None) -> None:
        self._state = state
        self._ledger = None if ledger is None or not os.path.isfile(ledger) else ledger  # noqa: PTH113
        self._stack = ExitStack()
        self._roots: dict[Path, Path | None] = {}
        self._libraries: dict[Path, Library] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def judged(self, photo: ImageTags) -> tuple[Tag, ...]:
        """Return the tags of a photo without rejected and with confirmed ones."""
        library = None if photo.error is not None else self._library_of(photo.path)
        return photo.tags if library is None else library.judged(photo)

    def recorded(self, photo: Path) -> tuple[Tag, ...] | None:
        """Return the tags that were recorded for a photo as it is now, or None."""
        library = self._library_of(photo)
        return None if library is None else library.recorded(photo)

    def confirmed(self, photo: Path) -> tuple[Tag, ...]:
        """Return the tags of a photo that the user has confirmed."""
        library = self._library_of(photo)
        return () if library is None else library.confirmed(photo)

    def _library_of(self, photo: Path) -> Library | None:
        folder = photo.parent
        if folder not in self._roots:
            self._roots[folder] = self._root_of(photo)
        root_or_none = self._roots[folder]
        if root_or_none is None:
            return None
        library = self._libraries.get(root_or_none)
        if library is None:
            from landmarks.library.library import Library  # load the database only if there is a ledger

            library = self._stack.enter_context(
                Library(
                    root_or_none, ledger=self._ledger or find_ledger(root_or_none, self._state), read_only=True
                )
            )
            self._libraries[root_or_none] = library
        return library

    def _root_of(self, photo: Path) -> Path | None:
        if self._ledger is None:
            root = library_root(photo, self._state)
            return root if find_ledger(root, self._state) is not None else None
        try:
            return root_of_ledger(self._ledger, photo, writing=True)
        except LedgerError:
            raise
        except InputError:  # it is about other photos
            return None
