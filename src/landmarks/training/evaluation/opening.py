"""Opens a model by its path or name: a model folder, a bundled model, a run, a TorchScript or ONNX file."""

from __future__ import annotations

from pathlib import Path

from landmarks.errors import ModelError, SettingsError
from landmarks.model.folder import INFO_FILE, ONNX_FILE, find_model, named_model
from landmarks.tagging.settings import TagSettings
from landmarks.training.evaluation.subjects import Subject, subject_of_folder
from landmarks.training.runs.folder import RunFolder


def open_subject(model: str, settings: TagSettings, *, workers: int | None = None) -> Subject:
    """Open a model by its name or path.

    Args:
        model: A bundled name, a model folder, a run folder, `model.pt`, or the `model.onnx` of a model folder.
        settings: How to tag.
        workers: Number of processes, or None for one per core; PyTorch models always use one.

    Raises:
        SettingsError: Several processes or an engine are asked for with a PyTorch model.
        ModelError: There is no such model, or it is damaged or of another kind.
        PlacesError: A table of places is broken.
    """
    path = Path(model)
    if uses_pytorch(model):
        if (workers or 1) > 1:
            raise SettingsError(f"{path}: a PyTorch model is evaluated in one process: leave out `workers`")
        if settings.engine != TagSettings.engine:
            raise SettingsError(f"{path}: a PyTorch model is evaluated by PyTorch: leave out `engine`")
        from landmarks.training.evaluation.networks import (  # noqa: PLC0415 - loads PyTorch
            subject_of_run,
            subject_of_torchscript,
        )

        return (subject_of_torchscript if path.is_file() else subject_of_run)(path, settings)
    if named_model(model) is None and path.is_file():
        return subject_of_folder(_folder_of_onnx(path), settings, workers=workers)
    return subject_of_folder(find_model(model), settings, workers=workers)


def uses_pytorch(model: str) -> bool:
    """Return whether a model is a run or a `.pt` file, whose network PyTorch evaluates in one process."""
    path = Path(model)
    is_own = (path.is_file() and path.suffix == ".pt") or RunFolder(path).info.is_file()
    return is_own and named_model(model) is None


def _folder_of_onnx(path: Path) -> Path:
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: not a model: give a model folder, a run folder, a .pt or a .onnx file")
    if path.name != ONNX_FILE or not (path.parent / INFO_FILE).is_file():
        raise ModelError(
            f"{path}: without {INFO_FILE} beside it, its classes and preprocessing are unknown: give the "
            f"{ONNX_FILE} of a model folder, or add the file with landmarks models add first"
        )
    return path.parent
