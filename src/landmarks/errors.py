"""The one exception tree of the package.

Every error shown to a user derives from `LandmarksError`. The message is one sentence that names the file or
argument (in backticks) and the fix; the command line replaces arguments by its flags. Errors are translated once,
at the edge: the command line turns `exit_status` into the exit status of the process (see `landmarks.cli.app`),
the service turns the class into an HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class LandmarksError(Exception):
    """Base of every error that a user of the package may see.

    Attributes:
        exit_status: Exit status of a command that ends with this error: 2 for a mistake that the user can
            correct (a wrong path, a broken file, a bad flag), 1 for a failure of the work itself.
    """

    exit_status: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message, not the call: a pool of processes waits for ever for an error it cannot unpickle."""
        return type(self).__new__, (type(self), *self.args), vars(self)


class InputError(LandmarksError):
    """The input is wrong and the user can correct it."""

    exit_status = 2


class ImageError(InputError):
    """An image cannot be read.

    Attributes:
        path: The image, or None if it was given as bytes.
        reason: Why, without the path, so that a table of failures can show both in columns.
    """

    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path is not None else f"the picture: {reason}")
        self.path = path
        self.reason = reason


class ImageTooLargeError(ImageError):
    """An image has more bytes or pixels than the limits allow."""


class ImageFormatError(ImageError):
    """The content is not an image in an accepted format."""


class DataError(InputError):
    """A data folder lacks what training or evaluation needs."""


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


def require_at_least(argument: str, value: float, least: int = 1) -> None:
    """Raise a `SettingsError` that names the argument, unless the value is a whole number and large enough."""
    if isinstance(value, float):
        raise SettingsError(f"`{argument}` must be a whole number, not {value!r}")
    if value < least:
        raise SettingsError(f"`{argument}` must be at least {least}, not {value}")


def counted(count: int, noun: str) -> str:
    """Return a number with what it counts: `1 photo`, `2 photos`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(items: Sequence[object], most: int = 5, separator: str = ", ") -> str:
    """Return the first items, and how many more there are, for a message."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, items[:most])) + more


class MetadataError(InputError):
    """The metadata of a photo cannot be read or written; the file was left unchanged.

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


class HubError(InputError):
    """A repository of the Hugging Face Hub cannot be read or written."""


class SearchError(InputError):
    """An index of photos is missing, damaged, in use, or was built with another model."""


def install_command(extra: str) -> str:
    """Return how an extra is installed."""
    return f"pip install -e '.[{extra}]' in the clone of landmarks"


class MissingExtraError(InputError):
    """A required optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: run {install_command(extra)} "
            "(make install installs everything)"
        )


EXTRAS = {
    "import": {"onnx"},
    "openvino": {"openvino"},
    "raw": {"rawpy"},
    "languages": {"babel"},
    "jxl": {"pillow_jxl"},
    "hub": {"huggingface_hub"},
    "train": {
        *("torch", "torchvision", "timm", "lightning_fabric", "matplotlib", "safetensors", "jinja2", "onnx"),
        *("onnxscript", "sklearn", "fsspec"),
    },
    "tune": {"optuna", "scipy", "tomli_w"},
    "track": {"mlflow"},
    "otel": {"opentelemetry"},
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
    "parquet": {"pyarrow"},
    "search": {"cv2", "lancedb", "pyarrow"},
    "cluster": {"fsspec", "pyarrow", "ray"},
}
"""The extras of the package, each with the modules that it provides."""

_PACKAGES = {
    "cv2": "opencv-python-headless",
    "multipart": "python-multipart",
    "opentelemetry": "opentelemetry-sdk",
    "pillow_jxl": "pillow-jxl-plugin",
    "sklearn": "scikit-learn",
    "starlette": "fastapi",
}
"""Packages of modules that are called otherwise."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return the error for a module that is not installed; None if it belongs to no extra."""
    module = (error.name or "").partition(".")[0]
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    return None if extra is None else MissingExtraError(_PACKAGES.get(module, module.replace("_", "-")), extra)


@contextmanager
def needing_extras() -> Iterator[None]:
    """Raise a `MissingExtraError` where a module of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error)) is None:
            raise
        raise missing from error


class TrainingError(LandmarksError):
    """Training cannot continue, for example because the loss is not a number."""


class StoppedError(LandmarksError):
    """The user stopped the work; the message explains how to continue."""

    exit_status = 130


class ExportError(LandmarksError):
    """An exported model does not predict like the trained one and was not written."""


class DownloadError(LandmarksError):
    """A file cannot be downloaded, or is not the expected one."""


class StorageError(LandmarksError):
    """A file cannot be written, for example because the disk is full."""
