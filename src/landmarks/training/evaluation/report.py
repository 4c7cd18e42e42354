"""The report of an evaluation: one self-contained page in the style of the other reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from landmarks.errors import ImageError
from landmarks.imaging.thumbnails import load_small
from landmarks.training.evaluation.curves import threshold_curves
from landmarks.training.evaluation.evaluation import FolderEvaluation
from landmarks.training.evaluation.judgement import Judgement
from landmarks.training.evaluation.photos import Role
from landmarks.training.evaluation.summary import Summary
from landmarks.training.metrics.confusion import Confusion
from landmarks.training.metrics.evaluate import Proportion
from landmarks.training.reports import plots
from landmarks.training.reports.page import (
    MOST_ROWS,
    Drawing,
    Thumbnail,
    both_ends,
    drawing,
    percent,
    thumbnail,
    write_page,
)

_PAIRS, _SIDE = 20, 320
_ROLE_NAMES = {
    "known": "known landmarks",
    "unknown": "unknown landmarks",
    "negative": "no landmark",
    "both": "all others",
}


@dataclass(frozen=True)
class _Card:
    name: str
    value: str
    note: str


@dataclass(frozen=True)
class _Shot:
    picture: Thumbnail
    truth: str
    said: str
    probability: float
    file: str


@dataclass(frozen=True)
class _Sheet:
    name: str
    heading: str
    photos: list[_Shot]
    unreadable: list[str]


def write_report(evaluation: FolderEvaluation, path: Path) -> None:
    """Write the page, atomically.

    Raises:
        StorageError: The file cannot be written.
    """
    summary = evaluation.summary
    groups = (*summary.landmarks, *summary.unknown, *summary.kinds)
    keys = {group.name for group in groups} | {pair.predicted for pair in summary.confused}
    shown = {key: evaluation.display_name(key) for key in keys}
    curves = threshold_curves(summary)
    values: dict[str, object] = {
        "title": f"{evaluation.subject.name} on {_data_names(evaluation)}",
        "verdict": _verdict(evaluation),
        "cards": _cards(summary),
        "facts": _facts(evaluation),
        "notes": (*evaluation.photos.notes, *_shortened(summary)),
        "shown": shown,
        "role_names": _ROLE_NAMES,
        "known": summary.totals.get("known"),
        "landmarks": both_ends(summary.landmarks),
        "kinds": both_ends(summary.kinds),
        "unknown": both_ends(summary.unknown),
        "sources": summary.sources,
        "curves": None if curves is None else drawing(curves, _curves_alt(summary)),
        "detection": summary.detection,
        "reliability": _reliability(summary),
        "confused": summary.confused[:_PAIRS],
        "matrix": _matrix(summary, shown),
        "sheets": [
            _sheet(evaluation, "mistakes", "Landmarks with a wrong tag", summary.mistakes),
            _sheet(evaluation, "false", "Photos that should have no tag", summary.false_tags),
        ],
        "unreadable": summary.unreadable,
    }
    write_page(path, "evaluation.html.jinja", values)


def _shortened(summary: Summary) -> Iterable[str]:
    """Yield what the reader of very long tables should know."""
    longest = max(map(len, (summary.landmarks, summary.unknown, summary.kinds)))
    if longest > MOST_ROWS:
        yield f"tables of more than {MOST_ROWS} rows are cut to the first and the last ones: metrics.json has all"


def _data_names(evaluation: FolderEvaluation) -> str:
    folders = evaluation.settings.data or evaluation.settings.negatives
    return ", ".join(folder.resolve().name for folder in folders)


def _verdict(evaluation: FolderEvaluation) -> str:
    totals = evaluation.summary.totals
    parts = []
    known = totals.get("known")
    if known is not None and known.rightly is not None and known.wrongly is not None:
        parts.append(
            f"Of {known.count} photos of landmarks it knows, {percent(known.rightly.value)} are tagged rightly "
            f"and {percent(known.wrongly.value)} wrongly."
        )
    others: tuple[tuple[Role, str], ...] = (
        ("negative", "photos without a landmark"),
        ("unknown", "photos of landmarks it does not know"),
    )
    for role, words in others:
        group = totals.get(role)
        if group is not None and group.tagged is not None:
            parts.append(f"Of {group.count} {words}, {percent(group.tagged.value)} get a tag all the same.")
    return " ".join(parts)


def _cards(summary: Summary) -> list[_Card]:
    cards = []

    def add(name: str, rate: Proportion | None) -> None:
        if rate is not None:
            cards.append(
                _Card(name, percent(rate.value), f"95% interval {percent(rate.low)} to {percent(rate.high)}")
            )

    known = summary.totals.get("known")
    if known is not None:
        add("Top-1 accuracy", known.top1)
        add("Tagged rightly", known.rightly)
        add("Tagged wrongly", known.wrongly)
    for role, name in (("negative", "False tags, no landmark"), ("unknown", "False tags, unknown landmarks")):
        group = summary.totals.get(role)  # type: ignore[call-overload]
        if group is not None:
            add(name, group.tagged)
    return cards


def _facts(evaluation: FolderEvaluation) -> list[tuple[str, str]]:
    settings, summary = evaluation.settings, evaluation.summary
    facts = [
        ("Model", evaluation.subject.identity),
        ("Calibrated for unknown photos", "yes" if evaluation.subject.calibrated else "no"),
        ("Data", ", ".join(map(str, settings.data)) or "none"),
        ("Negatives", ", ".join(map(str, settings.negatives)) or "none"),
    ]
    facts += [(f"Photos of {_ROLE_NAMES[role]}", str(group.count)) for role, group in summary.totals.items()]
    if summary.unreadable:
        facts.append(("Unreadable photos", str(len(summary.unreadable))))
    if summary.uap is not None and summary.aurc is not None and summary.calibration is not None:
        facts += [
            ("uAP (GAP)", f"{summary.uap:.4f}"),
            ("AURC", f"{summary.aurc:.4f}"),
            ("Expected calibration error", percent(summary.calibration.error)),
        ]
    return facts


def _curves_alt(summary: Summary) -> str:
    known = summary.totals.get("known")
    rightly = "none" if known is None or known.rightly is None else percent(known.rightly.value)
    return f"True against false tags, and risk against coverage. In use: {rightly} tagged rightly."


def _reliability(summary: Summary) -> Drawing | None:
    if summary.calibration is None:
        return None
    alt = f"Accuracy against confidence: mean confidence {percent(summary.calibration.confidence)}."
    return drawing(plots.reliability_diagram(summary.calibration), alt)


def _matrix(summary: Summary, shown: Mapping[str, str]) -> Drawing | None:
    counts = {(pair.true, pair.predicted): pair.count for pair in summary.confused}
    for group in summary.landmarks:
        if group.top1 is not None:
            counts[group.name, group.name] = round(group.top1.value * group.count)
    names = sorted({name for pair in counts for name in pair}, key=lambda key: shown[key])
    if not 2 <= len(names) <= plots.MOST_CLASSES:
        return None
    place = {name: number for number, name in enumerate(names)}
    rows = sorted((place[true], place[guess], count) for (true, guess), count in counts.items() if count)
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    matrix = plots.confusion_matrix(Confusion(len(names), *columns), [shown[name] for name in names])
    return drawing(matrix, f"Confusion matrix of {len(names)} landmarks.")


def _sheet(evaluation: FolderEvaluation, name: str, heading: str, members: Iterable[Judgement]) -> _Sheet:
    photos, unreadable = [], []
    for one in members:
        if one.tag is None:
            continue
        try:
            picture = thumbnail(load_small(one.photo.path, _SIDE))
        except ImageError as error:
            unreadable.append(f"{one.photo.path.name}: {error.reason}")
            continue
        truth = evaluation.display_name(one.photo.group)
        photos.append(_Shot(picture, truth, one.tag.name, one.tag.probability, one.photo.path.name))
    return _Sheet(name, heading, photos, unreadable)
