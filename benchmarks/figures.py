"""Evaluates the bundled recogniser on every set of photos beside the project: the table of the README.

Run `python benchmarks/figures.py ../shared/data`. It is `landmarks evaluate` once per set: known landmarks by
source, known landmarks from other sources, and false tags on photos without a landmark by kind. The table is
printed and written to benchmarks/results/world.md, the report of each set to `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from record import record, table
from world_data import other_collections

from landmarks.model.folder import DEFAULT_MODEL, find_model, read_info
from landmarks.tagging.settings import TagSettings
from landmarks.training.evaluation.evaluation import (
    EvaluateSettings,
    FolderEvaluation,
    evaluate_folder,
    write_metrics,
)
from landmarks.training.evaluation.report import write_report
from landmarks.training.evaluation.summary import Group
from landmarks.training.metrics.evaluate import Proportion

LEAST = 10
"""Minimum number of photos for a source or kind to get its own row."""


@dataclass(frozen=True)
class Set:
    """Photos that are evaluated together: a description, and folders of classes or negatives."""

    words: str
    data: str = ""
    negatives: str = ""


SETS = (
    Set("world34, own sources", data="world34"),
    Set("world124, own sources", data="world124"),
    Set("known landmarks, other sources", data="other_source"),
    Set("photos without a landmark", negatives="negatives"),
    Set("ordinary photos, other sources", negatives="negatives_wide"),
    Set("ordinary castles, churches, bridges", negatives="negatives_buildings"),
)
KNOWN = ["set", "photos", "top-1", "top-5", "tagged rightly", "wrongly", "city, country, kind", "uAP", "ECE"]
FALSE = ["photos", "kind", "count", "false tags", "said most often"]


def share(rate: Proportion | None) -> str:
    return "" if rate is None else f"{rate.value:.1%} ({rate.low:.1%} - {rate.high:.1%})"


def known_row(words: str, group: Group, *, uap: float | None = None, error: float | None = None) -> list[str]:
    numbers = ["" if value is None else f"{value:.3f}" for value in (uap, error)]
    shares = (group.top1, group.top5, group.rightly, group.wrongly, group.coarser)
    return [words, str(group.count), *map(share, shares), *numbers]


def known_rows(one: Set, found: FolderEvaluation) -> Iterable[list[str]]:
    summary = found.summary
    total = summary.totals.get("known")
    if total is None:
        return
    error = None if summary.calibration is None else summary.calibration.error
    yield known_row(f"**{one.words}**", total, uap=summary.uap, error=error)
    sources = [group for group in summary.sources if group.role == "known" and group.count >= LEAST]
    for group in sources if len(sources) > 1 else ():
        yield known_row(f"&nbsp; {group.name or 'source not given'}", group)


def false_rows(one: Set, found: FolderEvaluation) -> Iterable[list[str]]:
    summary = found.summary
    for role, groups in (("negative", summary.kinds), ("unknown", summary.unknown)):
        total = summary.totals.get(role)
        if total is None:
            continue
        words = one.words if role == "negative" else f"{one.words}: unknown landmarks"
        yield [f"**{words}**", "all", *false_cells(total)]
        for group in groups if len(groups) > 1 else ():
            if group.count >= LEAST:
                yield ["", found.display_name(group.name).rpartition("/")[2], *false_cells(group)]


def false_cells(group: Group) -> list[str]:
    said = "" if group.most_said is None else f"{group.most_said[0]} ({group.most_said[1]})"
    return [str(group.count), share(group.tagged), said]


def evaluate(one: Set, data: Path, model: str, settings: TagSettings, workers: int | None) -> FolderEvaluation:
    asked = EvaluateSettings(
        model,
        data=(data / one.data,) if one.data else (),
        negatives=(data / one.negatives,) if one.negatives else (),
        tagging=settings,
        workers=workers,
    )
    return evaluate_folder(asked)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--prefer", default="balanced")
    parser.add_argument("--sets", nargs="*", help="Names of folders; all of them by default.")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, default=Path("build/figures"))
    parser.add_argument("--name", default="world", help="Of the file of results.")
    return parser.parse_args()


def chosen(names: Sequence[str] | None) -> list[Set]:
    return [one for one in SETS if not names or one.data in names or one.negatives in names]


def main() -> None:
    given = arguments()
    settings = TagSettings(prefer=given.prefer)
    known, false, identity, others = [], [], "", ""
    for one in chosen(given.sets):
        found = evaluate(one, given.data, given.model, settings, given.workers)
        folder = given.out / (one.data or one.negatives)
        write_metrics(found, folder)
        write_report(found, folder / "report.html")
        known += known_rows(one, found)
        false += false_rows(one, found)
        identity = found.subject.identity
        if one.data == "other_source":
            origin = {each.collection for each in read_info(find_model(given.model)).origin}
            others = "\n\n" + other_collections({each.name: each.count for each in found.summary.sources}, origin)
    body = f"`{identity}`, operating point `{given.prefer}`. In brackets 95 % Wilson intervals.\n\n"
    body += "## Landmarks it knows\n\n" + table(KNOWN, known) + others
    body += "\n\n## Photos that should get no tag\n\n" + table(FALSE, false)
    command = "python benchmarks/figures.py ../shared/data"
    record(given.name, "The bundled recogniser", command, body, ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
