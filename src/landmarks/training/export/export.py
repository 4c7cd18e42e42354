"""A finished run becomes a model folder, and proves that it answers like the trained network or is not written."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from landmarks.errors import ExportError, RunError
from landmarks.fewshot.reference import REFERENCE_FILE
from landmarks.files.atomic import storage_errors, write_text
from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import normalize
from landmarks.model.folder import CARD_FILE, ONNX_FILE, TORCHSCRIPT_FILE, ModelInfo, write_info
from landmarks.model.recognizer import Recognizer
from landmarks.training.config.jobs import ExportSettings
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.export.card import model_card
from landmarks.training.export.onnx_graph import write_onnx
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predict_picture,
    save_torchscript,
)
from landmarks.training.export.quantization import quantize
from landmarks.training.export.references import write_reference
from landmarks.training.export.thresholds import calibrate_export
from landmarks.training.runs.folder import library_versions
from landmarks.training.runs.trained import TrainedRun

TOLERANCE = 1e-4
"""Largest difference of a probability between the trained network and an fp32 export."""

INT8_LOSS = 0.01
"""Largest loss of validation accuracy that int8 may cost."""

CALIBRATION_PICTURES = 200
PROOF_PICTURES = 16


@dataclass(frozen=True)
class Proof:
    """How an export was shown to answer like the trained network.

    Attributes:
        pictures: Validation pictures on which fp32 exports were compared.
        torchscript: Largest difference of a probability of the TorchScript file.
        onnx: Likewise of the fp32 ONNX model.
        valid_accuracy: Accuracy on validation of the fp32 ONNX model.
        int8_valid_accuracy: Accuracy on validation of the int8 model, or None where it was not asked for.
    """

    pictures: int
    torchscript: float
    onnx: float
    valid_accuracy: float
    int8_valid_accuracy: float | None = None


def export_run(run: TrainedRun, data: Data, out: Path, settings: ExportSettings | None = None) -> Proof:
    """Write a run as a model folder.

    Everything is made and proven in a temporary folder beside `out`, which takes its place in the end.

    Args:
        run: A finished run, loaded.
        data: Its pictures: validation pictures prove the export, training pictures calibrate int8.
        out: The folder to make.
        settings: What the export holds, or None for the usual.

    Returns:
        What was compared.

    Raises:
        RunError: `out` exists.
        ExportError: An export does not answer like the trained network.
        StorageError: A file cannot be written.
    """
    if out.exists():
        raise RunError(f"{out}: this model folder exists: choose another --out or remove it")
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            folder = Path(temporary) / "model"
            folder.mkdir()
            chosen = settings or ExportSettings()
            proof = _write(run, data, folder, replace(chosen, name=chosen.name or out.name))
            shutil.move(folder, out)
    return proof


def _write(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Proof:
    contract = run.preprocessing
    save_torchscript(make_predictor(run.model, run.classes, contract), folder / TORCHSCRIPT_FILE)
    fp32 = folder / "fp32.onnx"
    write_onnx(run.model, contract, fp32)
    info = ModelInfo(
        name=settings.name or folder.name,
        architecture=run.architecture,
        precision="fp32",
        classes=run.classes,
        preprocessing=contract,
        data=run.info["data"],
        versions=library_versions(),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    shutil.copy(fp32, folder / ONNX_FILE)
    info = _describe(folder, info)
    samples = data.folder.valid
    proof = _prove_fp32(run, data, folder, samples)
    accuracy = _accuracy(folder, data, samples)
    proof = replace(proof, valid_accuracy=accuracy)
    if settings.precision == "int8":
        crop = EvalTransform(contract).crop
        step = max(1, len(data.folder.train) // CALIBRATION_PICTURES)
        quantize(fp32, folder / ONNX_FILE, [crop(data.cache.picture(s.path)) for s in data.folder.train[::step]])
        info = _describe(folder, replace(info, precision="int8"))
        quantised = _accuracy(folder, data, samples)
        if quantised < accuracy - INT8_LOSS:
            raise ExportError(
                f"int8 answers {accuracy - quantised:.1%} fewer validation pictures rightly than fp32 "
                f"({quantised:.1%} against {accuracy:.1%}): export with --precision fp32"
            )
        proof = replace(proof, int8_valid_accuracy=quantised)
    fp32.unlink()
    if settings.negatives is not None:
        calibration = calibrate_export(
            folder, data, settings.negatives, score=settings.score, target_fpr=settings.false_tags
        )
        info = replace(info, temperature=calibration.temperature, calibration=calibration.to_dict())
        write_reference(folder, data, settings.negatives)
    figures = {"valid": run.metrics("valid"), "test": run.metrics("test"), "export": vars(proof)}
    info = replace(info, metrics=figures)
    write_text(folder / CARD_FILE, model_card(info, settings.notes))
    if not settings.torchscript:
        (folder / TORCHSCRIPT_FILE).unlink()
    _describe(folder, info)
    return proof


def _describe(folder: Path, info: ModelInfo) -> ModelInfo:
    names = (ONNX_FILE, TORCHSCRIPT_FILE, CARD_FILE, REFERENCE_FILE)
    files = {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}
    described = replace(info, files=files)
    write_info(folder, described)
    return described


@torch.no_grad()
def _prove_fp32(run: TrainedRun, data: Data, folder: Path, samples: Sequence[Sample]) -> Proof:
    step = max(1, len(samples) // PROOF_PICTURES)
    pictures = [data.cache.picture(sample.path) for sample in samples[::step]]
    crops = np.stack([EvalTransform(run.preprocessing).crop(picture) for picture in pictures])
    run.model.eval()
    eager = torch.softmax(run.model(torch.from_numpy(normalize(crops, run.preprocessing))), dim=1).numpy()
    onnx = Recognizer(folder).answer(crops).probabilities
    # The TorchScript file resizes by itself, so it is compared with the same predictor before compilation.
    predictor = make_predictor(run.model, run.classes, run.preprocessing)
    script = load_torchscript(folder / TORCHSCRIPT_FILE)
    differences = {
        "TorchScript": max(
            _difference(predict_picture(predictor, p), predict_picture(script, p)) for p in pictures
        ),
        "ONNX": _difference(eager, onnx),
    }
    for kind, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the {kind} export differs from the trained network by {difference:.2g} of probability, more "
                f"than {TOLERANCE:g}: report this with the versions in run.json"
            )
    return Proof(len(pictures), differences["TorchScript"], differences["ONNX"], valid_accuracy=0.0)


def _difference(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float(np.abs(left - right).max())


def _accuracy(folder: Path, data: Data, samples: Sequence[Sample]) -> float:
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    crop = EvalTransform(recognizer.info.preprocessing).crop
    hits = 0
    for start in range(0, len(samples), 16):
        group = samples[start : start + 16]
        answers = recognizer.answer(np.stack([crop(data.cache.picture(sample.path)) for sample in group]))
        hits += int((answers.probabilities.argmax(axis=1) == np.array([sample.label for sample in group])).sum())
    return hits / len(samples)
