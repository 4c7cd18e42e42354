"""Recognise landmarks in photos, and train your own recogniser from a folder of images.

This is the public API, with the names that Python blocks of the documentation import; every other name is private
and may change. Everything is imported lazily, so `import landmarks` is fast and needs neither ONNX Runtime nor
PyTorch.

```python
import landmarks

model = landmarks.load_model()                        # the bundled model, or a model folder
for photo in model.tag(["a.jpg", b"...", array, pillow_image]):
    print(photo.path, photo.error or photo.tags)

for photo in landmarks.tag("holiday", workers=2):   # a folder, in several processes
    print(photo.path, photo.tags)
```
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers assume True; importing typing alone would take longer than all of this
if TYPE_CHECKING:
    from landmarks.errors import (
        DataError,
        DownloadError,
        ExportError,
        HubError,
        ImageError,
        ImageFormatError,
        ImageTooLargeError,
        InputError,
        LandmarksError,
        LedgerError,
        MetadataError,
        MissingExtraError,
        ModelError,
        PlacesError,
        RunError,
        SearchError,
        SettingsError,
        StoppedError,
        StorageError,
        TrainingError,
    )
    from landmarks.tagging.pipeline import Model, load_model, tag
    from landmarks.tagging.settings import TagSettings
    from landmarks.tagging.tags import ImageTags, Tag
    from landmarks.training.api import evaluate, export, train
    from landmarks.training.config.jobs import ExportSettings
    from landmarks.training.config.settings import RunSettings
    from landmarks.training.metrics.evaluate import Evaluation

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "DownloadError",
    "Evaluation",
    "ExportError",
    "ExportSettings",
    "HubError",
    "ImageError",
    "ImageFormatError",
    "ImageTags",
    "ImageTooLargeError",
    "InputError",
    "LandmarksError",
    "LedgerError",
    "MetadataError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "PlacesError",
    "RunError",
    "RunSettings",
    "SearchError",
    "SettingsError",
    "StoppedError",
    "StorageError",
    "Tag",
    "TagSettings",
    "TrainingError",
    "__version__",
    "evaluate",
    "export",
    "load_model",
    "tag",
    "train",
]

NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # read when ONNX Runtime is imported
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that turn off the telemetry of libraries. Set here, because everything that imports them,
including child processes, imports this package first. Values set by the user are kept."""

for _name, _value in NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)

_HOMES = {
    **dict.fromkeys(("Model", "load_model", "tag"), "landmarks.tagging.pipeline"),
    "TagSettings": "landmarks.tagging.settings",
    **dict.fromkeys(("ImageTags", "Tag"), "landmarks.tagging.tags"),
    **dict.fromkeys(("evaluate", "export", "train"), "landmarks.training.api"),
    "Evaluation": "landmarks.training.metrics.evaluate",
    "ExportSettings": "landmarks.training.config.jobs",
    "RunSettings": "landmarks.training.config.settings",
}


def _load(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'landmarks' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    value = getattr(import_module(_HOMES.get(name, "landmarks.errors")), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # they would accept every name
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted(__all__)
