"""`landmarks serve` as a process of its own: load beyond its room, killed workers, shutdown, and fuzzing."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from commands import CALL, landmarks, python
from PIL import Image
from serving import Running, serving
from tiny_model import COLOURS, make_model, save_colour
from waiting import until

SEARCHED = 10
"""Cases that schemathesis makes for each operation."""


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Running]:
    with serving("--model", model, "--workers", 2, "--queue", 32) as running:
        yield running


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_colour(tmp_path_factory.mktemp("photos") / "tower.png", COLOURS["07.Eiffel_Tower"]).read_bytes()


def tag(address: str, picture: bytes) -> httpx.Response:
    return httpx.post(f"{address}/v1/tags", files={"photos": ("tower.png", picture)}, timeout=60)


def test_a_photo_is_tagged(service: Running, tower: bytes) -> None:
    assert tag(service.address, tower).json()["photos"][0]["tags"][0]["name"] == "Eiffel Tower"
    assert httpx.get(f"{service.address}/readyz").json() == {"status": "ok"}


def test_the_bundled_model_answers_like_the_command(shared_data: Path) -> None:
    photos = sorted(shared_data.glob("world34/test/*/*"))[::60]
    told = [json.loads(line) for line in landmarks("tag", *photos, "--jsonl").out.splitlines()]
    with serving("--workers", 1) as running:
        files = [("photos", (photo.name, photo.read_bytes())) for photo in photos]
        body = httpx.post(f"{running.address}/v1/tags", files=files, timeout=60).json()
    assert [photo["tags"] for photo in body["photos"]] == [row["tags"] for row in told]


def test_the_service_listens_on_loopback_alone_and_loads_no_torch(service: Running) -> None:
    assert service.address.startswith("http://127.0.0.1:")
    for pid in (service.process.pid, *service.workers()):
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text()


def test_requests_beyond_the_room_get_429_and_none_is_lost(service: Running, tower: bytes) -> None:
    for pid in service.workers():
        os.kill(pid, signal.SIGSTOP)  # nothing moves, so the room fills up
    with ThreadPoolExecutor(48) as clients:
        asked = [clients.submit(tag, service.address, tower) for _ in range(48)]
        until(lambda: sum(one.done() for one in asked) == 24)
        for pid in service.workers():
            os.kill(pid, signal.SIGCONT)
        answers = [one.result() for one in asked]
    # One client has at most three quarters of the 32 places.
    assert Counter(answer.status_code for answer in answers) == {200: 24, 429: 24}
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            assert answer.json()["error"]["code"] == "overloaded"


def test_killed_workers_cost_no_request(service: Running, tower: bytes) -> None:
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            statuses[tag(service.address, tower).status_code] += 1

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        time.sleep(0.5)
        for _ in range(2):
            os.kill(service.workers()[0], signal.SIGKILL)
            time.sleep(1)
        done.set()
        for one in asking:
            one.result()
    assert set(statuses) == {200}
    until(lambda: "landmarks_workers_ready 2.0" in httpx.get(f"{service.address}/metrics").text)


def half_sent(service: Running, picture: bytes) -> socket.socket:
    """A connection on which a request was begun."""
    host, _, port = service.address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=100)
    head = f"POST /v1/tags HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"
    connection.sendall(head.encode() + picture[:20])
    return connection


def test_a_connection_that_breaks_off_frees_its_place(service: Running, tower: bytes) -> None:
    for _ in range(40):
        half_sent(service, tower).close()
    until(lambda: "landmarks_pictures_inside 0.0" in httpx.get(f"{service.address}/metrics").text)
    assert tag(service.address, tower).status_code == 200


@pytest.mark.usefixtures("hang_up_counts")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_was_taken_is_finished_before_the_end(
    model: Path, tower: bytes, ending: signal.Signals, tmp_path: Path
) -> None:
    temporary = {"TMPDIR": str(tmp_path)}
    with (
        serving("--model", model, "--workers", 1, environment=temporary) as running,
        ThreadPoolExecutor(8) as clients,
    ):
        assert list(tmp_path.iterdir())  # the copy of the model
        workers = running.workers()
        os.kill(workers[0], signal.SIGSTOP)
        asked = [clients.submit(tag, running.address, tower) for _ in range(8)]
        until(lambda: "landmarks_pictures_inside 8.0" in httpx.get(f"{running.address}/metrics").text)
        running.process.send_signal(ending)
        time.sleep(0.3)
        os.kill(workers[0], signal.SIGCONT)
        assert {one.result().status_code for one in asked} == {200}
        assert running.process.wait(100) == 0
        assert not list(tmp_path.iterdir())
        with pytest.raises(ProcessLookupError):
            os.kill(workers[0], 0)


@pytest.mark.usefixtures("hang_up_counts")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_that_is_stopped_while_it_starts_ends_well(
    model: Path, ending: signal.Signals, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "key")  # reading it takes until somebody writes
    flags = ["serve", "--port", "0", "--model", str(model), "--api-key-file", str(tmp_path / "key")]
    process = subprocess.Popen([sys.executable, "-c", CALL, *flags], stderr=subprocess.PIPE, text=True)

    hold = os.open(tmp_path / "key", os.O_RDWR)
    until(lambda: Path(f"/proc/{process.pid}/fd").is_dir() and str(tmp_path / "key") in _open_files(process.pid))
    process.send_signal(ending)
    assert (process.wait(100), process.communicate()[1]) == (0, "")
    os.close(hold)


def _open_files(pid: int) -> set[str]:
    files = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            files.add(str(file.readlink()))
    return files


def test_workers_end_when_the_service_is_killed(model: Path) -> None:
    with serving("--model", model, "--workers", 2) as running:
        workers = running.workers()
        running.process.kill()
        running.process.wait()
        for pid in workers:
            until(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists() or not _words(pid))


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for one that has ended and is not yet buried
    except OSError:
        return b""


def _damaged_fax() -> bytes:
    """Return a TIFF on which libtiff writes a line of its own for nearly each row."""
    content = io.BytesIO()
    noise = Image.effect_noise((300, 400), 80).convert("1")
    noise.save(content, "TIFF", compression="group3", strip_size=2**20)
    spoilt = bytearray(content.getvalue())
    with Image.open(io.BytesIO(spoilt)) as image:
        start, size = image.tag_v2[273][0], image.tag_v2[279][0]
    spoilt[start : start + size : 3] = bytes(len(range(0, size, 3)))
    return bytes(spoilt)


def test_the_log_has_one_object_a_line_and_no_picture(service: Running, tower: bytes) -> None:
    sent = {"X-Request-ID": "trip-42"}
    httpx.post(
        f"{service.address}/v1/tags", files={"photos": ("secret name.png", tower)}, headers=sent, timeout=60
    )
    httpx.post(f"{service.address}/v1/tags", content=_damaged_fax(), headers={"Content-Type": "image/tiff"})
    until(lambda: "trip-42" in service.log.read_text() and "standard error" in service.log.read_text())
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (row,) = [line for line in lines if line.get("request_id") == "trip-42"]
    assert (row["route"], row["status"], row["method"]) == ("/v1/tags", 200, "POST")
    assert "secret name" not in service.log.read_text()


def test_an_address_in_use_is_told_in_one_sentence(service: Running, model: Path) -> None:
    port = service.address.rpartition(":")[2]
    outcome = python(
        "import sys; from landmarks.cli import main; sys.exit(main(sys.argv[1:]))",
        "serve",
        "--model",
        model,
        "--port",
        port,
    )
    assert outcome.status == 2
    assert "127.0.0.1" in outcome.complaint
    assert f"{port}: address already in use" in outcome.complaint


def test_a_model_that_no_worker_can_load_is_told_by_its_own_name(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours")
    info = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**info, "classes": info["classes"][1:]}))
    served = [sys.executable, "-m", "landmarks", "serve", "--model", model, "--workers", "1", "--port", "0"]
    done = subprocess.run(served, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"landmarks: {model}/model.onnx: the network does not have")


def test_wrong_settings_are_told_in_one_sentence(tmp_path: Path) -> None:
    assert "queue" in landmarks("serve", "--queue", 5).complaint
    assert "'--host': the text is empty" in landmarks("serve", "--host", "").complaint
    assert "no such model" in landmarks("serve", "--model", tmp_path / "none").complaint
    assert "--api-key-file" in landmarks("serve", "--api-key-file", tmp_path / "none").complaint


def test_the_key_comes_from_a_file_or_the_environment(model: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file-0123456789\n")
    with serving("--model", model, "--workers", 1, "--api-key-file", tmp_path / "key") as running:
        assert httpx.get(f"{running.address}/v1/models").status_code == 401
        bearer = {"Authorization": "Bearer from-a-file-0123456789"}
        assert httpx.get(f"{running.address}/v1/models", headers=bearer).status_code == 200
    environment = {"LANDMARKS_API_KEY": "from-the-environment-01"}
    with serving("--model", model, "--workers", 1, environment=environment) as running:
        assert httpx.get(f"{running.address}/v1/models").status_code == 401


def test_fuzzing_finds_no_failure_and_no_answer_that_openapi_does_not_tell(
    service: Running, tmp_path: Path
) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    if not tool.exists():
        pytest.skip("schemathesis is not installed")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        tool,
        "run",
        f"{service.address}/openapi.json",
        "--checks",
        checks,
        "--phases",
        "examples,coverage,fuzzing",
    ]
    command += ["--max-examples", str(SEARCHED), "--seed", "1", "--no-color", "--request-timeout", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_an_index_answers_with_look_alikes(model: Path, tmp_path: Path, tower: bytes) -> None:
    pytest.importorskip("lancedb", reason="the extra search is not installed")
    for name in COLOURS:
        save_colour(tmp_path / "photos" / f"{name}.png", COLOURS[name])
    made = landmarks("index", tmp_path / "photos", "--model", model, "--index", tmp_path / "index")
    assert made.status == 0, made.err
    with serving("--model", model, "--workers", 1, "--index", tmp_path / "index") as running:
        files = {"photo": ("tower.png", tower)}
        answer = httpx.post(f"{running.address}/v1/search", files=files, params={"limit": 2}, timeout=60)
        (worker,) = running.workers()
        os.kill(worker, signal.SIGKILL)  # the next one is started beside the threads of LanceDB
        until(lambda: worker not in running.workers())
        until(lambda: httpx.get(f"{running.address}/readyz").status_code == 200)
        assert all(line.startswith("{") for line in running.log.read_text().splitlines())
        (tmp_path / "index").rename(tmp_path / "moved")
        gone = httpx.post(f"{running.address}/v1/search", files=files, timeout=60)
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "unavailable")
    assert answer.status_code == 200, answer.text
    neighbours = answer.json()["neighbours"]
    assert neighbours[0]["name"] == "07.Eiffel_Tower.png"
    assert neighbours[0]["class_name"] == "07.Eiffel_Tower"
    assert len(neighbours) == 2
