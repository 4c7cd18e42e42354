"""The answers on standard output; progress and everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from landmarks.tagging.writers import Shown, Writer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from landmarks.tagging.tagger import Finding

Also = Callable[["Finding"], str | None]
"""Called with each finding; a sentence that it returns is told on standard error."""


class Display:
    """Shows findings as they come.

    Args:
        writer: The format.
        errors: Whether photos that cannot be read are told on standard error, because the format leaves them out.
        also: Something else to do with each.

    Attributes:
        failed: How many photos could not be read or written.
    """

    def __init__(self, writer: Writer, *, errors: bool, also: Also | None = None) -> None:
        self._writer = writer
        self._errors = errors
        self._also = also
        self._bar: tuple[Progress, TaskID] | None = None
        self.failed = 0

    @contextmanager
    def over(self, total: int | None) -> Iterator[None]:
        """Show a whole document, with a progress bar where one is seen and in nobody's way.

        Args:
            total: How many photos there will be, or None where that is not known.
        """
        typer.echo(self._writer.begin(), nl=False)
        # Where the answers scroll over the same screen they are progress enough.
        if sys.stderr.isatty() and not sys.stdout.isatty() and total != 1:
            with _bar() as progress:
                self._bar = progress, progress.add_task("", total=total)
                yield
            self._bar = None
        else:
            yield
        typer.echo(self._writer.end(), nl=False)

    def show(self, finding: Finding, diff: str | None = None) -> None:
        """Show one photo."""
        typer.echo(self._writer.photo(Shown(finding, diff)), nl=False)
        if finding.photo.error is not None:
            self.failed += 1
            if self._errors:
                self.note(f"{finding.photo.path}: {finding.photo.error}")
        elif finding.explanation is not None and finding.explanation.contradiction is not None:
            self.note(f"{finding.photo.path}: {finding.explanation.contradiction}: not tagged")
        if self._also is not None and (sentence := self._also(finding)) is not None:
            self.note(sentence)
        self.advance()

    def fail(self, text: str) -> None:
        """Tell something that could not be read and is no photo, such as a folder."""
        self.failed += 1
        self.note(text)

    def advance(self) -> None:
        """Count one photo more on the bar."""
        if self._bar is not None:
            progress, task = self._bar
            progress.advance(task)

    def note(self, text: str) -> None:
        """Say something that is no answer."""
        if self._bar is not None:
            self._bar[0].console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            typer.echo(text, err=True)


@contextmanager
def photo_bar() -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show a bar of photos where one is seen; gives what moves it (done, in all) and what says something else."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None, lambda text: typer.echo(text, err=True)
        return
    with _bar() as progress:
        task = progress.add_task("", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        def note(text: str) -> None:
            progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

        yield advance, note


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Photos a second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.0f} photos/s")

    # Standard output is left as it is: the answers go there, maybe into a file.
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
