"""What photos of one trip change about each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import landmarks
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import COLOURS, calibrated, camera_exif, make_model, save_colour

from landmarks.metadata.reading import Facts, read_facts
from landmarks.metadata.xmp import XmpPacket
from landmarks.model.calibration import Calibration
from landmarks.model.operating_points import OperatingPoint
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.trips.consistency import Guess, Reconciled, Sighting, reconcile
from landmarks.tagging.trips.parts import parts_of
from landmarks.tagging.trips.travel import travel_hours
from landmarks.tagging.trips.trip import Bars, bars_of

GIZA, MACHU_PICCHU, CUSCO = (29.9773, 31.1325), (-13.1631, -72.545), (-13.5167, -71.9781)
PARIS, NEW_YORK, VERSAILLES = (48.8584, 2.2945), (40.6892, -74.0445), (48.8049, 2.1204)
START = datetime(2026, 5, 1, 10, tzinfo=UTC)


def sighting(
    name: str, minutes: float, place: tuple[float, float], probability: float = 0.99, *, sure: bool = True
) -> Sighting:
    return Sighting(
        Path(name),
        START + timedelta(minutes=minutes),
        tag=Guess(name.split(maxsplit=1)[0], probability, place),
        sure=sure,
    )


def doubted(name: str, minutes: float, *guesses: Guess) -> Sighting:
    return Sighting(Path(name), START + timedelta(minutes=minutes), candidates=guesses)


def kinds(found: Reconciled) -> dict[str, str]:
    return {str(photo): change.kind for photo, change in found.changes.items()}


PERU = [sighting(f"Machu {number}", 5 * number, MACHU_PICCHU) for number in range(3)]


def test_giza_is_not_twenty_minutes_from_machu_picchu() -> None:
    found = reconcile([*PERU, sighting("Giza", 30, GIZA)])
    assert kinds(found) == {"Giza": "impossible"}
    assert found.changes[Path("Giza")].reason == (
        "Machu was photographed 20 minutes before, 12,037 km away (Machu 2): the way takes at least 17 h"
    )


def test_an_unsure_tag_needs_no_majority_against_it() -> None:
    assert kinds(reconcile([PERU[0], sighting("Giza", 30, GIZA, 0.7, sure=False)])) == {"Giza": "impossible"}


def test_two_sure_tags_at_odds_decide_nothing() -> None:
    found = reconcile(
        [PERU[0], sighting("Giza", 30, GIZA), doubted("other", 31, Guess("Machu", 0.4, MACHU_PICCHU))]
    )
    assert (kinds(found), found.doubtful) == ({}, 2)


def test_photos_that_all_have_one_time_change_nothing() -> None:
    """A camera whose clock was reset, or pictures from everywhere."""
    places = [(10.0 * number, 20.0 * number) for number in range(8)]
    found = reconcile([sighting(f"p{number}", 0, place) for number, place in enumerate(places)])
    assert kinds(found) == {}


def test_who_has_flown_in_between_keeps_the_tag() -> None:
    later = 60 * (float(travel_hours(12_037)) + 1)
    assert kinds(reconcile([*PERU, sighting("Giza", 10 + later, GIZA)])) == {}


def test_a_clock_that_follows_the_sun_may_show_less_time_than_has_passed() -> None:
    """From Paris to New York in the time zone of each: five hours by the clocks, eleven in the air."""
    paris = [sighting(f"Paris {number}", number, PARIS) for number in range(3)]
    away = sighting("Liberty", 5 * 60, NEW_YORK)
    assert kinds(reconcile([*paris, away])) == {"Liberty": "impossible"}, "universal time"
    on_the_wall = [replace(one, taken=one.taken.replace(tzinfo=None)) for one in (*paris, away) if one.taken]
    assert kinds(reconcile(on_the_wall)) == {}


def test_an_unsure_tag_far_from_all_others_of_the_day_is_lone() -> None:
    before, after = sighting("Paris a", 0, PARIS), sighting("Paris b", 600, PARIS)
    unsure = sighting("Stonehenge", 300, (51.1789, -1.8262), 0.7, sure=False)
    found = reconcile([before, after, unsure])
    assert kinds(found) == kinds(reconcile([before, unsure])) == {"Stonehenge": "lone"}
    assert (
        "no photo next to it is from there: Paris was photographed 5 h" in found.changes[Path("Stonehenge")].reason
    )
    assert kinds(reconcile([before, after, replace(unsure, sure=True)])) == {}, "a sure tag is no mistake"
    assert kinds(reconcile([before, sighting("Salisbury", 500, (51.0649, -1.7974)), unsure])) == {}
    assert kinds(reconcile([unsure])) == {}, "nothing to compare with"


def test_a_candidate_near_two_sure_ones_becomes_a_tag() -> None:
    candidates = Guess("Tokyo", 0.5, (35.6586, 139.7454)), Guess("Machu", 0.3, MACHU_PICCHU)
    change = reconcile([*PERU, doubted("x", 12, *candidates)]).changes[Path("x")]
    assert (change.kind, change.guess.name) == ("raised", "Machu")
    assert change.guess.probability == pytest.approx(3 / (3 + 0.5 + 0.2))
    assert change.reason == "Machu was photographed there 2 minutes before (Machu 2)"
    assert kinds(reconcile([PERU[0], doubted("x", 12, *candidates)])) == {}, "one is not enough"
    pair = [PERU[0], replace(PERU[0], photo=Path("Machu 0.cr2"))]
    assert kinds(reconcile([*pair, doubted("x", 12, *candidates)])) == {}, "nor are two files of one photo"
    weak = Guess("Tokyo", 0.9, (35.6586, 139.7454)), Guess("Machu", 0.05, MACHU_PICCHU)
    assert kinds(reconcile([*PERU, doubted("x", 12, *weak)])) == {}
    assert kinds(reconcile([*PERU, doubted("x", 200, *candidates)])) == {}, "too late"


def test_positions_and_confirmed_tags_count_and_are_never_changed() -> None:
    phone = Sighting(Path("phone"), START, position=CUSCO)
    wrong = sighting("Giza", 5, GIZA)
    assert kinds(reconcile([phone, wrong])) == {"Giza": "impossible"}
    assert kinds(reconcile([phone, replace(wrong, confirmed=True)])) == {}


TRIP = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from([GIZA, MACHU_PICCHU, PARIS, VERSAILLES]), st.booleans()),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(TRIP)
def test_parts_of_a_run_change_what_the_whole_run_does(trip) -> None:  # type: ignore[no-untyped-def]
    shots = [sighting(f"p{n}", 3 * minutes, place, sure=sure) for n, (minutes, place, sure) in enumerate(trip)]
    parts = parts_of({shot.photo: Facts(shot.taken) for shot in shots})
    apart = {number: [shot for shot in shots if parts[shot.photo] == number] for number in parts.values()}
    found = [reconcile(shots, zoned=True) for shots in apart.values()]
    assert {photo: change for one in found for photo, change in one.changes.items()} == reconcile(shots).changes
    assert sum(one.doubtful for one in found) == reconcile(shots).doubtful


@settings(max_examples=25, deadline=None)
@given(TRIP, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_only_tags_that_are_there_change(trip, random) -> None:  # type: ignore[no-untyped-def]
    shots = [sighting(f"p{n}", minutes, place, sure=sure) for n, (minutes, place, sure) in enumerate(trip)]
    shuffled = shots.copy()
    random.shuffle(shuffled)
    found = reconcile(shots)
    assert kinds(found) == kinds(reconcile(shuffled))
    assert set(kinds(found).values()) <= {"impossible", "lone"}
    assert {place for _, place, _ in trip} != {PARIS, VERSAILLES} or not found.changes


@pytest.fixture(scope="module")
def either(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser of two colours that is unsure of what lies between them."""
    two = {name: COLOURS[name] for name in ("07.Eiffel_Tower", "31.Stonehenge")}
    unsure = Calibration(
        temperature=1.0, score="max_probability", threshold=0.3, target_fpr=0.01, min_confidence=0.7
    )
    return make_model(tmp_path_factory.mktemp("models") / "either", colours=two, calibration=unsure)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of a tower, one of stones minutes later, and one that might be either."""
    folder = tmp_path / "trip"
    tower, stones = COLOURS["07.Eiffel_Tower"], COLOURS["31.Stonehenge"]
    for name, minute, colour in (
        *((f"tower{n}", n, tower) for n in range(3)),
        ("stones", 12, stones),
        ("unsure", 14, (130, 30, 130)),
    ):
        exif = camera_exif(None, f"2026:05:01 10:{minute:02}:00")
        save_colour(folder / f"{name}.jpg", colour, exif=exif)
    return folder


def test_changes_are_told_counted_and_explained(either: Path, photos: Path) -> None:
    alone = landmarks("tag", photos, "--model", either, "--jsonl").rows
    assert [tag["name"] for tag in alone["stones"]["tags"]] == ["Stonehenge"]
    assert alone["unsure"]["tags"] == []
    done = landmarks("tag", photos, "--model", either, "--jsonl", "--trips", "--explain")
    rows = done.rows
    assert rows["stones"]["tags"] == []
    assert [tag["name"] for tag in rows["unsure"]["tags"]] == ["Eiffel Tower"]
    assert "but Eiffel Tower was photographed" in rows["stones"]["explanation"][-1]
    assert rows["unsure"]["explanation"][-1].startswith("tagged by the trip: Eiffel Tower raised to")
    assert (
        "stones.jpg: looks like Stonehenge (100%), but Eiffel Tower was photographed 10 minutes before" in done.err
    )
    assert "1 tagged by the trip, 1 taken back by the trip" in done.err or (
        "1 taken back by the trip, 1 tagged by the trip" in done.err
    )


def test_candidates_that_are_not_shown_are_compared_too(either: Path, photos: Path) -> None:
    exif = camera_exif(None, "2026:05:01 10:14:00")
    save_colour(photos / "unsure.jpg", (129, 30, 130), exif=exif)  # stones, if anything
    row = landmarks("tag", photos, "--model", either, "--jsonl", "--trips", "--top", 1).rows["unsure"]
    assert [one["name"] for one in row["candidates"]] == ["Stonehenge"]
    assert [tag["name"] for tag in row["tags"]] == ["Eiffel Tower"]


def test_what_was_tagged_before_speaks_for_new_photos(either: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("stones", "unsure"):
        (photos / f"{name}.jpg").rename(tmp_path / f"{name}.jpg")
    asked = ("tag", photos, "--model", either, "--write", "--trips")
    assert landmarks(*asked).status == 0
    for name in ("stones", "unsure"):
        (tmp_path / f"{name}.jpg").rename(photos / f"{name}.jpg")
    before = {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    done = landmarks(*asked)
    assert "3 done before" in done.err
    assert XmpPacket((photos / "unsure.jpg.xmp").read_bytes()).entries().hierarchy == (
        "Places|France|Paris|Eiffel Tower",
    )
    assert not (photos / "stones.jpg.xmp").exists()
    assert landmarks("undo", photos, "--run", 2).status == 0
    assert {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_what_new_photos_contradict_is_told_and_not_counted_as_taken_back(
    either: Path, photos: Path, tmp_path: Path
) -> None:
    others = [path for path in photos.iterdir() if path.name != "stones.jpg"]
    for path in others:
        path.rename(tmp_path / path.name)
    asked = ("tag", photos, "--model", either, "--write", "--trips")
    assert landmarks(*asked).status == 0
    for path in others:
        (tmp_path / path.name).rename(path)
    done = landmarks(*asked)
    assert "stones.jpg: Stonehenge stays as it was written, but Eiffel Tower was photographed" in done.err
    assert "taken back" not in done.err
    assert landmarks("undo", photos / "stones.jpg").status == 0
    assert "1 taken back by the trip" in landmarks(*asked).err


def test_a_photo_that_the_user_confirmed_is_not_taken_back(model: Path, photos: Path) -> None:
    assert landmarks("tag", photos, "--model", model, "--write", "-q").status == 0
    assert landmarks("confirm", photos / "stones.jpg", "Stonehenge").status == 0
    rows = landmarks("tag", photos, "--model", model, "--jsonl", "--trips").rows
    assert [tag["name"] for tag in rows["stones"]["tags"]] == ["Stonehenge"]


def test_a_landmark_is_confirmed_in_every_language(model: Path, photos: Path) -> None:
    pytest.importorskip("babel", reason="needs the extra languages")
    save_colour(photos / "giza.jpg", COLOURS["background"], exif=camera_exif(GIZA, "2026:05:01 10:05:00"))
    for name in ("tower1", "tower2", "stones", "unsure"):
        (photos / f"{name}.jpg").unlink()
    assert landmarks("tag", photos, "--model", model, "--write", "-q").status == 0
    asked = ("tag", photos, "--model", model, "--trips", "--language", "de")
    assert "looks like Eiffelturm" in landmarks(*asked).err
    assert landmarks("confirm", photos / "tower0.jpg", "Eiffel Tower").status == 0
    assert "looks like Eiffelturm" not in landmarks(*asked).err


def test_a_rejected_candidate_is_not_added(either: Path, photos: Path) -> None:
    where = camera_exif((48.86, 2.29), "2026:05:01 10:01:00")
    save_colour(photos / "tower1.jpg", COLOURS["07.Eiffel_Tower"], exif=where)
    asked = ("tag", photos, "--model", either, "--places", "--trips")
    assert landmarks(*asked, "--write", "-q").status == 0
    assert landmarks("reject", photos / "unsure.jpg", "Eiffel Tower").status == 0
    done = landmarks(*asked, "--jsonl")
    assert [(tag["name"], tag["source"]) for tag in done.rows["unsure"]["tags"]] == [("Paris", "estimated")]
    assert "tagged by the trip" not in done.err


def test_a_confirmed_landmark_counts_like_a_position(model: Path, photos: Path) -> None:
    save_colour(photos / "wall.jpg", COLOURS["background"], exif=camera_exif(None, "2026:05:01 10:20:00"))
    asked = ("tag", photos, "--model", model, "--places", "--trips", "--write", "-q")
    (photos / "stones.jpg").unlink()
    assert landmarks(*asked).status == 0
    assert not (photos / "wall.jpg.xmp").exists(), "a recognized landmark is no position"
    assert landmarks("confirm", photos / "tower2.jpg", "Eiffel Tower").status == 0
    assert landmarks(*asked, "--min-confidence", "0.6").status == 0
    assert XmpPacket((photos / "wall.jpg.xmp").read_bytes()).entries().hierarchy == (
        "Places (estimated)|France|Paris",
    )


def test_bars_are_operating_points() -> None:
    points = {
        "precision": OperatingPoint(3.0, 0.5),
        "balanced": OperatingPoint(1.0, 0.5),
        "recall": OperatingPoint(0.0, 0.5),
    }
    known = Calibration(1.0, "max_probability", 1.0, 0.01, operating_points=points)
    assert Bars.of(known, TagSettings()) == Bars(0.9, 3.0, 0.0)
    assert Bars.of(known, TagSettings(prefer="precision")) == Bars(0.9, 3.0, 1.0)
    assert Bars.of(known, TagSettings(prefer="recall")) == Bars(0.9, 3.0, 0.0)
    assert Bars.of(replace(known, operating_points={}), TagSettings()) == Bars(0.9, 1.0, 1.0)
    uncalibrated = Bars.of(None, TagSettings())
    assert (uncalibrated.sure_score, uncalibrated.near_score) == (None, None)


def test_two_models_are_as_sure_as_the_less_certain_of_them(tmp_path: Path) -> None:
    plain = make_model(tmp_path / "plain")
    first, second = (make_model(tmp_path / name, calibration=calibrated()) for name in ("first", "second"))
    alone = bars_of((plain,), TagSettings()).sure_probability
    assert bars_of((first, second), TagSettings()) == Bars(0.9)
    assert bars_of((first, plain), TagSettings()) == bars_of((plain, first), TagSettings()) == Bars(alone)
    assert alone > 0.9


def test_a_photo_tells_time_place_and_camera(tmp_path: Path) -> None:
    exif = camera_exif(PARIS, "2026:05:01 10:00:00", "+02:00")
    gps = exif.get_ifd(0x8825)
    gps[29], gps[7] = "2026:05:01", (8.0, 0.0, 5.0)
    exif[0x0110] = "K 1"
    facts = read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=exif))
    assert facts.position == pytest.approx(PARIS)
    assert facts.camera == "drawn K 1"
    assert facts.taken == datetime.fromisoformat("2026-05-01T10:00:00+02:00")
    assert facts.satellite_time == datetime(2026, 5, 1, 8, 0, 5, tzinfo=UTC)
    assert read_facts(tmp_path / "missing.jpg") == type(facts)()
