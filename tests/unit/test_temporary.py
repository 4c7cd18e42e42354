"""Temporary folders, and what killed processes leave of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from landmarks.files.temporary import TemporaryFolder

OLD = (0, 0)


@pytest.mark.parametrize("given", [True, False])
def test_only_what_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    within = tmp_path if given else None
    monkeypatch.setattr("tempfile.tempdir", None if given else str(tmp_path))
    with TemporaryFolder("kind-", within) as running:
        (running.path / "photo").write_bytes(b"private")
        killed, new, other = tmp_path / "kind-killed", tmp_path / "kind-new", tmp_path / "other-kind-killed"
        for left in (killed, new, other):
            shutil.copytree(running.path, left)  # with the file of its lock, which nobody holds
        link = tmp_path / "kind-link"
        link.symlink_to(other)
        own = tmp_path / "kind-of-photos"
        own.mkdir()
        for path in (running.path, killed, other, link, own):
            os.utime(path, OLD, follow_symlinks=False)
        with TemporaryFolder("kind-", within) as second:
            assert set(tmp_path.iterdir()) == {running.path, new, other, link, own, second.path}
        assert not second.path.exists()
        assert (running.path / "photo").read_bytes() == b"private"
        assert (other / "photo").exists()


def test_a_folder_goes_with_what_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = TemporaryFolder("kind-")
    assert held.path.is_dir()
    del held
    assert not list(tmp_path.iterdir())
