"""Run the command line as a user would: in this process, or in a separate one if the process matters."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALL = "import sys; from landmarks.cli import main; sys.exit(main(sys.argv[1:]))"
"""What the installed command does, for `start(..., before=...)` to put lines in front of."""


@dataclass(frozen=True)
class Outcome:
    """Output and exit status of a command."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The sentence of an error, without the program's name."""
        return self.err.strip().splitlines()[-1].removeprefix("landmarks: ")

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """What `--jsonl` prints of each photo, by its name without the suffix."""
        return {Path(row["path"]).stem: row for row in map(json.loads, self.out.splitlines())}


def landmarks(*arguments: object) -> Outcome:
    """Run a command in this process."""
    from landmarks.cli import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Outcome(status, out.getvalue(), err.getvalue())


def start(*arguments: object, before: str = "pass") -> Outcome:
    """Run a command in a separate process, after the lines `before`."""
    return python(f"{before}\n{CALL}", *arguments)


def python(code: str, *arguments: object) -> Outcome:
    """Run Python code in a separate process."""
    # Without compiled modules every start would compile PyTorch anew.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, "-c", code, *map(os.fsencode, map(str, arguments))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    return Outcome(done.returncode, done.stdout, done.stderr)
