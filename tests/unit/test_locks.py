"""A lock between processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import python

from landmarks.errors import StorageError
from landmarks.files.locks import locked

HOLD = """
import sys
from pathlib import Path
from landmarks.files.locks import locked
with locked(Path(sys.argv[1]), wait=float(sys.argv[2])):
    print("held")
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    with locked(path):
        other = python(HOLD, path, 0.2)
        assert other.status != 0
        assert "another process holds this lock" in other.err
    assert python(HOLD, path, 0).out == "held\n"


def test_a_dead_holder_lets_go(tmp_path: Path) -> None:
    died = python(HOLD.replace('print("held")', "import os; os._exit(9)"), tmp_path / "lock", 0)
    assert died.status == 9
    with locked(tmp_path / "lock"):
        pass


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match="no permission to write here"), locked(tmp_path / "lock"):
        pass
