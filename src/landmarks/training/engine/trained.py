"""A finished run: loaded, evaluated, reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from landmarks.errors import DataError, LandmarksError, RunError
from landmarks.files.atomic import write_bytes
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import RunSettings
from landmarks.training.data.cache import Progress, resolved
from landmarks.training.data.folders import read_data_folder
from landmarks.training.data.listing import is_shard_set
from landmarks.training.data.loaders import Data, Loader, make_loaders, prepare_data
from landmarks.training.engine.predicting import predicted_batches
from landmarks.training.metrics.evaluate import Evaluation, evaluate_outcomes, write_evaluation
from landmarks.training.metrics.outcomes import Outcomes
from landmarks.training.models.features import compute_embeddings, embedding_loader
from landmarks.training.models.networks import load_trained
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.reports import plots
from landmarks.training.reports.report import write_report
from landmarks.training.runs.class_history import read_class_history
from landmarks.training.runs.folder import RunFolder, open_run, read_history, read_info, read_json

SPLITS = ("valid", "test")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, loaded.

    Attributes:
        folder: Its folder.
        settings: Its settings.
        info: Content of `run.json`.
        classes: Class names in the order of the logits.
        preprocessing: The contract of the network.
        architecture: Name of the network.
        model: The network with the best weights, in evaluation mode.
    """

    folder: RunFolder
    settings: RunSettings
    info: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    architecture: str
    model: nn.Module

    def metrics(self, split: str) -> dict[str, Any]:
        """Return the main metrics of a split, or nothing where it was not evaluated."""
        path = self.folder.root / f"metrics_{split}.json"
        if not path.is_file():
            return {}
        try:
            values = read_json(path)
        except RunError as error:
            raise RunError(f"{path}: unreadable: landmarks evaluate {self.folder.root} writes it again") from error
        return {key: values[key] for key in ("count", "loss", "top1", "top5", "macro", "sources") if key in values}


def load_run(root: Path) -> TrainedRun:
    """Load a finished run.

    Raises:
        RunError: The folder is not a finished run.
        ModelError: Its weights are damaged, changed or of another architecture.
    """
    run, settings = open_run(root)
    info = read_info(run)
    classes = tuple(map(str, info["classes"]))
    preprocessing = Preprocessing.from_dict(info["preprocessing"])
    network = load_trained(settings.model, classes, preprocessing, run.weights)
    return TrainedRun(run, settings, info, classes, preprocessing, network.architecture, network.model)


def load_data(run: TrainedRun, *, progress: Progress | None = None) -> Data:
    """Open the data of a run again, with the same split.

    Raises:
        DataError: The data folder is gone or no longer readable.
        RunError: The pictures are not those of the run.
    """
    settings = run.settings
    require_data(run.folder, settings)
    data = prepare_data(settings.data, settings.loading, cache=settings.cache, progress=progress)
    require_same_data(run.folder, run.info, data)
    return data


def require_data(run: RunFolder, settings: RunSettings) -> None:
    """Refuse a run whose data is not where its settings say.

    Raises:
        DataError: There is nothing.
    """
    if not settings.data.exists():
        elsewhere = "" if settings.data.is_absolute() else ", or work in the folder where the run was trained"
        raise DataError(
            f"{settings.data}: no such folder or file, which {run.settings} names as the data: put it "
            f"back{elsewhere}"
        )


def require_same_data(run: RunFolder, info: Mapping[str, Any], data: Data) -> None:
    """Refuse pictures that are not those a run was trained on.

    Raises:
        RunError: The fingerprint in `run.json` is another.
    """
    if info["data"]["fingerprint"] != data.fingerprint:
        raise RunError(
            f"{data.folder.root}: these are not the pictures that {run.root} was trained on: put them back, or "
            "train a new run"
        )


