"""`landmarks tune`: a study that finds settings, goes on after any end, and never looks at the test split."""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import landmarks
from hypothesis import given
from hypothesis import strategies as st
from tiny_backbone import small_networks
from warm import WarmCommand

from landmarks.training.config.settings import default_settings
from landmarks.training.tuning import search_space
from landmarks.training.tuning.report import way_on
from landmarks.training.tuning.search_space import SPACES, Choice, point_of, space_of, spread_points

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna, of the extra tune, is not installed")

NARROW = tuple(
    dimension
    for dimension in SPACES["transfer"]
    if dimension.key not in {"backbone", "crop_scale", "names", "epochs"}
)
"""A space whose trials share one set of embeddings."""
FLAGS = ("--epochs", 2, "--threads", 1)
PATCH = """
from landmarks.training.tuning import search_space
keys = {"backbone", "crop_scale", "names", "epochs"}
space = tuple(one for one in search_space.SPACES["transfer"] if one.key not in keys)
search_space.SPACES = {"transfer": space}
import pytest, sys
sys.path.append("TESTS")
from tiny_backbone import small_networks
small_networks(pytest.MonkeyPatch())
""".replace("TESTS", str(Path(__file__).parents[1]))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "SPACES", {"transfer": NARROW})
    small_networks(monkeypatch)


def trials(study: Path) -> list[Path]:
    return sorted((study / "trials").iterdir())


def begin(data: Path, cache: Path, study: Path, count: int) -> WarmCommand:
    """Start a study in a process of its own."""
    words = ["tune", data, "--out", study, "--cache", cache, "--trials", count, *FLAGS]
    return WarmCommand(*words, before=PATCH)


