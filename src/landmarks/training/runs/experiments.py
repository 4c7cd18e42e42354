"""Compares runs: their settings, their metrics, and whether two of them differ.

Reads run folders and needs no PyTorch. Runs of older versions can be read too, because their settings are not
checked.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmarks.errors import RunError
from landmarks.training.config.rules import argument_of
from landmarks.training.metrics.evaluate import Z95, Proportion
from landmarks.training.runs.folder import RunFolder, read_history, read_json
from landmarks.training.runs.pictures import picture_name

Settings = Mapping[str, str]
"""Settings as text, by the argument of `landmarks train`."""


@dataclass(frozen=True)
class RunSummary:
    """One run in a list.

    Attributes:
        root: The run folder.
        model: Name of the network, empty if training has not begun.
        data: Name of the data folder.
        fingerprint: Hash of the images and their split, empty if training has not begun.
        settings: Its settings, without the folders of its images and caches.
        epochs: Finished epochs.
        loss: Loss on the requested split, None if it was not evaluated.
        accuracy: Likewise, with its interval.
        seconds: Wall time of the whole run, None if it is not finished.
    """

    root: Path
    model: str
    data: str
    fingerprint: str
    settings: Settings
    epochs: int
    loss: float | None
    accuracy: Proportion | None
    seconds: float | None


def find_runs(folder: Path, split: str = "test") -> tuple[list[RunSummary], list[str]]:
    """Read every run below a folder.

    Args:
        folder: Searched recursively, but for hidden folders in it; a run folder itself is one run.
        split: Split whose loss and accuracy are read, `valid` or `test`.

    Returns:
        The runs, grouped by data set, most accurate first; and a sentence for each damaged run folder.

    Raises:
        RunError: There is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder: give the folder that holds your runs")
    runs, damaged = [], []
    for path in sorted(folder.rglob("settings.json")):
        if _is_artifact(path) or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # hidden, as the settings of an editor
        try:
            runs.append(read_summary(path.parent, split))
        except RunError as error:
            damaged.append(str(error))
    runs.sort(key=lambda run: (run.data, run.fingerprint, -run.accuracy.value if run.accuracy else 1, run.root))
    return runs, damaged


def _is_artifact(path: Path) -> bool:
    """Return whether this file is MLflow's copy of the settings in `RUN_ID/artifacts/`."""
    folder = path.parent
    return folder.name == "artifacts" and re.fullmatch("[0-9a-f]{32}", folder.parent.name) is not None


