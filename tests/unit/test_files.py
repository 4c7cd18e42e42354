"""Files are written atomically, and a folder is searched without surprises."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from landmarks.errors import InputError, StorageError
from landmarks.files.atomic import atomic_path, write_bytes, write_json, write_text
from landmarks.files.checksums import sha256_file
from landmarks.files.walker import Skipped
from landmarks.imaging.photos import find_photos

NOBODY = 65534


@contextmanager
def folder_of_an_ordinary_user() -> Iterator[Path]:
    """Give a folder and let permissions bind: root, which often runs the tests, may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


class TestWriting:
    def test_takes_the_place_of_the_old_file_and_makes_the_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "note.txt"
        write_text(path, "old")
        write_text(path, "new")
        assert path.read_text(encoding="utf-8") == "new"
        assert [item.name for item in path.parent.iterdir()] == ["note.txt"]

    def test_temporary_file_lies_beside_with_the_same_suffix(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "model.onnx") as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".onnx"
            assert not (tmp_path / "model.onnx").exists()

    def test_an_error_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "note.txt"
        write_text(path, "old")

        def fail_halfway() -> None:
            with atomic_path(path) as temporary:
                temporary.write_text("half", encoding="utf-8")
                raise KeyError

        with pytest.raises(KeyError):
            fail_halfway()
        assert path.read_text(encoding="utf-8") == "old"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("code", "sentence"),
        [
            (errno.ENOSPC, "the disk is full: free some space"),
            (errno.EROFS, "the file system is read-only"),
            (errno.EFBIG, r"cannot be written \(file too large\): check the disk, or choose another place"),
            (errno.EIO, r"cannot be written \(input/output error\): check the disk"),
        ],
    )
    def test_a_disk_that_refuses_is_told_and_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
    ) -> None:
        def refuse(handle: int) -> None:
            raise OSError(code, os.strerror(code))

        path = tmp_path / "note.txt"
        write_text(path, "old")
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match=sentence) as caught:
            write_text(path, "new")
        assert str(path) in str(caught.value)
        assert path.read_text(encoding="utf-8") == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_no_permission_is_told(self) -> None:
        with folder_of_an_ordinary_user() as folder:
            folder.chmod(0o500)
            with pytest.raises(StorageError, match=r"note\.txt: no permission to write here"):
                write_text(folder / "note.txt", "new")
            folder.chmod(0o700)

    def test_a_folder_or_file_in_the_way_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="a folder exists where the file belongs"):
            write_text(tmp_path / "folder", "new")
        with pytest.raises(StorageError, match="a file exists where a folder is needed"):
            write_text(tmp_path / "file" / "note.txt", "new")
        with pytest.raises(StorageError, match="a file exists where a folder is needed"):
            write_text(tmp_path / "file" / "deeper" / "note.txt", "new")

    def test_a_finished_file_is_as_open_as_any_new_file(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_bytes(b"")
        write_bytes(tmp_path / "atomic", b"")
        assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_json_is_read_back_whatever_the_script(self, tmp_path: Path) -> None:
        value = {
            "Köln": ["🗼 東京タワー", 1.5, None],
            "bytes of an old file name": "caf\udce9.jpg",
            "\\": "\\udce9",
        }
        write_json(tmp_path / "value.json", value)
        assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value

    def test_sha256_is_that_of_the_content(self, tmp_path: Path) -> None:
        write_bytes(tmp_path / "file", b"content")
        assert sha256_file(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


class TestFindPhotos:
    @pytest.fixture
    def album(self, tmp_path: Path) -> Path:
        for name in ("b.JPG", "a.jpeg", "sub/c.heic", "notes.txt", ".hidden.jpg", ".trash/d.jpg", "e.PnG"):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
        return tmp_path

    def test_folders_are_searched_in_order_without_hidden_files(self, album: Path) -> None:
        found = [path.relative_to(album).as_posix() for path in find_photos([album])]
        assert found == ["a.jpeg", "b.JPG", "e.PnG", "sub/c.heic"]

    def test_files_are_taken_as_named_and_each_once(self, album: Path) -> None:
        named = [album / "notes.txt", album / "e.PnG"]
        found = find_photos([*named, album, album / "notes.txt"])
        assert found[:2] == named
        assert len(found) == len(set(found)) == 5

    def test_a_loop_of_links_ends(self, album: Path) -> None:
        (album / "sub" / "loop").symlink_to(album, target_is_directory=True)
        assert len(find_photos([album])) == 4

    @pytest.mark.parametrize(("name", "sentence"), [("gone", "no such file"), ("n" * 300, "cannot be reached")])
    def test_a_path_that_is_not_there_is_told(self, tmp_path: Path, name: str, sentence: str) -> None:
        with pytest.raises(InputError, match=f"{name}: {sentence}.*check the spelling"):
            find_photos([tmp_path / name])

    def test_an_unreadable_folder_is_told_and_stops_nothing(self) -> None:
        with folder_of_an_ordinary_user() as folder:
            (folder / "closed").mkdir(mode=0o000)
            (folder / "open.jpg").write_bytes(b"")
            skipped: list[Skipped] = []
            assert find_photos([folder], on_skip=skipped.append) == [folder / "open.jpg"]
            reason = "the folder cannot be read (permission denied): change its permissions"
            assert skipped == [Skipped(folder / "closed", "unreadable", reason)]
            with pytest.raises(InputError, match="inside: cannot be reached: check"):
                find_photos([folder / "closed" / "inside"])
