"""Steps of a review: verdicts on many photos, undone byte for byte, done again, and what comes in between."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from exiftool_process import needs_exiftool
from PIL import Image

from landmarks.errors import StorageError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.library import batch
from landmarks.library.library import LEDGER, Library
from landmarks.library.records import Verdict
from landmarks.library.review.judging import Judgement
from landmarks.library.review.steps import Steps
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.tags import ImageTags, Tag, tags_to_json


def place_tag(key: str) -> Tag:
    place = Gazetteer.bundled().get(key)
    assert place is not None
    return Tag(place.name, "landmark", 0.9, place, key)


TOWER, HENGE = place_tag("eiffel_tower"), place_tag("stonehenge")
REJECT = Verdict("eiffel tower", "rejected", tags_to_json([TOWER]))
CONFIRM = Verdict("eiffel tower", "confirmed", tags_to_json([TOWER]))
INSTEAD = Verdict("stonehenge", "confirmed", tags_to_json([HENGE]))


def tag_photos(photos: Iterable[Path]) -> Iterator[ImageTags]:
    for photo in photos:
        yield ImageTags(photo, () if "grey" in photo.name else (TOWER,), (), "one")


def files_of(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns if path.suffix != ".xmp" else 0)
        for path in sorted(root.rglob("*"))
        if path.is_file() and LEDGER.parts[0] not in path.parts
    }


def keywords(photo: Path) -> tuple[str, ...]:
    return XmpPacket(photo.with_name(photo.name + ".xmp").read_bytes()).entries().keywords


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(["tower.jpg", "other.jpg", "grey.jpg"]):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 24, 3), dtype=np.uint8)
        content = BytesIO()
        Image.fromarray(pixels).save(content, "JPEG")
        (tmp_path / name).write_bytes(content.getvalue())
    return tmp_path


def tag_all(library: Library, model: str = "one") -> None:
    list(library.tag([library.root], tag_photos, model=model))


def test_each_step_is_undone_byte_for_byte_and_done_again(root: Path) -> None:
    made = files_of(root)
    with Library(root) as library:
        tag_all(library)
        steps, states = Steps(library), [files_of(root)]
        tower, other, grey = (root / name for name in ("tower.jpg", "other.jpg", "grey.jpg"))
        steps.make("confirmed", [Judgement(tower, (CONFIRM,)), Judgement(other, (CONFIRM,))])
        states.append(files_of(root))
        steps.make("something else", [Judgement(tower, (REJECT, INSTEAD)), Judgement(grey, (INSTEAD,))])
        states.append(files_of(root))
        assert "Stonehenge" in keywords(grey), "written at once, though nothing was written for it before"
        assert "Eiffel Tower" not in keywords(tower)
        steps.make("rejected", [Judgement(other, (REJECT,))])
        states.append(files_of(root))
        assert (steps.can_undo, steps.can_redo) == (3, 0)
        for state in states[-2::-1]:
            steps.undo()
            assert files_of(root) == state
        assert steps.undo() is None
        assert not list(library.verdicts())
        for state in states[1:]:
            step = steps.redo()
            assert step is not None
            assert not step.refused
            assert {name: content for name, (content, _) in files_of(root).items()} == {
                name: content for name, (content, _) in state.items()
            }
        assert (steps.can_undo, steps.can_redo) == (3, 0)
        for _ in range(3):
            steps.undo()
        assert files_of(root) == states[0]
        assert {report.status for report in library.undo()} == {"restored"}
    assert files_of(root) == made


def test_an_undone_step_leaves_nothing_to_tag_again(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        steps = Steps(library)
        steps.make("rejected", [Judgement(root / "tower.jpg", (REJECT,))])
        steps.undo()
        assert list(library.tag([root], tag_photos, model="one")) == []


def test_steps_survive_the_end_of_the_process(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        before = files_of(root)
        Steps(library).make("rejected", [Judgement(root / "tower.jpg", (REJECT,))], {"a": 1})
    with Library(root) as library:
        step = Steps(library).undo()
        assert step is not None
        assert (step.text, step.more, step.photos) == ("rejected", {"a": 1}, (root / "tower.jpg",))
    assert files_of(root) == before


def test_a_new_step_ends_what_could_be_done_again(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        steps = Steps(library)
        steps.make("rejected", [Judgement(root / "tower.jpg", (REJECT,))])
        steps.undo()
        steps.make("confirmed", [Judgement(root / "tower.jpg", (CONFIRM,))])
        assert (steps.can_undo, steps.can_redo) == (1, 0)
        assert steps.redo() is None


def test_a_file_that_was_written_since_loses_the_verdict_only(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        steps, photo = Steps(library), root / "tower.jpg"
        steps.make("rejected", [Judgement(photo, (REJECT, INSTEAD))])
        tag_all(library, "two")

        def newer(due: Iterable[Path]) -> Iterator[ImageTags]:
            return (ImageTags(one, (HENGE,), (), "three") for one in due)

        list(library.tag([root], newer, model="three"))
        step = steps.undo()
        assert step is not None
        assert not step.refused
        assert keywords(photo) == ("Eiffel Tower", "Paris", "France")
        assert not list(library.verdicts())
        assert [outcome.path for outcome in library.tag([root], newer, model="three")] == [photo]
        assert keywords(photo)[0] == "Stonehenge", "the newest model counts"


def test_a_step_on_photos_that_were_moved_or_swapped_since_is_undone_and_done_again(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        tower, moved = root / "tower.jpg", root / "new" / "moved.jpg"
        before = (root / "tower.jpg.xmp").read_bytes()
        steps = Steps(library)
        steps.make("rejected", [Judgement(tower, (REJECT,))])
        moved.parent.mkdir()
        for end in ("", ".xmp"):
            Path(f"{tower}{end}").rename(f"{moved}{end}")
            (root / f"other.jpg{end}").rename(f"{tower}{end}")
        assert list(library.tag([root], tag_photos, model="one")) == []
        step = steps.undo()
        assert step is not None
        assert (step.photos, step.refused) == ((moved,), {})
        assert Path(f"{moved}.xmp").read_bytes() == before
        assert steps.redo() == step
        assert (keywords(moved), keywords(tower)) == ((), ("Eiffel Tower", "Paris", "France"))
        assert [path for path, _ in library.verdicts()] == [moved]


def test_what_was_taken_back_before_a_step_was_undone_stays_due(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        steps = Steps(library)
        steps.make("rejected", [Judgement(root / "tower.jpg", (REJECT,))])
        list(library.undo())
        steps.undo()
        tag_all(library)
        assert keywords(root / "tower.jpg") == ("Eiffel Tower", "Paris", "France")


def test_withdrawing_brings_back_what_the_model_said(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        before = files_of(root)
        steps, photo = Steps(library), root / "tower.jpg"
        steps.make("rejected", [Judgement(photo, (REJECT, INSTEAD))])
        steps.make("cleared", [Judgement(photo, (), afresh=True)])
        assert not list(library.verdicts())
        assert keywords(photo) == ("Eiffel Tower", "Paris", "France")
        steps.undo()
        steps.undo()
    assert files_of(root) == before


@needs_exiftool
def test_in_place_the_photo_itself_comes_back(root: Path) -> None:
    made = files_of(root)
    with Library(root, options=WriteOptions(in_place=True)) as library:
        tag_all(library)
        tagged = files_of(root)
        steps = Steps(library)
        steps.make("rejected", [Judgement(root / "tower.jpg", (REJECT, INSTEAD))])
        assert files_of(root) != tagged
        assert [verdict.name for _, verdict in library.verdicts()] == ["eiffel tower", "stonehenge"]
        steps.undo()
        assert files_of(root) == tagged
        assert list(library.undo())
    assert files_of(root) == made


def test_a_full_disk_in_the_middle_leaves_a_step_that_can_be_undone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library(root) as library:
        tag_all(library)
        before, steps = files_of(root), Steps(library)
        put_file = batch.put_file

        def full(path: Path, *content: object, **more: object) -> None:
            if path.name.startswith("other"):
                raise StorageError("the disk is full") from OSError(errno.ENOSPC, "full")
            put_file(path, *content, **more)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(batch, "put_file", full)
            with pytest.raises(StorageError):
                steps.make("x", [Judgement(root / name, (REJECT,)) for name in ("tower.jpg", "other.jpg")])
        assert steps.can_undo == 1
        steps.undo()
        assert files_of(root) == before
        assert not list(library.verdicts())


def test_a_step_on_tags_that_another_computer_wrote(root: Path) -> None:
    tower = root / "tower.jpg"
    with Library(root) as library:
        tag_all(library)
    shutil.rmtree(root / LEDGER.parent)
    before = files_of(root)
    with Library(root) as library:
        tag_all(library)
        steps = Steps(library)
        steps.make("something else", [Judgement(tower, (INSTEAD,))])
        assert {"Eiffel Tower", "Stonehenge"} <= {*keywords(tower)}
        assert library.recorded(tower) == (HENGE, TOWER), "what was confirmed names the place"
        steps.undo()
        assert files_of(root) == before
        assert library.recorded(tower) == (TOWER,)


def test_a_photo_that_is_gone_is_refused_and_stops_nothing(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        (root / "other.jpg").unlink()
        step = Steps(library).make(
            "rejected", [Judgement(root / name, (REJECT,)) for name in ("other.jpg", "tower.jpg")]
        )
        assert list(step.refused) == [root / "other.jpg"]
        assert keywords(root / "tower.jpg") == ()


def test_a_photo_that_is_gone_is_refused_when_a_step_is_done_again(root: Path) -> None:
    with Library(root) as library:
        tag_all(library)
        steps = Steps(library)
        steps.make("rejected", [Judgement(root / name, (REJECT,)) for name in ("other.jpg", "tower.jpg")])
        steps.undo()
        (root / "other.jpg").unlink()
        step = steps.redo()
        assert step is not None
        assert list(step.refused) == [root / "other.jpg"]
        assert keywords(root / "tower.jpg") == ()
