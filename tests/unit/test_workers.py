"""Many processes: the same answers in the same order, even if a process dies."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tiny_model import COLOURS, make_model, save_colour
from worker_jobs import start_deadly, start_echo, start_recognizer, start_slow, start_stillborn

from landmarks.errors import ModelError
from landmarks.model.recognizer import Recognition, Recognizer
from landmarks.tagging.workers import FEW, cores, prepare_workers, run_parallel

pytestmark = pytest.mark.timeout(180)


def failed(photo: Path, reason: str) -> str:
    return f"{photo.name}: {reason}"


def recognize(model: Path, photos: list[Path]) -> list[Recognition]:
    found = run_parallel(
        partial(start_recognizer, model), photos, lambda photo, reason: Recognition(photo, (), reason), workers=2
    )
    return list(found)


def names(count: int) -> list[Path]:
    return [Path(f"{number:03d}") for number in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "colours")


def test_processes_give_what_one_gives_in_the_same_order(model: Path, tmp_path: Path) -> None:
    shades = list(COLOURS.values())
    photos = [save_colour(tmp_path / f"{n:02d}.png", shades[n % len(shades)]) for n in range(FEW + 14)]
    photos[9].write_text("no picture")
    alone = list(Recognizer(model).recognize(photos))
    assert recognize(model, photos) == alone
    assert [one.path for one in alone] == photos
    assert sum(one.error is not None for one in alone) == 1


@pytest.mark.parametrize("count", [0, 1, FEW])
def test_few_photos_start_no_process(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("landmarks.tagging.workers._Workers", None)
    photos = [save_colour(tmp_path / f"{n:02d}.png", COLOURS["31.Stonehenge"]) for n in range(count)]
    assert len(recognize(model, photos)) == count


def test_a_process_that_may_start_none_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(multiprocessing.current_process())["_config"], "daemon", True)  # as in a pool
    assert list(run_parallel(start_echo, names(60), failed, workers=2)) == [photo.name for photo in names(60)]


def test_no_photo_loads_no_model(tmp_path: Path) -> None:
    assert recognize(tmp_path / "nowhere", []) == []


def test_a_damaged_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model folder"):
        recognize(tmp_path, names(100))


def test_photos_are_asked_for_as_they_are_needed() -> None:
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield Path(str(asked))

    results = run_parallel(start_echo, endless(), failed, workers=2)
    for done in range(1, 200):
        assert next(results) == str(done)
        assert asked - done < 80
    results.close()


def test_a_photo_that_kills_its_process_is_reported_and_the_others_are_done() -> None:
    photos = names(60)
    photos[30] = Path("deadly")
    found = list(run_parallel(start_deadly, photos, failed, workers=2))
    died = "deadly: the process that recognised it died: is there enough memory?"
    assert found == [died if photo.name == "deadly" else photo.name for photo in photos]


def test_a_process_that_is_killed_by_others_loses_nothing(tmp_path: Path) -> None:
    photos = names(60)
    photos[25] = tmp_path / "once"
    found = list(run_parallel(start_deadly, photos, failed, workers=2))
    assert found == [photo.name for photo in photos]


def test_processes_that_cannot_live_end_the_run() -> None:
    with pytest.raises(ModelError, match="die before any answer"):
        list(run_parallel(start_stillborn, names(60), failed, workers=1 + 1))


def test_processes_end_with_the_one_that_started_them() -> None:
    code = (
        "from pathlib import Path\n"
        "from landmarks.tagging.workers import run_parallel\n"
        "from worker_jobs import start_slow\n"
        "list(run_parallel(start_slow, [Path('a')] * 40, lambda *_: '', workers=2))\n"
    )
    folder = Path(start_slow.__code__.co_filename).parent
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        children = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
    deadline = time.monotonic() + 30
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "the processes outlive the one that started them"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    status = Path("/proc", str(process), "stat")
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_prepared_workers_give_the_same(model: Path, tmp_path: Path) -> None:
    prepare_workers("landmarks.model.recognizer", "a_module_that_is_nowhere")
    photos = [save_colour(tmp_path / f"{n:02d}.png", COLOURS["31.Stonehenge"]) for n in range(FEW + 1)]
    assert recognize(model, photos) == list(Recognizer(model).recognize(photos))


def test_there_is_a_core() -> None:
    assert cores() >= 1
