"""Networks that were trained for comparison, and what takes several times the work per photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from open_world_measures import Subject, bank, measure, top1_of, usual_combination, whitened
from world_data import Roles
from world_outputs import PREPROCESSING, AllOutputs, outputs_of_all, write_int8, write_network
from world_training import TEACHER, VARIANTS, read_network

from landmarks.model.combination import evidence_of
from landmarks.search.rerank import count_inliers, local_features

NETWORKS = {
    "plain": "fine-tuned, margin 0.1, background: groups; combined",
    "no_margin": "fine-tuned, no margin; combined",
    "margin_3": "fine-tuned, margin 0.3; combined",
    "teacher": "fine-tuned Lite2, margin 0.1 (the teacher, fp32); combined",
    "student": "**fine-tuned with the teacher, margin 0.1, background: groups; combined**",
}
"""Networks of `world_training.py`, as rows of the table."""


def variant(roles: Roles, cache: Path, name: str, known: NDArray[np.bool_]) -> Subject | None:
    """A network that was trained for comparison, or None where `bundle.py` ran without `--compare`."""
    weights = cache / "dev" / f"{name}.pt"
    if not weights.is_file():
        return None
    recipe = TEACHER if name == "teacher" else VARIANTS[name]
    trained = read_network(weights, recipe)
    fp32 = write_network(trained, len(roles.known), recipe.scale, cache / "dev" / name)
    network = fp32 if name == "teacher" else write_int8(fp32, roles)
    return Subject.of(roles, outputs_of_all(network, roles.photos), known)


VIEWS = {"": 224, "flip": 224, "closer": 256, "closer-flip": 256}
"""Views by name: the short side to which a photo is resized before the crop of 224 pixels."""


def views_of(roles: Roles, network: Path, names: Sequence[str]) -> list[AllOutputs]:
    """Outputs of a network for several views of each photo."""
    sides = {name: replace(PREPROCESSING, resize=VIEWS[name]) for name in names}
    return [outputs_of_all(network, roles.photos, preprocessing=sides[name], view=name) for name in names]


def averaged(outputs: Sequence[AllOutputs]) -> AllOutputs:
    """Mean logits and embeddings."""
    return AllOutputs(
        np.mean([one.logits for one in outputs], axis=0), np.mean([one.embeddings for one in outputs], axis=0)
    )


def inliers_of(subject: Subject, cache: Path, *, references: int = 3) -> NDArray[np.float64]:
    """Geometric verification: (N, 1), log of 1 + inliers against the nearest photos of the likeliest landmark.

    Only photos that something is fitted or measured on are verified, the rest have 0.
    """
    kept, roles = cache / "dev" / f"inliers-{references}.npy", subject.roles
    if not kept.is_file():
        train, features = roles.of("train"), {}
        classes = roles.labels[train]
        near = whitened(subject).vectors(subject.embeddings)
        likeliest = subject.logits[:, subject.known].argmax(axis=1)
        counts = np.zeros(len(roles.photos))
        for place in roles.of(*VERIFIED):
            own = train[classes == likeliest[place]]
            closest = own[np.argsort(-(near[own] @ near[place]))[:references]]
            for one in (place, *closest):
                if one not in features:
                    features[one] = local_features(roles.photos[one].path)
            counts[place] = max(count_inliers(features[place], features[one]) for one in closest)
        np.save(kept, counts)
    found: NDArray[np.float64] = np.log1p(np.load(kept))[:, None]
    return found


VERIFIED = (
    *("valid", "test", "other_source", "unknown", "unknown_small", "unknown_twin"),
    *("kind", "background_valid", "buildings"),
)


def at_more_cost(dev: Subject, cache: Path) -> list[list[str]]:
    """Rows of what takes several times the work per photo, each with the combination."""
    network = cache / "dev" / "student" / "int8.onnx"
    subjects = {
        "one view": dev,
        "mean of two views (mirrored)": ("", "flip"),
        "mean of four views (mirrored, closer)": tuple(VIEWS),
    }
    rows = []
    for name, views in subjects.items():
        if isinstance(views, tuple):
            subject = Subject.of(dev.roles, averaged(views_of(dev.roles, network, views)), dev.known)
        else:
            subject = views
        rows.append([name, *top1_of(subject), *measure(subject, usual_combination(subject))])
    second = variant(dev.roles, cache, "teacher", dev.known)
    if second is not None:
        both = replace(dev, logits=(dev.logits + second.logits) / 2)
        near = evidence_of(second.logits, second.embeddings, dev.known, bank(second, whitened(second)))
        rows.append(["second backbone (Lite2)", *top1_of(both), *measure(both, usual_combination(both, near))])
    inliers = inliers_of(dev, cache)
    rows.append(["geometric verification, alone", *top1_of(dev), *measure(dev, lambda _: inliers[:, 0])])
    verified = usual_combination(dev, inliers)
    rows.append(["with geometric verification", *top1_of(dev), *measure(dev, verified)])
    return rows
