"""The ledger and its foundations: rows, claims, liveness locks, deltas and safe writing."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import LedgerError, StorageError
from landmarks.library.delta import apply_delta, make_delta
from landmarks.library.ledger import Ledger
from landmarks.library.library import LEDGER, Library
from landmarks.library.liveness import Presence
from landmarks.library.records import VERSION, Change, PhotoRow, Verdict
from landmarks.library.writing import ChangedMeanwhileError, Snapshot, digest, put_file, recover
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket

WORKER = """
import sys, time
from pathlib import Path
from landmarks.library.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.claim(b"a.jpg")
print("ready", flush=True)
time.sleep(60)
"""


def change(photo: bytes = b"a.jpg", *, run: int = 1, before: bytes | None = None, after: bytes = b"new") -> Change:
    undo = None if before is None else make_delta(before, after)
    return Change(
        run,
        photo,
        photo + b".xmp",
        digest(before),
        None,
        None,
        digest(after) or b"",
        undo,
        Entries(("x",)),
        "[]",
        "m",
    )


def done(ledger: Ledger, *changes: Change) -> list[int]:
    numbers = ledger.intend(changes)
    for number in numbers:
        ledger.set_state(number, "done")
    return numbers


class TestDelta:
    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=2000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 400), st.binary())))
    def test_the_old_content_comes_back(self, old: bytes, edits: list[tuple[int, int, bytes]]) -> None:
        new = bytearray(old * 3)
        for at, length, put_in in edits:
            new[at : at + length] = put_in
        assert apply_delta(make_delta(old, bytes(new)), bytes(new)) == old

    def test_it_is_small_where_the_picture_only_moved(self) -> None:
        pixels = os.urandom(2_000_000)
        old, new = b"head" + pixels + b"tail", b"another head" * 500 + pixels[:900_000] + b"cut" + pixels[900_000:]
        delta = make_delta(old, new)
        assert apply_delta(delta, new) == old
        assert len(delta) < 1000

    def test_nothing_in_common(self) -> None:
        old, new = os.urandom(10_000), os.urandom(10_000)
        assert apply_delta(make_delta(old, new), new) == old
        assert apply_delta(make_delta(b"", new), new) == b""
        assert apply_delta(make_delta(old, b""), b"") == old


class TestRows:
    def test_photos_and_their_quarantine(self, tmp_path: Path) -> None:
        row = PhotoRow(b"caf\xe9.jpg", 5, 6, b"hash", "m", "unreadable", "cut short")
        with Ledger(tmp_path / "l") as ledger:
            ledger.record(row)
            ledger.record(replace(row, photo=b"fine.jpg", state="done", reason=None))
            assert ledger.photo(b"caf\xe9.jpg") == row
            assert list(ledger.quarantine()) == [row]
            ledger.forget(row.photo)
            assert ledger.photo(row.photo) is None

    def test_a_reason_may_name_a_file_whose_name_is_not_utf8(self) -> None:
        with Ledger(None) as ledger:
            ledger.record(PhotoRow(b"caf\xe9.jpg", 1, 2, b"s", "k", "unwritable", "caf\udce9.jpg.xmp: broken"))
            assert [row.reason for row in ledger.quarantine()] == ["caf\\udce9.jpg.xmp: broken"]

    def test_the_quarantine_comes_in_pages(self, tmp_path: Path) -> None:
        with Ledger(None) as ledger, ledger.transaction():
            for number in range(300):
                ledger.record(PhotoRow(b"%03d" % number, 0, 0, b"", "m", "unreadable", "x"))
            assert [row.photo for row in ledger.quarantine()] == [b"%03d" % number for number in range(300)]

    def test_changes_stand_until_they_are_undone(self) -> None:
        with Ledger(None) as ledger:
            first, second = done(ledger, change(), change(run=2))
            newest = ledger.newest(b"a.jpg.xmp")
            assert newest is not None
            assert (newest.id, newest.run, newest.ours) == (second, 2, Entries(("x",)))
            assert newest.time == pytest.approx(time.time(), abs=60)
            ledger.set_state(second, "undone")
            assert ledger.newest(b"a.jpg.xmp") == ledger.of_photo(b"a.jpg")
            ledger.set_state(first, None)
            assert ledger.newest(b"a.jpg.xmp") is None

    def test_standing_changes_newest_first_and_by_folder_and_run(self) -> None:
        photos = [b"a.jpg", b"a/b.jpg", b"a/b/c.jpg", b"ab/c.jpg", b"a-b/c.jpg", b"\xff/x.jpg"]
        with Ledger(None) as ledger:
            done(ledger, *(change(photo, run=n) for n, photo in enumerate(photos)))

            def standing(**how: object) -> list[bytes]:
                return [c.photo for page in ledger.standing(**how) for c in page]  # type: ignore[arg-type]

            assert standing() == photos[::-1]
            assert standing(below=b"a") == [b"a/b/c.jpg", b"a/b.jpg"]
            assert standing(below=b"a/b.jpg") == [b"a/b.jpg"]
            assert standing(below=b"\xff") == [b"\xff/x.jpg"]
            assert standing(run=3) == [b"ab/c.jpg"]
            assert standing(run=3, below=b"a") == []

    def test_many_changes_come_in_pages(self) -> None:
        with Ledger(None) as ledger, ledger.transaction():
            done(ledger, *(change(b"%03d" % n) for n in range(200)))
            pages = list(ledger.standing())
            assert max(map(len, pages)) < 100
            assert sum(map(len, pages)) == 200

    def test_the_last_verdict_is_the_last_whatever_the_clock_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["one", "three", "two"]
        with Ledger(None) as ledger:
            for now, name in zip((1e9, 1e9, 0.0), names, strict=True):
                monkeypatch.setattr(time, "time", lambda now=now: now)
                ledger.judge(b"a.jpg", None, Verdict(name, "confirmed", None))
            assert [verdict.name for verdict in ledger.verdicts(b"a.jpg", None)] == names

    def test_the_last_verdict_counts_and_follows_the_content(self) -> None:
        with Ledger(None) as ledger:
            ledger.judge(b"a.jpg", b"hash", Verdict("paris", "rejected", None))
            ledger.judge(b"a.jpg", b"hash", Verdict("paris", "confirmed", "[]"))
            assert ledger.verdicts(b"a.jpg", None) == [Verdict("paris", "confirmed", "[]")]
            assert ledger.verdicts(b"moved.jpg", b"hash") == [Verdict("paris", "confirmed", "[]")]
            assert ledger.verdicts(b"moved.jpg", None) == []

    def test_runs(self) -> None:
        with Ledger(None) as ledger:
            numbers = [ledger.start_run("tag", f"m{n}") for n in range(100)]
            ledger.finish_run(numbers[0])
            done(ledger, change(run=numbers[1]))
            rows = list(ledger.runs())
            assert [row.id for row in rows] == numbers[::-1]
            assert rows[-1].finished is not None
            assert rows[0].finished is None
            assert rows[-2].standing == 1

    def test_a_transaction_is_all_or_nothing(self) -> None:
        row = PhotoRow(b"a", 0, 0, b"", "m")
        with Ledger(None) as ledger:
            with suppress(ZeroDivisionError), ledger.transaction():
                ledger.record(row)
                raise ZeroDivisionError
            assert ledger.photo(b"a") is None
            with ledger.transaction(), ledger.transaction():
                ledger.record(row)
            assert ledger.photo(b"a") == row

    def test_threads_take_turns(self, tmp_path: Path) -> None:
        with Ledger(tmp_path / "l") as ledger:

            def work(name: int) -> None:
                for number in range(20):
                    ledger.record(PhotoRow(b"%d-%d" % (name, number), 0, 0, b"", "m", "unreadable", ""))

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(list(ledger.quarantine())) == 80


class TestProcesses:
    def test_a_claim_holds_until_its_process_dies(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger"
        worker = subprocess.Popen([sys.executable, "-c", WORKER, path], stdout=subprocess.PIPE, text=True)
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            with Ledger(path) as ledger:
                ledger.drop_dead_claims()
                assert not ledger.claim(b"a.jpg")
                assert ledger.claim(b"b.jpg")
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                ledger.drop_dead_claims()
                assert ledger.claim(b"a.jpg")
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ledger"], "no signs of life are left"

    def test_a_closed_ledger_gives_its_claims_back(self, tmp_path: Path) -> None:
        with Ledger(tmp_path / "l") as first, Ledger(tmp_path / "l") as second:
            assert first.claim(b"a")
            assert not second.claim(b"a")
            first.release([b"a"])
            assert second.claim(b"a")
        with Ledger(tmp_path / "l") as third:
            assert third.claim(b"a")

    def test_presence(self, tmp_path: Path) -> None:
        first, second = Presence(tmp_path), Presence(tmp_path)
        assert not second.is_alive(first.owner)
        first.show()
        assert second.is_alive(first.owner)
        assert first.is_alive(first.owner)
        first.hide()
        assert not second.is_alive(first.owner)


class TestBadLedgers:
    def test_a_damaged_one(self, tmp_path: Path) -> None:
        (tmp_path / "l").write_bytes(b"no database at all" * 100)
        with pytest.raises(LedgerError, match="damaged"):
            Ledger(tmp_path / "l")

    def test_one_of_version_1_is_brought_up_to_date(self, tmp_path: Path) -> None:
        """The library was written by the first version: a tagged photo, and one with a sidecar of its own."""
        made = Path(__file__).parents[1] / "data" / "library_1"
        (tmp_path / "day").mkdir()
        for file in made.glob("*.jpg*"):
            shutil.copy(file, tmp_path / "day")
        (tmp_path / LEDGER).parent.mkdir()
        with closing(sqlite3.connect(tmp_path / LEDGER)) as connection:
            connection.executescript((made / "ledger.sql").read_text(encoding="utf-8"))
        (tmp_path / "day" / "two.jpg").rename(tmp_path / "two.jpg")
        (tmp_path / "day" / "two.jpg.xmp").rename(tmp_path / "two.jpg.xmp")
        with Library(tmp_path) as library:
            assert [row.standing for row in library.runs()] == [2]
            assert [verdict.name for _, verdict in library.verdicts()] == ["eiffel tower"]
            assert [report.status for report in library.undo()] == ["restored", "restored"]
        left = sorted(path.name for path in tmp_path.rglob("*.xmp"))
        assert left == ["two.jpg.xmp"]
        assert XmpPacket((tmp_path / "two.jpg.xmp").read_bytes()).entries().keywords == ("Holiday",)
        with closing(sqlite3.connect(tmp_path / LEDGER)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)

    @pytest.mark.parametrize("version", [0, 2])
    def test_that_of_another_program_stays_as_it_is(self, tmp_path: Path, version: int) -> None:
        with closing(sqlite3.connect(tmp_path / "l")) as connection:
            connection.executescript(f"CREATE TABLE photos (id); PRAGMA user_version = {version};")
        before = (tmp_path / "l").read_bytes()
        with pytest.raises(LedgerError, match="database of another program"):
            Ledger(tmp_path / "l")
        assert (tmp_path / "l").read_bytes() == before

    def test_a_newer_one(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "l")
        connection.execute("PRAGMA user_version=99")
        connection.close()
        with pytest.raises(LedgerError, match="newer version"):
            Ledger(tmp_path / "l")

    def test_no_place_for_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(StorageError, match="another place"):
            Ledger(tmp_path / "l")
        (tmp_path / "file").touch()
        with pytest.raises((StorageError, OSError)):
            Ledger(tmp_path / "file" / "l")


class TestWriting:
    def test_a_file_is_replaced_only_if_it_is_the_one_we_know(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xmp"
        put_file(path, b"one", expected=None)
        path.chmod(0o640)
        os.setxattr(path, "user.note", b"mine")
        put_file(path, b"two", expected=digest(b"one"), mtime_ns=10**18)
        status = path.stat()
        assert (path.read_bytes(), status.st_mode & 0o777, status.st_mtime_ns) == (b"two", 0o640, 10**18)
        assert os.getxattr(path, "user.note") == b"mine"
        for expected in (None, digest(b"one")):
            with pytest.raises(ChangedMeanwhileError):
                put_file(path, b"three", expected=expected)
            with pytest.raises(ChangedMeanwhileError):
                put_file(path, None, expected=expected)
        assert path.read_bytes() == b"two"
        put_file(path, None, expected=digest(b"two"))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can change users")
    def test_a_file_of_another_member_keeps_its_group(self) -> None:
        nobody, group, groups = 65534, 4321, os.getgroups()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.jpg.xmp"
            path.write_bytes(b"old")
            os.chown(path, 1234, group)
            Path(folder).chmod(0o777)
            os.setgroups([group])
            os.seteuid(nobody)
            try:
                put_file(path, b"new", expected=digest(b"old"))
            finally:
                os.seteuid(0)
                os.setgroups(groups)
            assert (path.read_bytes(), path.stat().st_uid, path.stat().st_gid) == (b"new", nobody, group)

    def test_a_snapshot_tells_changes_from_touches(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"one")
        snapshot = Snapshot.of(path)
        assert snapshot.still_true(path)
        os.utime(path, ns=(1, 1))
        assert snapshot.still_true(path)
        path.write_bytes(b"two")
        os.utime(path, ns=(snapshot.mtime_ns, snapshot.mtime_ns))
        assert not snapshot.still_true(path), "same size and time, other content"
        path.unlink()
        assert not snapshot.still_true(path)

    @pytest.mark.parametrize(
        ("state", "content", "left"),
        [
            ("writing", None, []),
            ("writing", b"new", ["done"]),
            ("writing", b"somebody else's", ["done"]),
            ("undoing", None, []),
            ("undoing", b"new", ["done"]),
        ],
    )
    def test_recovery_goes_by_the_content(
        self, tmp_path: Path, state: str, content: bytes | None, left: list[str]
    ) -> None:
        path = tmp_path / "ledger" / "l"
        ledger = Ledger(path)
        ledger.set_state(ledger.intend([change()])[0], state)  # type: ignore[arg-type]
        ledger._connection.close()  # as if killed
        (tmp_path / "a.jpg").write_bytes(b"photo")
        if content is not None:
            (tmp_path / "a.jpg.xmp").write_bytes(content)
        (tmp_path / ".a.jpg-abcd1234.xmp").write_bytes(b"half")
        (tmp_path / ".a.jpg-mine.xmp").write_bytes(b"the user's")
        with Ledger(path) as again:
            recover(again, tmp_path)
            assert [c.state for page in again.standing() for c in page] == left
            assert again.left_open() == []
        assert (tmp_path / ".a.jpg-mine.xmp").exists()
        assert not (tmp_path / ".a.jpg-abcd1234.xmp").exists()

    @pytest.mark.parametrize("state", ["writing", "undoing"])
    def test_recovery_waits_for_a_drive_that_is_not_mounted(self, tmp_path: Path, state: str) -> None:
        path, drive = tmp_path / "ledger" / "l", tmp_path / "drive"
        ledger = Ledger(path)
        ledger.set_state(ledger.intend([change()])[0], state)  # type: ignore[arg-type]
        ledger._connection.close()  # as if killed
        drive.mkdir()
        with Ledger(path) as again:
            recover(again, drive)
            assert len(again.left_open()) == 1
            (drive / "a.jpg").write_bytes(b"photo")
            (drive / "a.jpg.xmp").write_bytes(b"new")
            recover(again, drive)
            assert [c.state for page in again.standing() for c in page] == ["done"]


def test_several_open_a_new_ledger_at_the_same_moment(tmp_path: Path) -> None:
    errors: list[LedgerError] = []

    def open_it(path: Path, together: threading.Barrier) -> None:
        together.wait()
        try:
            Ledger(path).close()
        except LedgerError as error:
            errors.append(error)

    for number in range(40):
        given_to_all = (tmp_path / f"{number}.sqlite3", threading.Barrier(6))
        threads = [threading.Thread(target=open_it, args=given_to_all) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
