"""`landmarks map`: a web page, GPX and KML of where photos are."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from commands import landmarks
from tiny_model import COLOURS, camera_exif, make_model, save_colour

from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.towns import largest_towns
from landmarks.library.maps.formats import gpx
from landmarks.library.maps.spots import Spot, find_spot, in_order
from landmarks.tagging.tags import Tag

PARIS, SYDNEY = (48.8616, 2.2893), (-33.8568, 151.2153)
GPX, KML = "{http://www.topografix.com/GPX/1/1}", "{http://www.opengis.net/kml/2.2}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos with a position, with a landmark, with both, with neither, and one that is none."""
    folder = tmp_path / "trip"
    grey, tower, stones = (COLOURS[name] for name in ("background", "07.Eiffel_Tower", "31.Stonehenge"))
    save_colour(folder / "b opera.jpg", grey, exif=camera_exif(SYDNEY, "2026:05:02 09:30:00", "+10:00"))
    save_colour(folder / "a tower.jpg", tower, exif=camera_exif(PARIS, "2026:05:01 18:00:00", "+02:00"))
    save_colour(folder / "<b>&.jpg", stones, exif=camera_exif(None, "2026:05:01 09:00:00"))
    save_colour(folder / "lost.jpg", grey)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def draw(photos: Path, model: Path, out: Path) -> str:
    done = landmarks("map", photos, "--model", model, "--out", out)
    assert done.status == 2, "a photo is broken"
    assert "broken.jpg: " in done.err
    assert "3 on the map, 1 without a position" in done.err
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_has_all_in_it(photos: Path, model: Path, tmp_path: Path) -> None:
    page = draw(photos, model, tmp_path / "maps" / "map.html")
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!https://www\.geonames\.org")', page), "nothing is fetched"
    assert "{{" not in page
    rows = data_of(page)["photos"]
    assert [row["name"] for row in rows] == ["<b>&.jpg", "a tower.jpg", "b opera.jpg"], "by the camera's clock"
    stones, tower, opera = rows
    assert (stones["source"], round(stones["latitude"], 3)) == ("landmark", 51.179), "at the landmark"
    assert stones["href"] == "../trip/%3Cb%3E%26.jpg"
    assert (tmp_path / "maps" / "../trip/<b>&.jpg").is_file()
    assert (tower["tags"], tower["source"]) == (["Eiffel Tower (Paris, France)"], "camera")
    assert (tower["latitude"], tower["longitude"]) == PARIS
    assert (opera["title"], opera["tags"], opera["taken"]) == ("b opera.jpg", [], "2026-05-02 09:30")
    assert all(row["thumbnail"].startswith("data:image/jpeg;base64,") for row in rows)
    assert {"Paris", "Sydney"} <= {name for name, _, _ in data_of(page)["towns"]}


def test_gpx_has_waypoints_and_the_way_of_the_camera(photos: Path, model: Path, tmp_path: Path) -> None:
    root = ElementTree.fromstring(draw(photos, model, tmp_path / "trip.gpx"))
    names = [point.findtext(f"{GPX}name") for point in root.iter(f"{GPX}wpt")]
    assert names == ["Stonehenge", "Eiffel Tower", "b opera.jpg"]
    track = list(root.iter(f"{GPX}trkpt"))
    assert [float(point.attrib["lat"]) for point in track] == [PARIS[0], SYDNEY[0]], "Stonehenge is the landmark's"
    assert [point.findtext(f"{GPX}time") for point in track] == ["2026-05-01T16:00:00Z", "2026-05-01T23:30:00Z"]
    assert next(root.iter(f"{GPX}wpt")).find(f"{GPX}time") is None, "nobody knows its time zone"


@pytest.mark.parametrize(
    ("longitude", "written"),
    [(180.0, "-180.000000"), (179.9999999, "-180.000000"), (-180.0, "-180.000000"), (151.2153, "151.215300")],
)
def test_gpx_has_no_longitude_of_180_degrees(longitude: float, written: str) -> None:
    spot = Spot(Path("a.jpg"), (), (-16.8, longitude), "camera", None)
    assert f'<wpt lat="-16.800000" lon="{written}">' in gpx([spot], "Fiji")


