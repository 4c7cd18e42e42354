"""Where `world` falls silent: chosen on landmarks and kinds that a network has never seen, and carried over.

The final network knows all 158 landmarks, so no landmark of the right size is left that it does not know. The
development network was trained the same way without 26 landmarks, six kinds and half of the small landmarks.
Weights and thresholds come from it. The final network gives somewhat other scores; its thresholds are moved by
what the photos show that *neither* network was trained on and that must get no tag: the mean difference of the
highest tenth of their scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from world_data import Roles
from world_outputs import AllOutputs

from landmarks.model.calibration import Calibration, Outputs
from landmarks.model.combination import Combination
from landmarks.model.neighbours import Neighbours
from landmarks.model.ood import BACKGROUND, is_landmark
from landmarks.model.operating_points import ExpectedRate, ExpectedRates
from landmarks.model.probabilities import fit_temperature, softmax
from landmarks.training.export.thresholds import OpenSetPhotos, OpenSetTargets, calibrate_open_set
from landmarks.training.metrics.evaluate import proportion

TARGETS = OpenSetTargets(ordinary=0.03, unknown=0.08)
HIGHEST = 0.1
"""Share of the shared silent photos whose scores carry the thresholds over."""


def groups_of(roles: Roles, outputs: AllOutputs, *wanted: str) -> dict[str, Outputs]:
    """Outputs of the pictures that have one of the roles, by kind or landmark."""
    places = defaultdict(list)
    for i in roles.of(*wanted):
        places[roles.photos[i].key].append(i)
    return {key: outputs.at(np.array(found)) for key, found in sorted(places.items())}


def open_set_photos(roles: Roles, outputs: AllOutputs) -> OpenSetPhotos:
    """What the development network is calibrated with."""
    train, valid = roles.of("train"), roles.of("valid")
    return OpenSetPhotos(
        train=outputs.at(train),
        train_labels=roles.labels[train],
        valid=outputs.at(valid),
        valid_labels=roles.labels[valid],
        ordinary=groups_of(roles, outputs, "background_valid", "kind"),
        unknown=groups_of(roles, outputs, "unknown"),
        background=[outputs.at(roles.of("background", "background_landmark"))],
        compare_with_all=False,
    )


def calibrate_dev(roles: Roles, outputs: AllOutputs, targets: OpenSetTargets = TARGETS) -> Calibration:
    """Weights and thresholds on what the development network has never seen."""
    return calibrate_open_set(open_set_photos(roles, outputs), [*roles.known, BACKGROUND], targets)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a calibration makes of all pictures."""

    scores: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]


def judge(calibration: Calibration, roles: Roles, outputs: AllOutputs) -> Judged:
    """Scores of all pictures, probability of the likeliest landmark, and whether it is the right one."""
    known = is_landmark([*roles.known, BACKGROUND])
    scores = calibration.scores(outputs.logits, outputs.embeddings, known)
    chances = softmax(outputs.logits, calibration.temperature)[:, known]
    return Judged(scores, chances.max(axis=1), chances.argmax(axis=1) == roles.labels)


def carry_over(
    dev: Calibration, dev_roles: Roles, dev_outputs: AllOutputs, roles: Roles, outputs: AllOutputs
) -> Calibration:
    """Return the calibration of the final network; see the head of this file."""
    if dev.combination is None:
        raise AssertionError("calibrate_dev gives a combination")
    train, valid = roles.of("train"), roles.of("valid")
    background = outputs.embeddings[roles.of("background", "background_landmark")]
    neighbours = Neighbours.fit(
        outputs.embeddings[train], roles.labels[train], background, classes=len(roles.known)
    )
    final = replace(
        dev,
        temperature=fit_temperature(outputs.logits[valid], roles.labels[valid]),
        combination=Combination(dev.combination.weights, dev.combination.bias, neighbours),
    )
    silent = ("background_valid", "unknown_small")
    shared = np.intersect1d(dev_roles.of(*silent), roles.of(*silent))
    before = judge(dev, dev_roles, dev_outputs).scores[shared]
    after = judge(final, roles, outputs)
    highest = max(1, round(HIGHEST * len(shared)))
    move = float((np.sort(after.scores[shared]) - np.sort(before))[-highest:].mean())
    points = {}
    for name, point in dev.operating_points.items():
        threshold = point.threshold + move
        tagged = (after.scores >= threshold) & (after.confidence >= point.min_confidence)
        expected = ExpectedRates(
            tagged_rightly=_expected(tagged & after.right, valid),
            tagged_wrongly=_expected(tagged & ~after.right, valid),
            false_tags_ordinary=point.expected.false_tags_ordinary,
            false_tags_unknown=point.expected.false_tags_unknown,
        )
        points[name] = replace(point, threshold=threshold, expected=expected)
    return replace(
        final,
        threshold=points["balanced"].threshold,
        operating_points=points,
        fitted_on={**dev.fitted_on, "carried_over_by": move, "carried_over_on": len(shared)},
    )


def _expected(flags: NDArray[np.bool_], places: Sequence[int] | NDArray[np.int64]) -> ExpectedRate:
    found = proportion(int(flags[places].sum()), len(places))
    return ExpectedRate(found.value, found.low, found.high, found.count)
