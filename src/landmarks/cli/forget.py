"""`landmarks forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from landmarks.cli import options


def forget(
    name: Annotated[str, typer.Argument(help="Name of a landmark that was learnt.")],
    model: options.Model = "world34",
) -> None:
    """Take a landmark away that landmarks learn has taught a model."""
    from landmarks.fewshot.enrollment import forget as forget_landmark
    from landmarks.model.folder import find_model

    forget_landmark(find_model(model), name)
    typer.echo(f"{name}: forgotten")
