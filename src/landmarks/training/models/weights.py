"""Weights on disk: safetensors with the class names, the architecture and a checksum in the header.

The file cannot run code and is written atomically. The checksum detects damage, such as a flipped bit or
a bad copy. It does not detect tampering: whoever changes the tensors can change the checksum next to them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from landmarks.errors import ModelError
from landmarks.files.atomic import write_bytes
from landmarks.geo.gazetteer import Gazetteer


@dataclass(frozen=True)
class Weights:
    """Content of a weights file.

    Attributes:
        tensors: State of the network by name.
        architecture: The network they belong to, for example `scratch` or a backbone's name.
        classes: Class names in the order of the logits.
    """

    tensors: dict[str, Tensor]
    architecture: str
    classes: tuple[str, ...]


def save_weights(path: Path, model: nn.Module, architecture: str, classes: tuple[str, ...]) -> None:
    """Write the state of a network; raises `StorageError` when it cannot be written."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    header = {
        "architecture": architecture,
        "classes": json.dumps(classes),
        "sha256": _digest(tensors),
    }
    # In memory first: the library reports a full disk with an exception of its own.
    write_bytes(path, save(tensors, metadata=header))


def read_weights(path: Path) -> Weights:
    """Read a weights file and verify its checksum.

    Raises:
        ModelError: The file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no weights here: train first, or give the folder of a finished run")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        architecture, digest = header["architecture"], header["sha256"]
        classes = json.loads(header["classes"])
        if not isinstance(classes, list):
            raise ValueError("the class names are not a list")
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(f"{path}: not a weights file of landmarks ({error}): train again") from error
    if digest != _digest(tensors):
        raise ModelError(
            f"{path}: the weights are not as they were written (checksum mismatch): restore the file or train "
            "again"
        )
    return Weights(tensors, architecture, tuple(map(str, classes)))


def load_weights(path: Path, model: nn.Module, architecture: str) -> None:
    """Load a weights file into a network of the same architecture.

    Raises:
        ModelError: The file is damaged, or belongs to another architecture or other classes.
    """
    weights = read_weights(path)
    if weights.architecture != architecture:
        raise ModelError(
            f"{path}: these weights are of {weights.architecture!r}, not of {architecture!r}: "
            "give the run that trained them"
        )
    try:
        model.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: these weights are of a network of another size, or of other classes: put the files of the "
            "run back, or train again"
        ) from error


def start_from(path: Path, model: nn.Module, architecture: str, classes: tuple[str, ...]) -> int:
    """Initialise a network with another run's weights; rows of the head are copied where both know the landmark.

    A class of exactly this name comes before another name of the landmark: `06.colosseum`, `Colosseum`.

    Args:
        path: The weights file of the other run.
        model: The network to fill; every tensor of `model.head` has one row per class.
        architecture: Its architecture.
        classes: Its class names.

    Returns:
        The number of classes whose row of the head was copied.

    Raises:
        ModelError: The file is damaged, or has another architecture or kind of head.
    """
    weights = read_weights(path)
    if weights.architecture != architecture:
        raise ModelError(f"{path}: cannot start {architecture!r} from weights of {weights.architecture!r}")
    state = {name: value for name, value in model.state_dict().items() if name.startswith("head.")}
    key_of = Gazetteer.bundled().key_of
    rows = {key_of(name): row for row, name in enumerate(weights.classes)}
    rows |= {name: row for row, name in enumerate(weights.classes)}
    found = [rows.get(name, rows.get(key_of(name))) for name in classes]
    shared = [(new, old) for new, old in enumerate(found) if old is not None]
    if _head_of(state) != _head_of(weights.tensors):
        raise ModelError(
            f"{path}: its head is of another kind: give the `head` and `sub_centers` of the run that `init` names"
        )
    try:
        for name, value in weights.tensors.items():
            if not name.startswith("head."):
                state[name] = value
                continue
            row = state[name].clone()
            for new, old in shared:
                row[new] = value[old]
            state[name] = row
        model.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(
            f"{path}: these weights are of a network of another size: give the `widths` and `depths` of the run "
            "that `init` names"
        ) from error
    return len(shared)


def _head_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the names of a head's tensors, each with the shape between its class and feature axes."""
    return {name: tuple(value.shape[1:-1]) for name, value in state.items() if name.startswith("head.")}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
