"""Trials of a frozen backbone share cached embeddings wherever their settings allow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from landmarks.training.config.jobs import TuneSettings
from landmarks.training.config.settings import RunSettings
from landmarks.training.models.features import Views
from landmarks.training.tuning.search_space import SPACES, Choice, Range

EMBEDDED = {"backbone", "crop_scale", "names"}
"""Settings that change what is embedded."""


def embedded(settings: RunSettings) -> tuple[str, Views]:
    """What the cache of embeddings is looked up by, besides the images."""
    views = Views(settings.model.views, settings.augment, settings.loading.seed)
    return settings.model.backbone, views


@pytest.mark.parametrize("dimension", SPACES["transfer"], ids=lambda one: one.key)
def test_trials_share_embeddings_unless_their_views_differ(dimension: Range | Choice) -> None:
    study = TuneSettings(Path("data"))
    low, high = dimension.values[:2] if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    first, second = (study.of_trial({dimension.section: {dimension.key: value}}) for value in (low, high))
    assert first != second
    assert (embedded(first) == embedded(second)) == (dimension.key not in EMBEDDED)


def test_backbone_crop_and_augmentation_are_tuned() -> None:
    assert {dimension.key for dimension in SPACES["transfer"]} >= {*EMBEDDED, "crop"}
