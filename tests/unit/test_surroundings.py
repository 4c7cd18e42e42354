"""Where a photo was taken, from the camera's position: towns, landmarks in sight, and the tags of both."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import jsonschema
import pytest
from commands import landmarks
from tiny_model import COLOURS, camera_exif, save_colour

from landmarks.errors import SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.nearby import SIGHT_KM, nearest_landmark, sight_km
from landmarks.geo.towns import Town, find_town
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.keywords import entries_for
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.surroundings import tags_of_position
from landmarks.tagging.tags import Tag

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
TROCADERO, ZERMATT, OCEAN = (48.8616, 2.2893), (46.0207, 7.7491), (-40.0, -120.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tower in Paris, something unknown in Zermatt, on the ocean, and nobody knows where."""
    folder = tmp_path / "photos"
    save_colour(folder / "tower.jpg", COLOURS["07.Eiffel_Tower"], exif=camera_exif(TROCADERO))
    for name, where in (("peak", ZERMATT), ("ship", OCEAN)):
        save_colour(folder / f"{name}.jpg", COLOURS["background"], exif=camera_exif(where))
    save_colour(folder / "lost.jpg", COLOURS["background"])
    return folder


@pytest.mark.parametrize(
    ("position", "town"),
    [
        ((48.8583, 2.2945), Town("Paris", "Île-de-France", "France", "FR")),  # Vanves has a nearer middle
        ((48.8049, 2.1204), Town("Versailles", "Île-de-France", "France", "FR")),
        ((40.71, -74.0), Town("New York City", "New York", "United States", "US")),
        ((-16.9, 179.99), Town("", "Northern", "Fiji", "FJ")),  # outside of every town, at the date line
        ((-16.9, -179.99), Town("", "Northern", "Fiji", "FJ")),
        (OCEAN, None),
        ((-89.9, 10.0), None),
    ],
)
def test_a_position_is_in_the_town_that_people_would_name(
    position: tuple[float, float], town: Town | None
) -> None:
    assert find_town(position) == town


def test_countries_have_the_names_of_the_gazetteer() -> None:
    for name in ("Big Ben", "Gyeongbokgung", "Prague Castle"):
        place = Gazetteer.bundled().find(name)
        assert place is not None
        assert place.coordinates is not None
        town = find_town(place.coordinates)
        assert town is not None
        assert (town.country, town.country_code) == (place.country, place.country_code)


def test_a_mountain_is_seen_from_farther_away_than_a_church() -> None:
    places = [place for place in Gazetteer.bundled() if place.name in {"Matterhorn", "Eiffel Tower"}]
    near = nearest_landmark(ZERMATT, places)
    assert near is not None
    assert near.place.name == "Matterhorn"
    assert 5 < near.distance < 10
    assert nearest_landmark((48.9, 2.3), places) is None, "a tower is seen up to 2 km"


def test_kinds_with_a_distance_of_sight_are_kinds_of_the_gazetteer() -> None:
    assert {place.kind for place in Gazetteer.bundled()} >= set(SIGHT_KM)
    assert sight_km("church") == sight_km("kind of the user's own") == 1.0


def test_tags_of_the_position_come_on_request_alone(model: Path, photos: Path) -> None:
    plain = landmarks("tag", photos, "--model", model, "--jsonl")
    assert {len(row["tags"]) for row in plain.rows.values()} == {0, 1}
    assert '"source"' not in plain.out
    done = landmarks("tag", photos, "--model", model, "--places", "--jsonl", "--explain")
    assert done.status == 0
    schema = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "tag.json").read_text()))
    rows = done.rows
    for row in rows.values():
        schema.validate(row)
    assert [(tag["name"], tag.get("source")) for tag in rows["tower"]["tags"]] == [
        ("Eiffel Tower", None),
        ("Paris", "position"),
    ]
    peak, town = rows["peak"]["tags"]
    assert (peak["name"], peak["level"], peak["source"]) == ("Matterhorn", "landmark", "position")
    assert (town["name"], town["level"]) == ("Zermatt", "city")
    assert (town["place"]["region"], town["place"]["country"]) == ("Valais", "Switzerland")
    assert town["place"]["latitude"] is None
    assert re.fullmatch(
        r"near Matterhorn: \d\.\d km from the camera, in sight up to 30 km", rows["peak"]["explanation"][-1]
    )
    assert rows["ship"]["tags"] == rows["lost"]["tags"] == []


