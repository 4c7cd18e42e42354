"""Which tag a photo gets, at which level, and when it gets none."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiny_model import COLOURS, calibrated, make_model, save_colour

from landmarks.errors import ModelError, SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import Calibration
from landmarks.model.folder import read_info
from landmarks.model.ood import EmbeddingStatistics
from landmarks.model.operating_points import UNCALIBRATED_MIN_CONFIDENCE
from landmarks.model.recognizer import Candidate, Recognition, Recognizer
from landmarks.tagging.pipeline import Model, find_tags_parallel
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, Tagger, gazetteer_of, identity_of
from landmarks.tagging.tags import ImageTags, Tag
from landmarks.tagging.writers import make_writer

PARIS, LISBON = (48.85, 2.29), (38.72, -9.14)
CLASSES = (
    "07.Eiffel_Tower",
    "02.Casa_da_Musica",
    "05.Clerigos_Tower",
    "20.Mazar-e-Quaid",
    "01.Badshahi_Mosque",
    "dome",
    "cheese",
    "My own shed",
    "background",
)
OF_TWO_CLASSES = EmbeddingStatistics(np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32), 1.0)
CALIBRATED = calibrated()
Say = Callable[..., Finding]


def recognition(*shares: float, score: float | None = None) -> Recognition:
    """A recognition with these probabilities for the first classes; the rest goes to the background."""
    row = np.zeros(len(CLASSES), dtype=np.float32)
    row[: len(shares)] = shares
    row[-1] = 1 - row.sum()
    return Recognition(Path("a.jpg"), (), None, row, score)


@pytest.fixture(scope="module")
def gazetteer() -> Gazetteer:
    return Gazetteer.bundled()


@pytest.fixture
def say(gazetteer: Gazetteer) -> Say:
    def tag(
        *shares: float,
        score: float | None = 1.0,
        position: tuple[float, float] | None = None,
        calibration: Calibration | None = CALIBRATED,
        settings: TagSettings | None = None,
    ) -> Finding:
        tagger = Tagger(CLASSES, calibration, gazetteer, settings or TagSettings(), "m")
        return tagger.tag(recognition(*shares, score=score), position)

    return tag


def only_tag(finding: Finding) -> Tag:
    (tag,) = finding.photo.tags
    return tag


def test_a_sure_landmark_is_said_with_its_place(say: Say) -> None:
    tag = only_tag(say(0.9))
    assert (tag.name, tag.level, tag.class_name) == ("Eiffel Tower", "landmark", "07.Eiffel_Tower")
    assert tag.probability == pytest.approx(0.9)
    assert tag.place is not None
    assert tag.place.city == "Paris"


@pytest.mark.parametrize(
    ("shares", "level", "name"),
    [
        ((0, 0.4, 0.35), "city", "Porto"),
        ((0, 0, 0, 0.4, 0.3), "country", "Pakistan"),
        ((0.4, 0, 0.3), "kind", "tower"),
    ],
)
def test_what_is_not_sure_falls_back_to_what_is(
    say: Say, shares: tuple[float, ...], level: str, name: str
) -> None:
    tag = only_tag(say(*shares))
    assert (tag.level, tag.name, tag.class_name) == (level, name, None)
    assert tag.probability == pytest.approx(sum(shares))
    assert (tag.place is None) is (level == "kind")


def test_the_least_general_sure_thing_wins(say: Say) -> None:
    assert only_tag(say(0.1, 0.6, 0.3)).name == "Casa da M\u00fasica"


def test_nothing_is_said_where_nothing_is_sure(say: Say) -> None:
    assert say(0.3, 0.2, 0, 0.2).photo.tags == ()


def test_nothing_is_said_of_the_unknown_however_sure_softmax_is(say: Say) -> None:
    finding = say(0.99, score=0.4)
    assert finding.photo.tags == ()
    assert finding.explanation is not None
    assert not finding.explanation.known


def test_the_background_is_never_a_tag_nor_a_candidate(say: Say) -> None:
    finding = say(0.02, settings=TagSettings(top=20))
    assert finding.photo.tags == ()
    assert len(finding.photo.candidates) == len(CLASSES) - 1
    assert "background" not in {candidate.class_name for candidate in finding.photo.candidates}


@pytest.mark.parametrize("index", [CLASSES.index("dome"), CLASSES.index("cheese")])
def test_a_row_that_is_no_place_gives_a_kind_without_a_place(say: Say, index: int) -> None:
    tag = only_tag(say(*[0.0] * index, 0.95))
    assert (tag.level, tag.place, tag.class_name) == ("kind", None, CLASSES[index])


@pytest.mark.parametrize(
    "rest", ["name\nmy_own_shed,Our Shed", "name,city,kind\nmy_own_shed,Our Shed,Ulm,building"]
)
def test_a_row_of_a_name_or_a_city_is_a_place(tmp_path: Path, gazetteer: Gazetteer, rest: str) -> None:
    (tmp_path / "own.csv").write_text(f"key,{rest}\n")
    own = gazetteer.with_overrides(tmp_path / "own.csv")
    row = [0.0] * CLASSES.index("My own shed")
    tag = only_tag(Tagger(CLASSES, CALIBRATED, own, TagSettings(), "m").tag(recognition(*row, 0.95, score=1.0)))
    assert (tag.level, tag.name, tag.place) == ("landmark", "Our Shed", own.find("My own shed"))


def test_a_class_without_a_row_is_said_under_its_own_name(say: Say) -> None:
    tag = only_tag(say(*[0.0] * CLASSES.index("My own shed"), 0.95))
    assert (tag.level, tag.name, tag.place) == ("landmark", "My own shed", None)


def test_two_classes_of_one_place_are_one_landmark(gazetteer: Gazetteer) -> None:
    classes = ("07.Eiffel_Tower", "eiffel tower", "06.Colosseum")
    tagger = Tagger(classes, calibrated(), gazetteer, TagSettings(), "m")
    row = np.array([0.45, 0.45, 0.1], dtype=np.float32)
    tag = only_tag(tagger.tag(Recognition(Path("a.jpg"), (), None, row, 1.0)))
    assert (tag.level, tag.probability) == ("landmark", pytest.approx(0.9))


def test_a_model_without_a_calibration_must_be_very_sure(say: Say) -> None:
    assert say(UNCALIBRATED_MIN_CONFIDENCE - 0.01, score=None, calibration=None).photo.tags == ()
    assert only_tag(say(UNCALIBRATED_MIN_CONFIDENCE + 0.01, score=None, calibration=None)).level == "landmark"


def test_sure_can_be_asked_for(say: Say) -> None:
    assert say(0.9, settings=TagSettings(min_confidence=0.95)).photo.tags == ()


def test_a_camera_nearby_raises_a_landmark(say: Say) -> None:
    assert say(0.3).photo.tags == ()
    near = only_tag(say(0.3, score=-1, position=PARIS))
    assert near.probability == pytest.approx(3.0 / 3.7)


def test_a_camera_nearby_does_not_raise_a_score_of_the_embedding(say: Say) -> None:
    calibration = Calibration(1.0, "energy", 0.5, 0.01)
    assert say(0.9, score=0.4, position=PARIS, calibration=calibration).photo.tags == ()


def test_a_camera_far_away_is_reported_and_nothing_said(say: Say) -> None:
    finding = say(0.9, position=LISBON)
    assert finding.photo.tags == ()
    assert finding.explanation is not None
    assert finding.explanation.contradiction == (
        "looks like Eiffel Tower (90%), but the camera stood 1450 km away"
    )


def test_a_camera_in_the_city_does_not_contradict_it(say: Say) -> None:
    finding = say(0.0, 0.4, 0.35, position=(41.15, -8.63))
    assert only_tag(finding).name in {"Porto", "Casa da M\u00fasica", "Cl\u00e9rigos Tower"}


def test_a_camera_contradicts_a_whole_city(say: Say) -> None:
    finding = say(0.0, 0.4, 0.35, position=PARIS)
    assert finding.photo.tags == ()
    assert finding.explanation is not None
    assert "looks like Porto" in (finding.explanation.contradiction or "")


def test_the_explanation_names_the_runner_up_and_what_was_needed(say: Say) -> None:
    explanation = say(0.7, 0.2, position=PARIS).explanation
    assert explanation is not None
    assert explanation.runner_up is not None
    assert explanation.runner_up.class_name == "02.Casa_da_Musica"
    assert (explanation.needed, explanation.score_needed, explanation.score_name) == (0.5, 0.5, "known_mass")
    assert explanation.distance == pytest.approx(1.0, abs=1.0)


def test_candidates_are_as_many_as_asked_for(say: Say) -> None:
    finding = say(0.7, 0.2, settings=TagSettings(top=1))
    assert finding.photo.candidates == (Candidate("07.Eiffel_Tower", pytest.approx(0.7)),)


def test_a_photo_that_cannot_be_read_has_its_reason(gazetteer: Gazetteer) -> None:
    tagger = Tagger(CLASSES, None, gazetteer, TagSettings(), "m")
    finding = tagger.tag(Recognition(Path("a.jpg"), (), "broken"))
    assert (finding.photo.error, finding.photo.tags, finding.explanation) == ("broken", (), None)


@pytest.mark.parametrize("wrong", [{"top": 0}, {"min_confidence": 1.0}, {"near_km": 60.0}, {"near_km": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        TagSettings(**wrong)


def test_one_bad_photo_does_not_stop_the_others(model: Path, tmp_path: Path) -> None:
    photos = [save_colour(tmp_path / f"{n}.jpg", COLOURS["07.Eiffel_Tower"]) for n in range(6)]
    photos[2].write_text("no picture")
    photos[4].unlink()
    found = list(Model(model).tag(photos))
    assert [photo.path for photo in found] == photos
    assert [photo.error is None for photo in found] == [True, True, False, True, False, True]
    assert all(photo.tags[0].name == "Eiffel Tower" for photo in found if photo.error is None)


@pytest.mark.parametrize("use_position", [True, False])
def test_the_position_of_the_photo_counts_if_wanted(
    model: Path, gazetteer: Gazetteer, tmp_path: Path, use_position: bool
) -> None:
    exif = Image.Exif()
    gps = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (38.0, 43.0, 0.0)}
    gps |= {ExifTags.GPS.GPSLongitudeRef: "W", ExifTags.GPS.GPSLongitude: (9.0, 8.0, 0.0)}
    exif[ExifTags.IFD.GPSInfo] = gps
    photo = save_colour(tmp_path / "a.jpg", COLOURS["07.Eiffel_Tower"], exif=exif)
    (finding,) = find_tags_parallel(model, TagSettings(use_position=use_position), [photo])
    assert bool(finding.photo.tags) is not use_position


def test_grey_is_unknown_to_the_model_of_colours(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "a.png", COLOURS["background"])
    (finding,) = find_tags_parallel(model, TagSettings(), [photo])
    assert finding.photo.tags == ()
    assert finding.photo.error is None


def test_scores_of_the_recognizer_are_those_of_its_calibration(model: Path, tmp_path: Path) -> None:
    photos = [save_colour(tmp_path / f"{n}.png", colour) for n, colour in enumerate(COLOURS.values())]
    recognizer = Recognizer(model)
    found = list(recognizer.recognize(photos, top=9))
    scores = [one.score for one in found]
    assert None not in scores
    assert np.argmin(np.array(scores, dtype=float)) == len(COLOURS) - 1  # grey
    assert all(len(one.candidates) == len(COLOURS) - 1 for one in found)
    assert "background" not in {candidate.class_name for one in found for candidate in one.candidates}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"threshold": "high"}, "calibration is damaged"),
        (replace(CALIBRATED, statistics=OF_TWO_CLASSES).to_dict(), "class means do not fit"),
    ],
)
def test_a_model_with_a_wrong_calibration_is_refused(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    folder = make_model(tmp_path / "model", calibration=calibrated())
    info = json.loads((folder / "model.json").read_text())
    wrong = {**CALIBRATED.to_dict(), **change}
    (folder / "model.json").write_text(json.dumps({**info, "calibration": wrong}))
    with pytest.raises(ModelError, match=rf"model\.json: .*{complaint}"):
        Recognizer(folder)


def test_the_temperature_is_stored_once_and_older_models_that_repeat_it_still_load(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", calibration=calibrated(temperature=2.0))
    info = json.loads((folder / "model.json").read_text())
    assert info["temperature"] == 2.0
    assert "temperature" not in info["calibration"]
    photo = save_colour(tmp_path / "a.png", COLOURS["31.Stonehenge"])
    (now,) = Recognizer(folder).recognize([photo])
    info["calibration"]["temperature"] = 2.0
    (folder / "model.json").write_text(json.dumps(info))
    (before,) = Recognizer(folder).recognize([photo])
    assert (before, before.score) == (now, now.score)


def test_a_model_json_without_a_calibration_still_loads(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    info = json.loads((folder / "model.json").read_text())
    del info["calibration"]
    (folder / "model.json").write_text(json.dumps(info))
    recognizer = Recognizer(folder)
    assert recognizer.calibration is None
    assert recognizer.answer(np.zeros((1, 32, 32, 3), dtype=np.uint8)).scores is None


def test_identity_tells_what_changes_tags(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("key,name\nstonehenge,The Stones\n")
    info, plain = read_info(model), TagSettings()
    changed = [
        replace(plain, min_confidence=0.7),
        replace(plain, use_position=False),
        replace(plain, own_places=own),
    ]
    identities = {identity_of(model, info, settings) for settings in [plain, *changed]}
    assert len(identities) == 4
    assert identity_of(model, info, replace(plain, top=1)) in identities


def test_places_beside_the_model_and_the_users_own_win(model: Path, tmp_path: Path) -> None:
    beside = make_model(tmp_path / "model")
    (beside / "places.csv").write_text("key,name\nstonehenge,The Stones\nour_shed,Shed\n")
    own = tmp_path / "own.csv"
    own.write_text("key,name\nour_shed,My Shed\n")
    gazetteer = gazetteer_of(beside, TagSettings(own_places=own))
    assert gazetteer.display_name("31.Stonehenge") == "The Stones"
    assert gazetteer.display_name("our shed") == "My Shed"


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-a.jpg", "@SUM(A1).jpg", "-a\rb.jpg"])
def test_no_cell_of_csv_is_a_formula(gazetteer: Gazetteer, name: str) -> None:
    tag = Tag("=cmd|' /C calc'!A0", "kind", 0.9, None, None)
    photo = ImageTags(Path(name), (tag,), (), "m")
    writer = make_writer("csv", gazetteer)
    [row] = list(csv.DictReader(io.StringIO(writer.begin() + writer.photo(Finding(photo, None)), newline="")))
    assert (row["path"], row["name"]) == (f"'{name}", f"'{tag.name}")
    assert row["probability"] == "0.900000"
