"""Two models at once, and Google's six classifiers as one: time, memory and false tags, alone and as a pair.

Run `python benchmarks/two_models.py DATA --second ONNX --cache CACHE [--tfjs NODE_MODULES]`. ONNX is another
network of the landmarks of `world` (`benchmarks/bundle.py` leaves some in its cache). The same code as `landmarks
models add` makes a model of it, with a threshold for 1 % of false tags chosen on one half of the ordinary photos
that trained neither. The other half, and photos of known landmarks, are tagged by each model and by both, each in
a process of its own.

`google-sized` has the real graphs with made weights and as many prototypes as the real ones: its time, memory and
size are those of the real model, its answers mean nothing. With `--tfjs` TensorFlow.js (WASM) runs the six graphs
one after the other, as Nextcloud Recognize does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from record import record, table
from world_data import assign_roles, list_photos

from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.folder import ModelInfo, bundled_models, find_model, models_folder, read_info, write_info
from landmarks.model.importing import google
from landmarks.model.importing.add import add_other
from landmarks.model.importing.install import checksums
from landmarks.model.importing.names import REGIONS
from landmarks.model.importing.tfjs.conversion import convert
from landmarks.model.importing.tfjs.graph import read_graph
from landmarks.model.importing.threshold import COSINE_TEMPERATURE, Negatives, cautious
from landmarks.tagging.pipeline import load_model
from landmarks.training.metrics.evaluate import proportion

INTEGRATION = Path(__file__).parents[1] / "tests" / "integration"
TARGET_FPR = 0.01
SECOND, GOOGLE = "second", "google-sized"
WARM = 3
"""Photos before the clock starts."""


def child(model: str, listed: Path) -> None:
    """Tag the photos of a list; print CPU milliseconds per photo, peak memory, and what was tagged."""
    photos = [Path(line) for line in listed.read_text().splitlines()]
    loaded = load_model(model)
    list(loaded.find(photos[:WARM]))
    began = time.process_time()
    findings = list(loaded.find(photos))
    spent = (time.process_time() - began) / len(photos)
    tagged = [[tag.name for tag in one.photo.tags] for one in findings]
    print(json.dumps({"ms": 1e3 * spent, "memory": peak_memory(), "tagged": tagged}))


def peak_memory() -> float:
    """Peak MiB of this process. `getrusage` would count what the parent held when it started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def run(model: str, photos: Sequence[Path], cache: Path) -> dict[str, Any]:
    """What `child` prints, of a process of its own."""
    listed = cache / "photos.txt"
    listed.write_text("".join(f"{photo}\n" for photo in photos))
    command = [sys.executable, __file__, "--child", model, "--list", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def add_second(network: Path, negatives: Sequence[Path], cache: Path) -> None:
    """Make a model of the second network, with its threshold chosen on photos without a landmark."""
    world = read_info(bundled_models()["world"])
    (cache / "labels.txt").write_text("".join(f"{name}\n" for name in world.classes), encoding="utf-8")
    folder = cache / "negatives"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, photo in enumerate(negatives):
        shutil.copy(photo, folder / f"{number}{photo.suffix}")
    shutil.rmtree(models_folder() / SECOND, ignore_errors=True)
    side = world.preprocessing.crop
    add_other(
        network,
        labels=cache / "labels.txt",
        preprocessing=f"short:{world.preprocessing.resize},crop:{side}",
        name=SECOND,
        negatives=Negatives(folder, TARGET_FPR),
    )


def seeded_graphs(data: Path, cache: Path) -> dict[str, Path]:
    """The real graphs with made weights, by region."""
    sys.path.insert(0, str(INTEGRATION))
    from test_tfjs import with_seeded_weights

    found = {}
    for region in REGIONS:
        folder = cache / "graphs" / region
        if not (folder / "model.json").is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            with_seeded_weights(data / "google_landmarks" / f"{region}.model.json", folder)
        found[region] = folder / "model.json"
    return found


def add_google_sized(data: Path, graphs: dict[str, Path], cache: Path) -> None:
    """Make a model folder of the graphs, as `landmarks models add google-landmarks` does of the real files."""
    folder = models_folder() / GOOGLE
    if (folder / "model.json").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(data / "google_landmarks" / "labels.tar.xz") as archive:
        archive.extractall(cache / "labels", filter="data")
    labels = {region: next((cache / "labels").rglob(f"{region}.json")) for region in REGIONS}
    names = google.read_names(labels, Gazetteer.bundled())
    files = {f"models/landmarks_{region}/model.json": path for region, path in graphs.items()}
    side, counts = google.write_model(folder, files, names, lambda _: None)
    scaled = Preprocessing(resize=side, crop=side, mean=(0.0,) * 3, std=(1.0,) * 3, fit="squash")
    info = ModelInfo(
        name=GOOGLE,
        architecture="mobilenet_v3_large",
        precision="fp32, prototypes int8",
        classes=names.classes,
        preprocessing=scaled,
        head="prototypes",
        data=counts,
        temperature=COSINE_TEMPERATURE,
        calibration=cautious("cosine_margin", COSINE_TEMPERATURE).to_dict(),
        files=checksums(folder),
    )
    write_info(folder, info)


def by_tfjs(
    modules: Path, graphs: dict[str, Path], photos: Sequence[Path], cache: Path
) -> tuple[float, list[list[object]]]:
    """CPU milliseconds per photo of TensorFlow.js for all regions together, and a row for each.

    The first photo warms it. The row compares its cosines with those of the converted graph.
    """
    side = 321
    pixels = np.stack([np.asarray(Image.open(one).convert("RGB").resize((side, side))) for one in photos])
    pixels.tofile(cache / "photos.raw")
    together, rows = 0.0, []
    for region, path in graphs.items():
        command = ["node", str(INTEGRATION / "tfjs_runner.js"), str(modules), str(path.parent)]
        command += [str(cache / "photos.raw"), str(cache / "answer.raw"), str(side)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = float(np.median(json.loads(done.stdout.splitlines()[-1])["milliseconds"][1:]))
        graph = read_graph(path)
        converted = convert(graph, {"cosines": graph.outputs[0]}, value_range=(0, 1)).SerializeToString()
        session = onnxruntime.InferenceSession(converted, None, ["CPUExecutionProvider"])
        (ours,) = session.run(["cosines"], {"pictures": pixels})
        theirs = np.fromfile(cache / "answer.raw", dtype="<f4").reshape(ours.shape)
        same = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        difference = np.abs(ours - theirs).max()
        rows.append([region, f"{ours.shape[1]:,}", f"{difference:.1e}", f"{same} of {len(ours)}", f"{spent:.0f}"])
        together += spent
    return together, rows


def size_of(names: str) -> float:
    """Megabytes of the files of one model or of two."""
    folders = [find_model(name) for name in names.split(",")]
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir()) / 1e6


def shown(flags: Sequence[bool]) -> str:
    """A rate with its interval."""
    found = proportion(sum(flags), len(flags))
    return f"{found.value:.1%} ({found.low:.1%} - {found.high:.1%})"


def measure(
    models: Sequence[str], silent: Sequence[Path], known: dict[Path, str], cache: Path
) -> tuple[list[list[str]], dict[str, dict[str, Any]]]:
    """One row per model or pair, and what `child` printed for each."""
    rows, results = [], {}
    for model in models:
        result = run(model, [*silent, *known], cache)
        results[model] = result
        tagged = result["tagged"]
        false = [bool(names) for names in tagged[: len(silent)]]
        right = [name in names for names, name in zip(tagged[len(silent) :], known.values(), strict=True)]
        rows.append(
            [
                model.replace(",", " + "),
                f"{result['ms']:.1f}",
                f"{result['memory']:.0f}",
                f"{size_of(model):.1f}",
                shown(false),
                shown(right) if GOOGLE not in model else "",
            ]
        )
        print(rows[-1], flush=True)
    return rows, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--second", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/two_models"))
    parser.add_argument("--tfjs", type=Path)
    parser.add_argument("--every", type=int, default=1, help="Only each so-manieth photo.")
    parser.add_argument("--child")
    parser.add_argument("--list", type=Path)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.list)
        return
    given.cache.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_DATA_HOME"] = str(given.cache.resolve())
    roles = assign_roles(list_photos(given.data), "final")
    ordinary = [roles.photos[i].path for i in roles.of("background_valid")]
    order = np.random.default_rng(0).permutation(len(ordinary))
    fit, rest = ([ordinary[i] for i in part] for part in (order[::2], order[1::2]))
    known = {roles.photos[i].path: roles.known[roles.labels[i]] for i in roles.of("test")[:: 4 * given.every]}
    gazetteer = Gazetteer.bundled()
    titles = {path: (place.name if (place := gazetteer.find(name)) else name) for path, name in known.items()}
    add_second(given.second, fit, given.cache)
    rows, results = measure(["world", SECOND, f"world,{SECOND}"], rest[:: given.every], titles, given.cache)
    graphs = seeded_graphs(given.data, given.cache)
    add_google_sized(given.data, graphs, given.cache)
    few = rest[:: 3 * given.every]
    more, sized = measure([GOOGLE, f"world,{GOOGLE}"], few, {}, given.cache)
    header = ["model", "ms CPU per photo", "peak MiB", "MB on disk", "false tags", "tagged rightly"]
    limit = (read_info(find_model("world")).calibration or {})["target_fpr"] / 2 + TARGET_FPR
    body = table(header, rows + more)
    body += (
        f"\n\nFalse tags: of {len(rest[:: given.every])} ordinary photos that trained neither network nor chose a "
        f"threshold ({len(few)} for google-sized, whose prototypes are made). Tagged rightly: of {len(known)} "
        f"test photos of known landmarks. Target of the pair: world at half its rate, and {TARGET_FPR:.0%} of the "
        f"second, together {limit:.1%}. One process and one thread per model; decoding is included."
    )
    if given.tfjs is not None:
        spent, compared = by_tfjs(given.tfjs, graphs, few[:4], given.cache)
        own = sized[GOOGLE]["ms"]
        columns = ["graph", "prototypes", "largest difference of a cosine", "same best", "ms CPU of TensorFlow.js"]
        body += (
            f"\n\n{table(columns, compared)}\n\nTensorFlow.js 4.22 (WASM) and our ONNX graphs, with made "
            f"weights, on {len(few[:4])} photos. The six graphs one after the other take {spent:.0f} ms CPU per "
            f"photo without decoding, google-sized takes {own:.0f} ms with decoding: {spent / own:.1f} times less."
        )
    command = "python benchmarks/two_models.py DATA --second ONNX --cache CACHE --tfjs NODE_MODULES"
    record("two_models", "Two models at once", command, body, ["onnxruntime", "numpy"])
    (given.cache / "rows.json").write_text(json.dumps({**results, **sized}))


if __name__ == "__main__":
    main()
