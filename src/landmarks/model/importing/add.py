"""`landmarks models add`: makes a model folder from a recogniser that somebody else trained.

The folder is created atomically; downloads are kept for the next attempt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shutil import copyfile

import onnx

from landmarks.errors import ModelError, SettingsError
from landmarks.files.atomic import storage_errors, write_text
from landmarks.files.checksums import sha256_file
from landmarks.files.state import user_cache
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.calibration import KNOWN, Calibration
from landmarks.model.folder import (
    CARD_FILE,
    INFO_FILE,
    LEARNED_FILE,
    NOT_STATED,
    ONNX_FILE,
    PLACES_FILE,
    USED_FILES,
    ModelInfo,
    bundled_models,
    check_file,
    learned_path,
    models_folder,
    read_info,
    write_info,
)
from landmarks.model.importing import google
from landmarks.model.importing.download import fetch
from landmarks.model.importing.foreign import adapted, picture_input
from landmarks.model.importing.install import already_there, checksums, new_model
from landmarks.model.importing.labels import checked_labels, read_labels
from landmarks.model.importing.loaded import Loaded, load
from landmarks.model.importing.names import REGIONS
from landmarks.model.importing.preprocessing import parse_preprocessing
from landmarks.model.importing.scores import Scores
from landmarks.model.importing.threshold import COSINE_TEMPERATURE, Negatives, cautious, fitted
from landmarks.model.recognizer import Recognizer

_LICENCE_LINE = re.compile(rf"(?m)^(Licence of the weights: |- licence: ){NOT_STATED}(\.?)$")
"""Where the card of an export, or of an added model, states the licence."""

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
    with new_model(_target(name)) as folder:
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


def is_model_folder(path: Path) -> bool:
    """Return whether a path is a model folder, such as `landmarks export` makes."""
    return (path / INFO_FILE).is_file() and (path / ONNX_FILE).is_file()


def add_folder(source: Path, name: str = "", *, licence: str = "") -> Path:
    """Add a copy of a model folder.

    Args:
        source: The folder, with its own places and what it was taught; what using a model does not need, such as
            TorchScript, is left out.
        name: Name of the model; empty to use its own.
        licence: Licence of the weights, if the model states none.

    Returns:
        The model folder.

    Raises:
        ModelError: The model exists already, or a file is damaged or is no model that can be used.
        SettingsError: The name is wrong, or the model states another licence.
    """
    info = read_info(source)
    if licence and info.licence not in (NOT_STATED, licence):
        raise SettingsError(f"{source}: its licence is stated ({info.licence}): leave out `licence`")
    target = _target(name or info.name)
    wanted = [one for one in USED_FILES if one in info.files]
    with new_model(target) as folder:
        for one in wanted:
            with storage_errors(folder / one):
                copyfile(check_file(source, info, one), folder / one)
        for one, own in ((PLACES_FILE, source / PLACES_FILE), (LEARNED_FILE, learned_path(source, info))):
            if own.is_file():
                with storage_errors(folder / one):
                    copyfile(own, folder / one)
        if licence and (card := folder / CARD_FILE).is_file():
            text = card.read_text(encoding="utf-8", errors="replace")
            write_text(card, re.sub(_LICENCE_LINE, lambda found: f"{found[1]}{licence}{found[2]}", text))
        files = {one: sha256_file(folder / one) for one in wanted}
        write_info(folder, replace(info, name=target.name, files=files, licence=licence or info.licence))
        Recognizer(folder, threads=1)  # opened once: a graph that does not run is refused now
    return target


def add_other(
    model: Path | Loaded,
    *,
    labels: Path | None = None,
    preprocessing: str = "",
    scores: Scores = "auto",
    name: str = "",
    licence: str = NOT_STATED,
    negatives: Negatives | None = None,
    callbacks: Callbacks = Callbacks(),
) -> Path:
    """Add a model that somebody else trained.

    Args:
        model: `.onnx`, `.tflite`, or the `model.json` of a TensorFlow.js model or its folder; or what another
            reader, such as `landmarks.training.importing`, made of its file.
        labels: Names of its classes, in the order of its output; None if the file holds them.
        preprocessing: Preprocessing of its input; see `landmarks.model.importing.preprocessing`. Empty if the file
            holds it.
        scores: Meaning of its output.
        name: Name of the model; empty to use the name of the file.
        licence: Licence of the weights, for the model card.
        negatives: The user's photos without a landmark, for the threshold.
        callbacks: Called as the work proceeds.

    Returns:
        The model folder.

    Raises:
        ModelError: The file is not a usable model, or the labels do not fit it.
        SettingsError: The preprocessing or the name is wrong, or must be given.
    """
    callbacks.step("converting")
    classes = read_labels(labels) if labels is not None else ()
    found = load(model) if isinstance(model, Path) else model
    if not classes and found.labels:
        classes = checked_labels(found.path, found.labels)
    described = preprocessing or found.preprocessing
    if not classes or not described:
        missing = "`preprocessing`" if classes else "`labels`"
        raise SettingsError(f"{found.path}: {missing} must be given: the file does not tell")
    target = _target(name or found.title)
    if target.exists():  # checked again under the lock; here to save the work
        raise already_there(target)
    picture = picture_input(found.path, found.model, None)
    wanted = parse_preprocessing(described, side=picture.side)
    if wanted.layout not in {None, picture.layout}:
        raise ModelError(
            f"{found.path}: its layout is {picture.layout}, not {wanted.layout}: correct `preprocessing`"
        )
    network, classes, meaning = adapted(found.path, found.model, picture, wanted, classes=classes, scores=scores)
    with new_model(target) as folder:
        onnx.save(network, folder / ONNX_FILE)
        info = ModelInfo(
            name=target.name,
            architecture=found.architecture,
            precision="fp32",
            classes=classes,
            preprocessing=wanted.preprocessing,
            data={"source": found.path.name, "preprocessing": described, "scores": meaning},
            temperature=COSINE_TEMPERATURE if meaning == "cosines" else 1.0,
        )
        usual = cautious("cosine_margin" if meaning == "cosines" else "max_probability", info.temperature)
        _finish(folder, info, usual, negatives=negatives, callbacks=callbacks, licence=licence)
    return target


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
        if (unreadable := calibration.fitted_on["unreadable"]) > 0:
            callbacks.step(f"photos of {negatives.folder} that cannot be read: {unreadable}")
        if known := calibration.fitted_on[KNOWN]:
            callbacks.step(f"{negatives.folder}: left out, as the model knows these landmarks: {', '.join(known)}")
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
    if name in bundled_models():
        raise SettingsError(f"`name` {name} is that of a model that comes with landmarks: choose another one")
    return models_folder() / name


def _downloads() -> Path:
    return user_cache() / "downloads"
