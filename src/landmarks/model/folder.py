"""The model folder.

```
NAME/
  model.onnx   uint8 images (N, 224, 224, 3) in; logits (N, K) and embedding (N, D) out
  model.json   classes, preprocessing, calibration, metrics, data, versions, SHA-256 of the files
  head.onnx, prototypes.bin, prototypes.npz  only with a prototype head; the network then has no logits
  reference.npz  a whitened space of the embeddings, and some vectors to compare with (optional)
  model.pt     the same network as TorchScript, with preprocessing and softmax inside (optional)
  README.md    the model card
  places.csv, learned.npz  what its user added: places, and what it was taught (optional)
```
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from landmarks.errors import ModelError, SettingsError
from landmarks.files.atomic import write_json
from landmarks.files.checksums import sha256_file
from landmarks.files.paths import to_path
from landmarks.files.state import user_data

if TYPE_CHECKING:
    from landmarks.geo.gazetteer import Gazetteer
    from landmarks.imaging.preprocessing import Preprocessing

NOT_STATED = "not stated"
"""The licence is unknown."""

NO_LICENCE = "none"
"""Images without a licence: nobody gave permission to use them."""

EXPERIMENTS_ONLY = "experiments only: pictures it learnt from carry no licence"
"""Permitted use of a model that was trained on images without a licence."""


@dataclass(frozen=True)
class Origin:
    """One collection that a model was trained on.

    Attributes:
        collection: Its name.
        pictures: Number of training images from it; 0 if they were not counted.
        licence: Licence of the images: a name such as `CC BY 4.0`, `none` if they have none, or `not stated`.

    Raises:
        SettingsError: The name is empty or the count is negative.
    """

    collection: str
    pictures: int = 0
    licence: str = NOT_STATED

    def __post_init__(self) -> None:
        named = all(isinstance(text, str) and text for text in (self.collection, self.licence))
        if not named or self.pictures < 0:
            raise SettingsError(f"`origin` needs a name, a licence and a count, not {self}")

    @property
    def words(self) -> str:
        """The collection with its count and licence, for display."""
        count = f"{self.pictures} pictures, " if self.pictures else ""
        licence = {NOT_STATED: "licence not stated", NO_LICENCE: "no licence"}.get(self.licence, self.licence)
        return f"{self.collection} ({count}{licence})"


def origins_of(sources: Iterable[str], licences: Mapping[str, str], fallback: str) -> tuple[Origin, ...]:
    """Return the collections of a data set, largest first.

    Args:
        sources: Source of each training image, empty if unknown.
        licences: Known licences of collections, by name; a collection without images is listed with a count of 0.
        fallback: Name of the collection of images without a source.
    """
    counted = Counter(source or fallback for source in sources)
    for name in licences:
        counted.setdefault(name, 0)
    found = [Origin(name, count, licences.get(name, NOT_STATED)) for name, count in counted.items()]
    return tuple(sorted(found, key=lambda one: (-one.pictures, one.collection)))


def parse_licences(texts: str | Sequence[str]) -> dict[str, str]:
    """Parse one or more `COLLECTION=LICENCE` texts; a collection alone has the licence `not stated`.

    Raises:
        SettingsError: A text has no name before the equals sign, or a name is repeated.
    """
    licences: dict[str, str] = {}
    for text in [texts] if isinstance(texts, str) else texts:
        name, _, licence = (part.strip() for part in text.partition("="))
        if not name:
            raise SettingsError(f"`origin` must be COLLECTION=LICENCE, not {text!r}")
        if name in licences:
            raise SettingsError(f"`origin` names {name!r} twice: give each collection once")
        licences[name] = licence or NOT_STATED
    return licences


def licence_of(stated: str | None, origin: Iterable[Origin]) -> str:
    """Return the permitted use of the weights: as stated, else as the images allow."""
    if stated:
        return stated
    return EXPERIMENTS_ONLY if any(one.licence == NO_LICENCE for one in origin) else NOT_STATED


def origin_from_list(values: Any) -> tuple[Origin, ...]:
    """Parse the collections of `model.json`; raises `ValueError` or `TypeError` if they are damaged."""
    if not isinstance(values, list):
        raise ValueError("the origin is not a list of collections")
    try:
        return tuple(Origin(**one) for one in values)
    except SettingsError as error:
        raise ValueError(str(error)) from error


FORMAT = 1
ONNX_FILE = "model.onnx"
TORCHSCRIPT_FILE = "model.pt"
INFO_FILE = "model.json"
CARD_FILE = "README.md"
HEAD_FILE = "head.onnx"
PROTOTYPES_FILE = "prototypes.bin"
SCALES_FILE = "prototypes.npz"
HEAD_FILES = (HEAD_FILE, PROTOTYPES_FILE, SCALES_FILE)
"""Files of a prototype head."""
REFERENCE_FILE = "reference.npz"
USED_FILES = (ONNX_FILE, *HEAD_FILES, REFERENCE_FILE, CARD_FILE)
"""Files that using a model needs, besides `INFO_FILE` and as far as it has them; TorchScript is not one."""
PLACES_FILE = "places.csv"
"""Table of the user's own places beside a model."""

