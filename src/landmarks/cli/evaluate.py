"""`landmarks evaluate`."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click

from landmarks.cli.config import is_typed
from landmarks.cli.declare import Argument, Fields, Jsonl, Option, Verbosity, Workers
from landmarks.cli.output import print_json
from landmarks.cli.remote import local_data
from landmarks.errors import SettingsError
from landmarks.tagging.settings import TagSettings

if TYPE_CHECKING:
    from landmarks.training.evaluation.evaluation import EvaluateSettings, FolderEvaluation
    from landmarks.training.metrics.evaluate import Evaluation


def evaluate(
    model: Annotated[str, Argument("Run folder, model folder, bundled model, .pt or .onnx file.")],
    data: Annotated[
        tuple[str, ...],
        Argument(
            "Folders of photos, one folder per class, by path or URL; without one, a run is evaluated on its own "
            "data."
        ),
    ] = (),
    negatives: Annotated[
        tuple[str, ...], Option("Folder of photos without a landmark; its subfolders are kinds.", repeat=True)
    ] = (),
    split: Annotated[
        Literal["valid", "test", "both"] | None, Option("Split of a run's own data.", default="both")
    ] = None,
    out: Annotated[
        Path | None, Option("Folder for metrics and report.", default="runs/evaluate-MODEL-DATA")
    ] = None,
    jsonl: Jsonl = False,
    workers: Workers = None,
    *,
    settings: Annotated[
        TagSettings,
        Fields(omit=("top", "near_km", "far_km", "places", "language"), flags={"use_position": "--position"}),
    ],
    verbosity: Verbosity,
) -> None:
    """Evaluate a model on folders of photos, or a run on its own data.

    Classes are matched by name; those the model does not know count as unknown landmarks. Writes metrics.json,
    photos.jsonl and report.html; for a run without DATA, into the run folder.
    """
    if not data and not negatives:
        if is_typed("out"):
            raise SettingsError("`out` is about other data: a run is evaluated in its own folder")
        _require_run(model)
        _require_untyped()
        _evaluate_run(Path(model), split or "both", jsonl=jsonl, verbosity=verbosity)
        return
    if is_typed("split"):
        raise SettingsError("`split` is about a run's own data: give it without `data`")
    from landmarks.training.evaluation.evaluation import METRICS_FILE, EvaluateSettings
    from landmarks.training.evaluation.opening import uses_pytorch
    from landmarks.training.runs.folder import require_own_report

    if out is not None:
        require_own_report(out, METRICS_FILE)
    if uses_pytorch(model):  # which has neither: in a configuration file they are for other models
        workers = workers if is_typed("workers") else None
        settings = settings if is_typed("engine") else replace(settings, engine=TagSettings.engine)
    photos, others = ([local_data(one, None, verbosity) for one in given] for given in (data, negatives))
    asked = EvaluateSettings(model, tuple(photos), tuple(others), replace(settings, top=5), workers)
    _evaluate_folder(asked, out, jsonl=jsonl, verbosity=verbosity)


def _require_run(model: str) -> None:
    """Refuse a model without data of its own."""
    from landmarks.model.folder import INFO_FILE, named_model
    from landmarks.training.runs.folder import RunFolder

    path = Path(model)
    named = named_model(model) is not None and not RunFolder(path).info.is_file()
    if path.is_file() or (path / INFO_FILE).is_file() or named:
        raise SettingsError(f"{model}: no run with data of its own: give folders of photos to evaluate it on")


def _require_untyped() -> None:
    """Refuse options of tagging, which a run's own data is not."""
    for option in (*(one.name for one in fields(TagSettings)), "workers"):
        if is_typed(option):
            raise SettingsError(f"`{option}` needs `data`: give it too")


def _name(path: Path) -> str:
    resolved = path.resolve()
    return resolved.parent.name if resolved.is_file() else resolved.name


def _default_out(found: FolderEvaluation) -> Path:
    """Return `runs/evaluate-MODEL-DATA`, numbered where another evaluation has this name."""
    asked = found.settings
    name = f"evaluate-{_name(Path(asked.model))}-{_name((asked.data or asked.negatives)[0])}"
    folders = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if not folder.exists() or _is_earlier(folder, found))


def _is_earlier(folder: Path, found: FolderEvaluation) -> bool:
    """Return whether a folder holds an earlier evaluation of the same model on the same folders, tagged alike."""
    from landmarks.training.evaluation.evaluation import METRICS_FILE

    try:
        there = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    own = json.loads(json.dumps(found.to_dict()))  # as it would be read back
    alike = ("model", "data", "negatives", "tagging")
    return isinstance(there, dict) and all(there.get(key) == own[key] for key in alike)


def _evaluate_folder(asked: EvaluateSettings, out: Path | None, *, jsonl: bool, verbosity: Verbosity) -> None:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.evaluation.evaluation import REPORT_FILE, evaluate_folder, write_metrics
    from landmarks.training.evaluation.judgement import Judgement
    from landmarks.training.evaluation.report import write_report
    from landmarks.training.evaluation.table import source_lines, text_lines

    def show(judgement: Judgement) -> None:
        print_json(judgement.to_dict())

    with RunProgress(verbosity, unit="photos", answers=jsonl) as shown:
        shown.stage("evaluating")
        found = evaluate_folder(asked, progress=shown.progress, on_judgement=show if jsonl else None)
    for line in (*text_lines(found), *source_lines(found.summary)):
        click.echo(line, err=jsonl)
    folder = out or _default_out(found)
    write_metrics(found, folder)
    write_report(found, folder / REPORT_FILE)
    click.echo(f"report: {folder / REPORT_FILE}", err=jsonl)


def _evaluate_run(
    run: Path, split: Literal["valid", "test", "both"], *, jsonl: bool, verbosity: Verbosity
) -> None:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.trained import SPLITS, evaluate_run, load_data, load_run

    trained = load_run(run)
    with RunProgress(verbosity, unit="images") as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("evaluating")
        evaluations = evaluate_run(trained, data, splits=SPLITS if split == "both" else (split,))
    if not jsonl:
        click.echo("split  images    loss    top-1   95 % interval     top-5   macro F1  ECE")
    for name, found in evaluations.items():
        _show_split(name, found, jsonl=jsonl)
    click.echo(f"report: {trained.folder.report}", err=jsonl)


def _show_split(name: str, found: Evaluation, *, jsonl: bool) -> None:
    if jsonl:
        print_json(
            {
                "split": name,
                "images": found.count,
                "loss": found.loss,
                "top1": {"value": found.top1.value, "low": found.top1.low, "high": found.top1.high},
                "top5": found.top5.value,
                "macro_f1": found.macro.f1,
                "calibration_error": found.calibration.error,
            }
        )
    else:
        click.echo(
            f"{name:5}  {found.count:8d}  {found.loss:.4f}  {found.top1.value:.4f}  "
            f"{found.top1.low:.4f} - {found.top1.high:.4f}  {found.top5.value:.4f}  {found.macro.f1:.4f}    "
            f"{found.calibration.error:.4f}"
        )
