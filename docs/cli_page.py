"""Writes docs/cli.md from the commands themselves: `python docs/cli_page.py`. A test asks that it is current."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

from landmarks.cli import main as landmarks
from landmarks.cli.app import COMMANDS

TARGET = Path(__file__).parent / "cli.md"
HEAD = """# Command line

<!-- Made by docs/cli_page.py from the commands: change them, not this page. -->

Answers go to standard output, progress and complaints to standard error. The exit status is 0 where all went well,
2 where you can mend it (a wrong flag, a photo that cannot be read), 1 where the work failed, 130 after Ctrl-C.
"""


def help_of(*command: str) -> str:
    """Return what a command says of itself, in lines of 80 characters whatever the terminal."""
    os.environ["COLUMNS"] = "80"
    text = io.StringIO()
    with redirect_stdout(text):
        landmarks([*command, "--help"])
    return text.getvalue().strip()


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, f"```text\n{help_of()}\n```\n"]
    parts += [f"## landmarks {name}\n\n```text\n{help_of(name)}\n```\n" for name in COMMANDS]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