def test_every_format_tells_tags_of_the_position_apart(model: Path, photos: Path) -> None:
    peak = photos / "peak.jpg"
    table = landmarks("tag", peak, "--model", model, "--places").out
    assert table == f"{peak}: near Matterhorn (Pennine Alps); in Zermatt (Valais, Switzerland)\n"
    rows = list(csv.DictReader(io.StringIO(landmarks("tag", photos, "--model", model, "--places", "--csv").out)))
    assert {(row["name"], row["region"], row["source"]) for row in rows} == {
        ("Eiffel Tower", "", "photo"),
        ("Paris", "Île-de-France", "position"),
        ("Matterhorn", "", "position"),
        ("Zermatt", "Valais", "position"),
        ("", "", ""),
    }
    plain = landmarks("tag", photos, "--model", model, "--csv").out.splitlines()[0]
    assert "source" not in plain
    shown = json.loads(landmarks("tag", photos, "--model", model, "--places", "--geojson").out)
    jsonschema.validate(shown, json.loads((SCHEMAS / "tag-geojson.json").read_text()))
    sources = [feature["properties"].get("source") for feature in shown["features"]]
    assert sources.count("position") == 3


def test_they_are_written_and_undone_like_others(model: Path, photos: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    asked = ("--model", model, "--write", "-q")
    assert landmarks("tag", photos, *asked, "--places").status == 0
    entries = XmpPacket((photos / "peak.jpg.xmp").read_bytes()).entries()
    assert set(entries.keywords) == {"Matterhorn", "Pennine Alps", "Zermatt", "Valais", "Switzerland"}
    assert set(entries.hierarchy) == {"Places|Pennine Alps|Matterhorn", "Places|Switzerland|Zermatt"}
    assert (entries.city, entries.region, entries.country_code) == (("Zermatt",), ("Valais",), ("CH",))
    assert entries.locations == entries.sublocation == (), "it need not be in the photo"
    tower = XmpPacket((photos / "tower.jpg.xmp").read_bytes()).entries()
    assert [location.name for location in tower.locations] == ["Eiffel Tower"]
    assert (tower.sublocation, tower.region) == (("Eiffel Tower",), ("Île-de-France",))
    assert tower.hierarchy == ("Places|France|Paris|Eiffel Tower",)
    # Without the option, the next run takes them back.
    assert landmarks("tag", photos, *asked).status == 0
    assert XmpPacket((photos / "peak.jpg.xmp").read_bytes()).entries().keywords == ()
    assert XmpPacket((photos / "tower.jpg.xmp").read_bytes()).entries().region == ()
    assert landmarks("undo", photos).status == 0
    assert {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_a_region_is_rejected_like_a_city(model: Path, photos: Path) -> None:
    asked = ("--model", model, "--write", "-q", "--places")
    landmarks("tag", photos, *asked)
    assert landmarks("reject", photos / "peak.jpg", "Valais").status == 0
    entries = XmpPacket((photos / "peak.jpg.xmp").read_bytes()).entries()
    assert (entries.keywords, entries.region) == (("Matterhorn", "Pennine Alps"), ())


def test_a_landmark_across_a_border_has_no_region_of_the_camera() -> None:
    """Mont-Saint-Michel, in Normandy, seen from Cherrueix, in Brittany."""
    gazetteer = Gazetteer.bundled()
    mountain = gazetteer.get("mont_saint_michel")
    assert mountain is not None
    here, _ = tags_of_position((48.604, -1.708), gazetteer, ())
    entries = entries_for([Tag(mountain.name, "landmark", 0.9, mountain, None), *here])
    assert (entries.city, entries.region, entries.country) == (("Avranches",), (), ("France",))


def test_places_without_the_position_are_refused() -> None:
    with pytest.raises(SettingsError, match="`places` is about the camera's position"):
        TagSettings(places=True, use_position=False)
