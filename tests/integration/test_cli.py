"""The command line: help at once, answers as a table, JSON or CSV, and one sentence for what is missing."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import resource
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from commands import CALL, landmarks, python, start
from PIL import Image

from landmarks import __version__
from landmarks.cli.app import COMMANDS
from landmarks.errors import EXTRAS, missing_extra
from landmarks.training.config.settings import default_settings
from landmarks.training.data import loaders

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "landmarks"
CORE_PACKAGES = {"numpy", "PIL", "pillow_heif", "onnxruntime", "rich", "threadpoolctl", "click", "landmarks"}


@pytest.fixture(scope="module")
def photos(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good photos, a broken one between them and a file that is no photo."""
    folder = tmp_path_factory.mktemp("photos")
    first, second = sorted((drawn / "test").rglob("*.jpg"))[:2]
    shutil.copy(first, folder / "a.jpg")
    (folder / "b.jpg").write_bytes(first.read_bytes()[:400])
    (folder / "sub").mkdir()
    shutil.copy(second, folder / "sub" / "c.jpg")
    (folder / "notes.txt").write_text("not a photo")
    return folder


# --- predict ---


def test_predict_shows_a_table(scratch_model, photos):
    outcome = landmarks("predict", "--model", scratch_model, photos / "a.jpg", "--top", 2)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == str(photos / "a.jpg")
    assert len(lines) == 3
    assert [float(line.split("%")[0]) for line in lines[1:]] == sorted(
        (float(line.split("%")[0]) for line in lines[1:]), reverse=True
    )


def test_predict_answers_the_good_photos_and_tells_of_the_broken_one(scratch_model, photos):
    outcome = landmarks("predict", "--model", scratch_model, photos)
    assert outcome.status == 2
    shown = [line for line in outcome.out.splitlines() if not line.startswith(" ")]
    assert shown == [str(photos / "a.jpg"), str(photos / "sub" / "c.jpg")]
    assert outcome.err.startswith(f"{photos / 'b.jpg'}: ")
    assert len(outcome.err.splitlines()) == 2, "the broken photo, and the closing line"


def test_predict_gives_json_lines(scratch_model, photos):
    outcome = landmarks("predict", "--model", scratch_model, photos, "--jsonl", "--top", 4)
    assert outcome.status == 2
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "candidates" not in rows[1]
    assert rows[1]["error"]
    assert sum(found["probability"] for found in rows[0]["candidates"]) == pytest.approx(1, abs=1e-4)
    assert rows[0]["candidates"][0].keys() == {"class_name", "name", "probability"}


def test_predict_gives_csv(scratch_model, photos):
    outcome = landmarks("predict", "--model", scratch_model, photos, "--csv", "--top", 2)
    assert outcome.status == 2
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [(Path(row["path"]).name, row["rank"]) for row in rows] == [
        ("a.jpg", "1"), ("a.jpg", "2"), ("b.jpg", ""), ("c.jpg", "1"), ("c.jpg", "2")
    ]  # fmt: skip
    assert rows[2]["error"]
    assert not rows[0]["error"]


def test_predict_recognises_most_scenes(transfer_run, drawn, tmp_path):
    model = tmp_path / "model"
    assert landmarks("export", transfer_run, "--precision", "fp32", "--out", model).status == 0
    outcome = landmarks("predict", "--model", model, drawn / "test", "--jsonl", "--top", 1)
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    hits = [row["candidates"][0]["class_name"] == Path(row["path"]).parent.name for row in rows]
    assert len(hits) == 16
    assert sum(hits) >= 0.75 * len(hits)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
@pytest.mark.parametrize("form", [(), ("--jsonl",), ("--csv",)])
def test_predict_takes_file_names_that_are_no_text(scratch_model, photos, tmp_path, form):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    shutil.copy(photos / "a.jpg", odd)
    outcome = start("predict", "--model", scratch_model, tmp_path, *form)
    assert outcome.status == 0, outcome.err
    assert "caf\\udce9.jpg" in outcome.out


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_cold_prediction_takes_little_memory(photos):
    # The kernel's own account of this process; that of getrusage begins with the parent's.
    peak = "import atexit; atexit.register(lambda: print(open('/proc/self/status').read()))"
    outcome = start("predict", "--model", "world", photos / "a.jpg", before=peak)
    assert outcome.status == 0, outcome.err
    assert int(outcome.out.split("VmHWM:")[1].split()[0]) < 300 * 1024  # kB


# --- evaluate and batch ---


def test_evaluate_measures_again(scratch_run, copy_run):
    run = copy_run(scratch_run)
    before = (run / "metrics_test.json").read_text()
    for name in ("metrics_test.json", "report.html", "confusion_valid.png"):
        (run / name).unlink()
    outcome = landmarks("evaluate", run)
    assert outcome.status == 0, outcome.err
    assert (run / "metrics_test.json").read_text() == before
    assert (run / "report.html").is_file()
    assert (run / "confusion_valid.png").is_file()
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["split", "valid", "test", "report:"]


def test_evaluate_takes_one_split_and_the_report_keeps_the_other(transfer_run, copy_run):
    run = copy_run(transfer_run)
    outcome = landmarks("evaluate", run, "--split", "valid")
    assert outcome.status == 0, outcome.err
    assert "test " not in outcome.out
    assert "Split: test." in (run / "report.html").read_text()


