"""Prints JSON on standard output, one object per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click


def print_json(row: Mapping[str, Any]) -> None:
    """Print one object as one line; `docs/schemas` has the schema of each command."""
    click.echo(json.dumps(row, ensure_ascii=False))
