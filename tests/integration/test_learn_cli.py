"""`landmarks learn` and `forget`: a landmark from a few photos, as a user teaches it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import landmarks, start
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour

from landmarks.fewshot.learned import read_learned
from landmarks.model.folder import bundled_models, learned_path, read_info
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import identity_of

TOWER, GREY = COLOURS["07.Eiffel_Tower"], COLOURS["background"]
YELLOW = (225, 215, 30)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return add_reference(make_model(tmp_path / "models" / "colours", calibration=calibrated()))


@pytest.fixture
def yellow(tmp_path: Path) -> Path:
    """Five photos of a landmark that the model does not know."""
    folder = tmp_path / "yellow"
    for number in range(5):
        save_colour(folder / f"{number}.png", (220 + 3 * number, 225 - 4 * number, 25 + number))
    return folder


def tags(model: Path, *photos: Path) -> list[list[str]]:
    done = landmarks("tag", *photos, "--model", model, "--jsonl")
    assert done.status == 0, done.err
    return [[tag["name"] for tag in json.loads(line)["tags"]] for line in done.out.splitlines()]


def test_a_landmark_is_learnt_and_forgotten(model: Path, yellow: Path, tmp_path: Path) -> None:
    new = save_colour(tmp_path / "new.png", YELLOW)
    others = [save_colour(tmp_path / "tower.png", TOWER), save_colour(tmp_path / "grey.png", GREY)]
    before = tags(model, new, *others)
    assert before[0] != ["Atomium"]
    untaught = identity_of(model, read_info(model), TagSettings())
    done = landmarks("learn", "Atomium", yellow, "--model", model)
    assert done.status == 0, done.err
    assert "Atomium: learned from" in done.out
    assert "  taken for Atomium, Brussels, Belgium: give another landmark another name\n" in done.out
    assert "most like" in done.out or "easily confused with" in done.out
    assert tags(model, new, *others) == [["Atomium"], *before[1:]]
    assert identity_of(model, read_info(model), TagSettings()) != untaught, "photos are due again"
    explained = landmarks("tag", new, "--model", model, "--explain").out
    assert "similar to the photos of a taught landmark" in explained
    assert landmarks("forget", "atomium", "--model", model).status == 0
    assert tags(model, new, *others) == before
    assert identity_of(model, read_info(model), TagSettings()) == untaught


def test_more_photos_are_added_and_none_counts_twice(model: Path, yellow: Path) -> None:
    done = landmarks("learn", "Atomium", yellow / "0.png", "--model", model)
    assert done.err == "Atomium: 1 photo: five or more are better, expect wrong tags\n"
    for name in ("ATOMIUM", "07.Atomium"):
        done = landmarks("learn", name, yellow, "--model", model)
        assert "Atomium: learned from" in done.out
    learned = read_learned(model, read_info(model))
    assert learned is not None
    (landmark,) = learned.landmarks
    assert len(landmark.vectors) <= 5


def test_processes_that_teach_at_once_lose_nothing(model: Path, yellow: Path) -> None:
    names = [f"Atomium {number}" for number in range(4)]
    photos = sorted(yellow.iterdir())
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: start("learn", name, *photos, "--model", model), names))
    assert [one.status for one in done] == [0] * 4, [one.err for one in done]
    learned = read_learned(model, read_info(model))
    assert learned is not None
    assert sorted(one.name for one in learned.landmarks) == names


def test_models_lists_what_was_learnt(model: Path, yellow: Path) -> None:
    assert "learnt:" not in landmarks("models", model).out
    landmarks("learn", "Atomium", yellow, "--model", model)
    out = landmarks("models", model).out
    assert "  learned: Atomium from" in out
    landmarks("forget", "Atomium", "--model", model)
    assert "learnt:" not in landmarks("models", model).out


def test_a_folder_that_cannot_be_written_is_told(model: Path, yellow: Path) -> None:
    (model / "learned.lock").mkdir()
    done = landmarks("learn", "Atomium", yellow, "--model", model)
    assert done.status == 1
    assert "no permission to write here" in done.complaint


@pytest.mark.parametrize("apart", [False, True])
def test_verdicts_of_a_library_teach(model: Path, tmp_path: Path, apart: bool) -> None:
    library = tmp_path / "library"
    save_colour(library / "grey.png", GREY)
    photo = save_colour(library / "inner" / "tower.png", TOWER)
    spoiled = save_colour(library / "inner" / "stones.png", COLOURS["31.Stonehenge"])
    ledgers = ("--state", tmp_path / "state") if apart else ()
    for folder in (library / "inner", library):  # a library inside another
        assert landmarks("tag", folder, "--model", model, "--write", *ledgers).status == 0
    learn = ("learn", "--from-library", library, "--model", model, *ledgers)
    assert "nothing was confirmed" in landmarks(*learn).err
    assert landmarks("confirm", spoiled, "Stonehenge", *ledgers).status == 0
    assert landmarks("confirm", photo, "Eiffel Tower", *ledgers).status == 0
    done = landmarks(*learn)
    assert done.status == 0, done.err
    assert "Eiffel Tower: learned from 1 photo, " in done.out
    spoiled.write_bytes(b"no picture")
    photo.rename(library / "inner" / "moved.png")
    done = landmarks(*learn)
    assert (done.status, "Eiffel Tower: learned from 1 photo, 0 of them new" in done.out) == (2, True)


def test_verdicts_that_were_revised_do_not_teach(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "library" / "tower.png", TOWER)
    assert landmarks("tag", photo.parent, "--model", model, "--write").status == 0
    for verdict, name in (("confirm", "Eiffel Tower"), ("reject", "Paris")):
        assert landmarks(verdict, photo, name).status == 0
    assert "nothing was confirmed" in landmarks("learn", "--from-library", photo.parent, "--model", model).err


def test_rejections_alone_teach_what_was_taught_otherwise(model: Path, tmp_path: Path) -> None:
    library, shown = tmp_path / "library", [(220, 225, 25), (160, 200, 90)]
    examples = [save_colour(library / f"{number}.png", colour) for number, colour in enumerate(shown)]
    landmarks("learn", "Atomium", *examples, "--model", model)
    assert landmarks("tag", library, "--model", model, "--write").status == 0
    assert landmarks("reject", examples[1], "Atomium").status == 0
    done = landmarks("learn", "--from-library", library, "--model", model)
    assert (done.status, "Atomium: learned from 1 photo, 0 of them new" in done.out) == (0, True), done.err
    assert tags(model, *examples)[0] == ["Atomium"]
    assert landmarks("confirm", examples[1], "Atomium").status == 0
    done = landmarks("learn", "--from-library", library, "--model", model)
    assert "Atomium: learned from 2 photos, 1 of them new" in done.out
    learned = read_learned(model, read_info(model))
    assert learned is not None
    assert len(learned.landmarks[0].rejected) == 0


def test_what_was_learnt_with_another_model_is_refused(model: Path, yellow: Path, tmp_path: Path) -> None:
    landmarks("learn", "Atomium", yellow, "--model", model)
    colours = {**COLOURS, "33.Taj_Mahal": (240, 240, 240)}
    other = add_reference(make_model(tmp_path / "other", colours=colours, calibration=calibrated()), colours)
    learned_path(model, read_info(model)).rename(learned_path(other, read_info(other)))
    done = landmarks("tag", yellow, "--model", other)
    assert done.status == 2
    assert "learn the landmarks again" in done.complaint


@pytest.mark.parametrize("bundled", [False, True])
def test_a_copy_of_a_model_knows_what_its_user_added(
    model: Path, yellow: Path, monkeypatch: pytest.MonkeyPatch, bundled: bool
) -> None:
    if bundled:
        monkeypatch.setattr("landmarks.model.folder.bundled_models", lambda: {"colours": model})
    landmarks("learn", "Atomium", yellow, "--model", model)
    (model / "places.csv").write_text("key,name\nAtomium,Our Atomium\n")
    assert landmarks("models", "add", model, "--name", "copy").status == 0
    assert tags(Path("copy"), yellow / "0.png") == [["Our Atomium"]]


def test_the_own_name_of_a_class_is_that_class(model: Path, yellow: Path) -> None:
    (model / "places.csv").write_text("key,name\nCasa da Musica,Our hall\n")
    out = landmarks("learn", "Our hall", yellow, "--model", model).out
    assert "  taken for Our hall (a class of the model): give another landmark another name\n" in out


def test_what_is_lost_by_an_update_of_a_bundled_model_is_said(
    model: Path, yellow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landmarks.model.folder.bundled_models", lambda: {"colours": model})
    landmarks("learn", "Atomium", yellow, "--model", model)
    taught = learned_path(model, read_info(model))
    earlier = taught.rename(taught.with_name(f"colours-{'0' * 12}-{'1' * 12}.npz"))
    for command in (("models",), ("tag", yellow / "0.png", "--model", model)):
        said = landmarks(*command).err
        assert f"not used any more (Atomium): teach it again, or remove {earlier}" in said
    assert "not used" not in landmarks("learn", "Atomium", yellow, "--model", model).err


def test_a_damaged_file_is_told(model: Path, yellow: Path) -> None:
    landmarks("learn", "Atomium", yellow, "--model", model)
    learned_path(model, read_info(model)).write_bytes(b"PK rubbish")
    done = landmarks("tag", yellow, "--model", model)
    assert done.status == 2
    assert "damaged" in done.complaint


def test_what_a_bundled_model_was_taught_lies_with_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = bundled_models()["world"]
    assert learned_path(folder, read_info(folder)).is_relative_to(tmp_path)


def test_what_is_wrong_is_said(model: Path, yellow: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    (empty := tmp_path / "empty").mkdir()
    plain = make_model(tmp_path / "plain", calibration=calibrated())
    for arguments, complaint in (
        (("learn",), "needs a name and photos"),
        (("learn", "Atomium"), "needs a name and photos"),
        (("learn", "Atomium", yellow, "--from-library", yellow), "needs a name and photos"),
        (("learn", "--from-library", yellow, "--from-file", broken), "needs a name and photos"),
        (("learn", " ", yellow), "NAME must not be empty"),
        (("learn", "00.Background", yellow), "NAME must not be background"),
        (("learn", "Atomium", empty), "Atomium: no photo was given"),
        (("learn", "Atomium", broken), "no photo of it that can be read"),
        (("learn", "--from-library", yellow), "never wrote here"),
        (("forget", "Atomium"), "no landmark of this name was learned"),
    ):
        done = landmarks(*arguments, "--model", model)
        assert done.status == 2
        assert complaint in done.complaint
    done = landmarks("learn", "Atomium", yellow, "--model", plain)
    assert (done.status, "export it again with --negatives" in done.complaint) == (2, True)
    done = landmarks("learn", "Atomium", yellow, broken, "--model", model)
    assert done.status == 2
    assert "learned from" in done.out
    assert "broken.jpg" in done.err
