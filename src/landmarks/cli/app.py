"""The edge: which commands there are, and what becomes of an error.

A command's module is imported only when that command is asked for, so `landmarks --help` answers at once. Every
error of the package leaves here as one sentence on standard error and an exit status: 2 for the user's mistakes,
1 for failures, 130 for Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from landmarks import __version__
from landmarks.errors import LandmarksError, StorageError, missing_extra

COMMANDS = {
    "tag": "Say which landmarks photos show, and write it into their metadata if asked.",
    "undo": "Take back what landmarks tag --write has written.",
    "reject": "Take a tag off a photo for good.",
    "confirm": "Keep a tag on a photo whatever later models say.",
    "index": "Build or update an index of photos, for search.",
    "search": "Find photos like a picture, photos with a tag, and near-duplicates.",
    "learn": "Teach a model a landmark from a few photos, without training.",
    "forget": "Take a landmark away that landmarks learn has taught a model.",
    "cluster": "Tag very many photos on a Ray cluster, into Parquet files or a Lance table.",
    "models": "List models, and the landmarks that each was taught later.",
    "doctor": "Look for what is wrong with a folder of pictures before training.",
    "train": "Train a recogniser from a folder of pictures.",
    "tune": "Look for the settings that serve a data set best.",
    "runs": "List runs with their settings and figures, or compare two of them.",
    "pack": "Turn a large image folder into shards that training streams.",
    "evaluate": "Measure a trained run again and write its report.",
    "export": "Turn a trained run into a model folder that needs no PyTorch.",
    "predict": "Say which landmarks photos show.",
    "serve": "Answer over HTTP, with a page for people.",
    "batch": "Save a picture of a sample batch before and after augmentation.",
}
"""Name and summary of each command; the function of that name in `landmarks.cli.NAME` runs it.

A command with commands of its own is a `Typer` of that name instead.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name, or None for those of the process.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = next((word for word in given if not word.startswith("-")), None)
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold bytes that are no text; it is shown with escapes rather than not at all.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app = _app(asked)
    try:
        app(given, prog_name="landmarks")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        if status == 130:
            _complain("stopped")
        return status
    except LandmarksError as error:
        _complain(_with_flags(str(error), app, asked))
        return error.exit_status
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _complain(str(missing))
        return missing.exit_status
    except BrokenPipeError:
        # The reader of a pipe went away; nothing more can be said on standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        refused = StorageError(f"{error.filename or 'the disk'}: {error.strerror or error}")
        _complain(str(refused))
        return refused.exit_status
    return 0


def _with_flags(sentence: str, app: typer.Typer, asked: str | None) -> str:
    """Replace each backticked argument in an error by the flag of the running command that sets it."""
    command = getattr(typer.main.get_command(app), "commands", {}).get(asked)
    flags = {one.name: max(one.opts, key=len) for one in command.params if one.opts} if command else {}
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), sentence)


def _complain(sentence: str) -> None:
    print(f"landmarks: {sentence}", file=sys.stderr)  # noqa: T201 - the one place errors are shown


def _app(asked: str | None) -> typer.Typer:
    """Build the application: the asked command in full, the others as a name and a summary."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        help="Recognise landmarks in photos, and train your own recogniser from a folder of pictures.",
    )
    app.callback()(_callback)
    for name, summary in COMMANDS.items():
        work = getattr(importlib.import_module(f"landmarks.cli.{name}"), name) if name == asked else _placeholder
        if isinstance(work, typer.Typer):
            app.add_typer(work, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(work)
    return app


def _placeholder() -> None:
    """Stand in the list of commands for one that was not asked for."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Recognise landmarks in photos, and train your own recogniser from a folder of pictures."""
