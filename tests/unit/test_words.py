"""Why a photo got its tags, in words."""

from __future__ import annotations

import pytest

from landmarks.errors import listed
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.recognizer import Candidate
from landmarks.tagging.tagger import Explanation
from landmarks.tagging.tags import Tag
from landmarks.tagging.words import explain

TOWER, ARCH = Candidate("eiffel_tower", 0.6), Candidate("arc_de_triomphe", 0.2)
PLACE = Gazetteer.bundled().get("eiffel_tower")
TAG = Tag("Eiffel Tower", "landmark", 0.6, PLACE, "eiffel_tower")


@pytest.mark.parametrize(
    ("explanation", "tags", "said"),
    [
        (
            Explanation(TOWER, ARCH, 0.5),
            (TAG,),
            "It looks most like Eiffel Tower (60 %), then Arc de Triomphe (20 %).",
        ),
        (
            Explanation(TOWER, None, 0.5, 0.1, 0.2, "knn", distance=3570.4),
            (),
            "It looks most like Eiffel Tower (60 %). But it is unlike the photos that the model learned from, so "
            "it gets no tag. The camera was 3,570 km from Eiffel Tower.",
        ),
        (
            Explanation(Candidate("eiffel_tower", 0.9996), None, 0.5),
            (TAG,),
            "It looks most like Eiffel Tower (over 99 %).",
        ),
        (
            Explanation(TOWER, None, 0.7),
            (),
            "It looks most like Eiffel Tower (60 %). That is too uncertain for a tag, which needs 70 %.",
        ),
        (
            Explanation(TOWER, None, 0.5, distance=80.0, contradiction="far"),
            (),
            "It looks most like Eiffel Tower (60 %). The camera was 80 km from Eiffel Tower, so it cannot be in "
            "the photo.",
        ),
        (
            Explanation(TOWER, None, 0.7),
            (Tag("Paris", "city", 0.8, PLACE, None),),
            "It looks most like Eiffel Tower (60 %). It is uncertain which landmark it is, so the tag is Paris.",
        ),
        (
            Explanation(TOWER, None, 0.5, learned=0.82),
            (Tag("Aunt's house", "landmark", 0.82, None, None),),
            "It looks like the photos of Aunt's house that you taught (82 %).",
        ),
    ],
)
def test_each_answer_is_explained(explanation: Explanation, tags: tuple[Tag, ...], said: str) -> None:
    assert explain(explanation, tags, Gazetteer.bundled()) == said


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"
