"""What goes wrong while photos are tagged and written: a sentence, a status, and nothing lost."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest
from commands import CALL, Outcome, landmarks, start
from PIL import Image
from tiny_model import COLOURS, add_reference, calibrated, camera_exif, make_model, save_colour

from landmarks.cli import main
from landmarks.metadata.xmp import XmpPacket

TOWER = COLOURS["07.Eiffel_Tower"]
NAMES = [
    "a b  c.jpg",
    "été à Zürich.jpg",
    "дворец.jpg",
    "東京タワー.jpg",
    "\U0001f5fc \U0001f469\u200d\U0001f3a8.jpg",
]
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can mount and change users")


@pytest.fixture(scope="module")
def model() -> Iterator[Path]:
    # Others than this user read it too, and pytest's own folders are for this user alone.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield make_model(folder / "colours", calibration=calibrated())
    shutil.rmtree(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but the ledger's."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".landmarks" not in path.parts)
    return {path: path.read_bytes() for path in found}


def write(*arguments: object) -> Outcome:
    return landmarks("tag", *arguments, "--write")


def test_an_empty_folder_is_left_as_empty_as_it_was(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    done = write(folder, "--model", model)
    assert (done.status, done.out) == (2, "")
    assert done.complaint == f"{folder}: there are no photos in it: give photos or a folder of them"
    assert list(folder.iterdir()) == []


def test_broken_pictures_and_200_megapixels_stop_nothing(model: Path, tmp_path: Path) -> None:
    whole = save_colour(tmp_path / "whole.jpg", TOWER)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    before = contents(tmp_path)
    done = write(tmp_path, "--model", model)
    assert done.status == 2
    for name, reason in {
        "cut.jpg": "damaged, cut short or of a rare kind",
        "text.png": "not a picture of an accepted format",
        "empty.jpg": "the file is empty",
        "huge.png": "20000 x 10000 pixels, which take 1525.9 MiB to decode, more than the limit of 915.5 MiB",
    }.items():
        assert any(f"{tmp_path / name}: " in line and reason in line for line in done.err.splitlines()), name
    assert "5 photos: 1 tagged, 4 unreadable; 4 not written, 1 written" in done.err
    assert set(contents(tmp_path)) - set(before) == {tmp_path / "whole.jpg.xmp"}
    assert landmarks("undo", tmp_path).status == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("how", [(), ("--dry-run",), ("--write",), ("--explain", "--heatmap", "why")])
def test_a_path_that_cannot_be_reached_stops_no_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    photo, far = save_colour(tmp_path / "a" / "b.jpg", TOWER), tmp_path / ("x" * 300) / "c.jpg"
    done = landmarks("tag", far, photo, "--model", model, *how)
    assert done.status == 2
    assert f"{far}: cannot be reached: check the spelling and the permissions" in done.err
    assert "Eiffel Tower" in done.out
    assert photo.with_name("b.jpg.xmp").exists() == (how == ("--write",))
    done = landmarks("tag", far, "--model", model, *how)
    assert (done.status, done.out) == (2, "")
    for command in (("undo", far), ("reject", far, "Eiffel Tower")):
        done = landmarks(*command)
        assert (done.status, done.complaint) == (
            2,
            f"{far}: cannot be reached: check the spelling and the permissions",
        )


def test_without_a_home_folder_and_with_closed_streams(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "a.jpg", TOWER)
    shell = f'exec "{sys.executable}" -c "import pwd; pwd.getpwuid = {{}}.__getitem__; {CALL}" "$@" 0<&- 2>&-'
    homeless = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG")}
    for command in (
        ["tag", photo, "--model", model, "--write"],
        ["undo", tmp_path],
    ):
        words = ["sh", "-c", shell, "sh", *map(str, command)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=homeless)
        assert done.returncode == 0, command
        assert ("Eiffel Tower" in done.stdout) == (command[0] == "tag")
    done = subprocess.run(["sh", "-c", shell, "sh", "tag", "-"], check=False, env=homeless)
    assert done.returncode == 2, "no photos given"


def test_names_in_any_script_and_names_that_are_no_text(model: Path, tmp_path: Path) -> None:
    for name in NAMES:
        save_colour(tmp_path / name, TOWER)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.jpg"))
    save_colour(odd, TOWER)
    before = contents(tmp_path)
    done = start("tag", tmp_path, "--model", model, "--write")
    assert (done.status, len(done.out.splitlines())) == (0, len(NAMES) + 1)
    for photo in [*(tmp_path / name for name in NAMES), odd]:
        assert "Eiffel Tower" in XmpPacket(photo.with_name(photo.name + ".xmp").read_bytes()).entries().keywords
    assert landmarks("reject", odd, "Eiffel Tower").status == 0
    assert landmarks("undo", tmp_path).status == 0
    assert contents(tmp_path) == before


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_escape_codes_in_names_reach_other_programs_and_no_terminal(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "esc\x1b[31mred.jpg", TOWER)
    for form in ("--csv", "--write"):
        assert f"{photo}" in landmarks("tag", photo, "--model", model, form).out
    assert landmarks("undo", photo, "--dry-run").out == f"planned: {photo}.xmp\n"
    with redirect_stdout(_Terminal()) as shown:
        assert main(["undo", str(photo)]) == 0
    assert shown.getvalue() == f"restored: {tmp_path}/esc\\x1b[31mred.jpg.xmp\n"


def test_a_broken_sidecar_is_named_and_left_alone(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "a.jpg", TOWER)
    save_colour(tmp_path / "b.jpg", TOWER)
    sidecar = photo.with_name("a.jpg.xmp")
    sidecar.write_bytes(b"<x:xmpmeta>my own notes")
    done = write(tmp_path, "--model", model)
    assert done.status == 2
    assert f"{photo}: " in done.err
    assert "left alone" in done.err
    assert sidecar.read_bytes() == b"<x:xmpmeta>my own notes"
    assert (tmp_path / "b.jpg.xmp").exists()


SIGNAL_ITSELF = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
left = [{steps}]
def count(event, arguments):
    if event == "os.rename" and os.fsdecode(arguments[1]).endswith(".xmp"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), {signal})
sys.addaudithook(count)
"""
"""Lines that stop a process when it writes one of its sidecars."""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_stopped_in_the_middle_it_goes_on_and_can_be_undone(
    model: Path, tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "photos"
    for number in range(150):
        save_colour(folder / f"{number:03d}.jpg", TOWER)
    words = ("tag", folder, "--model", model, "--write", "--workers", 2)
    stopped = start(*words, before=SIGNAL_ITSELF.format(steps=50, signal=int(how)))
    if how is signal.SIGINT:
        assert stopped.status == 130
        assert stopped.complaint == "stopped"
    else:
        assert stopped.status == -signal.SIGKILL
    assert 49 <= len(list(folder.glob("[!.]*.xmp"))) < 150
    photos = {path: path.read_bytes() for path in folder.glob("*.jpg")}
    again = write(folder, "--model", model)
    assert again.status == 0
    assert len(list(folder.glob("[!.]*.xmp"))) == 150
    assert landmarks("undo", folder).status == 0
    assert contents(folder) == photos


@as_root
def test_a_full_disk_is_told_and_the_rest_follows_later(model: Path, disk: Path, tmp_path: Path) -> None:
    for number in range(60):
        save_colour(disk / f"{number:02d}.jpg", TOWER)
    before = contents(disk)
    options = ("--model", model, "--ledger", tmp_path / "ledger")
    done = write(disk, *options)
    assert done.status == 1
    assert "the disk is full: free some space and run the command again" in done.complaint
    assert {path: contents(disk)[path] for path in before} == before
    assert not list(disk.glob(".*.xmp")), "no half files"
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    assert write(disk, *options).status == 0
    assert len(contents(disk)) == 120
    assert landmarks("undo", disk, "--ledger", tmp_path / "ledger").status == 0
    assert contents(disk) == before


@as_root
def test_a_read_only_mount_is_told_and_can_still_be_looked_at(model: Path, disk: Path, tmp_path: Path) -> None:
    save_colour(disk / "a.jpg", TOWER)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = write(disk, "--model", model)
    assert done.status == 1
    assert "read-only" in done.complaint
    assert "choose another place" in done.complaint
    assert "Eiffel Tower" in landmarks("tag", disk, "--model", model).out
    assert "+ dc:subject: Eiffel Tower" in landmarks("tag", disk, "--model", model, "--dry-run").out


@as_root
def test_what_only_reads_works_in_a_library_on_a_read_only_mount(model: Path, disk: Path, tmp_path: Path) -> None:
    save_colour(disk / "a.jpg", TOWER)
    own_model = add_reference(Path(shutil.copytree(model, tmp_path / "model")))
    assert write(disk, "--model", model).status == 0
    assert landmarks("confirm", disk / "a.jpg", "Eiffel Tower").status == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert "1 change in place" in landmarks("undo", disk, "--list").out
    assert landmarks("undo", disk, "--dry-run").out == f"planned: {disk / 'a.jpg.xmp'}\n"
    assert "Eiffelturm" in landmarks("relabel", disk, "--language", "de", "--dry-run").out
    assert "learned from 1 photo" in landmarks("learn", "--from-library", disk, "--model", own_model).out
    refused = landmarks("undo", disk)
    assert (refused.status, refused.complaint.rpartition(": ")[2]) == (1, "make it writable")


@pytest.fixture
def nested(model: Path, tmp_path: Path) -> Path:
    """A folder in which a folder, and one in that, were tagged before, each by itself."""
    folder = tmp_path / "all"
    for number, name in enumerate(("a.jpg", "2020/b.jpg", "2020/may/c.jpg", "2021/d.jpg")):
        exif = camera_exif(None, f"2026:05:01 10:0{number}:00")
        save_colour(folder / name, TOWER, (60 + number, 48), exif)
    for name in ("2020/may", "2020"):
        assert write(folder / name, "--model", model).status == 0
    return folder


@pytest.mark.parametrize("state", [(), ("--state", "states")])
def test_libraries_in_one_another_keep_their_records(
    model: Path, nested: Path, monkeypatch: pytest.MonkeyPatch, state: tuple[str, ...]
) -> None:
    monkeypatch.chdir(nested.parent)
    if state:
        for name in ("2020/may", "2020"):
            landmarks("undo", nested / name)
            shutil.rmtree(nested / name / ".landmarks")
            assert write(nested / name, "--model", model, *state).status == 0
    for name in ("2020/b.jpg", "2020/may/c.jpg"):
        assert landmarks("reject", nested / name, "Eiffel Tower", *state).status == 0
    for more in (("--dry-run",), ("--write", "--trips"), ("--write", "--language", "de")):
        done = landmarks("tag", nested, nested / "2020" / "may", "--model", model, *state, *more, "--jsonl")
        assert done.status == 0, done.err
        assert sorted(name for name, row in done.rows.items() if row["tags"]) == ["a", "d"]
        assert "seen before" not in done.err
    for name, kept in (("a", True), ("2020/b", False), ("2020/may/c", False), ("2021/d", True)):
        keywords = XmpPacket((nested / f"{name}.jpg.xmp").read_bytes()).entries().keywords
        assert set(keywords) == ({"Eiffelturm", "Paris", "Frankreich"} if kept else set())
    assert landmarks("confirm", nested / "2020" / "b.jpg", "Eiffel Tower", *state).status == 0
    done = landmarks("undo", nested, *state, "--dry-run")
    assert (done.status, "b.jpg.xmp" in done.out) == (0, True)
    assert landmarks("undo", nested, *state).status == 0
    assert not list(nested.rglob("*.xmp"))


def test_what_is_excluded_above_is_not_written_in_a_library_below(model: Path, nested: Path) -> None:
    for name in ("2020/x.jpg", "2020/may/x.jpg", "2020/may/y.jpg", "2020/june/z.jpg"):
        save_colour(nested / name, TOWER, (90 + len(name), 48))
    (nested / ".landmarksignore").write_text("x.*\n2020/may/y.jpg\n")
    assert write(nested, "--model", model, "--exclude", "2020/june/*").status == 0
    assert sorted(path.name for path in nested.rglob("*.xmp")) == [f"{name}.jpg.xmp" for name in "abcd"]


def test_a_library_that_cannot_be_opened_stops_no_other(model: Path, tmp_path: Path) -> None:
    rome, venice = (save_colour(tmp_path / name / "a.jpg", TOWER) for name in ("rome", "venice"))
    ledger = tmp_path / "rome" / ".landmarks" / "ledger.sqlite3"
    ledger.parent.mkdir()
    ledger.write_text("no database")
    done = write(rome, venice, "--model", model)
    assert (done.status, done.err.count(str(ledger))) == (2, 1)
    assert "1 photo: 1 tagged; 1 written" in done.complaint
    assert list(tmp_path.rglob("*.xmp")) == [Path(f"{venice}.xmp")]
    alone = write(rome, "--model", model)
    assert (alone.status, alone.complaint.startswith(str(ledger))) == (2, True)


def test_what_is_for_one_library_tells_the_others(model: Path, nested: Path, tmp_path: Path) -> None:
    inner = [nested / "2020", nested / "2020" / "may"]
    done = write(nested, "--model", model, "--ledger", tmp_path / "changes.db")
    assert done.status == 0
    assert f"{inner[0]}: a library of its own: landmarks tag {inner[0]} --write tags it" in done.err
    assert "skipped 1 (1 library of its own)" in done.err
    done = landmarks("undo", nested, "--ledger", tmp_path / "changes.db")
    assert (done.status, done.out.count("restored")) == (0, 2)
    assert f"left out, as libraries of their own: {inner[0]}, {inner[1]}: name each by itself" in done.err
    done = landmarks("undo", nested / "2020", "--list")
    assert (done.out.count("run "), f"libraries of their own: {inner[1]}:" in done.err) == (1, True)
    # No ledger above: those below are found all the same.
    done = landmarks("undo", nested)
    assert (done.status, done.out.count("restored")) == (0, 2)
    assert not list(nested.rglob("*.xmp"))


def test_a_library_that_is_moved_into_another_stays_one(model: Path, nested: Path, tmp_path: Path) -> None:
    assert write(nested, "--model", model).status == 0
    nested.rename(tmp_path / "moved")
    save_colour(tmp_path / "more" / "e.jpg", TOWER, (80, 48))
    (tmp_path / "moved").rename(tmp_path / "more" / "all")
    assert write(tmp_path / "more", "--model", model, "--language", "de").status == 0
    for sidecar in (tmp_path / "more").rglob("*.xmp"):
        keywords = XmpPacket(sidecar.read_bytes()).entries().keywords
        assert set(keywords) == {"Eiffelturm", "Paris", "Frankreich"}
    assert len(list((tmp_path / "more").rglob("*.xmp"))) == 5
    done = landmarks("relabel", tmp_path / "more", "--language", "fr")
    assert (done.status, done.out.count("Tour Eiffel")) == (0, 5)
    assert landmarks("undo", tmp_path / "more").status == 0
    assert not list((tmp_path / "more").rglob("*.xmp"))


def test_a_ledger_elsewhere_knows_its_library(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    for number, name in enumerate(("2020", "2020/may", "2021")):
        save_colour(folder / name / "IMG_1.jpg", TOWER, (60 + number, 48))
    monkeypatch.chdir(folder)
    (folder / "landmarks.toml").write_text('ledger = "../changes.db"')
    before = contents(folder)
    for command in (("--dry-run",), ("--write",), ("--write", "--language", "de")):
        assert landmarks("tag", "2020", "--model", model, *command).status == 0
    refused = (
        f"{folder / '2021'}: not in {folder / '2020'}, whose changes {tmp_path / 'changes.db'} records: name a "
        "path in there or give another --ledger"
    )
    for command in (
        ("tag", "2021", "--write", "--model", model),
        ("undo", "2021"),
        ("relabel", "2021", "--language", "de"),
    ):
        done = landmarks(*command)
        assert (done.status, done.complaint) == (2, refused)
    done = landmarks("tag", "2021", "--write", "--model", model, "--ledger", "../other.db")
    assert (done.status, len(contents(folder)) - len(before)) == (0, 3)
    # From a folder inside, and after the library was moved.
    assert landmarks("reject", "2020/may/IMG_1.jpg", "Eiffelturm").status == 0
    assert landmarks("tag", "2020/may", "--write", "--language", "de", "--model", model).status == 0
    done = landmarks("tag", ".", "--language", "de", "--model", model)
    assert (done.status, done.out.count("Eiffelturm"), "may/IMG_1.jpg: Eiffelturm" in done.out) == (0, 2, False)
    (folder / "2020").rename(tmp_path / "moved")
    done = landmarks("undo", "2021")
    assert done.status == 2
    assert f"records the changes of {folder / '2020'}, which is not found" in done.complaint
    assert landmarks("undo", tmp_path / "moved" / "may").status == 0
    assert landmarks("undo", tmp_path / "moved").status == 0
    (tmp_path / "moved").rename(folder / "2020")
    assert landmarks("undo", "2021", "--ledger", "../other.db").status == 0
    assert contents(folder) == before


def test_a_ledger_of_an_old_version_finds_its_library(model: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "changes.db"
    folder = tmp_path / "photos"
    save_colour(folder / "2020" / "may" / "a.jpg", TOWER)
    save_colour(tmp_path / "others" / "b.jpg", TOWER)
    before = contents(tmp_path)
    assert write(folder, "--model", model, "--ledger", ledger).status == 0
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        database.executescript("DROP TABLE library; ALTER TABLE photos DROP COLUMN tags; PRAGMA user_version=3")
    done = write(tmp_path / "others", "--model", model, "--ledger", ledger)
    assert (done.status, "give another --ledger" in done.complaint) == (2, True)
    assert landmarks("undo", folder / "2020", "--ledger", ledger).status == 0
    ledger.unlink()
    assert contents(tmp_path) == before


def test_a_ledger_in_its_library_is_moved_with_it(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save_colour(folder / "2020" / "a.jpg", TOWER)
    assert write(folder, "--model", model, "--ledger", folder / "my.db").status == 0
    shutil.copytree(folder, tmp_path / "copy")
    assert landmarks("undo", tmp_path / "copy" / "2020", "--ledger", tmp_path / "copy" / "my.db").status == 0
    assert not list((tmp_path / "copy").rglob("*.xmp"))
    assert list(folder.rglob("*.xmp"))


def test_the_usual_ledger_may_be_taken_out_of_its_library(model: Path, tmp_path: Path) -> None:
    photo, ledger = save_colour(tmp_path / "photos" / "a.jpg", TOWER), tmp_path / "ledgers" / "of photos.db"
    assert write(photo.parent, "--model", model).status == 0
    shutil.copytree(photo.parent / ".landmarks", ledger.parent)
    (ledger.parent / "ledger.sqlite3").rename(ledger)
    other = save_colour(tmp_path / "others" / "a.jpg", TOWER, (60, 48))
    assert write(other, "--model", model, "--ledger", ledger).status == 2, "it is not about what is beside it"
    assert landmarks("undo", photo.parent, "--ledger", ledger).status == 0
    assert not Path(f"{photo}.xmp").exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(photo: Path, model: Path, *arguments: object) -> Outcome:
    """Run a command as a user without rights.

    Python itself may lie where only this user can read, so a look at a photo loads everything before.
    """
    look = ["tag", str(photo), "--model", str(model), "--dry-run"]
    drop = f"from landmarks.cli import main; main({look}); import os; os.setgid({NOBODY}); os.setuid({NOBODY})"
    return start(*arguments, "--model", model, before=drop)


@as_root
def test_a_folder_that_may_not_be_written_is_told(model: Path, open_folder: Path) -> None:
    photo = save_colour(open_folder / "a.jpg", TOWER)
    done = as_nobody(photo, model, "tag", open_folder, "--write")
    assert done.status == 1
    assert "no permission to write here: choose another place or change the permissions" in done.complaint
    assert list(open_folder.iterdir()) == [photo]
    mine = save_colour(open_folder / "mine" / "a.jpg", TOWER)
    os.chown(mine.parent, NOBODY, NOBODY)
    done = as_nobody(mine, model, "tag", photo, mine.parent, "--write")
    assert done.status == 2, "the other is tagged all the same"
    assert "no permission to write here" in done.err
    assert mine.with_name("a.jpg.xmp").exists()


@as_root
@pytest.mark.parametrize("crashed", [False, True])
def test_verdicts_count_where_the_ledger_may_not_be_written(
    model: Path, open_folder: Path, tmp_path: Path, crashed: bool
) -> None:
    photo = save_colour(open_folder / "a.jpg", TOWER)
    write(open_folder, "--model", model)
    state, other = open_folder / ".landmarks", save_colour(tmp_path / "b.jpg", COLOURS["background"])
    if crashed:  # what was recorded last is in the log of the database
        kill = "import os; from landmarks.library.ledger import Ledger; Ledger.close = lambda _self: os._exit(9)"
        assert start("reject", photo, "Eiffel Tower", before=kill).status == 9
        (state / "ledger.sqlite3-shm").unlink()
        assert (state / "ledger.sqlite3-wal").stat().st_size
    else:
        landmarks("reject", photo, "Eiffel Tower")
    before = {path: path.read_bytes() for path in state.iterdir()}
    for command in ((), ("--dry-run",)):
        done = as_nobody(other, model, "tag", open_folder, *command)
        assert (done.status, "Eiffel" in done.out) == (0, False), done.err
    assert {path: path.read_bytes() for path in state.iterdir()} == before
    (state / "ledger.sqlite3").chmod(0o600)
    done = as_nobody(other, model, "tag", open_folder)
    assert done.status == 1
    assert done.complaint.endswith("ledger.sqlite3: the ledger cannot be read: change its permissions")


@as_root
def test_one_folder_that_may_not_be_written_stops_no_other(model: Path, open_folder: Path) -> None:
    mine = save_colour(open_folder / "mine" / "a.jpg", TOWER)
    theirs = save_colour(open_folder / "theirs" / "a.jpg", TOWER)
    for folder in (open_folder, mine.parent):
        os.chown(folder, NOBODY, NOBODY)
    done = as_nobody(mine, model, "tag", open_folder, "--write")
    assert done.status == 2
    assert any(f"{theirs}: " in line and "no permission" in line for line in done.err.splitlines())
    assert mine.with_name("a.jpg.xmp").exists()
    assert list(theirs.parent.iterdir()) == [theirs]


@as_root
def test_a_photo_that_may_not_be_read_is_told(model: Path, open_folder: Path) -> None:
    mine, secret = (save_colour(open_folder / name, TOWER) for name in ("mine.jpg", "secret.jpg"))
    os.chown(open_folder, NOBODY, NOBODY)
    secret.chmod(0o600)
    done = as_nobody(mine, model, "tag", open_folder, "--write")
    assert done.status == 2
    assert f"{secret}: no permission to read the file: change its permissions" in done.err
    assert (open_folder / "mine.jpg.xmp").exists()
    assert not (open_folder / "secret.jpg.xmp").exists()