def read_summary(root: Path, split: str = "test") -> RunSummary:
    """Read one run.

    Raises:
        RunError: It is not a run folder, or damaged.
    """
    run = RunFolder(root)
    settings = read_json(run.settings)
    info = read_json(run.info) if run.info.is_file() else {}
    metrics_file = root / f"metrics_{split}.json"
    metrics = read_json(metrics_file) if metrics_file.is_file() else {}
    try:
        data = info.get("data", {})
        seconds = info.get("seconds")
        return RunSummary(
            root=root,
            model=str(info.get("architecture", "")),
            data=str(data.get("name", Path(settings["data"]).name)),
            fingerprint=str(data.get("fingerprint", "")),
            settings=settings_as_text(settings),
            epochs=len(read_history(run.history)),
            loss=float(metrics["loss"]) if metrics else None,
            accuracy=Proportion(**metrics["top1"]) if metrics else None,
            seconds=float(seconds) if seconds is not None else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{root}: damaged ({error!r}): train again") from error


def settings_as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Convert settings from `RunSettings.to_dict` to text by argument, without folders."""
    return {
        argument_of(key): _text(value)
        for group in settings.values()
        if isinstance(group, Mapping)
        for key, value in group.items()
    }


def differing(settings: Iterable[Settings]) -> list[str]:
    """Return the names of the settings that differ, in the order of the first that has them."""
    rows = list(settings)
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({row.get(name) for row in rows}) > 1]


@dataclass(frozen=True)
class Pairs:
    """Two models on the same images, counted image by image.

    Attributes:
        both: Correct in both.
        first: Correct only in the first.
        second: Correct only in the second.
        neither: Wrong in both.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def count(self) -> int:
        """Number of images."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> Proportion:
        """Accuracy of the second run minus that of the first, in [-1, 1], with its 95 % interval.

        The interval is the adjusted Wald interval of Bonett and Price 2012 (Journal of Educational and Behavioral
        Statistics 37(4), 479-488), which holds its level with few images too.
        """
        gain, loss = (self.second + 1) / (self.count + 2), (self.first + 1) / (self.count + 2)
        half = Z95 * math.sqrt((gain + loss - (gain - loss) ** 2) / (self.count + 2))
        centre = gain - loss
        value = (self.second - self.first) / self.count
        return Proportion(value, max(-1.0, centre - half), min(1.0, centre + half), self.count)

    @property
    def p_value(self) -> float:
        """P value of McNemar's test in its mid-p form: the probability of so uneven a split between equal models.

        Of the images that only one of two equal models recognises, each recognises half on average (McNemar 1947,
        https://doi.org/10.1007/BF02295996). The mid-p form counts the observed split by half and is less
        conservative than the exact test (Fagerland, Lydersen and Laake 2013,
        https://doi.org/10.1186/1471-2288-13-91).
        """
        less, total = min(self.first, self.second), self.first + self.second
        if total == 0:
            return 1.0  # no evidence of a difference
        below = sum(math.comb(total, k) for k in range(less))
        seen = math.comb(total, less)
        if self.first == self.second:
            return 1 - seen / (1 << (total + 1))
        return (2 * below + seen) / (1 << total)


@dataclass(frozen=True)
class Comparison:
    """Two runs and how they differ.

    Attributes:
        runs: The first and the second.
        split: The split they are compared on.
        pairs: Counts over all images.
        classes: Counts by true class, only classes on which the runs differ, largest difference first.
        settings: Name and both values of each setting that differs.
    """

    runs: tuple[RunSummary, RunSummary]
    split: str
    pairs: Pairs
    classes: tuple[tuple[str, Pairs], ...]
    settings: tuple[tuple[str, str, str], ...]


def compare_runs(first: Path, second: Path, split: str = "test") -> Comparison:
    """Compare two runs on the same images.

    Args:
        first: A run folder.
        second: Another.
        split: `valid` or `test`.

    Raises:
        RunError: One is not a run folder or was not evaluated, or the images are not the same.
    """
    runs = read_summary(first, split), read_summary(second, split)
    predictions = _read_predictions(first, split), _read_predictions(second, split)
    if not predictions[0]:
        raise RunError(f"{first}: no {split} pictures to compare: run landmarks evaluate {first} again")
    others = set(predictions[0]) ^ set(predictions[1])
    if others:
        raise RunError(
            f"{first} and {second}: not the same {split} pictures ({len(others)} are in one run alone): compare "
            "runs on one data folder" + (" with one `seed` and `valid_size`" if split == "valid" else "")
        )
    by_class: dict[str, list[tuple[bool, bool]]] = {}
    for picture, right in predictions[0].items():
        by_class.setdefault(picture[1], []).append((right, predictions[1][picture]))
    counted = [(name, _count(rights)) for name, rights in sorted(by_class.items())]
    names = differing(run.settings for run in runs)
    return Comparison(
        runs=runs,
        split=split,
        pairs=_count(pair for rights in by_class.values() for pair in rights),
        classes=tuple(
            sorted(
                (item for item in counted if item[1].first or item[1].second),
                key=lambda item: -abs(item[1].second - item[1].first),
            )
        ),
        settings=tuple((name, runs[0].settings.get(name, ""), runs[1].settings.get(name, "")) for name in names),
    )


def _count(rights: Iterable[tuple[bool, bool]]) -> Pairs:
    seen = list(rights)
    return Pairs(*(seen.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def _read_predictions(root: Path, split: str) -> dict[tuple[str, str], bool]:
    """Map (name of the image in the data set, true class) to whether the run was correct."""
    path = root / f"predictions_{split}.csv"
    if not path.is_file() or not (root / f"metrics_{split}.json").is_file():
        raise RunError(f"{root}: its {split} pictures were not evaluated: run landmarks evaluate {root} first")
    data = Path(str(read_json(RunFolder(root).settings).get("data", "")))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                (picture_name(Path(row["path"]), data), row["true"]): row["true"] == row["predicted"]
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: unreadable ({error}): run landmarks evaluate {root} again") from error


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
