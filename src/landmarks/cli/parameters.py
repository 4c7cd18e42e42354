"""Options of a function: one per parameter, and one per field of each settings class that it takes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from landmarks.cli.config import variables
from landmarks.cli.declare import ALIASES, HIDDEN, Argument, Fields, Option, field_help, in_words


@dataclass(frozen=True)
class Slot:
    """One option and the parameter that gets its value.

    Attributes:
        parameter: Parameter of the function.
        field: Field of the parameter's settings class, or None if the parameter takes the value itself.
        partial: Whether the parameter takes only the fields that were given.
        title: Section of the help.
        option: The click option.
    """

    parameter: str
    field: str | None
    partial: bool
    title: str
    option: click.Option | click.Argument

    @property
    def flag(self) -> str:
        """Displayed name: `--min-confidence`, or `PHOTOS` for an argument."""
        longest = max(self.option.opts, key=lambda name: name.startswith("--"))
        return str(self.option.metavar).strip("[].") if isinstance(self.option, click.Argument) else longest


@dataclass(frozen=True)
class _Declared:
    """A parameter or field before it becomes an option."""

    path: str
    key: str
    hint: Any
    mark: Option | Argument
    default: Any
    required: bool
    partial: bool = False


def slots_of(path: str, function: Callable[..., Any]) -> tuple[list[Slot], dict[str, type[Any]]]:
    """Return the options of a command, and the settings class of each parameter that takes a whole one.

    Args:
        path: The command as typed.
        function: The function it runs.
    """
    hints = get_type_hints(function, include_extras=True)
    slots: list[Slot] = []
    classes: dict[str, type[Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint, marks = _unwrap(hints[parameter.name])
        fields = next((mark for mark in marks if isinstance(mark, Fields)), Fields())
        settings = fields.of or hint
        if is_dataclass(settings):
            slots += _of_settings(path, parameter.name, settings, fields)
            if fields.of is None:
                classes[parameter.name] = settings
        else:
            mark = next(mark for mark in marks if isinstance(mark, Option | Argument))
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            declared = _Declared(path, parameter.name, hint, mark, default, required)
            slots.append(Slot(parameter.name, None, False, "Options", _option(parameter.name, declared)))
    return slots, classes


def shown_flags(function: Callable[..., Any], slots: list[Slot]) -> dict[str, str]:
    """Return the option that sets each Python argument, including those with another name."""
    flags = {slot.field or slot.parameter: slot.flag for slot in slots}
    for hint in get_type_hints(function, include_extras=True).values():
        for mark in _unwrap(hint)[1]:
            if isinstance(mark, Fields):
                flags |= mark.flags
    return flags


def _of_settings(path: str, parameter: str, settings: Any, fields: Fields) -> Iterator[Slot]:
    hints, texts = get_type_hints(settings, include_extras=True), field_help(settings)
    title = fields.title or "Options"
    for item in dataclasses.fields(settings):
        if not item.init or item.name in fields.omit or (fields.only and item.name not in fields.only):
            continue
        hint, marks = _unwrap(hints[item.name])
        mark = next((each for each in marks if isinstance(each, Option | Argument)), Option())
        mark = dataclasses.replace(mark, help=mark.help or texts.get(item.name, ""))
        if isinstance(mark, Option):
            flag, shown = fields.flags.get(item.name, mark.flag), fields.defaults.get(item.name, mark.default)
            mark = dataclasses.replace(mark, flag=flag, default=shown)
        if isinstance(mark, Option) and item.name in fields.repeat:
            mark = dataclasses.replace(mark, help=f"{mark.help.rstrip('.')}; repeat it.", repeat=True)
        partial = fields.of is not None
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        else:
            default = None if item.default is dataclasses.MISSING else item.default
        missing = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        declared = _Declared(path, item.name, hint, mark, default, missing and not partial, partial)
        yield Slot(parameter, item.name, partial, title, _option(f"{parameter}__{item.name}", declared))


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without `Annotated` and `| None`, and its markers."""
    marks: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            hint, *found = get_args(hint)
            marks += tuple(found)
        elif get_origin(hint) in {Union, UnionType} and NoneType in get_args(hint):
            hint = next(each for each in get_args(hint) if each is not NoneType)
        else:
            return hint, marks


