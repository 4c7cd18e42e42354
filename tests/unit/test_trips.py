"""`landmarks tag --trips`: where photos without a position were probably taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from commands import landmarks
from tiny_model import COLOURS, camera_exif, save_colour

from landmarks.errors import SettingsError
from landmarks.library.library import Library
from landmarks.library.maps.formats import kml
from landmarks.library.maps.page import web_page
from landmarks.library.maps.spots import Spot
from landmarks.metadata.reading import Facts
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding
from landmarks.tagging.tags import ImageTags, Tag
from landmarks.tagging.trips.parts import parts_of
from landmarks.tagging.trips.positions import Shot, estimate_positions, parse_span
from landmarks.tagging.trips.together import TripTagger

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
PARIS, VERSAILLES, SYDNEY = (48.8616, 2.2893), (48.8049, 2.1204), (-33.8568, 151.2153)
HALF_AN_HOUR = timedelta(minutes=30)


def shot(name: str, clock: str, position: tuple[float, float] | None = None, zone: str = "") -> Shot:
    return Shot(Path(name), datetime.fromisoformat(f"2026-05-01T{clock}:00{zone}"), position)


def estimated(*shots: Shot, within: timedelta = HALF_AN_HOUR) -> dict[str, tuple[float, float]]:
    found = estimate_positions(shots, within)
    return {
        str(photo): (round(latitude, 3), round(longitude, 3)) for photo, (latitude, longitude) in found.items()
    }


def test_a_photo_is_between_its_neighbours() -> None:
    shots = [shot("b", "10:10"), shot("a", "10:00", PARIS), shot("c", "10:40", VERSAILLES)]
    assert estimated(*shots) == {"b": (48.847, 2.247)}, "a quarter of the way"


def test_one_neighbour_is_enough_and_a_late_one_is_none() -> None:
    shots = [shot("a", "10:00", PARIS), shot("b", "10:30"), shot("c", "10:31"), shot("d", "12:00", PARIS)]
    assert estimated(*shots) == {"b": (48.862, 2.289)}
    assert set(estimated(*shots, within=timedelta(hours=2))) == {"b", "c"}


def test_nothing_is_estimated_across_a_flight() -> None:
    assert estimated(shot("a", "10:00", PARIS), shot("b", "10:10"), shot("c", "10:20", SYDNEY)) == {}


def test_two_positions_of_one_moment_need_no_speed() -> None:
    near = (PARIS[0] + 0.001, PARIS[1])
    assert estimated(shot("a", "10:00", PARIS), shot("b", "10:00"), shot("c", "10:00", near)).keys() == {"b"}


def test_the_short_way_leads_over_the_date_line() -> None:
    shots = [shot("a", "10:00", (-16.8, 179.9)), shot("b", "10:15"), shot("c", "10:30", (-16.8, -179.9))]
    assert estimated(*shots) in ({"b": (-16.8, 180.0)}, {"b": (-16.8, -180.0)})


def test_time_zones_count_if_all_photos_have_one() -> None:
    phone = shot("phone", "12:00", PARIS, "+02:00")
    assert estimated(phone, shot("camera", "11:05", zone="+01:00")) == {"camera": (48.862, 2.289)}
    assert estimated(phone, shot("camera", "12:05")) == {"camera": (48.862, 2.289)}, "the clocks on the wall"
    assert estimated(phone, Shot(Path("timeless"), None, None)) == {}


@pytest.mark.parametrize(("text", "minutes"), [("30min", 30), ("2h", 120), (" 90 min", 90), ("24h", 1440)])
def test_spans_are_read(text: str, minutes: int) -> None:
    assert parse_span(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "30", "0min", "25h", "-5min", "soon"])
def test_other_spans_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="`within` must be a time up to 24h, such as 30min or 2h"):
        parse_span(text)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A phone's photo with a position, two of a camera soon after it, one of a tower, and one of the next day."""
    folder = tmp_path / "trip"
    for name, taken, position in (
        ("phone", "2026:05:01 10:00:00", PARIS),
        ("camera", "2026:05:01 10:20:00", None),
        ("tower", "2026:05:01 10:21:00", None),
        ("later", "2026:05:02 10:20:00", None),
    ):
        colour = COLOURS["07.Eiffel_Tower" if name == "tower" else "background"]
        save_colour(folder / f"{name}.jpg", colour, exif=camera_exif(position, taken))
    return folder


def test_estimates_are_marked(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model, "--places", "--trips", "--jsonl")
    assert done.status == 0
    schema = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "tag.json").read_text()))
    rows = done.rows
    for row in rows.values():
        schema.validate(row)
    (tag,) = rows["camera"]["tags"]
    assert (tag["name"], tag["level"], tag["source"]) == ("Paris", "city", "estimated")
    assert {tag["source"] for tag in rows["phone"]["tags"]} == {"position"}
    assert rows["later"]["tags"] == []
    assert [tag["name"] for tag in rows["tower"]["tags"]] == ["Eiffel Tower"], "it shows itself where it was taken"
    asked = ("tag", photos / "camera.jpg", photos / "phone.jpg", "--model", model, "--places", "--trips")
    assert "camera.jpg: probably in Paris (Île-de-France, France)\n" in landmarks(*asked).out
    assert "camera.jpg: -\n" in landmarks(*asked, "--within", "10min").out


