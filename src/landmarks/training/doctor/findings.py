"""Findings of the doctor: one proposal per image and problem, and the table of proposals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from landmarks.errors import SettingsError
from landmarks.files.csv_lines import write_csv
from landmarks.training.runs.pictures import shown_name

Problem = Literal["broken", "duplicate", "leakage", "conflict", "label", "small"]
Action = Literal["quarantine", "move", "look"]

PROBLEMS: tuple[Problem, ...] = get_args(Problem)
"""Problems of an image, in the order of the report."""

MEANINGS: dict[Problem, str] = {
    "broken": "unreadable, cut short or shows one flat colour",
    "duplicate": "nearly the same as another picture of its class",
    "leakage": "nearly the same as a picture of the other split",
    "conflict": "nearly the same as a picture of another class",
    "label": "looks like another class",
    "small": "too few pixels",
}

COLUMNS = ("problem", "path", "split", "class", "proposal", "class_proposed", "other", "score", "evidence")
"""Columns of the table of proposals; paths are relative to the data set, or to the folder of a table."""


@dataclass(frozen=True)
class Proposal:
    """One problem of one image, and what to do about it.

    Attributes:
        path: The image.
        problem: The problem.
        action: Move it to quarantine, move it to the class `suggested`, or look at it.
        evidence: The reason, in a few words.
        score: Confidence from 0 to 1; comparable within one problem only.
        class_name: The class of its folder.
        split: `train`, `valid`, `test`, or "" if the data set is not split.
        suggested: The class it seems to belong to, or "".
        other: The image it is compared with, or None.
    """

    path: Path
    problem: Problem
    action: Action
    evidence: str
    score: float
    class_name: str
    split: str
    suggested: str = ""
    other: Path | None = None

    @property
    def advice(self) -> str:
        """The action in words."""
        return f"move to class {self.suggested}" if self.action == "move" else self.action


def parse_problems(given: str) -> tuple[Problem, ...]:
    """Parse comma-separated names of problems.

    Raises:
        SettingsError: A name is unknown, or there is none.
    """
    names = [word.strip() for word in given.split(",") if word.strip()]
    unknown = [name for name in names if name not in PROBLEMS]
    if unknown or not names:
        wrong = repr(unknown[0]) if unknown else "nothing"
        raise SettingsError(f"`apply` must name some of {', '.join(PROBLEMS)} with commas between, not {wrong}")
    return tuple(problem for problem in PROBLEMS if problem in names)


def in_order(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Sort by problem, most confident first."""
    return sorted(proposals, key=lambda one: (PROBLEMS.index(one.problem), -one.score, os.fsencode(one.path)))


def write_proposals(path: Path, proposals: Sequence[Proposal], root: Path) -> None:
    """Write the table of proposals as CSV, atomically.

    Args:
        path: The file.
        proposals: The proposals, in the order of the lines.
        root: The data set.

    Raises:
        StorageError: The file cannot be written.
    """
    rows = []
    for one in proposals:
        other = shown_name(one.other, root) if one.other else ""
        row = (one.problem, shown_name(one.path, root), one.split, one.class_name, one.advice, one.suggested)
        rows.append((*row, other, f"{one.score:.3f}", one.evidence))
    write_csv(path, COLUMNS, rows)
