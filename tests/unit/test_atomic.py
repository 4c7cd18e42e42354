"""What a killed process leaves half-written is known by its name, and is gone when its run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from landmarks.errors import RunError
from landmarks.files.atomic import atomic_path, is_temporary
from landmarks.training.config.settings import default_settings
from landmarks.training.runs.folder import create_run, locked_run


@pytest.mark.parametrize("name", ["last.ckpt", "metrics.csv", "x" * 80 + ".json", "lock", "été.v2.npz"])
def test_a_temporary_file_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert is_temporary(temporary)
        assert is_temporary(temporary, tmp_path / name)
        assert not is_temporary(temporary, tmp_path / f"other{name}")
    assert not is_temporary(tmp_path / name)


@pytest.mark.parametrize("name", [".hidden", ".profile-settings.json", "photo-0123abcd.jpg", ".nfs0123abcd"])
def test_nothing_else_is_taken_for_one(name: str) -> None:
    assert not is_temporary(Path(name))


def test_a_run_that_goes_on_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", default_settings(tmp_path))
    left = [run.root / ".last-0123abcd.ckpt", run.root / "head" / ".weights-89abcdef.safetensors"]
    kept = [run.root / ".gitignore", run.root / "notes-0123abcd.txt"]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    with locked_run(run):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def test_a_folder_with_nothing_but_what_a_killed_process_left_is_free(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / ".settings-0123abcd.json").write_text("{")
    create_run(root, default_settings(tmp_path))
    with pytest.raises(RunError, match="this run folder exists"):
        create_run(root, default_settings(tmp_path))