def test_a_track_across_time_zones_is_in_order() -> None:
    """From Tokyo to Los Angeles, where clocks show an earlier time of the same day on arrival."""
    times = {
        "tokyo": "2026-05-01T17:00:00+09:00",
        "angeles": "2026-05-01T11:00:00-07:00",
        "scan": "2026-05-01T12:00",
    }
    spots = [
        Spot(Path(name), (), (float(place), 0.0), "landmark" if name == "scan" else "camera", taken)
        for place, (name, taken) in enumerate((name, datetime.fromisoformat(text)) for name, text in times.items())
    ]
    assert re.findall('<trkpt lat="(.)', gpx(spots, "flight")) == ["0", "1"]
    assert [spot.photo.name for spot in in_order(spots[:2])] == ["tokyo", "angeles"]
    assert [spot.photo.name for spot in in_order(spots)] == ["angeles", "scan", "tokyo"], "what the clocks showed"


def test_kml_has_photos_and_landmarks(photos: Path, model: Path, tmp_path: Path) -> None:
    root = ElementTree.fromstring(draw(photos, model, tmp_path / "places.KML"))
    folders = {
        folder.findtext(f"{KML}name"): [mark.findtext(f"{KML}name") for mark in folder.iter(f"{KML}Placemark")]
        for folder in root.iter(f"{KML}Folder")
    }
    assert folders == {
        "Photos": ["Stonehenge", "Eiffel Tower", "b opera.jpg"],
        "Landmarks": ["Stonehenge", "Eiffel Tower"],
    }
    first = next(root.iter(f"{KML}Placemark"))
    assert first.findtext(f"{KML}description") == "<b>&.jpg: Stonehenge (position of the landmark)"
    assert first.findtext(f"{KML}Point/{KML}coordinates") == "-1.826200,51.178900"


def test_recorded_tags_are_used(photos: Path, model: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").unlink()
    landmarks("tag", photos, "--model", model, "--write", "-q", "--places")
    landmarks("reject", photos / "<b>&.jpg", "Stonehenge")
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    out = tmp_path / "map.html"
    # Another model knows none of them, and is asked about new photos only.
    other = make_model(tmp_path / "other", colours={"x": (9, 9, 9), "background": (128, 128, 128)})
    save_colour(photos / "new.jpg", COLOURS["background"], exif=camera_exif(PARIS))
    assert landmarks("map", photos, "--model", other, "--out", out).status == 0
    rows = {row["name"]: row for row in data_of(out.read_text(encoding="utf-8"))["photos"]}
    assert set(rows) == {"a tower.jpg", "b opera.jpg", "new.jpg"}, "a rejected landmark places nothing"
    assert rows["b opera.jpg"]["tags"][0] == "near Sydney Opera House (Sydney, Australia)"
    assert {path: path.read_bytes() for path in before} == before


def test_a_place_that_was_only_estimated_is_in_its_town(model: Path, tmp_path: Path) -> None:
    trip, changes = tmp_path / "trip", ("--ledger", tmp_path / "changes.db")
    save_colour(trip / "phone.jpg", COLOURS["background"], exif=camera_exif(PARIS, "2026:05:01 18:00:00"))
    save_colour(trip / "camera.jpg", COLOURS["background"], exif=camera_exif(None, "2026:05:01 18:05:00"))
    tag = ("tag", trip, "--model", model, "--write", "--places", "--trips", *changes)
    assert landmarks(*tag).status == 0
    out = tmp_path / "map.html"
    assert landmarks("map", trip, "--model", model, "--out", out, *changes).status == 0
    row = next(row for row in data_of(out.read_text(encoding="utf-8"))["photos"] if row["name"] == "camera.jpg")
    assert (row["source"], round(row["latitude"], 1)) == ("town", 48.9)
    assert row["tags"] == ["probably in Paris (Île-de-France, France)"]


def test_a_photo_of_an_uncertain_landmark_is_in_its_city(tmp_path: Path) -> None:
    """It may be one of two towers in Porto; there is a Porto in Spain, too."""
    photo = save_colour(tmp_path / "tower.jpg", COLOURS["background"])
    tower = Gazetteer.bundled().get("clerigos_tower")
    found = find_spot(photo, (Tag("Porto", "city", 0.9, tower, None),))
    assert found is not None
    assert (found.source, found.position) == ("town", (41.15, -8.61))


def test_a_city_is_where_its_landmark_is_if_the_towns_of_its_name_are_elsewhere(tmp_path: Path) -> None:
    """The largest Arlington is in Texas, and no town is called Aurangabad district."""
    photo = save_colour(tmp_path / "a.jpg", COLOURS["background"])
    for city, code, where in (("Arlington", "US", (38.89, -77.07)), ("Aurangabad district", "IN", (20.02, 75.18))):
        place = replace(Gazetteer.bundled().get("clerigos_tower"), city=city, country_code=code)
        place = replace(place, latitude=where[0], longitude=where[1])
        found = find_spot(photo, (Tag(city, "city", 0.9, place, None),))
        assert found is not None
        assert (found.source, found.position) == ("town", where)


def test_what_cannot_be_drawn_is_refused(photos: Path, model: Path, tmp_path: Path) -> None:
    done = landmarks("map", photos, "--out", "map.pdf")
    assert (done.status, done.complaint) == (2, "--out map.pdf: end its name with one of .html, .gpx, .kml")
    out = tmp_path / "map.html"
    done = landmarks("map", photos / "lost.jpg", "--model", model, "--out", out)
    assert done.status == 2
    assert "no photo has a position or a known landmark" in done.complaint
    assert not out.exists()
    (tmp_path / "trip.gpx").mkdir()
    done = landmarks("map", photos, "--out", tmp_path / "trip.gpx")
    assert (done.status, done.complaint) == (
        2,
        f"--out {tmp_path / 'trip.gpx'}: this is a folder: choose another name",
    )


@pytest.mark.parametrize("taken", ["", "0000:00:00 00:00:00", "yesterday"])
def test_a_photo_without_a_time_is_shown(tmp_path: Path, taken: str) -> None:
    spot = find_spot(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=camera_exif(PARIS, taken)), ())
    assert spot is not None
    assert (spot.position, spot.taken, spot.name) == (PARIS, None, "a.jpg")


