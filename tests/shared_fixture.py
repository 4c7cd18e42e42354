"""Slow things that several test processes need: made by one of them, copied by the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder that the processes of the session share."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this process that holds what `make` made in one process of the session.

    Args:
        factory: Tells the folder that the processes of the session share.
        name: Unique within the session.
        make: Makes the folder it is given, which does not exist.
    """
    own = factory.mktemp(name)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(own / name)
        return own / name
    shared = shared_folder(factory, "made") / name
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            make(own / name)
            shutil.copytree(own / name, shared.with_name(f"{shared.name}.part"))
            shared.with_name(f"{shared.name}.part").rename(shared)
            return own / name
    return Path(shutil.copytree(shared, own / name))