def test_estimates_are_written_apart_and_undone(model: Path, photos: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    asked = ("tag", photos, "--model", model, "--write", "-q", "--places")
    assert landmarks(*asked, "--trips").status == 0
    entries = XmpPacket((photos / "camera.jpg.xmp").read_bytes()).entries()
    assert entries.hierarchy == ("Places (estimated)|France|Paris",)
    assert (entries.city, entries.region, entries.country, entries.position) == ((), (), (), None)
    assert entries.keywords == ("Paris (estimated)", "France (estimated)"), "told apart by every program"
    assert not (photos / "later.jpg.xmp").exists()
    # Without the option, the next run takes them back; so does undo.
    assert landmarks(*asked).status == 0
    assert XmpPacket((photos / "camera.jpg.xmp").read_bytes()).entries().hierarchy == ()
    assert landmarks("undo", photos).status == 0
    assert {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_estimates_are_reviewed(model: Path, photos: Path) -> None:
    asked = ("tag", photos, "--model", model, "--write", "-q", "--places", "--trips")
    assert landmarks(*asked).status == 0

    def written() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        entries = XmpPacket((photos / "camera.jpg.xmp").read_bytes()).entries()
        return entries.hierarchy, entries.keywords, entries.city

    assert landmarks("confirm", photos / "camera.jpg", "Paris").status == 0
    certain = (("Places|France|Paris",), ("Paris", "France", "Île-de-France"), ("Paris",))
    assert written() == certain, "no estimate any more"
    (photos / "new.jpg").write_bytes((photos / "later.jpg").read_bytes())
    assert landmarks(*asked, "--prefer", "balanced", "--min-confidence", "0.6").status == 0
    assert written() == certain, "nor after the next run, which estimates it again"
    assert landmarks("reject", photos / "camera.jpg", "Paris").status == 0
    assert not (photos / "camera.jpg.xmp").exists() or written() == ((), (), ())
    assert landmarks(*asked).status == 0
    assert not (photos / "camera.jpg.xmp").exists() or written() == ((), (), ())


def test_a_map_says_what_is_estimated(model: Path, photos: Path, tmp_path: Path) -> None:
    asked = ("tag", photos, "--model", model, "--write", "-q", "--places", "--trips")
    assert landmarks(*asked).status == 0
    spot = Spot(photos / "camera.jpg", _recorded(photos / "camera.jpg"), PARIS, "camera", None)
    assert spot.name == "camera.jpg"
    assert "<description>camera.jpg: probably Paris</description>" in kml([spot], "trip")
    assert '"tags": ["probably in Paris' in "".join(web_page([spot], "trip", tmp_path))


def _recorded(photo: Path) -> tuple[Tag, ...]:
    with Library(photo.parent, read_only=True) as library:
        return library.recorded(photo) or ()


def facts(day: int, hour: int = 10, camera: str = "phone", position: tuple[float, float] | None = PARIS) -> Facts:
    return Facts(datetime(2026, 5, day, hour), position, camera)


def test_a_long_pause_parts_a_run_unless_a_clock_may_be_wrong() -> None:
    run = {Path("a"): facts(3), Path("b"): facts(1), Path("c"): facts(2, 15), Path("e"): facts(3)}
    run |= {Path("d"): Facts()}
    parts = parts_of(run)
    assert parts[Path("b")] == parts[Path("c")]
    assert parts[Path("a")] == parts[Path("e")] == parts[Path("c")], "19 hours later"
    assert len(set(parts_of(run | {Path("a"): facts(9), Path("e"): facts(9)}).values())) == 3
    far = {Path("a"): facts(1), Path("b"): facts(9, camera="camera", position=None)}
    assert len(set(parts_of(far).values())) == 1, "landmarks in the photos may show that its clock is wrong"
    nowhere = {photo: replace(one, position=None) for photo, one in far.items()}
    assert len(set(parts_of(nowhere).values())) == 2, "no positions to compare a clock with"


def test_a_trip_is_told_after_its_last_photo_so_interrupted_runs_keep_it(model: Path) -> None:
    camera = [facts(1), facts(9), facts(1, 11, position=None), facts(1, 12), facts(9, position=None), facts(20)]
    run = dict(zip(map(Path, ("a1", "b1", "a2", "done before", "b2", "c")), camera, strict=True))
    tagger = replace(TripTagger.of([], [model], TagSettings(), timedelta(hours=1)), facts=run)
    asked: list[str] = []

    def findings() -> Iterator[Finding]:
        for name in ("a1", "b1", "a2", "b2"):
            asked.append(name)
            yield Finding(ImageTags(Path(name), (), (), "model"), None)
        raise KeyboardInterrupt

    told = []

    def follow() -> None:
        for trip in tagger.tag(findings(), _Nothing()):
            tags = {one.photo.path.name: [tag.name for tag in one.photo.tags] for one in trip.findings}
            told.append((asked[-1], tags))

    with pytest.raises(KeyboardInterrupt):
        follow()
    assert told == [("b2", {"a1": [], "a2": ["Paris"]}), ("b2", {"b1": [], "b2": ["Paris"]})]
    asked.clear()
    alone = replace(tagger, facts={Path("a1"): camera[0], Path("b1"): camera[1]})
    first = next(alone.tag(findings(), _Nothing()))
    assert ([one.photo.path.name for one in first.findings], asked) == (["a1"], ["a1"])


class _Nothing:
    """No earlier run, and no verdict."""

    def judged(self, photo: ImageTags) -> tuple[Tag, ...]:
        return photo.tags

    def recorded(self, photo: Path) -> None:
        return None

    def confirmed(self, photo: Path) -> tuple[Tag, ...]:
        return ()


def test_a_time_for_estimates_needs_both(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model, "--trips", "--within", "1h")
    assert (done.status, done.complaint) == (2, "--within needs --places: give it too")
    done = landmarks("tag", photos, "--model", model, "--places", "--within", "1h")
    assert (done.status, done.complaint) == (2, "--within needs --trips: give it too")
