"""Shows findings: answers on standard output, everything else on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from landmarks.cli.output import print_text
from landmarks.cli.progress import RunProgress
from landmarks.cli.summary import Summary
from landmarks.tagging.writers import Writer

if TYPE_CHECKING:
    from landmarks.tagging.tagger import Finding

Also = Callable[["Finding"], str | None]
"""Called with each finding; a sentence that it returns is reported on standard error."""


class Display:
    """Shows findings as they come.

    Args:
        writer: The format.
        summary: Counts the outcomes.
        errors: Report unreadable photos on standard error, because the format leaves them out.
        only_tagged: Leave photos without a tag out of the answers.
        also: Called with each finding.
    """

    def __init__(
        self,
        writer: Writer,
        summary: Summary,
        *,
        errors: bool,
        only_tagged: bool = False,
        also: Also | None = None,
    ) -> None:
        self._writer = writer
        self._errors = errors
        self._only_tagged = only_tagged
        self._also = also
        self._progress = RunProgress()
        self.summary = summary

    @contextmanager
    def over(self, total: int | None) -> Iterator[None]:
        """Show a whole document, with progress during it and the closing line after it; after Ctrl-C it ends, too.

        Args:
            total: Number of photos, or None if it is not known.
        """
        click.echo(self._writer.begin(), nl=False)
        shown = RunProgress(self.summary.verbosity, unit="photos", answers=True, total=total)
        with self.summary.reported(), shown as self._progress:
            try:
                yield
            except BrokenPipeError:
                raise
            except BaseException:
                click.echo(self._writer.end(), nl=False)
                raise
            click.echo(self._writer.end(), nl=False)

    def nothing(self) -> None:
        """Show a document without photos, as none of the paths could be reached, which was reported."""
        click.echo(self._writer.begin() + self._writer.end(), nl=False)

    def show(self, finding: Finding, diff: str | None = None, failed: str = "unreadable") -> None:
        """Show one photo; of one with an error, `failed` is the outcome that is counted."""
        photo, explanation = finding.photo, finding.explanation
        if photo.tags or photo.error is not None or not self._only_tagged:
            print_text(self._writer.photo(finding, diff), nl=False)
        if photo.error is not None:
            self.summary.counts[failed] += 1
            if self._errors:
                self._progress.note(f"{photo.path}: {photo.error}")
        else:
            self.summary.counts["tagged" if photo.tags else "unknown"] += 1
            if explanation is not None and explanation.contradiction is not None:
                self._progress.note(f"{photo.path}: {explanation.contradiction}: not tagged")
        if self._also is not None and (sentence := self._also(finding)) is not None:
            self._progress.note(sentence)
        self._progress.advance()

    def note(self, text: str) -> None:
        """Report something that is not an answer."""
        self._progress.note(text)

    def advance(self) -> None:
        """Count one more photo without an answer."""
        self._progress.advance()
