"""`landmarks confirm`."""

from __future__ import annotations

from typing import Annotated

from landmarks.cli.declare import Argument, Jsonl, Ledger, State, TaggedPhoto
from landmarks.cli.verdicts import open_library, show_outcomes


def confirm(
    photo: TaggedPhoto,
    tag: Annotated[str, Argument("Name of a tag that the photo has or had.")],
    jsonl: Jsonl = False,
    ledger: Ledger = None,
    state: State = None,
) -> None:
    """Keep a tag on a photo, whatever later models predict; a rejected tag is restored."""
    with open_library(photo, ledger, state, must_exist=False) as library:
        show_outcomes(photo, library.confirm(photo, tag), jsonl=jsonl)
