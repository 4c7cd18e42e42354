"""The public API: light to import, complete, documented, and silent towards the world."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import python
from tiny_model import COLOURS, calibrated, make_model, save_colour

import landmarks

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "PIL", "onnxruntime", "torch", "rich", "typer", "pathlib", "json"}
OWN_FOLDERS = {".cache/landmarks", ".local/share/landmarks", ".config/landmarks"}


def test_the_import_loads_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys; before = set(sys.modules); import landmarks; import time\n"
        "print(' '.join(set(sys.modules) - before))\n"
        "del sys.modules['landmarks']; times = []\n"
        "for _ in range(5):\n"
        "    start = time.process_time(); import landmarks; times.append(time.process_time() - start)\n"
        "    del sys.modules['landmarks']\n"
        "print(min(times))"
    )
    loaded, seconds = python(code).out.splitlines()
    assert {name.partition(".")[0] for name in loaded.split()} & HEAVY <= {"pathlib", "json"}
    assert float(seconds) < 0.03


def test_every_public_name_is_there_and_no_other() -> None:
    for name in landmarks.__all__:
        assert getattr(landmarks, name) is not None
        assert name == "__version__" or getattr(landmarks, name).__doc__
    assert set(landmarks.__all__) == set(dir(landmarks))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = landmarks.nothing


def test_a_type_checker_finds_a_name_that_is_misspelt(tmp_path: Path) -> None:
    package = tmp_path / "landmarks"
    package.mkdir()
    for name in ("__init__.py", "errors.py", "py.typed"):  # all of it would take a minute
        shutil.copy(Path(landmarks.__file__).parent / name, package)
    (tmp_path / "consumer.py").write_text("import landmarks\nlandmarks.load_model()\nlandmarks.load_modle()\n")
    code = "import sys; from mypy.main import main; main(args=sys.argv[1:], clean_exit=True)"
    words = (
        "--strict",
        "--ignore-missing-imports",
        "--no-site-packages",
        "--config-file=",
        "--cache-dir=/dev/null",
    )
    done = python(f"import os; os.chdir({str(tmp_path)!r})\n{code}", *words, "consumer.py")
    assert 'consumer.py:3: error: Module has no attribute "load_modle"' in done.out, done.out + done.err
    assert "consumer.py:2" not in done.out


def test_every_error_class_is_public() -> None:
    from landmarks import errors

    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert classes <= set(landmarks.__all__)


def test_errors_come_whole_out_of_another_process() -> None:
    from landmarks.serving.errors import RequestError

    for error in (
        landmarks.ImageTooLargeError(Path("a.jpg"), "too large"),
        landmarks.MetadataError(Path("a.xmp"), "damaged"),
        landmarks.MissingExtraError("ray", "cluster"),
        RequestError("overloaded", "busy", retry_after=3),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_page_shows_every_public_name() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in landmarks.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)]
    assert missing in ([], ["Model"])


def test_a_missing_extra_is_told() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(torch=None, openvino=None, babel=None)\n"
        "import landmarks\n"
        "settings = landmarks.TagSettings\n"
        "from landmarks import *\n"
        "assert hasattr(landmarks, 'train')\n"
        "for use in (lambda: landmarks.train('.'),\n"
        "            lambda: landmarks.load_model(settings=settings(engine='openvino')),\n"
        "            lambda: landmarks.load_model(settings=settings(language='de'))):\n"
        "    try:\n        use()\n    except landmarks.MissingExtraError as error:\n        print(error)"
    )
    done = python(code)
    told = [
        f"this needs {package}, which is not installed: run pip install -e '.[{extra}]' "
        "in the clone of landmarks (make install installs everything)"
        for package, extra in (("torch", "train"), ("openvino", "openvino"), ("babel", "languages"))
    ]
    assert done.out.splitlines() == told, done.err


def test_a_folder_is_tagged(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated())
    for number, colour in enumerate(COLOURS.values()):
        save_colour(tmp_path / "photos" / f"{number}.png", colour)
    (tmp_path / "photos" / "note.txt").write_text("no photo")
    found = list(landmarks.tag(tmp_path / "photos", model, workers=1, exclude=["1.*"]))
    assert [one.path.name for one in found] == ["0.png", "2.png", "3.png", "4.png"]
    assert found[0].tags[0].name == "Eiffel Tower"
    assert list(landmarks.tag(tmp_path / "photos", model, processes=1, exclude=["1.*"])) == found
    with pytest.raises(landmarks.InputError, match="no such file"):
        landmarks.tag(tmp_path / "gone", model)


def test_a_folder_that_cannot_be_read_comes_last(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated())
    photo = save_colour(tmp_path / "photos" / "tower.png", COLOURS["07.Eiffel_Tower"])
    closed = tmp_path / "closed"
    (closed / ".landmarksignore").mkdir(parents=True)  # root may read every file
    found = list(landmarks.tag([closed, photo, photo.parent], model))
    assert [(one.path, bool(one.tags)) for one in found] == [(photo, True), (closed, False)]
    assert "cannot be read" in (found[1].error or "")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment as of somebody who has just installed the package."""
    (tmp_path / "home").mkdir()
    dropped = ("XDG_", "ORT_", "MLFLOW_", "RAY_", "HF_", "DO_NOT_TRACK", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "HOME": str(tmp_path / "home")}


