"""Which planted faults in world34 `landmarks doctor` finds, and what it finds in the original monuments49.

Run `python benchmarks/doctor.py DATA --seed 1`, DATA being the folder with world34 and monuments49; it takes about
six minutes on two cores, mostly to embed the images, and one if they are cached in build/doctor. The doctor's
thresholds were chosen with seed 0 of the planting.

world34 has near-duplicates and broken files of its own, which would count as wrong against the planted ones. So it
is examined first, and copied without them: of each group of near-duplicates one image stays. Those left out are
shown separately, with a sheet of 20 random pairs to be judged by eye (`JUDGED` below).

Then 5 % wrong labels, 5 % near-duplicates and 2 % broken files are planted in the copy (benchmarks/planting.py),
and the doctor's proposals are compared with these. Wrong labels that world34 already had are still in it: one
column counts the proposals that are also made without planting. If cleanlab is installed, its label issues from
the same probabilities are shown beside the doctor's. The tables are printed and written to
benchmarks/results/doctor.md.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps
from planting import ALTERATIONS, DAMAGES, Planted, plant
from record import record, table

from landmarks.training.doctor.examination import Diagnosis, DoctorSettings, examine
from landmarks.training.doctor.findings import MEANINGS, Problem
from landmarks.training.doctor.report import write_report
from landmarks.training.metrics.evaluate import proportion

COPIES: tuple[Problem, ...] = ("duplicate", "leakage", "conflict")
WORK = Path("build/doctor")
PAIRS = 20
JUDGED = (
    "17 are nearly the same picture, 15 of them one photo cut, coloured or stored otherwise and 2 taken a moment "
    "apart; the other 3 are two photos from one spot at different times"
)
"""Verdicts on the pairs of the sheet."""


def examined(data: Path, name: str) -> tuple[Diagnosis, float]:
    started = time.perf_counter()
    diagnosis = examine(DoctorSettings(data, cache=WORK / "cache"))
    seconds = time.perf_counter() - started
    write_report(WORK / f"report-{name}", diagnosis)
    return diagnosis, seconds


def proposed(diagnosis: Diagnosis, *problems: Problem) -> set[str]:
    """The images with one of these problems, relative to the data set."""
    found = [one for one in diagnosis.proposals if one.problem in problems]
    return {os.path.relpath(one.path, diagnosis.data) for one in found}


def own_faults(diagnosis: Diagnosis) -> set[str]:
    """The images to leave out so that no known copy and no broken file is left."""
    return proposed(diagnosis, "broken", *COPIES)


def draw_pairs(diagnosis: Diagnosis, path: Path) -> None:
    """Draw random pairs of near-duplicates on one sheet, four pairs per row."""
    pairs = [(one.path, one.other) for one in diagnosis.proposals if one.problem in COPIES and one.other]
    side, gap = 150, 12
    sheet = Image.new("RGB", (4 * (2 * side + gap), PAIRS // 4 * (side + gap)), "white")
    for number, pair in enumerate(random.Random(0).sample(pairs, PAIRS)):
        for place, file in enumerate(pair):
            with Image.open(file) as picture:
                small = ImageOps.contain(picture.convert("RGB"), (side, side))
            sheet.paste(small, (number % 4 * (2 * side + gap) + place * side, number // 4 * (side + gap)))
    sheet.save(path)


def share(hits: int, count: int) -> str:
    if count == 0:
        return "-"
    found = proportion(hits, count)
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
        """Paths of images of the original set after planting."""
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
            set(),
        ),
        row("near-duplicates", share(found, len(planted.copies)), alike, pairs, set()),
        row("wrong labels", share(len(labels & wrong), len(wrong)), labels, wrong, old_labels),
        row("- of these sure: move", share(len(sure & wrong), len(wrong)), sure, wrong, old_labels),
    ]
    if find_spec("cleanlab"):
        theirs, theirs_before = cleanlab_issues(after), here(cleanlab_issues(before))
        rows.append(row("- by cleanlab", share(len(theirs & wrong), len(wrong)), theirs, wrong, theirs_before))
    return rows


def wrong_labels(planted: Planted) -> set[str]:
    """Every image that was put into a class not its own: moved ones and copies."""
    crossed = {c for c, o in planted.copies.items() if Path(c).parts[1] != Path(o).parts[1]}
    return set(planted.wrong_labels) | crossed


def cleanlab_issues(diagnosis: Diagnosis) -> set[str]:
    """Label issues by cleanlab's default filter from the same out-of-fold probabilities."""
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
    """The doctor's findings in an unchanged data set."""
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
    before, _ = examined(given.data / "world34", "world34")
    draw_pairs(before, WORK / "own-pairs.png")
    target = WORK / f"world34-{given.seed}"
    planted = plant(given.data / "world34", target, seed=given.seed, left_out=own_faults(before))
    after, seconds = examined(target, "planted")
    monuments, _ = examined(given.data / "monuments49", "monuments49")

    header = ["fault", "recall", "precision", "also proposed before planting", "precision without those"]
    copies = len(proposed(before, *COPIES))
    body = (
        f"{len(planted.left_out)} pictures of world34 were left out first, {copies} of them near-duplicates that "
        f"it has of its own. Of {PAIRS} of these pairs, drawn by chance and looked at by eye, {JUDGED}. "
        "What the doctor takes for copies by mistake is left out with them, so the precision below counts "
        "mistakes about the planted copies and what they lie among; the pairs judged by eye tell of others.\n\n"
        f"{planted.pictures} pictures after planting {len(planted.wrong_labels)} wrong labels, "
        f"{len(planted.copies)} copies (a quarter in another class, which makes their labels wrong too) and "
        f"{len(planted.broken)} broken files with seed {given.seed}; examined in {seconds:.0f} seconds. Intervals "
        "are 95 % Wilson.\n\n"
    )
    body += table(header, judge(planted, after, before)) + "\n\n"
    body += table(["way", "found"], by_way(planted, after))
    body += f"\n\n## world34 as it is\n\n{summary(before)}\n\n## monuments49 as it is\n\n{summary(monuments)}"
    packages = ["onnxruntime", "scikit-learn", *(["cleanlab"] if find_spec("cleanlab") else [])]
    record(
        "doctor", "What the doctor finds", f"python benchmarks/doctor.py DATA --seed {given.seed}", body, packages
    )


if __name__ == "__main__":
    main()