@pytest.fixture(scope="module")
def study(drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of six trials."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_space, "SPACES", {"transfer": NARROW})
        small_networks(patch)
        outcome = landmarks("tune", drawn, "--out", folder, "--cache", cache, "--trials", 6, *FLAGS)
    assert outcome.status == 0, outcome.err
    assert "best of 6 trials" in outcome.out
    assert outcome.err.count("trial ") == 6
    return folder


def test_a_study_leaves_trials_without_weights_and_without_test_figures(study):
    assert [path.name for path in trials(study)] == [f"{number:03d}" for number in range(6)]
    assert {path.name for path in study.iterdir()} == {"study.db", "trials", "report.html", "best.toml"}
    assert not list(study.rglob("*.safetensors"))
    assert not list(study.rglob("*.ckpt"))
    assert not list(study.rglob("*_test.*"))
    seeds = {json.loads(path.read_text())["loading"]["seed"] for path in study.glob("trials/*/settings.json")}
    assert seeds == {0}


def test_the_first_trial_has_the_usual_settings(study, drawn):
    told = json.loads((trials(study)[0] / "settings.json").read_text())
    usual = default_settings(drawn, "transfer").to_dict()
    assert told["optimization"] == usual["optimization"]
    assert told["model"] == usual["model"]


def test_the_best_settings_train(study, drawn, cache, tmp_path):
    run = tmp_path / "run"
    preset = study / "best.toml"
    outcome = landmarks("train", drawn, "--preset", preset, "--out", run, "--cache", cache, "--epochs", 3)
    assert outcome.status == 0, outcome.err
    told = json.loads((run / "settings.json").read_text())
    found = [json.loads((path / "settings.json").read_text())["optimization"] for path in trials(study)]
    assert told["optimization"] in found
    assert told["loop"]["epochs"] == 3


def test_the_report_stands_alone_and_says_how_to_go_on(study, drawn):
    page = (study / "report.html").read_text()
    assert f"landmarks train {drawn} --preset {study / 'best.toml'}</code>" in page
    assert page.count("data:image/png") == 2
    assert "<script" not in page
    assert "--preset" in page
    assert "Importance of the settings" in page


def test_the_way_on_keeps_the_split_of_the_study():
    """The seed draws the test pictures of a folder without them."""
    assert way_on(Path("my data"), Path("best.toml"), 3) == (
        "landmarks train 'my data' --preset best.toml --seed 3"
    )


def test_trials_can_be_listed_by_their_validation_figures(study):
    outcome = landmarks("runs", "--folder", study / "trials", "--split", "valid", "--format", "csv")
    assert outcome.status == 0, outcome.err
    assert len(outcome.out.splitlines()) == 7


def test_a_study_goes_on_where_it_stopped_and_refuses_other_questions(study, drawn, cache):
    words = ("tune", drawn, "--out", study, "--cache", cache, *FLAGS)
    outcome = landmarks(*words, "--trials", 6)
    assert outcome.status == 0, outcome.err
    assert len(trials(study)) == 6
    outcome = landmarks(*words, "--trials", 7, "--metric", "accuracy")
    assert outcome.status == 2
    assert "begun with --metric loss, not accuracy" in outcome.complaint


def test_a_killed_study_goes_on_and_two_processes_share_it(drawn, cache, study, tmp_path):
    folder = tmp_path / "study"
    first = begin(drawn, cache, folder, 3)
    # Killed in the middle of a trial, with no chance to tidy up.
    deadline = time.monotonic() + 120
    while not list(folder.glob("trials/*/settings.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    assert first.wait().status == -signal.SIGKILL
    both = [begin(drawn, cache, folder, 5) for _ in range(2)]
    told = [process.wait() for process in both]
    assert [outcome.status for outcome in told] == [0, 0], told
    assert all(outcome.err.count("trial ") >= 1 for outcome in told)
    outcome = landmarks("tune", drawn, "--out", folder, "--cache", cache, "--trials", 5, *FLAGS)
    # Both may have been at their last trial.
    assert "best of 5 trials" in outcome.out or "best of 6 trials" in outcome.out


def test_other_pictures_are_told_before_a_trial_is_trained(drawn, cache, tmp_path):
    data, folder = tmp_path / "data", tmp_path / "study"
    shutil.copytree(drawn, data)
    words = ("tune", data, "--out", folder, "--cache", cache, "--epochs", 1, "--threads", 1)
    assert landmarks(*words, "--trials", 1).status == 0
    next(data.rglob("*.jpg")).unlink()
    outcome = landmarks(*words, "--trials", 2)
    assert "not the pictures of the earlier trials" in outcome.complaint
    assert len(trials(folder)) == 1


def test_the_time_ends_a_study(drawn, cache, study, tmp_path):
    words = ("--out", tmp_path / "study", "--cache", cache, "--trials", 50, "--time", "0.001s")
    outcome = landmarks("tune", drawn, *words, *FLAGS)
    assert outcome.status == 0, outcome.err
    assert "0 of 50 trials are done" in outcome.out
    assert not (tmp_path / "study" / "trials").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--time", "soon"), "--time must be minutes"),
        (("--time", "0"), "--time must be above 0"),
        (("--trials", 0), "--trials must be at least 1"),
        (("--metric", "f1"), "Invalid value for '--metric': 'f1' is not one of 'loss', 'accuracy'"),
        (
            ("--model", "magic"),
            "Invalid value for '--method': 'magic' is not one of 'scratch', 'transfer'",
        ),
        (("--epochs", 0), "--epochs must be at least 1"),
    ],
)
def test_a_mistake_is_told_before_any_work(drawn, tmp_path, flags, sentence):
    outcome = landmarks("tune", drawn, "--out", tmp_path / "study", *flags)
    assert outcome.status == 2
    assert outcome.complaint.startswith(sentence)
    assert not (tmp_path / "study").exists()


def test_a_study_that_cannot_begin_leaves_nothing(drawn, tmp_path):
    outcome = landmarks("tune", tmp_path / "typo", "--out", tmp_path / "study", *FLAGS)
    assert "no such folder" in outcome.complaint
    assert not (tmp_path / "study").exists()
    (tmp_path / "study.db").write_text("no database " * 99)
    outcome = landmarks("tune", drawn, "--out", tmp_path, *FLAGS)
    assert outcome.complaint.startswith(f"{tmp_path / 'study.db'}: not the database of a study")
    (tmp_path / "study.db").rename(tmp_path / "report.html")
    outcome = landmarks("tune", drawn, "--out", tmp_path, *FLAGS)
    assert outcome.complaint == (
        f"--out {tmp_path}: report.html in it is of another command: choose another folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("kind", SPACES)
def test_the_usual_settings_lie_in_the_space(kind, monkeypatch):
    monkeypatch.setattr(search_space, "SPACES", SPACES)
    settings = default_settings(Path("data"), kind)
    usual = point_of(settings, space_of(kind))
    assert len(usual) == len(SPACES[kind])
    for dimension in SPACES[kind]:
        value = getattr(getattr(settings, dimension.section), dimension.key)
        if isinstance(dimension, Choice):
            assert value in dimension.values
        else:
            assert dimension.low <= value <= dimension.high


def test_the_next_trials_are_spread_over_the_space(study):
    import optuna

    from landmarks.training.tuning.tune import SPREAD_TRIALS

    found = optuna.load_study(study_name="landmarks", storage=f"sqlite:///{study / 'study.db'}").trials
    points = spread_points(NARROW, SPREAD_TRIALS, seed=0)
    assert [trial.params for trial in found[1:]] == [pytest.approx(point) for point in points[:5]]


def test_what_a_stopped_trial_had_is_tried_again(drawn, tmp_path, monkeypatch):
    import optuna

    from landmarks.errors import TrainingError
    from landmarks.training.tuning import tune

    ends = iter([KeyboardInterrupt, TrainingError, KeyboardInterrupt, TrainingError])
    monkeypatch.setattr(tune, "train_run", lambda *_, **__: (_ for _ in ()).throw(next(ends)("")))
    words = ("tune", drawn, "--out", tmp_path / "study", "--trials", 2, *FLAGS)
    assert [landmarks(*words).status for _ in range(3)] == [130, 130, 0]
    found = optuna.load_study(study_name="landmarks", storage=f"sqlite:///{tmp_path}/study/study.db").trials
    spread = spread_points(NARROW, tune.SPREAD_TRIALS, seed=0)[0]
    usual = point_of(default_settings(drawn, "transfer"), NARROW)
    assert [trial.params for trial in found] == [pytest.approx(point) for point in (usual, usual, spread, spread)]
    outcome = landmarks(*words, "--method", "scratch")
    assert "begun with --method transfer, not scratch" in outcome.complaint


@pytest.mark.parametrize("kind", SPACES)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**31 - 1))
def test_spread_points_cover_each_dimension_evenly(kind, count, seed):
    points = spread_points(SPACES[kind], count, seed)
    assert len(points) == count
    for dimension in SPACES[kind]:
        values = [point[dimension.name] for point in points]
        if isinstance(dimension, Choice):
            counts = [values.count(value) for value in set(values)]
            assert len(counts) == min(count, len(dimension.values)) or count < 2 * len(dimension.values)
            assert max(counts) <= -(-count // len(dimension.values)) + 1
        else:
            scale = math.log if dimension.log else float
            low, high = scale(dimension.low), scale(dimension.high)
            shares = sorted((scale(value) - low) / (high - low) for value in values)
            for number, share in enumerate(shares):  # one in each of as many equal parts
                assert number / count - 1e-9 <= share <= (number + 1) / count + 1e-9
    assert points == spread_points(SPACES[kind], count, seed)


def test_the_weights_of_a_killed_trial_are_removed(study, drawn, cache):
    import optuna  # of the extra tune

    opened = optuna.load_study(study_name="landmarks", storage=f"sqlite:///{study / 'study.db'}")
    opened.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    left = study / "trials" / f"{len(opened.trials) - 1:03d}" / "last.ckpt"
    left.parent.mkdir()
    left.touch()
    outcome = landmarks("tune", drawn, "--out", study, "--cache", cache, *FLAGS, "--trials", 1)
    assert outcome.status == 0, outcome.err
    assert not left.exists()
