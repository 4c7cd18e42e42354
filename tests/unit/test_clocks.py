"""Clocks of cameras that are wrong, and those that nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands import landmarks
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import COLOURS, camera_exif, save_colour

from landmarks.tagging.trips.clocks import ClockError, Fix, find_clock_errors

PLACES = [(48.8584, 2.2945), (48.8867, 2.3431), (48.8049, 2.1204), (48.4021, 2.7001), (48.4477, 1.4877)]
MORNING = datetime(2026, 5, 1, 9)


def phone(hours: list[float]) -> list[Fix]:
    """A phone that takes photos at each place for half an hour."""
    return [
        Fix("phone", MORNING + timedelta(hours=hour, minutes=minute), place, positioned=True)
        for hour, place in zip(hours, PLACES, strict=False)
        for minute in (0, 10, 20, 30)
    ]


def camera(hours: list[float], behind: timedelta, name: str = "camera") -> list[Fix]:
    """A camera beside it that photographs the landmark of each place."""
    return [
        Fix(name, MORNING + timedelta(hours=hour, minutes=minute) - behind, place, positioned=False)
        for hour, place in zip(hours, PLACES, strict=False)
        for minute in (5, 25)
    ]


DAY = [0.0, 2.0, 3.5, 6.0, 9.0]


def test_a_camera_two_hours_behind_is_found() -> None:
    (found,) = find_clock_errors([*phone(DAY), *camera(DAY, timedelta(hours=2))]).values()
    assert found == ClockError("camera", timedelta(hours=2), "phone", 5)
    assert str(found) == "the clock of camera is 2 h behind that of phone, as 5 places show: corrected"


def test_a_right_clock_is_left_alone() -> None:
    assert find_clock_errors([*phone(DAY), *camera(DAY, timedelta())]) == {}
    assert find_clock_errors([*phone(DAY), *camera(DAY, timedelta(minutes=8))]) == {}, "too little to tell"


def test_two_places_are_not_enough() -> None:
    assert find_clock_errors([*phone(DAY), *camera(DAY[:2], timedelta(hours=2))]) == {}


def test_places_that_are_visited_every_day_prove_no_day() -> None:
    week = [
        Fix("phone", fix.taken + timedelta(days=day), fix.place, positioned=True)
        for day in range(7)
        for fix in phone(DAY)
    ]
    assert find_clock_errors([*week, *camera(DAY, timedelta(hours=2))]) == {}


def test_without_any_position_nothing_is_known() -> None:
    assert find_clock_errors([*camera(DAY, timedelta(hours=2)), *camera(DAY, timedelta(), "other")]) == {}


def test_satellite_times_need_no_places() -> None:
    def timed(name: str, behind: float) -> list[Fix]:
        moments = [MORNING + timedelta(minutes=7 * number) for number in range(4)]
        return [
            Fix(
                name,
                moment - timedelta(hours=behind),
                PLACES[0],
                True,
                moment.replace(tzinfo=UTC) - timedelta(hours=2),
            )
            for moment in moments
        ]

    found = find_clock_errors([*timed("phone", 0), *timed("phone", 0), *timed("camera", -1.5)])
    assert found["camera"].behind == timedelta(minutes=-90)
    assert str(found["camera"]) == (
        "the clock of camera is 90 min ahead of that of phone, by satellite time: corrected"
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(30, 240), min_size=5, max_size=5),
    st.integers(-14 * 60, 14 * 60),
    st.integers(-3000, 3000),
)
def test_what_is_found_is_right(gaps: list[int], minutes: int, shift: int) -> None:
    """Whatever the day: an error is found to within half an hour, or not at all; and only differences count."""
    hours = [sum(gaps[:number]) / 60 for number in range(5)]
    fixes = [*phone(hours), *camera(hours, timedelta(minutes=minutes))]
    found = find_clock_errors(fixes)
    for error in found.values():
        assert abs(error.behind - timedelta(minutes=minutes)) <= timedelta(minutes=45)
        assert abs(minutes) > 10
    moved = [Fix(fix.camera, fix.taken + timedelta(days=shift), fix.place, fix.positioned) for fix in fixes]
    assert find_clock_errors(moved).keys() == found.keys()


def test_tag_trips_corrects_a_clock_and_says_so(model: Path, tmp_path: Path) -> None:
    """The camera's photo of a wall is an hour from the phone's by the clocks, and beside it in truth."""
    spots = {
        "07.Eiffel_Tower": PLACES[0],
        "02.Casa_da_Musica": (41.1589, -8.6307),
        "31.Stonehenge": (51.1789, -1.8262),
    }
    folder = tmp_path / "trip"
    for day, (name, place) in enumerate(spots.items(), 1):
        for minute in (0, 20):
            exif = camera_exif(place, f"2026:05:{day:02} 12:{minute:02}:00")
            exif[0x0110] = "phone"
            save_colour(folder / f"phone{day}{minute}.jpg", COLOURS["background"], exif=exif)
        exif = camera_exif(None, f"2026:05:{day:02} 10:10:00")
        save_colour(folder / f"camera{day}.jpg", COLOURS[name], exif=exif)
    save_colour(folder / "wall.jpg", COLOURS["background"], exif=camera_exif(None, "2026:05:01 10:15:00"))
    done = landmarks("tag", folder, "--model", model, "--places", "--trips", "--jsonl")
    assert "the clock of drawn is 2 h behind that of drawn phone, as 3 places show: corrected" in done.err
    assert "1 clocks corrected" in done.err
    (tag,) = done.rows["wall"]["tags"]
    assert (tag["name"], tag["source"]) == ("Paris", "estimated")
