"""Progress on standard error: a bar on a terminal, one line every ten seconds in a file or pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from landmarks.cli.declare import Verbosity
from landmarks.cli.output import print_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from landmarks.training.runs.folder import EpochRow

SECONDS = 10.0
"""Seconds between two lines of progress if there is no bar."""


class RunProgress:
    """Shows the progress of a command; a context manager, and also a logger of training runs.

    Args:
        verbosity: Quiet shows only errors; verbose shows details.
        unit: The counted things, in the plural.
        answers: Whether answers are written to standard output at the same time: on a terminal they show the
            progress, and a bar would get between them.
        total: Total number, or None if it is not known yet.
    """

    def __init__(
        self,
        verbosity: Verbosity | None = None,
        *,
        unit: str = "",
        answers: bool = False,
        total: int | None = None,
    ) -> None:
        self._quiet = verbosity is not None and verbosity.quiet
        self._verbose = verbosity is not None and verbosity.verbose
        self._unit = f" {unit}" if unit else ""
        self._answers = answers
        self._total = total
        self._done = 0
        self._text = ""
        self._bar: tuple[Bar, TaskID] | None = None
        self._started = self._reported = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty() and not (self._answers and sys.stdout.isatty()):
            bar = _bar(self._unit)
            self._bar = bar, bar.add_task("", total=self._total, visible=self._total is not None)
            bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None

    def stage(self, text: str) -> None:
        """Report the start of a stage."""
        self._report(text)
        self._text = text
        self._started = time.monotonic()
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, description=text, visible=False)

    def progress(self, done: int, total: int | None = None) -> None:
        """Report the progress of the current stage."""
        self._done, self._total = done, total if total is not None else self._total
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=done, total=self._total, visible=True)
        elif not self._quiet and not sys.stderr.isatty() and time.monotonic() - self._reported >= SECONDS:
            self._report(self._line())

    def advance(self) -> None:
        """Count one more."""
        self.progress(self._done + 1)

    def step(self, epoch: int, done: int, total: int) -> None:
        """Report the progress of an epoch."""
        self._text = f"epoch {epoch + 1}"
        if self._bar is not None:
            self._bar[0].update(self._bar[1], description=self._text)
        self.progress(done, total)

    def epoch(self, row: EpochRow) -> None:
        """Report the metrics of an epoch."""
        self._started = time.monotonic()  # of the next one
        self._report(
            f"epoch {row.epoch + 1:3d}  loss {row.train_loss:.3f} / {row.valid_loss:.3f}  accuracy "
            f"{row.train_accuracy:.3f} / {row.valid_accuracy:.3f}  {row.images_per_second:.0f} images/s"
            + ("  saved" if row.saved else "")
        )

    def remark(self, text: str) -> None:
        """Report something about the data."""
        self._report(text)

    def detail(self, text: str) -> None:
        """Report something about the data if verbose."""
        if self._verbose:
            self.note(text)

    def note(self, text: str) -> None:
        """Report an error on a separate line, even if quiet."""
        if self._bar is not None:
            self._bar[0].console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print_text(text, err=True)

    def finish(self, run: object) -> None:
        """Report nothing: the command prints the metrics itself."""

    def _report(self, text: str) -> None:
        self._reported = time.monotonic()
        if not self._quiet:
            self.note(text)

    def _line(self) -> str:
        seconds = time.monotonic() - self._started
        part = f"{self._text}: " if self._text else ""
        total = f" of {self._total}" if self._total else ""
        return f"{part}{self._done}{total}{self._unit}, {self._done / max(seconds, 1e-9):.1f} per second"


def _bar(unit: str) -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Speed per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f}{unit}/s" if unit and task.speed is not None else "")

    # Standard output is left alone: the answers go there, maybe into a file.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
