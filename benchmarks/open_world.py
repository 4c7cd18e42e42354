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
from pathlib import Path

import numpy as np
import torch
from open_world_measures import (
    CURVE,
    CURVE_HEADER,
    HEADER,
    Fitted,
    Subject,
    combined_scores,
    curve,
    measure,
    simple_scores,
    test_sets,
    top1_of,
    usual_combination,
)
from open_world_networks import NETWORKS, variant
from record import record, table
from world_data import Roles, assign_roles, list_photos
from world_outputs import PREPROCESSING, AllOutputs, outputs_of_all, write_int8

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.calibration import Calibration
from landmarks.model.folder import ONNX_FILE, find_model, read_info
from landmarks.model.ood import BACKGROUND, is_landmark
from landmarks.model.probabilities import softmax
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import get_model_transfer_learning


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
    calibration = Calibration.from_dict(info.calibration or {}, info.temperature)
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
    body += ["## Curve after", "", table(CURVE_HEADER, curve(dev, scores[best])), ""]
    if given.before:
        earlier = todays_model(roles, given.cache, given.before)
        body += [f"## Curve before: {Path(given.before).name}", "", earlier, ""]
    command = "python benchmarks/open_world.py DATA --cache CACHE"
    record("open_world", "Open-set recognition", command, "\n".join(body), ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
