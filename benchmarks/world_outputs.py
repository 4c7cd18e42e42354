"""A trained network of `world` as ONNX, and what it says of every picture, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from world_data import Photo, Roles
from world_training import ExportedNetwork, WorldNetwork

from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.calibration import Outputs
from landmarks.training.export.quantization import quantize
from landmarks.training.models.onnx_graph import write_onnx

PREPROCESSING = Preprocessing(resize=224, crop=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""The whole short side, at 224 pixels: training crops of 160 and 192 pixels show things larger than they are then
(Touvron et al. 2019, https://arxiv.org/abs/1906.06423), and what stands around a landmark helps.
"""

BATCH = 16
RANGES = 200
"""Training pictures that set the ranges of the int8 network."""


def write_network(network: WorldNetwork, roles: Roles, folder: Path, *, scale: float, int8: bool = True) -> Path:
    """Write `fp32.onnx` and, unless `int8` is false, `int8.onnx` of a network; what is there is not made again.

    Args:
        network: Trained.
        roles: Its landmarks; some of the training pictures set the ranges of the int8 network.
        folder: Folder to write to.
        scale: What the cosines are multiplied by.
        int8: Whether the int8 network is wanted.

    Returns:
        The int8 network, or the other where that is not wanted.
    """
    path = folder / "fp32.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_onnx(ExportedNetwork(network, len(roles.known), scale).eval(), PREPROCESSING, path)
    return write_int8(path, roles) if int8 else path


def write_int8(source: Path, roles: Roles) -> Path:
    """Write `int8.onnx` beside `fp32.onnx`, unless it is there."""
    path = source.with_name("int8.onnx")
    if not path.is_file():
        places = np.random.default_rng(0).permutation(roles.of("train", "background"))[:RANGES]
        quantize(source, path, [prepare(roles.photos[i].path, PREPROCESSING) for i in places])
    return path


@dataclass(frozen=True, eq=False)
class AllOutputs:
    """Logits and embeddings of all pictures, in the order of the photos."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def at(self, places: NDArray[np.int64]) -> Outputs:
        """Those of some pictures."""
        return Outputs(self.logits[places], self.embeddings[places])


def outputs_of_all(
    network: Path,
    photos: Sequence[Photo],
    *,
    threads: int = 2,
    preprocessing: Preprocessing = PREPROCESSING,
    view: str = "",
) -> AllOutputs:
    """Outputs of an ONNX network for all photos, prepared as in use; kept beside it under its checksum.

    Args:
        network: ONNX file.
        photos: All photos.
        threads: Of ONNX Runtime.
        preprocessing: Of the network.
        view: Name of another view, whose outputs are kept apart; with `flip` in it the crops are mirrored.
    """
    kept = network.with_name(f"outputs-{sha256_file(network)[:12]}{view and '-'}{view}.npz")
    if not kept.is_file():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(str(network), options, ["CPUExecutionProvider"])
        logits, embeddings = [], []
        for first in range(0, len(photos), BATCH):
            crops = np.stack([prepare(one.path, preprocessing) for one in photos[first : first + BATCH]])
            if "flip" in view:
                crops = np.ascontiguousarray(crops[:, :, ::-1])
            found = session.run(["logits", "embedding"], {"pictures": crops})
            logits.append(found[0])
            embeddings.append(found[1].astype(np.float16))
        np.savez(kept, logits=np.concatenate(logits), embeddings=np.concatenate(embeddings))
    with np.load(kept) as stored:
        return AllOutputs(stored["logits"], stored["embeddings"].astype(np.float32))
