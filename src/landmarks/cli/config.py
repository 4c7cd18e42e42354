"""Defaults of options from configuration files and environment variables.

Precedence: a flag, an environment variable, `landmarks.toml` in the working folder, `landmarks/landmarks.toml` in
the user's configuration folder, the default of the option.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from landmarks.errors import SettingsError
from landmarks.files.state import home

CONFIG_FILE = "landmarks.toml"
SHARED = ("model", "own-places", "workers", "cache", "ledger", "state", "engine", "exclude", "quiet", "verbose")
"""Options that may be set above the sections, for every command that has them."""


def config_files() -> list[Path]:
    """Return the configuration files that exist, lowest precedence first."""
    given = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(os.path.expanduser(given)) if given else home() / ".config"  # noqa: PTH111 - it never fails
    places = (folder / "landmarks" / CONFIG_FILE, Path(CONFIG_FILE))
    return [path for path in places if _is_file(path)]


def _is_file(path: Path) -> bool:
    """Return whether a file exists; false in a home folder without access."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_typed(argument: str) -> bool:
    """Return whether an argument of the running command was typed.

    One that serves another kind of run is refused then; set in a configuration file it is for those runs.
    """
    context = click.get_current_context()
    named = [name for name in context.params if name.rpartition("__")[2] == argument]
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in named)


def variables(command: str, flag: str) -> list[str]:
    """Return the environment variables of an option, highest precedence first."""
    key = _key(flag)
    names = [f"LANDMARKS_{command} {key}"] + ([f"LANDMARKS_{key}"] if key in SHARED else [])
    return [name.upper().replace("-", "_").replace(" ", "_") for name in names]


def config_defaults(command: str, parameters: Sequence[click.Parameter]) -> dict[str, Any]:
    """Return the defaults for a command from the configuration files, by the name of the parameter.

    Args:
        command: The command as typed; its section has the same name, with dots for spaces.
        parameters: Its options.

    Raises:
        SettingsError: A file is not TOML, or has an unknown section or key or an invalid value.
    """
    options = {
        _key(name): option
        for option in parameters
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }
    found: dict[str, Any] = {}
    for path in config_files():
        values = _read(path)
        _require_known(path, values)
        shared = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
        for key, value in shared.items():
            if key not in SHARED:
                raise SettingsError(
                    f"{path}: unknown key {key!r}: put it into the section of its command, e.g. [tag]"
                )
            if key in options:
                found[str(options[key].name)] = _converted(path, key, value, options[key])
        section = f"[{command.replace(' ', '.')}]"
        for written, value in _section(values, command).items():
            key = written.replace("_", "-")
            if key not in options:
                raise SettingsError(f"{path}: {section} has no key {key!r}: see landmarks {command} --help")
            found[str(options[key].name)] = _converted(path, f"{section} {key}", value, options[key])
    return found


def _key(flag: str) -> str:
    return flag.lstrip("-")


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(f"{path}: not a TOML file ({error}): correct it") from error


def _require_known(path: Path, values: Mapping[str, Any]) -> None:
    from landmarks.cli.commands import COMMANDS

    for name, value in values.items():
        if isinstance(value, Mapping) and name not in COMMANDS:
            raise SettingsError(f"{path}: unknown section [{name}]: sections are named after commands")


def _section(values: Mapping[str, Any], command: str) -> Mapping[str, Any]:
    for word in command.split():
        inner = values.get(word, {})
        values = inner if isinstance(inner, Mapping) else {}
    return {key: value for key, value in values.items() if not isinstance(value, Mapping)}


def _converted(path: Path, key: str, value: Any, option: click.Option) -> Any:
    """Check a value and convert it to a default for click."""
    if option.multiple and not isinstance(value, list):
        value = [value]
    if option.is_flag and not isinstance(value, bool):
        raise SettingsError(f"{path}: {key}: must be true or false, not {value!r}")
    context = click.Context(click.Command("config"))
    try:
        return option.type_cast_value(context, value if isinstance(value, list | bool) else str(value))
    except click.BadParameter as error:
        raise SettingsError(f"{path}: {key}: {error.message.rstrip('.')}") from error
