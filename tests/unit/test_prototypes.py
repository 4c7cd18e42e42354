"""The thresholds for landmarks taught from a few photos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.fewshot.learned import LearnedLandmark, LearnedLandmarks
from landmarks.fewshot.prototypes import (
    CLEARANCE,
    COHORT,
    RIVAL_WEIGHT,
    TARGET_FPR,
    PrototypeRule,
    Taught,
    chance,
)
from landmarks.fewshot.reference import Reference
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.embedding_space import Vectors, plain_space
from landmarks.model.vectors import unit_length
from landmarks.tagging.surroundings import taught_tag

SIZE = 16


def cloud(centre: NDArray[np.floating], count: int, seed: int, noise: float = 0.15) -> Vectors:
    return unit_length(centre + noise * np.random.default_rng(seed).normal(size=(count, SIZE)), np.float32)


def axis(number: int) -> NDArray[np.float64]:
    return np.eye(SIZE)[number]


@pytest.fixture
def reference() -> Reference:
    """Two known classes and photos of no landmark, in all directions."""
    vectors = np.concatenate([cloud(axis(0), 20, 1), cloud(axis(1), 20, 2)])
    return Reference(plain_space(SIZE), vectors, np.repeat([0, 1], 20), cloud(np.zeros(SIZE), 150, 3, noise=1.0))


def taught(number: int, *, known: int | None = None, rejected: int = 0) -> Taught:
    return Taught(cloud(axis(number), 5, 10 + number), cloud(axis(number + 1), rejected, 30), known)


def test_new_photos_pass_and_others_do_not(reference: Reference) -> None:
    rule = PrototypeRule(reference, [taught(4), taught(6)])
    passed = rule.excess(np.concatenate([cloud(axis(4), 30, 20), cloud(axis(6), 30, 21)])) >= 0
    assert passed[:30, 0].mean() > 0.9
    assert passed[30:, 1].mean() > 0.9
    assert not passed[:30, 1].any()
    assert not passed[30:, 0].any()
    assert not (rule.excess(reference.vectors) >= 0).any()


@pytest.mark.parametrize("landmarks", [1, 4, 8])
def test_all_landmarks_together_keep_the_promise(reference: Reference, landmarks: int) -> None:
    rule = PrototypeRule(reference, [taught(4 + number) for number in range(landmarks)])
    others = cloud(np.zeros(SIZE), 4000, 40, noise=1.0)
    rate = (rule.excess(others) >= 0).any(axis=1).mean()
    # The promise is for the mean over sets of negatives; one set of 150 leaves it this much room.
    assert rate <= 3 * TARGET_FPR


def test_scores_are_those_of_the_plain_definition(reference: Reference) -> None:
    rule = PrototypeRule(reference, [taught(4), taught(0, known=0)])
    photos = cloud(np.ones(SIZE) / 4, 10, 50, noise=0.4)
    means = [reference.vectors[reference.labels == label].mean(axis=0) for label in (0, 1)]
    for number, (one, rivals) in enumerate(((taught(4), means), (taught(0), means[1:]))):
        for photo, found in zip(photos, rule.excess(photos)[:, number], strict=True):
            mean = one.vectors.mean(axis=0)
            cosine = photo @ mean / np.linalg.norm(mean)
            background = sorted((float(photo @ other) for other in reference.negatives), reverse=True)[:COHORT]
            rival = max(photo @ other / np.linalg.norm(other) for other in rivals)
            height, margin = cosine - np.mean(background), cosine - RIVAL_WEIGHT * rival
            expected = min(height - rule.heights[number], margin - rule.margins[number])
            assert found == pytest.approx(expected, abs=1e-5)


def test_a_known_landmark_is_no_rival_of_itself(reference: Reference) -> None:
    photos = cloud(axis(0), 30, 60)
    as_new = PrototypeRule(reference, [taught(0)])
    as_known = PrototypeRule(reference, [taught(0, known=0)])
    assert as_known.margins[0] < as_new.margins[0]
    assert (as_known.excess(photos) >= 0).mean() > 0.9
    assert not (as_new.excess(reference.vectors) >= 0).mean() > 0.01


def test_what_is_like_a_known_class_asks_no_more_of_others(reference: Reference) -> None:
    alone = PrototypeRule(reference, [taught(4)])
    with_twin = PrototypeRule(reference, [taught(4), taught(0)])
    assert alone.margins[0] == with_twin.margins[0] >= CLEARANCE
    assert with_twin.margins[1] > with_twin.margins[0]


def test_photos_near_rejected_ones_fail(reference: Reference) -> None:
    rule = PrototypeRule(reference, [taught(4, rejected=3)])
    assert (rule.similarities(cloud(axis(5), 5, 70)) == -1).all()
    assert (rule.similarities(cloud(axis(4), 5, 71)) > 0.5).all()


def test_too_few_negatives_are_told(reference: Reference) -> None:
    few = Reference(reference.space, reference.vectors, reference.labels, reference.negatives[:20])
    with pytest.raises(DataError, match="20 negatives cannot promise"):
        PrototypeRule(few, [taught(4)])


def test_chances_run_from_nought_to_one() -> None:
    assert chance(0.0, 0.1) == pytest.approx(0.5)
    assert chance(0.1, 0.1) == pytest.approx(0.95)
    assert 0 <= chance(-1e9, 0.05) < 1e-9
    assert 1 - 1e-9 < chance(1e9, 0.05) <= 1


def test_a_landmark_that_the_network_knows_needs_its_word(reference: Reference) -> None:
    shown = {"Eiffel Tower": taught(0), "Our garden": taught(4)}
    landmarks = [LearnedLandmark(name, one.vectors, one.rejected) for name, one in shown.items()]
    learned = LearnedLandmarks("m", reference, ["07.Eiffel_Tower", "28.Sydney_Opera_House"], landmarks)
    tower, garden = cloud(axis(0), 1, 70)[0], cloud(axis(4), 1, 71)[0]

    def name(photo: Vectors, likeliest: tuple[str, float] | None = None) -> str | None:
        match = learned.match(photo, min_confidence=0.5, likeliest=likeliest)
        return None if match is None else match.landmark.name

    assert name(tower) == "Eiffel Tower"
    assert name(tower, ("07.Eiffel_Tower", 0.6)) == "Eiffel Tower"
    assert name(tower, ("07.Eiffel_Tower", 0.4)) is None
    assert name(tower, ("28.Sydney_Opera_House", 0.9)) is None
    assert name(garden, ("28.Sydney_Opera_House", 0.9)) == "Our garden"


def test_a_landmark_elsewhere_is_not_the_class_of_its_name(reference: Reference) -> None:
    shown, photo = taught(4), cloud(axis(4), 1, 71)[0]
    for position, elsewhere in (((48.86, 2.3), False), ((35.655, 139.75), True)):  # another one in Tokyo
        one = LearnedLandmark("Eiffel Tower", shown.vectors, shown.rejected, position)
        learned = LearnedLandmarks("m", reference, ["07.Eiffel_Tower", "28.Sydney_Opera_House"], [one])
        found = learned.match(photo, min_confidence=0.5, likeliest=("28.Sydney_Opera_House", 0.9))
        assert (found is not None) is elsewhere
        place = taught_tag(one, 0.9, Gazetteer.bundled()).place
        assert place is not None
        assert (place.country, place.key == "eiffel_tower") == (
            ("Japan", False) if elsewhere else ("France", True)
        )


def test_a_number_is_part_of_a_name_that_somebody_gave(reference: Reference) -> None:
    names = ["1. Weltkrieg Denkmal", "2. Weltkrieg Denkmal"]
    landmarks = [LearnedLandmark(name, taught(4).vectors, taught(4).rejected, (48.1, 11.5)) for name in names]
    learned = LearnedLandmarks("m", reference, ["07.Eiffel_Tower", "28.Sydney_Opera_House"], landmarks)
    assert [learned.find(name.casefold()) for name in names] == landmarks
    tags = [taught_tag(one, 0.9, Gazetteer.bundled()) for one in landmarks]
    assert [tag.name for tag in tags] == names
    assert len({tag.place.key for tag in tags if tag.place is not None}) == 2


def test_little_confidence_does_not_move_the_thresholds(reference: Reference) -> None:
    one = LearnedLandmark("Our garden", taught(4).vectors, taught(4).rejected)
    learned = LearnedLandmarks("m", reference, ["07.Eiffel_Tower", "28.Sydney_Opera_House"], [one])
    assert learned.rule is not None
    steps = np.linspace(0, 1, 200)[:, None]
    photos = unit_length((1 - steps) * axis(4) + steps * axis(5), np.float32)
    passed = learned.rule.excess(photos)[:, 0] >= 0
    assert 0 < passed.sum() < 200
    assert [learned.match(one, min_confidence=0.1) is not None for one in photos] == passed.tolist()