LEARNED_FILE = "learned.npz"
"""What a model of the user's own was taught, beside it; see `learned_path`."""

DEFAULT_MODEL = "world"
"""The default model, bundled with the package."""


@dataclass(frozen=True)
class ModelInfo:
    """The content of `model.json`.

    Attributes:
        name: Short name, also of the folder.
        architecture: The network, for example `scratch` or `efficientnet_lite0`.
        precision: `fp32` or `int8`.
        classes: Class names in the order of the logits.
        preprocessing: Preprocessing of its input.
        temperature: Divisor of the logits before softmax; 1 if it was not calibrated.
        calibration: Values of `landmarks.model.calibration.Calibration.to_dict`; None if the model was not
            calibrated for unknown photos.
        metrics: Metrics of the trained network and of the exported one.
        data: Summary of the training data.
        versions: Versions of the libraries that made it.
        created: Date, ISO 8601.
        files: SHA-256 of each file of the folder except `model.json`.
        licence: Permitted use of the weights.
        origin: The collections it was trained on.
        head: `linear` if the network outputs logits, `prototypes` if `landmarks.model.heads` computes them from
            the embedding.
        digest: SHA-256 of `model.json` itself; empty before it is written.
    """

    name: str
    architecture: str
    precision: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = 1.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    licence: str = NOT_STATED
    origin: tuple[Origin, ...] = ()
    head: str = "linear"
    digest: str = field(default="", compare=False)


def write_info(folder: Path, info: ModelInfo) -> None:
    """Write `model.json`; raises `StorageError` if it cannot be written."""
    values = {**asdict(info), "classes": list(info.classes), "preprocessing": info.preprocessing.to_dict()}
    del values["digest"]
    write_json(folder / INFO_FILE, {"format": FORMAT, **values})


def read_info(folder: Path) -> ModelInfo:
    """Read `model.json`; the result is cached until the file changes.

    Raises:
        ModelError: It is missing, damaged or in a newer format.
    """
    path = folder / INFO_FILE
    try:
        status = path.stat()
    except OSError:
        status = None
    if status is None or not S_ISREG(status.st_mode):
        raise ModelError(
            f"{folder}: not a model folder ({INFO_FILE} is missing): give one made by landmarks export"
        )
    return _read_info(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=2)  # two models may tag together; a service that reloads a model must not keep all its versions
