"""Evaluation of a model on folders of photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from landmarks.errors import SettingsError
from landmarks.files.atomic import write_json, write_text
from landmarks.tagging.settings import TagSettings
from landmarks.training.data.cache import Progress
from landmarks.training.evaluation.judgement import Judgement, judge_photos
from landmarks.training.evaluation.matching import KnownLandmarks
from landmarks.training.evaluation.opening import open_subject
from landmarks.training.evaluation.photos import PhotoSet, collect_photos, roles
from landmarks.training.evaluation.subjects import Subject
from landmarks.training.evaluation.summary import Summary, summarise
from landmarks.training.runs.folder import library_versions

METRICS_FILE, PHOTOS_FILE, REPORT_FILE = "metrics.json", "photos.jsonl", "report.html"
FORMAT = 1


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of an evaluation.

    Attributes:
        model: A bundled name, a model folder, a run folder, a `.pt` or a `.onnx` file.
        data: Folders of classes, or of photos without a landmark.
        negatives: Folders of photos without a landmark; their subfolders are kinds.
        tagging: How to tag; at least five candidates.
        workers: Number of processes, or None for one per core.

    Raises:
        SettingsError: There are no photos to evaluate on, or too few candidates are requested.
    """

    model: str
    data: tuple[Path, ...]
    negatives: tuple[Path, ...] = ()
    tagging: TagSettings = field(default_factory=TagSettings)
    workers: int | None = None

    def __post_init__(self) -> None:
        if not self.data and not self.negatives:
            raise SettingsError("`data` is empty: give a folder of photos to measure on")
        if self.tagging.top < 5:
            raise SettingsError(f"`top` must be at least 5, not {self.tagging.top}: the metrics look at five")


@dataclass(frozen=True)
class FolderEvaluation:
    """An evaluation and its results.

    Attributes:
        settings: The settings.
        subject: The model.
        photos: The photos.
        judgements: One per photo, in the order of the folders.
        summary: The metrics.
    """

    settings: EvaluateSettings
    subject: Subject
    photos: PhotoSet
    judgements: tuple[Judgement, ...]
    summary: Summary

    def display_name(self, key: str) -> str:
        """Return the display name of a landmark by its key; the name of a kind is unchanged."""
        if key in self.photos.names:
            return self.photos.names[key]
        is_kind = any(group.name == key for group in self.summary.kinds)
        return key if is_kind else self.subject.gazetteer.display_name(key)

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the single photos as plain values for JSON."""
        tagging = asdict(self.settings.tagging)
        own = tagging["own_places"]
        return {
            "format": FORMAT,
            "created": datetime.now(UTC).date().isoformat(),
            "model": {
                "name": self.subject.name,
                "identity": self.subject.identity,
                "calibrated": self.subject.calibrated,
                "classes": list(self.subject.classes),
            },
            "data": [folder.as_posix() for folder in self.settings.data],
            "negatives": [folder.as_posix() for folder in self.settings.negatives],
            "tagging": {**tagging, "own_places": None if own is None else own.as_posix()},
            "photos": roles(self.photos.photos),
            "names": self.photos.names,
            "notes": list(self.photos.notes),
            "versions": library_versions(),
            **self.summary.to_dict(),
        }


def evaluate_folder(
    settings: EvaluateSettings,
    *,
    progress: Progress | None = None,
    on_judgement: Callable[[Judgement], None] | None = None,
) -> FolderEvaluation:
    """Evaluate a model on folders of photos.

    Args:
        settings: Settings of the evaluation.
        progress: Called with (photos done, total photos).
        on_judgement: Called for each photo as it is judged.

    Raises:
        DataError: A folder is missing, or no photo in it is readable.
        ModelError: The model is missing or damaged.
    """
    subject = open_subject(settings.model, settings.tagging, workers=settings.workers)
    known = KnownLandmarks(subject.gazetteer, subject.classes)
    photos = collect_photos(
        settings.data, settings.negatives, known, trained_on=subject.trained_on, chosen_on=subject.chosen_on
    )
    judgements = []
    for done, judgement in enumerate(judge_photos(subject, photos.photos, known), start=1):
        judgements.append(judgement)
        if on_judgement is not None:
            on_judgement(judgement)
        if progress is not None:
            progress(done, len(photos.photos))
    return FolderEvaluation(settings, subject, photos, tuple(judgements), summarise(judgements))


def write_metrics(evaluation: FolderEvaluation, folder: Path) -> None:
    """Write `metrics.json` and `photos.jsonl` into a folder, each atomically.

    Raises:
        StorageError: A file cannot be written.
    """
    write_json(folder / METRICS_FILE, evaluation.to_dict())
    write_text(folder / PHOTOS_FILE, "".join(f"{row_of(one)}\n" for one in evaluation.judgements))


def row_of(judgement: Judgement) -> str:
    """Return a judged photo as one line of JSON."""
    return json.dumps(judgement.to_dict(), ensure_ascii=False)
