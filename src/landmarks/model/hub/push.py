"""`landmarks models push`: a model folder becomes a repository of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from landmarks.errors import HubError
from landmarks.model.folder import INFO_FILE, check_file, read_info
from landmarks.model.hub.connection import connected, parse_repository

_OF_THE_HUB = {".gitattributes"}
"""What the Hub puts into a new repository."""


def push_model(folder: Path, repository: str, *, private: bool = False, update: bool = False) -> str:
    """Push a model folder in one commit: the repository has all of its files or none.

    Args:
        folder: A model folder, such as `landmarks export` makes.
        repository: `USER/NAME`; it is created if it does not exist.
        private: Create it so that only its owner sees it.
        update: Add a commit to a repository that has files already.

    Returns:
        The address of its page.

    Raises:
        SettingsError: `repository` is not the name of one.
        ModelError: The folder is not a model folder, or a file is not the one that was exported.
        HubError: The Hub cannot be reached or refuses the token, or the repository has files and `update` is not
            set.
    """
    target = parse_repository(repository, "repository")
    info = read_info(folder)
    paths = [folder / INFO_FILE, *(check_file(folder, info, name) for name in info.files)]
    with connected(target) as api:
        api.whoami()  # a wrong token fails here, before anything is created
        if not _exists(api, target.name, private=private, update=update):
            api.create_repo(target.name, private=private)
        commit = [CommitOperationAdd(path.name, path) for path in paths]
        api.create_commit(target.name, commit, commit_message=f"{info.name}, made by landmarks")
    return f"{api.endpoint}/{target.name}"


def _exists(api: HfApi, name: str, *, private: bool, update: bool) -> bool:
    """Return whether a repository exists, if it may be written to."""
    try:
        found = api.model_info(name)
    except RepositoryNotFoundError:
        return False
    if {one.rfilename for one in found.siblings or ()} - _OF_THE_HUB and not update:
        raise HubError(f"{name}: the repository has files already: choose another name, or give `update`")
    if private and not found.private:
        raise HubError(f"{name}: the repository exists and is public: make it private on its page first")
    return True
