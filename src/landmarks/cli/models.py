"""`landmarks models`."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from landmarks.cli.declare import Argument, Jsonl, Option, Verbosity
from landmarks.cli.output import print_json, warn_of_update
from landmarks.errors import LandmarksError, SettingsError, counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from landmarks.cli.progress import RunProgress
    from landmarks.model.calibration import Calibration
    from landmarks.model.folder import ModelInfo
    from landmarks.model.importing.add import Callbacks
    from landmarks.model.importing.loaded import Loaded
    from landmarks.model.importing.threshold import Negatives

COLLECTIONS = 4
"""Collections that are listed; the model card has them all."""

SHOWN_ANSWERS = 5
"""Answers shown for the photo on which an added model is tried."""


def models(
    folders: Annotated[
        tuple[Path, ...], Argument("Folders made by landmarks export, besides the bundled and the added models.")
    ] = (),
    jsonl: Jsonl = False,
) -> int:
    """List the bundled and the added models, and what each was taught by landmarks learn."""
    from landmarks.model.calibration import calibration_of
    from landmarks.model.folder import added_models, bundled_models, read_info

    found = added_models() | bundled_models()
    if not found:
        click.echo("no model comes with this package: train one and name its folder with --model", err=True)
    status = 0
    for folder in [*found.values(), *folders]:
        try:
            info = read_info(folder)
            calibration = calibration_of(folder, info)
            row = _describe(folder, info, calibration)
            warn_of_update(folder)
        except LandmarksError as error:
            status = 2  # the others are listed all the same
            click.echo(str(error), err=True)
        else:
            print_json(row) if jsonl else _show(row)
    return status


def add(
    model: Annotated[
        str,
        Argument(
            "google-landmarks; hf://USER/NAME; a folder; an .onnx, .tflite, .pt or model.json file; timm weights."
        ),
    ],
    source: Annotated[Path | None, Option("google-landmarks: folder of fetched files.", flag="--from")] = None,
    regions: Annotated[
        tuple[str, ...],
        Option(
            "google-landmarks: parts of the world: africa, asia, europe, north_america, oceania, south_america.",
            default="all",
        ),
    ] = (),
    address: Annotated[str, Option("google-landmarks: where to fetch the files.", default="the known one")] = "",
    labels: Annotated[Path | None, Option("Names of the classes: text, CSV, JSON, or a TFLite file.")] = None,
    preprocessing: Annotated[
        str,
        Option("How the model takes its images: imagenet, inception, or parts such as squash:224,range:-1..1."),
    ] = "",
    scores: Annotated[
        Literal["auto", "logits", "probabilities", "sigmoid", "cosines"],
        Option("What the model gives per class; auto tells probabilities from logits."),
    ] = "auto",
    architecture: Annotated[
        str, Option("Network of the weights in timm.", default="that of the config.json beside them")
    ] = "",
    photo: Annotated[Path | None, Option("Show the five first answers for this photo.")] = None,
    name: Annotated[str, Option("Name of the added model.", default="that of the file or repository")] = "",
    licence: Annotated[str, Option("Licence of the weights.", default="not stated")] = "not stated",
    negatives: Annotated[Path | None, Option("Photos without a landmark, for the threshold.")] = None,
    target_fpr: Annotated[float, Option("Fraction of photos without a landmark that may get a tag.")] = 0.01,
    *,
    verbosity: Verbosity,
) -> None:
    """Add a recogniser that somebody else trained: Google's landmark classifiers, ONNX, TFLite and others.

    The other commands then take it by its name: landmarks tag PHOTO --model NAME.
    """
    given = _given(locals())
    from landmarks.cli.progress import RunProgress
    from landmarks.model.importing.add import add_folder, add_other, is_model_folder
    from landmarks.model.importing.google import NAME

    if photo is not None and not photo.is_file():
        raise SettingsError(f"`photo` must be a photo, not {str(photo)!r}")
    chosen = _negatives(negatives, target_fpr)
    with RunProgress(verbosity, unit="bytes") as shown:
        callbacks, title = _callbacks(shown), name or _title(model)
        if model == NAME:
            _refuse(NAME, given)
            folder = _add_google(source, regions, address, name=name, negatives=chosen, callbacks=callbacks)
        elif is_model_folder(path := _local(model, shown)):
            _refuse("a model folder", given)
            folder = add_folder(path, title, licence=licence if "licence" in given else "")
        else:
            _refuse("models of others", given)
            shown.stage("reading")
            folder = add_other(
                _loaded(path, architecture, preprocessing, negatives),
                labels=labels,
                preprocessing=preprocessing,
                scores=scores,
                name=title,
                licence=licence,
                negatives=chosen,
                callbacks=callbacks,
            )
    _show_added(folder, photo)


def push(
    folder: Annotated[Path, Argument("Model folder, such as landmarks export makes.")],
    repository: Annotated[str, Argument("Repository of the Hugging Face Hub: USER/NAME.")],
    private: Annotated[bool, Option("Create the repository so that only you see it.")] = False,
    update: Annotated[bool, Option("Add a commit to a repository that has files already.")] = False,
) -> None:
    """Push a model folder to the Hugging Face Hub, in one commit.

    The token is that of hf auth login, or of the variable HF_TOKEN.
    """
    from landmarks.model.folder import read_info
    from landmarks.model.hub.push import push_model

    address = push_model(folder, repository, private=private, update=update)
    click.echo(f"licence: {read_info(folder).licence}")
    click.echo(f"model: {address}")


COMMANDS = {"add": add, "push": push}

_HUB = "hf://"


def _add_google(
    source: Path | None,
    regions: tuple[str, ...],
    address: str,
    *,
    name: str,
    negatives: Negatives | None,
    callbacks: Callbacks,
) -> Path:
    from landmarks.model.importing.add import add_google
    from landmarks.model.importing.google import ADDRESS, NAME
    from landmarks.model.importing.names import REGIONS

    return add_google(
        source=source,
        regions=regions or REGIONS,
        address=address or ADDRESS,
        name=name or NAME,
        negatives=negatives,
        callbacks=callbacks,
    )


def _local(model: str, shown: RunProgress) -> Path:
    """Return the file or folder of a model, fetched from the Hub if need be."""
    if not model.startswith(_HUB):
        return Path(model)
    from landmarks.model.hub.connection import parse_repository
    from landmarks.model.hub.fetch import fetch_model

    shown.stage(f"fetching {model.removeprefix(_HUB)}")
    return fetch_model(parse_repository(model, "model"))


def _title(model: str) -> str:
    """Return the name of a model from the Hub; empty for others, whose files tell."""
    return model.partition("@")[0].rpartition("/")[2] if model.startswith(_HUB) else ""


_SERVES = {
    "source": ("google-landmarks",),
    "regions": ("google-landmarks",),
    "address": ("google-landmarks",),
    "labels": ("models of others",),
    "preprocessing": ("models of others",),
    "scores": ("models of others",),
    "architecture": ("models of others",),
    "licence": ("a model folder", "models of others"),
    "negatives": ("google-landmarks", "models of others"),
    "target_fpr": ("google-landmarks", "models of others"),
}
"""Options of `landmarks models add`, and what each is for; the others are for every model."""


def _given(values: Mapping[str, object]) -> list[str]:
    """Return those of these options that do not have their default."""
    parameters = inspect.signature(add).parameters
    return [name for name in _SERVES if values[name] != parameters[name].default]


def _negatives(folder: Path | None, target_fpr: float) -> Negatives | None:
    from landmarks.model.importing.threshold import TARGET_FPR, Negatives

    if folder is None and target_fpr != TARGET_FPR:
        raise SettingsError("`target_fpr` needs `negatives`: give a folder of photos without a landmark too")
    return None if folder is None else Negatives(folder, target_fpr)


def _refuse(kind: str, given: Iterable[str]) -> None:
    """Refuse options that would do nothing for this kind of model."""
    for option in given:
        if kind not in _SERVES[option]:
            raise SettingsError(f"`{option}` is for {' and '.join(_SERVES[option])}, not for {kind}: leave it out")


def _loaded(path: Path, architecture: str, preprocessing: str, photos: Path | None) -> Loaded:
    """Read a foreign model; PyTorch is imported only for the formats that need it."""
    from landmarks.model.importing.loaded import load, needs_torch

    if not architecture and not needs_torch(path):
        return load(path)
    from landmarks.training.importing.reading import load_torch

    return load_torch(path, architecture=architecture, preprocessing=preprocessing, photos=photos)


def _show_added(folder: Path, photo: Path | None) -> None:
    """Report what was assumed about an added model, and its first answers for one photo."""
    from landmarks.model.folder import read_info
    from landmarks.model.recognizer import Recognizer

    data = read_info(folder).data
    if "preprocessing" in data:
        click.echo(f"preprocessing: {data['preprocessing']}; scores: {data['scores']}")
    if photo is not None:
        (answer,) = Recognizer(folder).recognize([photo], top=SHOWN_ANSWERS)
        listed = ", ".join(f"{one.class_name} {one.probability:.1%}" for one in answer.candidates)
        click.echo(f"{photo}: {answer.error or listed}")
    click.echo(f"model: {folder}")


def _callbacks(shown: RunProgress) -> Callbacks:
    """Return the callbacks that show how far the import is."""
    from landmarks.model.importing.add import Callbacks

    count = [0, 0]

    def size(total: int) -> None:
        count[1] = total
        shown.stage("fetching")

    def fetched(more: int) -> None:
        count[0] += more
        shown.progress(*count)

    return Callbacks(size, fetched, shown.stage)


def _describe(folder: Path, info: ModelInfo, calibration: Calibration | None) -> dict[str, Any]:
    from landmarks.fewshot.learned import read_learned
    from landmarks.model.folder import HEAD_FILES, ONNX_FILE, find_file
    from landmarks.model.ood import is_landmark
    from landmarks.model.operating_points import estimated, points_to_dict, rate_labels

    fitted_on = {} if calibration is None else calibration.fitted_on
    learned = read_learned(folder, info)
    return {
        "name": info.name,
        "path": str(folder),
        "landmarks": int(is_landmark(info.classes).sum()),
        "architecture": info.architecture,
        "precision": info.precision,
        "bytes": sum(
            find_file(folder, one).stat().st_size for one in (ONNX_FILE, *HEAD_FILES) if one in info.files
        ),
        "calibrated": calibration is not None and calibration.measured,
        "created": str(info.created),
        "licence": info.licence,
        "origin": [asdict(one) for one in info.origin],
        "operating_points": points_to_dict({} if calibration is None else calibration.operating_points),
        "rate_labels": rate_labels(fitted_on),
        "rates_note": estimated(fitted_on),
        "learned": [
            {"name": one.name, "photos": len(one.vectors), "rejected": len(one.rejected)}
            for one in (learned.landmarks if learned is not None else ())
        ],
    }


def _show(row: dict[str, Any]) -> None:
    calibrated = "calibrated for unknown photos" if row["calibrated"] else "not calibrated"
    click.echo(
        f"{row['name']}: {row['landmarks']} landmarks, {row['architecture']}, {row['precision']}, "
        f"{row['bytes'] / 1e6:.1f} MB, {calibrated}, {row['created']}  {row['path']}"
    )
    click.echo(f"  licence: {row['licence']}")
    for line in _origin(row["origin"]):
        click.echo(line)
    for name, point in row["operating_points"].items():
        click.echo(f"  --prefer {name}: {_expected(point['expected'], row['rate_labels'])}")
    if row["rates_note"]:
        click.echo(f"  {row['rates_note']}")
    for one in row["learned"]:
        rejected = f", {one['rejected']} rejected" if one["rejected"] else ""
        click.echo(f"  learned: {one['name']} from {counted(one['photos'], 'photo')}{rejected}")


def _origin(origin: list[dict[str, Any]]) -> Iterator[str]:
    from landmarks.model.folder import Origin

    if origin:
        more = ": see the model card" if len(origin) > COLLECTIONS else ""
        yield f"  learned from: {listed([Origin(**one).words for one in origin], COLLECTIONS)}{more}"


def _expected(rates: dict[str, Any], labels: Mapping[str, str]) -> str:
    shown = [
        f"{labels[key]} {rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
        for key, rate in rates.items()
    ]
    return ", ".join(shown) or "not measured"