def test_a_folder_may_have_any_name(model: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for folder in (odd, tmp_path / "{{data}}", tmp_path / "{{title}}{{page.css}}"):
        save_colour(folder / "a.jpg", COLOURS["07.Eiffel_Tower"])
        out = tmp_path / "map.html"
        assert landmarks("map", folder, "--model", model, "--out", out).status == 0
        page = out.read_text(encoding="utf-8")
        assert f"<h1>{'caf?' if folder == odd else folder.name}</h1>" in page
        assert [row["title"] for row in data_of(page)["photos"]] == ["Eiffel Tower"]


@pytest.mark.parametrize("taken", ["0001:01:01 00:30:00", "0001:01:02 00:30:00", "9999:12:31 23:30:00"])
@pytest.mark.parametrize("zone", ["+02:00", "-02:00"])
def test_a_clock_at_the_end_of_time_stops_nothing(model: Path, tmp_path: Path, taken: str, zone: str) -> None:
    folder = tmp_path / "trip"
    save_colour(folder / "a.jpg", COLOURS["background"], exif=camera_exif(PARIS, taken, zone))
    save_colour(folder / "b.jpg", COLOURS["background"], exif=camera_exif(None, taken, zone))
    assert landmarks("tag", folder, "--model", model, "--places", "--trips").status == 0
    for suffix in ("gpx", "kml", "html"):
        out = tmp_path / f"map.{suffix}"
        assert landmarks("map", folder, "--model", model, "--out", out).status == 0
    times = re.findall("<time>(.*?)</time>", (tmp_path / "map.gpx").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_towns_for_orientation_are_near_or_large() -> None:
    towns = largest_towns([PARIS], near=3, far=2)
    assert len(towns) == 5
    near = [town for town in towns if abs(town[1] - PARIS[0]) < 1]
    assert near[0] == ("Paris", 48.85, 2.35)
    assert len(near) == 3
