"""What a camera recorded with a photo."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import ExifTags
from tiny_model import camera_exif, save_colour

from landmarks.metadata.reading import Facts, read_facts


@pytest.mark.parametrize(
    ("maker", "model", "said"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("SONY\0\0", " ", "SONY"),
        ("", "", ""),
    ],
)
def test_the_name_of_a_camera(tmp_path: Path, maker: str, model: str, said: str) -> None:
    exif = camera_exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = maker, model
    assert read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=exif)).camera == said


def test_all_of_a_photo_at_once(tmp_path: Path) -> None:
    exif = camera_exif((51.0, -2.0), "2024:05:01 10:00:00")
    exif[ExifTags.Base.Orientation] = 6
    facts = read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), (64, 48), exif))
    assert facts == Facts(datetime(2024, 5, 1, 10), (51.0, -2.0), "drawn", size=(48, 64))


@pytest.mark.parametrize(
    ("original", "zone", "hours"),
    [
        ("2024:05:01 10:00:00", "+02:00", 2),
        ("2024:05:01 10:00:00", "   :  ", None),
        ("2024:05:01 10:00:00", "+2:00", None),
        ("2024:05:01 10:00:00", "GMT+2", None),
        ("2024:05:01 10:00:00", "+99:00", None),
        ("    :  :     :  :  ", "   :  ", None),
        ("0000:00:00 00:00:00", "", None),
        ("yesterday", "", None),
    ],
)
def test_a_time_is_read_past_what_is_unknown(tmp_path: Path, original: str, zone: str, hours: int | None) -> None:
    exif = camera_exif(None, original, zone)
    exif[ExifTags.Base.DateTime] = "2024:05:01 10:00:00"
    zoned = None if hours is None else timezone(timedelta(hours=hours))
    facts = read_facts(save_colour(tmp_path / "a.jpg", (1, 2, 3), exif=exif))
    assert facts.taken == datetime(2024, 5, 1, 10, tzinfo=zoned)


def test_of_what_is_no_photo_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert read_facts(tmp_path / "a.jpg") == read_facts(tmp_path / "none.jpg") == Facts()
