"""Computes the metrics of a model on a folder from judged photos.

Everything is counted from the judgements alone, so a metric can be checked against the rows of `--jsonl`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.model.vectors import spread
from landmarks.training.evaluation.judgement import Judgement
from landmarks.training.evaluation.measures import (
    auroc,
    fpr_at_recall,
    global_average_precision,
    pass_rates,
    risk_coverage,
)
from landmarks.training.evaluation.photos import Role
from landmarks.training.metrics.evaluate import ConfusedPair, Proportion, Reliability, proportion, reliability

WORST = 24
"""Number of mistakes of each kind in a summary."""

CURVE_POINTS = 200
"""Number of points of a stored curve; a plot needs no more, however many photos there are."""


@dataclass(frozen=True)
class Group:
    """Metrics of the photos of one landmark, one kind, one source, or a whole role.

    Attributes:
        name: Key of the landmark, kind, source, or role.
        role: Role of the photos.
        count: Number of readable photos; fractions are of these, and None if there are none.
        unreadable: Number of unreadable photos.
        rightly: Fraction whose tag is the correct landmark.
        wrongly: Fraction whose tag is another landmark, or any landmark if there is no correct one.
        coarser: Fraction whose tag is a city, a country or a kind.
        coarser_true: Number of these tags that are true of the photo.
        untagged: Fraction without a tag.
        top1: Fraction whose most likely landmark is correct, tagged or not; None unless the model knows the
            landmark.
        top5: Likewise for the five most likely.
        most_said: The most frequent tag and its count, or None.
    """

    name: str
    role: Role
    count: int
    unreadable: int
    rightly: Proportion | None
    wrongly: Proportion | None
    coarser: Proportion | None
    coarser_true: int
    untagged: Proportion | None
    top1: Proportion | None
    top5: Proportion | None
    most_said: tuple[str, int] | None

    @property
    def tagged(self) -> Proportion | None:
        """Fraction with any tag; these are false tags unless the model knows the landmark."""
        return None if self.untagged is None else proportion(self.count - _hits(self.untagged), self.count)


@dataclass(frozen=True)
class Detection:
    """How well the score separates photos of known landmarks from `others`.

    Attributes:
        others: `unknown` landmarks, `negative` photos, or `both`.
        auroc: Area under the ROC curve, 0.5 for chance.
        fpr95: False-positive rate at 95 % recall of the known landmarks.
        count: Number of others.
    """

    others: str
    auroc: float
    fpr95: float
    count: int


@dataclass(frozen=True, eq=False)
class Curve:
    """Landmark tags at every threshold of the score, at a fixed minimum confidence.

    Attributes:
        thresholds: Thresholds of the score, descending, at most `CURVE_POINTS`.
        rightly: Fraction of the photos of known landmarks that are tagged correctly.
        wrongly: Fraction of the photos of known landmarks that are tagged wrongly.
        false: Fraction of the other photos that are tagged with a landmark, by role; only roles with photos.
    """

    thresholds: NDArray[np.float64]
    rightly: NDArray[np.float64]
    wrongly: NDArray[np.float64]
    false: Mapping[Role, NDArray[np.float64]]


@dataclass(frozen=True)
class Summary:
    """All metrics of a model on a set of photos.

    Attributes:
        totals: All photos by role, for roles with photos.
        landmarks: Known landmarks, lowest rate of correct tags first.
        unknown: Unknown landmarks, highest false-positive rate first.
        kinds: Photos without a landmark by kind, likewise.
        sources: By source and role, largest first; empty if no source is known.
        uap: GAP of the Google Landmarks challenge; None without photos of known landmarks.
        aurc: Area under the risk-coverage curve of the most likely landmark on photos of known landmarks.
        risk: That curve as (coverage, risk), at most `CURVE_POINTS` points.
        detection: Known against others, by role of the others.
        calibration: Calibration of the probability of the most likely landmark, on photos of known landmarks.
        curve: True against false tags; None without photos of known landmarks.
        confused: All confusions of landmarks, most frequent first.
        mistakes: Known landmarks with a wrong tag, most confident first.
        false_tags: Other photos with a tag, most confident first.
        unreadable: File and reason.
    """

    totals: Mapping[Role, Group]
    landmarks: tuple[Group, ...]
    unknown: tuple[Group, ...]
    kinds: tuple[Group, ...]
    sources: tuple[Group, ...]
    uap: float | None
    aurc: float | None
    risk: tuple[tuple[float, float], ...]
    detection: tuple[Detection, ...]
    calibration: Reliability | None
    curve: Curve | None
    confused: tuple[ConfusedPair, ...]
    mistakes: tuple[Judgement, ...]
    false_tags: tuple[Judgement, ...]
    unreadable: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as plain values for JSON."""
        curve = self.curve
        return {
            "totals": {role: _plain(group) for role, group in self.totals.items()},
            **{name: [_plain(one) for one in getattr(self, name)] for name in ("landmarks", "unknown", "kinds")},
            "sources": [_plain(one) for one in self.sources],
            "uap": self.uap,
            "aurc": self.aurc,
            "risk_coverage": [{"coverage": coverage, "risk": risk} for coverage, risk in self.risk],
            "detection": [asdict(one) for one in self.detection],
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "curve": None
            if curve is None
            else {
                "thresholds": curve.thresholds.tolist(),
                "rightly": curve.rightly.tolist(),
                "wrongly": curve.wrongly.tolist(),
                **{f"false_{role}": shares.tolist() for role, shares in curve.false.items()},
            },
            "confused": [asdict(one) for one in self.confused],
            "mistakes": [one.to_dict() for one in self.mistakes],
            "false_tags": [one.to_dict() for one in self.false_tags],
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
        }


