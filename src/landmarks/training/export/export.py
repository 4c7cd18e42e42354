"""Exports a finished run as a model folder, only if its predictions match those of the trained network."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landmarks.errors import DataError, ExportError, RunError, SettingsError
from landmarks.files.atomic import write_text
from landmarks.files.checksums import sha256_file
from landmarks.files.temporary import new_folder
from landmarks.imaging.preprocessing import normalize
from landmarks.model.calibration import UNKNOWN, negatives_by_folder, negatives_needed, require_negatives
from landmarks.model.folder import (
    CARD_FILE,
    NOT_STATED,
    ONNX_FILE,
    REFERENCE_FILE,
    TORCHSCRIPT_FILE,
    ModelInfo,
    licence_of,
    origins_of,
    parse_licences,
    write_info,
)
from landmarks.model.ood import BACKGROUND, is_landmark
from landmarks.model.recognizer import Recognizer
from landmarks.model.vectors import evenly
from landmarks.training.config.jobs import CALIBRATED, ExportSettings
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.engine.trained import TrainedRun, data_before
from landmarks.training.export.background_table import BackgroundTable, table_fits
from landmarks.training.export.calibration import (
    Calibrated,
    CalibrationPhotos,
    calibrate_by_table,
    calibrate_export,
    require_others,
)
from landmarks.training.export.card import model_card
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predict_picture,
    save_torchscript,
)
from landmarks.training.export.quantization import quantize
from landmarks.training.export.thresholds import OpenSetTargets
from landmarks.training.metrics.evaluate import Proportion
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import TransferModel
from landmarks.training.runs.experiments import Pairs
from landmarks.training.runs.folder import library_versions

TOLERANCE = 1e-4
"""Maximum difference in probability between the trained network and an fp32 export."""

INT8_LOSS = 0.01
"""Accuracy that int8 may lose. A larger loss is refused only if it is significant at 95 %."""

CALIBRATION_PICTURES = 200
FP32_PICTURES = 16
INT8_TRAINING_PICTURES = 1000
"""Training images on which int8 is compared with fp32, in addition to the validation images."""

VALID_PICTURES = 5000
"""Validation images on which accuracies are compared, evenly drawn; all where there are fewer."""


@dataclass(frozen=True)
class ParityReport:
    """How closely an export agrees with the trained network.

    Attributes:
        pictures: Validation images on which fp32 exports were compared.
        torchscript: Maximum difference in probability of the TorchScript file.
        onnx: Likewise for the fp32 ONNX model.
        valid_pictures: Validation images on which accuracies were measured.
        valid_accuracy: Accuracy on them of the fp32 ONNX model.
        int8_valid_accuracy: Accuracy on them of the int8 model, or None for an fp32 export.
        int8_difference: Accuracy of int8 minus that of fp32 on validation and training images together, with its
            95 % interval; None for an fp32 export.
        unreadable: Photos of `negatives` and `unknown_landmarks` that cannot be read.
    """

    pictures: int
    torchscript: float
    onnx: float
    valid_pictures: int
    valid_accuracy: float
    int8_valid_accuracy: float | None = None
    int8_difference: Proportion | None = None
    unreadable: tuple[str, ...] = ()


def export_run(run: TrainedRun, data: Data, out: Path, settings: ExportSettings | None = None) -> ParityReport:
    """Write a run as a model folder.

    `settings.target` is not considered: see `landmarks.training.export.formats.targets.export_for`.

    Args:
        run: A finished run, loaded.
        data: Its images: int8 is calibrated on training images; exports are compared on validation images, int8 on
            training images too.
        out: The folder to make.
        settings: Content of the export, or None for the defaults.

    Returns:
        What was compared.

    Raises:
        RunError: `out` exists.
        SettingsError: Rates are asked for, and there is nothing to choose a threshold on.
        ExportError: An export does not predict what the trained network predicts.
        StorageError: A file cannot be written.
    """
    chosen = settings or ExportSettings()
    require_photos_for_rates(run, chosen)
    with export_folder(out) as folder:
        return write_model(run, data, folder, replace(chosen, name=chosen.name or out.name))


def require_free(out: Path) -> None:
    """Refuse a folder to make that exists; raises `RunError`."""
    if out.exists():
        raise _taken(out)


def export_folder(out: Path) -> AbstractContextManager[Path]:
    """As `landmarks.files.temporary.new_folder`; raises `RunError` if `out` exists."""
    return new_folder(out, taken=_taken(out))


def _taken(out: Path) -> RunError:
    return RunError(f"{out}: this model folder exists: choose another `out` or remove it")


def write_model(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> ParityReport:
    """Write the files of a model folder; see `export_run`."""
    given = list(filter(None, (settings.negatives, settings.unknown_landmarks)))
    require_others(given, data, run.settings.model.init)
    measured = {split: run.metrics(split) for split in ("valid", "test")}
    contract = run.preprocessing
    fp32 = folder / "fp32.onnx"
    write_onnx(run.model, contract, fp32)
    name = run.info["data"]["name"]
    earlier = dict.fromkeys((one for one in data_before(run.settings.model.init) if one != name), NOT_STATED)
    origin = origins_of(data.sources.elements(), earlier | parse_licences(settings.origin), fallback=name)
    info = ModelInfo(
        name=settings.name or folder.name,
        architecture=run.architecture,
        precision="fp32",
        classes=run.classes,
        preprocessing=contract,
        data=_without_paths(run.info["data"]),
        versions=library_versions(),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        licence=licence_of(settings.licence, origin),
        origin=origin,
    )
    shutil.copy(fp32, folder / ONNX_FILE)
    info = _describe(folder, info)
    samples = evenly(data.folder.valid, VALID_PICTURES)
    pictures = compared_pictures(data)
    onnx = _compare_onnx(run, pictures, folder)
    right = _recognised(folder, data, samples)
    accuracy, difference = None, None
    if settings.precision == "int8":
        crop = EvalTransform(contract).crop
        more = evenly(data.folder.train, INT8_TRAINING_PICTURES)
        before = np.concatenate([right, _recognised(folder, data, more)])
        calibrating = evenly(data.folder.train, CALIBRATION_PICTURES)
        quantize(fp32, folder / ONNX_FILE, [crop(data.cache.picture(sample.path)) for sample in calibrating])
        info = _describe(folder, replace(info, precision="int8"))
        after = _recognised(folder, data, [*samples, *more])
        require_parity(right, after[: len(samples)])  # alone too: both know the training pictures by heart
        difference = require_parity(before, after)
        accuracy = float(after[: len(samples)].mean())
    fp32.unlink()
    made = _calibrated(run, data, folder, settings)
    if made.calibration is not None:
        info = replace(info, temperature=made.calibration.temperature, calibration=made.calibration.to_dict())
    script = write_torchscript(run, pictures, folder / TORCHSCRIPT_FILE, info.temperature)
    left_out = tuple(map(str, made.unreadable))
    found = (len(right), float(right.mean()), accuracy, difference)
    parity = ParityReport(len(pictures), script, onnx, *found, left_out)
    if made.reference is not None:
        made.reference.save(folder / REFERENCE_FILE)
    # A model folder is passed on, without paths of this machine.
    compared = {**asdict(parity), "unreadable": [path.name for path in made.unreadable]}
    info = replace(info, metrics={**measured, "export": compared})
    write_text(folder / CARD_FILE, model_card(info, settings.notes))
    if not settings.torchscript:
        (folder / TORCHSCRIPT_FILE).unlink()
    _describe(folder, info)
    return parity


def _without_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of its data with the number of its unreadable images, not their paths."""
    kept = {key: value for key, value in data.items() if key != "broken"}
    return {**kept, "unreadable": len(data.get("broken", ()))}