def _read_info(path: Path, _stamp: tuple[int, ...]) -> ModelInfo:
    try:
        content = path.read_bytes()
        values = json.loads(content.decode())
        version = values.pop("format")
        if version != FORMAT:
            raise ModelError(f"{path}: format {version} is not known: update landmarks or export the model again")
        values["classes"] = _class_names(values["classes"])
        values["temperature"] = float(values["temperature"])
        values["files"] = _checksums(values["files"])
        for name in ("name", "architecture", "precision", "created"):
            if not isinstance(values.get(name, ""), str):
                raise ValueError(f"{name} is not text")
        values["preprocessing"] = _preprocessing(path, values["preprocessing"])
        values["licence"] = str(values.get("licence", NOT_STATED))  # older models state neither
        values["origin"] = origin_from_list(values.get("origin", []))
        info = ModelInfo(**values, digest=hashlib.sha256(content).hexdigest())
        usable = (
            len(info.classes) >= 2 and info.head in {"linear", "prototypes"} and 0 < info.temperature < math.inf
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: damaged ({error}): {_again(path.parent)}") from error
    if not usable:
        raise ModelError(
            f"{path}: needs two classes or more, a known head and a temperature above 0: {_again(path.parent)}"
        )
    return info


def _class_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the classes are not a list of names")
    return tuple(names)


def _checksums(files: Any) -> dict[str, str]:
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise ValueError("the files are not a table of checksums")
    if ONNX_FILE not in files:
        raise ValueError(f"the files lack {ONNX_FILE}")
    return files


def _preprocessing(path: Path, values: Any) -> Preprocessing:
    from landmarks.imaging.preprocessing import Preprocessing  # noqa: PLC0415 - too slow to find a model

    try:
        return Preprocessing.from_dict(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def check_file(folder: Path, info: ModelInfo, name: str) -> Path:
    """Return the path of a file of the folder after checking its SHA-256.

    Raises:
        ModelError: The file is missing, cannot be read, or is not the one that was exported.
    """
    path = find_file(folder, name)
    if info.files.get(name) != checksum(path):
        raise ModelError(f"{path}: the file is not the one that was exported (SHA-256): {_again(folder)}")
    return path


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file of a model; raises `ModelError` if it cannot be read."""
    try:
        return sha256_file(path)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise ModelError(f"{path}: the file cannot be read ({reason}): change its permissions") from error


def find_file(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder; raises `ModelError` if it is missing."""
    path = folder / name
    if not os.path.isfile(path):  # noqa: PTH113 - False if forbidden
        raise ModelError(f"{path}: the file is missing: {_again(folder)}")
    return path


def _again(folder: Path) -> str:
    """Return how to mend a damaged model."""
    if folder.parent == models_folder():
        return "remove its folder and add the model again with landmarks models add"
    return "install landmarks again" if is_bundled(folder) else "export the model again"


def bundled_models() -> dict[str, Path]:
    """Return the bundled models, by name."""
    folder = Path(str(resources.files("landmarks.model"))) / "bundled"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{INFO_FILE}"))}


def is_bundled(folder: Path) -> bool:
    """Return whether a model folder is bundled with the package."""
    return any(folder.resolve() == bundled.resolve() for bundled in bundled_models().values())


def places_of(folder: Path, gazetteer: Gazetteer) -> Gazetteer:
    """Return a gazetteer with the own places of a model folder, if any; raises `PlacesError` if they are wrong."""
    table = folder / PLACES_FILE
    return gazetteer.with_overrides(table) if table.is_file() else gazetteer


def teachable_identity(info: ModelInfo) -> str:
    """Return the identity of a model and its space; landmarks learned with another one do not fit."""
    return f"{info.name}-{info.files[ONNX_FILE][:12]}-{info.files.get(REFERENCE_FILE, 'none')[:12]}"


def learned_path(folder: Path, info: ModelInfo) -> Path:
    """Return the file in which the learned landmarks of a model are stored.

    It is beside a model of the user's own. For a bundled model, whose folder may be read-only and is replaced by
    an update, it is in the user's data folder.
    """
    if not is_bundled(folder):
        return folder / LEARNED_FILE
    return user_data() / "learned" / f"{teachable_identity(info)}.npz"


def models_folder() -> Path:
    """Return the folder of models added with `landmarks models add`."""
    return user_data() / "models"


def added_models() -> dict[str, Path]:
    """Return the models added with `landmarks models add`, by name."""
    return {path.parent.name: path.parent for path in sorted(models_folder().glob(f"[!.]*/{INFO_FILE}"))}


def named_model(name: str) -> Path | None:
    """Return the folder of a bundled or added model by its name, or None.

    A model folder of the same name in the current folder comes first, any other folder does not.
    """
    if os.path.isfile(Path(name) / INFO_FILE):  # noqa: PTH113 - as above
        return None
    return (added_models() | bundled_models()).get(name)


def find_models(names: str) -> tuple[Path, ...]:
    """Return the folders of one model or of two with a comma between them; each as of `find_model`.

    Raises:
        ModelError: There is no such model.
        SettingsError: There are more than two, one twice, or a name is missing.
    """
    if os.path.isdir(names) or "," not in names:  # noqa: PTH112 - False if forbidden, or too long
        return (find_model(names),)
    parts = [part.strip() for part in names.split(",")]
    if len(parts) > 2 or not all(parts):
        raise SettingsError(f"`model` must be one model or two with a comma between them, not {names!r}")
    folders = tuple(find_model(part) for part in parts)
    if folders[0].resolve() == folders[1].resolve():
        raise SettingsError(f"`model` {names!r} is the same model twice: give it once")
    return folders


def find_model(name: str) -> Path:
    """Return the folder of a model, given its path or the name of a bundled or added one.

    Raises:
        ModelError: There is no such model, or there are several names.
        SettingsError: The name is empty.
    """
    folder = to_path("model", name)
    named = named_model(name)
    if named is not None or os.path.isdir(folder):  # noqa: PTH112 - as above
        return named or folder
    if "," in name:
        raise ModelError(f"{name}: one model is needed here: give one of them; only landmarks tag takes two")
    known = ", ".join(added_models() | bundled_models()) or "none"
    raise ModelError(f"{name}: no such model: give a folder made by landmarks export or a known name ({known})")
