"""Trained runs and TorchScript files as subjects of an evaluation.

They run their network in PyTorch without thresholds for unknown photos, as a user of the file would; the tagger
turns their outputs into tags as for a model folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import nn

from landmarks.errors import ImageError, ModelError
from landmarks.files.checksums import sha256_file
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.decoding import ImageLimits, load_rgb
from landmarks.imaging.preprocessing import require_aspect
from landmarks.metadata.reading import read_position
from landmarks.model.recognizer import Recognition
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, Tagger
from landmarks.training.engine.trained import data_before, load_run
from landmarks.training.evaluation.subjects import Subject
from landmarks.training.export.predictor import WAY_ON, load_torchscript, make_predictor, predict_picture


def subject_of_torchscript(path: Path, settings: TagSettings) -> Subject:
    """Open a file made by `landmarks export`; raises `ModelError` if it is not one."""
    script = load_torchscript(path)
    names = getattr(script, "class_names", None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: the file does not say its classes: {WAY_ON}")
    identity = f"{path.stem}-{sha256_file(path)[:12]}"
    return _from_network(script, tuple(names), path.name, identity, settings)


def subject_of_run(folder: Path, settings: TagSettings) -> Subject:
    """Open a finished run; raises `RunError` or `ModelError` if it is damaged."""
    run = load_run(folder)
    predictor = make_predictor(run.model, run.classes, run.preprocessing)
    identity = f"{folder.name}-{sha256_file(run.folder.weights)[:12]}"
    subject = _from_network(predictor, run.classes, folder.resolve().name, identity, settings)
    return replace(subject, trained_on=(run.info["data"]["name"], *data_before(run.settings.model.init)))


def _from_network(
    network: nn.Module, classes: tuple[str, ...], name: str, identity: str, settings: TagSettings
) -> Subject:
    gazetteer = Gazetteer.bundled()
    if settings.own_places is not None:
        gazetteer = gazetteer.with_overrides(settings.own_places)
    tagger = Tagger(classes, None, gazetteer, settings, identity)

    def answer(photos: Iterable[Path]) -> Iterator[Finding]:
        for photo in photos:
            recognition = _recognize(network, photo, settings.limits)
            wanted = settings.use_position and recognition.error is None
            yield tagger.tag(recognition, read_position(photo) if wanted else None)

    return Subject(name, identity, classes, gazetteer, calibrated=False, answer=answer)


def _recognize(network: nn.Module, photo: Path, limits: ImageLimits) -> Recognition:
    try:
        picture = load_rgb(photo, limits=limits)
        require_aspect((picture.shape[1], picture.shape[0]), photo)  # as of every other model
    except ImageError as error:
        return Recognition(photo, (), error.reason)
    return Recognition(photo, (), None, predict_picture(network, picture))
