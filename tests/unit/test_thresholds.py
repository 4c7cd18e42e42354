"""Calibration by kind on synthetic embeddings: rates that hold on unseen kinds, and the bundled table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from landmarks.errors import DataError, ModelError
from landmarks.model.calibration import Calibration, Outputs
from landmarks.model.ood import is_landmark, ood_scores
from landmarks.training.config.settings import ModelSettings
from landmarks.training.export.background_table import BackgroundTable, table_fits
from landmarks.training.export.thresholds import (
    OpenSetPhotos,
    OpenSetTargets,
    calibrate_open_set,
    few_unknown,
    lowest_where,
    missing_points,
    worst_rate,
)

SIZE, CLASSES = 32, 6
NAMES = ("a", "b", "c", "d", "e", "f")


class World:
    """Directions of landmarks, and photos around them; kinds and other landmarks have directions of their own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.landmarks = self.directions(CLASSES)

    def directions(self, count: int) -> np.ndarray:
        drawn = self.rng.normal(size=(count, SIZE))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def outputs(self, middles: np.ndarray, spread: float = 0.12) -> Outputs:
        embeddings = middles + spread * self.rng.normal(size=middles.shape)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return Outputs(12 * embeddings @ self.landmarks.T, embeddings)

    def known(self, per_class: int) -> tuple[Outputs, np.ndarray]:
        labels = np.repeat(np.arange(CLASSES), per_class)
        return self.outputs(self.landmarks[labels]), labels

    def groups(self, count: int, photos: int) -> dict[str, Outputs]:
        return {f"group{i}": self.outputs(np.repeat(self.directions(1), photos, axis=0)) for i in range(count)}


def photos_of(world: World, *, kinds: int = 10, unknown: int = 10) -> OpenSetPhotos:
    train, train_labels = world.known(15)
    valid, valid_labels = world.known(12)
    return OpenSetPhotos(
        train, train_labels, valid, valid_labels, world.groups(kinds, 30), world.groups(unknown, 20)
    )


def scores_of(calibration: Calibration, outputs: Outputs) -> np.ndarray:
    return ood_scores(
        calibration.score,
        outputs.logits,
        outputs.embeddings,
        known=is_landmark(NAMES),
        temperature=calibration.temperature,
        combination=calibration.combination,
    )


def test_what_is_promised_holds_on_kinds_and_landmarks_never_seen() -> None:
    kept, ordinary, unknown = [], [], []
    for seed in range(6):
        world = World(seed)
        fitted = calibrate_open_set(photos_of(world), NAMES, OpenSetTargets(0.02, 0.05))
        kept.append((scores_of(fitted, world.known(20)[0]) >= fitted.threshold).mean())
        for rates in (ordinary, unknown):
            new = world.groups(8, 20).values()
            rates.append(np.mean([(scores_of(fitted, one) >= fitted.threshold).mean() for one in new]))
    assert np.mean(kept) > 0.9
    assert np.mean(ordinary) < 0.05
    assert np.mean(unknown) < 0.08


def test_expected_rates_and_points_are_stored() -> None:
    fitted = calibrate_open_set(photos_of(World(1)), NAMES, OpenSetTargets(0.02, 0.05))
    points = fitted.operating_points
    assert list(points) == ["precision", "balanced", "recall"]
    assert points["balanced"].threshold == fitted.threshold
    rightly = [points[name].expected.tagged_rightly.value for name in points]
    assert rightly == sorted(rightly)
    balanced = points["balanced"].expected
    assert balanced.false_tags_ordinary.count == 300
    assert balanced.false_tags_unknown.count == 200
    rates = fitted.fitted_on["rates"]
    assert set(rates) == {f"{sort} group{i}" for sort in ("kind", "landmark") for i in range(10)}
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())), fitted.temperature)
    assert again.to_dict() == fitted.to_dict()


@pytest.mark.parametrize(
    ("landmarks", "photos", "told"), [(0, 0, False), (1, 30, True), (5, 19, True), (5, 20, False)]
)
def test_few_photos_of_unknown_landmarks_are_told(landmarks: int, photos: int, told: bool) -> None:
    rates = {"kind rooms": {}} | {f"landmark {number}": {} for number in range(landmarks)}
    found = [*few_unknown({"unknown_landmarks": photos, "rates": rates}, 0.05)]
    assert ["give at least 20 photos of 5 landmarks" in one for one in found] == [True] * told