def left_in(home: dict[str, str]) -> set[str]:
    root = Path(home["HOME"])
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def run(
    environment: dict[str, str], *words: object, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "landmarks", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("tag", "PHOTOS", "--model", "MODEL"),
        ("tag", "PHOTOS", "--model", "MODEL", "--write"),
        ("predict", "--model", "MODEL", "PHOTOS"),
        ("models",),
        ("index", "PHOTOS", "--model", "MODEL"),
    ],
    ids=" ".join,
)
def test_a_command_leaves_nothing_in_a_fresh_home(
    words: tuple[str, ...], home: dict[str, str], tmp_path: Path
) -> None:
    if words[0] == "index":
        pytest.importorskip("lancedb", reason="the extra search is not installed")
    places = {"MODEL": make_model(tmp_path / "colours", calibration=calibrated()), "PHOTOS": tmp_path / "photos"}
    save_colour(tmp_path / "photos" / "tower.png", COLOURS["07.Eiffel_Tower"])
    done = run(home, *(places.get(word, word) for word in words))
    assert done.returncode == 0, done.stderr
    assert {path for path in left_in(home) if not path.startswith(tuple(OWN_FOLDERS))} == set()


def test_libraries_are_told_not_to_call_home(home: dict[str, str]) -> None:
    code = "import os, landmarks as own; print(own.NO_TELEMETRY.items() <= os.environ.items())"
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    # Somebody's own choice stands.
    chosen = subprocess.run(
        [sys.executable, "-c", "import os, landmarks; print(os.environ['RAY_USAGE_STATS_ENABLED'])"],
        env={**home, "RAY_USAGE_STATS_ENABLED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert chosen.stdout == "1\n"


@pytest.mark.parametrize("library", ["ray", "huggingface_hub"])
def test_a_library_that_is_installed_has_understood(library: str, home: dict[str, str]) -> None:
    pytest.importorskip(library, reason="not installed")
    asked = {
        "ray": "from ray._common.usage import usage_lib as u; print(not u.usage_stats_enabled())",
        "huggingface_hub": "from huggingface_hub import constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)",
    }[library]
    done = subprocess.run(
        [sys.executable, "-c", f"import landmarks\n{asked}"], env=home, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("True"), done.stderr


def test_two_modules_import_onnx_runtime() -> None:
    importing = [
        path.relative_to(ROOT / "src").as_posix()
        for path in sorted((ROOT / "src").rglob("*.py"))
        if re.search(r"^\s*(import|from) onnxruntime\b", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    assert importing == ["landmarks/model/engines.py", "landmarks/training/export/quantization.py"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_run_opens_no_socket_and_looks_up_no_name(home: dict[str, str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(trace))
    if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("ptrace is forbidden here")
    model = make_model(tmp_path / "colours", calibration=calibrated())
    photo = save_colour(tmp_path / "tower.png", COLOURS["07.Eiffel_Tower"])
    done = run(home, "tag", photo, "--model", model, before=strace)
    assert done.returncode == 0, done.stderr
    assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []
