"""The one exception tree of the package.

Everything that is raised to a user derives from `LandmarksError`. The message is one sentence that names the
file or argument (in backticks) and the way out; the command line puts its flags in the place of arguments. The
tree is translated once, at the edge: the command line turns `exit_status` into the exit status of the process (see
`landmarks.cli.app`), a service turns the class into an HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class LandmarksError(Exception):
    """Base of every error that a user of the package may see.

    Attributes:
        exit_status: Exit status of a command that ends with this error: 2 for a mistake that the user can
            mend (a wrong path, a broken file, a bad flag), 1 for a failure of the work itself.
    """

    exit_status: int = 1


class InputError(LandmarksError):
    """The input is wrong and the user can mend it."""

    exit_status = 2


class ImageError(InputError):
    """A picture cannot be read.

    Attributes:
        path: The picture, or None where it came as bytes.
        reason: Why, without the path, so that a table of failures can show both in columns.
    """

    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path is not None else f"the picture: {reason}")
        self.path = path
        self.reason = reason


class ImageTooLargeError(ImageError):
    """A picture has more bytes or pixels than the limits allow."""


class ImageFormatError(ImageError):
    """The content is not a picture of an accepted format."""


class DataError(InputError):
    """A data folder does not hold what training or evaluation needs."""


class PlacesError(InputError):
    """A table of places is broken or cannot be read."""


class ModelError(InputError):
    """A model folder, weights file or checkpoint is missing, damaged or of another kind."""


class RunError(InputError):
    """A run folder is missing, incomplete or already taken."""


class SettingsError(InputError):
    """A setting is out of range; the message names the argument."""


def require_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Raise a `SettingsError` that names the argument and the choices, unless the value is one of them."""
    names = tuple(choices)
    if value not in names:
        raise SettingsError(f"`{argument}` must be one of {', '.join(names)}, not {value!r}")


class MetadataError(InputError):
    """The metadata of a photo cannot be read or written; the file was left as it is.

    Attributes:
        path: The photo or its sidecar.
        reason: Why, without the path, so that a table of failures can show both in columns.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class LedgerError(InputError):
    """The ledger of a library is damaged, in use, or of a newer version."""


class SearchError(InputError):
    """An index of photos is missing, damaged, in use, or was built with another model."""


class MissingExtraError(InputError):
    """An optional dependency is needed that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: run pip install 'landmarks[{extra}]', "
            f"or in a clone pip install -e '.[{extra}]' (make test installs everything)"
        )


EXTRAS = {
    "import": {"onnx"},
    "openvino": {"openvino"},
    "train": {
        *("torch", "torchvision", "timm", "lightning_fabric", "matplotlib", "safetensors", "jinja2", "onnx"),
        *("onnxscript", "sklearn"),
    },
    "tune": {"optuna", "scipy", "tomli_w"},
    "track": {"mlflow"},
    "serve": {
        "fastapi",
        "h11",
        "multipart",
        "prometheus_client",
        "pydantic",
        "python_multipart",
        "starlette",
        "uvicorn",
    },
    "search": {"cv2", "lancedb", "pyarrow"},
    "cluster": {"fsspec", "pyarrow", "ray"},
}
"""The extras of the package, each with the packages that are imported only where it is installed."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return what to tell about a module that is not installed; None where it is of no extra."""
    package = (error.name or "").partition(".")[0]
    extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
    return None if extra is None else MissingExtraError(package, extra)


class TrainingError(LandmarksError):
    """Training could not go on, for example because the loss is not a number."""


class StoppedError(LandmarksError):
    """The user stopped the work; the message says how to go on."""

    exit_status = 130


class ExportError(LandmarksError):
    """An exported model does not answer like the trained one and was not written."""


class DownloadError(LandmarksError):
    """A file cannot be fetched, or is not the one that was expected."""


class StorageError(LandmarksError):
    """A file cannot be written, for example because the disk is full."""
