"""`landmarks index` and `search`, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from commands import landmarks
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour

from landmarks.errors import SearchError
from landmarks.search.searcher import PhotoSearcher

TOWER, HENGE, GREY = (COLOURS[name] for name in ("07.Eiffel_Tower", "31.Stonehenge", "background"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("models") / "colours", calibration=calibrated())
    return add_reference(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two towers that are nearly the same, stones, something grey, and a file that is no picture."""
    folder = tmp_path / "photos"
    save_colour(folder / "it's a tower.jpg", TOWER)
    save_colour(folder / "day" / "tower again.png", TOWER)
    save_colour(folder / "day" / "stones.png", HENGE)
    save_colour(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")), GREY)
    (folder / "note.jpg").write_text("no picture")
    return folder


def index(photos: Path, model: Path, *flags: object) -> str:
    done = landmarks("index", photos, "--model", model, *flags)
    assert done.status in {0, 2}, done.err
    return done.out.partition("photos: ")[2].strip()


def found(photos: Path, model: Path, *flags: object) -> list[str]:
    done = landmarks("search", *flags, "--in", photos, "--model", model, "--jsonl")
    assert done.status == 0, done.err
    return [Path(json.loads(line)["path"]).name for line in done.out.splitlines()]


def test_an_index_follows_its_folder(photos: Path, model: Path) -> None:
    done = landmarks("index", photos, "--model", model)
    assert done.status == 2
    assert "note.jpg" in done.err
    assert index(photos, model) == "0 new or changed, 4 unchanged; 0 removed"
    save_colour(photos / "day" / "stones.png", GREY, size=(80, 60))
    (photos / "it's a tower.jpg").unlink()
    save_colour(photos / "new.png", HENGE)
    assert index(photos, model) == "2 new or changed, 2 unchanged; 1 removed"
    assert found(photos, model, photos / "new.png", "-k", 1) == ["new.png"]


def test_the_largest_photo_may_be_set(photos: Path, model: Path) -> None:
    small, large = ("--max-megapixels", 0.0001), ("--max-megapixels", 300)
    done = landmarks("index", photos, "--model", model, *small)
    assert done.err.count("more than the limit of 0.0 MiB: raise the limit") == 4
    assert index(photos, model, *large) == "4 new or changed, 0 unchanged; 0 removed"
    asked = ("search", photos / "day" / "stones.png", "--in", photos, "--model", model, "--rerank", 2)
    assert "more than the limit" in landmarks(*asked, *small).complaint
    assert landmarks(*asked, *large).status == 0


def test_the_most_alike_come_first(photos: Path, model: Path) -> None:
    index(photos, model)
    names = found(photos, model, photos / "it's a tower.jpg")
    assert set(names[:2]) == {"it's a tower.jpg", "tower again.png"}
    assert len(names) == 4
    table = landmarks("search", photos / "it's a tower.jpg", "--in", photos / "day", "--model", model, "-k", 1)
    assert table.out.startswith("1.000  ")
    assert set(found(photos, model, photos / "it's a tower.jpg", "--expand", 2)[:2]) == set(names[:2])


def test_local_features_put_the_first_in_order(photos: Path, model: Path) -> None:
    index(photos, model)
    asked = photos / "it's a tower.jpg"
    done = landmarks("search", asked, "--in", photos, "--model", model, "--rerank", 4, "-k", 2, "--jsonl")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    # Pictures of one colour have no features, so all stay where they are.
    assert [row["inliers"] for row in rows] == [0, 0]
    assert [Path(row["path"]).name for row in rows] == found(photos, model, asked, "-k", 2)
    more = landmarks("search", asked, "--in", photos, "--model", model, "--rerank", 1, "-k", 2, "--jsonl").out
    assert ["inliers" in json.loads(line) for line in more.splitlines()] == [True, False], "the top 1 alone"
    done = landmarks("search", "--tag", "paris", "--in", photos, "--model", model, "--rerank", 4)
    assert (done.status, "give one too" in done.complaint) == (2, True)


def test_tags_cities_and_countries_find_photos(photos: Path, model: Path) -> None:
    index(photos, model)
    assert found(photos, model, "--tag", "PARIS") == ["tower again.png", "it's a tower.jpg"]
    assert found(photos, model, "--tag", "Stonehenge", "--index", photos) == ["stones.png"], "the indexed folder"
    assert found(photos, model, "--tag", "Torre Eiffel") == ["tower again.png", "it's a tower.jpg"]
    done = landmarks("search", "--tag", "it's", "--in", photos, "--model", model)
    assert (done.status, done.out, done.err) == (0, "", f'{photos}: no photo in the index has the tag "it\'s"\n')
    assert found(photos, model, photos / "day" / "stones.png", "--tag", "france", "-k", 1) != ["stones.png"]


def test_photos_are_tagged_again_once_the_model_answers_otherwise(
    photos: Path, model: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(model, tmp_path / "own")
    index(photos, own)
    (own / "places.csv").write_text("key,name\n07.Eiffel_Tower,Iron Lady\n")  # as what it was taught does
    done = landmarks("search", "--tag", "iron lady", "--in", photos, "--model", own)
    assert "the tags of 4 photos are from before the model was taught or changed: run landmarks index" in done.err
    assert index(photos, own) == "4 new or changed, 0 unchanged; 0 removed"
    assert found(photos, own, "--tag", "iron lady") == ["tower again.png", "it's a tower.jpg"]
    assert index(photos, own) == "0 new or changed, 4 unchanged; 0 removed"


def test_near_duplicates_are_grouped(photos: Path, model: Path) -> None:
    index(photos, model)
    done = landmarks("search", "--near-duplicates", "--in", photos, "--model", model, "--jsonl")
    (group,) = (json.loads(line)["paths"] for line in done.out.splitlines())
    assert [Path(path).name for path in group] == ["tower again.png", "it's a tower.jpg"]
    save_colour(photos / "it's a tower.jpg", HENGE, size=(80, 60))
    done = landmarks("search", "--near-duplicates", "--in", photos, "--model", model)
    assert (done.status, done.out) == (0, "")
    assert "1 photo left out, gone or changed since the index was updated: run landmarks index" in done.err


def test_a_folder_may_move_with_its_index(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, model)
    moved = tmp_path / "elsewhere" / "holiday"
    shutil.move(photos, moved)
    done = landmarks("search", "--tag", "stonehenge", "--in", moved, "--model", model)
    assert done.out.strip() == str(moved / "day" / "stones.png")
    assert index(moved, model) == "0 new or changed, 4 unchanged; 0 removed"


def test_a_folder_whose_path_is_not_utf8_has_its_index_with_the_user(photos: Path, model: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(photos.parent) + b"/b\xfccher"))
    photos.rename(odd)
    done = landmarks("index", odd, "--model", model)
    assert (done.status, "4 photos: 4 new" in done.out) == (2, True), done.err
    assert index(odd, model) == "0 new or changed, 4 unchanged; 0 removed"
    assert found(odd, model, odd / "day" / "stones.png", "-k", 1) == ["stones.png"]
    assert not (odd / ".landmarks").exists()


def test_an_index_elsewhere_belongs_to_one_folder(photos: Path, model: Path, tmp_path: Path) -> None:
    place = tmp_path / "nas" / ".landmarks" / "index"  # as the index in a folder is named
    index(photos, model, "--index", place)
    assert not (photos / ".landmarks").exists()
    found = PhotoSearcher(str(place), model).tagged("paris")
    assert [match.path for match in found] == [photos / "day" / "tower again.png", photos / "it's a tower.jpg"]
    assert index(photos, model, "--index", place) == "0 new or changed, 4 unchanged; 0 removed"
    shutil.move(photos, tmp_path / "moved")
    done = landmarks("index", tmp_path / "moved", "--model", model, "--index", place)
    assert done.status == 2
    assert "--rebuild if the photos have moved" in done.complaint
    assert index(tmp_path / "moved", model, "--index", place, "--rebuild").startswith("4 new")


def test_an_index_of_another_model_is_refused(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, model)
    other = make_model(tmp_path / "other", calibration=calibrated())
    for command in (("search", "--tag", "paris", "--in"), ("index",)):
        done = landmarks(*command, photos, "--model", other)
        assert done.status == 2
        assert "--rebuild" in done.complaint
    assert index(photos, other, "--rebuild") == "4 new or changed, 0 unchanged; 0 removed"


def test_a_broken_off_build_goes_on(photos: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landmarks.search import index as module

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    job = module.IndexJob(photos, module.default_place(photos), model)
    monkeypatch.setattr(module, "_ROWS", 2)
    with pytest.raises(KeyboardInterrupt):
        module.update_index(job, on_photo=stop)
    assert index(photos, model) == "2 new or changed, 2 unchanged; 0 removed"


@pytest.mark.parametrize("part", ["_versions", "data"])
def test_a_corrupt_table_is_told_and_rebuilt(photos: Path, model: Path, part: str) -> None:
    index(photos, model)
    for file in (photos / ".landmarks" / "index" / "photos.lance" / part).iterdir():
        file.write_bytes(b"rubbish" * 20)
    done = landmarks("search", "--tag", "paris", "--in", photos, "--model", model)
    assert done.status == 2
    assert "damaged" in done.complaint
    assert index(photos, model, "--rebuild") == "4 new or changed, 0 unchanged; 0 removed"
    assert len(found(photos, model, "--tag", "paris")) == 2


def test_a_reader_sees_what_a_writer_adds_and_writers_take_turns(photos: Path, model: Path) -> None:
    index(photos, model)
    place = photos / ".landmarks" / "index"
    searcher = PhotoSearcher(str(place), model)
    assert len(searcher) == 4
    save_colour(photos / "new.png", HENGE)
    other = sqlite3.connect(place / "writing", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    done = landmarks("index", photos, "--model", model)
    assert "another process is building this index" in done.complaint
    other.close()
    index(photos, model)
    assert len(searcher) == 5
    picture = (photos / "new.png").read_bytes()
    assert {match.path.name for match in searcher.similar(picture, 2)} == {"new.png", "stones.png"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("search",), "needs a photo or --tag"),
        (("search", "--tag", "x", "--near-duplicates"), "needs a photo or --tag"),
        (("search", "--tag", "x", "--alike", "0.9"), "needs --near-duplicates: give it too"),
        (("search", "--near-duplicates", "--alike", "2"), "--alike must be above 0"),
        (("search", "--tag", "x", "--expand", "3"), "--expand compares photos with a photo"),
        (("search", "--near-duplicates", "--top", "3"), "--top is not for --near-duplicates"),
        (("search", "--near-duplicates", "--all"), "--all is not for --near-duplicates"),
        (("search", "--tag", "x", "--index", ""), "the text is empty"),
        (("search", "--tag", "x"), "there is no index: run landmarks index FOLDER first"),
        (("search", "--tag", "x", "--in", "nowhere"), "nowhere: no such file or folder"),
        (("index", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_said(
    photos: Path, model: Path, arguments: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--alike" in arguments:
        index(photos, model)
    monkeypatch.chdir(photos)
    done = landmarks(*arguments, "--model", model)
    assert done.status == 2
    assert complaint in done.complaint


def test_an_empty_folder_does_not_empty_the_index(photos: Path, model: Path, tmp_path: Path) -> None:
    place = tmp_path / "index"
    index(photos, model, "--index", place)
    shutil.rmtree(photos)
    photos.mkdir()
    assert "there are no photos in it" in landmarks("index", photos, "--model", model, "--index", place).complaint
    assert len(PhotoSearcher(str(place), model)) == 4


def test_a_drive_that_drops_out_does_not_empty_the_index(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from landmarks.search import index as module

    def drop_out(*arguments: Any, **options: Any) -> list[Path]:
        found = find_photos(*arguments, **options)
        shutil.rmtree(photos)
        return found

    place = str(tmp_path / "index")
    index(photos, model, "--index", place)
    find_photos = module.find_photos
    monkeypatch.setattr(module, "find_photos", drop_out)
    report = module.update_index(module.IndexJob(photos, place, model, workers=1))
    assert (report.removed, report.failed) == (0, 5)
    assert len(PhotoSearcher(place, model)) == 4


def test_no_index_is_a_search_error(tmp_path: Path, model: Path) -> None:
    with pytest.raises(SearchError, match="there is no index"):
        PhotoSearcher(str(tmp_path), model)
