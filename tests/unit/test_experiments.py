"""Comparing runs: McNemar's test against a slow count, the list, and two runs image by image."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_run

from landmarks.errors import RunError
from landmarks.training.config.settings import default_settings
from landmarks.training.runs.comparison import verdict, write_comparison
from landmarks.training.runs.experiments import (
    Pairs,
    compare_runs,
    differing,
    find_runs,
)
from landmarks.training.runs.table import runs_table, short_list


def slow_mid_p(first: int, second: int) -> Fraction:
    """Count every way in which equal runs share what one alone knows: the rarer ones, and half of the same."""
    total = Fraction(0)
    for outcome in product((0, 1), repeat=first + second):
        seen, given_ = abs(2 * sum(outcome) - first - second), abs(first - second)
        total += 1 if seen > given_ else Fraction(1, 2) if seen == given_ else 0
    return total / 2 ** (first + second)


@given(st.integers(0, 6), st.integers(0, 6))
def test_the_p_value_is_that_of_a_slow_count(first: int, second: int) -> None:
    expected = float(slow_mid_p(first, second)) if first + second else 1.0
    assert Pairs(3, first, second, 2).p_value == pytest.approx(expected)


def test_the_p_value_of_a_published_example() -> None:
    # Fagerland et al. 2013, table 1 and section "Example": 1 and 7 discordant pairs, mid-p 0.039.
    assert Pairs(1, 1, 7, 12).p_value == pytest.approx(0.0391, abs=5e-5)


@given(*[st.integers(0, 400)] * 4)
def test_the_interval_holds_the_difference_and_turns_with_the_runs(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d:
        found, turned = Pairs(a, b, c, d).difference, Pairs(a, c, b, d).difference
        assert -1 <= found.low <= found.high <= 1
        assert found.value == pytest.approx((c - b) / (a + b + c + d))
        assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
        assert 0 < Pairs(a, b, c, d).p_value <= 1


def test_runs_are_listed_best_first_with_the_settings_that_differ(tmp_path: Path) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    other = replace(usual, optimization=replace(usual.optimization, learning_rate=0.01))
    write_run(tmp_path / "worse", usual, wrong=(0, 1, 2))
    write_run(tmp_path / "deep" / "better", other, wrong=(5,))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "settings.json").write_text(json.dumps(usual.to_dict()))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "settings.json").write_text("{")
    runs, damaged = find_runs(tmp_path)
    header, rows = runs_table(runs, tmp_path)
    assert header[4:6] == ["learning_rate", "done"]
    assert [row[0] for row in rows] == ["begun", "deep/better", "worse"]
    assert rows[1][header.index("accuracy")] == f"{11 / 12:.4f}"
    assert rows[0][header.index("accuracy")] == ""
    assert [row[header.index("learning_rate")] for row in rows] == ["0.05", "0.01", "0.05"]
    assert len(damaged) == 1
    assert "broken" in damaged[0]


def test_only_settings_that_differ_are_named() -> None:
    assert differing([{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}]) == ["b", "c"]
    assert differing([]) == []


def test_two_runs_are_compared_picture_by_picture(tmp_path: Path) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    write_run(tmp_path / "a", usual, wrong=(0, 1, 2, 3, 4, 5, 6))
    # The same pictures, reached by another way.
    write_run(
        tmp_path / "b", replace(usual, data=Path("/mnt/pictures"), loop=replace(usual.loop, epochs=9)), wrong=(0,)
    )
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.pairs == Pairs(both=5, first=0, second=6, neither=1)
    assert found.settings == (("epochs", "40", "9"),)
    assert sum(pairs.second for _, pairs in found.classes) == 6
    assert f"{tmp_path / 'b'} is better" in verdict(found)
    write_comparison(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "is better" in page
    assert "<script" not in page
    assert page.count("data:image/png") == 1
    many = tuple((f"place {number}", Pairs(0, 1, 0, 0)) for number in range(1000))
    write_comparison(tmp_path / "page.html", replace(found, classes=many))
    page = (tmp_path / "page.html").read_text()
    assert "Of 1000 classes the first and the last ones" in page
    assert page.count("place ") == 200
    same = compare_runs(tmp_path / "a", tmp_path / "a")
    assert "recognise the same ones" in verdict(same)
    write_comparison(tmp_path / "page.html", same)


def test_runs_on_one_parquet_file_are_compared_whatever_their_caches(tmp_path: Path) -> None:
    usual = default_settings(Path("p.parquet"), "transfer")
    for name, digit in (("a", "0"), ("b", "f")):
        write_run(tmp_path / name, usual, folder=tmp_path / name / f"parquet-{digit * 20}" / "p.parquet")
    assert compare_runs(tmp_path / "a", tmp_path / "b").pairs.both == 12


def test_runs_on_other_pictures_are_refused(tmp_path: Path) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    write_run(tmp_path / "a", usual)
    write_run(tmp_path / "b", usual, pictures=9)
    with pytest.raises(RunError, match=r"not the same test pictures \(3 are in one run alone\)"):
        compare_runs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RunError, match=r"valid pictures were not evaluated: run landmarks evaluate"):
        compare_runs(tmp_path / "a", tmp_path / "b", "valid")
    with pytest.raises(RunError, match="not a run folder"):
        compare_runs(tmp_path / "a", tmp_path / "c")


def test_chance_alone_is_called_a_difference_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    called = [Pairs(0, int(first), 60 - int(first), 0).p_value < 0.05 for first in rng.binomial(60, 0.5, 4000)]
    assert np.mean(called) == pytest.approx(0.05, abs=0.015)


def test_files_that_mlflow_and_editors_keep_are_no_runs(tmp_path: Path) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    write_run(tmp_path / "run", usual)
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode" / "settings.json").write_text("{}")
    kept = tmp_path / "mlflow-files" / ("0a" * 16) / "artifacts"
    kept.mkdir(parents=True)
    for name in ("settings.json", "run.json"):
        (kept / name).write_text((tmp_path / "run" / name).read_text())
    runs, damaged = find_runs(tmp_path)
    assert [run.root.name for run in runs] == ["run"]
    assert damaged == []


@pytest.mark.parametrize("width", [60, 80])
def test_the_short_list_fits_the_terminal_and_leaves_nothing_out(tmp_path: Path, width: int) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    other = replace(usual, augment=replace(usual.augment, names=("crop", "flip", "jitter", "rotation", "erasing")))
    write_run(tmp_path / "worse", usual, wrong=(0, 1, 2))
    write_run(tmp_path / "deep" / "with a long name" / "better", other, wrong=(5,))
    text = short_list(find_runs(tmp_path)[0], tmp_path, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for part in ("0.9167", "deep/with a long name/better", "augment=crop,flip,jitter,rotation,erasing", "1.1"):
        assert part in words
