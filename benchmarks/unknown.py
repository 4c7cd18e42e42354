"""Compares the OOD scores: false tags, recall and uAP of a model, score by score.

Run `python benchmarks/unknown.py RUN MODEL DATA`: RUN is what `landmarks train` made, MODEL its export, DATA the
folder that holds world34, negatives and negatives_buildings. The statistics of the embeddings come from the
training images of the run and the temperature from its validation images. Thresholds are chosen on the first
half of the negatives, as far as the run was not trained on them; everything shown is measured on world34's test
images, the second half and negatives_buildings. The table goes to the screen and to
benchmarks/results/unknown.md.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from bundle import halves
from numpy.typing import NDArray
from record import record, table

from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import prepare
from landmarks.model.calibration import Outputs, choose_threshold
from landmarks.model.folder import INFO_FILE, ONNX_FILE
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, is_landmark, ood_scores
from landmarks.model.probabilities import fit_temperature, softmax
from landmarks.model.recognizer import Recognizer
from landmarks.training.engine.trained import load_data, load_run
from landmarks.training.evaluation.measures import auroc, global_average_precision
from landmarks.training.metrics.evaluate import proportion, reliability

SURE = 0.5
Score = Callable[[Outputs], NDArray[np.float64]]


@dataclass(frozen=True)
class Sets:
    """Outputs of the network for each set of images."""

    train: Outputs
    valid: Outputs
    test: Outputs
    choosing: Outputs
    shown: Outputs
    buildings: Outputs


def outputs(recognizer: Recognizer, paths: Sequence[Path], cache: Path) -> Outputs:
    """Logits and embeddings of images, computed once."""
    key = hashlib.sha256(sha256_file(recognizer.folder / ONNX_FILE).encode())
    key.update("\n".join(str(path.resolve()) for path in paths).encode())
    file = cache / f"outputs-{key.hexdigest()[:20]}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        logits, embeddings = [], []
        for start in range(0, len(paths), 4):
            pictures = [prepare(path, recognizer.info.preprocessing) for path in paths[start : start + 4]]
            answers = recognizer.answer(np.stack(pictures))
            logits.append(answers.logits)
            embeddings.append(answers.embeddings)
        np.savez(file, logits=np.concatenate(logits), embeddings=np.concatenate(embeddings))
    stored = np.load(file)
    return Outputs(stored["logits"], stored["embeddings"])


def core_score(
    kind: ScoreKind, known: NDArray[np.bool_], temperature: float, statistics: EmbeddingStatistics
) -> Score:
    def score(pictures: Outputs) -> NDArray[np.float64]:
        return ood_scores(
            kind, pictures.logits, pictures.embeddings, known=known, temperature=temperature, statistics=statistics
        )

    return score


def with_interval(flags: NDArray[np.bool_]) -> str:
    found = proportion(int(flags.sum()), len(flags))
    return f"{found.value:.2%} ({found.low:.1%} - {found.high:.1%})"


def show(
    name: str,
    score: Score,
    sets: Sets,
    best: dict[str, NDArray[np.float64]],
    *,
    right: NDArray[np.bool_],
    promised: float,
) -> list[str]:
    """One row: all metrics at the threshold chosen on the negatives."""
    threshold = choose_threshold(score(sets.choosing), promised)
    of_test, of_shown, of_buildings = score(sets.test), score(sets.shown), score(sets.buildings)
    tagged = (of_test >= threshold) & (best["test"] >= SURE)
    confidences = np.concatenate([of_test, of_shown])
    hits = np.concatenate([right, np.zeros(len(of_shown), dtype=bool)])
    return [
        f"`{name}`",
        f"{auroc(of_test, of_shown):.4f}",
        f"{threshold:.4g}",
        with_interval((of_shown >= threshold) & (best["shown"] >= SURE)),
        with_interval((of_buildings >= threshold) & (best["buildings"] >= SURE)),
        with_interval(tagged & right),
        f"{(tagged & ~right).mean():.2%}",
        f"{global_average_precision(confidences, hits, len(right)):.4f}",
        f"{(of_shown >= threshold).mean():.2%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--promised", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("build/unknown"))
    given = parser.parse_args()
    recognizer = Recognizer(given.model, threads=given.threads)
    folder = load_data(load_run(given.run)).folder
    classes = recognizer.info.classes
    known = is_landmark(classes)  # (K,)
    first, second = halves(given.data)
    trained = {sample.path.resolve() for sample in folder.train}
    unseen = [path for path in first if path.resolve() not in trained]
    enough = len(unseen) >= math.ceil(1 / given.promised) - 1
    test = [sample for sample in folder.test if known[sample.label]]
    paths = {
        "train": [sample.path for sample in folder.train],
        "valid": [sample.path for sample in folder.valid],
        "test": [sample.path for sample in test],
        "choosing": unseen if enough else first,
        "shown": second,
        "buildings": sorted((given.data / "negatives_buildings").rglob("*.jpg")),
    }
    sets = Sets(**{name: outputs(recognizer, files, given.cache) for name, files in paths.items()})
    train_labels = np.array([sample.label for sample in folder.train])
    labels = np.array([sample.label for sample in test])
    temperature = fit_temperature(sets.valid.logits, np.array([sample.label for sample in folder.valid]))
    statistics = EmbeddingStatistics.fit(sets.train.embeddings, train_labels, len(classes))

    chances = {name: softmax(getattr(sets, name).logits, temperature) for name in ("test", "shown", "buildings")}
    best = {name: values[:, known].max(axis=1) for name, values in chances.items()}
    right = np.flatnonzero(known)[chances["test"][:, known].argmax(axis=1)] == labels
    left_out = {"combined", *(["known_mass"] if known.all() else [])}  # see open_world.py for the former
    kinds = [kind for kind in get_args(ScoreKind) if kind not in left_out]
    scores: dict[str, Score] = {kind: core_score(kind, known, temperature, statistics) for kind in kinds}
    scores["mahalanobis, nearest mean"] = lambda pictures: (
        -statistics.distances(pictures.embeddings)[:, known].min(1)
    )
    rows = [show(name, score, sets, best, right=right, promised=given.promised) for name, score in scores.items()]

    header = ["score", "AUROC", "threshold", "false tags, negatives", "false tags, buildings", "tagged rightly"]
    header += ["tagged wrongly", "uAP", "negatives over the threshold"]
    everything = np.concatenate([best["test"], best["shown"]])
    hits = np.concatenate([right, np.zeros(len(second), dtype=bool)])
    body = table(header, rows)
    body += (
        f"\n\n{recognizer.info.name}, {recognizer.info.precision}, "
        f"`{sha256_file(given.model / INFO_FILE)[:12]}`, "
        f"{int(known.sum())} landmarks{'' if known.all() else ' and the background'}. Temperature "
        f"{temperature:.3f}, fitted on {len(folder.valid)} validation pictures. Thresholds promise "
        f"{given.promised:.1%} false tags and were chosen on {len(paths['choosing'])} negatives"
        f"{'' if enough else ', part of which the network was trained on'}; a tag also needs a probability of "
        f"{SURE:.0%}. Shown on {len(test)} test pictures, {len(second)} other negatives and "
        f"{len(paths['buildings'])} buildings, with 95 % intervals. Accuracy without the unknown "
        f"{right.mean():.4f}. Expected calibration error {reliability(best['test'], right).error:.4f} on the test "
        f"pictures, {reliability(everything, hits).error:.4f} with the negatives."
    )
    command = "python benchmarks/unknown.py RUN MODEL DATA"
    record("unknown", "Telling the unknown", command, body, ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
