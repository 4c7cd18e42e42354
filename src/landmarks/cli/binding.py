"""Turns a function into a click command: its parameters and the fields of its settings become options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from landmarks.cli.config import config_defaults
from landmarks.cli.parameters import shown_flags, slots_of

if TYPE_CHECKING:
    _Base = click.Command
else:
    _Base = object

Function = Callable[..., int | None]
"""A command: takes its options, returns its exit status (None for 0)."""

_WIDTH = 100
_NAMED = "landmarks.cli.binding.named"
_HELP_NAMES = ["-h", "--help"]


class Bound(_Base):
    """Common base of commands and command groups.

    Args:
        path: The command as typed, without the program: `runs compare`.
        function: The function it runs.
        summary: One-line summary.

    Attributes:
        flags: Option for each Python argument, by the name of the argument.
    """

    def __init__(self, path: str, function: Function, summary: str = "", **extra: Any) -> None:
        self._function = function
        self._path = path
        self._slots, self._classes = slots_of(path, function)
        self.flags = shown_flags(function, self._slots)
        super().__init__(
            path.rpartition(" ")[2],
            params=[slot.option for slot in self._slots],
            callback=self._call,
            help=inspect.getdoc(function),
            short_help=summary,
            context_settings={"help_option_names": _HELP_NAMES, "max_content_width": _WIDTH},
            **extra,
        )
        self.help = self.translate(self.help or "")
        for slot in self._slots:
            slot.option.help = self.translate(slot.option.help or "")

    def translate(self, sentence: str) -> str:
        """Return a sentence with each argument in backticks replaced by its option."""
        return re.sub("`([^`]*)`", lambda match: self.flags.get(match[1].rpartition(".")[2], match[1]), sentence)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the defaults from the configuration files, then parse the arguments."""
        if not extra.get("resilient_parsing") and not set(args) & set(_HELP_NAMES):
            extra["default_map"] = config_defaults(self._path, self.params)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections: the command's own, then those of each settings class."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        titles = {slot.option.name: slot.title for slot in self._slots}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                sections.setdefault(titles.get(parameter.name, "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def _call(self, /, **values: Any) -> int | None:
        context = click.get_current_context()
        if context.invoked_subcommand is not None:
            return None
        given: dict[str, dict[str, Any]] = {slot.parameter: {} for slot in self._slots if slot.field is not None}
        plain: dict[str, Any] = {}
        for slot in self._slots:
            name = str(slot.option.name)
            if slot.field is None:
                plain[slot.parameter] = values[name]
            elif not slot.partial or context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                given[slot.parameter][slot.field] = values[name]
        settings = {name: self._classes.get(name, dict)(**fields) for name, fields in given.items()}
        return self._function(**plain, **settings)


class Command(Bound, click.Command):
    """A command that takes settings."""


class CommandGroup(Bound, click.Group):
    """A command that takes settings and has subcommands.

    Args:
        path: The command as typed, without the program.
        function: The function it runs without a subcommand.
        summary: One-line summary.
        commands: Its subcommands.
    """

    _asked: Bound | None = None

    def __init__(self, path: str, function: Function, summary: str, commands: Mapping[str, Function]) -> None:
        super().__init__(path, function, summary, invoke_without_command=True)
        for name, work in commands.items():
            first_line = (inspect.getdoc(work) or "").partition("\n")[0]
            self.add_command(Command(f"{path} {name}", work, first_line), name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; positional arguments of the group itself would consume the name of a subcommand."""
        ctx.meta[_NAMED] = bool(args) and args[0] in self.commands
        if not ctx.meta[_NAMED] and any(isinstance(one, click.Argument) for one in self.params):
            ctx.allow_interspersed_args = True  # its own options may follow its arguments, as for any command
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, whose options the errors will name."""
        found = super().resolve_command(ctx, args)
        self._asked = found[1] if isinstance(found[1], Bound) else None
        return found

    def translate(self, sentence: str) -> str:
        """See `Bound.translate`; the options are those of the subcommand that runs, if one does."""
        return super().translate(sentence) if self._asked is None else self._asked.translate(sentence)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters for parsing the current arguments."""
        found = super().get_params(ctx)
        return [one for one in found if not isinstance(one, click.Argument)] if ctx.meta.get(_NAMED) else found
