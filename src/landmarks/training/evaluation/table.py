"""An evaluation as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from landmarks.errors import listed
from landmarks.training.evaluation.evaluation import FolderEvaluation
from landmarks.training.evaluation.summary import Group, Summary
from landmarks.training.metrics.evaluate import Proportion
from landmarks.training.runs.table import aligned

_ROWS = 12  # of each table of false tags; the report has them all
_OTHERS = {"negative": "no landmark", "unknown": "unknown landmarks", "both": "all others"}


def text_lines(evaluation: FolderEvaluation) -> Iterator[str]:
    """Yield the metrics line by line."""
    summary = evaluation.summary
    known = summary.totals.get("known")
    if known is not None:
        yield f"landmarks the model knows: {known.count} photos of {len(summary.landmarks)} landmarks"
        yield from aligned([_metric(name, rate) for name, rate in _of_known(known) if rate is not None])
        yield from _scalars(summary)
    for role, title in (
        ("negative", "photos without a landmark"),
        ("unknown", "landmarks the model does not know"),
    ):
        total = summary.totals.get(role)  # type: ignore[call-overload]
        if total is not None:
            yield f"{title}: {total.count} photos, share with a tag"
            groups = summary.kinds if role == "negative" else summary.unknown
            yield from _false_tags(evaluation, total, groups)
    for one in summary.detection:
        yield (
            f"known landmarks against {_OTHERS[one.others]}: AUROC {one.auroc:.4f}, "
            f"{one.fpr95:.1%} pass where 95% of the known do"
        )
    if summary.unreadable:
        named = listed([f"{path} ({reason})" for path, reason in summary.unreadable])
        yield f"unreadable: {len(summary.unreadable)} photos, counted nowhere: {named}"
    yield from (f"note: {note}" for note in evaluation.photos.notes)


def source_lines(summary: Summary) -> Iterator[str]:
    """Yield one line per source of the photos of known landmarks; nothing if no source is known."""
    rows = [one for one in summary.sources if one.role == "known" and one.top1 and one.rightly and one.wrongly]
    if rows:
        yield from aligned(
            [
                ["source", "photos", "likeliest is right", "tagged rightly", "wrongly"],
                *(
                    [one.name or "not given", str(one.count), *(_with_interval(rate) for rate in _rates(one))]
                    for one in rows
                ),
            ]
        )


def _rates(group: Group) -> Iterator[Proportion]:
    for rate in (group.top1, group.rightly, group.wrongly):
        if rate is not None:
            yield rate


def _of_known(group: Group) -> Sequence[tuple[str, Proportion | None]]:
    return (
        ("likeliest is right", group.top1),
        ("within five", group.top5),
        ("tagged rightly", group.rightly),
        ("tagged wrongly", group.wrongly),
        ("city, country or kind", group.coarser),
        ("no tag", group.untagged),
    )


def _scalars(summary: Summary) -> Iterator[str]:
    if summary.uap is not None and summary.aurc is not None and summary.calibration is not None:
        yield (
            f"  uAP (GAP) {summary.uap:.4f}, AURC {summary.aurc:.4f}, calibration error "
            f"{summary.calibration.error:.4f}"
        )


def _false_tags(evaluation: FolderEvaluation, total: Group, groups: Sequence[Group]) -> Iterator[str]:
    rows = []
    for name, group in [("all", total), *((evaluation.display_name(one.name), one) for one in groups[:_ROWS])]:
        if group.tagged is not None:
            said = "" if group.most_said is None else f"mostly {group.most_said[0]}"
            rows.append([f"  {name}", str(group.count), _with_interval(group.tagged), said])
    yield from aligned(rows)
    if len(groups) > _ROWS:
        yield f"  and {len(groups) - _ROWS} more with fewer"


def _metric(name: str, rate: Proportion) -> list[str]:
    return [f"  {name}", _with_interval(rate)]


def _with_interval(rate: Proportion) -> str:
    return f"{rate.value:6.1%} ({rate.low:.1%} to {rate.high:.1%})"
