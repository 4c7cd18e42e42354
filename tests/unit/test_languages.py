"""`landmarks tag --language`: names of landmarks and countries in the user's language."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import get_args

import pytest
from commands import landmarks
from tiny_model import COLOURS, save_colour

from landmarks.errors import SettingsError
from landmarks.geo import Language
from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.languages import in_language
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.surroundings import tags_of_position

babel = pytest.importorskip("babel", reason="Babel is not installed")


@pytest.fixture(scope="module")
def german() -> Gazetteer:
    return in_language(Gazetteer.bundled(), "de")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save_colour(tmp_path / "trip" / "tower.jpg", COLOURS["07.Eiffel_Tower"])


def keywords(photo: Path) -> tuple[str, ...]:
    return XmpPacket(Path(f"{photo}.xmp").read_bytes()).entries().keywords


def test_landmarks_and_countries_are_named_in_the_language(german: Gazetteer) -> None:
    place = german.find("07.Eiffel_Tower")
    assert place is not None
    assert (place.key, place.name, place.country, place.city) == (
        "eiffel_tower",
        "Eiffelturm",
        "Frankreich",
        "Paris",
    )
    assert german.find("The Eiffel Tower") is german.find("Tour Eiffel") is place, "other names find it still"
    shed = german.find("Rila Monastery")
    assert shed is not None
    assert (shed.name, shed.country) == ("Rila Monastery", "Bulgarien"), "no name in names.csv: English"


@pytest.mark.parametrize("language", get_args(Language))
def test_each_language_has_names(language: Language) -> None:
    known = in_language(Gazetteer.bundled(), language)
    tower, wall = known.get("eiffel_tower"), known.get("stonehenge")
    assert tower is not None
    assert wall is not None
    assert (tower.name == "Eiffel Tower") is (language == "en")
    assert (wall.country == "United Kingdom") is (language == "en")


def test_towns_are_in_countries_of_the_language(german: Gazetteer) -> None:
    tags, nearby = tags_of_position((46.0207, 7.7491), german, ())
    assert nearby is not None
    assert [(tag.name, tag.place.country if tag.place else "") for tag in tags] == [
        ("Matterhorn", ""),
        ("Zermatt", "Schweiz"),
    ]


def test_answers_and_written_hierarchies_are_in_the_language(model: Path, photo: Path) -> None:
    asked = (photo, "--model", model, "--language", "de")
    row = json.loads(landmarks("tag", *asked, "--jsonl").out)
    assert (row["tags"][0]["name"], row["tags"][0]["place"]["country"]) == ("Eiffelturm", "Frankreich")
    assert row["candidates"][0]["name"] == "Eiffelturm"
    assert landmarks("tag", *asked, "--write", "-q").status == 0
    entries = XmpPacket(Path(f"{photo}.xmp").read_bytes()).entries()
    assert entries.hierarchy == ("Places|Frankreich|Paris|Eiffelturm",)
    assert entries.country == ("Frankreich",)
    # Another language replaces the names.
    landmarks("tag", photo, "--model", model, "--write", "-q")
    assert set(keywords(photo)) == {"Eiffel Tower", "Paris", "France"}


def test_verdicts_hold_in_every_language(model: Path, photo: Path) -> None:
    asked = (photo, "--model", model, "--write", "-q")
    landmarks("tag", *asked)
    landmarks("confirm", photo, "Eiffel Tower")
    landmarks("tag", *asked, "--language", "de")
    assert set(keywords(photo)) == {"Eiffelturm", "Paris", "Frankreich"}, "confirmed once, not twice"
    landmarks("reject", photo, "Eiffelturm")
    landmarks("tag", *asked, "--language", "fr")
    assert keywords(photo) == ()


def test_a_name_of_ones_own_is_kept(model: Path, photo: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("key,name\neiffel_tower,The Lady\n")
    assert "The Lady" in landmarks("tag", photo, "--model", model, "--language", "de", "--own-places", own).out


def test_unknown_languages_and_a_missing_babel_are_refused(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="`language` must be one of en, ar, de"):
        TagSettings(language="xx")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "babel", None)
    done = landmarks("tag", photo, "--model", model, "--language", "de")
    assert (done.status, done.out) == (2, "")
    assert "this needs babel, which is not installed: run pip install -e '.[languages]'" in done.err
    assert landmarks("tag", photo, "--model", model).status == 0, "English does without"
