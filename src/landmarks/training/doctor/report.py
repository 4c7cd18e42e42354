"""The doctor's report: one page with images and a table of proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import ImageError
from landmarks.imaging.thumbnails import load_small
from landmarks.training.doctor.examination import Diagnosis
from landmarks.training.doctor.findings import MEANINGS, PROBLEMS, Problem, Proposal, write_proposals
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.page import Thumbnail, thumbnail, write_page
from landmarks.training.runs.pictures import shown_name

REPORT, TABLE = "report.html", "proposals.csv"

SHOWN = 48
"""Maximum number of images per problem on the page; the table has all of them."""

_SIDE = 200

_ADVICE: dict[Problem, str] = {
    "broken": "Training skips files it cannot read and learns grey from those that end early. Copy them again "
    "from their source, or move them to quarantine.",
    "duplicate": "Copies teach nothing new, and flatter validation where the split parts them. "
    "The larger picture stays.",
    "leakage": "A test picture was also trained on: test accuracy is too high. The picture in train goes, "
    "so that test metrics stay comparable.",
    "conflict": "The same picture has two labels, and at least one is wrong. Where other pictures speak "
    "clearly for one class, the other copy goes.",
    "label": "A classifier that has not seen these pictures predicts another class. Those with a confident "
    "prediction should move; the others show something odd. Look before you move: a rare view looks wrong to it, "
    "too.",
    "small": "Too few pixels to show a landmark. Get larger ones, or move them to quarantine.",
}


@dataclass(frozen=True)
class _Shown:
    """One proposal with its image, and the image it is compared with."""

    proposal: Proposal
    name: str
    pictures: tuple[Thumbnail, ...]
    other: str


@dataclass(frozen=True)
class _Section:
    """The section of the page about one problem."""

    problem: Problem
    meaning: str
    advice: str
    count: int
    shown: tuple[_Shown, ...]


def write_report(folder: Path, diagnosis: Diagnosis) -> Path:
    """Write `report.html` and `proposals.csv`, each atomically.

    Args:
        folder: Output folder; created if missing.
        diagnosis: The diagnosis.

    Returns:
        The path of the page.

    Raises:
        StorageError: A file cannot be written.
    """
    write_proposals(folder / TABLE, diagnosis.proposals, diagnosis.data)
    odd = [one for one in diagnosis.classes if one.notes]
    counts = diagnosis.counts()
    values: dict[str, object] = {
        "title": f"Examination of {diagnosis.data.resolve().name}",
        "pictures": len(diagnosis.pictures),
        "classes": sorted(diagnosis.classes, key=lambda one: (not one.notes, one.recognised or 0.0)),
        "shown_names": display_names([one.name for one in diagnosis.classes]),
        "splits": sorted({one.split for one in diagnosis.pictures}, reverse=True),
        "counts": counts,
        "meanings": MEANINGS,
        "verdict": _verdict(diagnosis, len(odd)),
        "notes": diagnosis.notes,
        "odd": len(odd),
        "shortcuts": diagnosis.shortcuts,
        "sections": [_section(problem, diagnosis) for problem in PROBLEMS if counts[problem]],
        "table": TABLE,
    }
    write_page(folder / REPORT, "doctor.html.jinja", values)
    return folder / REPORT


def _verdict(diagnosis: Diagnosis, odd: int) -> str:
    concerned = len({one.path for one in diagnosis.proposals})
    share = concerned / len(diagnosis.pictures)
    classes = f"{odd} of {len(diagnosis.classes)} classes have something odd about them."
    if not concerned:
        return f"Nothing is wrong with any of the {len(diagnosis.pictures)} pictures. {classes}"
    return (
        f"{concerned} of {len(diagnosis.pictures)} pictures ({share:.1%}) deserve a look before training. "
        f"{classes} The examination itself changed nothing."
    )


def _section(problem: Problem, diagnosis: Diagnosis) -> _Section:
    found = [one for one in diagnosis.proposals if one.problem == problem]
    shown = tuple(_show(one, diagnosis.data) for one in found[:SHOWN])
    return _Section(problem, MEANINGS[problem], _ADVICE[problem], len(found), shown)


def _show(proposal: Proposal, data: Path) -> _Shown:
    both: Sequence[Path] = [proposal.path, *([proposal.other] if proposal.other else [])]
    pictures = tuple(picture for path in both if (picture := _small(path)) is not None)
    other = shown_name(proposal.other, data) if proposal.other else ""
    return _Shown(proposal, shown_name(proposal.path, data), pictures, other)


def _small(path: Path) -> Thumbnail | None:
    try:
        return thumbnail(load_small(path, _SIDE))
    except ImageError:  # a broken image; its reason is given next to it
        return None
