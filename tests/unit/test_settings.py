"""Settings check themselves, name the argument, and survive a round trip through the run folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import DataError, RunError, SettingsError
from landmarks.training import api
from landmarks.training.config import settings as s
from landmarks.training.config.jobs import ExportSettings
from landmarks.training.config.settings import (
    AugmentSettings,
    DataSettings,
    LoopSettings,
    ModelSettings,
    OptimizationSettings,
    RunSettings,
    default_settings,
)

NAN, INF = math.nan, math.inf
BAD: list[tuple[type[Any], dict[str, Any], str]] = [
    (DataSettings, {"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
    (DataSettings, {"batch_size": 2.5}, "`batch_size` must be a whole number, not 2.5"),
    (DataSettings, {"valid_size": 0.0}, "`valid_size` must be between 0 and 1, not 0.0"),
    (DataSettings, {"valid_size": NAN}, "`valid_size`"),
    (DataSettings, {"workers": -1}, "`workers`"),
    (DataSettings, {"limit": 0}, "`limit`"),
    (DataSettings, {"sampler": "even"}, "`sampler` must be one of plain, sqrt, balanced, not 'even'"),
    (AugmentSettings, {"names": ("flop",)}, "`augment` must be one of .*not 'flop'"),
    (AugmentSettings, {"names": ("crop", "resized-crop")}, "`augment` must be one of crop and resized-crop"),
    (AugmentSettings, {"crop_scale": 0.0}, "`crop_scale`"),
    (AugmentSettings, {"mix_probability": 1.1}, "`mix`"),
    (AugmentSettings, {"sizes": ()}, "`sizes`"),
    (AugmentSettings, {"sizes": (96, 16)}, "`sizes` must be from 32 to 256 pixels, not 16"),
    (ModelSettings, {"kind": "magic"}, "`method` must be one of scratch, transfer"),
    (ModelSettings, {"widths": ()}, "`widths` must be at least 2 in each stage"),
    (ModelSettings, {"widths": (1, 2, 3, 4)}, "`widths`"),
    (ModelSettings, {"depths": (1, 0, 1, 1)}, "`depths` must be at least 1 in each stage"),
    (ModelSettings, {"widths": (8, 16)}, "`depths` must be as many numbers as `widths`"),
    (ModelSettings, {"views": 0}, "`views`"),
    (ModelSettings, {"dropout": 1.0}, "`dropout`"),
    (ModelSettings, {"unfreeze": True}, "`unfreeze` must be used with `method` transfer"),
    (ModelSettings, {"kind": "transfer", "frozen": 1}, "`frozen` must be used with `unfreeze`, not 1"),
    (ModelSettings, {"kind": "transfer", "unfreeze": True, "frozen": -1}, "`frozen` must be at least 0, not -1"),
    (ModelSettings, {"head": "quadratic"}, "`head` must be one of linear, cosine, not 'quadratic'"),
    (ModelSettings, {"head": "cosine", "sub_centers": 0}, "`sub_centers` must be at least 1, not 0"),
    (ModelSettings, {"head": "cosine", "scale": 0.0}, "`scale` must be above 0"),
    (ModelSettings, {"head": "cosine", "scale": INF}, "`scale`"),
    (ModelSettings, {"head": "cosine", "margin": -0.1}, "`margin` must be from 0 to 1.5 radians, not -0.1"),
    (ModelSettings, {"head": "cosine", "margin": NAN}, "`margin`"),
    (ModelSettings, {"sub_centers": 3}, "`sub_centers` must be used with `head` cosine, not 3"),
    (ModelSettings, {"scale": 15.0}, "`scale` must be used with `head` cosine"),
    (ModelSettings, {"margin": 0.2}, "`margin` must be used with `head` cosine"),
    (OptimizationSettings, {"optimizer": "lion"}, "`optimizer`"),
    (OptimizationSettings, {"schedule": "step"}, "`schedule`"),
    (OptimizationSettings, {"learning_rate": 0.0}, "`learning_rate` must be above 0"),
    (ModelSettings, {"crop": 31}, "`crop` must be from 32 to 256 pixels"),
    (ModelSettings, {"resize": 223}, "`resize` must be from `crop` to 256 pixels"),
    (ModelSettings, {"resize": 257}, "`resize` must be from `crop` to 256 pixels"),
    (ModelSettings, {"backbone": "efficientnet_lite2"}, "`backbone` must be used with `method` transfer"),
    (ModelSettings, {"weights": Path("mine.safetensors")}, "`weights` must be used with `method` transfer"),
    (ModelSettings, {"views": 9}, "`views` must be used with `method` transfer"),
    (ModelSettings, {"kind": "transfer", "widths": (8, 8, 8, 8)}, "`widths` must be used with `method` scratch"),
    (s.AugmentSettings, {"mix_probability": 1.0}, "`mix` must be used with mixup or cutmix in `augment`"),
    (OptimizationSettings, {"learning_rate": INF}, "`learning_rate`"),
    (OptimizationSettings, {"backbone_rate": 2.0}, "`backbone_rate`"),
    (OptimizationSettings, {"momentum": 1.0}, "`momentum`"),
    (OptimizationSettings, {"momentum": 0.8}, "`momentum` must be used with `optimizer` sgd"),
    (OptimizationSettings, {"weight_decay": -1e-9}, "`weight_decay`"),
    (OptimizationSettings, {"weight_decay": INF}, "`weight_decay`"),
    (OptimizationSettings, {"label_smoothing": 1.0}, "`label_smoothing`"),
    (OptimizationSettings, {"clip": INF}, "`clip` must be at least 0"),
    (OptimizationSettings, {"ema": 1.0}, "`ema`"),
    (LoopSettings, {"epochs": 0}, "`epochs`"),
    (LoopSettings, {"patience": -1}, "`patience`"),
    (LoopSettings, {"max_minutes": 0.0}, "`max_minutes`"),
    (LoopSettings, {"max_minutes": INF}, "`max_minutes` must be above 0"),
    (LoopSettings, {"precision": "8-bit"}, "`precision`"),
    (LoopSettings, {"devices": 0}, "`devices`"),
    (LoopSettings, {"threads": -1}, "`threads`"),
]


@pytest.mark.parametrize(("group", "values", "sentence"), BAD)
def test_a_value_out_of_range_names_its_argument(group: type[Any], values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        group(**values)


def fraction(low: float = 0.0, high: float = 1.0, **options: Any) -> st.SearchStrategy[float]:
    return st.floats(low, high, **options)


def one_of(literal: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(literal))


paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(Path)
augmentations = st.lists(one_of(s.AugmentationName), max_size=6).filter(
    lambda names: not {"crop", "resized-crop"} <= set(names)
)
below_one = fraction(exclude_max=True)
runs = st.builds(
    RunSettings,
    data=paths,
    cache=st.none() | paths,
    model=st.builds(
        ModelSettings,
        kind=st.just("transfer"),
        backbone=st.text(),
        weights=st.none() | paths,
        unfreeze=st.just(True),
        views=st.integers(1),
        dropout=below_one,
        head=st.just("cosine"),
        sub_centers=st.integers(1),
        scale=fraction(0, 100, exclude_min=True),
        margin=fraction(0, 1.5),
        init=st.none() | paths,
    ),
    loading=st.builds(
        DataSettings,
        batch_size=st.integers(1).map(lambda share: 12 * share),  # even shares for each number of devices below
        valid_size=fraction(exclude_min=True, exclude_max=True),
        workers=st.integers(0),
        limit=st.none() | st.integers(1),
        sampler=one_of(s.Sampler),
        seed=st.integers(0, 2**31 - 1),
    ),
    augment=st.builds(
        AugmentSettings,
        names=augmentations.map(lambda names: (*names, "mixup")),
        crop_scale=fraction(exclude_min=True),
        mix_probability=fraction(),
        sizes=st.lists(st.integers(32, 256), min_size=1, max_size=4).map(tuple),
    ),
    optimization=st.builds(
        OptimizationSettings,
        optimizer=st.just("sgd"),  # the others take no momentum
        learning_rate=fraction(exclude_min=True),
        backbone_rate=fraction(exclude_min=True),
        momentum=below_one,
        weight_decay=fraction(),
        label_smoothing=below_one,
        schedule=one_of(s.ScheduleName),
        clip=fraction(0, 100),
        ema=below_one,
    ),
    loop=st.builds(
        LoopSettings,
        epochs=st.integers(1),
        patience=st.integers(0),
        max_minutes=st.none() | fraction(exclude_min=True),
        precision=one_of(s.Precision),
        devices=st.integers(1, 4),
        threads=st.integers(0),
    ),
)


@given(runs)
def test_settings_come_back_from_json_as_they_were(run: RunSettings) -> None:
    assert RunSettings.from_dict(json.loads(json.dumps(run.to_dict(), allow_nan=False))) == run


def test_settings_from_before_there_were_heads_are_those_of_a_linear_one() -> None:
    values = RunSettings(Path("data")).to_dict()
    for key in ("head", "sub_centers", "scale", "margin"):
        del values["model"][key]
    assert RunSettings.from_dict(values) == RunSettings(Path("data"))


@pytest.mark.parametrize(
    ("kind", "section", "change"),
    [
        ("scratch", "optimization", {"momentum": 0.8}),
        ("scratch", "optimization", {"backbone_rate": 0.3}),
        ("scratch", "augment", {"mix_probability": 0.2}),
        ("scratch", "model", {"views": 5, "margin": 0.0, "frozen": 0}),
        ("transfer", "model", {"widths": [16, 32, 64, 128]}),
        ("transfer", "augment", {"sizes": [96]}),
    ],
)
def test_a_run_of_an_earlier_version_is_read_without_what_plays_no_part(
    kind: s.ModelKind, section: str, change: dict[str, Any]
) -> None:
    values = default_settings(Path("data"), kind).to_dict()
    values[section] |= change
    run = RunSettings.from_dict(values)
    assert run.model == default_settings(Path("data"), kind).model
    assert run.optimization == default_settings(Path("data"), kind).optimization


@pytest.mark.parametrize(
    ("section", "change", "sentence"),
    [
        ("augment", {"names": ("flip", "mixup")}, "`augment` must be without mixup and cutmix"),
        ("augment", {"sizes": (64,)}, "`sizes` must be used with `method` scratch or with `unfreeze`"),
        ("optimization", {"backbone_rate": 0.5}, "`backbone_rate` must be used with `unfreeze`"),
    ],
)
def test_a_frozen_backbone_refuses_what_it_would_ignore(
    section: str, change: dict[str, Any], sentence: str
) -> None:
    usual = default_settings(Path("data"), "transfer")
    with pytest.raises(SettingsError, match=sentence):
        replace(usual, **{section: replace(getattr(usual, section), **change)})


@pytest.mark.parametrize(("kind", "unfreeze"), [("scratch", False), ("transfer", False), ("transfer", True)])
def test_the_usual_settings_fit_their_kind(kind: s.ModelKind, unfreeze: bool) -> None:
    run = default_settings(Path("data"), kind, unfreeze=unfreeze)
    assert (run.model.kind, run.model.unfreeze) == (kind, unfreeze)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("loading"),
        lambda values: values.pop("data"),
        lambda values: values.update(loading=[]),
        lambda values: values.update(data=5),
        lambda values: values["loading"].update(batch_size="64"),
        lambda values: values["loop"].update(colour="red"),
        lambda values: values["augment"].update(sizes=5),
    ],
)
def test_damaged_settings_are_told_in_a_sentence(change: Any) -> None:
    values = json.loads(json.dumps(RunSettings(Path("data")).to_dict()))
    change(values)
    with pytest.raises(SettingsError, match=r"the settings do not fit this version of landmarks .*: train again"):
        RunSettings.from_dict(values)


def test_numbers_of_numpy_become_plain() -> None:
    loop = LoopSettings(epochs=np.int64(5), max_minutes=np.float32(0.5))  # type: ignore[arg-type]
    augment = AugmentSettings(sizes=tuple(np.array([96, 128])))
    settings = RunSettings(Path("data"), loop=loop, augment=augment)
    assert RunSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_epochs_are_shared_evenly_among_the_sizes() -> None:
    augment = AugmentSettings(sizes=(96, 128, 160))
    assert [augment.size_of_epoch(epoch, 6) for epoch in range(6)] == [96, 96, 128, 128, 160, 160]
    assert augment.size_of_epoch(0, 1) == 96
    assert augment.size_of_epoch(9, 6) == 160


def test_the_way_of_training_has_the_name_of_its_option_and_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RunSettings] = []
    monkeypatch.setattr("landmarks.training.engine.pipeline.train_run", lambda asked, _folder: made.append(asked))
    api.train(tmp_path)
    api.train(tmp_path, method="scratch")
    api.train(tmp_path, model="scratch")
    api.train(RunSettings(tmp_path, loading=DataSettings(seed=np.int64(7))))  # type: ignore[arg-type]
    assert [asked.model.kind for asked in made] == ["transfer", "scratch", "scratch", "scratch"]
    assert type(made[-1].loading.seed) is int, "PyTorch refuses a seed of numpy"
    with pytest.raises(SettingsError, match="`method` must be one of scratch, transfer, not 'magic'"):
        api.train(tmp_path, method="magic")  # type: ignore[arg-type]


def test_an_address_is_no_path() -> None:
    for make in (RunSettings, RunSettings.for_method):
        with pytest.raises(SettingsError, match=r"`data` s3://bucket/photos is an address: give a path"):
            make("s3://bucket/photos")  # type: ignore[operator]


def test_a_path_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    name = "x" * 300  # the same way refuses what lies in a folder without permission
    for call, error in (
        (lambda: api.train(name, tmp_path / "run"), DataError),
        (lambda: api.train(f"{name}.csv", tmp_path / "run"), DataError),
        (lambda: api.evaluate(name), RunError),
        (lambda: api.export(name), RunError),
        (lambda: ExportSettings(negatives=Path(name)), SettingsError),
    ):
        with pytest.raises(error, match="xxx"):
            call()


def test_paths_may_be_given_as_text(tmp_path: Path) -> None:
    assert RunSettings("data", "cache") == RunSettings(Path("data"), Path("cache"))  # type: ignore[arg-type]
    assert ModelSettings(init="run").init == Path("run")  # type: ignore[arg-type]
    assert ExportSettings(negatives=str(tmp_path)).negatives == tmp_path  # type: ignore[arg-type]


@pytest.mark.parametrize(("ordinary", "unknown"), [("a", "a/b"), ("a/b", "a"), ("a", "a/../a")])
def test_photos_are_without_a_landmark_or_of_an_unknown_one(tmp_path: Path, ordinary: str, unknown: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(SettingsError, match="lies in the other, so photos would count as both"):
        ExportSettings(negatives=tmp_path / ordinary, unknown_landmarks=tmp_path / unknown)
