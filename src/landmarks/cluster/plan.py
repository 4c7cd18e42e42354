"""The settings of a job, stored beside its results so that a restart continues with the same ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landmarks.cluster.source import INPUTS, Columns, list_inputs
from landmarks.errors import InputError, require_at_least
from landmarks.files.storage import Storage
from landmarks.files.walker import Skipped
from landmarks.imaging.photos import OnSkip
from landmarks.model.folder import read_info
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import identity_of

PLAN = "job.json"
TABLE = "tagged"
"""Name of the Lance table, stored in the folder `tagged.lance` beside the result files."""


@dataclass(frozen=True)
class Plan:
    """A job.

    Attributes:
        source: Folder or URL of the photos.
        out: Folder of the results.
        model: Model folder; every machine must see it under this path.
        settings: How to tag.
        columns: Columns of Parquet files.
        embeddings: Include embeddings in the results.
        part_size: Photos per part, at least 1.

    Raises:
        SettingsError: A value is out of range.
    """

    source: str
    out: str
    model: str
    settings: TagSettings = field(default_factory=TagSettings)
    columns: Columns = field(default_factory=Columns)
    embeddings: bool = False
    part_size: int = 1000

    def __post_init__(self) -> None:
        require_at_least("part_size", self.part_size)

    def fixed(self) -> dict[str, Any]:
        """Return the settings that must not change when the job continues: all but the path of the model."""
        model = identity_of(Path(self.model), read_info(Path(self.model)), self.settings)
        settings = {key: None if value is None else str(value) for key, value in asdict(self.settings).items()}
        return {
            "source": self.source,
            "model": model,
            "settings": settings,
            "columns": asdict(self.columns),
            "embeddings": self.embeddings,
            "part_size": self.part_size,
        }


@dataclass(frozen=True)
class Work:
    """The size of a job.

    Attributes:
        parts: Number of parts.
        photos: Number of photos.
    """

    parts: int
    photos: int


def begin_or_continue(plan: Plan, on_skip: OnSkip = lambda _skipped: None) -> Work:
    """List the inputs of a new job, or find those of a stopped one.

    Photos added to the source later belong to another job: a growing list would never be done.

    Args:
        plan: The job.
        on_skip: Called with everything that is skipped while the inputs are listed; of a stopped job, with the
            folders that could not be read.

    Raises:
        InputError: There is nothing to do, or the folder has the results of another job or cannot be reached.
        StorageError: The folder cannot be written.
    """
    out, fixed = Storage.at(plan.out), plan.fixed()
    names = out.names()
    if PLAN in names:
        before = out.read_json(PLAN)
        other = [key for key, value in fixed.items() if before.get(key) != value]
        if other:
            raise InputError(
                f"{plan.out}: holds the results of another job (its {other[0]} differs): choose another "
                "folder, or give what it was given"
            )
        out.sweep()
        out.remove("attempts")
        for path, message in before.get("unreadable", ()):
            on_skip(Skipped(Path(path), "unreadable", message))
        return Work(int(before["parts"]), int(before["photos"]))
    if any(name.endswith(".parquet") and name[0] != "." and name != INPUTS for name in names):
        raise InputError(f"{plan.out}: there are Parquet files of something else in it: choose another folder")
    if f"{TABLE}.lance" in names:
        raise InputError(
            f"{plan.out}: {TABLE}.lance is the table of another job: remove it or choose another folder"
        )
    unreadable: list[tuple[str, str]] = []

    def skip(skipped: Skipped) -> None:
        if skipped.reason == "unreadable":
            unreadable.append((str(skipped.path), skipped.message))
        on_skip(skipped)

    inputs = list_inputs(Storage.at(plan.source), plan.columns, plan.part_size, skip)
    out.write(INPUTS, inputs.table)
    # Last, because it marks the list as complete.
    out.write_json(PLAN, {**fixed, "parts": inputs.parts, "photos": inputs.photos, "unreadable": unreadable})
    return Work(inputs.parts, inputs.photos)