def test_batch_draws_pictures_before_and_after_augmentation(drawn, cache, tmp_path):
    outcome = landmarks("batch", drawn, "--out", tmp_path / "batch.png", "--count", 3, "--cache", cache)
    assert outcome.status == 0, outcome.err
    with Image.open(tmp_path / "batch.png") as picture:
        assert min(picture.size) > 100
    refused = landmarks("batch", drawn, "--out", tmp_path / "batch.jpg", "--cache", cache)
    assert (refused.status, refused.complaint) == (2, f"--out {tmp_path / 'batch.jpg'}: end its name with .png")


def test_batch_shows_the_augmentation_of_the_training(drawn, cache, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(loaders, "make_loaders", lambda *given: shown.append(given[-1]))
    monkeypatch.setattr(loaders, "visualize_one_batch", lambda *_, **__: None)
    for flags in ((), ("--method", "scratch"), ("--augment", "flip")):
        assert landmarks("batch", drawn, "--out", tmp_path / "b.png", "--cache", cache, *flags).status == 0
    transfer, scratch = (default_settings(drawn, method).augment for method in ("transfer", "scratch"))
    assert [(one.names, one.crop_scale) for one in shown] == [
        (transfer.names, transfer.crop_scale),
        (scratch.names, scratch.crop_scale),
        (("flip",), transfer.crop_scale),
    ]


def test_what_training_commands_leave_out_of_a_folder_is_told(tmp_path):
    for label, name in enumerate(("A", "B")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (40, 30), (label * 60, number, 90)).save(tmp_path / "data" / name / f"{number}.png")
    for name in ("a.xmp", "clip.mp4"):
        (tmp_path / "data" / "A" / name).touch()
    skipped = f"{tmp_path / 'data'}: skipped 2 (1 sidecar or other companion, 1 video)"
    cached = ("--cache", tmp_path / "cache")
    for command in (
        ("batch", "--out", tmp_path / "batch.png", "--count", 2, "-v", *cached),
        ("pack", tmp_path / "out", "-v"),
    ):
        name, *options = command
        outcome = landmarks(name, tmp_path / "data", *options)
        assert outcome.status == 0, outcome.err
        assert skipped in outcome.err.splitlines()
        assert f"{tmp_path / 'data' / 'A' / 'clip.mp4'}: skipped: video" in outcome.err.splitlines()
    (tmp_path / "data" / "B" / "0.png").write_bytes(b"broken")
    outcome = landmarks("batch", tmp_path / "data", "--out", tmp_path / "batch.png", "-q", *cached)
    assert outcome.status == 0, outcome.err
    assert [line.split(":")[0] for line in outcome.err.splitlines()] == [str(tmp_path / "data" / "B" / "0.png")]


# --- help, versions and what is missing ---


def test_help_comes_at_once():
    def seconds(code: str) -> float:
        times = []
        for _ in range(3):
            # Time of the processor, not of the wall: other work on the machine does not count.
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert python(code, "--help").status == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return sorted(times)[1]

    assert seconds(CALL) < max(0.3, 10 * seconds("pass"))


def test_help_names_every_command_and_loads_no_network():
    loaded = (
        "import atexit, sys; atexit.register(lambda: print({'torch', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    outcome = start("--help", before=loaded)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == "set()"
    assert all(f" {name} " in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    outcome = landmarks(command, "--help")
    assert outcome.status == 0
    assert f"landmarks {command}" in outcome.out


def test_version():
    assert landmarks("--version").out.strip() == __version__


def test_unknown_command_is_a_mistake_of_the_user():
    outcome = landmarks("trian")
    assert outcome.status == 2
    assert "trian" in outcome.err


@pytest.mark.parametrize("command", ["train", "batch"])
def test_training_without_pytorch_says_what_to_install(command, tmp_path):
    outcome = start(command, tmp_path, before="import sys; sys.modules['torch'] = None")
    assert outcome.status == 2
    assert outcome.err.strip() == (
        "landmarks: this needs torch, which is not installed: run pip install -e '.[train]' in the clone "
        "of landmarks (make install installs everything)"
    )


def test_every_package_of_an_extra_is_known_to_the_edge():
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    assert imported - CORE_PACKAGES - sys.stdlib_module_names <= set().union(*EXTRAS.values())


def test_a_missing_extra_names_packages_of_that_extra():
    extras = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for modules in EXTRAS.values():
        for module in modules:
            told = str(missing_extra(ModuleNotFoundError(name=module)))
            named = re.match(r"this needs (\S+), which is not installed: run pip install -e '\.\[(\w+)\]'", told)
            assert named, told
            assert named[1] in {re.split("[<>=]", one)[0] for one in extras[named[2]]}, told


def test_reader_of_a_pipe_may_go_away(scratch_model, photos):
    code = f"""
import subprocess, sys
words = [sys.executable, "-c", {CALL!r}, "predict", "--model", sys.argv[1], *[sys.argv[2]] * 40, "--jsonl"]
done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
done.stdout.close()
print(done.wait(), repr(done.stderr.read()))
"""
    outcome = python(code, scratch_model, photos / "a.jpg")
    assert outcome.out.strip() == "1 ''"
