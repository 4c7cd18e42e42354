"""A library from end to end: runs, crashes, several processes, undo, verdicts, and everything that goes wrong."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from exiftool_process import exiftool_says, exiftool_writes, needs_exiftool
from PIL import Image

from landmarks.cli.verdicts import notes_on
from landmarks.errors import InputError, MetadataError, SettingsError, StorageError
from landmarks.files.walker import Skipped
from landmarks.geo.gazetteer import Place
from landmarks.library.batch import Outcome
from landmarks.library.library import LEDGER, Library, library_root
from landmarks.metadata.edit import WriteOptions
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.tags import ImageTags, Tag

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can mount a file system")
PLACES = [
    Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243"),
    Place("louvre", "Louvre Museum", "Paris", "France", "FR", "museum", 48.8611, 2.3364, "Q19675"),
    Place("colosseum", "Colosseum", "Rome", "Italy", "IT", "ruin", 41.8902, 12.4922, "Q10285"),
]
TAGS = [Tag(place.name, "landmark", 0.9, place, place.key) for place in PLACES]


Choose = Callable[[Path], Iterable[Tag]]


def tagger(model: str = "one", tags: Choose | None = None) -> Callable[..., Iterator[ImageTags]]:
    """A model that says the same of the same photo; `model` changes what that is."""

    def choose(path: Path) -> list[Tag]:
        return [TAGS[(len(path.name) + len(model)) % len(TAGS)]]

    def tag_photos(photos: Iterable[Path]) -> Iterator[ImageTags]:
        for photo in photos:
            content = photo.read_bytes() if photo.is_file() else b""
            if not content.startswith(b"\xff\xd8"):
                yield ImageTags(photo, (), (), model, "the content is not a picture")
            else:
                yield ImageTags(photo, tuple((tags or choose)(photo)), (), model)

    return tag_photos


def jpeg(seed: int = 0, **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


class Looks(threading.Event):
    """Ends a watch after some looks; `waits` are the seconds between them, which pass at once."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._looks = looks

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        if len(self.waits) == self._looks:
            self.set()
        return super().wait(0.02)


def fill(root: Path, count: int = 12) -> None:
    for number in range(count):
        photo = root / f"day {number % 3}" / f"photo{number}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(jpeg(number))


