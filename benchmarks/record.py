"""Shared by all benchmarks: a description of the machine, and a results file with date, command and table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


INT8_FLAGS = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "asimddp": "dot products of bytes"}
"""Instructions that make int8 networks about twice as fast as those of a processor without."""


def machine(*packages: str) -> str:
    """The processor, its instructions for int8, the cores and the versions of packages."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.partition(":") for line in info.read_text().splitlines()]
        told = {key.strip(): value.strip() for key, _, value in lines}
        flags = set((told.get("flags") or told.get("Features") or "").split())
        fast = [name for flag, name in INT8_FLAGS.items() if flag in flags]
        model = f"{told.get('model name', model)} ({fast[0] if fast else 'no fast int8'})"
    versions = [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in packages)]
    return f"{model}, {os.cpu_count()} cores; {', '.join(versions)}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def record(
    name: str,
    title: str,
    command: str,
    body: str,
    packages: Sequence[str] = (),
    *,
    folders: Sequence[Path] = (RESULTS,),
) -> None:
    """Print a result and write it to NAME.md in each folder, by default benchmarks/results."""
    today = datetime.now(UTC).date().isoformat()
    text = f"# {title}\n\n`{command}`: {today}, {machine(*packages)}.\n\n{body}\n"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
