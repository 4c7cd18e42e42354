"""Licence and origin of a model: round trip through model.json, counts from sources, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import make_model

from landmarks.errors import ModelError, SettingsError
from landmarks.model.folder import (
    EXPERIMENTS_ONLY,
    INFO_FILE,
    Origin,
    licence_of,
    origins_of,
    parse_licences,
    read_info,
    write_info,
)
from landmarks.training.export.card import LISTED_CLASSES, model_card


def test_licence_and_origin_are_the_same_after_model_json(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    assert (read_info(folder).licence, read_info(folder).origin) == ("not stated", ())
    origin = (Origin("my holiday", 120, "CC BY 4.0"), Origin("the web", 30, "none"))
    write_info(folder, replace(read_info(folder), licence="CC BY-NC 4.0", origin=origin))
    assert (read_info(folder).licence, read_info(folder).origin) == ("CC BY-NC 4.0", origin)


def test_a_model_of_before_states_neither(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    values = json.loads((folder / INFO_FILE).read_text())
    del values["licence"], values["origin"]
    (folder / INFO_FILE).write_text(json.dumps(values))
    assert read_info(folder).licence == "not stated"


@pytest.mark.parametrize("origin", [3, {"a": 1}, [{"pictures": 3}], [{"collection": ""}], ["text"]])
def test_a_damaged_origin_is_a_damaged_model(origin: object, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    values = json.loads((folder / INFO_FILE).read_text())
    (folder / INFO_FILE).write_text(json.dumps({**values, "origin": origin}))
    with pytest.raises(ModelError, match="damaged"):
        read_info(folder)


def test_collections_are_counted_by_source() -> None:
    assert parse_licences("web") == {"web": "not stated"}
    licences = parse_licences(["gldv2=none", "books = CC0", "web"])
    found = origins_of(["gldv2", "gldv2", "", "web"], licences, "holiday")
    assert found == (
        Origin("gldv2", 2, "none"),
        Origin("holiday", 1),
        Origin("web", 1),
        Origin("books", 0, "CC0"),
    )
    assert [one.words for one in found] == [
        "gldv2 (2 pictures, no licence)",
        "holiday (1 pictures, licence not stated)",
        "web (1 pictures, licence not stated)",
        "books (CC0)",
    ]


def test_pictures_without_a_licence_mean_experiments_only() -> None:
    assert licence_of(None, (Origin("a", 1, "none"), Origin("b", 1, "CC0"))) == EXPERIMENTS_ONLY
    assert licence_of("CC0", (Origin("a", 1, "none"),)) == "CC0"
    assert licence_of(None, (Origin("a", 1),)) == "not stated"


def test_origins_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(SettingsError, match="`origin` must be COLLECTION=LICENCE, not '=CC0'"):
        parse_licences(["=CC0"])
    with pytest.raises(SettingsError, match="twice"):
        parse_licences(["a=CC0", "a=none"])


def test_the_card_of_a_model_of_very_many_classes_ends(tmp_path: Path) -> None:
    info = read_info(make_model(tmp_path / "model"))
    many = replace(info, classes=tuple(f"Place {number}" for number in range(81_000)), data={}, metrics={})
    card = model_card(many)
    assert card.count("- Place ") == LISTED_CLASSES
    assert "and 80000 more: `model.json` has them all." in card
    assert len(card) < 50_000
