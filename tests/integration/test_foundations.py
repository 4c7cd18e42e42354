"""The ground the project stands on: a core without PyTorch, a true map, a Makefile that explains itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import landmarks

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "src" / "landmarks"
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "matplotlib", "sklearn", "onnx")


def core_modules() -> list[str]:
    """The dotted name of every module outside `landmarks.training`."""
    files = sorted(path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = [".".join(file.parts).removesuffix(".__init__") for file in files if file.name != "__main__"]
    return [name for name in names if not name.startswith(("landmarks.training", "landmarks.model.importing"))]


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


# --- the core install ---


def test_core_and_command_line_import_without_the_training_packages():
    names = core_modules()
    assert {"landmarks", "landmarks.errors", "landmarks.model.recognizer"} <= set(names)
    code = f"""
import importlib, sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # makes `import name` an ImportError
for name in {names!r}:
    importlib.import_module(name)
loaded = [name for name in sys.modules if name.startswith("landmarks.training.")]
# The settings, plain dataclasses, are what the command line is made from.
print(sorted(name for name in loaded if not name.startswith("landmarks.training.config")))
"""
    assert run_python(code).strip() == "[]"


@pytest.mark.skipif(not (PACKAGE / "cli" / "__init__.py").exists(), reason="there is no command line yet")
def test_command_line_loads_no_work_before_a_command_runs():
    code = f"""
import sys
import landmarks.cli
print(sorted(set(sys.modules) & {{"onnxruntime", "numpy", "PIL", *{HEAVY!r}}}))
"""
    assert run_python(code).strip() == "[]"


def test_core_dependencies_hold_nothing_heavy():
    core = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in core}
    assert not names & {*HEAVY, "lightning-fabric", "scikit-learn", "scipy", "tensorboard"}


def test_version_is_that_of_pyproject():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert landmarks.__version__ == project["version"]


# --- the rooms ---


def rooms() -> dict[Path, list[Path]]:
    """The modules of each folder of the package, without `__init__.py` and `__main__.py`."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.name.startswith("__"):
            found.setdefault(path.parent.relative_to(PACKAGE), []).append(path)
    return found


def test_rooms_are_few_and_small():
    top = [path for path in PACKAGE.iterdir() if not path.name.startswith("__") and path.name != "py.typed"]
    assert len(top) <= 14
    crowded = {str(room): len(modules) for room, modules in rooms().items() if len(modules) > 12}
    crowded.pop("cli", None)  # one file per command
    assert crowded == {}


def test_architecture_page_names_every_room():
    page = (PROJECT / "docs/architecture.md").read_text()
    names = {part for room in rooms() for part in room.parts}
    assert [name for name in sorted(names) if name not in page] == []


def test_architecture_page_points_to_files_that_exist():
    page = (PROJECT / "docs/architecture.md").read_text()
    pointed = re.findall(r"`([a-z_]+/[\w/]+\.(?:py|csv))`", page)
    assert pointed
    assert [path for path in pointed if not (PACKAGE / path).exists()] == []


# --- the Makefile ---


@pytest.fixture
def make(tmp_path: Path):
    """Runs make in a folder with the Makefile and pyproject.toml alone, so that no test can touch the project."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    # Settings of a surrounding `make test` must not reach the inner make.
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PHOTOS", "DATA", "OUT", "ARGS", "photos", "data", "out"}
    environment = {key: value for key, value in os.environ.items() if key not in inherited}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Makes make believe that everything is installed, with a `landmarks` that prints what it is given."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "landmarks"):
        (folder / name).write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
        (folder / name).chmod(0o755)
    for name in (".core-installed", ".full-installed"):
        (tmp_path / ".venv" / name).touch()
        os.utime(tmp_path / ".venv" / name, (2**31, 2**31))
    return tmp_path


def test_make_alone_lists_the_targets(make, tmp_path):
    result = make()
    assert result.returncode == 0
    text = (PROJECT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    told = set(re.findall(r"^make (\w+)", result.stdout, re.MULTILINE))
    assert told == set(targets) - {"help", "photos-given", "runs-free"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tag"], "make tag: say which photos: make tag PHOTOS=<photo or folder>"),
        (["tag", "PHOTOS="], "make tag: say which photos: make tag PHOTOS=<photo or folder>"),
        (["tag", "PHOTOS=no where.jpg"], "make tag: no where.jpg: no such file or folder: check the spelling"),
        (
            ["tag", "PHOTOS=Makefile", "PYTHON=no-such-python"],
            "make: no-such-python is missing or older than 3.11: install Python 3.11 or newer, "
            "or name one: make ... PYTHON=python3.12",
        ),
    ],
)
def test_make_says_in_one_sentence_what_is_wrong(make, tmp_path, arguments, sentence):
    result = make(*arguments)
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == sentence
    assert len(result.stderr.splitlines()) == 2  # the second is make's own
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["a photo.jpg", "it's $HOME.jpg", 'a "quoted" folder', "-n", "çé 🗼"])
def test_make_tag_passes_any_name_on(make, installed, name):
    (installed / name).touch()
    result = make("tag", f"PHOTOS={name}")
    assert result.stdout == f"[tag][--model][world][--][{name}]", result.stderr


def test_make_tag_opens_the_home_folder(make, installed, monkeypatch):
    result = make("tag", "PHOTOS=~/", "HOME=" + str(installed))
    assert result.stdout == f"[tag][--model][world][--][{installed}/]", result.stderr


def test_make_train_keeps_an_earlier_run(make, installed):
    (installed / "my runs" / "transfer").mkdir(parents=True)
    result = make("train", "OUT=my runs")
    assert result.returncode == 2
    sentence = "make train: my runs/transfer: this run exists: remove it or choose OUT=<another folder>"
    assert result.stderr.splitlines()[0] == sentence
    assert result.stdout == ""


# --- what is written ---


def written_files() -> list[Path]:
    """Every file that belongs to the project, in git or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    paths = [PROJECT / os.fsdecode(name) for name in listed.split(b"\0") if name]
    # In .gitignore a leading slash means the project itself.
    return [path for path in paths if path.is_file() and path.name != ".gitignore"]


# Written in pieces, so that this file does not find itself.
PLACES = re.compile(rb"(?<![\w.~}*])/(?:[w]ork|[r]oot|[h]ome|[U]sers)\b")


def test_no_file_speaks_of_the_machine_it_was_written_on():
    files = written_files()
    assert PROJECT / "pyproject.toml" in files
    found = []
    for path in files:
        content = path.read_bytes()
        hits = {hit[0].decode() for hit in PLACES.finditer(content)}
        found += [f"{path.relative_to(PROJECT)}: {hit}" for hit in sorted(hits)]
    assert found == []
