"""Looks up verdicts and recorded tags of photos in any library, without writing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from landmarks.library.roots import find_ledger, library_root

if TYPE_CHECKING:
    from landmarks.library.library import Library
    from landmarks.tagging.tags import ImageTags, Tag


class Judge:
    """Looks photos up in the library that each is stored in; a context manager.

    Args:
        state: Folder of all ledgers, if they are not stored with the photos.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
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
            root = library_root(photo, self._state)
            self._roots[folder] = root if find_ledger(root, self._state) is not None else None
        root_or_none = self._roots[folder]
        if root_or_none is None:
            return None
        library = self._libraries.get(root_or_none)
        if library is None:
            from landmarks.library.library import Library  # load the database only if there is a ledger

            library = self._stack.enter_context(
                Library(root_or_none, ledger=find_ledger(root_or_none, self._state), read_only=True)
            )
            self._libraries[root_or_none] = library
        return library
