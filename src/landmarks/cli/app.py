"""The entry point: finds the command, runs it, and turns every error into a sentence and an exit status.

A command's module is imported only when the command is used, so `landmarks --help` is fast. Errors of the package
name Python arguments in backticks; here they are replaced by the names of options. The exit status is 2 for the
user's mistakes, 1 for failures, 130 for Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

import click
from click.shell_completion import CompletionItem

from landmarks import __version__
from landmarks.cli.binding import Bound, Command, CommandGroup
from landmarks.cli.commands import COMMANDS
from landmarks.errors import LandmarksError, StorageError, missing_extra

__all__ = ["COMMANDS", "main"]


class _Program(click.Group):
    """The commands by name, each imported on first use.

    Attributes:
        asked: The requested command, or None.
    """

    asked: Bound | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command, or None if there is none with this name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"landmarks.cli.{cmd_name}")
        function, summary = getattr(module, cmd_name), COMMANDS[cmd_name]
        inner = getattr(module, "COMMANDS", None)
        self.asked = (
            CommandGroup(cmd_name, function, summary, inner) if inner else Command(cmd_name, function, summary)
        )
        return self.asked

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, without importing it."""
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after the program's name, or None for those of the process.

    Returns:
        The exit status.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name may contain undecodable bytes; it is shown with escapes rather than not at all.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    program = _Program(
        "landmarks",
        help="Recognise landmarks in photos, and train your own recogniser from a folder of images.",
        # Colour: names of files with escape codes are printed as they are, so that other programs find the files.
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "color": True},
        no_args_is_help=True,
        params=[_version_option()],
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    return _status(lambda: program.main(given, "landmarks", standalone_mode=False), program)


def _open_closed_streams() -> None:
    """Open standard streams that the caller has closed on nothing, else the next file would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, os.O_RDWR)  # the first free number, which is that of the stream
        os.set_inheritable(opened, True)
        setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8"))


def _status(run: Callable[[], object], program: _Program) -> int:  # noqa: PLR0911 - one return per kind of error
    """Run a command and return its exit status; every error is one sentence on standard error."""
    try:
        status = run()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 2
    except click.UsageError as error:
        command = f"{error.ctx.command_path} --help" if error.ctx is not None else "landmarks --help"
        sentence = error.format_message().rstrip(".").replace("\n\t", " ")  # click lists choices on lines
        return _complain(f"{sentence}: see {command}", error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stopped:
        if isinstance(stopped.__cause__, EOFError):
            raise  # a fault of ours; click takes it for Ctrl-D
        return _complain("stopped", 130)
    except LandmarksError as error:
        sentence = str(error)
        return _complain(program.asked.translate(sentence) if program.asked else sentence, error.exit_status)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        return _complain(str(missing), missing.exit_status)
    except BrokenPipeError:
        # The reader of the pipe has closed it; nothing more can be written to standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        refused = StorageError(f"{error.filename or 'the disk'}: {error.strerror or error}")
        return _complain(str(refused), refused.exit_status)
    return status if isinstance(status, int) else 0


def _complain(sentence: str, status: int) -> int:
    click.echo(f"landmarks: {sentence}", err=True)
    return status


def _version_option() -> click.Option:
    def show(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
        if asked:
            click.echo(__version__)
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )
