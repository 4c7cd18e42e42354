"""Writes docs/cli.md from the commands themselves: `python docs/cli_page.py`. A test checks that it is current."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

from landmarks.cli import main as landmarks
from landmarks.cli.app import COMMANDS
from landmarks.cli.config import SHARED

TARGET = Path(__file__).parent / "cli.md"
SCHEMAS = Path(__file__).parent / "schemas"
HEAD = """# Command line

<!-- Made by docs/cli_page.py from the commands: change them, not this page. -->

Answers go to standard output; progress, the closing line and errors go to standard error. A progress bar is
shown only on a terminal; in a file or pipe there is one line of progress every ten seconds. The closing line
counts the photos that were tagged, unknown, unreadable and skipped (with the reason), and reports seconds and
photos/s; it is printed after Ctrl-C too. `-q` shows only errors, `-v` lists each skipped file.

## Exit status

| status | meaning |
|---|---|
| 0 | success; photos without a tag are not an error |
| 1 | the work failed: disk full, training diverged, the reader of a pipe closed it |
| 2 | something you can correct: a wrong option, a missing or unreadable photo. All other photos were processed |
| 130 | stopped by Ctrl-C; what was done before is kept |

## Which photos

`tag`, `predict` and `learn` take photos and folders. `-` reads a list of paths from standard input,
`--from-file` from a file; `-0` means that paths end with a null byte:

```bash
find ~/Pictures -newer last-run -name '*.jpg' -print0 | landmarks tag -0 - --jsonl
```

Hidden files, system folders, videos, sidecars and other files that are not photos are skipped (see
[Which files are photos](tag.md#which-files-are-photos)), and anything that matches `--exclude GLOB` or a pattern
in a `.landmarksignore` file (one per line). A missing path is reported and does not stop the others.

## Configuration file and environment

Any option can be set in `landmarks.toml` in the working folder, or for all folders in
`~/.config/landmarks/landmarks.toml` (`$XDG_CONFIG_HOME`), with one section per command:

```toml
model = "models/mine"       # for all commands that have the option

[tag]
min-confidence = 0.7
exclude = ["*.png", "screenshots/"]

[serve]
port = 9000
```

These may be set above the sections: SHARED. An unknown section or key, or an invalid value, is an error that names
file and key. In the environment, `LANDMARKS_TAG_MIN_CONFIDENCE=0.7` sets an option of one command and
`LANDMARKS_MODEL=models/mine` one of the shared options for all commands. Precedence: the command line, the
environment, the file in the working folder, the user's file, the default.

## JSON

`--jsonl` prints one JSON object per line. JSON Schemas: SCHEMAS.

## Shell completion

`landmarks completion bash --install` (or `zsh`, `fish`) installs it for your user; without `--install` it is
printed.
"""


def help_of(*command: str) -> str:
    """Return the help of a command, in lines of 100 characters whatever the terminal."""
    os.environ["COLUMNS"] = "100"
    text = io.StringIO()
    with redirect_stdout(text):
        landmarks([*command, "--help"])
    return text.getvalue().strip()


def page() -> str:
    """Return the whole page."""
    schemas = ", ".join(f"[{path.stem}](schemas/{path.name})" for path in sorted(SCHEMAS.glob("*.json")))
    head = HEAD.replace("SHARED", ", ".join(f"`{key}`" for key in SHARED)).replace("SCHEMAS", schemas)
    parts = [head, f"## landmarks\n\n```text\n{help_of()}\n```\n"]
    for name in COMMANDS:
        parts.append(f"## landmarks {name}\n\n```text\n{help_of(name)}\n```\n")
        inner = getattr(import_module(f"landmarks.cli.{name}"), "COMMANDS", {})
        parts += [f"### landmarks {name} {one}\n\n```text\n{help_of(name, one)}\n```\n" for one in inner]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
