"""`landmarks forget`."""

from __future__ import annotations

from typing import Annotated

import click

from landmarks.cli.declare import Argument, Model


def forget(
    name: Annotated[str, Argument("Name of a learned landmark.")],
    model: Model = "world",
) -> None:
    """Remove a landmark that landmarks learn taught a model."""
    from landmarks.fewshot.enrollment import forget as forget_landmark
    from landmarks.model.folder import find_model

    forget_landmark(find_model(model), name)
    click.echo(f"{name}: forgotten")
