"""From a folder to loaders: order of images, broken ones left out, preprocessing exact to the bit."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from landmarks.errors import DataError, SettingsError
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.training.config.settings import AugmentSettings, DataSettings
from landmarks.training.data.cache import build_cache
from landmarks.training.data.loaders import (
    Data,
    EvalTransform,
    get_data_loaders,
    make_loaders,
    prepare_data,
    set_train_size,
    visualize_one_batch,
)

AUGMENT = AugmentSettings(sizes=(32, 64))
PLAIN = AugmentSettings(names=("crop", "flip"), sizes=(64,))


@pytest.fixture(scope="module")
def data(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return prepare_data(drawn, DataSettings(valid_size=0.25), cache=tmp_path_factory.mktemp("decoded"))


def assert_contract_is_kept(paths: list[Path], cache_folder: Path) -> None:
    cache, contract = build_cache(paths, cache_folder), Preprocessing()
    for path in paths:
        crop = EvalTransform(contract)(cache.picture(path)).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(crop, prepare(path, contract), err_msg=str(path))


def test_evaluation_crops_of_drawn_pictures_equal_the_contract(drawn: Path, tmp_path: Path) -> None:
    assert_contract_is_kept(sorted(drawn.rglob("*.jpg")), tmp_path)


@pytest.mark.shared
def test_evaluation_crops_of_real_pictures_equal_the_contract(shared_data: Path, tmp_path: Path) -> None:
    sets = ("world34", "landmarks10", "monuments49", "negatives")
    assert_contract_is_kept(
        [p for name in sets for p in sorted((shared_data / name).rglob("*.jpg"))[::150]], tmp_path
    )


def test_loaders_give_normalised_batches_of_every_split(data: Data) -> None:
    loaders = make_loaders(data, DataSettings(batch_size=8), AUGMENT)
    pictures, targets = next(iter(loaders["train"]))
    assert (pictures.shape, pictures.dtype) == ((8, 3, 64, 64), torch.float32)
    assert targets.shape in {(8,), (8, 4)}
    for split, count in (("valid", 12), ("test", 16)):
        batches = list(loaders[split])
        assert sum(len(labels) for _, labels in batches) == count
        assert batches[0][0].shape == (8, 3, 224, 224)
        assert torch.cat([labels for _, labels in batches]).tolist() == [
            sample.label for sample in getattr(data.folder, split)
        ]
    everything = torch.cat([pictures for pictures, _ in loaders["test"]])
    assert everything.mean().abs() < 0.5
    assert 0.5 < everything.std() < 1.5


def test_training_batches_follow_the_global_seed(data: Data) -> None:
    def first_batch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        batch: torch.Tensor = next(iter(make_loaders(data, DataSettings(batch_size=8), AUGMENT)["train"]))[0]
        return batch

    assert torch.equal(first_batch(1), first_batch(1))
    assert not torch.equal(first_batch(1), first_batch(2))


def test_an_epoch_shows_every_picture_once(data: Data) -> None:
    loaders = make_loaders(data, DataSettings(batch_size=6), PLAIN)
    labels = torch.cat([targets for _, targets in loaders["train"]])
    assert Counter(labels.tolist()) == Counter(sample.label for sample in data.folder.train)


def test_no_last_batch_of_one_picture_is_trained_on(data: Data) -> None:
    size = len(data.folder.train) - 1
    assert [len(targets) for _, targets in make_loaders(data, DataSettings(batch_size=size), PLAIN)["train"]] == [
        size
    ]
    whole = make_loaders(data, DataSettings(batch_size=1000), PLAIN)["train"]
    assert [len(targets) for _, targets in whole] == [size + 1]


def test_the_size_of_training_crops_can_change(data: Data) -> None:
    loader = make_loaders(data, DataSettings(batch_size=4), PLAIN)["train"]
    set_train_size(loader, PLAIN, 32, data.preprocessing)
    assert next(iter(loader))[0].shape == (4, 3, 32, 32)


def flat_set(root: Path, counts: dict[str, int]) -> Path:
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 30), (label * 60, number, 90)).save(root / name / f"{number}.png")
    return root


def test_balanced_sampling_draws_rare_classes_as_often(tmp_path: Path) -> None:
    root = flat_set(tmp_path, {"rare": 4, "common": 60})
    torch.manual_seed(0)
    loaders = get_data_loaders(root, batch_size=64, sampler="balanced", augment=PLAIN)
    labels = [label for _ in range(20) for _, targets in loaders["train"] for label in targets.tolist()]
    assert 0.4 < labels.count(0) / len(labels) < 0.6


def test_a_limit_shortens_training_alone(drawn: Path) -> None:
    loaders = get_data_loaders(drawn, batch_size=4, valid_size=0.25, limit=8, augment=PLAIN)
    labels = torch.cat([targets for _, targets in loaders["train"]])
    assert Counter(labels.tolist()) == dict.fromkeys(range(4), 2)
    assert len(loaders["test"].dataset) == 16


def test_broken_pictures_are_told_and_skipped(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(drawn, root)
    victims = [sorted((root / "train").iterdir())[0], sorted((root / "test").iterdir())[1]]
    picture = next(victims[0].glob("*.jpg")).read_bytes()
    for folder in victims:
        (folder / "cut short.jpg").write_bytes(picture[:700])
        (folder / "empty.png").write_bytes(b"")
        (folder / "renamed text.jpg").write_text("a shopping list", encoding="utf-8")
        (folder / "nowhere.jpg").symlink_to(root / "gone.jpg")
    data = prepare_data(root, DataSettings(valid_size=0.25))
    assert len(data.broken) == 8
    assert {item.path.name: item.reason.split(":")[0] for item in data.broken} == {
        "cut short.jpg": "the JPEG picture is damaged, cut short or of a rare kind",
        "empty.png": "the file is empty",
        "renamed text.jpg": "the content is not a picture of an accepted format",
        "nowhere.jpg": "no such file",
    }
    seen = sum(
        len(targets) for loader in make_loaders(data, DataSettings(), PLAIN).values() for _, targets in loader
    )
    assert seen == 64  # 48 and 16, as many as there are in the folder that was copied


def test_a_class_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    root = flat_set(tmp_path, {"A": 6, "B": 6})
    for path in (root / "B").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="class 'B' has no readable training image: repair or remove it"):
        get_data_loaders(root)


def test_settings_of_the_call_are_checked(drawn: Path) -> None:
    with pytest.raises(SettingsError, match="`batch_size` must be at least 1, not 0"):
        get_data_loaders(drawn, batch_size=0)


def test_a_sample_batch_is_drawn_before_and_after_whatever_the_class_names(tmp_path: Path) -> None:
    root = flat_set(tmp_path / "data", {"Köln, «Dom»": 5, "東京タワー 🗼": 5})
    loaders = get_data_loaders(root, augment=AUGMENT)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    visualize_one_batch(loaders, tmp_path / "new" / "batch.png", count=100)
    assert torch.equal(torch.rand(3), expected)  # training goes on with the random numbers it would have had
    with Image.open(tmp_path / "new" / "batch.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
