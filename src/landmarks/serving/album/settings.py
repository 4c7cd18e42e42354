"""What is opened in the browser, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import InputError, SettingsError
from landmarks.files.state import state_of, user_cache
from landmarks.library.roots import absolute, library_root, require_one, root_of_ledger
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.settings import TagSettings


@dataclass(frozen=True)
class AlbumSettings:
    """What is opened, and how.

    Attributes:
        root: Folder of the photos.
        model: Model folder.
        tags: How to tag.
        options: Where tags are written.
        exclude: Glob patterns of what is skipped below the folder.
        read_only: Show tags without writing any file.
        cache_mb: Limit on the stored thumbnails, in MiB, at least 1.
        ledger: The ledger of the library, if it is not stored with the photos.
        state: Folder of all ledgers, if they are not stored with the photos.
        look_seconds: Shortest time between two looks for new photos, above 0.

    Raises:
        SettingsError: A value is out of range, or both `ledger` and `state` are given.
    """

    root: Path
    model: Path
    tags: TagSettings
    options: WriteOptions
    exclude: tuple[str, ...] = ()
    read_only: bool = False
    cache_mb: int = 1024
    ledger: Path | None = None
    state: Path | None = None
    look_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.cache_mb < 1:
            raise SettingsError(f"`cache_mb` must be at least 1, not {self.cache_mb}")
        if not self.look_seconds > 0:
            raise SettingsError(f"`look_seconds` must be above 0, not {self.look_seconds:g}")
        require_one(self.ledger, self.state)

    def cache(self) -> Path:
        """Return the folder for what is remembered of the photos, which can be made again.

        Raises:
            InputError: The folder of the photos does not exist.
        """
        return state_of(self.folder(), user_cache() / "albums")

    def folder(self) -> Path:
        """Return the absolute path of the folder.

        Raises:
            InputError: It does not exist.
        """
        folder = absolute(self.root)
        if not folder.is_dir():
            raise InputError(f"{self.root}: no such folder: check the spelling")
        return folder

    def library(self) -> Path:
        """Return the root of the library: the folder, or one above it that has a ledger.

        Raises:
            InputError: The folder does not exist, or is not in the library of `ledger`.
            LedgerError: `ledger` is damaged.
        """
        folder = self.folder()
        if self.ledger is None:
            return library_root(folder, self.state)
        return root_of_ledger(self.ledger, folder, writing=not self.read_only)
