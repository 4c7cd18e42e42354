"""The gazetteer: the bundled table is consistent, look-up is lenient, broken files are refused with a fix."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections import Counter
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import PlacesError
from landmarks.geo.gazetteer import COLUMNS, Gazetteer, Place, distance_km, normalise

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "data"

# fmt: off
KINDS = {
    "artefact", "bridge", "building", "castle", "cave", "church", "food", "fort", "fountain", "gate", "lake",
    "landscape", "monastery", "monument", "mosque", "mountain", "museum", "palace", "park", "rock", "ruins",
    "square", "stadium", "statue", "street", "stupa", "temple", "tomb", "tower", "town", "waterfall",
}
NO_PLACE = {
    "bhudha_temple", "byzantine_architecture", "cathederal", "cheese", "dome", "fortification", "hindu_temple",
}
ON_A_BORDER = {"dead_sea", "dome_of_the_rock", "matterhorn", "niagara_falls"}
WITHOUT_POINT = NO_PLACE | {
    "barsi_gate_hansi_old", "bharat_mata_mandir_haridwar", "chhatisgarh_ke_saat_ajube",
    "chittorgarh_padmini_lake_palace", "daman", "diu", "diu_museum",
    "ajoba_temple_goa", "akhenaten_statue", "bateau_sculpture_toulon", "gyeongju_baedong_buddha_triad",
    "gyeongju_bulgok_rock_buddha", "gyeongju_mireukgok_seated_buddha", "gyeongju_sinseonam_rock_bodhisattva",
    "gyeongju_yongjangsa_three_story_pagoda", "mask_of_tutankhamun", "ramses_ii_red_granite_statue",
    "sura_and_baya_statue_surabaya",
}
# The classes of the original exercise, in the order of their number prefixes.
EXERCISE = [
    "Haleakala_National_Park", "Mount_Rainier_National_Park", "Ljubljana_Castle", "Dead_Sea",
    "Wroclaws_Dwarves", "London_Olympic_Stadium", "Niagara_Falls", "Stonehenge", "Grand_Canyon",
    "Golden_Gate_Bridge", "Edinburgh_Castle", "Mount_Rushmore_National_Memorial", "Kantanagar_Temple",
    "Yellowstone_National_Park", "Terminal_Tower", "Central_Park", "Eiffel_Tower", "Changdeokgung",
    "Delicate_Arch", "Vienna_City_Hall", "Matterhorn", "Taj_Mahal", "Moscow_Raceway", "Externsteine",
    "Soreq_Cave", "Banff_National_Park", "Pont_du_Gard", "Seattle_Japanese_Garden", "Sydney_Harbour_Bridge",
    "Petronas_Towers", "Brooklyn_Bridge", "Washington_Monument", "Hanging_Temple", "Sydney_Opera_House",
    "Great_Barrier_Reef", "Monumento_a_la_Revolucion", "Badlands_National_Park", "Atomium", "Forth_Bridge",
    "Gateway_of_India", "Stockholm_City_Hall", "Machu_Picchu", "Death_Valley_National_Park", "Gullfoss_Falls",
    "Trevi_Fountain", "Temple_of_Heaven", "Great_Wall_of_China", "Prague_Astronomical_Clock", "Whitby_Abbey",
    "Temple_of_Olympian_Zeus",
]
# fmt: on

PARIS = (48.8566, 2.3522)
LONDON = (51.5074, -0.1278)


@pytest.fixture(scope="module")
def gazetteer() -> Gazetteer:
    return Gazetteer.bundled()


@pytest.fixture(scope="module")
def curated() -> Gazetteer:
    """The smaller of the bundled tables, whose rows were confirmed one by one."""
    return Gazetteer({}, {}).with_overrides(PROJECT / "src/landmarks/geo/places.csv")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- The bundled table ---------------------------------------------------------------------------------------


def test_bundled_rows_are_sound(curated):
    for place in curated:
        assert place.key == normalise(place.key)
        assert place.name.strip() == place.name != ""
        assert place.kind in KINDS
        assert place.is_thing == (place.key in NO_PLACE)
        assert bool(place.country) == bool(place.country_code), place.key
        assert (place.coordinates is None) == (place.key in WITHOUT_POINT), place.key
        if place.coordinates is not None:
            assert -90 <= place.latitude <= 90
            assert -180 <= place.longitude <= 180
        assert place.wikidata is None or re.fullmatch(r"Q[1-9]\d*", place.wikidata)


def test_bundled_keys_names_and_ids_occur_once(curated):
    places = list(curated)
    ids = [place.wikidata for place in places if place.wikidata]
    names = [place.name for place in places]
    assert len(curated) == len(places) == len({place.key for place in places})
    assert len(ids) == len(set(ids))
    assert len(names) == len(set(names))


def test_bundled_table_is_sorted_and_complete():
    with (PROJECT / "src/landmarks/geo/places.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    names = [name for row in rows for name in [row["key"], *filter(None, row["aliases"].split("|"))]]
    assert len(names) == len(set(names))
    for column in ("latitude", "longitude"):
        assert all(re.fullmatch(r"(-?\d+\.\d{4})?", row[column]) for row in rows)


def test_every_point_lies_in_its_country(curated):
    with (PROJECT / "tests/data/country_boxes.csv").open(encoding="utf-8", newline="") as file:
        boxes = {
            row.pop("country_code"): {side: float(v) for side, v in row.items()} for row in csv.DictReader(file)
        }
    for place in curated:
        if place.coordinates is None or place.key in ON_A_BORDER:
            continue
        box = boxes[place.country_code]
        assert box["south"] <= place.latitude <= box["north"], place
        assert box["west"] <= place.longitude <= box["east"], place


def test_places_of_one_city_lie_together(curated):
    # A slipped digit moves a point by tens of kilometres and may stay inside the country.
    towns: dict[tuple[str, str], list[Place]] = {}
    for place in curated:
        if place.coordinates and place.kind not in {"park", "landscape"}:
            towns.setdefault((place.city, place.country), []).append(place)
    assert len(towns["Porto", "Portugal"]) == 5
    for (city, _), places in towns.items():
        limit = 100 if city in {"Aurangabad district", "Beijing", "Goa", "Xi'an"} else 15
        for place in places:
            assert distance_km(places[0].coordinates, place.coordinates) < limit, (places[0], place)


def test_the_gazetteers_page_counts_as_the_table_does(curated):
    page = (PROJECT / "docs/places.md").read_text(encoding="utf-8")
    confirmed = sum(place.wikidata is not None for place in curated)
    without = len(curated) - len(NO_PLACE) - confirmed
    assert f"{confirmed} of the {len(curated)} rows have an ID." in page
    assert f"the other {without} could not be confirmed" in page
    with (PROJECT / "src/landmarks/geo/world_places.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    placed = sum(bool(row["latitude"]) for row in rows)
    assert f"{placed:,} of {len(rows):,} positions passed" in page
    with np.load(PROJECT / "src/landmarks/geo/towns.npz") as table:
        assert f"the {round(len(table['people']), -2):,} places of" in page


@pytest.mark.parametrize("key", sorted(NO_PLACE))
def test_what_is_no_place_never_claims_one(gazetteer, key):
    place = gazetteer.find(key)
    assert (place.city, place.country, place.country_code) == ("", "", "")
    assert place.coordinates is None
    assert place.wikidata is None


@pytest.mark.parametrize("key", sorted(ON_A_BORDER))
def test_a_landmark_on_a_border_names_no_single_country(gazetteer, key):
    assert gazetteer.find(key).country == ""
    assert gazetteer.find(key).coordinates is not None


@pytest.mark.parametrize(("number", "name"), list(enumerate(EXERCISE)))
def test_every_class_of_the_exercise_is_found(gazetteer, number, name):
    assert len(EXERCISE) == 50
    assert gazetteer.find(name) is gazetteer.find(f"{number:02d}.{name}") is not None


@pytest.mark.shared
@pytest.mark.parametrize("data_set", ["world34", "world124", "monuments49", "landmarks10"])
def test_every_class_of_the_shared_sets_is_found(gazetteer, data_set):
    folder = SHARED / data_set / "train"
    if not folder.is_dir():
        pytest.skip(f"the shared pictures do not lie beside the project: {folder}")
    for class_folder in folder.iterdir():
        bare = class_folder.name.partition(".")[2]
        assert gazetteer.find(class_folder.name) is gazetteer.find(bare) is not None, class_folder.name


def test_one_landmark_under_two_class_names_is_one_place(gazetteer):
    assert gazetteer.find("22.Mount_Rushmore") is gazetteer.find("11.Mount_Rushmore_National_Memorial")
    assert gazetteer.find("01.colosseum") is gazetteer.find("06.Colosseum")


# --- Look-up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    ["Mazar-e-Quaid", "20.mazar e quaid", "MAZAR_E_QUAID", " mazar--e_ quaid ", "Mazar\u2010e\u2011Quaid"],
)
def test_spelling_does_not_matter(gazetteer, spelling):
    assert gazetteer.find(spelling).name == "Mazar-e-Quaid"


@pytest.mark.parametrize("stranger", ["", "  ", "---", "00.", "3.---", "Atlantis", "\x00", "🗼"])
def test_a_stranger_is_not_found(gazetteer, stranger):
    assert gazetteer.find(stranger) is None


@pytest.mark.parametrize(
    ("class_name", "shown"),
    [
        ("07.Eiffel_Tower", "Eiffel Tower"),
        ("03.chichen_itza", "Chichén Itzá"),
        ("12.old_town_hall", "Old town hall"),
        ("Saint-Malo__walls", "Saint-Malo walls"),
        ("école_navale", "École navale"),
        ("00.", "00."),
        ("__", "__"),
        ("", ""),
    ],
)
def test_display_name(gazetteer, class_name, shown):
    assert gazetteer.display_name(class_name) == shown


WORDS = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="\r\n"), st.sampled_from("éÉñŁøИ東🗼👩\u200d -_.0")),
    min_size=1,
    max_size=30,
)


@given(WORDS)
def test_normalising_twice_changes_nothing(name):
    assert normalise(normalise(name)) == normalise(name)


@given(WORDS, st.integers(0, 9999))
def test_any_key_is_found_in_every_spelling(tmp_path_factory, name, number):
    key = normalise(name)
    if not key:
        return
    path = tmp_path_factory.mktemp("places") / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["key", "name"], [name, "Own place"]])
    own = Gazetteer.bundled().with_overrides(path)
    spellings = [name, key, name.replace(" ", "_"), name.replace("_", "-"), f"{number:02d}.{name}"]
    spellings += [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert {own.find(spelling).name for spelling in spellings} == {"Own place"}
    assert own.find(key).key == key


# --- A user's own table --------------------------------------------------------------------------------------


def test_overrides_add_and_replace(gazetteer, tmp_path):
    path = write(
        tmp_path / "places.csv",
        "Key, Name ,latitude,longitude,note",
        "Our_Old-Mill,Our old mill,47.5,9.25,mine",
        "",
        "07.Eiffel_Tower,La dame de fer",
        '"Line\nbreak","Two lines"',
    )
    merged = gazetteer.with_overrides(path)
    assert len(merged) == len(gazetteer) + 2
    mill = merged.find("03.our old mill")
    assert mill == Place("our_old_mill", "Our old mill", "", "", "", "", 47.5, 9.25, None)
    assert merged.find("Eiffel_Tower") == Place("eiffel_tower", "La dame de fer", "", "", "", "", None, None, None)
    assert merged.find("line break").name == "Two lines"
    assert gazetteer.find("Eiffel_Tower").city == "Paris"


def test_overriding_a_key_keeps_the_aliases_leading_to_it(gazetteer, tmp_path):
    merged = gazetteer.with_overrides(write(tmp_path / "a.csv", "key,name", "mount_rushmore,Six Grandfathers"))
    assert merged.find("Mount_Rushmore_National_Memorial").name == "Six Grandfathers"


def test_overriding_an_alias_takes_that_name_alone(gazetteer, tmp_path):
    path = write(tmp_path / "a.csv", "key,name", "chhatrapati_shivaji_statue,Shivaji statue")
    merged = gazetteer.with_overrides(path)
    assert merged.find("chhatrapati_shivaji_statue").name == "Shivaji statue"
    assert merged.find("Chhatrapati_Shivaji_terminus").city == "Mumbai"


def test_an_alias_that_is_a_bundled_key_takes_the_place_over(gazetteer, tmp_path):
    path = write(tmp_path / "a.csv", "key,name,aliases", "presidents,The presidents,Mount_Rushmore|four heads")
    merged = gazetteer.with_overrides(path)
    names = ["mount rushmore", "Mount_Rushmore_National_Memorial", "four_heads", "presidents"]
    assert {merged.find(name).key for name in names} == {"presidents"}
    assert len(merged) == len(gazetteer)
    assert "mount_rushmore" not in {place.key for place in merged}


def test_a_table_is_read_as_spreadsheets_write_it(tmp_path):
    path = tmp_path / "places.csv"
    row = 'mill,,"Mill, old",Bern,Switzerland,CH,building,46.948,7.4474,\r\n'
    path.write_bytes(("\ufeff" + ",".join(COLUMNS) + "\r\n" + row).encode())
    (place,) = Gazetteer({}, {}).with_overrides(path)
    assert place == Place("mill", "Mill, old", "Bern", "Switzerland", "CH", "building", 46.948, 7.4474, None)


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["key,city", "a,b"], 1, "no column 'name': name the columns key, name"),
        (["key;name", "a;b"], 1, "no column 'key'"),
        ([""], 1, "no column 'key'"),
        ([HEADER, "a,,A,,,,,91,0,"], 2, "latitude is '91': write decimal degrees from -90 to 90"),
        ([HEADER, "a,,A,,,,,0,-180.01,"], 2, "longitude is '-180.01'"),
        ([HEADER, "a,,A,,,,,nan,0,"], 2, "latitude is 'nan'"),
        ([HEADER, "a,,A,,,,,48°51',0,"], 2, "latitude is"),
        ([HEADER, "a,,A,,,,,1,,"], 2, "fill in both or neither"),
        ([HEADER, "a,,A,,,FRA,,,,"], 2, "country_code is 'FRA': write two capital letters"),
        ([HEADER, "a,,A,,,,,,,243"], 2, "wikidata is '243': write an id such as Q243"),
        ([HEADER, "a,,A,,,,,,,", "", "b,,B,,,,,,,", "02.A,,A,,,,,,,"], 5, "'a' is already on line 2"),
        ([HEADER, "a b,,A,,,,,,,", "c,x|A-B,C,,,,,,,"], 3, "'a_b' is already on line 2"),
        ([HEADER, "a,x,A,,,,,,,", "b,y|X,B,,,,,,,"], 3, "'x' is already on line 2"),
        ([HEADER, "--,,A,,,,,,,"], 2, "the key is empty"),
        ([HEADER, "a,,,,,,,,,"], 2, "the name is empty"),
        ([HEADER, f"a,,{'A' * 401},,,,,,,"], 2, "name has more than 400 characters"),
        ([HEADER, "a,,A,,,,,,,,too many"], 2, "more values than columns"),
        ([HEADER, 'a,,"A,,,,,,,'], 2, "close every double quote"),
    ],
)
def test_a_broken_table_is_refused(gazetteer, tmp_path, lines, line, words):
    path = write(tmp_path / "broken.csv", *lines)
    with pytest.raises(PlacesError) as caught:
        gazetteer.with_overrides(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_text_that_is_not_utf8_is_refused(gazetteer, tmp_path, encoding):
    path = tmp_path / "old.csv"
    path.write_bytes("key,name\na,A\nchâteau,Château\n".encode(encoding))
    line = 3 if encoding == "latin-1" else 1
    with pytest.raises(
        PlacesError, match=rf"old\.csv, line {line}: not UTF-8 text: save the file as CSV in UTF-8"
    ):
        gazetteer.with_overrides(path)


def test_a_file_that_cannot_be_read_is_refused(gazetteer, tmp_path):
    with pytest.raises(PlacesError, match="no such file or directory: name a readable CSV file"):
        gazetteer.with_overrides(tmp_path / "missing.csv")
    with pytest.raises(PlacesError, match="is a directory"):
        gazetteer.with_overrides(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("places") / "noise.csv"
    path.write_bytes(b"key,name,aliases,latitude,longitude\n" + raw)
    try:
        merged = Gazetteer.bundled().with_overrides(path)
    except PlacesError:
        return
    assert all(merged.find(place.key) is place for place in merged)


# --- Distance ------------------------------------------------------------------------------------------------

POINTS = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def slow_distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The angle between two unit vectors, by their cross and dot product."""
    (x1, y1, z1), (x2, y2, z2) = (
        (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
        for lat, lon in ((math.radians(p[0]), math.radians(p[1])) for p in (a, b))
    )
    cross = math.hypot(y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
    return 6371.0088 * math.atan2(cross, x1 * x2 + y1 * y2 + z1 * z2)


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        (PARIS, LONDON, 343.6),
        ((0, 0), (0, 1), 111.195),
        ((0, 179.5), (0, -179.5), 111.195),
        ((90, 0), (-90, 0), 20015.1),
        ((36.12, -86.67), (33.94, -118.40), 2886.4),  # the airports of Nashville and Los Angeles
    ],
)
def test_known_distances(a, b, km):
    assert distance_km(a, b) == pytest.approx(km, rel=5e-4)


