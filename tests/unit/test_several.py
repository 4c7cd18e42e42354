"""Two models as one: the rule by which they tag together, and the pipeline and the command that use it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import landmarks
from PIL import ExifTags, Image
from tiny_model import COLOURS, calibrated, make_model, save_colour

from landmarks.errors import LandmarksError, ModelError, SettingsError
from landmarks.geo.gazetteer import Gazetteer, Place
from landmarks.imaging import decoding
from landmarks.model.folder import find_model, find_models
from landmarks.model.operating_points import OperatingPoint
from landmarks.tagging.pipeline import find_tags_parallel, load_model
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.several import agree, identity_of_models, same_place
from landmarks.tagging.tags import Level, Tag
from landmarks.tagging.writers import reasons

TOWER, HENGE, GREY = (COLOURS[name] for name in ("07.Eiffel_Tower", "31.Stonehenge", "background"))
LOUVRE = (230, 140, 30)
SECOND = {"Tour Eiffel": TOWER, "Louvre Museum": LOUVRE, "background": GREY}
"""A second model: the tower under another name, and a landmark that the first does not know."""


def tag(name: str, probability: float = 0.9, level: Level = "landmark", **values: object) -> Tag:
    place = Place(
        **{
            **dict.fromkeys(("city", "country", "country_code", "kind"), ""),
            "key": name,
            "name": name,
            "latitude": None,
            "longitude": None,
            "wikidata": None,
            **values,
        }  # type: ignore[arg-type]
    )
    return Tag(name, level, probability, None if level == "kind" else place, None)


TOWER_TAG = tag("Eiffel Tower", 0.9, city="Paris", country="France", kind="tower")
ARCH = tag("Arc de Triomphe", 0.8, city="Paris", country="France", kind="arch")
MONT = tag("Mont Saint-Michel", 0.8, city="Normandy", country="France", kind="island")
TOKYO = tag("Tokyo Tower", 0.8, city="Tokyo", country="Japan", kind="tower")
BEN = tag("Big Ben", 0.8, city="London", country="United Kingdom", kind="clock")


class TestSamePlace:
    def test_one_entry_of_the_gazetteer_is_one_place(self) -> None:
        assert same_place(tag("Monas", key="monas"), tag("National Monument", key="monas"))
        assert same_place(tag("A", wikidata="Q1"), tag("B", wikidata="Q1"))
        ulm, leeds = ({"latitude": latitude, "longitude": 0.0} for latitude in (48.4, 53.8))
        assert same_place(tag("Rathaus", key="hall", **ulm), tag("Town Hall", key="hall", **ulm))
        assert not same_place(tag("Town Hall", key="hall", **ulm), tag("Town Hall", key="hall", **leeds))

    @pytest.mark.parametrize(
        ("other", "where", "same"),
        [
            ("Basilica of Bom Jesus Goa", (15.5013, 73.9116), True),
            ("Basilica of Bom Jesus", (38.7, -9.1), False),  # the same name far away
            ("Se Cathedral", (15.5009, 73.9116), False),  # another one across the street
        ],
    )
    def test_position_and_spelling_decide_together(
        self, other: str, where: tuple[float, float], same: bool
    ) -> None:
        one = tag("Basilica of Bom Jésus", latitude=15.5009, longitude=73.9116)
        assert same_place(one, tag(other, latitude=where[0], longitude=where[1])) is same

    def test_spelling_decides_where_no_position_is_known(self) -> None:
        assert same_place(tag("St. Paul's Church"), replace(tag("The Saint Paul's church"), place=None))
        assert not same_place(tag("St. Paul's Church"), tag("St. Peter's Church"))

    def test_cities_of_one_name_in_two_countries_are_two(self) -> None:
        assert same_place(
            tag("Paris", level="city", country="France"), tag("Paris", level="city", country="France")
        )
        assert not same_place(
            tag("Paris", level="city", country="France"), tag("Paris", level="city", country="USA")
        )
        assert not same_place(tag("Paris", level="city"), tag("Paris"))


class TestAgree:
    def test_no_tag_or_the_tag_of_one(self) -> None:
        assert agree(None, None)[0] is None
        assert agree(TOWER_TAG, None)[0] == agree(None, TOWER_TAG)[0] == TOWER_TAG

    def test_the_same_place_gets_the_larger_probability_and_the_known_name(self) -> None:
        unplaced = replace(TOWER_TAG, name="The Eiffel Tower", probability=0.95, place=None)
        for pair in ((TOWER_TAG, unplaced), (unplaced, TOWER_TAG)):
            assert agree(*pair)[0] == replace(TOWER_TAG, probability=0.95)

    @pytest.mark.parametrize(
        "general",
        [
            tag("Paris", level="city", city="Paris", country="France"),
            tag("France", level="country", city="Nice", country="France"),
            tag("tower", level="kind"),
        ],
    )
    def test_the_more_specific_of_two_that_fit(self, general: Tag) -> None:
        assert agree(TOWER_TAG, general)[0] == agree(general, TOWER_TAG)[0] == TOWER_TAG

    def test_the_clearly_likelier_of_two_places(self) -> None:
        sure = replace(TOWER_TAG, probability=0.99)
        found, why = agree(BEN, sure)
        assert found is not None
        # 99 to 1 and 4 to 1, and both wrong: 99 / (99 + 4 + 1)
        assert (found.name, round(found.probability, 3)) == ("Eiffel Tower", 0.952)
        assert "95.2%" in why

    @pytest.mark.parametrize(
        ("other", "common"),
        [(ARCH, ("Paris", "city")), (MONT, ("France", "country")), (TOKYO, ("tower", "kind")), (BEN, None)],
    )
    def test_what_two_places_have_in_common(self, other: Tag, common: tuple[str, str] | None) -> None:
        found, why = agree(TOWER_TAG, other)
        assert (None if found is None else (found.name, found.level)) == common
        assert why.endswith(f"in common: {'nothing' if common is None else common[0]}")
        if found is not None:
            assert found.probability == pytest.approx(13 / 14)  # 9 to 1 and 4 to 1, and both wrong

    def test_two_certain_models_that_differ_are_both_doubted(self) -> None:
        assert agree(replace(TOWER_TAG, probability=1.0), replace(BEN, probability=1.0))[0] is None


@pytest.fixture
def pair(tmp_path: Path) -> str:
    first = make_model(tmp_path / "first", calibration=calibrated())
    second = make_model(tmp_path / "second", colours=SECOND, calibration=calibrated())
    return f"{first},{second}"


def with_points(folder: Path) -> Path:
    """Make a model that is stricter at `precision` than any photo passes."""
    points = {"precision": OperatingPoint(100.0, 0.5), "balanced": OperatingPoint(0.5, 0.5)}
    return make_model(folder, calibration=calibrated(operating_points=points))


class TestPipeline:
    def test_each_model_adds_what_it_knows(self, pair: str, tmp_path: Path) -> None:
        colours = {"tower": TOWER, "henge": HENGE, "louvre": LOUVRE, "grey": GREY}
        photos = [save_colour(tmp_path / f"{name}.png", colour) for name, colour in colours.items()]
        model = load_model(pair)
        found = [[one.name for one in photo.tags] for photo in model.tag([*photos, tmp_path / "none.png"])]
        assert found == [["Eiffel Tower"], ["Stonehenge"], ["Louvre Museum"], [], []]
        assert model.name == "first,second"
        assert model.classes == (*COLOURS, "Tour Eiffel", "Louvre Museum")

    def test_a_photo_is_decoded_once(self, pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded: list[object] = []
        plain = decoding._decode
        monkeypatch.setattr(decoding, "_decode", lambda *given: (decoded.append(given), plain(*given))[1])
        (photo,) = load_model(pair).tag(save_colour(tmp_path / "tower.png", TOWER))
        assert photo.tags
        assert len(decoded) == 1

    def test_a_turned_photo_is_turned_once_for_both(self, pair: str, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
        alone = load_model(pair.split(",", maxsplit=1)[0])
        together = load_model(pair).open(tmp_path / "turned.png")
        expected = alone.open(tmp_path / "turned.png").photo.picture
        assert together.second is not None
        for prepared in (together.photo, together.second):
            np.testing.assert_array_equal(prepared.picture, expected)

    def test_a_place_is_one_candidate(self, pair: str, tmp_path: Path) -> None:
        (photo,) = load_model(pair).tag(save_colour(tmp_path / "tower.png", TOWER))
        show = Gazetteer.bundled().display_name
        names = [show(one.class_name) for one in photo.candidates]
        assert names[0] == "Eiffel Tower"
        assert len(names) == len(set(names)) == 5

    def test_each_model_is_held_to_precision(self, tmp_path: Path) -> None:
        strict, plain = with_points(tmp_path / "strict"), make_model(tmp_path / "plain", calibration=calibrated())
        photo = save_colour(tmp_path / "tower.png", TOWER)
        (alone,) = find_tags_parallel(strict, TagSettings(), [photo])
        assert alone.photo.tags
        (together,) = find_tags_parallel((strict, plain), TagSettings(), [photo])
        assert together.explanation is not None
        needed = {name: part.score_needed for name, part in together.explanation.each}
        assert needed == {"strict": 100.0, "plain": 0.5}
        said = list(reasons(together.explanation, Gazetteer.bundled()))
        assert any(
            line.startswith("strict: like what the model learned") and "not passed" in line for line in said
        )
        assert said[-1] == "together: one model tags the photo: Eiffel Tower"

    @pytest.mark.parametrize("turned", [False, True])
    def test_each_model_tags_by_its_own_places(self, tmp_path: Path, turned: bool) -> None:
        mine = make_model(
            tmp_path / "mine", colours={"Town_Hall": TOWER, "background": GREY}, calibration=calibrated()
        )
        (mine / "places.csv").write_text("key,name,latitude,longitude\ntown_hall,Rathaus Ulm,48.40,9.99\n")
        other = make_model(
            tmp_path / "other", colours={"Town Hall": HENGE, "background": GREY}, calibration=calibrated()
        )
        (other / "places.csv").write_text("key,name,kind\ntown_hall,town hall,town hall\n")
        photos = [save_colour(tmp_path / f"{n}.png", colour) for n, colour in enumerate((TOWER, HENGE))]
        folders = (other, mine) if turned else (mine, other)
        found = [one.photo.tags[0] for one in find_tags_parallel(folders, TagSettings(), photos)]
        assert [(one.name, one.level) for one in found] == [("Rathaus Ulm", "landmark"), ("town hall", "kind")]
        assert found[0].place is not None
        assert (found[0].place.coordinates, found[1].place) == ((48.40, 9.99), None)

    def test_places_of_the_camera_come_once(self, pair: str, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "tower.png", TOWER)
        position = (48.8584, 2.2945)
        (found,) = load_model(pair, TagSettings(places=True)).tag([photo], positions=[position])
        assert [(one.name, one.source) for one in found.tags] == [("Eiffel Tower", "photo"), ("Paris", "position")]

    def test_the_identity_changes_with_either_model(self, tmp_path: Path) -> None:
        one, two = (make_model(tmp_path / name, calibration=calibrated()) for name in ("one", "two"))
        other = make_model(tmp_path / "other" / "two", colours=SECOND, calibration=calibrated())
        strict = with_points(tmp_path / "strict")
        pairs = [(one, two), (one, other), (one, strict), (one,), (strict,)]
        identities = [identity_of_models(folders, TagSettings()) for folders in pairs]
        assert len(set(identities)) == len(pairs)
        assert "prefer=precision" in identities[2]
        (photo,) = load_model(f"{one},{two}").tag(save_colour(tmp_path / "tower.png", TOWER))
        assert photo.model == identities[0]

    def test_what_needs_one_model_is_refused(self, pair: str) -> None:
        with pytest.raises(SettingsError, match="`prefer` is recall"):
            load_model(pair, TagSettings(prefer="recall"))
        with pytest.raises(SettingsError, match="no such operating point"):
            load_model(pair, TagSettings(prefer="precision"))
        for refused in (load_model(pair).predict, load_model(pair).embed):
            with pytest.raises(SettingsError, match="needs one model"):
                refused(["photo.jpg"])


class TestNames:
    def test_a_folder_with_a_comma_is_one_model(self, tmp_path: Path) -> None:
        folder = make_model(tmp_path / "a,b")
        assert find_models(str(folder)) == (find_model(str(folder)),) == (folder,)

    @pytest.mark.parametrize(
        ("names", "error", "words"),
        [
            ("world,world", SettingsError, "twice"),
            ("world,", SettingsError, "one model or two"),
            ("world,world,world", SettingsError, "one model or two"),
            ("world,nowhere", ModelError, "nowhere: no such model"),
        ],
    )
    def test_wrong_names_are_refused(self, names: str, error: type[LandmarksError], words: str) -> None:
        with pytest.raises(error, match=words):
            find_models(names)


class TestCommand:
    def test_tag_explains_both(self, pair: str, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "tower.png", TOWER)
        done = landmarks("tag", photo, "--model", pair, "--explain")
        assert done.status == 0
        assert "together: both models tag Eiffel Tower" in done.out
        assert "first: top: Eiffel Tower" in done.out
        assert "second: no operating point precision" in done.err

    def test_photos_are_tagged_again_after_either_changes(self, pair: str, tmp_path: Path) -> None:
        first = pair.split(",", maxsplit=1)[0]
        save_colour(tmp_path / "photos" / "tower.png", TOWER)
        words = ("tag", tmp_path / "photos", "--write", "--jsonl", "--model")
        rows = [json.loads(landmarks(*words, model).out or "null") for model in (first, pair, pair)]
        assert [row["tags"][0]["name"] for row in rows[:2]] == ["Eiffel Tower"] * 2
        assert rows[2] is None  # done before

    @pytest.mark.parametrize("command", ["predict", "index", "learn", "serve", "evaluate"])
    def test_other_commands_take_one(self, command: str, pair: str, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "photos" / "tower.png", TOWER)
        words = {
            "predict": ("predict", photo, "--model", pair),
            "index": ("index", photo.parent, "--model", pair),
            "learn": ("learn", "Tower", photo.parent, "--model", pair),
            "serve": ("serve", "--model", pair),
            "evaluate": ("evaluate", pair, photo.parent),
        }
        done = landmarks(*words[command])
        assert done.status == 2
        assert "one model is needed here" in done.complaint

    def test_a_heat_map_is_of_one_model(self, pair: str, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "tower.png", TOWER)
        done = landmarks("tag", photo, "--model", pair, "--explain", "--heatmap", tmp_path / "why")
        assert done.status == 2
        assert "one of --model" in done.complaint
