"""Presets: bundled ones load, settings survive a round trip, and errors name their position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import SettingsError
from landmarks.training.config.presets import bundled_presets, differences, load_preset, write_preset
from landmarks.training.config.settings import RunSettings, default_settings

DATA = Path("data")


def test_there_are_a_few_presets_each_with_a_purpose() -> None:
    found = bundled_presets()
    assert 3 <= len(found) <= 5
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in found.values())


@pytest.mark.parametrize("name", bundled_presets())
def test_a_preset_of_the_package_loads_and_says_only_what_is_not_usual(name: str) -> None:
    settings = load_preset(name, DATA)
    assert settings.data == DATA
    usual = default_settings(DATA, settings.model.kind, unfreeze=settings.model.unfreeze)
    assert settings != usual
    assert load_preset(str(bundled_presets()[name]), DATA) == settings


fractions = st.floats(0.001, 0.9)
changed_settings = st.builds(
    lambda kind, dropout, rate, names, sizes, epochs, ema: replace(
        (usual := default_settings(DATA, *kind[:1], unfreeze=kind[1])),
        model=replace(usual.model, dropout=dropout),
        augment=replace(usual.augment, names=names, sizes=sizes),
        optimization=replace(usual.optimization, learning_rate=rate, ema=ema),
        loop=replace(usual.loop, epochs=epochs),
    ),
    kind=st.sampled_from([("scratch", False), ("transfer", True)]),
    dropout=fractions,
    rate=st.floats(1e-12, 1e3),
    names=st.sampled_from([(), ("flip",), ("resized-crop", "mixup")]),
    sizes=st.lists(st.integers(32, 256), min_size=1, max_size=3).map(tuple),
    epochs=st.integers(1, 10**6),
    ema=st.just(0.0) | fractions,
)


@given(settings=changed_settings)
def test_settings_come_back_from_their_preset(
    settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("presets") / "own.toml"
    write_preset(path, settings, "Two lines\nof comment.")
    assert load_preset(str(path), DATA) == settings
    assert path.read_text().startswith("# Two lines\n# of comment.\n")


def test_a_preset_leaves_out_what_belongs_to_one_machine_or_run() -> None:
    usual = default_settings(DATA, "transfer")
    own = replace(
        usual,
        model=replace(usual.model, weights=Path("w"), init=Path("r")),
        loading=replace(usual.loading, workers=3, seed=5, limit=9),
        loop=replace(usual.loop, threads=1, precision="32-true", max_minutes=3.0),
    )
    assert differences(own) == {"model": {"kind": "transfer"}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[model", r"own\.toml: not a TOML file .*: correct it"),
        ("[modell]", r"own\.toml: \[modell\] is not a section of settings: use model, loading"),
        ("model = 3", r"own\.toml: \[model\] is not a section of settings"),
        ("[model]\nvews = 2", r"own\.toml: \[model\] has no key 'vews': its keys are kind, widths"),
        ("[model]\nweights = 'w'", r"own\.toml: \[model\] has no key 'weights'"),
        (
            "[model]\nkind = 'magic'",
            r"own\.toml: \[model\] `method` must be one of scratch, transfer, not 'magic'",
        ),
        (
            "[model]\nkind = 'scratch'\nunfreeze = true",
            r"own\.toml: \[model\] `unfreeze` must be used with `method` transfer",
        ),
        ("[loop]\nepochs = 0", r"own\.toml: \[loop\] `epochs` must be at least 1, not 0"),
        ("[loop]\nepochs = 2.5", r"own\.toml: \[loop\] epochs \(`epochs`\) cannot be 2\.5: correct its type"),
        ("[loop]\nepochs = true", r"epochs \(`epochs`\) cannot be True"),
        ("[model]\nunfreeze = 'yes'", r"unfreeze \(`unfreeze`\) cannot be 'yes'"),
        ("[augment]\nnames = 'flip'", r"names \(`augment`\) cannot be 'flip'"),
        ("[augment]\nsizes = [64, '96']", r"sizes \(`sizes`\) cannot be"),
        ("[augment]\nmix_probability = 2", r"own\.toml: \[augment\] `mix` must be from 0 to 1, not 2"),
        (
            "[model]\nkind = 'scratch'\n[loading]\nbatch_size = 1",
            r"own\.toml: `batch_size` must be at least 2 from scratch",
        ),
    ],
)
def test_a_mistake_names_file_key_and_flag(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        load_preset(str(path), DATA)


def test_an_unknown_preset_is_told_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"`preset` fast: no such preset or file: .* finetune, quick"):
        load_preset("fast", DATA)