def test_one_folder_of_negatives_is_enough() -> None:
    world = World(2)
    photos = photos_of(world, kinds=1, unknown=0)
    many = OpenSetPhotos(
        photos.train, photos.train_labels, photos.valid, photos.valid_labels, world.groups(1, 150)
    )
    fitted = calibrate_open_set(many, NAMES, OpenSetTargets(0.01))
    assert fitted.operating_points["balanced"].expected.false_tags_unknown is None
    assert "precision" not in fitted.operating_points  # 150 photos cannot tell half a per cent
    assert [*missing_points(fitted.operating_points, 0.01)] == [
        "no operating point precision: give at least 199 photos without a landmark for it"
    ]
    few = replace(many, ordinary=world.groups(1, 99))
    assert [*missing_points(calibrate_open_set(few, NAMES, OpenSetTargets(0.01)).operating_points, 0.01)][1] == (
        "rates of balanced are not measured: give at least 124 photos without a landmark for that"
    )
    enough = replace(many, ordinary=world.groups(1, 249))
    assert not [*missing_points(calibrate_open_set(enough, NAMES, OpenSetTargets(0.01)).operating_points, 0.01)]
    with pytest.raises(DataError, match="30 negatives cannot promise"):
        calibrate_open_set(photos, NAMES, OpenSetTargets(0.01))


def test_a_background_class_is_no_landmark() -> None:
    world = World(3)
    photos = photos_of(world)

    def with_background(one: Outputs) -> Outputs:
        return Outputs(np.concatenate([one.logits, np.full((len(one.logits), 1), 4.0)], axis=1), one.embeddings)

    wide = OpenSetPhotos(
        with_background(photos.train),
        photos.train_labels,
        with_background(photos.valid),
        photos.valid_labels,
        {name: with_background(one) for name, one in photos.ordinary.items()},
        background=[with_background(world.outputs(world.directions(40)))],
    )
    fitted = calibrate_open_set(wide, (*NAMES, "background"), OpenSetTargets(0.02))
    assert fitted.combination is not None
    assert fitted.combination.neighbours.classes == CLASSES


def test_the_worst_kind_decides_as_far_as_its_photos_tell() -> None:
    kinds = [np.zeros(400), np.concatenate([np.ones(8), np.zeros(32)]), np.array([1.0, 0.0])]
    mean = 9 / 442
    assert worst_rate(kinds, 0.5) == pytest.approx((8 + 50 * mean) / 90)
    assert worst_rate(kinds, 2.0) == 0


@pytest.mark.parametrize("limit", [0.0, 0.1, 0.35, 1.0])
def test_the_lowest_threshold_is_that_of_a_slow_search(limit: float) -> None:
    scores = np.random.default_rng(0).integers(0, 9, 40).astype(float)
    found = lowest_where(scores, lambda t: float((scores >= t).mean()) <= limit)
    slow = min(t for t in np.nextafter(np.unique(scores), np.inf) if (scores >= t).mean() <= limit)
    assert found == slow


def made_table() -> BackgroundTable:
    values = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    names = ("kind/forest", "landmark/06.Colosseum", "landmark/Somewhere")
    return BackgroundTable(values, np.repeat(np.arange(3), 3), names)


def test_a_table_keeps_its_directions_in_a_file(tmp_path) -> None:
    table = made_table()
    table.save(tmp_path / "table.npz")
    again = BackgroundTable.load(tmp_path / "table.npz")
    assert again.names == table.names
    assert np.einsum("nd,nd->n", again.embeddings, table.embeddings).min() > 0.999
    (tmp_path / "table.npz").write_bytes(b"PK")
    with pytest.raises(ModelError, match="damaged"):
        BackgroundTable.load(tmp_path / "table.npz")


def test_landmarks_that_a_model_knows_are_not_held_against_it() -> None:
    table = made_table().without(["colosseum", "Elsewhere"])
    assert np.unique(table.groups).tolist() == [0, 2]
    assert len(table.embeddings) == 6


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        (ModelSettings(kind="transfer"), True),
        (ModelSettings(kind="transfer", unfreeze=True), False),
        (ModelSettings(kind="transfer", backbone="efficientnet_lite1"), False),
        (ModelSettings(kind="transfer", crop=256), True),
        (ModelSettings(kind="transfer", crop=96), False),
        (ModelSettings(kind="transfer", resize=64, crop=64), False),
        (ModelSettings(kind="scratch"), False),
    ],
)
def test_the_table_is_for_the_backbone_it_was_made_with(settings: ModelSettings, fits: bool) -> None:
    assert table_fits(settings) is fits
