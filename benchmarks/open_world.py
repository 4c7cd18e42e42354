"""Open-set recognition: which score, and which training, keeps silent about what it does not know.

Run `python benchmarks/open_world.py DATA --cache CACHE` after `benchmarks/bundle.py --compare`, whose networks and
outputs are in CACHE. Everything is measured with the development network, which never saw 26 landmarks of
world124, six kinds of ordinary photos, half of the small landmarks, and `other_source`. What a score learns
(weights) it learns on one half of these landmarks and kinds and is measured on the other half, six times (three
splits, both ways): classes, kinds and most sources of the two halves differ. The tables are in
`benchmarks/results/open_world.md`.

After OpenOOD (Yang et al. 2022, https://arxiv.org/abs/2210.07242; Zhang et al. 2023,
https://arxiv.org/abs/2306.09301): unknown landmarks are near out-of-distribution, ordinary photos far; but what
counts here is the share tagged rightly, as in open-set recognition (Vaze et al. 2022,
https://arxiv.org/abs/2110.06207, whose point is that a better closed-set classifier is a better open-set one).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import record, table
from world_data import Roles, assign_roles, list_photos
from world_outputs import PREPROCESSING, AllOutputs, outputs_of_all, write_int8, write_network
from world_training import TEACHER, VARIANTS, read_network

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.calibration import Calibration
from landmarks.model.combination import EVIDENCE, evidence_of, fit_weights
from landmarks.model.embedding_space import plain_space, whitened_space
from landmarks.model.folder import ONNX_FILE, find_model, read_info
from landmarks.model.neighbours import Neighbours
from landmarks.model.ood import BACKGROUND, EmbeddingStatistics, ScoreKind, is_landmark, ood_scores
from landmarks.model.probabilities import fit_temperature, softmax
from landmarks.search.rerank import count_inliers, local_features
from landmarks.training.metrics.ood import auroc
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import get_model_transfer_learning

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


def trained_head(subject: Subject, mode: str, *, steps: int = 80, seed: int = 0) -> Subject:
    """A new head on the embeddings of a network.

    Args:
        subject: Whose embeddings.
        mode: `none` (landmarks alone), `class` (one background class), `groups` (a class for each group of
            background, joined afterwards), `uniform` (background photos undecided: Hendrycks et al. 2019).
        steps: Of the optimiser, on all photos at once.
        seed: Of the first weights.
    """
    roles, known = subject.roles, len(subject.roles.known)
    places = roles.of("train", "background", "background_landmark")
    labels = torch.from_numpy(roles.labels[places])
    if mode in ("none", "uniform"):
        size = known
    else:
        size = known + (1 if mode == "class" else len(roles.background))
        labels = labels.clamp_max(size - 1)
    is_known = labels < known if mode in ("class", "groups") else torch.from_numpy(roles.labels[places] < known)
    inputs = torch.from_numpy(subject.embeddings[places])
    targets = torch.zeros(len(places), size)
    targets[is_known] = torch.nn.functional.one_hot(labels[is_known], size).float()
    if mode in ("class", "groups"):
        targets[~is_known] = torch.nn.functional.one_hot(labels[~is_known], size).float()
    else:
        targets[~is_known] = 0.5 / size if mode == "uniform" else 0.0  # outlier exposure weighs half
    torch.manual_seed(seed)
    head = torch.nn.Linear(inputs.shape[1], size)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.6, weight_decay=3e-6)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.6 * (1 - step / steps)
        loss = -(targets * torch.log_softmax(head(inputs), dim=1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = head(torch.from_numpy(subject.embeddings))
        if mode == "groups":
            logits = torch.cat([logits[:, :known], logits[:, known:].logsumexp(1, keepdim=True)], 1)
    outputs = AllOutputs(logits.numpy(), subject.embeddings)
    return Subject.of(roles, outputs, np.arange(logits.shape[1]) < known)


def frozen_outputs(roles: Roles, cache: Path) -> AllOutputs:
    """What the pretrained backbone sees in all photos."""
    path = cache / "frozen" / "fp32.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        model, _ = get_model_transfer_learning(num_classes=2)
        write_onnx(model.eval(), PREPROCESSING, path)
    return outputs_of_all(write_int8(path, roles), roles.photos)


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


def top1_of(subject: Subject) -> list[str]:
    """Top-1 accuracy on each test set."""
    return [f"{subject.right[places].mean():.3f}" for places in test_sets(subject.roles).values()]


def todays_model(roles: Roles, cache: Path, name: str) -> str:
    """The curve of an earlier bundled model, on the same photos as far as it knows their landmarks."""
    folder = find_model(name)
    info = read_info(folder)
    shown = roles.of("test", "other_source", "unknown", "kind", "background_valid", "buildings")
    roles = Roles(tuple(roles.photos[i] for i in shown), roles.known, roles.background)
    link = cache / "before" / ONNX_FILE
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_file():
        link.write_bytes((folder / ONNX_FILE).read_bytes())
    outputs = outputs_of_all(
        link, roles.photos, preprocessing=Preprocessing.from_dict(info.preprocessing.to_dict())
    )
    known = is_landmark(info.classes)
    calibration = Calibration.from_dict(info.calibration or {})
    scores = calibration.scores(outputs.logits, outputs.embeddings, known)
    sets = test_sets(roles)
    names = [cls for cls, is_known in zip(info.classes, known, strict=True) if is_known]
    said = np.array(names)[outputs.logits[:, known].argmax(axis=1)]
    truth = np.array([roles.known[label] if 0 <= label < len(roles.known) else "" for label in roles.labels])
    right = said == truth
    unknown, rows = scores[roles.of("unknown")], []
    places = [sets["world34"], sets["other sources"]]
    others = [roles.of("kind"), roles.of("background_valid"), roles.of("buildings")]
    thresholds = {f"{rate:.0%}": np.quantile(unknown, 1 - rate) for rate in CURVE}
    own = scores >= calibration.threshold
    thresholds[f"{own[roles.of('unknown')].mean():.1%} (its own threshold)"] = calibration.threshold
    for label, threshold in thresholds.items():
        tagged = scores >= threshold
        row = [(tagged & right)[of].mean() for of in places] + [tagged[of].mean() for of in others]
        rows.append([label, *(f"{value:.3f}" for value in row)])
    header = ["unknown landmarks tagged", "world34", "other sources", "unseen kinds", "trained kinds", "buildings"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    parser.add_argument("--before", help="An earlier model, by name or folder, for its curve.")
    given = parser.parse_args()
    roles = assign_roles(list_photos(given.data), "dev")
    known = is_landmark([*roles.known, BACKGROUND])
    dev = Subject.of(roles, outputs_of_all(given.cache / "dev" / "student" / "int8.onnx", roles.photos), known)
    scores = {**simple_scores(dev), **combined_scores(dev)}
    best = "**combined: head, whitened neighbours**"
    body = ["## Scores, fine-tuned network with a background of groups", ""]
    body += [table(HEADER, [[name, *measure(dev, score)] for name, score in scores.items()]), ""]
    print("\n".join(body), flush=True)
    frozen_base = Subject(roles, dev.logits, frozen_outputs(roles, given.cache).embeddings, known)
    rows = []
    for mode in ("none", "uniform", "class", "groups"):
        subject = trained_head(frozen_base, mode)
        chances = softmax(subject.logits)[:, subject.known].max(axis=1)
        chosen: dict[str, Fitted] = {
            "max_probability": lambda _, values=chances: values,
            "combined": usual_combination(subject),
        }
        for name, score in chosen.items():
            rows.append([f"frozen, background: {mode}; {name}", *top1_of(subject), *measure(subject, score)])
    for name, words in NETWORKS.items():
        subject = dev if name == "student" else variant(roles, given.cache, name, known)
        if subject is not None:
            learned = scores[best] if subject is dev else usual_combination(subject)
            rows.append([words, *top1_of(subject), *measure(subject, learned)])
    header = ["training; score", "top-1 world34", "world124", "other", *HEADER[1:]]
    body += ["## Trainings", "", table(header, rows), ""]
    costly = at_more_cost(dev, given.cache)
    body += ["## More work per photo", "", table(["what", *header[1:]], costly), ""]
    body += ["## Curve after", "", table(CURVE_HEADER, curve(dev, scores[best])), ""]
    if given.before:
        earlier = todays_model(roles, given.cache, given.before)
        body += [f"## Curve before: {Path(given.before).name}", "", earlier, ""]
    command = "python benchmarks/open_world.py DATA --cache CACHE"
    record("open_world", "Open-set recognition", command, "\n".join(body), ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
