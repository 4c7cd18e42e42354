"""Prints lines with names of files, and JSON, one object per line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")


def print_text(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text that contains names; on a terminal, which would obey them, control characters are escaped."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        text = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    click.echo(text, err=err, nl=nl)


def warn_of_update(*folders: Path) -> None:
    """Report what bundled models were taught before an update and do not know any more."""
    from landmarks.fewshot.learned import lost_in_update
    from landmarks.model.folder import read_info

    for folder in folders:
        if sentence := lost_in_update(folder, read_info(folder)):
            print_text(sentence, err=True)


def print_json(row: Mapping[str, Any]) -> None:
    """Print one object as one line; `docs/schemas` has the schema of each command."""
    click.echo(json.dumps(row, ensure_ascii=False))
