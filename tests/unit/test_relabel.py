"""`landmarks relabel`: names of recorded tags in another language, without any network."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from commands import landmarks
from tiny_model import COLOURS, add_reference, calibrated, camera_exif, make_model, save_colour

from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.languages import in_language
from landmarks.library.languages.translation import Translation, identity_in_language
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket
from landmarks.model import recognizer
from landmarks.tagging.surroundings import place_at
from landmarks.tagging.tags import Tag

pytest.importorskip("babel", reason="Babel is not installed")

ZERMATT = (46.0207, 7.7491)


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "my colours+2", calibration=calibrated())


@pytest.fixture
def library(own_model: Path, tmp_path: Path) -> Path:
    """A tower, a wall in the mountains, and a wall anywhere; tagged in English."""
    folder = tmp_path / "trip"
    save_colour(folder / "tower.jpg", COLOURS["07.Eiffel_Tower"])
    save_colour(folder / "wall.jpg", COLOURS["background"], exif=camera_exif(ZERMATT))
    save_colour(folder / "grey.jpg", COLOURS["background"])
    assert landmarks("tag", folder, "--model", own_model, "--places", "--write", "-q").status == 0
    return folder


def hierarchy(photo: Path) -> tuple[str, ...]:
    return XmpPacket(Path(f"{photo}.xmp").read_bytes()).entries().hierarchy


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_library_is_relabelled_without_its_model(
    library: Path, own_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was opened")

    before = files(library)
    monkeypatch.setattr(recognizer, "load_engine", refuse)
    shutil.move(own_model, own_model.parent / "gone")
    preview = landmarks("relabel", library, "--language", "de", "--dry-run")
    assert "2 photos with recorded tags: 2 would be relabelled" in preview.err
    assert "+ " in preview.out
    assert files(library) == before
    done = landmarks("relabel", library, "--language", "de")
    assert (done.status, done.complaint) == (0, "2 photos with recorded tags: 2 relabelled")
    assert f"{library / 'tower.jpg'}: Eiffelturm (Paris, Frankreich)" in done.out
    assert hierarchy(library / "tower.jpg") == ("Places|Frankreich|Paris|Eiffelturm",)
    assert hierarchy(library / "wall.jpg") == ("Places|Pennine Alps|Matterhorn", "Places|Schweiz|Zermatt")
    assert landmarks("relabel", library, "--language", "en").status == 0
    assert hierarchy(library / "tower.jpg") == ("Places|France|Paris|Eiffel Tower",)
    again = landmarks("relabel", library, "--language", "en")
    assert again.complaint == "2 photos with recorded tags: 2 unchanged"


def test_the_run_is_undone_alone(library: Path) -> None:
    before = files(library)
    assert landmarks("relabel", library, "--language", "fr").status == 0
    assert files(library) != before
    assert "run 2" in landmarks("undo", library, "--list").out
    (library / "wall.jpg.xmp").rename(library / "wall.txt")
    relabelled = files(library)
    for chosen, status, *ends in (("1", 2, "kept", "kept"), ("2", 0, "planned", "gone")):
        told = landmarks("undo", library, "--run", chosen, "--dry-run")
        names = (library / name for name in ("tower.jpg.xmp", "wall.jpg.xmp"))
        assert set(told.out.splitlines()) == {f"{end}: {name}" for end, name in zip(ends, names, strict=True)}
        assert told.status == status
    assert files(library) == relabelled
    (library / "wall.txt").rename(library / "wall.jpg.xmp")
    assert landmarks("undo", library, "--run", "2").status == 0
    assert files(library) == before


def test_the_next_run_in_the_language_has_nothing_to_do(library: Path, own_model: Path) -> None:
    assert landmarks("relabel", library, "--language", "de").status == 0
    asked = ("tag", library, "--model", own_model, "--places", "--write")
    assert "3 done before" in landmarks(*asked, "--language", "de").err
    assert "done before" not in landmarks(*asked).err, "in English it has"


def test_verdicts_stand(library: Path, own_model: Path) -> None:
    assert landmarks("confirm", library / "tower.jpg", "Eiffel Tower").status == 0
    assert landmarks("reject", library / "wall.jpg", "Matterhorn").status == 0
    assert landmarks("relabel", library, "--language", "de").status == 0
    assert hierarchy(library / "tower.jpg") == ("Places|Frankreich|Paris|Eiffelturm",)
    assert hierarchy(library / "wall.jpg") == ("Places|Schweiz|Zermatt",)
    assert landmarks("reject", library / "tower.jpg", "Eiffel Tower").status == 0
    assert landmarks("relabel", library, "--language", "fr").status == 0
    assert not XmpPacket((library / "tower.jpg.xmp").read_bytes()).entries().hierarchy


def test_a_landmark_is_confirmed_and_taught_under_any_of_its_names(library: Path, own_model: Path) -> None:
    assert landmarks("confirm", library / "tower.jpg", "Eiffel Tower").status == 0
    german = save_colour(library / "german.jpg", COLOURS["07.Eiffel_Tower"], size=(80, 60))
    assert landmarks("tag", german, "--model", own_model, "--write", "--language", "de").status == 0
    assert landmarks("confirm", german, "eiffel tower").status == 0
    learned = landmarks("learn", "--from-library", library, "--model", add_reference(own_model)).out
    assert learned.count("learned from") == 1, "not once in each language"


def test_a_tag_removed_by_hand_is_told(library: Path) -> None:
    sidecar = library / "tower.jpg.xmp"
    packet = XmpPacket(sidecar.read_bytes())
    packet.remove(Entries(keywords=("Eiffel Tower",)))
    sidecar.write_bytes(packet.to_bytes())
    done = landmarks("relabel", library, "--language", "de")
    told = f"{library / 'tower.jpg'}: Eiffel Tower: removed by hand, so rejected: landmarks confirm brings it back"
    assert told in done.err.splitlines()
    assert hierarchy(library / "tower.jpg") == ()


def test_a_country_removed_by_hand_stays_out_in_every_language(library: Path) -> None:
    sidecar = library / "tower.jpg.xmp"
    packet = XmpPacket(sidecar.read_bytes())
    packet.remove(Entries(keywords=("France",), country=("France",)))
    sidecar.write_bytes(packet.to_bytes())
    for language, name, country in (("de", "Eiffelturm", "Frankreich"), ("en", "Eiffel Tower", "France")):
        assert landmarks("relabel", library, "--language", language).status == 0
        entries = XmpPacket(sidecar.read_bytes()).entries()
        assert name in entries.keywords
        assert country not in entries.keywords
        assert entries.country == ()
        assert entries.hierarchy == (f"Places|{country}|Paris|{name}",)


def test_a_confirmed_country_does_not_come_twice(own_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "far"
    save_colour(folder / "a.jpg", COLOURS["background"], exif=camera_exif((23.0, 6.0)))  # in the Sahara
    assert landmarks("tag", folder, "--model", own_model, "--places", "--write", "-q").status == 0
    assert hierarchy(folder / "a.jpg") == ("Places|Algeria",)
    assert landmarks("confirm", folder / "a.jpg", "Algeria").status == 0
    for language, name in (("de", "Algerien"), ("fr", "Algérie"), ("en", "Algeria")):
        assert landmarks("relabel", folder, "--language", language).status == 0
        assert hierarchy(folder / "a.jpg") == (f"Places|{name}",)


def test_a_preview_finds_what_was_moved(library: Path) -> None:
    for name in ("tower.jpg", "tower.jpg.xmp"):
        (library / "new").mkdir(exist_ok=True)
        (library / name).rename(library / "new" / name)
    told = landmarks("relabel", library, "--language", "de", "--dry-run")
    assert (told.status, told.complaint) == (0, "2 photos with recorded tags: 2 would be relabelled")
    assert f"{library / 'new' / 'tower.jpg'}: Eiffelturm" in told.out


def test_a_photo_that_has_changed_is_left_alone_and_named(library: Path) -> None:
    save_colour(library / "tower.jpg", (1, 2, 3), size=(80, 60))
    os.utime(library / "wall.jpg", (10**9, 10**9))  # its content is as it was
    done = landmarks("relabel", library, "--language", "de")
    left = "changed or moved since, left to the next run of landmarks tag"
    assert (done.status, done.complaint.split(": ", 1)[1]) == (2, f"1 relabelled, 1 {left}")
    assert f"{library / 'tower.jpg'}: {left}" in done.err
    assert hierarchy(library / "tower.jpg") == ("Places|France|Paris|Eiffel Tower",)
    assert hierarchy(library / "wall.jpg") == ("Places|Pennine Alps|Matterhorn", "Places|Schweiz|Zermatt")


def test_names_of_the_users_own_places_stay() -> None:
    tower = Gazetteer.bundled().get("eiffel_tower")
    assert tower is not None
    own = Tag("My Tower", "landmark", 1.0, type(tower)(**{**vars(tower), "name": "My Tower"}), None)
    kind = Tag("bridge", "kind", 1.0, None, None)
    assert Translation("de").tags([own, kind]) == (own, kind)


def test_a_landmark_that_was_taught_is_in_the_country_that_the_next_run_names() -> None:
    german, english = (in_language(Gazetteer.bundled(), language) for language in ("de", "en"))
    recorded, wanted = (place_at("Aunt's house", (48.1, 11.5), one) for one in (english, german))
    assert wanted.country == "Deutschland"
    tag = Tag("Aunt's house", "landmark", 0.9, recorded, None)
    assert Translation("de").tags([tag]) == (replace(tag, place=wanted),)


@pytest.mark.parametrize(
    ("identity", "german"),
    [
        ("world-12ab", "world-12ab-language=de"),
        ("world-12ab-language=fr-learned=12-trips=30min", "world-12ab-language=de-learned=12-trips=30min"),
        ("city-trips-12ab", "city-trips-12ab-language=de"),
        ("world-12ab-trips", "world-12ab-language=de-trips"),
        ("a-1-camera-places+b-2-places=34", "a-1-camera-places-language=de+b-2-language=de-places=34"),
    ],
)
def test_identities_follow(identity: str, german: str) -> None:
    assert identity_in_language(identity, "de") == german
    assert "language" not in identity_in_language(german, "en")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    done = landmarks("relabel", tmp_path, "--language", "de")
    assert done.status == 2
    assert "landmarks tag --write never wrote here" in done.complaint
