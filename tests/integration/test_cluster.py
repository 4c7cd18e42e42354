"""`landmarks cluster` on a Ray of two cores, one of whose workers is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from traceback import format_exception
from types import SimpleNamespace

import pytest
from commands import landmarks
from tiny_model import COLOURS, calibrated, make_model, save_colour

pytest.importorskip("ray", reason="needs the extra cluster")

import pyarrow.parquet as pq
from ray.exceptions import ActorDiedError, RayTaskError

from landmarks.cluster import job
from landmarks.cluster.part import PartTagger, part_name
from landmarks.cluster.plan import Plan, Work, begin_or_continue
from landmarks.errors import ModelError
from landmarks.model.folder import ONNX_FILE, find_model

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc"),
    # Not imported here: it takes seconds, in each process that collects the tests.
    pytest.mark.skipif(find_spec("lancedb") is None, reason="needs the extra search"),
]

PHOTOS, PART = 30, 5


def workers_below(parent: int) -> list[int]:
    """The processes of Ray that tag, started by a process or by one that it started."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if words.startswith(b"ray::PartTagger"):
            workers.append(int(folder.name))

    def is_ours(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return [worker for worker in workers if is_ours(worker)]


def test_a_job_goes_on_where_it_stopped_and_outlives_its_workers(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated())
    photos, out = tmp_path / "photos", tmp_path / "out"
    # Large, so that there is time to kill a worker; of one colour, so that they are small on the disk.
    large = save_colour(tmp_path / "large.png", COLOURS["07.Eiffel_Tower"], size=(3000, 2000)).read_bytes()
    photos.mkdir()
    for number in range(PHOTOS - 1):
        (photos / f"{number:03d}.png").write_bytes(large)
    (photos / "damaged.png").write_bytes(large[:2000])
    plan = Plan(str(photos), str(out), str(find_model(str(model))), part_size=PART, embeddings=True)
    work = begin_or_continue(plan)
    assert PartTagger(plan).work(0) == (PART, 0)
    before = (out / part_name(0)).stat()

    words = [sys.executable, "-m", "landmarks", "cluster", photos, out, "--model", model, "--workers", 2]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        [*map(str, words), "--part-size", str(PART), "--embeddings", "--format", "lance"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        while not (killed := workers_below(process.pid) if len(list(out.glob("part-*"))) > 1 else []):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        assert len(list(out.glob("part-*"))) < work.parts, "the job was done before a worker could be killed"
        os.kill(killed[0], signal.SIGKILL)
        said, err = process.communicate()
    assert process.returncode == 2, err
    assert f"{PHOTOS} photos in {out}, 1 of them unreadable; {PHOTOS - PART} tagged now" in said
    assert "Traceback" not in err

    rows = [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [Path(row["path"]).name for row in rows] == sorted(path.name for path in photos.iterdir())
    assert [row["path"] for row in rows if row["error"]] == [str(photos / "damaged.png")]
    assert (out / part_name(0)).stat().st_mtime_ns == before.st_mtime_ns
    again = landmarks(*words[3:], "--part-size", PART, "--embeddings")
    assert (again.status, again.out) == (2, f"{PHOTOS} photos in {out}, 1 of them unreadable; 0 tagged now\n")
    import lancedb

    assert lancedb.connect(str(out)).open_table("tagged").to_arrow().to_pylist() == rows


class Died:
    """Ray with processes that die as they start, of what their class raises in this one."""

    init = shutdown = staticmethod(lambda **_: None)
    cluster_resources = staticmethod(lambda: {"CPU": 2})

    @staticmethod
    def remote(**_: object) -> Callable[[type], SimpleNamespace]:
        def start(kind: type, *arguments: object) -> SimpleNamespace:
            with pytest.raises(ModelError) as raised:
                kind(*arguments)
            trace = "".join(format_exception(raised.value))
            task = RayTaskError("__init__", trace, raised.value, "ray::PartTagger", 1, "127.0.0.1")
            return SimpleNamespace(__ray_ready__=SimpleNamespace(remote=lambda: ActorDiedError(task)))

        return lambda kind: SimpleNamespace(remote=partial(start, kind))

    @staticmethod
    def wait(coming: list[Exception]) -> tuple[list[Exception], list[Exception]]:
        return coming[:1], coming[1:]

    @staticmethod
    def get(ready: Exception) -> None:
        raise ready


def test_a_model_that_no_process_can_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated())
    for number in range(2):
        save_colour(tmp_path / "photos" / f"{number}.png", COLOURS["07.Eiffel_Tower"])
    monkeypatch.setattr(job, "ray", Died)
    monkeypatch.setattr(job, "begin_or_continue", partial(begin_without, model / ONNX_FILE))
    plan = Plan(str(tmp_path / "photos"), str(tmp_path / "out"), str(find_model(str(model))), part_size=1)
    with pytest.raises(ModelError, match=r"no process of the cluster can load it \(.*model\.onnx"):
        job.run_job(plan)


def begin_without(file: Path, plan: Plan, *_: object) -> Work:
    """Begin where a file of the model is, for processes where it is not."""
    work = begin_or_continue(plan)
    file.unlink()
    return work