def _option(name: str, declared: _Declared) -> click.Option | click.Argument:
    hint, mark = declared.hint, declared.mark
    several = get_origin(hint) is tuple
    if isinstance(mark, Argument):
        kind = _kind(get_args(hint)[0] if several else hint, mark)
        return click.Argument(
            [name],
            metavar=_metavar(declared.key, several=several, required=declared.required),
            type=kind,
            nargs=-1 if several else 1,
            required=declared.required,
            help=mark.help + (" [default: the current folder]" if declared.default == Path() else ""),
            **_default(declared),
        )
    flag = mark.flag or "--" + declared.key.replace("_", "-")
    return _Option(flag, name, declared, mark)


class _Option(click.Option):
    """A click option with hidden names."""

    def __init__(self, flag: str, name: str, declared: _Declared, mark: Option) -> None:
        hint, several = declared.hint, get_origin(declared.hint) is tuple
        self._unshown = HIDDEN.get(flag, ())
        names = [flag, *((mark.short,) if mark.short else ()), *ALIASES.get(flag, ()), *self._unshown]
        extra: dict[str, Any] = {}
        if hint is bool:
            extra["is_flag"] = True
            if declared.default is True or declared.partial:
                names[0] = f"{flag}/--no-{flag[2:]}"
        elif several and mark.repeat:
            extra |= {"type": _kind(get_args(hint)[0], mark), "multiple": True}
        else:
            extra["type"] = _Words(_kind(get_args(hint)[0], mark)) if several else _kind(hint, mark)
        super().__init__(
            [name, *names],
            **_default(declared),
            help=_help(declared, mark),
            required=declared.required,
            envvar=variables(declared.path, flag),
            **extra,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the help of the option, without its hidden names."""
        with self._shown():
            return super().get_help_record(ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return what errors call the option, without its hidden names."""
        with self._shown():
            return super().get_error_hint(ctx)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        taken = self.opts
        self.opts = [name for name in taken if name not in self._unshown]
        try:
            yield
        finally:
            self.opts = taken


def _default(declared: _Declared) -> dict[str, Any]:
    """Return the default for click, which takes even None for a value: what is required has none at all."""
    return {} if declared.required else {"default": None if declared.partial else declared.default}


def _help(declared: _Declared, mark: Option) -> str:
    text, value = mark.help, declared.default
    unsaid = value is False or value in (None, "", ())
    shown = mark.default or ("" if unsaid else "on" if value is True else in_words(value))
    return f"{text} [default: {shown}]" if shown else text


def _metavar(key: str, *, several: bool, required: bool) -> str:
    shown = key.upper() if required else f"[{key.upper()}]"
    return f"{shown}..." if several else shown


def _kind(hint: Any, mark: Option | Argument) -> Any:
    """Return the click type for the type of a value."""
    if get_origin(hint) is Literal:
        return click.Choice([str(value) for value in get_args(hint)])
    if hint is Path:
        return _Path(path_type=Path, allow_dash=True)
    if hint is str:
        return _Text()
    if hint is int and isinstance(mark, Option) and mark.minimum is not None:
        return _AtLeast(mark.minimum)
    return hint


class _Path(click.Path):
    """A path; an empty one, as of an unset variable, is not taken for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path."""
        if value == "":
            self.fail("the path is empty: give a path, or . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


class _Text(click.types.StringParamType):
    """A text; an empty one, as of an unset variable, is refused unless it is the default: "none" is meant then."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty text."""
        if value == "" and (param is None or param.default != ""):
            self.fail("the text is empty: give one, or leave it out", param, ctx)
        return super().convert(value, param, ctx)


class _AtLeast(click.types.IntParamType):
    """An integer with a minimum, which the help does not repeat."""

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Refuse a smaller number."""
        number = int(super().convert(value, param, ctx))
        if number < self._minimum:
            self.fail(f"{number} must be at least {self._minimum}", param, ctx)
        return number


class _Words(click.ParamType[tuple[Any, ...]]):
    """Comma-separated values."""

    name = "text"

    def __init__(self, kind: Any) -> None:
        self._kind = click.types.convert_type(kind)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """Return the placeholder in the help."""
        return "NAME,..." if isinstance(self._kind, click.Choice) else f"{self._kind.name.upper()},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Split and convert the values."""
        words = value.split(",") if isinstance(value, str) else value
        stripped = [word.strip() if isinstance(word, str) else word for word in words]
        return tuple(self._kind.convert(word, param, ctx) for word in stripped if word != "")
