"""The closing line of a command on standard error, with the outcomes of the photos; printed after Ctrl-C too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from landmarks.cli.declare import Verbosity
from landmarks.cli.output import print_text
from landmarks.errors import counted
from landmarks.files.walker import Skipped, count_skipped

_FAILED = ("unreadable", "unwritable", "changed meanwhile")
_ENDS = ("tagged", "unknown", "classified", "new or changed", "unchanged", *_FAILED)
"""Outcomes of a photo, in the order in which they are reported."""


@dataclass
class Summary:
    """Counts the outcomes of photos.

    Attributes:
        verbosity: Quiet shows no closing line; verbose lists each skipped file.
        counts: Number of photos by outcome, one of `_ENDS`.
        skipped: Number of skipped files and folders, by reason.
        notes: Further counts to report, such as photos written.
        problems: Whether a path was missing or unreadable, so that the exit status is 2.
    """

    verbosity: Verbosity
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: bool = False

    @property
    def status(self) -> int:
        """The exit status: 2 if a path was missing, or a photo could not be read or written."""
        return 2 if self.problems or any(self.counts[end] for end in _FAILED) else 0

    def skip(self, left_out: Skipped) -> None:
        """Count a file or folder skipped by the folder walk; report it if it is missing or unreadable."""
        self.skipped[left_out.reason] += 1
        wrong = left_out.reason in {"missing", "unreadable"}
        self.problems |= wrong
        if wrong or self.verbosity.verbose:
            print_text(f"{left_out.path}: {'' if wrong else 'skipped: '}{left_out.message}", err=True)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Print the closing line however the block ends, unless the reader of the answers has closed the pipe."""
        started = time.monotonic()
        wanted = not self.verbosity.quiet
        try:
            yield
        except BrokenPipeError:
            wanted = False
            raise
        finally:
            if wanted:
                click.echo(self.line(time.monotonic() - started), err=True)

    def skipped_line(self) -> str:
        """Return the number of skipped files and folders, by reason."""
        return f"skipped {sum(self.skipped.values())} ({count_skipped(self.skipped)})"

    def line(self, seconds: float) -> str:
        """Return the closing line."""
        photos = sum(self.counts.values())
        ends = ", ".join(f"{self.counts[end]} {end}" for end in _ENDS if self.counts[end])
        parts = [counted(photos, "photo") + (f": {ends}" if ends else "")]
        parts += [", ".join(f"{count} {note}" for note, count in self.notes.items())] if self.notes else []
        if self.skipped:
            parts.append(self.skipped_line())
        rate = f", {photos / seconds:.3g} photos/s" if photos > 1 and seconds > 0 else ""
        return f"{'; '.join(parts)}; {seconds:.1f} s{rate}"
