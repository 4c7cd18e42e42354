"""`landmarks reject`."""

from __future__ import annotations

from typing import Annotated

from landmarks.cli.declare import Argument, Jsonl, Ledger, State, TaggedPhoto
from landmarks.cli.verdicts import open_library, show_outcomes


def reject(
    photo: TaggedPhoto,
    tag: Annotated[str, Argument("Name of the tag, or of its city or country.")],
    jsonl: Jsonl = False,
    ledger: Ledger = None,
    state: State = None,
) -> None:
    """Remove a tag from a photo for good; not even a newer model brings it back."""
    with open_library(photo, ledger, state, must_exist=False) as library:
        show_outcomes(photo, library.reject(photo, tag), jsonl=jsonl)