def tree(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, permissions and time of every file but the ledger's."""
    return {
        os.fspath(path.relative_to(root)): (
            path.read_bytes(),
            path.stat().st_mode,
            0 if path.suffix == ".xmp" else path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file() and LEDGER.parts[0] not in path.parts
    }


def run(root: Path, model: str = "one", **options: object) -> list[Outcome]:
    with Library(root, options=WriteOptions(**options)) as library:  # type: ignore[arg-type]
        return list(library.tag([root], tagger(model), model=model))


def statuses(outcomes: Iterable[Outcome]) -> list[str]:
    return sorted({outcome.status for outcome in outcomes})


def keywords(sidecar: Path) -> tuple[str, ...]:
    return XmpPacket(sidecar.read_bytes()).entries().keywords


def take_out(sidecar: Path, entries: Entries) -> None:
    """Remove entries by hand, as the user would in a photo program."""
    packet = XmpPacket(sidecar.read_bytes())
    packet.remove(entries)
    sidecar.write_bytes(packet.to_bytes())


class TestRun:
    def test_every_photo_gets_its_sidecar_and_is_done_once(self, tmp_path: Path) -> None:
        fill(tmp_path)
        photos = tree(tmp_path)
        outcomes = run(tmp_path)
        assert len(outcomes) == 12
        assert statuses(outcomes) == ["written"]
        written = tree(tmp_path)
        assert {name for name in written if name not in photos} == {f"{name}.xmp" for name in photos}
        assert {name: written[name] for name in photos} == photos
        skipped: list[str] = []
        with Library(tmp_path) as library:
            done = library.tag([tmp_path], tagger(), model="one", on_skip=lambda _photo, why: skipped.append(why))
            assert list(done) == []
        assert skipped == ["done before"] * 12

    def test_a_touched_photo_is_still_done_and_a_new_content_is_due(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        run(tmp_path)
        photo = tmp_path / "day 0" / "photo0.jpg"
        os.utime(photo, (1, 1))
        assert run(tmp_path) == []
        photo.write_bytes(jpeg(99))
        assert [outcome.path for outcome in run(tmp_path)] == [photo]

    def test_another_model_replaces_only_our_tags(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        run(tmp_path)
        sidecar = tmp_path / "day 0" / "photo0.jpg.xmp"
        packet = XmpPacket(sidecar.read_bytes())
        packet.add(Entries(keywords=("Mine",)))
        sidecar.write_bytes(packet.to_bytes())
        first = keywords(sidecar)
        run(tmp_path, "three")
        second = keywords(sidecar)
        assert first[-1] == "Mine"
        assert "Mine" in second
        assert set(first) & set(second) <= {"Mine", "Paris", "France"}
        assert len(second) == 4

    def test_a_photo_named_after_another_file_leaves_its_sidecar_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(jpeg(1))
        run(tmp_path)
        (tmp_path / "a.jpg.jpeg").write_bytes(jpeg(2))
        before = tree(tmp_path)
        with Library(tmp_path) as library:
            outcomes = list(library.tag([tmp_path], tagger(tags=lambda _: []), model="one"))
        assert statuses(outcomes) == ["unchanged"]
        assert tree(tmp_path) == before

    def test_a_copy_of_a_shared_sidecar_has_nothing_of_ours_about_the_other_photo(self, tmp_path: Path) -> None:
        mine = XmpPacket()
        mine.add(Entries(keywords=("Mine",)))
        (tmp_path / "b.xmp").write_bytes(mine.to_bytes())
        (tmp_path / "b.jpg").write_bytes(jpeg(1))
        assert statuses(run(tmp_path, sidecar="stem", gps=True)) == ["written"]
        (tmp_path / "b.jpeg").write_bytes(jpeg(2))
        outcomes = run(tmp_path, gps=True)
        assert len(outcomes) == 2
        for outcome in outcomes:
            entries = XmpPacket(Path(f"{outcome.path}.xmp").read_bytes()).entries()
            (tag,) = outcome.tags
            assert tag.place is not None
            assert entries.keywords == ("Mine", tag.name, tag.place.city, tag.place.country)
            assert [place.name for place in entries.locations] == [tag.name]
            assert entries.position == tag.place.coordinates
        with Library(tmp_path) as library:
            list(library.undo())
        assert keywords(tmp_path / "b.xmp") == ("Mine",)

    @pytest.mark.parametrize("in_place", [False, pytest.param(True, marks=needs_exiftool)])
    def test_tags_in_a_copy_are_replaced_as_those_of_the_original(self, tmp_path: Path, in_place: bool) -> None:
        (tmp_path / "a.jpg").write_bytes(jpeg(1))
        run(tmp_path, in_place=in_place)
        for path in list(tmp_path.glob("a.*")):
            shutil.copy(path, path.with_name(path.name.replace("a", "copy", 1)))
        copy = tmp_path / ("copy.jpg" if in_place else "copy.jpg.xmp")
        assert b"Colosseum" in copy.read_bytes()
        tower = tagger(tags=lambda _: TAGS[:1])
        with Library(tmp_path, options=WriteOptions(in_place=in_place)) as library:
            list(library.tag([tmp_path], tower, model="two"))
            assert b"Eiffel Tower" in copy.read_bytes()
            assert not [word for word in (b"Colosseum", b"Rome", b"Italy") if word in copy.read_bytes()]
            assert {one.status for one in library.undo()} == {"restored"}
        assert b"Colosseum" in copy.read_bytes()

    @pytest.mark.parametrize("in_place", [False, pytest.param(True, marks=needs_exiftool)])
    def test_tags_in_a_backup_of_what_was_written_before_are_replaced(
        self, tmp_path: Path, in_place: bool
    ) -> None:
        (tmp_path / "a.jpg").write_bytes(jpeg(1))
        written = tmp_path / ("a.jpg" if in_place else "a.jpg.xmp")
        with Library(tmp_path, options=WriteOptions(in_place=in_place)) as library:
            for number, tag in enumerate((TAGS[2], TAGS[0])):
                list(library.tag([tmp_path], tagger(tags=lambda _, tag=tag: [tag]), model=tag.name))
                if number == 0:
                    backup = written.read_bytes()
            written.write_bytes(backup)
            list(library.tag([tmp_path], tagger(tags=lambda _: TAGS[1:2]), model="Louvre"))
        assert b"Louvre" in written.read_bytes()
        assert not [word for word in (b"Colosseum", b"Rome", b"Eiffel") if word in written.read_bytes()]

    def test_tags_are_recorded_where_another_computer_wrote_them(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        (first,) = run(tmp_path)
        shutil.rmtree(tmp_path / LEDGER.parent)
        assert statuses(run(tmp_path)) == ["unchanged"]
        with Library(tmp_path) as library:
            assert library.recorded(photo) == first.tags
            library.ledger.rename_keys(lambda key: f"{key} renamed")
            skipped: list[Path] = []
            list(library.tag([photo], tagger(), model="one", on_skip=lambda path, _why: skipped.append(path)))
            assert skipped == [photo], "in the old language it is done, in another one it is due"
            assert library.confirm(photo, first.tags[0].name) == []
            library.reject(photo, first.tags[0].name)
            assert library.recorded(photo) == ()

    def test_another_probability_of_the_same_tag_is_recorded(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        run(tmp_path)
        surer = replace(TAGS[0], probability=0.99)
        with Library(tmp_path) as library:
            list(library.tag([photo], tagger("two", lambda _: TAGS[:1]), model="two"))
            list(library.tag([photo], tagger("three", lambda _: [surer]), model="three"))
            assert library.recorded(photo) == (surer,)

    def test_nothing_to_say_writes_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        before = tree(tmp_path)
        with Library(tmp_path) as library:
            outcomes = list(library.tag([tmp_path], tagger(tags=lambda _: []), model="one"))
        assert statuses(outcomes) == ["unchanged"]
        assert tree(tmp_path) == before
        assert run(tmp_path) == []

    def test_what_cannot_be_read_is_in_quarantine_until_it_changes(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"text")
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "gone.jpg").symlink_to("nowhere")
        outcomes = {outcome.path.name: outcome for outcome in run(tmp_path)}
        assert outcomes["bad.jpg"].status == "quarantined"
        with Library(tmp_path) as library:
            held = {path.name: reason for path, reason in library.quarantine()}
            assert held == dict.fromkeys(("bad.jpg", "gone.jpg", "pipe.jpg"), "the content is not a picture")
            assert list(library.tag([tmp_path], tagger(), model="one")) == []
            assert len(list(library.tag([tmp_path], tagger(), model="one", retry=True))) == 3
        bad.write_bytes(jpeg())
        assert statuses(run(tmp_path)) == ["written"]

    def test_what_is_not_done_is_not_called_done(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"text")
        first, second = (tmp_path / f"day {number}" / f"photo{number}.jpg" for number in range(2))
        told: dict[str, str] = {}

        def tag(library: Library, *paths: Path) -> Iterator[Path]:
            found = library.tag(
                paths, tagger(), model="one", on_skip=lambda photo, why: told.update({photo.name: why})
            )
            return (one.path for one in found)

        with Library(tmp_path) as mine, Library(tmp_path) as another:
            working = tag(mine, bad, first, first.parent / ".." / "day 0" / first.name)
            assert next(working) == bad
            assert list(tag(another, tmp_path)) == [second]
            assert told == {"bad.jpg": "unreadable before", "photo0.jpg": "at work in another process"}
            told.clear()
            assert list(working) == [first], "it was given twice"
            assert told == {}

    def test_a_photo_that_vanishes_before_its_turn_stops_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        photos = sorted(tmp_path.rglob("*.jpg"))
        left: list[Skipped] = []
        with Library(tmp_path, on_left_out=left.append) as library:
            photos[1].unlink()
            assert [one.path for one in library.tag(photos, tagger(), model="one")] == photos[::2]
        assert [(one.path, one.reason) for one in left] == [(photos[1], "missing")]

    def test_links_hidden_files_and_odd_names(self, tmp_path: Path) -> None:
        root = tmp_path / "library"
        fill(root, 1)
        (root / "loop").symlink_to(root)
        (root / ".hidden.jpg").write_bytes(jpeg())
        (root / "notes.txt").write_text("x")
        outside = tmp_path / "outside.jpg"
        outside.write_bytes(jpeg())
        (root / "link.jpg").symlink_to(outside)
        odd = Path(os.fsdecode(os.fsencode(root) + b"/\xff \n'\"\\.jpg"))
        odd.write_bytes(jpeg())
        names = {outcome.path.name for outcome in run(root)}
        assert names == {"photo0.jpg", "link.jpg", odd.name}
        assert (root / "link.jpg.xmp").exists()
        assert not (tmp_path / "outside.jpg.xmp").exists()
        before = {name: stat for name, stat in tree(root).items() if not name.endswith(".xmp")}
        with Library(root) as library:
            assert {report.status for report in library.undo()} == {"restored"}
        assert tree(root) == before

    def test_paths_outside_and_missing_ones(self, tmp_path: Path) -> None:
        root = tmp_path / "library"
        fill(root, 1)
        (tmp_path / "a.jpg").write_bytes(jpeg())
        with Library(root) as library:
            with pytest.raises(InputError, match="not in the library"):
                list(library.tag([tmp_path / "a.jpg"], tagger(), model="one"))
            with pytest.raises(InputError, match="no such file"):
                list(library.tag([root / "missing"], tagger(), model="one"))
        with pytest.raises(InputError, match="no such folder"):
            Library(tmp_path / "missing")
        with pytest.raises(SettingsError):
            WriteOptions(iptc=True)

    def test_the_library_is_found_from_within(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        assert library_root(tmp_path / "day 0") == tmp_path / "day 0"
        run(tmp_path)
        assert library_root(tmp_path / "day 0" / "photo0.jpg") == tmp_path

    def test_the_library_is_found_through_a_link_into_it(self, tmp_path: Path) -> None:
        photos, desk = tmp_path / "photos", tmp_path / "desk"
        fill(photos, 1)
        run(photos)
        desk.symlink_to(photos / "day 0")
        assert library_root(desk) == library_root(desk / "photo0.jpg") == photos
        with Library(photos) as library:
            assert list(library.tag([desk], tagger(), model="one")) == []
            assert statuses(library.undo(below=desk)) == ["restored"]  # type: ignore[arg-type]

    def test_a_preview_shows_all_and_writes_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        before = tree(tmp_path)
        with Library(tmp_path, read_only=True) as library:
            outcomes = list(library.tag([tmp_path], tagger(), model="one"))
        assert statuses(outcomes) == ["planned"]
        assert "+ dc:subject: " in (outcomes[0].diff or "")
        assert tree(tmp_path) == before
        assert not (tmp_path / LEDGER).exists()
        written = run(tmp_path)
        assert [outcome.diff for outcome in written] == [outcome.diff for outcome in outcomes]
        with Library(tmp_path, read_only=True) as library:
            assert list(library.tag([tmp_path], tagger(), model="one")) == []

    def test_a_tagger_that_reads_ahead_in_a_thread(self, tmp_path: Path) -> None:
        fill(tmp_path, 40)

        def ahead(photos: Iterable[Path]) -> Iterator[ImageTags]:
            found: list[Path] = []
            thread = threading.Thread(target=lambda: found.extend(photos))
            thread.start()
            thread.join()
            yield from tagger()(reversed(found))

        with Library(tmp_path) as library:
            assert len(list(library.tag([tmp_path], ahead, model="one"))) == 40
        assert run(tmp_path) == []

    def test_a_tagger_that_fails_leaves_everything_usable(self, tmp_path: Path) -> None:
        fill(tmp_path)

        def failing(photos: Iterable[Path]) -> Iterator[ImageTags]:
            for number, result in enumerate(tagger()(photos)):
                if number == 5:
                    raise ZeroDivisionError
                yield result

        with Library(tmp_path) as library:
            with pytest.raises(ZeroDivisionError):
                list(library.tag([tmp_path], failing, model="one"))
            assert len(list(library.tag([tmp_path], tagger(), model="one"))) == 12

    def test_watching_tags_what_arrives(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        stop, seen = threading.Event(), []
        with Library(tmp_path) as library:
            for outcome in library.watch([tmp_path], tagger(), model="one", stop=stop, interval=0.05):
                seen.append(outcome.path.name)
                if len(seen) == 1:
                    (tmp_path / "new.jpg").write_bytes(jpeg(7))
                else:
                    stop.set()
        assert seen == ["photo0.jpg", "new.jpg"]

    def test_a_watch_is_not_deaf_for_longer_after_it_has_tagged(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        stop = Looks(3)

        def slow(photos: Iterable[Path]) -> Iterator[ImageTags]:
            for said in tagger()(photos):
                time.sleep(0.1)
                yield said

        with Library(tmp_path) as library:
            assert len(list(library.watch([tmp_path], slow, model="one", stop=stop, interval=0.01))) == 1
        assert stop.waits[1] == 0.01

    @pytest.mark.parametrize("retry", [False, True])
    def test_a_watch_asks_once_for_what_failed_before(self, tmp_path: Path, retry: bool) -> None:
        fill(tmp_path, 1)
        (tmp_path / "bad.jpg").write_bytes(b"text")
        sidecar = tmp_path / "day 0" / "photo0.jpg.xmp"
        sidecar.write_bytes(b"<broken")
        assert statuses(run(tmp_path)) == ["quarantined"]
        sidecar.unlink()
        with Library(tmp_path) as library:
            found = library.watch([tmp_path], tagger(), model="one", stop=Looks(4), interval=0.01, retry=retry)
            expected = [("photo0.jpg", "written"), *([("bad.jpg", "quarantined")] if retry else [])]
            assert sorted((one.path.name, one.status) for one in found) == sorted(expected)

    def test_a_watch_outlives_its_folder_and_tells_once_that_it_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)  # where drives appear
        root, left, seen = tmp_path / "photos", list[Skipped](), list[str]()
        fill(root, 1)
        with Library(root, on_left_out=left.append) as library:
            for one in library.watch([root], tagger(), model="one", stop=Looks(4), interval=0.01):
                seen.append(one.path.name)
                root.rename(tmp_path / "away")
        assert seen == ["photo0.jpg"]
        assert [one.path for one in left if one.reason == "missing"] == [root]


class TestUndo:
    def test_all_a_folder_or_a_run(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "day 1" / "photo1.jpg.xmp").write_bytes(XmpPacket().to_bytes())
        (tmp_path / "day 1" / "photo1.jpg.xmp").chmod(0o600)
        before = tree(tmp_path)
        run(tmp_path)
        after = tree(tmp_path)
        with Library(tmp_path) as library:
            assert {report.status for report in library.undo(below=tmp_path / "day 1")} == {"restored"}
            now = tree(tmp_path)
            assert {k: v for k, v in now.items() if "day 1" in k} == {
                k: v for k, v in before.items() if "day 1" in k
            }
            assert {k: v for k, v in now.items() if "day 1" not in k} == {
                k: v for k, v in after.items() if "day 1" not in k
            }
            runs = list(library.runs())
            assert [(row.model, row.standing) for row in runs] == [("one", 8)]
            assert len(list(library.undo(run=runs[0].id))) == 8
            assert list(library.undo()) == []
        assert tree(tmp_path) == before
        assert len(run(tmp_path)) == 12, "what was undone is due again"
        assert tree(tmp_path) == after

    def test_two_runs_one_after_the_other(self, tmp_path: Path) -> None:
        fill(tmp_path, 4)
        before = tree(tmp_path)
        run(tmp_path)
        middle = tree(tmp_path)
        run(tmp_path, "three")
        with Library(tmp_path) as library:
            newer, older = [row.id for row in library.runs()]
            reports = list(library.undo(run=older))
            assert {report.status for report in reports} == {"kept"}
            assert f"run {newer} has changed it since" in (reports[0].reason or "")
            assert {report.status for report in library.undo(run=newer)} == {"restored"}
            assert tree(tmp_path) == middle
            list(library.undo())
        assert tree(tmp_path) == before
        run(tmp_path)
        run(tmp_path, "three")
        with Library(tmp_path) as library:
            assert {report.status for report in library.undo()} == {"restored"}
        assert tree(tmp_path) == before

    def test_later_changes_by_others_stay(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        run(tmp_path)
        added, deleted, broken = (tmp_path / f"day {n}" / f"photo{n}.jpg.xmp" for n in range(3))
        packet = XmpPacket(added.read_bytes())
        packet.add(Entries(keywords=("Mine",)))
        added.write_bytes(packet.to_bytes())
        deleted.unlink()
        broken.write_bytes(b"<broken")
        with Library(tmp_path) as library:
            reports = {report.target.name: report.status for report in library.undo()}
        assert reports == {"photo0.jpg.xmp": "cleaned", "photo1.jpg.xmp": "gone", "photo2.jpg.xmp": "kept"}
        assert XmpPacket(added.read_bytes()).entries() == Entries(keywords=("Mine",))
        assert broken.read_bytes() == b"<broken"
        assert not deleted.exists()

    def test_interrupted_between_a_restored_file_and_its_record(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, 3)
        before = tree(tmp_path)
        run(tmp_path)
        from landmarks.library import undo

        original = undo.put_file

        def interrupted(path: Path, *arguments: object, **options: object) -> None:
            original(path, *arguments, **options)  # type: ignore[arg-type]
            if "photo1" in path.name:
                raise KeyboardInterrupt

        with Library(tmp_path) as library:
            with monkeypatch.context() as patch:
                patch.setattr(undo, "put_file", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    list(library.undo())
            gone = {path.stem for path in tmp_path.rglob("*.jpg") if not Path(f"{path}.xmp").exists()}
            assert "photo1" in gone
            assert {one.path.stem for one in library.tag([tmp_path], tagger(), model="one")} == gone
            list(library.undo())
        assert tree(tmp_path) == before

    @pytest.mark.parametrize("later", [False, True], ids=["in the same process", "in the next one"])
    @pytest.mark.parametrize("where", ["before the write", "after the write"])
    def test_interrupted_between_a_write_and_its_record(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, later: bool
    ) -> None:
        fill(tmp_path, 3)
        (tmp_path / "day 1" / "photo1.jpg.xmp").write_bytes(XmpPacket().to_bytes())
        before = tree(tmp_path)
        from landmarks.library import batch

        original = batch.put_file

        def interrupted(path: Path, *arguments: object, **options: object) -> None:
            if "photo1" in path.name and where == "before the write":
                raise KeyboardInterrupt
            original(path, *arguments, **options)  # type: ignore[arg-type]
            if "photo1" in path.name:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, Library(tmp_path) as library:
            patch.setattr(batch, "put_file", interrupted)
            with pytest.raises(KeyboardInterrupt):
                list(library.tag([tmp_path], tagger(), model="one"))
            patch.undo()
            if not later:
                assert {report.status for report in library.undo()} == {"restored"}
                assert tree(tmp_path) == before
        with Library(tmp_path) as library:
            list(library.tag([tmp_path], tagger(), model="one"))
            assert {report.status for report in library.undo()} == {"restored"}
            assert [row.standing for row in library.runs()] == [0] * len(list(library.runs()))
        assert tree(tmp_path) == before


class TestVerdicts:
    def test_options_outlive_a_rejection(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(jpeg())
        (outcome,) = run(tmp_path, gps=True)
        written = (tmp_path / "a.jpg.xmp").read_bytes()
        assert b"GPSProcessingMethod" in written
        with Library(tmp_path) as library:
            library.reject(tmp_path / "a.jpg", outcome.tags[0].name)
            assert b"GPS" not in (tmp_path / "a.jpg.xmp").read_bytes()
            library.confirm(tmp_path / "a.jpg", outcome.tags[0].name)
        assert (tmp_path / "a.jpg.xmp").read_bytes() == written
        assert run(tmp_path, gps=True) == []

    def test_a_folder_is_no_photo(self, tmp_path: Path) -> None:
        with Library(tmp_path) as library:
            for judge in (library.reject, library.confirm):
                with pytest.raises(InputError, match="this is a folder: give one of its photos"):
                    judge(tmp_path, "Louvre Museum")

    def test_a_rejected_tag_never_comes_back(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        before = tree(tmp_path)
        everything = tagger(tags=lambda _: TAGS)
        with Library(tmp_path) as library:
            list(library.tag([photo], everything, model="one"))
            assert "Louvre Museum" in keywords(tmp_path / "a.jpg.xmp")
            assert statuses(library.reject(photo, "louvre museum")) == ["written"]
            assert "Louvre Museum" not in keywords(tmp_path / "a.jpg.xmp")
            assert "Eiffel Tower" in keywords(tmp_path / "a.jpg.xmp")
            list(library.tag([photo], everything, model="two"))
            assert "Louvre Museum" not in keywords(tmp_path / "a.jpg.xmp")
            moved = tmp_path / "moved.jpg"
            moved.write_bytes(photo.read_bytes())
            list(library.tag([moved], everything, model="two"))
            assert "Louvre Museum" not in keywords(tmp_path / "moved.jpg.xmp"), "found by its content"
            moved.unlink()
            library.reject(photo, "Paris")
            assert keywords(tmp_path / "a.jpg.xmp") == ("Colosseum", "Rome", "Italy")
            assert {report.status for report in library.undo()} <= {"restored"}
        assert tree(tmp_path) == before

    def test_a_confirmed_tag_stays_whatever_models_say(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        with Library(tmp_path) as library:
            with pytest.raises(InputError, match="never had a tag 'Louvre Museum'; its tags: none"):
                library.confirm(photo, "Louvre Museum")
            list(library.tag([photo], tagger(tags=lambda _: TAGS[:2]), model="one"))
            library.reject(photo, "Louvre Museum")
            library.confirm(photo, "LOUVRE MUSEUM")
            assert "Louvre Museum" in keywords(tmp_path / "a.jpg.xmp")
            library.confirm(photo, TAGS[2])
            list(library.tag([photo], tagger(tags=lambda _: []), model="two"))
            assert set(keywords(tmp_path / "a.jpg.xmp")) == {
                *("Louvre Museum", "Paris", "France"),
                *("Colosseum", "Rome", "Italy"),
            }

    def test_a_place_rejected_after_a_tag_in_it_was_confirmed(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        with Library(tmp_path) as library:
            list(library.tag([photo], tagger(tags=lambda _: TAGS), model="one"))
            for place in ("Paris", "France"):
                library.confirm(photo, "Eiffel Tower")
                assert "Eiffel Tower" in keywords(sidecar)
                library.reject(photo, place)
                assert keywords(sidecar) == ("Colosseum", "Rome", "Italy")
            library.confirm(photo, "Eiffel Tower")
            assert keywords(sidecar) == ("Colosseum", "Rome", "Italy", "Eiffel Tower", "Paris", "France")

    def test_a_tag_taken_out_by_hand_is_rejected(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        run(tmp_path)
        packet = XmpPacket(sidecar.read_bytes())
        first = packet.entries()
        packet.remove(Entries(keywords=first.keywords[:1]))
        sidecar.write_bytes(packet.to_bytes())
        for model in ("one more", "one even more"):
            run(tmp_path, model)
            assert first.keywords[0] not in keywords(sidecar)

    def test_what_was_taken_out_by_hand_is_told_and_can_be_confirmed_again(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        (first,) = run(tmp_path)
        name = first.tags[0].name
        take_out(sidecar, Entries(keywords=(name,)))
        (outcome,) = run(tmp_path, "two")
        assert (outcome.tags, outcome.rejected) == ((), (name,))
        for removed in (Entries(), Entries(keywords=(name,))):  # also where no run has looked since
            take_out(sidecar, removed)
            with Library(tmp_path) as library:
                assert library.confirm(photo, name)[0].rejected == ()
            assert name in keywords(sidecar)

    @pytest.mark.parametrize("which", ["keywords", "country"])
    def test_a_country_taken_out_by_hand_leaves_the_landmark_and_stays_out(
        self, tmp_path: Path, which: str
    ) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        with Library(tmp_path) as library:
            list(library.tag([photo], tagger(tags=lambda _: TAGS[:1]), model="0"))
            take_out(sidecar, Entries(**{which: ("France",)}))
            for count in (2, 1, 2):
                few = tagger(tags=lambda _, count=count: TAGS[:count])
                (outcome,) = library.tag([photo], few, model=str(count))
                assert (len(outcome.tags), outcome.rejected) == (count, ())
                entries = XmpPacket(sidecar.read_bytes()).entries()
                assert "Eiffel Tower" in entries.keywords
                assert "France" not in getattr(entries, which)
            assert list(library.verdicts()) == []

    def test_a_city_taken_out_by_hand_leaves_the_landmark_in_it(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        paris = Place("paris", "Paris", "Paris", "France", "FR", "", None, None, None)
        both = tagger(tags=lambda _: [TAGS[0], Tag("Paris", "city", 1.0, paris, None, "position")])
        with Library(tmp_path) as library:
            list(library.tag([photo], both, model="0"))
            take_out(sidecar, Entries(keywords=("Paris",)))
            for model in "12":
                list(library.tag([photo], both, model=model))
                assert "Eiffel Tower" in keywords(sidecar)
                assert "Paris" not in keywords(sidecar)

    def test_a_sidecar_without_anything_of_ours_is_a_new_one(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        mine = XmpPacket()
        mine.add(Entries(keywords=("Mine",)))
        sidecar.write_bytes(mine.to_bytes())
        (first,) = run(tmp_path)
        sidecar.write_bytes(mine.to_bytes())  # restored from a backup
        photo.write_bytes(jpeg(1))
        (second,) = run(tmp_path)
        assert (second.status, second.tags, second.rejected) == ("written", first.tags, ())
        assert first.tags[0].name in keywords(sidecar)

    def test_a_verdict_before_any_run(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        with Library(tmp_path) as library:
            for tag in TAGS:
                assert library.reject(photo, tag.name) == []
            assert statuses(library.tag([photo], tagger(), model="one")) == ["unchanged"]
            with pytest.raises(InputError, match=r"missing\.jpg: no such file"):
                library.reject(tmp_path / "missing.jpg", "x")


@needs_exiftool
class TestInPlace:
    def test_photos_come_back_byte_for_byte(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x010E] = "mine"
        for number, options in enumerate(({}, {"exif": exif}, {"xmp": XmpPacket().to_bytes()}, {"comment": b"c"})):
            (tmp_path / f"{number}.jpg").write_bytes(jpeg(number, **options))
            os.utime(tmp_path / f"{number}.jpg", ns=(10**18 + number, 10**18 + number))
        before = tree(tmp_path)
        outcomes = run(tmp_path, in_place=True, iptc=True, gps=True)
        assert statuses(outcomes) == ["written"]
        after = tree(tmp_path)
        assert {name: value[2] for name, value in after.items()} == {
            name: value[2] for name, value in before.items()
        }
        assert all(after[name][0] != before[name][0] for name in before)
        assert run(tmp_path, in_place=True, iptc=True, gps=True) == []
        with Library(tmp_path) as library:
            library.reject(tmp_path / "0.jpg", outcomes[0].tags[0].name)
            assert tree(tmp_path) != after
            assert {report.status for report in library.undo()} == {"restored"}
        assert tree(tmp_path) == before

    def test_later_changes_by_others_stay(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        run(tmp_path, in_place=True)
        exiftool_writes(photo, "-XMP-dc:Subject+=Mine", "-XMP:Rating=3")
        with Library(tmp_path) as library:
            assert [report.status for report in library.undo()] == ["cleaned"]
        with Image.open(photo) as image:
            packet = XmpPacket(image.info["xmp"])
        assert packet.entries() == Entries(keywords=("Mine",))
        assert b"Rating" in packet.to_bytes()

    @pytest.mark.parametrize("where", [{"in_place": True}, {"program": "lightroom"}, {}])
    def test_a_verdict_by_a_relative_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, object]
    ) -> None:
        photo = tmp_path / "trip" / "a.jpg"
        photo.parent.mkdir()
        photo.write_bytes(jpeg())
        (outcome,) = run(photo.parent, **where)
        written = photo if where else photo.with_name("a.jpg.xmp")
        name = outcome.tags[0].name.encode()
        monkeypatch.chdir(tmp_path)
        with Library(Path("trip")) as library:
            assert statuses(library.reject(Path("trip/a.jpg"), name.decode())) == ["written"]
            assert name not in written.read_bytes()
            assert statuses(library.confirm(Path("trip/a.jpg"), name.decode())) == ["written"]
            assert name in written.read_bytes()

    @pytest.mark.parametrize("seed", [0, 1], ids=["a backup of it", "another photo"])
    def test_a_photo_that_came_anew_under_its_name_is_tagged_anew(self, tmp_path: Path, seed: int) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        (first,) = run(tmp_path, in_place=True, gps=True)
        photo.write_bytes(jpeg(seed))
        before = tree(tmp_path)
        (second,) = run(tmp_path, in_place=True, gps=True)
        assert (second.status, second.tags, second.rejected) == ("written", first.tags, ())
        with Library(tmp_path) as library:
            assert list(library.verdicts()) == []
            list(library.undo())
        assert tree(tmp_path) == before

    def test_options_outlive_a_rejection(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        (outcome,) = run(tmp_path, in_place=True, iptc=True, gps=True)
        with Library(tmp_path) as library:
            library.reject(photo, outcome.tags[0].name)
            library.confirm(photo, outcome.tags[0].name)
        said = exiftool_says(photo)
        assert outcome.tags[0].name in said["IPTC:Keywords"]
        assert "GPS:GPSLatitude" in said

    def test_a_keyword_taken_out_of_the_photo_by_hand(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        (first,) = run(tmp_path, in_place=True)
        tag = first.tags[0]
        assert tag.place is not None
        exiftool_writes(photo, f"-XMP-dc:Subject-={tag.place.country}")
        (second,) = run(tmp_path, in_place=True)
        assert (second.tags, second.rejected) == (first.tags, ())
        exiftool_writes(photo, f"-XMP-dc:Subject-={tag.name}")
        (third,) = run(tmp_path, in_place=True)
        assert (third.tags, third.rejected) == ((), (tag.name,))

    @pytest.mark.parametrize("first", [{}, {"in_place": True}], ids=["sidecar first", "photo first"])
    def test_both_files_of_a_photo_are_kept_up_to_date(self, tmp_path: Path, first: dict[str, bool]) -> None:
        photo = tmp_path / "a.jpg"
        packet = XmpPacket()
        packet.add(Entries(keywords=("Mine",)))
        photo.write_bytes(jpeg(xmp=packet.to_bytes()))
        before = tree(tmp_path)

        def both() -> list[set[str]]:
            with Image.open(photo) as image:
                inside = XmpPacket(image.info["xmp"])
            return [set(keywords(Path(f"{photo}.xmp"))), set(inside.entries().keywords)]

        for options in (first, {} if first else {"in_place": True}):
            with Library(tmp_path, options=WriteOptions(**options)) as library:
                list(library.tag([photo], tagger(tags=lambda _: TAGS[:2]), model="one"))
        with Library(tmp_path) as library:
            library.reject(photo, "Eiffel Tower")
            assert both() == [{"Mine", "Louvre Museum", "Paris", "France"}] * 2
            library.confirm(photo, "Eiffel Tower")
            assert both() == [{"Mine", "Louvre Museum", "Eiffel Tower", "Paris", "France"}] * 2
            assert {report.status for report in library.undo()} == {"restored"}
            assert tree(tmp_path) == before

    @pytest.mark.parametrize("first", [{}, {"in_place": True}], ids=["sidecar first", "photo first"])
    def test_what_was_removed_by_hand_from_one_file_goes_from_both(
        self, tmp_path: Path, first: dict[str, bool]
    ) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        both = tagger(tags=lambda _: TAGS[1:])
        for options in (first, {} if first else {"in_place": True}):
            with Library(tmp_path, options=WriteOptions(**options)) as library:
                list(library.tag([photo], both, model="one"))
        take_out(Path(f"{photo}.xmp"), Entries(keywords=("Louvre Museum",)))
        with Library(tmp_path) as library:
            (outcome,) = library.tag([photo], both, model="two")
        assert (outcome.status, outcome.rejected) == ("written", ("Louvre Museum",))
        assert keywords(Path(f"{photo}.xmp")) == ("Colosseum", "Rome", "Italy")
        assert exiftool_says(photo)["XMP-dc:Subject"] == ["Colosseum", "Rome", "Italy"]

    def test_a_photo_from_which_ours_is_gone_is_left_to_a_run_in_place(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        run(tmp_path, in_place=True)
        run(tmp_path)
        photo.write_bytes(jpeg())
        (outcome,) = run(tmp_path, "three")
        assert (outcome.status, photo.read_bytes()) == ("written", jpeg())

    def test_a_sidecar_is_undone_while_the_photo_keeps_its_tags(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        run(tmp_path)
        run(tmp_path, in_place=True)
        packet = XmpPacket(sidecar.read_bytes())
        packet.add(Entries(keywords=("Mine",)))
        sidecar.write_bytes(packet.to_bytes())
        with Library(tmp_path) as library:
            assert [report.status for report in library.undo(run=1)] == ["cleaned"]
        assert keywords(sidecar) == ("Mine",)

    def test_a_keyword_too_long_for_iptc_is_told(self, tmp_path: Path) -> None:
        photo, name = tmp_path / "a.jpg", "Place " * 11 + "x"
        photo.write_bytes(jpeg())
        with Library(tmp_path, options=WriteOptions(in_place=True, iptc=True)) as library:
            long = replace(TAGS[0], name=name)
            (outcome,) = library.tag([photo], tagger(tags=lambda _: [long]), model="one")
        said = exiftool_says(photo)
        assert said["IPTC:Keywords"] == ["Paris", "France"]
        assert said["XMP-dc:Subject"] == [name, "Paris", "France"]
        (note,) = notes_on(photo, outcome)
        assert note.startswith(f"{photo}: {name}: over the 64 bytes of an IPTC keyword")

    def test_links_are_not_turned_into_files(self, tmp_path: Path) -> None:
        root = tmp_path / "library"
        root.mkdir()
        (tmp_path / "a.jpg").write_bytes(jpeg())
        (root / "link.jpg").symlink_to(tmp_path / "a.jpg")
        assert "link" in (run(root, in_place=True)[0].reason or "")
        assert (root / "link.jpg").is_symlink()


class TestBadInput:
    def test_a_broken_sidecar_is_left_alone_and_taken_up_when_mended(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        sidecar = tmp_path / "day 0" / "photo0.jpg.xmp"
        sidecar.write_bytes(b"<x:xmpmeta>my own")
        outcomes = {outcome.path.name: outcome for outcome in run(tmp_path)}
        assert outcomes["photo1.jpg"].status == "written"
        assert "left alone" in (outcomes["photo0.jpg"].reason or "")
        assert sidecar.read_bytes() == b"<x:xmpmeta>my own"
        sidecar.write_bytes(XmpPacket().to_bytes())
        assert statuses(run(tmp_path)) == ["written"]

    def test_a_photo_that_changes_while_it_is_tagged(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        photo = tmp_path / "day 0" / "photo0.jpg"

        def meddling(photos: Iterable[Path]) -> Iterator[ImageTags]:
            for result in tagger()(photos):
                if result.path == photo:
                    status = photo.stat()
                    photo.write_bytes(jpeg(0)[:-1] + b"?")
                    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
                yield result

        with Library(tmp_path) as library:
            outcomes = {o.path.name: o.status for o in library.tag([tmp_path], meddling, model="one")}
        assert outcomes == {"photo0.jpg": "changed", "photo1.jpg": "written"}
        assert not photo.with_name("photo0.jpg.xmp").exists()
        assert [outcome.path for outcome in run(tmp_path)] == [photo]

    def test_a_sidecar_that_changes_between_plan_and_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        from landmarks.library import batch

        original = batch.put_file

        def late(*arguments: object, **options: object) -> None:
            sidecar.write_bytes(b"the user's")
            original(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "put_file", late)
        assert statuses(run(tmp_path)) == ["changed"]
        assert sidecar.read_bytes() == b"the user's"

    def test_a_sidecar_that_changes_while_a_verdict_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        (first,) = run(tmp_path)
        from landmarks.library import batch

        original = batch.put_file

        def late(*arguments: object, **options: object) -> None:
            photo.with_name("a.jpg.xmp").write_bytes(b"the user's")
            original(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "put_file", late)
        with Library(tmp_path) as library, pytest.raises(MetadataError, match="changed in the meantime"):
            library.reject(photo, first.tags[0].name)

    @needs_exiftool
    @pytest.mark.parametrize("remote", [False, True])
    def test_a_photo_that_changes_between_plan_and_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
    ) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg())
        edited = photo.read_bytes()[:-1] + b"?"
        from landmarks.library import batch

        original = batch.put_file

        def late(*arguments: object, **options: object) -> None:
            status = photo.stat()
            photo.write_bytes(edited)
            os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
            if remote:  # the other machine's change does not show yet
                monkeypatch.setattr(batch.Snapshot, "still_true", lambda _snapshot, _path: True)
            original(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "is_remote", lambda _path: remote)
        monkeypatch.setattr(batch, "put_file", late)
        assert statuses(run(tmp_path, in_place=True)) == ["changed"]
        assert photo.read_bytes() == edited

    def test_read_only_sidecars_and_photos(self, tmp_path: Path) -> None:
        photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
        photo.write_bytes(jpeg())
        photo.chmod(0o444)
        assert statuses(run(tmp_path)) == ["written"], "a sidecar does not touch the photo"
        sidecar.chmod(0o444)
        reason = run(tmp_path, "three")[0].reason or ""
        assert reason.startswith(sidecar.name), "it is not the photo that is to blame"
        assert "read-only" in reason

    def test_no_permission_for_one_file_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, 3)
        real = Path.touch

        def refusing(path: Path, *, exist_ok: bool = True) -> None:
            if path.name.startswith(".photo1"):
                raise PermissionError(13, "Permission denied")
            real(path, exist_ok=exist_ok)

        monkeypatch.setattr(Path, "touch", refusing)
        found = {outcome.path.name: outcome.status for outcome in run(tmp_path)}
        assert found == {"photo0.jpg": "written", "photo1.jpg": "quarantined", "photo2.jpg": "written"}
        monkeypatch.undo()
        assert [outcome.path.name for outcome in run(tmp_path)] == ["photo1.jpg"]

    @needs_mount
    def test_a_full_disk_stops_the_run_and_loses_nothing(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=260k", "tmpfs", disk], check=False).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            fill(disk, 40)
            before = tree(disk)
            with Library(disk, ledger=tmp_path / "ledger") as library:
                with pytest.raises(StorageError, match="disk is full"):
                    list(library.tag([disk], tagger(), model="one"))
                assert {name: tree(disk)[name] for name in before} == before
                assert not [path for path in disk.rglob(".*") if path.is_file()], "no half files"
                subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
                list(library.tag([disk], tagger(), model="one"))
                assert len(tree(disk)) == 80
                assert {report.status for report in library.undo()} == {"restored"}
            assert tree(disk) == before
        finally:
            subprocess.run(["umount", disk], check=True)

    @needs_mount
    def test_a_library_on_a_read_only_mount(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            fill(disk, 2)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            for ledger in (None, tmp_path / "ledger"):
                with (
                    Library(disk, ledger=ledger) as library,
                    pytest.raises(StorageError, match=r"the file system is read-only: choose another place"),
                ):
                    list(library.tag([disk], tagger(), model="one"))
            with Library(disk, read_only=True) as library:
                assert statuses(library.tag([disk], tagger(), model="one")) == ["planned"]
            name = next(disk.rglob("*.jpg"))
            with Library(disk) as library:
                library.reject(name, "Paris")
            with Library(disk) as library:
                assert [verdict.name for _, verdict in library.verdicts()] == ["paris"], "kept outside"
        finally:
            subprocess.run(["umount", disk], check=True)


WORKER = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[4], os.path.dirname(sys.argv[4])]
from test_library import tagger
from landmarks.library.library import Library
root, last = Path(sys.argv[1]), int(sys.argv[3])
steps = 0
def count(event, _arguments):
    global steps
    if event in {"open", "os.chmod", "os.utime", "os.rename", "os.remove", "os.scandir"}:
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
with Library(root) as library:
    if sys.argv[2] == "undo":
        list(library.undo())
    else:
        for outcome in library.tag([root], tagger(), model="one"):
            print(outcome.status, flush=True)
"""


def start(root: Path, what: str = "tag", last: int = -1) -> subprocess.Popen[bytes]:
    """Start a process that kills itself before its step number `last` on the file system."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, root, what, str(last), Path(__file__).parent], stdout=subprocess.PIPE
    )


class TestProcesses:
    @pytest.mark.parametrize("what", ["tag", "undo"])
    def test_killed_at_any_moment_the_result_is_the_same(self, tmp_path: Path, what: str) -> None:
        reference, root = tmp_path / "reference", tmp_path / "library"
        fill(reference, 40)
        for photo in reference.glob("day 0/*.jpg"):
            photo.with_name(photo.name + ".xmp").write_bytes(XmpPacket().to_bytes())
        shutil.copytree(reference, root)
        before = tree(root)
        run(reference)
        if what == "undo":
            run(root)
        chance = random.Random(5)
        killed, status = 0, -1
        while status != 0 and killed < 100:
            worker = start(root, what, chance.randrange(1, 240 if what == "tag" else 100))
            worker.communicate()
            status = worker.returncode
            assert status in {0, -signal.SIGKILL}
            killed += status != 0
            for photo in root.rglob("*.jpg"):
                assert photo.read_bytes() == before[os.fspath(photo.relative_to(root))][0]
            for sidecar in root.rglob("[!.]*.xmp"):
                XmpPacket(sidecar.read_bytes())
        assert killed >= 3
        assert status == 0
        result, expected = tree(root), (before if what == "undo" else tree(reference))
        assert {k: v[0] for k, v in result.items()} == {k: v[0] for k, v in expected.items()}
        assert run(root) == [] or what == "undo"
        with Library(root) as library:
            assert {report.status for report in library.undo()} <= {"restored"}
        assert tree(root) == before

    def test_several_at_once_do_everything_once(self, tmp_path: Path) -> None:
        fill(tmp_path, 120)
        before = tree(tmp_path)
        workers = [start(tmp_path) for _ in range(3)]
        outputs = [worker.communicate()[0].split() for worker in workers]
        assert all(worker.returncode == 0 for worker in workers)
        assert sum(output.count(b"written") for output in outputs) == 120
        assert len(tree(tmp_path)) == 240
        with Library(tmp_path) as library:
            assert {report.status for report in library.undo()} == {"restored"}
        assert tree(tmp_path) == before


IN_PLACE_STEPS = 120
"""Of the 500; ExifTool takes its time."""

USER_SIDECARS = [
    None,
    XmpPacket().to_bytes(),
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    '<?xml version="1.0" encoding="UTF-16"?>\r\n<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description r:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><r:Bag><r:li>Paris</r:li>'
    "<r:li>\u00e9</r:li></r:Bag></dc:subject></r:Description></r:RDF>".encode("utf-16"),
    b"<broken",
    b"",
]


OUR_WORDS = {place.name for place in PLACES} | {"Paris", "Rome", "France", "Italy"}


class _UsersFiles:
    """What the user and other programs have made of a library's files, whatever we write in between.

    Args:
        root: Of the library; nothing of ours stands in it.
        chance: Decides what others do.
    """

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root = root
        self._chance = chance
        self._expected = tree(root)
        self._words: dict[str, set[str]] = {}  # of sidecars to which others added while ours stood

    def change_by_others(self, photo: Path, *, in_place: bool) -> None:
        """Let another program change what we may just have written."""
        word = f"Oma {self._chance.randrange(1000)}"
        packet = XmpPacket()
        packet.add(Entries(keywords=(word,)))
        sidecar = photo.with_name(photo.name + ".xmp")
        kind = self._chance.choice(["replace", "remove", "add"])
        if in_place:
            photo.write_bytes(jpeg(self._chance.randrange(1000), xmp=packet.to_bytes()))
            self._note(photo)
        elif sidecar.exists() and sidecar.read_bytes() in USER_SIDECARS[4:]:
            pass  # broken, and so left alone by everybody
        elif kind == "replace":
            sidecar.write_bytes(packet.to_bytes())
            self._note(sidecar)
        elif kind == "remove":
            sidecar.unlink(missing_ok=True)
            self._note(sidecar)
        elif sidecar.exists():
            self._add(sidecar, word)

    def look_again(self) -> None:
        """Take what stands there now for the user's; nothing of ours may."""
        self._expected = tree(self._root)

    def check(self) -> None:
        """After an undo of everything: byte for byte, or word for word where others had added to ours."""
        now = tree(self._root)
        for name, words in self._words.items():
            left = set(keywords(self._root / name))
            assert words <= left
            # What a photo says itself is kept in view in its new sidecar too.
            assert not left & OUR_WORDS - words - {"Paris"}
            self._expected[name] = now[name]
        self._words.clear()
        assert now == self._expected

    def _name(self, path: Path) -> str:
        return os.fspath(path.relative_to(self._root))

    def _note(self, path: Path) -> None:
        name = self._name(path)
        self._words.pop(name, None)
        self._expected.pop(name, None)
        if path.exists():
            self._expected[name] = tree(self._root)[name]

    def _add(self, sidecar: Path, word: str) -> None:
        name = self._name(sidecar)
        if name not in self._words:
            known = self._expected.get(name)
            self._words[name] = set(XmpPacket(known[0]).entries().keywords) if known is not None else set()
        self._words[name].add(word)
        packet = XmpPacket(sidecar.read_bytes())
        packet.add(Entries(keywords=(word,)))
        sidecar.write_bytes(packet.to_bytes())


@pytest.mark.parametrize("mode", ["sidecar", *(pytest.param(m, marks=needs_exiftool) for m in ("photo", "both"))])
def test_random_steps_lose_no_byte(tmp_path: Path, mode: str) -> None:
    """500 writes, undoes, verdicts and changes by others, at random; what is not ours is as others left it."""
    chance = random.Random(11)
    _fill_with_all_kinds(tmp_path)
    users = _UsersFiles(tmp_path, chance)
    photos = sorted(path for path in tmp_path.rglob("*.jpg"))
    in_place = mode != "sidecar"
    options = WriteOptions(in_place=True, iptc=True, gps=True) if in_place else WriteOptions()
    library = Library(tmp_path, options=options)
    written = 0
    try:
        for _ in range(IN_PLACE_STEPS if in_place else 500 - IN_PLACE_STEPS):
            step, photo = chance.random(), chance.choice(photos)
            if step < 0.5:
                model = "m" * chance.randrange(1, 4)
                batch = chance.sample(photos, 2)
                written += sum(o.status == "written" for o in library.tag(batch, tagger(model), model=model))
            elif step < 0.6:
                try:
                    library.reject(photo, chance.choice(TAGS).name)
                    library.confirm(photo, chance.choice(TAGS))
                except MetadataError:
                    pass  # the sidecar is broken
            elif step < 0.7:
                list(library.undo(below=photo))
            elif step < 0.76:
                runs = [row.id for row in library.runs()]
                if runs:
                    list(library.undo(run=chance.choice(runs)))
            elif step < 0.8:
                library.close()
                if mode == "both":
                    options = WriteOptions(in_place=not options.in_place, gps=True)
                library = Library(tmp_path, options=options)
            elif step < 0.88:
                users.change_by_others(photo, in_place=options.in_place)
            else:
                assert {report.status for report in library.undo()} <= {"restored", "cleaned", "gone"}
                users.check()
                if step > 0.95:  # the user changes the photo while nothing of ours stands
                    photo.write_bytes(jpeg(chance.randrange(1000)))
                    users.look_again()
        assert {report.status for report in library.undo()} <= {"restored", "cleaned", "gone"}
    finally:
        library.close()
    users.check()
    assert written > (30 if in_place else 100)


def _fill_with_all_kinds(root: Path) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)}
    packet = XmpPacket()
    packet.add(Entries(keywords=("Holiday", "Paris"), hierarchy=("Family|Anna",)))
    kinds: list[dict[str, object]] = [{}, {"exif": exif}, {"xmp": packet.to_bytes()}, {"comment": b"note"}]
    for number, sidecar in enumerate(USER_SIDECARS):
        folder = root / str(number % 2)
        folder.mkdir(exist_ok=True)
        photo = folder / f"{'p' * (number + 1)}.jpg"
        photo.write_bytes(jpeg(number, **kinds[number % len(kinds)]))
        if sidecar is not None:
            photo.with_name(photo.name + ".xmp").write_bytes(sidecar)
    odd = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg"))
    odd.write_bytes(jpeg(50))


def test_memory_does_not_grow_with_the_library(tmp_path: Path) -> None:
    fill(tmp_path, 72)

    def held(stream: Iterable[object]) -> list[int]:
        """Bytes in use after every 6th item, garbage aside."""
        sizes = []
        for number, _ in enumerate(stream):
            if number % 6 == 0:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        return sizes

    with Library(tmp_path) as library:
        gc.collect()
        gc.freeze()  # what other tests have loaded: PyTorch takes half a second of each collection
        tracemalloc.start()
        try:
            for stream in (library.tag([tmp_path], tagger(), model="one"), library.undo()):
                sizes = held(stream)
                assert len(sizes) == 12
                assert max(sizes[6:]) < max(sizes[1:6]) + 50_000
        finally:
            tracemalloc.stop()
            gc.unfreeze()
