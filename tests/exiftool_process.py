"""ExifTool as another program that reads and writes photos; one process, as each start of Perl takes 0.2 s."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

READY = "{ready}\n"

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="ExifTool is not installed (Debian: libimage-exiftool-perl)"
)


def exiftool_says(photo: Path, *options: str) -> dict[str, Any]:
    """Return all metadata of a photo, by group and name; numbers are not turned into words."""
    (said,) = json.loads(_run("-j", "-struct", "-n", "-G1", *options, str(photo)))
    return dict(said)


def exiftool_writes(photo: Path, *options: str) -> None:
    """Change a photo."""
    said = _run("-overwrite_original", "-n", *options, str(photo))
    assert "1 image files" in said, said


def _run(*arguments: str) -> str:
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(f"{argument}\n" for argument in (*arguments, "-execute")))
    process.stdin.flush()
    lines = []
    while (line := process.stdout.readline()) != READY:
        assert line, "ExifTool ended"
        lines.append(line)
    return "".join(lines)


@functools.cache
def _process() -> subprocess.Popen[str]:
    command = ["exiftool", "-stay_open", "True", "-@", "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    atexit.register(process.kill)
    return process
