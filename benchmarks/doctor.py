"""What `landmarks doctor` finds of faults planted in world34, and what it finds in monuments49 as it is.

Run `python benchmarks/doctor.py DATA`, DATA being the folder that holds world34 and monuments49; it takes about
five minutes on two cores, most of it to embed the pictures, and one when they are cached in build/doctor. Into a
copy of world34 it plants 5 % wrong labels, 5 % near-duplicates and 2 % broken files (benchmarks/planting.py), and
counts what the doctor proposes. world34 has faults of its own, near-duplicates above all. So it is examined
untouched as well, and precision is given twice: against the planted faults alone, where a true finding that nobody
planted counts as wrong, and with those findings set aside that the untouched set shows too. Where cleanlab is
installed, its label issues from the same probabilities stand beside the doctor's. The tables go to the screen and
to benchmarks/results/doctor.md.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from planting import ALTERATIONS, DAMAGES, Planted, plant
from record import record, table

from landmarks.training.doctor.examination import Diagnosis, DoctorSettings, examine
from landmarks.training.doctor.findings import MEANINGS, Problem
from landmarks.training.doctor.report import write_report
from landmarks.training.evaluate import rate

COPIES: tuple[Problem, ...] = ("duplicate", "leakage", "conflict")
WORK = Path("build/doctor")


def examined(data: Path, name: str) -> tuple[Diagnosis, float]:
    started = time.perf_counter()
    diagnosis = examine(DoctorSettings(data, cache=WORK / "cache"))
    seconds = time.perf_counter() - started
    write_report(WORK / f"report-{name}", diagnosis)
    return diagnosis, seconds


def proposed(diagnosis: Diagnosis, *problems: Problem) -> set[str]:
    """The pictures with one of these problems, relative to the data set."""
    found = [one for one in diagnosis.proposals if one.problem in problems]
    return {os.path.relpath(one.path, diagnosis.data) for one in found}


def in_groups(diagnosis: Diagnosis) -> set[str]:
    """The pictures that are nearly the same as another one, also those that would stay."""
    measured = diagnosis.measured
    places = [place for group in measured.groups for place in group]
    return {os.path.relpath(measured.pictures[place].path, diagnosis.data) for place in places}


def share(hits: int, count: int) -> str:
    if count == 0:
        return "-"
    found = rate(hits, count)
    return f"{found.value:.1%} ({found.low:.1%} - {found.high:.1%}), {hits} of {count}"


def row(name: str, recall: str, found: set[str], right: set[str], known: set[str]) -> list[str]:
    """One kind of fault: recall, precision against what was planted, precision without what was there before."""
    left = found - (known - right)
    return [
        name,
        recall,
        share(len(found & right), len(found)),
        str(len(found) - len(left)),
        share(len(left & right), len(left)),
    ]


def judge(planted: Planted, after: Diagnosis, before: Diagnosis) -> list[list[str]]:
    """Recall and precision of each kind."""
    names = {old: new for new, old in planted.wrong_labels.items()}

    def here(paths: Iterable[str]) -> set[str]:
        """Where pictures of the untouched set lie after planting."""
        return {names.get(path, path) for path in paths}

    broken = proposed(after, "broken")
    alike = proposed(after, *COPIES)
    pairs = {path for pair in planted.copies.items() for path in pair}
    found = sum(copy in alike or original in alike for copy, original in planted.copies.items())
    wrong = wrong_labels(planted)
    labels = proposed(after, "label")
    sure = {os.path.relpath(one.path, after.data) for one in after.proposals if one.action == "move"}
    old_labels = here(proposed(before, "label"))
    rows = [
        row(
            "broken files",
            share(len(broken & set(planted.broken)), len(planted.broken)),
            broken,
            set(planted.broken),
            here(proposed(before, "broken")),
        ),
        row("near-duplicates", share(found, len(pairs) // 2), alike, pairs, here(in_groups(before))),
        row("wrong labels", share(len(labels & wrong), len(wrong)), labels, wrong, old_labels),
        row("- of these sure: move", share(len(sure & wrong), len(wrong)), sure, wrong, old_labels),
    ]
    if find_spec("cleanlab"):
        theirs, theirs_before = cleanlab_issues(after), here(cleanlab_issues(before))
        rows.append(row("- by cleanlab", share(len(theirs & wrong), len(wrong)), theirs, wrong, theirs_before))
    return rows


def wrong_labels(planted: Planted) -> set[str]:
    """Every picture that was put into a class not its own: moved ones and copies."""
    crossed = {c for c, o in planted.copies.items() if Path(c).parts[1] != Path(o).parts[1]}
    return set(planted.wrong_labels) | crossed


def cleanlab_issues(diagnosis: Diagnosis) -> set[str]:
    """What cleanlab's default filter says of the same out-of-fold probabilities."""
    from cleanlab.filter import find_label_issues

    measured = diagnosis.measured
    flags = find_label_issues(measured.labels, measured.probabilities, n_jobs=1)
    return {
        os.path.relpath(picture.path, diagnosis.data)
        for picture, flag in zip(measured.pictures, flags, strict=True)
        if flag
    }