@given(POINTS, POINTS)
def test_distance_agrees_with_vectors_and_is_symmetric(a, b):
    assert distance_km(a, b) == pytest.approx(slow_distance_km(a, b), abs=1e-3)
    assert distance_km(a, b) == distance_km(b, a)
    assert 0 <= distance_km(a, b) <= 20015.2
    assert distance_km(a, a) == 0


@given(POINTS, POINTS, POINTS)
def test_no_detour_is_shorter(a, b, c):
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-3


def test_coordinates_of_a_place_measure_directly(gazetteer):
    tower = gazetteer.find("eiffel tower")
    assert distance_km(tower.coordinates, PARIS) == pytest.approx(4.2, abs=0.3)
    assert gazetteer.find("cheese").coordinates is None


def test_bundled_tables_have_no_place_twice(gazetteer: Gazetteer) -> None:
    assert len(gazetteer) >= 1500
    names = Counter((place.name, place.country) for place in gazetteer)
    assert [name for name, count in names.items() if count > 1] == []
    positions = Counter(place.coordinates for place in gazetteer if place.coordinates is not None)
    assert max(positions.values()) <= 3, positions.most_common(3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("St. Peter's Basilica", "St. Peter's Basilica"),
        ("saint peters basilica", "St. Peter's Basilica"),
        ("The Louvre Museum", "Louvre Museum"),
        ("Chateau de Chambord", "Château de Chambord"),
        ("Tour Eiffel", "Eiffel Tower"),
        ("Kölner Dom", "Cologne Cathedral"),
        ("金阁寺", "Kinkaku-ji"),
    ],
)
def test_spellings_and_other_languages_find_a_place(gazetteer: Gazetteer, name: str, expected: str | None) -> None:
    place = gazetteer.find(name)
    assert (None if place is None else place.name) == expected


def test_best_known_places_have_names_in_ten_languages(gazetteer: Gazetteer) -> None:
    named = [names for place in gazetteer if len(names := gazetteer.names_of(place)) >= 10]
    assert len(named) >= 300
    tower = gazetteer.find("Eiffel Tower")
    assert tower is not None
    assert gazetteer.names_of(tower)["de"] == "Eiffelturm"


def test_no_place_is_there_twice() -> None:
    places = sorted(
        (place for place in Gazetteer.bundled() if place.latitude is not None), key=attrgetter("latitude")
    )
    twice = []
    for index, one in enumerate(places):
        for other in places[index + 1 :]:
            if other.latitude - one.latitude > 0.003:  # more than 250 m to the north, as are all after it
                break
            words = [set(normalise(place.name).split("_")) for place in (one, other)]
            near = distance_km(one.coordinates, other.coordinates) < 0.25
            if near and (words[0] <= words[1] or words[1] <= words[0]):
                twice.append((one.name, other.name))
    assert twice == []
