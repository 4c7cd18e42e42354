"""`landmarks models add hf://USER/NAME`: fetches a model from the Hub."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from landmarks.errors import HubError
from landmarks.files.atomic import storage_errors
from landmarks.files.state import user_cache
from landmarks.model.folder import INFO_FILE, ONNX_FILE, USED_FILES
from landmarks.model.hub.connection import Repository, connected

_TIMM = (("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin"))
"""Files of a classifier for timm; safetensors are preferred."""


def fetch_model(repository: Repository) -> Path:
    """Fetch the files of a model into the cache of downloads, all of one commit.

    Files that are there already are not fetched again, and an interrupted download continues.

    Returns:
        A model folder, or one with the two files of timm.

    Raises:
        HubError: The Hub cannot be reached, or the repository does not exist, is private or has no such files.
        StorageError: The disk is full or read-only.
    """
    cache = user_cache() / "downloads" / "hub"
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    with connected(repository) as api:
        found = api.model_info(repository.name, revision=repository.revision)
        names = {one.rfilename for one in found.siblings or ()}
        paths = [
            api.hf_hub_download(repository.name, name, revision=found.sha, cache_dir=cache)
            for name in _needed(repository, names)
        ]
    return Path(paths[0]).parent


def _needed(repository: Repository, names: set[str]) -> list[str]:
    top = {name for name in names if PurePosixPath(name).name == name}
    if {INFO_FILE, ONNX_FILE} <= top:
        return [name for name in (INFO_FILE, *USED_FILES) if name in top]
    for pair in _TIMM:
        if set(pair) <= top:
            return list(pair)
    raise HubError(
        f"{repository.name}: this is no model that landmarks can use: it has neither {INFO_FILE} and {ONNX_FILE} "
        "nor the config.json and weights of a classifier for timm"
    )
