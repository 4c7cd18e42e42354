"""`landmarks confirm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def confirm(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    tag: Annotated[str, typer.Argument(help="Name of a tag that the photo has or had.")],
    ledger: Annotated[Path | None, typer.Option(help="The ledger, where it is not beside the photos.")] = None,
) -> None:
    """Keep a tag on a photo whatever later models say; one that was rejected comes back."""
    from landmarks.cli.verdicts import open_library, show_outcomes

    with open_library(photo, ledger) as library:
        show_outcomes(library.confirm(photo, tag))