def _of_table(run: TrainedRun) -> TransferModel | None:
    """Return the network if the bundled table fits it."""
    return run.model if isinstance(run.model, TransferModel) and table_fits(run.settings.model) else None


def require_photos_for_rates(run: TrainedRun, settings: ExportSettings) -> None:
    """Refuse rates without photos to choose a threshold on, too few of them, and a score that tells none apart.

    Photos of landmarks that the model knows do not count.

    Raises:
        SettingsError: Photos or a background class are missing.
        DataError: There are too few photos.
    """
    if settings.score == "known_mass" and is_landmark(run.classes).all():
        raise SettingsError(
            f"`score` known_mass needs a class {BACKGROUND}, which {run.folder.root} does not have: leave it out"
        )
    for name, needed in (("target_fpr", "negatives"), ("unknown_tags", "unknown_landmarks")):
        table = settings.negatives is None and _of_table(run) is not None
        if settings.differs(name) and getattr(settings, needed) is None and not table:
            raise SettingsError(f"`{name}` needs `{needed}`: photos on which the threshold is chosen")
    if settings.negatives is not None:
        groups, _ = negatives_by_folder(settings.negatives, run.classes)
        require_negatives(settings.negatives, sum(map(len, groups.values())), settings.target_fpr)
        if settings.unknown_landmarks is not None:
            negatives_by_folder(settings.unknown_landmarks, run.classes, UNKNOWN)
    elif settings.differs("target_fpr"):
        given, fewest = BackgroundTable.bundled().ordinary, negatives_needed(settings.target_fpr)
        if given < fewest:
            raise DataError(
                f"`target_fpr` {settings.target_fpr:g} needs {fewest} photos without a landmark, and the bundled "
                f"table has {given}: give `negatives`"
            )


