"""Search by image on world34: test images as queries, training images as the photos that are searched.

Run `python benchmarks/retrieval.py DATA`, DATA being the folder with world34; the embeddings are those of the
frozen backbone (see `benchmarks/embeddings.py`), computed once and cached. It compares both poolings: raw, with
PCA whitening and with the discriminative whitening of `landmarks.fewshot.reference`, each learned on the training
images only, and with query expansion; then, for every sixth query, `landmarks search --rerank` on the top 30
photos. The tables are printed and written to benchmarks/results/retrieval.md. It takes about three minutes, mostly
for the local features; the constants of `landmarks.search.rerank` were set before and not tuned.

mAP@10 is the metric of the retrieval track of Google Landmarks v2, with 10 results instead of 100 (Weyand, Araujo,
Cao and Sim, CVPR 2020, https://arxiv.org/abs/2004.01804).
"""

from __future__ import annotations

import argparse
import time
from functools import cache
from pathlib import Path

import numpy as np
from embeddings import Pictures, Vectors, frozen, world34
from numpy.typing import NDArray
from record import record, table

from landmarks.model.embedding_space import EmbeddingSpace, plain_space, whitened_space
from landmarks.model.vectors import unit_length
from landmarks.search import rerank as local
from landmarks.search.searcher import ALPHA, expand

PACKAGES = ("onnxruntime", "numpy", "opencv-python-headless")
RESULTS = 10
EVERY = 6
EXPANSION = 5
RERANKED = (30,)
UNSEEN, DRAWS = 6, 3


def mean_average_precision(relevant: NDArray[np.bool_], totals: NDArray[np.integer]) -> float:
    """Return mAP@k.

    Args:
        relevant: (Q, k), whether each result is relevant, best first.
        totals: (Q,), number of relevant photos, at least 1.
    """
    count = relevant.shape[1]
    precision = np.cumsum(relevant, axis=1) / np.arange(1, count + 1)
    return float(((precision * relevant).sum(axis=1) / np.minimum(totals, count)).mean())


def pca_space(embeddings: Vectors, dimensions: int = 256) -> EmbeddingSpace:
    """PCA whitening (Jegou and Chum, ECCV 2012), which ignores classes."""
    values = unit_length(embeddings, np.float32).astype(np.float64)
    mean = values.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(values.T))
    kept = np.argsort(-variances)[:dimensions]
    projection = directions[:, kept] / np.sqrt(variances[kept])
    return EmbeddingSpace(mean.astype(np.float32), projection.astype(np.float32))


