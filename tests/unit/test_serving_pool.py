"""Supervised worker processes: what happens when they die, hang or cannot start."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from PIL import Image
from tiny_model import COLOURS, calibrated, make_model
from waiting import until_in_loop

from landmarks.errors import ModelError
from landmarks.imaging.decoding import ImageLimits
from landmarks.model.folder import ONNX_FILE
from landmarks.serving.pool.pool import Pool, PoolClosedError, TooSlowError, WorkerLostError
from landmarks.serving.pool.worker import Answerer, WorkerSettings
from landmarks.tagging.settings import TagSettings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> WorkerSettings:
    model = make_model(tmp_path_factory.mktemp("models") / "colours", calibration=calibrated())
    return WorkerSettings(model, TagSettings(), ImageLimits())


@pytest.fixture(scope="module")
def tower() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 40), COLOURS["07.Eiffel_Tower"]).save(content, "PNG")
    return content.getvalue()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_many_pictures_are_answered_by_several_workers(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        pool = Pool(settings, count=2, decode_seconds=10)
        await pool.open()
        assert pool.ready == len(pool.pids) == 2
        replies = await asyncio.gather(*(pool.answer(tower, ["embedding"]) for _ in range(40)))
        assert {reply["tags"][0]["name"] for reply in replies} == {"Eiffel Tower"}
        assert all("embedding" in reply for reply in replies)
        await pool.close()
        with pytest.raises(PoolClosedError):
            await pool.answer(tower)

    run(work())


def test_a_picture_whose_worker_is_killed_goes_to_another(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        reasons: list[str] = []
        pool = Pool(settings, count=1, decode_seconds=30, replaced=reasons.append)
        await pool.open()
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)  # so that it is surely at work when it is killed
        first, *others = [
            asyncio.create_task(pool.answer(tower, ["embedding"] if place == 0 else [])) for place in range(3)
        ]
        await until_in_loop(lambda: pool.waiting == 2)
        os.kill(pid, signal.SIGKILL)
        assert "embedding" in await first
        assert not any(other.done() for other in others), "it had waited for longest"
        assert [reply["known"] for reply in await asyncio.gather(*others)] == [True, True]
        assert reasons == ["the process died"]
        assert pool.pids != (pid,)
        await pool.close()

    run(work())


def start_as_worker(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pool start a program where it would start a worker."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{program}")
    script.chmod(0o755)
    monkeypatch.setattr("landmarks.serving.pool.pool.sys.executable", str(script))


DEADLY = """
import io, os, time
from landmarks.serving.pool import protocol as frames
source = io.FileIO(0, closefd=False)
while (frame := frames.read(source)) is not None:
    if frame[1] == b"deadly":
        os._exit(1)
    if frame[1] == b"slow":
        time.sleep(0.03)
    os.write(1, b"".join(frames.pack({"tags": []})))
"""


def test_a_picture_that_two_workers_die_on_fails_alone(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_as_worker(DEADLY, tmp_path, monkeypatch)

    async def work() -> None:
        reasons: list[str] = []
        pool = Pool(settings, count=1, decode_seconds=30, replaced=reasons.append)
        await pool.open()
        asked = [pool.answer(content) for content in (b"harmless", b"deadly", b"harmless")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [dict, WorkerLostError, dict]
        assert reasons == ["the process died"] * 2
        await pool.close()

    run(work())


def test_a_client_pays_for_the_workers_that_its_pictures_end(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_as_worker(DEADLY, tmp_path, monkeypatch)

    async def work() -> None:
        deaths: list[str] = []
        pool = Pool(settings, count=1, decode_seconds=30, replaced=deaths.append)
        await pool.open()
        ending = [asyncio.create_task(pool.answer(b"deadly", client="a")) for _ in range(5)]
        await asyncio.gather(*(pool.answer(b"slow", client="b") for _ in range(3)))
        assert len(deaths) <= 3
        await pool.close()
        await asyncio.gather(*ending, return_exceptions=True)

    run(work())


DIES_ONCE = """
import io, os, pathlib
from landmarks.serving.pool import protocol as frames
source = io.FileIO(0, closefd=False)
while (frame := frames.read(source)) is not None:
    if frame[1] and not (marker := pathlib.Path(MARKER)).exists():
        marker.touch()
        if os.fork() == 0:
            os.execlp("sleep", "sleep", "1")
        os._exit(1)
    os.write(1, b"".join(frames.pack({"tags": []})))
"""


def test_a_worker_whose_death_is_known_before_its_pipe_ends_costs_no_picture(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A child of it keeps the pipe open.
    start_as_worker(f"MARKER = {str(tmp_path / 'died')!r}\n{DIES_ONCE}", tmp_path, monkeypatch)

    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=30)
        await pool.open()
        assert await pool.answer(b"picture") == {"tags": []}
        await pool.close()
        await asyncio.sleep(1.5)  # until the pipe ends too

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in the service
        runner.run(work())


TALKATIVE = """
import io, os
from landmarks.serving.pool import protocol as frames
source = io.FileIO(0, closefd=False)
while (frame := frames.read(source)) is not None:
    if frame[1] == b"deadly":
        os.write(2, b"the last words")
        os._exit(1)
    os.write(2, b"a damaged line\\n" * (50_000 if frame[1] else 0))
    os.write(1, b"".join(frames.pack({"tags": []})))