def _calibrated(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Calibrated:
    targets = OpenSetTargets(settings.target_fpr, settings.unknown_tags)
    if settings.target not in CALIBRATED:
        return Calibrated()
    if settings.negatives is not None:
        photos = CalibrationPhotos(settings.negatives, settings.unknown_landmarks, settings.score, targets)
        return calibrate_export(folder, data, photos)
    if (network := _of_table(run)) is not None:
        table = BackgroundTable.bundled().without(run.classes).seen_by(network)
        return Calibrated(calibrate_by_table(folder, data, table, targets))
    return Calibrated()


def _describe(folder: Path, info: ModelInfo) -> ModelInfo:
    names = (ONNX_FILE, TORCHSCRIPT_FILE, CARD_FILE, REFERENCE_FILE)
    files = {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}
    described = replace(info, files=files)
    write_info(folder, described)
    return described


def compared_pictures(data: Data) -> list[NDArray[np.uint8]]:
    """Return the validation images, each (H, W, 3), on which exports without rounding are compared."""
    return [data.cache.picture(sample.path) for sample in evenly(data.folder.valid, FP32_PICTURES)]


def trained_probabilities(run: TrainedRun, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities (N, K) of the trained network for crops (N, S, S, 3)."""
    run.model.eval()
    with torch.no_grad():
        logits: torch.Tensor = run.model(torch.from_numpy(normalize(crops, run.preprocessing)))
    probabilities: NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    return probabilities


def write_torchscript(
    run: TrainedRun, pictures: Sequence[NDArray[np.uint8]], path: Path, temperature: float = 1.0
) -> float:
    """Write a TorchScript file and return its maximum difference in probability from the trained network.

    The file resizes by itself, so it is compared with the same predictor before compilation.

    Raises:
        ExportError: It is above `TOLERANCE`.
    """
    predictor = make_predictor(run.model, run.classes, run.preprocessing, temperature)
    save_torchscript(predictor, path)
    script = load_torchscript(path)
    eager = np.stack([predict_picture(predictor, picture) for picture in pictures])
    exported = np.stack([predict_picture(script, picture) for picture in pictures])
    return require_same("TorchScript", eager, exported)


def _compare_onnx(run: TrainedRun, pictures: Sequence[NDArray[np.uint8]], folder: Path) -> float:
    crop = EvalTransform(run.preprocessing).crop
    crops = np.stack([crop(picture) for picture in pictures])
    return require_same("ONNX", trained_probabilities(run, crops), Recognizer(folder).answer(crops).probabilities)


def require_same(kind: str, trained: NDArray[np.float32], exported: NDArray[np.float32]) -> float:
    """Return the maximum difference between probabilities (N, K) of the trained network and of an export.

    Raises:
        ExportError: It is above `TOLERANCE`.
    """
    difference = float(np.abs(trained - exported).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the {kind} export differs from the trained network by {difference:.2g} of probability, more "
            f"than {TOLERANCE:g}: report this with the versions in run.json"
        )
    return difference


def require_parity(fp32: NDArray[np.bool_], int8: NDArray[np.bool_]) -> Proportion:
    """Compare what two models recognise, image by image.

    Args:
        fp32: (N,) whether the fp32 model recognised each image.
        int8: (N,) whether the int8 model did.

    Returns:
        Accuracy of int8 minus that of fp32, with its 95 % interval.

    Raises:
        ExportError: int8 is worse by more than `INT8_LOSS`, and not by chance: the whole interval is below.
    """
    difference = accuracy_difference(fp32, int8)
    if difference.high < -INT8_LOSS:
        raise ExportError(
            f"int8 recognises {-difference.value:.1%} fewer of {difference.count} pictures than fp32 (95 % "
            f"interval {-difference.high:.1%} to {-difference.low:.1%}): export with `precision` fp32"
        )
    return difference


def accuracy_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Proportion:
    """Return the accuracy of a second model minus that of a first, from which images each recognised, (N,)."""
    counts = ((first & second).sum(), (first & ~second).sum(), (~first & second).sum(), (~first & ~second).sum())
    return Pairs(*map(int, counts)).difference


def _recognised(folder: Path, data: Data, samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return which samples the model in `folder` recognises, (N,)."""
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    crop = EvalTransform(recognizer.info.preprocessing).crop
    found = []
    for start in range(0, len(samples), 16):
        group = samples[start : start + 16]
        predictions = recognizer.answer(np.stack([crop(data.cache.picture(sample.path)) for sample in group]))
        labels = np.array([sample.label for sample in group])
        found.append(predictions.probabilities.argmax(axis=1) == labels)
    return np.concatenate(found)