def score(
    queries: Vectors, of_queries: NDArray, photos: Vectors, labels: NDArray, *, expanded: bool = False
) -> float:
    """mAP@10 by exact search."""
    if expanded:
        similar = queries @ photos.T
        near = np.argsort(-similar, axis=1)[:, :EXPANSION]
        rows = np.arange(len(queries))[:, None]
        queries = np.stack(
            [expand(*pair) for pair in zip(queries, photos[near], similar[rows, near], strict=True)]
        )
    best = np.argsort(-(queries @ photos.T), axis=1)[:, :RESULTS]
    totals = (labels[None] == of_queries[:, None]).sum(axis=1)
    return mean_average_precision(labels[best] == of_queries[:, None], totals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/search"))
    given = parser.parse_args()
    train, test = world34(given.data, "train"), world34(given.data, "test")
    photos, queries = frozen(train.paths, given.cache), frozen(test.paths, given.cache)
    rows = []
    for pooling in ("plain", "gem"):
        spaces = {
            "raw": plain_space(photos[pooling].shape[1]),
            "PCA whitening": pca_space(photos[pooling]),
            "discriminative whitening": whitened_space(photos[pooling], train.labels),
        }
        for name, space in spaces.items():
            asked, there = space.vectors(queries[pooling]), space.vectors(photos[pooling])
            plain, moved = (
                score(asked, test.labels, there, train.labels, expanded=expanded) for expanded in (False, True)
            )
            shown = "mean" if pooling == "plain" else "GeM"
            rows.append([shown, name, there.shape[1], f"{plain:.4f}", f"{moved:.4f}"])
    rows = [
        [*row, unseen]
        for row, unseen in zip(rows, _unseen(photos, train.labels, queries, test.labels), strict=True)
    ]
    header = ["pooling", "space", "dimensions", "mAP@10", f"mAP@10, expanded by {EXPANSION}", "unseen landmarks"]
    body = table(header, rows)
    body += (
        f"\n\n{len(test.paths)} queries, {len(train.paths)} photos of 34 landmarks; EfficientNet-Lite0 with its "
        f"ImageNet weights. Expansion with alpha {ALPHA:g}. Unseen landmarks: mAP@10 of the test pictures of "
        f"{UNSEEN} landmarks that the whitening was not learnt on, mean of {DRAWS} draws."
    )
    body += f"\n\n## The first photos in order by local features\n\n{_reranked(photos, train, queries, test)}"
    record("retrieval", "Search by picture", "python benchmarks/retrieval.py DATA", body, PACKAGES)


def _reranked(photos: dict, there: Pictures, queries: dict, asked: Pictures) -> str:
    """mAP@10 of the top results after re-ranking, with mean pooling."""
    chosen = np.arange(0, len(asked.paths), EVERY)
    totals = (there.labels[None] == asked.labels[chosen, None]).sum(axis=1)
    features = cache(local.local_features)
    embeddings = photos["plain"]
    rows, pairs, seconds = [], 0, 0.0
    for name, space in {
        "raw": plain_space(embeddings.shape[1]),
        "discriminative whitening": whitened_space(embeddings, there.labels),
    }.items():
        similar = space.vectors(queries["plain"][chosen]) @ space.vectors(embeddings).T
        best = np.argsort(-similar, axis=1)[:, : max(RERANKED)]
        inliers = np.zeros(best.shape, dtype=int)
        for query, found in enumerate(best):
            own = features(asked.paths[chosen[query]])
            others = [features(there.paths[place]) for place in found]
            started = time.perf_counter()
            inliers[query] = [local.count_inliers(own, other) for other in others]
            seconds, pairs = seconds + time.perf_counter() - started, pairs + len(others)
        scores = np.take_along_axis(similar, best, axis=1)
        both = np.vectorize(local.raised)(scores, inliers)
        right = there.labels[best] == asked.labels[chosen, None]
        cells = [f"{mean_average_precision(right[:, :RESULTS], totals):.4f}"]
        for first in RERANKED:
            for order in (both, inliers):
                places = np.argsort(-order[:, :first], axis=1, kind="stable")[:, :RESULTS]
                moved = np.take_along_axis(right, places, axis=1)
                cells.append(f"{mean_average_precision(moved, totals):.4f}")
        rows.append([name, *cells])
    header = ["space", "mAP@10 as found"]
    for first in RERANKED:
        header += [f"first {first} by score and inliers", f"first {first} by inliers alone"]
    return table(header, rows) + (
        f"\n\n{len(chosen)} queries. To match two photos took {1000 * seconds / pairs:.1f} ms, their features not "
        f"counted. World34's pictures are small: their short side has at most 288 pixels, and those from Google "
        "Landmarks were squashed to a square, so that two views of one wall match worse than photos would."
    )


def _unseen(photos: dict, labels: NDArray, queries: dict, of_queries: NDArray) -> list[str]:
    """mAP@10 of each row for landmarks that no space was learned on, among the photos of all."""
    found: dict[tuple[str, int], list[float]] = {}
    for draw in range(DRAWS):
        held = np.random.default_rng(draw).choice(labels.max() + 1, UNSEEN, replace=False)
        fit, asked = ~np.isin(labels, held), np.isin(of_queries, held)
        for pooling in ("plain", "gem"):
            spaces = (
                plain_space(photos[pooling].shape[1]),
                pca_space(photos[pooling][fit]),
                whitened_space(photos[pooling][fit], labels[fit]),
            )
            for number, space in enumerate(spaces):
                vectors = space.vectors(queries[pooling][asked])
                got = score(vectors, of_queries[asked], space.vectors(photos[pooling]), labels)
                found.setdefault((pooling, number), []).append(got)
    return [f"{np.mean(values):.4f}" for values in found.values()]


if __name__ == "__main__":
    main()
