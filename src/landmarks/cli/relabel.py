"""`landmarks relabel`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Ledger, Option, State, Verbosity
from landmarks.cli.output import print_text
from landmarks.cli.verdicts import notes_on, open_library, places_to_open
from landmarks.errors import counted
from landmarks.geo import Language
from landmarks.library.roots import absolute

_WORDS = {
    "written": "relabelled",
    "planned": "would be relabelled",
    "unchanged": "unchanged",
    "changed": "changed or moved since, left to the next run of landmarks tag",
    "quarantined": "not written",
}


def relabel(
    language: Annotated[Language, Option("Language of the names of landmarks and countries.")],
    path: Annotated[Path, Argument("Library, a folder in it, or one photo.")] = Path(),
    dry_run: Annotated[bool, Option("Show what would be written; change nothing.")] = False,
    ledger: Ledger = None,
    state: State = None,
    *,
    verbosity: Verbosity,
) -> int:
    """Rewrite the tags that landmarks tag --write wrote in another language, without recognising anything anew.

    Landmarks are found by their Wikidata ID or key of the gazetteer; names from your own table of places stay.
    Verdicts stand, and landmarks undo takes the run back. The exit status is 2 if a photo was left
    alone, as it has changed since or could not be written.
    """
    from landmarks.library.languages.relabel import relabel as relabel_library
    from landmarks.tagging.writers import describe_with_source

    counts: Counter[str] = Counter()
    for place in places_to_open(path, ledger, state):
        with open_library(place, ledger, state, looking=dry_run) as library:
            below = None if place.resolve() == library.root.resolve() else place
            for outcome in relabel_library(library, language, below=below, dry_run=dry_run):
                counts[outcome.status] += 1
                photo = _as_given(outcome.path, place)
                for note in notes_on(photo, outcome):
                    print_text(note, err=True)
                if outcome.status in {"written", "planned"}:
                    print_text(f"{photo}: {'; '.join(map(describe_with_source, outcome.tags))}")
                    if dry_run and outcome.diff is not None:
                        print_text("\n".join(f"  {line}" for line in outcome.diff.splitlines()))
                elif outcome.status in {"quarantined", "changed"}:
                    print_text(f"{photo}: {outcome.reason or _WORDS['changed']}", err=True)
    if not verbosity.quiet:
        total = sum(counts.values())
        ends = ", ".join(f"{counts[status]} {words}" for status, words in _WORDS.items() if counts[status])
        photos = f"{counted(total, 'photo')} with recorded tags"
        click.echo(f"{photos}: {ends}" if ends else photos, err=True)
    return 2 if counts["quarantined"] or counts["changed"] else 0


def _as_given(photo: Path, path: Path) -> Path:
    """Return the path of a photo below the folder that the user named, as they named it."""
    folder = path if path.is_dir() else path.parent
    whole = absolute(folder)
    return folder / photo.relative_to(whole) if photo.is_relative_to(whole) else photo
