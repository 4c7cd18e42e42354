"""Scores of open-set recognition, and how each is measured on landmarks and kinds that it was not fitted on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from world_data import Roles
from world_outputs import AllOutputs

from landmarks.model.combination import EVIDENCE, evidence_of, fit_weights
from landmarks.model.embedding_space import plain_space, whitened_space
from landmarks.model.neighbours import Neighbours
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, ood_scores
from landmarks.model.probabilities import fit_temperature, softmax
from landmarks.training.evaluation.measures import auroc

RATES = (0.05, 0.08)
CURVE = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
SPLITS = 3

EVERY = ("unknown", "kinds", "trained kinds", "small")
"""Sorts of photos that must get no tag."""

Scores = NDArray[np.float64]
Places = NDArray[np.int64]
Fitted = Callable[[Mapping[str, Places]], Scores]
"""From the photos of one half to the scores of all photos; a score that learns nothing ignores its argument."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One network: what it says of all photos, at its temperature."""

    roles: Roles
    logits: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    known: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,), whether the likeliest landmark is the right one."""
        return self.logits[:, self.known].argmax(axis=1) == self.roles.labels

    @classmethod
    def of(cls, roles: Roles, outputs: AllOutputs, known: NDArray[np.bool_]) -> Subject:
        """Scale by the temperature that fits the validation photos."""
        valid = roles.of("valid")
        temperature = fit_temperature(outputs.logits[valid], roles.labels[valid])
        return cls(roles, outputs.logits.astype(np.float64) / temperature, outputs.embeddings, known)


def test_sets(roles: Roles) -> dict[str, Places]:
    """Known landmarks that nothing was trained or fitted on."""
    test = roles.of("test")
    collections = np.array([roles.photos[i].collection for i in test])
    return {
        "world34": test[collections == "world34"],
        "world124": test[collections == "world124"],
        "other sources": roles.of("other_source"),
    }


def folds(roles: Roles) -> Iterator[tuple[dict[str, Places], dict[str, Places]]]:
    """Halves of what must get no tag, to fit on and to measure on: whole landmarks, whole kinds."""
    parts = {
        "unknown": ("unknown",),
        "small": ("unknown_small", "unknown_twin"),
        "kinds": ("kind",),
        "trained kinds": ("background_valid",),
    }
    for seed in range(SPLITS):
        first, second = {}, {}
        for name, wanted in parts.items():
            places = roles.of(*wanted)
            keys = np.array([roles.photos[i].key for i in places])
            shuffled = sorted(set(keys))
            random.Random(seed).shuffle(shuffled)
            chosen = np.isin(keys, shuffled[::2])
            first[name], second[name] = places[chosen], places[~chosen]
        yield first, second
        yield second, first


def measure(subject: Subject, fitted: Fitted) -> list[str]:
    """One row: at the thresholds where 5 % and 8 % of the measured unknown landmarks get a tag."""
    right, sets, found = subject.right, test_sets(subject.roles), []
    for fit, shown in folds(subject.roles):
        scores = fitted(fit)
        row = [auroc(scores[np.concatenate(list(sets.values())[:2])], scores[shown["unknown"]])]
        for allowed in RATES:
            tagged = scores >= np.quantile(scores[shown["unknown"]], 1 - allowed)
            row += [(tagged & right)[places].mean() for places in sets.values()]
            row += [tagged[shown["kinds"]].mean()]
        carried = scores >= np.quantile(scores[fit["unknown"]], 1 - RATES[0])
        found.append([*row, carried[shown["unknown"]].mean()])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    cells = [f"{value:.3f}" for value in mean[:-1]]
    return [*cells, f"{mean[-1]:.3f} ± {spread[-1]:.3f}"]


HEADER = [
    "score",
    "AUROC",
    *(f"{name} @{rate:.0%}" for rate in RATES for name in ("world34", "world124", "other", "kinds")),
    "threshold carried to other landmarks",
]


def simple_scores(subject: Subject) -> dict[str, Fitted]:
    """Scores that learn nothing from what must get no tag."""
    roles, logits, embeddings, known = subject.roles, subject.logits, subject.embeddings, subject.known
    train = roles.of("train")
    statistics = EmbeddingStatistics.fit(embeddings[train], roles.labels[train], len(roles.known))
    wide = np.concatenate([statistics.means, np.ones((len(known) - len(roles.known), statistics.means.shape[1]))])
    padded = EmbeddingStatistics(wide.astype(np.float32), statistics.factor, statistics.noise)
    kinds: tuple[ScoreKind, ...] = ("max_probability", "energy", "class_mean", "mahalanobis")
    if not known.all():
        kinds = (*kinds, "known_mass")
    found = {kind: ood_scores(kind, logits, embeddings, known=known, statistics=padded) for kind in kinds}
    chances = softmax(logits)[:, known].max(axis=1)
    likeliest = logits[:, known].argmax(axis=1)
    for name, space in (("", plain_space(embeddings.shape[1])), ("whitened ", whitened(subject))):
        close = bank(subject, space).closeness(embeddings, likeliest)
        found[f"{name}nearest 3 of the class"] = close.own
        found[f"{name}nearest 3 of the class + 0.2 p"] = close.own + 0.2 * chances
        found[f"{name}nearest 3, class against background"] = close.own - close.background
    return {name: (lambda _, scores=scores: scores) for name, scores in found.items()}  # type: ignore[misc]


def whitened(subject: Subject):  # type: ignore[no-untyped-def]
    train = subject.roles.of("train")
    return whitened_space(subject.embeddings[train], subject.roles.labels[train])


def bank(subject: Subject, space) -> Neighbours:  # type: ignore[no-untyped-def]
    roles, train = subject.roles, subject.roles.of("train")
    far = subject.embeddings[roles.of("background", "background_landmark")]
    return Neighbours.fit(
        subject.embeddings[train], roles.labels[train], far, classes=len(roles.known), space=space
    )


def combined(
    subject: Subject,
    neighbours: Neighbours,
    columns: Sequence[str],
    sorts: Sequence[str],
    further: NDArray[np.float64] | None = None,
) -> Fitted:
    """A logistic regression over some of the evidence, fitted on some sorts of photos that must get no tag.

    Args:
        subject: The network.
        neighbours: Stored photos.
        columns: Any of `EVIDENCE`.
        sorts: Any of `EVERY`.
        further: (N, M), other evidence.
    """
    evidence = evidence_of(subject.logits, subject.embeddings, subject.known, neighbours)
    for i, name in enumerate(EVIDENCE):
        if name not in columns:
            evidence[:, i] = 0
    if further is not None:
        evidence = np.concatenate([evidence, further], axis=1)
    right, valid = subject.right, subject.roles.of("valid")

    def fitted(fit: Mapping[str, Places]) -> Scores:
        groups = [valid, *(fit[name] for name in sorts)]
        places = np.concatenate(groups)
        shares = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
        truth = np.concatenate([right[valid], np.zeros(len(places) - len(valid), dtype=bool)])
        weights, bias = fit_weights(evidence[places], truth, shares)
        return evidence @ np.array(weights) + bias

    return fitted


def usual_combination(subject: Subject, further: NDArray[np.float64] | None = None) -> Fitted:
    """All evidence with whitened neighbours, fitted on every sort."""
    return combined(subject, bank(subject, whitened(subject)), EVIDENCE, EVERY, further)


def combined_scores(subject: Subject) -> dict[str, Fitted]:
    """Combinations by what they look at and by what they are fitted on."""
    white, plain = bank(subject, whitened(subject)), bank(subject, plain_space(subject.embeddings.shape[1]))
    head, near = ("odds", "mass"), ("own", "other", "background")
    return {
        "combined: head": combined(subject, white, head, EVERY),
        "combined: neighbours": combined(subject, white, near, EVERY),
        "combined: head, raw neighbours": combined(subject, plain, EVIDENCE, EVERY),
        "**combined: head, whitened neighbours**": combined(subject, white, EVIDENCE, EVERY),
        "the same, fitted on trained kinds alone": combined(subject, white, EVIDENCE, EVERY[2:3]),
        "the same, fitted on trained kinds and 64-pixel landmarks": combined(subject, white, EVIDENCE, EVERY[2:]),
    }


def curve(subject: Subject, fitted: Fitted) -> list[list[str]]:
    """Tagged rightly against false tags, at thresholds by the share of unknown landmarks that get a tag."""
    right, sets, rows = subject.right, test_sets(subject.roles), []
    roles = subject.roles
    others = {"kinds": roles.of("kind"), "old": roles.of("background_valid"), "buildings": roles.of("buildings")}
    for allowed in CURVE:
        found = []
        for fit, shown in folds(roles):
            scores = fitted(fit)
            tagged = scores >= np.quantile(scores[shown["unknown"]], 1 - allowed)
            row = [(tagged & right)[places].mean() for places in sets.values()]
            row += [(tagged & ~right)[np.concatenate(list(sets.values()))].mean()]
            found.append(row + [tagged[places].mean() for places in others.values()])
        rows.append([f"{allowed:.0%}", *(f"{value:.3f}" for value in np.mean(found, axis=0))])
    return rows


CURVE_HEADER = ["unknown landmarks tagged", "world34", "world124", "other sources", "wrongly"]
CURVE_HEADER += ["unseen kinds", "trained kinds", "buildings"]


def top1_of(subject: Subject) -> list[str]:
    """Top-1 accuracy on each test set."""
    return [f"{subject.right[places].mean():.3f}" for places in test_sets(subject.roles).values()]
