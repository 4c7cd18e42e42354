"""Markers with which a command declares its options.

A command is a function. Each of its parameters is an option with the parameter's name, type and default, and the
help text in its `Option` marker. A dataclass parameter becomes one option per field, with the help text from the
field's entry in the docstring, so nothing about a setting is written twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        help: Help text; empty for a field documented in its docstring.
        default: The default in words, if only the command knows it.
        minimum: Smallest allowed number.
        repeat: Repeat the option for each value; otherwise a tuple is a comma-separated list.
        flag: Name of the option, if not that of the parameter.
        short: One-letter name.
    """

    help: str = ""
    default: str = ""
    minimum: int | None = None
    repeat: bool = False
    flag: str = ""
    short: str = ""


@dataclass(frozen=True)
class Argument:
    """A positional argument; `help` as for an option."""

    help: str = ""


@dataclass(frozen=True)
class Fields:
    """A parameter that takes the fields of a dataclass.

    Attributes:
        of: The dataclass, if the parameter takes only the fields that were given, as a mapping; None if the
            parameter is the dataclass itself.
        omit: Fields that are not options.
        flags: Options with another name than their field; for an omitted field, the option that replaces it.
        title: Title of their section in the help.
        repeat: Fields that are given once per value; see `Option`.
        only: Fields that are options; empty for all.
        defaults: Defaults in words of fields for which only the command knows them.
    """

    of: type[Any] | None = None
    omit: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    repeat: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verbosity:
    """How much is reported on standard error.

    Attributes:
        quiet: Report errors only.
        verbose: Report details too, such as each file that is skipped.
    """

    quiet: Annotated[bool, Option(short="-q")] = False
    verbose: Annotated[bool, Option(short="-v")] = False


Data = Annotated[str, Argument("Image folder or table, by path or URL, as for landmarks train.")]
UnpackCache = Annotated[
    Path | None, Option("Folder for unpacked images, and copies of URLs.", default="the user's cache folder")
]
TaggedPhoto = Annotated[Path, Argument("The photo; its path when it was tagged will do.")]
Exclude = Annotated[tuple[str, ...], Option("Glob pattern of files and folders to skip; repeat it.", repeat=True)]
Workers = Annotated[int | None, Option("Worker processes for many photos.", default="one per core", minimum=1)]
Model = Annotated[str, Option("Bundled or added model, or a model folder.")]
Models = Annotated[str, Option("Bundled or added model, or a model folder; or two with a comma between them.")]
Jsonl = Annotated[bool, Option("Print JSON lines; see docs/schemas.")]
Ledger = Annotated[Path | None, Option("File of recorded changes, if not with the photos.")]
State = Annotated[Path | None, Option("The folder of all ledgers, as given to landmarks tag --write --state.")]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "--learning-rate": ("--lr",),
    "--batch-size": ("--batch", "-b"),
    "--sizes": ("--imgsz",),
    "--optimizer": ("--opt",),
    "--accelerator": ("--device",),
    "--top": ("-k",),
}
"""Aliases of options, known from other programs."""

HIDDEN: Mapping[str, tuple[str, ...]] = {
    "--workers": ("--processes",),
    "--method": ("--model",),
    "--top": ("--count",),
    "--target-fpr": ("--false-tags",),
}
"""Former names of options, still accepted but not shown."""


def in_words(value: object) -> str:
    """Return a value as it is given on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def field_help(settings: type[Any]) -> dict[str, str]:
    """Return the help text of each field of a dataclass: its entry below `Attributes:` in the docstring."""
    _, _, entries = inspect.cleandoc(settings.__doc__ or "").partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in entries.splitlines():
        if line and not line.startswith(" "):
            break
        if start := re.match(r"    (\w+): (.*)", line):
            name, found[start[1]] = start[1], start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
