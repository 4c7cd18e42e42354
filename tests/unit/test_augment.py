"""Augmentations return crops of the requested size, follow the seed, and blend the requested share of batches."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from landmarks.imaging.preprocessing import Preprocessing, normalize
from landmarks.training.config.rules import MIXES
from landmarks.training.config.settings import AugmentationName, AugmentSettings
from landmarks.training.data.augment import Collate, TrainTransform

CONTRACT = Preprocessing(mean=(0.1, 0.5, 0.8), std=(0.2, 0.25, 0.3))
NAMES = get_args(AugmentationName)


def photo(height: int = 300, width: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def transform(*names: AugmentationName, size: int = 96) -> TrainTransform:
    return TrainTransform(AugmentSettings(names=names), size, CONTRACT)


def draw(step: TrainTransform, picture: np.ndarray, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return step(picture)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(256, 341), (7, 5), (1, 90), (256, 256)])
def test_every_augmentation_gives_the_crop_asked_for(name: AugmentationName, shape: tuple[int, int]) -> None:
    picture = photo(*shape)
    before = picture.copy()
    for seed in range(5):
        crop = draw(transform(name), picture, seed)
        assert crop.shape == (3, 96, 96)
        assert crop.dtype == torch.uint8
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MIXES])
def test_an_augmentation_changes_pictures_and_follows_the_seed(name: AugmentationName) -> None:
    drawn = [draw(transform(name), photo(), seed) for seed in range(12)]
    again = [draw(transform(name), photo(), seed) for seed in range(12)]
    assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_without_names_the_crop_is_that_of_the_contract() -> None:
    step = transform(size=CONTRACT.crop)
    assert torch.equal(draw(step, photo(256, 341), 1), draw(step, photo(256, 341), 2))
    middle = photo(256, 342)[16:240, 59:283]
    assert torch.equal(step(photo(256, 342)), torch.from_numpy(middle.copy()).permute(2, 0, 1))


def test_a_flip_mirrors_about_half_of_the_pictures() -> None:
    plain = transform()(photo())
    drawn = [draw(transform("flip"), photo(), seed) for seed in range(100)]
    mirrored = sum(torch.equal(crop, plain.flip(2)) for crop in drawn)
    assert mirrored + sum(torch.equal(crop, plain) for crop in drawn) == 100
    assert 35 <= mirrored <= 65


def test_a_crop_keeps_at_least_the_share_asked_for() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[..., 0] = np.arange(200)  # the columns tell how much of the width is seen
    whole = TrainTransform(AugmentSettings(names=("resized-crop",), crop_scale=1.0), 96, CONTRACT)
    for seed in range(20):
        seen = draw(whole, picture, seed)[0]
        assert int(seen.max()) - int(seen.min()) >= 140  # a full-area crop is at most 4 : 3


def samples(count: int = 8) -> list[tuple[Tensor, int]]:
    pictures = np.random.default_rng(1).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [(torch.from_numpy(picture).permute(2, 0, 1), label % 3) for label, picture in enumerate(pictures)]


def test_a_batch_is_normalised_as_the_contract_says() -> None:
    pictures, labels = Collate(CONTRACT, 3)(samples())
    stacked = torch.stack([picture for picture, _ in samples()]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(pictures.numpy(), normalize(stacked, CONTRACT), atol=2e-6)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("mix", MIXES)
def test_a_blended_batch_has_targets_that_sum_to_one(mix: str) -> None:
    torch.manual_seed(0)
    pictures, targets = Collate(CONTRACT, 3, [mix], 1.0)(samples())
    assert pictures.shape == (8, 3, 6, 6)
    assert targets.shape == (8, 3)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))


def test_the_share_of_blended_batches_is_that_asked_for() -> None:
    torch.manual_seed(0)
    batch = Collate(CONTRACT, 3, MIXES, 0.3)
    blended = sum(batch(samples(2))[1].ndim == 2 for _ in range(300))
    assert 60 <= blended <= 120
    assert all(Collate(CONTRACT, 3, (), 1.0)(samples(2))[1].ndim == 1 for _ in range(5))
    assert all(Collate(CONTRACT, 3, MIXES, 0.0)(samples(2))[1].ndim == 1 for _ in range(5))


def test_quality_makes_most_pictures_less_sharp_and_keeps_what_they_show() -> None:
    edges = np.zeros((96, 96, 3), np.uint8)
    edges[:, ::8] = 255
    drawn = [draw(transform("quality"), edges, seed).float() for seed in range(40)]
    plain = draw(transform(), edges).float()
    softer = [float(one.diff(dim=2).abs().mean()) < 0.9 * float(plain.diff(dim=2).abs().mean()) for one in drawn]
    assert 20 <= sum(softer) < 40
    assert all(abs(float(one.mean()) - float(plain.mean())) < 6 for one in drawn)
