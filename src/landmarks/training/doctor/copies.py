"""Turns groups of near-duplicates into proposals: which image stays, and what is wrong with the others."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from landmarks.files.checksums import sha256_file
from landmarks.training.doctor.findings import Problem, Proposal
from landmarks.training.doctor.pictures import Measured, Picture

_SURE = 0.5
"""A conflict is settled if the images outside the group give one class at least this probability."""


def propose_copies(measured: Measured) -> list[Proposal]:
    """Propose all images of each group of near-duplicates but the best one.

    The best one is in the class supported by the images outside the group, then in the test split, whose metrics
    would change without it, then has the most pixels and bytes. An image in another class than the best is a
    `conflict`, in another split `leakage`, else a `duplicate`.
    """
    proposals = []
    for group in measured.groups:
        chances = np.zeros(len(measured.classes))
        if measured.probabilities is not None:
            chances = measured.probabilities[list(group)].mean(axis=0)
        best, *rest = sorted(group, key=lambda place: _rank(measured.pictures[place], chances))
        proposals += [_proposal(measured, place, best, chances) for place in rest]
    return proposals


def _rank(picture: Picture, chances: NDArray[np.float64]) -> tuple[float, bool, int, int, bytes]:
    path = os.fsencode(picture.path)
    return -chances[picture.label], picture.split != "test", -picture.pixels, -picture.size, path


def _proposal(measured: Measured, place: int, best: int, chances: NDArray[np.float64]) -> Proposal:
    picture, kept = measured.pictures[place], measured.pictures[best]
    own, other = measured.classes[picture.label], measured.classes[kept.label]
    bits = int(np.bitwise_count(measured.hashes[place] ^ measured.hashes[best]))
    cosine = float(measured.embeddings[place] @ measured.embeddings[best])
    exact = picture.size == kept.size and sha256_file(picture.path) == sha256_file(kept.path)
    evidence = "the same bytes" if exact else f"hashes differ in {bits} of 64 bits, cosine {cosine:.2f}"
    problem: Problem = "duplicate"
    settled = True
    if own != other:
        problem, settled = "conflict", bool(chances[kept.label] >= _SURE)
        evidence += (
            f"; other pictures say {other} with {chances[kept.label]:.0%}, {own} with {chances[picture.label]:.0%}"
        )
    elif picture.split != kept.split:
        problem = "leakage"
    return Proposal(
        path=picture.path,
        problem=problem,
        action="quarantine" if settled else "look",
        evidence=evidence,
        score=1.0 if exact else max(0.0, min(1.0, cosine)) * (1 - bits / 64),
        class_name=own,
        split=picture.split,
        suggested=other if problem == "conflict" and settled else "",
        other=kept.path,
    )