"""


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_workers_write_fills_no_log_and_last_words_are_in_it(
    settings: WorkerSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    start_as_worker(TALKATIVE, tmp_path, monkeypatch)

    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=30)
        await pool.open()
        for _ in range(3):
            assert await pool.answer(b"noisy") == {"tags": []}
        with pytest.raises(WorkerLostError):
            await pool.answer(b"deadly")
        await pool.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())
    events = [vars(record) for record in caplog.records if "standard error" in record.message]
    assert len(events) < 10
    assert max(len(event["output"]) for event in events) <= 2000
    assert sum(len(event["output"]) + event["bytes_left_out"] for event in events) == 3 * 750_000 + 2 * 14
    assert sum(event["output"].endswith("the last words") for event in events) == 2


def test_a_worker_that_dies_idle_costs_no_picture(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=30)
        await pool.open()
        os.kill(pool.pids[0], signal.SIGKILL)
        await until_in_loop(lambda: pool.ready == 0)
        assert (await pool.answer(tower))["known"] is True
        await pool.close()

    run(work())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_pipe_that_closes_as_a_picture_comes_ends_no_supervision(
    settings: WorkerSettings, tower: bytes, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=10)
        await pool.open()
        (process,) = pool._processes  # it dies between two steps of the loop, which no signal can time
        process.stdin.close()
        assert (await asyncio.wait_for(pool.answer(tower), 100))["known"] is True
        assert pool.pids != (process.pid,)
        await pool.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def test_a_picture_that_takes_too_long_is_given_up(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=0.4)
        await pool.open()
        os.kill(pool.pids[0], signal.SIGSTOP)
        with pytest.raises(TooSlowError, match="took longer"):
            await pool.answer(tower)
        # On a busy machine the first tries of a new worker may be too slow as well.
        for _ in range(20):
            try:
                reply = await pool.answer(tower)
                break
            except TooSlowError:
                continue
        assert reply["known"] is True
        await pool.close()

    run(work())


def test_a_caller_that_gives_up_takes_its_picture_out_of_the_line(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=30)
        await pool.open()
        os.kill(pool.pids[0], signal.SIGSTOP)
        first, second, third = (asyncio.create_task(pool.answer(tower)) for _ in range(3))
        await until_in_loop(lambda: pool.waiting == 2)
        second.cancel()
        os.kill(pool.pids[0], signal.SIGCONT)
        assert (await first)["known"] is True
        assert (await third)["known"] is True
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.waiting == 0
        await pool.close()

    run(work())


def test_a_worker_stops_at_a_picture_that_nobody_waits_for(settings: WorkerSettings, tower: bytes) -> None:
    assert Answerer(settings).answer(tower, left=lambda: True) == {"left": True}

    async def work() -> None:
        pool = Pool(settings, count=1, decode_seconds=30)
        await pool.open()
        os.kill(pool.pids[0], signal.SIGSTOP)
        left = asyncio.create_task(pool.answer(tower, ["embedding"]))
        await asyncio.sleep(0.1)  # the worker has it
        left.cancel()
        os.kill(pool.pids[0], signal.SIGCONT)
        for _ in range(3):  # the next answers are those of the next pictures
            assert "embedding" not in await pool.answer(tower)
        await pool.close()

    run(work())


def test_a_preview_that_costs_too_much_is_left_out(settings: WorkerSettings) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8000, 250), COLOURS["07.Eiffel_Tower"]).save(content, "JPEG")
    limited = Answerer(replace(settings, limits=ImageLimits(max_decoded_pixels=500_000)))
    answer = limited.answer(content.getvalue(), ["preview"])
    assert answer["tags"]
    assert "preview" not in answer


def test_closing_leaves_no_process(settings: WorkerSettings, tower: bytes) -> None:
    async def work() -> None:
        pool = Pool(settings, count=2, decode_seconds=30)
        await pool.open()
        pids = pool.pids
        await pool.close()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(work())


def test_a_model_that_cannot_be_loaded_is_told_in_one_sentence(tmp_path: Path) -> None:
    model = make_model(tmp_path / "broken")
    (model / ONNX_FILE).write_bytes(b"no network")

    async def work() -> None:
        pool = Pool(WorkerSettings(model, TagSettings(), ImageLimits()), count=2, decode_seconds=30)
        with pytest.raises(ModelError, match="not the one that was exported"):
            await pool.open()
        assert pool.pids == ()

    run(work())


def test_a_worker_does_not_answer_for_another_version(settings: WorkerSettings) -> None:
    with pytest.raises(ModelError, match="another version"):
        Answerer(replace(settings, version="colours-before"))


def test_settings_survive_the_pipe(tmp_path: Path) -> None:
    settings = WorkerSettings(
        tmp_path,
        TagSettings(top=3, min_confidence=0.7, use_position=False, own_places=tmp_path / "own.csv"),
        ImageLimits(5, 6),
        "colours-1",
    )
    assert WorkerSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "was killed: is there enough memory"),
        ("import time; time.sleep(60)", "had not loaded it after 0.5 seconds"),
        (None, "no process can be started to load it .no such file or directory"),
    ],
)
def test_why_a_worker_does_not_start_is_told(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str | None, reason: str
) -> None:
    monkeypatch.setattr("landmarks.serving.pool.pool.START_SECONDS", 0.5 if "sleep" in str(program) else 30.0)
    script = tmp_path / "python"
    if program is not None:
        script.write_text(f"#!{sys.executable}\n{program}\n")
        script.chmod(0o755)
    monkeypatch.setattr("landmarks.serving.pool.pool.sys.executable", str(script))

    async def work() -> None:
        with pytest.raises(ModelError, match=reason):
            await Pool(settings, count=1, decode_seconds=30).open()

    run(work())
