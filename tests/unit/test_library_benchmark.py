"""The benchmark of a large library runs at a small size, all three parts of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import library


def test_every_part_runs_at_a_small_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("--photos", "24", "--kills", "1", "--timed", "4", "--rounds", "1", "--seeds", "1")
    assert library.main([*sizes, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "library.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    found = {row[0]: row[1:] for row in rows}
    assert found["tagging"][2:5] == ["48", "0", "24"], "files compared, different, changes in place"
    assert found["undoing"][2:5] == ["27", "0", "0"]
    assert len(found["this version"]) == 3
    assert found["1"][:2] == ["12", "0"], "seeds, the first, and how many failed"


def test_differences_are_counted(tmp_path: Path) -> None:
    library.make(tmp_path, 3)
    before = library.tree(tmp_path)
    assert library.different(before, before) == 0
    (tmp_path / "000" / "000001.jpg").write_bytes(b"other")
    (tmp_path / "000" / ".left-over").touch()
    assert library.different(library.tree(tmp_path), before) == 2
