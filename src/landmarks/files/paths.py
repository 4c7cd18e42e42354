"""Paths in arguments and settings."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from landmarks.errors import SettingsError


def is_url(given: object) -> bool:
    """Return whether a text is an address such as `s3://bucket/photos`, not a path."""
    return isinstance(given, str) and "://" in given


def to_path(argument: str, given: str | PathLike[str]) -> Path:
    """Return a path given as text or as a path.

    Raises:
        SettingsError: It is empty, as from an unset variable, which would mean the current folder; or an address,
            of which a path would lose a slash.
    """
    if given == "":
        raise SettingsError(f"`{argument}` is an empty path: give a path, or . for the current folder")
    if is_url(given):
        raise SettingsError(f"`{argument}` {given} is an address: give a path of this machine")
    return Path(given)


def take_paths(settings: object, *names: str) -> None:
    """Turn text into paths, in the named fields of a frozen dataclass; for its `__post_init__`; see `to_path`."""
    for name in names:
        if isinstance(value := getattr(settings, name), str):
            object.__setattr__(settings, name, to_path(name, value))
