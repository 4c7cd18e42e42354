"""A library to which two things are done one after the other: what the second may take from the first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from landmarks.cli.judging import Judge
from landmarks.geo.gazetteer import Gazetteer
from landmarks.library.languages.relabel import relabel
from landmarks.library.library import Library
from landmarks.metadata.edit import WriteOptions
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.tags import ImageTags, Tag


def landmark(name: str) -> Tag:
    place = Gazetteer.bundled().find(name)
    assert place is not None
    return Tag(place.name, "landmark", 0.9, place, place.key)


def kind(name: str) -> Tag:
    return Tag(name, "kind", 0.9, None, None)


def saying(model: str, *tags: Tag) -> Callable[[Iterable[Path]], Iterator[ImageTags]]:
    """A model that says the same of every photo."""
    return lambda photos: (ImageTags(each, tags, (), model) for each in photos)


def tag(photo: Path, *tags: Tag, model: str = "one") -> list[str]:
    """Tag a photo by a model that says this; what became of it, nothing where it was done before."""
    with Library(photo.parent) as library:
        return [outcome.status for outcome in library.tag([photo.parent], saying(model, *tags), model=model)]


def draw(photo: Path, colour: str) -> None:
    Image.new("RGB", (32, 32), colour).save(photo)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    draw(tmp_path / "a.jpg", "red")
    return tmp_path / "a.jpg"


def entries(photo: Path) -> Entries:
    return XmpPacket(Path(f"{photo}.xmp").read_bytes()).entries()


def test_a_verdict_on_an_edited_photo_leaves_it_due(photo: Path) -> None:
    tag(photo, landmark("Eiffel Tower"))
    draw(photo, "blue")
    with Library(photo.parent) as library:
        library.reject(photo, "Eiffel Tower")
    assert tag(photo, kind("bridge")) == ["written"]
    assert "bridge" in entries(photo).keywords


def test_a_verdict_on_a_photo_that_could_not_be_written_leaves_it_due(photo: Path) -> None:
    tag(photo, landmark("Eiffel Tower"))
    sidecar = Path(f"{photo}.xmp")
    good = sidecar.read_bytes()
    sidecar.write_bytes(b"<broken")
    assert tag(photo, kind("bridge"), model="two") == ["quarantined"]
    sidecar.write_bytes(good)
    with Library(photo.parent) as library:
        library.reject(photo, "Eiffel Tower")
    assert tag(photo, kind("bridge"), model="two") == ["written"]


def test_undoing_a_run_leaves_what_the_run_before_had_written(photo: Path) -> None:
    tag(photo, kind("bridge"))
    tag(photo, landmark("Tower Bridge"), model="two")
    sidecar = Path(f"{photo}.xmp")
    sidecar.write_bytes(sidecar.read_bytes().replace(b"</x:xmpmeta>", b"<!-- seen -->\n</x:xmpmeta>"))
    with Library(photo.parent) as library:
        newest = next(library.runs()).id
        assert [report.status for report in library.undo(run=newest)] == ["cleaned"]
    assert entries(photo).keywords == ("bridge",)
    assert tag(photo, kind("bridge")) == ["unchanged"]
    with Library(photo.parent) as library:
        assert list(library.verdicts()) == [], "nobody removed it by hand"
        assert [report.status for report in library.undo()] == ["cleaned"]
    assert not entries(photo)


def test_a_relabelling_that_was_undone_is_known_under_its_first_names(photo: Path) -> None:
    pytest.importorskip("babel", reason="Babel is not installed")
    tag(photo, landmark("Eiffel Tower"))
    with Library(photo.parent) as library:
        assert [outcome.status for outcome in relabel(library, "de")] == ["written"]
        assert [report.status for report in library.undo(run=next(library.runs()).id)] == ["restored"]
        assert [one.name for one in library.recorded(photo) or ()] == ["Eiffel Tower"]
        assert [outcome.status for outcome in relabel(library, "fr")] == ["written"]
    assert "Tour Eiffel" in entries(photo).keywords
    assert tag(photo, landmark("Eiffel Tower")) == ["written"], "due again"


@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_undone_to_the_end_is_not_known_any_more(photo: Path, in_place: bool) -> None:
    if in_place and shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    before = photo.read_bytes()
    with Library(photo.parent, options=WriteOptions(in_place=in_place, gps=True)) as library:
        for model, name in (("one", "Eiffel Tower"), ("two", "Tower Bridge")):
            list(library.tag([photo], saying(model, landmark(name)), model=model))
        list(library.undo(run=next(library.runs()).id))
        row = library.ledger.photo(library.key(photo))
        assert row is not None
        assert WriteOptions.flags_in(row.key) == ["gps"], "a sidecar of a rejected tag does not show its options"
        assert [one.name for one in library.recorded(photo) or ()] == ["Eiffel Tower"]
        list(library.undo())
        assert library.recorded(photo) is None
    assert photo.read_bytes() == before


def test_a_confirmed_tag_names_the_place(photo: Path) -> None:
    tag(photo, landmark("Eiffel Tower"))
    with Library(photo.parent) as library:
        library.confirm(photo, "Eiffel Tower")
    tag(photo, landmark("Pyramids of Giza"), model="two")
    assert ">Paris</photoshop:City>" in Path(f"{photo}.xmp").read_text("utf-8")
    with Library(photo.parent) as library:
        assert [one.name for one in library.recorded(photo) or ()] == ["Eiffel Tower", "Pyramids of Giza"]


def test_a_verdict_stays_with_its_photo_when_another_takes_its_name(photo: Path) -> None:
    tag(photo, landmark("Eiffel Tower"))
    with Library(photo.parent) as library:
        library.confirm(photo, "Eiffel Tower")
    photo.unlink()
    Path(f"{photo}.xmp").unlink()
    draw(photo, "green")
    with Judge() as judge:
        assert judge.judged(ImageTags(photo, (), (), "one")) == ()
