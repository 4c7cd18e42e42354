"""Training state on disk, written atomically, and read without running code from the file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from landmarks.errors import ModelError
from landmarks.files.atomic import write_bytes
from landmarks.training.config.rules import argument_of
from landmarks.training.config.settings import RunSettings
from landmarks.training.runs.folder import RunFolder


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write training state; raises `StorageError` when it cannot be written."""
    content = io.BytesIO()  # in memory first: the library reports a full disk with an exception of its own
    torch.save(dict(state), content)
    write_bytes(path, content.getvalue())


def read_state(path: Path) -> dict[str, Any]:
    """Read training state with `weights_only=True`.

    Raises:
        ModelError: The file is missing, damaged or not training state.
    """
    if not path.is_file():
        raise ModelError(f"{path}: nothing to resume from: start a new run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises nearly every type, depending on the damage
        raise ModelError(f"{path}: the checkpoint is damaged: start a new run") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path}: not a checkpoint of landmarks: start a new run")
    return state


def kept_settings(settings: RunSettings) -> dict[str, Any]:
    """Return the settings that must stay as they were for the rest of a training, as plain values."""
    values = settings.to_dict()
    del values["loading"]["workers"]  # as many as one likes
    del values["model"]["init"], values["model"]["weights"]  # a training that has begun needs neither
    kept = {group: values[group] for group in ("model", "loading", "augment", "optimization")}
    return {**kept, "loop": {"epochs": settings.loop.epochs}}


def require_settings(run: RunFolder, state: Mapping[str, Any], settings: RunSettings) -> None:
    """Refuse to go on with other settings: the optimiser and the schedule would keep those of the checkpoint.

    Raises:
        ModelError: One was changed in `settings.json` since. Checkpoints of earlier versions do not tell.
    """
    before = state.get("settings") or {}
    for group, values in kept_settings(settings).items():
        for key, value in values.items():
            was = before.get(group, {}).get(key, value)
            if was != value:
                began = f"`{argument_of(key)}` was {was!r} when the training began"
                raise ModelError(f"{run.settings}: {began}: put it back, or train a new run")
