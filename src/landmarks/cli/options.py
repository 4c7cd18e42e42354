"""Options that several commands share, so that they are called and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="Bundled model, or a folder made by landmarks export.")]
MinConfidence = Annotated[
    float | None, typer.Option(help="Probability that a tag needs. [default: that of the model]")
]
Places = Annotated[
    Path | None, typer.Option(help="Your own places, a CSV file with at least the columns key and name.")
]
Position = Annotated[bool, typer.Option("--position/--no-position", help="Compare with where the camera stood.")]
