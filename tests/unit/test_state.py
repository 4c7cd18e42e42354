"""Where ledgers and indexes are stored: with the photos, or with the user where that is not possible."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from landmarks.files import state
from landmarks.files.state import is_remote, keeps_state, state_of, user_state
from landmarks.library import ledger as ledger_module
from landmarks.library import roots
from landmarks.library.ledger import Ledger
from landmarks.library.roots import LEDGER, find_ledger, ledger_of, library_root

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/nas rw,relatime shared:2 master:3 - nfs4 nas:/photos rw,vers=4.2
41 40 8:2 / /mnt/nas/local rw - xfs /dev/sdb1 rw
42 22 0:42 / /mnt/my\040share rw - cifs //server/share rw
43 22 0:43 / /media/remote rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/srv/photos", False),
        ("/mnt/nas", True),
        ("/mnt/nas/2024/may", True),
        ("/mnt/nas2", False),
        ("/mnt/nas/local/x", False),
        ("/mnt/my share/x", True),
        ("/media/remote/x", True),
    ],
)
def test_network_file_systems_are_recognised(tmp_path: Path, path: str, remote: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert is_remote(Path(path), mounts) is remote


def test_without_a_table_of_mounts_nothing_is_remote(tmp_path: Path) -> None:
    assert not is_remote(tmp_path, tmp_path / "none")
    assert not is_remote(tmp_path)
    assert keeps_state(tmp_path)


def test_each_folder_has_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    odd = Path(os.fsdecode(b"/mnt/caf\xe9"))
    places = [state_of(Path(name)) for name in ("/mnt/a", "/mnt/b", "/srv/a")] + [
        state_of(odd),
        state_of(Path("/")),
    ]
    assert len(set(places)) == len(places)
    assert all(place.parent == user_state() / "libraries" for place in places)
    assert all(str(place).isascii() for place in places)
    assert state_of(odd, tmp_path / "mine").parent == tmp_path / "mine"


class TestLedgers:
    def test_with_the_photos(self, tmp_path: Path) -> None:
        assert ledger_of(tmp_path) == tmp_path / LEDGER

    @pytest.mark.parametrize("why", ["remote", "read-only"])
    def test_with_the_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
        if why == "remote":
            monkeypatch.setattr(state, "is_remote", lambda path: path == tmp_path)
        else:
            monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
        place = ledger_of(tmp_path)
        assert place == state_of(tmp_path) / LEDGER.name
        assert find_ledger(tmp_path) is None
        Ledger(place).close()
        (tmp_path / "sub").mkdir()
        assert library_root(tmp_path / "sub" / "a.jpg") == tmp_path

    def test_with_the_user_where_a_photo_program_has_its_own(self, tmp_path: Path) -> None:
        inside = tmp_path / "Photos Library.photoslibrary" / "originals"
        inside.mkdir(parents=True)
        assert ledger_of(inside) == state_of(inside) / LEDGER.name

    def test_one_that_is_there_stays_in_use(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Ledger(tmp_path / LEDGER).close()
        monkeypatch.setattr(roots, "keeps_state", lambda _root: False)
        assert ledger_of(tmp_path) == tmp_path / LEDGER

    def test_where_the_user_wants_them(self, tmp_path: Path) -> None:
        root, mine = tmp_path / "photos", tmp_path / "mine"
        (root / "sub").mkdir(parents=True)
        Ledger(ledger_of(root, mine)).close()
        assert ledger_of(root, mine).is_relative_to(mine)
        assert library_root(root / "sub", mine) == root
        assert library_root(root / "sub") == root / "sub"

    @pytest.mark.skipif(shutil.which("bindfs") is None, reason="bindfs, which mounts a folder by FUSE, is missing")
    @pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can mount a file system")
    def test_on_a_file_system_like_that_of_sshfs(self, tmp_path: Path) -> None:
        real, drive = tmp_path / "real", tmp_path / "drive"
        real.mkdir()
        drive.mkdir()
        mount = ["bindfs", "-o", "subtype=sshfs", real, drive]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            assert is_remote(drive / "2024")
            assert not is_remote(real)
            assert ledger_of(drive) == state_of(drive) / LEDGER.name
            with Ledger(drive / "l") as ledger, Ledger(drive / "l") as other:
                assert ledger.claim(b"a")
                assert not other.claim(b"a")
                assert not (drive / "l-wal").exists()
        finally:
            subprocess.run(["umount", drive], check=True)

    @pytest.mark.parametrize("remote", [False, True])
    def test_no_write_ahead_log_on_the_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
    ) -> None:
        Ledger(tmp_path / "l").close()  # as another machine has left it
        monkeypatch.setattr(ledger_module, "is_remote", lambda _path: remote)
        with Ledger(tmp_path / "l") as ledger:
            ledger.start_run("tag", "m")
            assert (tmp_path / "l-wal").exists() is not remote
            with Ledger(tmp_path / "l") as other:
                assert other.claim(b"a")
                assert not ledger.claim(b"a")
        with closing(sqlite3.connect(tmp_path / "l")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete" if remote else "wal",)
