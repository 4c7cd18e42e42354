"""Creates model folders atomically, and never the same one from two commands."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landmarks.errors import ModelError
from landmarks.files.atomic import storage_errors
from landmarks.files.checksums import sha256_file
from landmarks.files.locks import locked
from landmarks.model.folder import INFO_FILE


def already_there(target: Path) -> ModelError:
    """Return the error for a model folder that exists."""
    return ModelError(f"{target}: this model is there already: remove the folder or choose another `name`")


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an error.

    Leftovers of a killed command are removed by the next one.

    Args:
        target: The model folder to create.
        replace: Replace an existing folder.

    Raises:
        ModelError: The folder exists, or another command is creating it.
        StorageError: The folder cannot be created there.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    busy = ModelError(f"{target}: another command is adding this model: wait until it is done")
    with locked(target.parent / f".{target.name}.lock", busy=busy), storage_errors(target):
        if target.exists() and not replace:
            raise already_there(target)
        for left in target.parent.glob(f".{target.name}-*.new"):
            shutil.rmtree(left)
        made = target.parent / f".{target.name}-{secrets.token_hex(4)}.new"
        try:
            made.mkdir()
            yield made
            if target.exists():
                target.rename(target.parent / f".{target.name}-{secrets.token_hex(4)}.new")
            made.rename(target)
            for left in target.parent.glob(f".{target.name}-*.new"):
                shutil.rmtree(left)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a model folder except `model.json`."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != INFO_FILE}