def trained_before(init: Path | None, root: Path) -> Iterator[tuple[Path, set[str], str]]:
    """Yield the runs that a run started from, the last one first, and what each was trained on.

    Args:
        init: The run to start from; None for none.
        root: Data of the run. Shards have no paths to compare: they are its own, or what is in them is not known.

    Yields:
        The run folder; its training images, each as `resolved` gives it; and why they are not known, or nothing.
    """
    while init is not None:
        try:
            _, first = open_run(init)
            if is_shard_set(first.data):
                same = first.data.resolve() == root.resolve()
                yield init, set(), "" if same else "its pictures lie in shards, where they cannot be compared"
            else:
                how, cache = first.loading, first.cache
                folder = read_data_folder(
                    first.data, valid_size=how.valid_size, seed=how.seed, limit=how.limit, cache=cache
                )
                yield init, set(resolved(sample.path for sample in folder.train)), ""
        except (LandmarksError, OSError):
            yield init, set(), "its data are not there"
            return
        init = first.model.init


def data_before(init: Path | None) -> Iterator[str]:
    """Yield the names of the data of the runs that a run started from, the last one first.

    Args:
        init: The run to start from; None for none.

    Yields:
        The name of a data set; of a run that is gone, what there is to say of it.
    """
    while init is not None:
        try:
            run, first = open_run(init)
            yield str(read_info(run)["data"]["name"])
        except (LandmarksError, OSError):
            yield f"data of the run {init.name}"
            return
        init = first.model.init


def evaluate_run(run: TrainedRun, data: Data, *, splits: Sequence[str] = SPLITS) -> dict[str, Evaluation]:
    """Evaluate a run on splits of its data, and write metrics, tables, plots and the report to its folder.

    Args:
        run: The run.
        data: Its data, from `load_data`.
        splits: Which of `valid` and `test`; one that was evaluated before is measured again too, for the report.

    Returns:
        The evaluation of each of `splits`.
    """
    root = run.folder.root
    measured = [split for split in SPLITS if split in splits or (root / f"metrics_{split}.json").is_file()]
    evaluations = {split: _evaluate_split(run, data, split) for split in measured}
    confusions = {
        split: plots.png_bytes(plots.confusion_matrix(one.confusion, one.class_names))
        for split, one in evaluations.items()
    }
    for split, evaluation in evaluations.items():
        write_evaluation(evaluation, root, split)
        write_bytes(root / f"confusion_{split}.png", confusions[split])
    _write_report(run, data, evaluations, confusions)
    return {split: evaluations[split] for split in splits}


def _evaluate_split(run: TrainedRun, data: Data, split: str) -> Evaluation:
    samples = data.folder.valid if split == "valid" else data.folder.test
    if isinstance(run.model, TransferModel) and not run.settings.model.unfreeze:
        # The embeddings of a frozen backbone are cached, or soon are: no need to run it in PyTorch.
        embeddings = compute_embeddings(
            run.model,
            data.cache,
            samples,
            run.preprocessing,
            data.cache_folder,
            accelerator=run.settings.loop.accelerator,
        )
        loader: Loader = embedding_loader(embeddings, samples, run.settings.loading.batch_size)
        batches = predicted_batches(loader, Head(run.model))
    else:
        loaders = make_loaders(data, run.settings.loading, run.settings.augment, preprocessing=run.preprocessing)
        batches = predicted_batches(loaders[split], run.model)
    outcomes = Outcomes.joined(Outcomes.of(found.numpy(), labels.numpy()) for found, labels in batches)
    sources = tuple(sample.source for sample in samples)
    paths = [sample.path for sample in samples]
    return evaluate_outcomes(outcomes, run.classes, paths, sources if any(sources) else None)


def _write_report(
    run: TrainedRun, data: Data, evaluations: Mapping[str, Evaluation], confusions: Mapping[str, bytes]
) -> None:
    history = read_history(run.folder.history)
    seconds = run.info.get("seconds")  # of a run that was finished
    write_report(
        run.folder.report,
        title=f"{run.architecture} on {run.info['data']['name']}",
        settings=run.settings.to_dict(),
        summary=[
            ("Network", run.architecture),
            ("Classes", str(len(run.classes))),
            ("Parameters", f"{sum(p.numel() for p in run.model.parameters()) / 1e6:.2f} million"),
            ("Epochs", str(len(history))),
            *([("Time", f"{seconds / 60:.1f} minutes")] if seconds is not None else []),
        ],
        evaluations=evaluations,
        confusions=confusions,
        history=[asdict(row) for row in history],
        data_summary=run.info["data"],
        class_counts=data.class_counts,
        environment={**run.info["versions"], "machine": run.info["machine"]},
        class_history=read_class_history(run.folder.class_history),
    )
