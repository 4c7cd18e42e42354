"""`landmarks export RUN --for TARGET`: one function per target."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from landmarks.errors import SettingsError
from landmarks.model.calibration import KNOWN
from landmarks.model.folder import TORCHSCRIPT_FILE, read_info
from landmarks.model.operating_points import points_from_dict
from landmarks.training.config.jobs import CALIBRATED, ExportSettings, ExportTarget
from landmarks.training.data.loaders import Data
from landmarks.training.engine.trained import TrainedRun
from landmarks.training.export.calibration import left_out
from landmarks.training.export.export import (
    ParityReport,
    compared_pictures,
    export_folder,
    require_free,
    require_photos_for_rates,
    write_model,
    write_torchscript,
)
from landmarks.training.export.formats.hub import write_hub_card
from landmarks.training.export.formats.onnx_file import write_onnx_files
from landmarks.training.export.formats.photoprism import photoprism_name, write_photoprism
from landmarks.training.export.formats.timm_files import TimmReport, require_timm, write_timm
from landmarks.training.export.thresholds import few_unknown, missing_points

Compared = tuple[str, ...]
"""What an export was compared with, photos that were left out and what more would bring, one sentence each."""


def require_exportable(run: TrainedRun, out: Path, settings: ExportSettings) -> None:
    """Refuse an export that cannot be, before the images are opened.

    Raises:
        RunError: `out` exists, or the target cannot hold the network of this run or its name.
        SettingsError: The target stores no name, or rates have nothing to be chosen on.
    """
    require_free(out)
    require_photos_for_rates(run, settings)
    if settings.target in ("timm", "hub"):
        require_timm(run)
    if settings.target == "photoprism":
        photoprism_name(settings.name or out.name)
    if settings.name is not None and settings.target not in (*CALIBRATED, "photoprism"):
        raise SettingsError(f"`name` is stored nowhere with `target` {settings.target}: leave it out")


def export_for(run: TrainedRun, data: Data, out: Path, settings: ExportSettings) -> Compared:
    """Write a run for the program or format in `settings.target`.

    Everything is written and compared in a temporary folder next to `out`, which is renamed at the end.

    Args:
        run: A finished run, loaded.
        data: Its images; see `landmarks.training.export.export.export_run`.
        out: The folder to make.
        settings: Target and content of the export.

    Returns:
        What was compared, which photos for the threshold were left out, and what more would bring.

    Raises:
        RunError: `out` exists, or the target cannot hold the network of this run.
        ExportError: The export does not predict what the trained network predicts.
        StorageError: A file cannot be written.
    """
    with export_folder(out) as folder:
        return _WRITERS[settings.target](run, data, folder, replace(settings, name=settings.name or out.name))


def _landmarks(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Compared:
    parity = write_model(run, data, folder, settings)
    return (
        f"{_differs('TorchScript', parity.torchscript)}, fp32 ONNX by {parity.onnx:.1e}",
        *_accuracies(parity),
        *_of_threshold(parity, folder, settings.unknown_tags),
    )


def _torchscript(run: TrainedRun, data: Data, folder: Path, _settings: ExportSettings) -> Compared:
    difference = write_torchscript(run, compared_pictures(data), folder / TORCHSCRIPT_FILE)
    return (_differs("TorchScript", difference),)


def _onnx(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Compared:
    with tempfile.TemporaryDirectory() as temporary:
        parity = write_model(run, data, Path(temporary), settings)
        write_onnx_files(Path(temporary), folder)
    return (_differs("fp32 ONNX", parity.onnx), *_accuracies(parity))


def _photoprism(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Compared:
    with tempfile.TemporaryDirectory() as temporary:
        parity = write_model(run, data, Path(temporary), settings)
        difference = write_photoprism(Path(temporary), compared_pictures(data), folder, settings.name or "")
    return (
        _differs("fp32 ONNX", parity.onnx),
        *_accuracies(parity),
        _differs("the file for PhotoPrism", difference),
    )


def _timm(run: TrainedRun, data: Data, folder: Path, _settings: ExportSettings) -> Compared:
    return _timm_sentences(write_timm(run, data, folder))


def _hub(run: TrainedRun, data: Data, folder: Path, settings: ExportSettings) -> Compared:
    report = write_timm(run, data, folder)
    parity = write_model(run, data, folder, replace(settings, torchscript=False))
    write_hub_card(folder)
    compared = (*_timm_sentences(report), _differs("fp32 ONNX", parity.onnx), *_accuracies(parity))
    return (*compared, *_of_threshold(parity, folder, settings.unknown_tags))


def _timm_sentences(report: TimmReport) -> Compared:
    return (
        _differs("timm, with features scaled as config.json states,", report.exact),
        f"timm by itself is right on {report.timm_accuracy:.4f} of {report.pictures} validation pictures, the "
        f"trained network on {report.trained_accuracy:.4f}",
    )


def _differs(name: str, difference: float) -> str:
    return f"{name} differs by at most {difference:.1e} of probability"


def _accuracies(parity: ParityReport) -> Compared:
    right = [("fp32", parity.valid_accuracy), ("int8", parity.int8_valid_accuracy)]
    return tuple(
        f"{name} is right on {accuracy:.4f} of {parity.valid_pictures} validation pictures"
        for name, accuracy in right
        if accuracy is not None
    )


def _of_threshold(parity: ParityReport, folder: Path, unknown_tags: float) -> Iterator[str]:
    """Yield which photos for the threshold were left out, and what more photos would bring."""
    if parity.unreadable:
        yield left_out(parity.unreadable)
    calibration = read_info(folder).calibration or {}
    fitted_on = calibration.get("fitted_on", {})
    if known := fitted_on.get(KNOWN):
        yield f"left out, as the model knows these landmarks: {', '.join(known)}"
    if points := points_from_dict(calibration.get("operating_points", {})):
        yield from missing_points(points, calibration["target_fpr"])
    yield from few_unknown(fitted_on, unknown_tags)


_WRITERS: dict[ExportTarget, Callable[[TrainedRun, Data, Path, ExportSettings], Compared]] = {
    "landmarks": _landmarks,
    "onnx": _onnx,
    "torchscript": _torchscript,
    "timm": _timm,
    "hub": _hub,
    "photoprism": _photoprism,
}
