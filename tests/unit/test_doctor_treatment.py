"""Quarantine and back: byte for byte, whatever the name, and with nothing lost when interrupted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from commands import python

from landmarks.errors import DataError, SettingsError, StorageError
from landmarks.training.doctor.treatment import UNDO_FILE, default_quarantine, quarantine, restore

NAMES = ("a b.jpg", "Köln.jpg", "🗼.jpg", os.fsdecode(b"caf\xe9.jpg"), "new\nline.jpg")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "my data"
    for split in ("train", "test"):
        (folder / split / "00.Eiffel Tower").mkdir(parents=True)
        for number, name in enumerate(NAMES):
            path = folder / split / "00.Eiffel Tower" / name
            path.write_bytes(f"{split} {number}".encode() * 100)
            os.utime(path, ns=(10**18 + number, 10**18 + number))
    return folder


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        os.path.relpath(path, folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("*") if path.is_file())


def test_the_round_trip_changes_no_byte_and_leaves_nothing(data: Path) -> None:
    before, place = content(data), default_quarantine(data)
    outcomes = quarantine(pictures(data), data, place)
    assert [one.status for one in outcomes] == ["moved"] * 10
    assert content(data) == {}
    moved = content(place)
    moved.pop(UNDO_FILE)
    assert moved == before
    assert [one.status for one in restore(data, place)] == ["restored"] * 10
    assert content(data) == before
    assert not place.exists()


def test_a_second_treatment_adds_to_the_first(data: Path) -> None:
    before, place = content(data), default_quarantine(data)
    first, *rest = pictures(data)
    quarantine([first, first], data, place)
    first.write_bytes(b"another picture of this name")
    assert [one.status for one in quarantine([first, *rest], data, place)] == ["moved"] * 10
    assert (place / first.relative_to(data)).with_name(f"{first.stem}~2.jpg").is_file()
    statuses = [one.status for one in restore(data, place)]
    # Both pictures of the first name come from one place: the older one goes back, the other stays.
    assert statuses.count("refused") == 1
    assert content(data) == before
    first.unlink()
    assert [one.status for one in restore(data, place)] == ["restored"]
    assert first.read_bytes() == b"another picture of this name"


def test_nothing_is_overwritten_when_pictures_come_back(data: Path) -> None:
    place, first = default_quarantine(data), pictures(data)[0]
    quarantine([first], data, place)
    first.write_bytes(b"new")
    [outcome] = restore(data, place)
    assert outcome.status == "refused"
    assert "overwritten" in outcome.reason
    assert first.read_bytes() == b"new"
    assert (place / first.relative_to(data)).is_file()


@pytest.mark.parametrize("done", [0, 3, 9])
def test_a_killed_treatment_loses_nothing(data: Path, done: int) -> None:
    before, place = content(data), default_quarantine(data)
    code = f"""
import os, signal, sys
from pathlib import Path
from landmarks.training.doctor import treatment
rename, count = Path.rename, 0
def killed(self, target):
    global count
    if count == {done}:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return rename(self, target)
Path.rename = killed
data = Path(sys.argv[1])
treatment.quarantine(sorted(p for p in data.rglob("*") if p.is_file()), data, treatment.default_quarantine(data))
"""
    assert python(code, data).status == -9
    assert len(content(data)) == 10 - done
    assert json.loads((place / UNDO_FILE).read_text())["moves"]
    assert len(restore(data, place)) == done
    assert content(data) == before
    assert not place.exists()


def test_a_killed_restoration_goes_on_where_it_stopped(data: Path) -> None:
    before, place = content(data), default_quarantine(data)
    quarantine(pictures(data), data, place)
    code = """
import os, signal, sys
from pathlib import Path
from landmarks.training.doctor import treatment
rename, count = Path.rename, 0
def killed(self, target):
    global count
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return rename(self, target)
Path.rename = killed
data = Path(sys.argv[1])
treatment.restore(data, treatment.default_quarantine(data))
"""
    assert python(code, data).status == -9
    assert len(restore(data, place)) == 6
    assert content(data) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_class_folder_stops_no_other(data: Path) -> None:
    locked = data / "train" / "00.Eiffel Tower"
    locked.chmod(0o555)
    try:
        outcomes = quarantine(pictures(data), data, default_quarantine(data))
    finally:
        locked.chmod(0o755)
    assert {one.status for one in outcomes if one.path.parent == locked} == {"refused"}
    assert {one.status for one in outcomes if one.path.parent != locked} == {"moved"}


def test_a_move_that_fails_stops_no_other(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, place, rename = content(data), default_quarantine(data), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if "train" in self.parts:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    outcomes = quarantine(pictures(data), data, place)
    assert [one.status for one in outcomes].count("refused") == 5
    assert {one.reason for one in outcomes} == {"", "permission denied"}
    assert len(restore(data, place)) == 5
    assert content(data) == before


def test_the_quarantine_cannot_be_a_class(data: Path) -> None:
    for place in (data, data / "train" / "aside", data / "aside"):
        with pytest.raises(SettingsError, match="`quarantine`"):
            quarantine(pictures(data), data, place)
    assert quarantine(pictures(data), data, data / ".quarantine")[0].status == "moved"


def test_what_cannot_be_written_or_read_is_said(data: Path, tmp_path: Path) -> None:
    before = content(data)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        quarantine(pictures(data), data, tmp_path / "file" / "below")
    assert content(data) == before
    with pytest.raises(DataError, match="nothing to put back"):
        restore(data, tmp_path / "nowhere")
    place = default_quarantine(data)
    quarantine(pictures(data)[:1], data, place)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    with pytest.raises(DataError, match="the quarantine of"):
        restore(other, place)
    (place / UNDO_FILE).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        restore(data, place)


def test_nothing_to_move_leaves_no_folder(data: Path) -> None:
    assert quarantine([], data, default_quarantine(data)) == []
    assert not default_quarantine(data).exists()