def summarise(judgements: Sequence[Judgement]) -> Summary:
    """Compute the metrics of judged photos.

    Raises:
        DataError: No photo is readable.
    """
    readable = [one for one in judgements if one.error is None]
    if not readable:
        first = judgements[0]
        raise DataError(
            f"none of {len(judgements)} photos can be read ({first.photo.path}: {first.error}): give others"
        )
    by_role = _grouped(judgements, lambda one: one.photo.role)
    known = [one for one in readable if one.photo.role == "known"]
    others = [one for one in readable if one.photo.role != "known"]
    risk = risk_coverage(_scores(known), _right(known)) if known else None
    return Summary(
        totals={role: _group(role, role, by_role[role]) for role in get_args(Role) if role in by_role},
        landmarks=_by_group(by_role.get("known", [])),
        unknown=_by_group(by_role.get("unknown", [])),
        kinds=_by_group(by_role.get("negative", [])),
        sources=_by_source(judgements),
        uap=global_average_precision(_scores(readable), _right(readable), len(known)) if known else None,
        aurc=None if risk is None else risk.area,
        risk=() if risk is None else _thinned(risk.coverage, risk.risk),
        detection=tuple(_detections(known, others)),
        calibration=_reliability(known) if known else None,
        curve=_curve(known, others) if known else None,
        confused=_confused(known),
        mistakes=_surest(one for one in known if one.outcome == "wrongly"),
        false_tags=_surest(one for one in others if one.tag is not None),
        unreadable=tuple((one.photo.path.as_posix(), one.error) for one in judgements if one.error is not None),
    )


def _grouped(judgements: Iterable[Judgement], key: Any) -> dict[Any, list[Judgement]]:
    found: dict[Any, list[Judgement]] = defaultdict(list)
    for one in judgements:
        found[key(one)].append(one)
    return dict(found)


def _group(name: str, role: Role, members: Sequence[Judgement]) -> Group:
    readable = [one for one in members if one.error is None]
    count = len(readable)
    outcomes = Counter(one.outcome for one in readable)
    said = Counter(one.tag.name for one in readable if one.tag is not None).most_common(1)

    def share(hits: int) -> Proportion | None:
        return proportion(hits, count) if count else None

    known = role == "known"
    return Group(
        name=name,
        role=role,
        count=count,
        unreadable=len(members) - count,
        rightly=share(outcomes["rightly"]),
        wrongly=share(outcomes["wrongly"]),
        coarser=share(outcomes["coarser"]),
        coarser_true=sum(one.outcome == "coarser" and bool(one.tag_is_true) for one in readable),
        untagged=share(outcomes["untagged"]),
        top1=share(sum(one.right_within(1) for one in readable)) if known else None,
        top5=share(sum(one.right_within(5) for one in readable)) if known else None,
        most_said=said[0] if said else None,
    )


