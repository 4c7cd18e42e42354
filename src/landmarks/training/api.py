"""Train, evaluate and export from Python: the public functions of `landmarks` that need the extra `train`.

They import what needs it, so that everyone has their names, and their help.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from landmarks.errors import needing_extras, require_choice
from landmarks.files.paths import is_url, to_path
from landmarks.training.config.jobs import ExportSettings
from landmarks.training.config.settings import DEFAULT_METHOD, ModelKind, RunSettings
from landmarks.training.metrics.evaluate import Evaluation


@needing_extras()
def train(
    data: str | Path | RunSettings,
    out: str | Path | None = None,
    *,
    method: ModelKind = DEFAULT_METHOD,
    model: ModelKind | None = None,
) -> Path:
    """Train a network on a folder of images, one folder per class, or on a table of images.

    Args:
        data: The folder or table, by path or URL (see `landmarks.training.data.remote`), or all settings of the
            run.
        out: Run folder to make; None for one in `runs`, named after method and data.
        method: `transfer` trains a new head on a pretrained network, `scratch` a small network from scratch.
            Ignored if all settings are given.
        model: The former name of `method`.

    Returns:
        The run folder.

    Raises:
        DataError: The data set lacks what training needs.
        RunError: The run exists already.
        SettingsError: A setting is out of range.

    Example:
        >>> run = landmarks.train("pictures", "runs/mine")
    """
    from landmarks.training.engine.pipeline import train_run

    method = model or method
    require_choice("method", method, get_args(ModelKind))
    if isinstance(data, str) and is_url(data):
        from landmarks.training.data.remote import local_copy

        data = local_copy(data).path
    settings = data if isinstance(data, RunSettings) else RunSettings.for_method(data, method)
    settings = RunSettings.from_dict(settings.to_dict())  # as a resumed run reads them, without numbers of numpy
    folder = settings.default_out if out is None else to_path("out", out)
    train_run(settings, folder)
    return folder


@needing_extras()
def evaluate(run: str | Path, split: Literal["valid", "test", "both"] = "both") -> dict[str, Evaluation]:
    """Measure a trained run again and write its metrics and report.

    Args:
        run: Run folder.
        split: The split or splits to evaluate.

    Returns:
        The metrics of each split.

    Raises:
        RunError: There is no such run, or it is incomplete.
        SettingsError: There is no such split.

    Example:
        >>> accuracy = landmarks.evaluate("runs/mine")["test"].top1.value
    """
    from landmarks.training.engine.trained import SPLITS, evaluate_run, load_data, load_run

    require_choice("split", split, (*SPLITS, "both"))
    trained = load_run(to_path("run", run))
    return dict(evaluate_run(trained, load_data(trained), splits=SPLITS if split == "both" else (split,)))


@needing_extras()
def export(run: str | Path, out: str | Path | None = None, settings: ExportSettings | None = None) -> Path:
    """Turn a trained run into a model folder that needs no PyTorch, or into what `settings.target` needs.

    Args:
        run: Run folder.
        out: Folder to make; None for `model`, or the name of the target, in the run folder.
        settings: Target, precision, name, photos without a landmark for calibration; the defaults if None.

    Returns:
        The folder; a model folder is for `landmarks.load_model`.

    Raises:
        RunError: There is no such run, or it is incomplete.
        ExportError: The exported model does not predict like the trained one.

    Example:
        >>> model = landmarks.load_model(landmarks.export("runs/mine"))
    """
    from landmarks.training.engine.trained import load_data, load_run
    from landmarks.training.export.formats.targets import export_for, require_exportable

    trained = load_run(to_path("run", run))
    chosen = settings or ExportSettings()
    target = to_path("out", out) if out is not None else Path(run) / chosen.folder_name
    require_exportable(trained, target, chosen)
    export_for(trained, load_data(trained), target, chosen)
    return target
