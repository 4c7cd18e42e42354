"""`landmarks reject`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reject(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    tag: Annotated[str, typer.Argument(help="Name of the tag, or of its city or country.")],
    ledger: Annotated[Path | None, typer.Option(help="The ledger, where it is not beside the photos.")] = None,
) -> None:
    """Take a tag off a photo for good: it never comes back, also with a newer model."""
    from landmarks.cli.verdicts import open_library, show_outcomes

    with open_library(photo, ledger) as library:
        show_outcomes(library.reject(photo, tag))
