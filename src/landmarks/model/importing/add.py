"""`landmarks models add`: makes a model folder from a recognizer that somebody else trained.

The folder is created atomically; downloads are kept for the next attempt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnx

from landmarks.errors import ModelError, SettingsError
from landmarks.files.atomic import write_text
from landmarks.files.state import user_cache
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.calibration import Calibration
from landmarks.model.folder import CARD_FILE, NOT_STATED, ONNX_FILE, ModelInfo, models_folder, write_info
from landmarks.model.importing import google
from landmarks.model.importing.download import fetch
from landmarks.model.importing.foreign import Scores, adapted, picture_input, read_model
from landmarks.model.importing.install import checksums, new_folder
from landmarks.model.importing.labels import read_labels
from landmarks.model.importing.names import REGIONS
from landmarks.model.importing.preprocessing import parse_preprocessing
from landmarks.model.importing.tfjs.conversion import convert
from landmarks.model.importing.tfjs.graph import read_graph
from landmarks.model.importing.threshold import COSINE_TEMPERATURE, Negatives, cautious, fitted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Callbacks:
    """Callbacks while a model is added.

    Attributes:
        size: Called with the total number of bytes to download.
        fetched: Called with the number of bytes just received.
        step: Called with a description of the current step.
    """

    size: Callable[[int], None] = lambda _: None
    fetched: Callable[[int], None] = lambda _: None
    step: Callable[[str], None] = lambda _: None


def add_google(
    *,
    source: Path | None = None,
    regions: Sequence[str] = REGIONS,
    address: str = google.ADDRESS,
    name: str = google.NAME,
    negatives: Negatives | None = None,
    callbacks: Callbacks = Callbacks(),
) -> Path:
    """Add Google's landmark classifiers.

    Args:
        source: Folder with the files; None to download them.
        regions: Regions of the world.
        address: URL of the files.
        name: Name of the model.
        negatives: The user's photos without a landmark, for the threshold.
        callbacks: Called as the work proceeds.

    Returns:
        The model folder.

    Raises:
        DownloadError: The files cannot be downloaded.
        ModelError: The model exists already, or a file is not the expected one.
        SettingsError: A region or the name is wrong.
    """
    files = google.remote_files(regions)
    chosen = [region for region in REGIONS if region in regions]
    with new_folder(_target(name)) as folder:
        if source is None:
            source = _downloads() / google.NAME
            callbacks.size(sum(file.size for file in files))
            fetch(files, address, source, progress=callbacks.fetched)
        elif not source.is_dir():
            raise ModelError(f"{source}: no such folder: give the folder of the files with `source`")
        callbacks.step("checking the files")
        paths = google.located(files, source)
        labels = {region: paths[f"src/landmarks/{region}.json"] for region in chosen}
        names = google.read_names(labels, Gazetteer.bundled())
        side, counts = google.write_model(
            folder, paths, names, lambda region: callbacks.step(f"converting {region}")
        )
        info = ModelInfo(
            name=name,
            architecture="mobilenet_v3_large",
            precision="fp32, prototypes int8",
            classes=names.classes,
            preprocessing=Preprocessing(
                resize=side, crop=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit="squash"
            ),
            head="prototypes",
            data={"source": address, "regions": chosen, "not_places": names.dropped, **counts},
            temperature=COSINE_TEMPERATURE,
        )
        usual = cautious("cosine_margin", COSINE_TEMPERATURE)
        _finish(folder, info, usual, negatives=negatives, callbacks=callbacks, licence=google.LICENCE)
    return _target(name)


def add_other(
    path: Path,
    *,
    labels: Path,
    preprocessing: str,
    scores: Scores = "logits",
    name: str = "",
    licence: str = NOT_STATED,
    negatives: Negatives | None = None,
    callbacks: Callbacks = Callbacks(),
) -> Path:
    """Add an ONNX model or a TensorFlow.js graph model.

    Args:
        path: `.onnx`, or the `model.json` of a TensorFlow.js model or its folder.
        labels: Names of its classes, in the order of its output.
        preprocessing: Preprocessing of its input; see `landmarks.model.importing.preprocessing`.
        scores: Meaning of its output.
        name: Name of the model; empty to use the name of the file.
        licence: Licence of the weights, for the model card.
        negatives: The user's photos without a landmark, for the threshold.
        callbacks: Called as the work proceeds.

    Returns:
        The model folder.

    Raises:
        ModelError: The file is not a usable model, or the labels do not fit it.
        SettingsError: The preprocessing or the name is wrong.
    """
    classes = read_labels(labels)
    title = name or (path.parent.name if path.name == "model.json" else path.stem)
    with new_folder(_target(title)) as folder:
        callbacks.step("converting")
        found = _loaded(path)
        picture = picture_input(path, found, None)
        wanted = parse_preprocessing(preprocessing, side=picture.side)
        if wanted.layout not in {None, picture.layout}:
            raise ModelError(
                f"{path}: its layout is {picture.layout}, not {wanted.layout}: correct `preprocessing`"
            )
        onnx.save(adapted(path, found, picture, wanted, classes=len(classes), scores=scores), folder / ONNX_FILE)
        info = ModelInfo(
            name=title,
            architecture="imported",
            precision="fp32",
            classes=classes,
            preprocessing=wanted.preprocessing,
            data={"source": path.name, "scores": scores},
            temperature=COSINE_TEMPERATURE if scores == "cosines" else 1.0,
        )
        usual = cautious("cosine_margin" if scores == "cosines" else "max_probability", info.temperature)
        _finish(folder, info, usual, negatives=negatives, callbacks=callbacks, licence=licence)
    return _target(title)


def _loaded(path: Path) -> onnx.ModelProto:
    """Read a model of any kind as an ONNX model with one output."""
    place = path / "model.json" if path.is_dir() else path
    match place.suffix.lower():
        case ".onnx":
            return read_model(place)
        case ".json":
            graph = read_graph(place)
            outputs = {f"output_{number}": name for number, name in enumerate(graph.outputs)}
            return convert(graph, outputs, value_range=None)
        case ".tflite":
            raise ModelError(f"{path}: TFLite files are not read: convert it to ONNX with tf2onnx first")
        case ".pt" | ".pth" | ".ts" | ".safetensors":
            raise ModelError(f"{path}: PyTorch files are not read: export it with torch.onnx.export first")
        case _:
            raise ModelError(f"{path}: not a model: give an .onnx file or the model.json of a TensorFlow.js model")


def _finish(
    folder: Path,
    info: ModelInfo,
    usual: Calibration,
    *,
    negatives: Negatives | None,
    callbacks: Callbacks,
    licence: str,
) -> None:
    """Write `model.json` and the card, with the threshold chosen on negatives if there are any."""
    versions = {"landmarks": version("landmarks"), "onnx": version("onnx"), "onnxruntime": version("onnxruntime")}
    made = replace(
        info,
        created=datetime.now(UTC).date().isoformat(),
        versions=versions,
        calibration=usual.to_dict(),
        files=checksums(folder),
        licence=licence,
    )
    write_info(folder, made)
    calibration = usual
    if negatives is not None:
        callbacks.step("choosing the threshold")
        calibration = fitted(folder, usual, negatives)
    write_text(folder / CARD_FILE, _card(made, calibration))
    write_info(folder, replace(made, calibration=calibration.to_dict(), files=checksums(folder)))


def _card(info: ModelInfo, calibration: Calibration) -> str:
    count = calibration.fitted_on["negatives"]
    chosen = (
        f"chosen on {count} photos without a landmark, of which at most {calibration.target_fpr:.1%} get a tag"
        if count
        else "a cautious default, without a target false-positive rate: add the model again with --negatives"
    )
    rows = "\n".join(f"- {key}: {value}" for key, value in info.data.items())
    return (
        f"# {info.name}\n\nMade by `landmarks models add` on {info.created}, of weights that others trained.\n\n"
        f"- classes: {len(info.classes)}\n- licence: {info.licence}\n- threshold: {calibration.threshold:.3f} "
        f"({calibration.score}), {chosen}\n{rows}\n"
    )


def _target(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"`name` must be letters, digits, dots, hyphens and underscores, not {name!r}")
    return models_folder() / name


def _downloads() -> Path:
    return user_cache() / "downloads"
