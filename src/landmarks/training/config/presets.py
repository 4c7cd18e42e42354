"""Presets: small TOML files with settings of a training, for `landmarks train --preset`.

A preset has the sections and keys of `settings.json` and lists what differs from the defaults of its way of
training. It is checked by the dataclasses of `landmarks.training.config.settings`. Bundled presets are in
`preset_files` next to this module and are given by name, all others by path.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from landmarks.errors import SettingsError
from landmarks.files.atomic import write_text
from landmarks.training.config.rules import argument_of
from landmarks.training.config.settings import DEFAULT_METHOD, RunSettings, default_settings

SECTIONS = ("model", "loading", "augment", "optimization", "loop")
"""The groups of `RunSettings` that a preset may have."""

Changes = Mapping[str, Mapping[str, Any]]
"""Values by section and key."""


def bundled_presets() -> dict[str, Path]:
    """Return the bundled presets, by name."""
    folder = Path(str(files("landmarks.training.config"))) / "preset_files"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_preset(name: str, data: Path) -> RunSettings:
    """Return the settings of a preset.

    Args:
        name: Name of a bundled preset, or the path of a file.
        data: The image folder to train on.

    Raises:
        SettingsError: There is no such preset, or a key or value is wrong; it names file, key and argument.
    """
    bundled = bundled_presets()
    path = bundled.get(name, Path(name))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"`preset` {name}: no such preset or file: give a path, or one of {', '.join(bundled)}"
        ) from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(f"{path}: not a TOML file ({error}): correct it") from error
    _require_shape(path, values)
    model = values.get("model", {})
    kind, unfreeze = model.get("kind", DEFAULT_METHOD), model.get("unfreeze", False)
    try:
        settings = default_settings(data, kind, unfreeze=unfreeze)
    except SettingsError as error:
        raise SettingsError(f"{path}: [model] {error}") from error
    return changed(settings, values, path)


def changed(settings: RunSettings, changes: Changes, path: Path | None = None) -> RunSettings:
    """Return settings with some values replaced.

    Args:
        settings: The settings to start from.
        changes: Values by section and key, lists for tuples.
        path: Source of the changes, for the error.

    Raises:
        SettingsError: A value is out of range; the message names `path`, section and argument.
    """
    built = {}
    for section, values in changes.items():
        plain = {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
        try:
            built[section] = replace(getattr(settings, section), **plain)
        except SettingsError as error:
            raise SettingsError(f"{path}: [{section}] {error}" if path else str(error)) from error
    try:
        return replace(settings, **built)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}" if path else str(error)) from error


def differences(settings: RunSettings) -> dict[str, dict[str, Any]]:
    """Return these settings as a preset: the model, and everything that differs from its defaults.

    Settings of one machine or one run (paths, threads, seed, limits) are left out.
    """
    usual = default_settings(settings.data, settings.model.kind, unfreeze=settings.model.unfreeze).to_dict()
    own = settings.to_dict()
    local = {"init", "weights", "workers", "seed", "limit", "max_minutes"}
    local |= {"accelerator", "devices", "threads", "precision"}
    found = {
        section: {
            key: value
            for key, value in own[section].items()
            if value != usual[section][key] and value is not None and key not in local
        }
        for section in SECTIONS
    }
    unfreeze = {"unfreeze": True} if settings.model.unfreeze else {}
    found["model"] = {"kind": settings.model.kind, **unfreeze, **found["model"]}
    return {section: values for section, values in found.items() if values}


def write_preset(path: Path, settings: RunSettings, comment: str) -> None:
    """Write settings as a preset that `load_preset` reads back, atomically.

    Args:
        path: The file.
        settings: The settings; only differences from the defaults are written.
        comment: Purpose of the preset; each line becomes a comment.

    Raises:
        StorageError: The file cannot be written.
        ModuleNotFoundError: `tomli-w` is not installed.
    """
    import tomli_w  # noqa: PLC0415 - only those who tune write presets

    head = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(path, f"{head}\n{tomli_w.dumps(differences(settings))}")


def _require_shape(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse unknown sections and keys, and values of a wrong type."""
    hints = _hints()
    for section, keys in values.items():
        if section not in hints or not isinstance(keys, Mapping):
            raise SettingsError(f"{path}: [{section}] is not a section of settings: use {', '.join(SECTIONS)}")
        for key, value in keys.items():
            if key not in hints[section]:
                known = ", ".join(hints[section])
                raise SettingsError(f"{path}: [{section}] has no key {key!r}: its keys are {known}")
            if not _fits(value, hints[section][key]):
                raise SettingsError(
                    f"{path}: [{section}] {key} (`{argument_of(key)}`) cannot be {value!r}: correct its type"
                )


@cache
def _hints() -> dict[str, dict[str, Any]]:
    """Return the types of the keys of each section, except paths, which are arguments."""
    groups = get_type_hints(RunSettings)
    return {
        section: {
            key: hint
            for key, hint in get_type_hints(groups[section]).items()
            if key in {item.name for item in dataclasses.fields(groups[section])} and Path not in get_args(hint)
        }
        for section in SECTIONS
    }


def _fits(value: object, hint: Any) -> bool:
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return isinstance(value, str)
    if kind is UnionType:
        return any(_fits(value, one) for one in inner if one is not NoneType)
    if kind is tuple:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
