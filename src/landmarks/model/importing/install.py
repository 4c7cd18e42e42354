"""Creates model folders atomically, and never the same one from two commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landmarks.errors import ModelError
from landmarks.files.checksums import sha256_file
from landmarks.files.locks import locked
from landmarks.files.temporary import new_folder
from landmarks.model.folder import INFO_FILE


def already_there(target: Path) -> ModelError:
    """Return the error for a model folder that exists."""
    return ModelError(f"{target}: this model is there already: remove the folder or choose another `name`")


@contextmanager
def new_model(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an error.

    Raises:
        ModelError: The folder exists, or another command is creating it.
        StorageError: The folder cannot be created there.
    """
    busy = ModelError(f"{target}: another command is adding this model: wait until it is done")
    lock = target.parent / f".{target.name}.lock"
    with locked(lock, busy=busy), new_folder(target, taken=already_there(target)) as made:
        yield made


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a model folder except `model.json`."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != INFO_FILE}
