"""Combines Google's landmark classifiers for mobile phones into one model folder.

The six regional networks (Apache-2.0) were trained on Google Landmarks v2 (https://arxiv.org/abs/2004.01804) and
are identical except for their prototypes. Conversion compares their tensors: if all are equal, one backbone is
kept, and the prototypes of the six are combined in one head.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from landmarks.errors import ModelError, SettingsError
from landmarks.geo.gazetteer import COLUMNS, Gazetteer, normalise
from landmarks.model.importing.download import RemoteFile, is_right
from landmarks.model.importing.names import REGIONS, Meaning, may_be_in, meaning
from landmarks.model.importing.prototypes import write_head
from landmarks.model.importing.tfjs.conversion import PrototypeHead, convert, find_head
from landmarks.model.importing.tfjs.graph import Graph, read_graph
from landmarks.model.ood import BACKGROUND

NAME = "google-landmarks"
ADDRESS = "https://raw.githubusercontent.com/nextcloud/recognize/v7.0.0"
LICENCE = "Apache-2.0, Google; trained on Google Landmarks v2"


@dataclass(frozen=True, eq=False)
class Names:
    """The classes of the model, from the labels of its regions.

    Attributes:
        classes: Class names, in order; may include the background.
        labels: For each region, the class of each prototype.
        kinds: Class -> kind, for classes whose name is shared by very many places.
        dropped: Number of names that are not places.
    """

    classes: tuple[str, ...]
    labels: Mapping[str, NDArray[np.int64]]
    kinds: Mapping[str, str]
    dropped: int


def remote_files(regions: Sequence[str]) -> list[RemoteFile]:
    """Return the files to download for some regions.

    Raises:
        SettingsError: A region is unknown, or none is given.
    """
    unknown = [region for region in regions if region not in REGIONS]
    if unknown or not regions:
        raise SettingsError(f"`regions` must be some of {', '.join(REGIONS)}, not {', '.join(unknown) or 'none'}")
    table = (
        resources.files("landmarks.model.importing").joinpath("google_landmarks.tsv").read_text(encoding="utf-8")
    )
    files = [RemoteFile(row[0], int(row[1]), row[2]) for row in csv.reader(table.splitlines()[1:], delimiter="\t")]
    folders = {f"models/landmarks_{region}/" for region in regions}
    labels = {f"src/landmarks/{region}.json" for region in regions}
    return [file for file in files if file.path in labels or f"{file.path.rpartition('/')[0]}/" in folders]


def located(files: Sequence[RemoteFile], folder: Path) -> dict[str, Path]:
    """Find manually downloaded files in a folder, by path or by content.

    Raises:
        ModelError: Files are missing or are not the expected ones; the message counts them and names the first.
    """
    found: dict[str, Path] = {}
    there = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for file in files:
        ends = file.path.split("/")
        named = [path for path in there if path.parts[-2:] == tuple(ends[-2:])]
        named += [path for path in there if path.name == ends[-1] and path not in named]
        right = next((path for path in named if is_right(path, file)), None)
        if right is not None:
            found[file.path] = right
    missing = [file.path for file in files if file.path not in found]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of {len(files)} files are missing or are other ones, first {missing[0]}: "
            "fetch them again or leave `source` out"
        )
    return found


def read_names(labels: Mapping[str, Path], gazetteer: Gazetteer) -> Names:
    """Make the classes of the model from the label lists.

    Args:
        labels: Region -> its label file.
        gazetteer: Known places.

    Raises:
        ModelError: A label file is damaged.
    """
    lists = {region: _label_list(path) for region, path in labels.items()}
    regions: dict[str | None, set[str]] = defaultdict(set)
    for region, names in lists.items():
        for name in names:
            regions[name].add(region)
    titles: dict[str | None, str] = {}
    kinds: dict[str, str] = {}
    for name, where in regions.items():
        country = _country(name, gazetteer)
        known = bool(country) and all(may_be_in(country, region) for region in where)
        found = meaning(name, regions=where, known=known)
        title = _title(name, found, where, elsewhere=bool(country) and not known)
        titles[name] = title
        if found.what == "kind" and found.kind:
            kinds[title] = found.kind
    classes = tuple(sorted(set(titles.values())))
    numbers = {title: number for number, title in enumerate(classes)}
    rows = {
        region: np.array([numbers[titles[name]] for name in names], dtype=np.int64)
        for region, names in lists.items()
    }
    return Names(classes, rows, kinds, sum(title == BACKGROUND for title in titles.values()))


def write_model(
    folder: Path, files: Mapping[str, Path], names: Names, converted: Callable[[str], None]
) -> tuple[int, dict[str, int]]:
    """Convert the networks and write `model.onnx`, the head and the places of a model folder.

    Args:
        folder: An empty folder.
        files: Path of the download -> local path.
        names: From `read_names`.
        converted: Called with each region as it is converted.

    Returns:
        The side of its input images in pixels, and its numbers of backbones, prototypes and names.

    Raises:
        ModelError: The backbones differ, or a graph is not the expected one.
    """
    first: Graph | None = None
    prototypes: list[NDArray[np.float32]] = []
    for region in names.labels:
        converted(region)
        graph = read_graph(files[f"models/landmarks_{region}/model.json"])
        head = _head(graph, region, len(names.labels[region]))
        prototypes.append(_unit(graph.weights[head.prototypes]))
        if first is None:
            first = graph
            onnx.save(convert(graph, {"embedding": head.embedding}, value_range=(0, 1)), folder / "model.onnx")
        else:
            _check_same(first, graph, head, region)
    write_head(folder, prototypes, list(names.labels.values()), len(names.classes))
    _write_places(folder, names)
    if first is None:
        raise ModelError(f"{folder}: no region was converted: name one with `regions`")
    ((_, side, _, _),) = first.inputs.values()
    return side, {"backbones": 1, "prototypes": sum(map(len, prototypes)), "names": len(names.classes)}


def _label_list(path: Path) -> list[str | None]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["name"]
        names = [values[str(number)] for number in range(len(values))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a list of labels ({error}): fetch it again") from error
    return [" ".join(name.split()) if isinstance(name, str) else None for name in names]


def _country(name: str | None, gazetteer: Gazetteer) -> str:
    place = gazetteer.find(name) if name else None
    return "" if place is None else place.country_code


def _title(name: str | None, found: Meaning, regions: set[str], *, elsewhere: bool) -> str:
    if name is None or found.what == "nothing":
        return BACKGROUND
    # The gazetteer has a place of this name in another part of the world; this one must not get its position.
    if elsewhere and found.what == "place":
        return f"{name} ({', '.join(sorted(regions)).replace('_', ' ')})"
    return name


def _head(graph: Graph, region: str, labels: int) -> PrototypeHead:
    head = find_head(graph)
    if head is None:
        raise ModelError(f"{region}: the network does not end in prototypes: update landmarks")
    count = len(graph.weights[head.prototypes])
    if count != labels:
        raise ModelError(f"{region}: {count} prototypes and {labels} labels do not fit: fetch both again")
    return head


def _check_same(first: Graph, other: Graph, head: PrototypeHead, region: str) -> None:
    """Refuse a region with a different backbone, because its embeddings could not be compared."""
    same = [
        name == head.prototypes or np.array_equal(values, other.weights[name])
        for name, values in first.weights.items()
        if name in other.weights
    ]
    if len(same) != len(first.weights) or not all(same) or _shape_of(first) != _shape_of(other):
        raise ModelError(f"{region}: its network is not the one of the other regions: leave it out of `regions`")


def _shape_of(graph: Graph) -> list[tuple[str, str, tuple[str, ...]]]:
    return sorted((node.name, node.op, node.inputs) for node in graph.nodes)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if np.allclose(lengths, 1, atol=1e-2):
        return vectors
    # Else the products would not be cosines, so the prototypes are scaled to unit length.
    scaled: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def _write_places(folder: Path, names: Names) -> None:
    """Write `places.csv`: a name shared by very many places is reported as its kind and has no position."""
    rows = {normalise(name): kind for name, kind in names.kinds.items()}
    with (folder / "places.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({"key": key, "name": kind, "kind": kind} for key, kind in sorted(rows.items()) if key)