def _by_group(members: Sequence[Judgement]) -> tuple[Group, ...]:
    """Return the groups of one role, worst first."""
    groups = [_group(name, one[0].photo.role, one) for name, one in _grouped(members, _group_of).items()]

    def badness(group: Group) -> tuple[float, str]:
        if group.rightly is None or group.tagged is None:
            return 1.0, group.name
        return group.rightly.value if group.role == "known" else -group.tagged.value, group.name

    return tuple(sorted(groups, key=badness))


def _group_of(one: Judgement) -> str:
    return one.photo.group


def _by_source(judgements: Sequence[Judgement]) -> tuple[Group, ...]:
    if not any(one.photo.source for one in judgements):
        return ()
    found = _grouped(judgements, lambda one: (one.photo.source, one.photo.role))
    groups = [_group(source, role, members) for (source, role), members in found.items()]
    return tuple(sorted(groups, key=lambda group: (group.role, -group.count, group.name)))


def _scores(members: Sequence[Judgement]) -> NDArray[np.float64]:
    return np.array([one.score for one in members], dtype=np.float64)


def _right(members: Sequence[Judgement]) -> NDArray[np.bool_]:
    return np.array([one.right_within(1) for one in members], dtype=bool)


def _reliability(known: Sequence[Judgement]) -> Reliability:
    # A sum of float32 probabilities may be slightly above 1.
    return reliability(np.array([min(1.0, one.probability) for one in known]), _right(known))


def _detections(known: Sequence[Judgement], others: Sequence[Judgement]) -> Iterable[Detection]:
    roles = sorted({one.photo.role for one in others})
    parts = [(role, [one for one in others if one.photo.role == role]) for role in roles]
    if len(parts) == 2:
        parts.append(("both", list(others)))  # type: ignore[arg-type]
    for name, members in parts if known else ():
        positives, negatives = _scores(known), _scores(members)
        yield Detection(name, auroc(positives, negatives), fpr_at_recall(positives, negatives), len(members))


def _curve(known: Sequence[Judgement], others: Sequence[Judgement]) -> Curve:
    thresholds = np.unique(_scores([*known, *others]))[::-1]
    thresholds = thresholds[spread(np.arange(len(thresholds)), CURVE_POINTS)]
    right, confident = _right(known), np.array([one.confident for one in known], dtype=bool)
    false = {
        role: pass_rates(_scores(members), np.array([one.confident for one in members], dtype=bool), thresholds)
        for role, members in _grouped(others, lambda one: one.photo.role).items()
    }
    return Curve(
        thresholds,
        rightly=pass_rates(_scores(known), confident & right, thresholds),
        wrongly=pass_rates(_scores(known), confident & ~right, thresholds),
        false=false,
    )


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    chosen = spread(np.arange(len(x)), CURVE_POINTS)
    return tuple(zip(x[chosen].tolist(), y[chosen].tolist(), strict=True))


def _confused(known: Sequence[Judgement]) -> tuple[ConfusedPair, ...]:
    support = Counter(one.photo.group for one in known)
    pairs = Counter((one.photo.group, one.ranked[0][0]) for one in known if not one.right_within(1) and one.ranked)
    found = [
        ConfusedPair(true, predicted, count, count / support[true]) for (true, predicted), count in pairs.items()
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.count, -pair.share, pair.true)))


def _surest(members: Iterable[Judgement]) -> tuple[Judgement, ...]:
    return tuple(sorted(members, key=lambda one: -(one.tag.probability if one.tag else 0.0))[:WORST])


def _hits(share: Proportion) -> int:
    return round(share.value * share.count)


def _plain(group: Group) -> dict[str, Any]:
    tagged = group.tagged
    return {**asdict(group), "tagged": None if tagged is None else asdict(tagged)}