def by_way(planted: Planted, after: Diagnosis) -> list[list[str]]:
    """Recall of each way of altering a copy and of damaging a file."""
    alike, broken = proposed(after, *COPIES), proposed(after, "broken")
    rows = []
    for way in ALTERATIONS:
        pairs = [(c, planted.copies[c]) for c, how in planted.alterations.items() if how == way]
        rows.append([f"copy {way}", share(sum(c in alike or o in alike for c, o in pairs), len(pairs))])
    for way in DAMAGES:
        files = {path for path, how in planted.broken.items() if how == way}
        rows.append([f"file: {way}", share(len(files & broken), len(files))])
    return rows


def summary(diagnosis: Diagnosis) -> str:
    """What the doctor says of a data set as it is."""
    counts = diagnosis.counts()
    moves = Counter((one.problem, one.action) for one in diagnosis.proposals)
    rows = [
        [problem, count, count - moves[problem, "look"], MEANINGS[problem]] for problem, count in counts.items()
    ]
    text = table(["problem", "pictures", "of these to move", "meaning"], rows)
    odd = [one for one in diagnosis.classes if any("training pictures" not in note for note in one.notes)]
    few = [one for one in diagnosis.classes if any("training pictures" in note for note in one.notes)]
    text += f"\n\nOf {len(diagnosis.classes)} classes {len(few)} have too few training pictures. Odd classes:\n\n"
    text += table(
        ["class", "recognised", "what is odd"],
        [[one.name, f"{one.recognised or 0:.0%}", "; ".join(one.notes)] for one in odd],
    )
    for note in diagnosis.notes:
        text += f"\n\n{note}."
    return f"{text}\n\n{diagnosis.shortcuts.meaning}" if diagnosis.shortcuts else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the planting")
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    planted = plant(given.data / "world34", WORK / f"world34-{given.seed}", seed=given.seed)
    after, seconds = examined(WORK / f"world34-{given.seed}", "planted")
    before, _ = examined(given.data / "world34", "world34")
    monuments, _ = examined(given.data / "monuments49", "monuments49")

    header = [
        "fault",
        "recall",
        "precision, planted alone",
        "also in the untouched set",
        "precision without those",
    ]
    body = (
        f"{planted.pictures} pictures after planting {len(planted.wrong_labels)} wrong labels, "
        f"{len(planted.copies)} copies (a quarter in another class, which makes their labels wrong too) and "
        f"{len(planted.broken)} broken files; examined in {seconds:.0f} seconds. Intervals are 95 % Wilson.\n\n"
    )
    body += table(header, judge(planted, after, before)) + "\n\n"
    body += table(["way", "found"], by_way(planted, after))
    body += f"\n\n## world34 as it is\n\n{summary(before)}\n\n## monuments49 as it is\n\n{summary(monuments)}"
    packages = ["onnxruntime", "scikit-learn", *(["cleanlab"] if find_spec("cleanlab") else [])]
    record("doctor", "What the doctor finds", "python benchmarks/doctor.py DATA", body, packages)


if __name__ == "__main__":
    main()
