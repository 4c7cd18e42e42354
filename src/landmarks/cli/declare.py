"""How a command declares its options: marks for its parameters, and for the settings that it takes whole.

A command is a function. Each of its parameters is an option, whose name, type and default are those of the
parameter and whose help is in its `Option` mark. A parameter that is a dataclass stands for one option per field,
with the help text of the field's entry in the docstring, so nothing about a setting is written twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        help: What it does; empty for a field whose docstring tells.
        default: What is taken where it is not given, in words, for a default that only the command knows.
        minimum: Smallest number.
        repeat: Whether it is given once per value; a tuple is written with commas between otherwise.
        flag: Its name, where that is not the name of the parameter.
        short: One letter.
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
    """A parameter that stands for the fields of a dataclass.

    Attributes:
        of: The dataclass whose fields are meant where the parameter takes only those that were given, as a
            mapping; None where the parameter is the dataclass itself.
        omit: Fields that are no options.
        flags: Options of another name than their field; for a field that is left out, the one that stands for it.
        title: Section of the help that lists them.
        repeat: Fields that are given once per value; see `Option`.
    """

    of: type[Any] | None = None
    omit: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    repeat: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verbosity:
    """How much is reported on standard error.

    Attributes:
        quiet: Report errors only.
        verbose: Report details too, such as each file that is skipped.
    """

    quiet: Annotated[bool, Option(short="-q")] = False
    verbose: Annotated[bool, Option(short="-v")] = False


Model = Annotated[str, Option("Bundled model, or a folder made by landmarks export.")]
Jsonl = Annotated[bool, Option("Print JSON lines; see docs/schemas.")]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "--learning-rate": ("--lr",),
    "--batch-size": ("--batch", "-b"),
    "--sizes": ("--imgsz",),
    "--optimizer": ("--opt",),
    "--accelerator": ("--device",),
    "--top": ("-k",),
}
"""Other names of options, which people know from other programs."""

HIDDEN: Mapping[str, tuple[str, ...]] = {
    "--workers": ("--processes",),
    "--method": ("--model",),
    "--top": ("--count",),
}
"""Earlier names of options, still taken and no longer shown."""


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
