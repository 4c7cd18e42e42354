"""Batch jobs: many images in one request, results that are kept for a while, and a restart in between."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import struct
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema
import pytest
from hostile_inputs import zip_of
from starlette.testclient import TestClient
from stub_pool import StubPool, use_stub
from tiny_model import make_model

from landmarks.errors import SettingsError
from landmarks.serving.app import create_app
from landmarks.serving.errors import RequestError
from landmarks.serving.jobs.archive import images_of
from landmarks.serving.jobs.store import JobStore, NewImage
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.middleware.keys import hash_of
from landmarks.serving.settings import Access, JobLimits, Limits, ServeSettings

ZIP = {"content-type": "application/zip"}
LIMITS = JobLimits(job_files=50, job_mb=0.1)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    use_stub(monkeypatch)
    jobs = JobLimits(path=tmp_path / "jobs.sqlite", job_files=50, job_mb=0.1)
    return ServeSettings(make_model(tmp_path / "colours"), workers=2, jobs=jobs, limits=Limits(max_mb=0.01))


@pytest.fixture
def client(settings: ServeSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    return zip_of(entries, compression)


def spoilt(content: bytes, count: int) -> bytes:
    """Return an archive whose first entries claim to be encrypted."""
    changed = bytearray(content)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        for _ in range(count):
            at = content.index(mark, at + 1)
            changed[at + flags] |= 1
    return bytes(changed)


def finished(client: TestClient, job: str, **headers: str) -> dict[str, Any]:
    end = time.monotonic() + 10
    while (card := client.get(f"/v1/jobs/{job}", headers=headers).json())["state"] != "done":
        assert time.monotonic() < end, card
        time.sleep(0.005)
    return card


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_archive_and_files_become_a_job_with_results(client: TestClient, settings: ServeSettings) -> None:
    packed = archive({"trip/a.jpg": b"one", "trip/b.jpg": b"no", "__MACOSX/a.jpg": b"x", "trip/.hidden": b"x"})
    files = [("photos", ("c.jpg", b"three")), ("photos", ("trip.zip", packed))]
    accepted = client.post("/v1/jobs", files=files)
    assert accepted.status_code == 202
    job = accepted.json()["id"]
    assert urljoin("http://localhost/behind/a/proxy/v1/jobs", accepted.headers["location"]) == (
        f"http://localhost/behind/a/proxy/v1/jobs/{job}"
    )
    card = finished(client, job)
    assert (card["images"], card["done"], card["failed"]) == (3, 3, 1)
    assert card["expires"] == pytest.approx(time.time() + 24 * 3600, abs=60)
    first = client.get(f"/v1/jobs/{job}/results?limit=2").json()
    rest = client.get(f"/v1/jobs/{job}/results", params={"start": first["next"]}).json()
    photos = first["photos"] + rest["photos"]
    assert [photo["file"] for photo in photos] == ["c.jpg", "trip/a.jpg", "trip/b.jpg"]
    assert [bool(photo["tags"]) for photo in photos] == [True, True, False]
    assert photos[2]["error"]["code"] == "unsupported_format"
    assert photos[0]["model"].startswith("colours-")
    assert rest["next"] is None
    assert "landmarks_job_pictures 0.0" in client.get("/metrics").text
    assert 'route="/v1/jobs/{job_id}"' in client.get("/metrics").text
    stored = b"".join(file.read_bytes() for file in settings.jobs.path.parent.glob("jobs.sqlite*"))
    assert b"three" in stored  # in the log, until the job goes
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert code_of(client.get(f"/v1/jobs/{job}")) == (404, "not_found")
    stored = b"".join(file.read_bytes() for file in settings.jobs.path.parent.glob("jobs.sqlite*"))
    assert b"three" not in stored
    assert b"trip/a.jpg" not in stored


def test_a_job_goes_on_after_a_restart(settings: ServeSettings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        pool = app.state.service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        job = client.post("/v1/jobs", content=archive({f"{n}.jpg": b"x" for n in range(9)}), headers=ZIP).json()[
            "id"
        ]
        with pytest.raises(SettingsError, match="another service"):
            JobStore(settings.jobs.path)
    with TestClient(create_app(settings)) as client:
        assert finished(client, job)["done"] == 9


def test_jobs_are_seen_only_with_their_key(settings: ServeSettings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(f'[{name}]\nsha256 = "{hash_of(name * 16)}"\nimages_per_minute = 4\n' for name in "ab")
    )
    with TestClient(create_app(ServeSettings(**vars(settings) | {"access": Access(keys_file=keys)}))) as client:
        mine, other = {"X-API-Key": "a" * 16}, {"X-API-Key": "b" * 16}
        content = archive({f"{n}.jpg": b"x" for n in range(4)})
        job = client.post("/v1/jobs", content=content, headers=ZIP | mine).json()["id"]
        assert code_of(client.post("/v1/jobs", content=content, headers=ZIP | mine)) == (429, "rate_limited")
        for _ in range(2):  # what is refused does not count
            refused = client.post("/v1/jobs", content=archive({"a.txt": b"x"}), headers=ZIP | other)
            assert code_of(refused) == (400, "bad_request")
            refused = client.post("/v1/jobs", content=spoilt(content, 4), headers=ZIP | other)
            assert code_of(refused) == (400, "bad_request")
        assert 'key="b"' not in client.get("/metrics", headers=mine).text
        finished(client, job, **mine)
        for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/results"):
            assert client.get(path, headers=mine).status_code == 200
            assert client.get(path, headers=other).status_code == 404
            assert client.get(path).status_code == 401
        assert client.delete(f"/v1/jobs/{job}", headers=other).status_code == 404


def test_results_of_a_running_job_have_no_gap_and_no_end(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, slow = StubPool.answer, threading.Event()

    async def late(pool: StubPool, picture: bytes, *others: Any, **named: Any) -> dict[str, Any]:
        while picture == b"slow" and not slow.is_set():
            await asyncio.sleep(0.005)
        return await answer(pool, picture, *others, **named)

    monkeypatch.setattr(StubPool, "answer", late)
    with TestClient(create_app(settings)) as client:
        content = archive({"0.jpg": b"x", "1.jpg": b"slow", "2.jpg": b"x"})
        on_windows = {"content-type": "application/x-zip-compressed"}
        job = client.post("/v1/jobs", content=content, headers=on_windows).json()["id"]
        while client.get(f"/v1/jobs/{job}").json()["done"] < 2:
            time.sleep(0.005)
        results = f"/v1/jobs/{job}/results"
        begun = client.get(results).json()
        assert ([photo["number"] for photo in begun["photos"]], begun["next"]) == ([0], 1)
        assert client.get(f"{results}?start=1").json() == {"photos": [], "next": 1}
        assert client.get(f"{results}?start=2").json()["next"] is None
        slow.set()
        finished(client, job)
        rest = client.get(f"{results}?start=1").json()
        assert ([photo["number"] for photo in rest["photos"]], rest["next"]) == ([1, 2], None)


def test_a_job_for_a_model_that_is_gone_says_so(settings: ServeSettings, tmp_path: Path) -> None:
    two = replace(settings, more_models=(make_model(tmp_path / "other"),))
    app = create_app(two)
    with TestClient(app) as client:
        pool = app.state.service.catalog.find("other").pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        job = client.post("/v1/jobs?model=other", content=archive({"a.jpg": b"x"}), headers=ZIP).json()["id"]
    with TestClient(create_app(settings)) as client:
        assert finished(client, job)["failed"] == 1
        (photo,) = client.get(f"/v1/jobs/{job}/results").json()["photos"]
        assert photo["error"]["code"] == "invalid_parameter"
        assert "there is no 'other' here" in photo["error"]["message"]


def test_what_no_job_takes_is_refused(client: TestClient) -> None:
    for content, expected in (
        (archive({}), (400, "bad_request")),
        (archive({f"{n}.jpg": b"x" for n in range(51)}), (413, "too_large")),
        (archive({"a.jpg": b"x"})[:-30], (400, "bad_request")),
        (archive({f"{n}.jpg": bytes(9000) for n in range(20)}, zipfile.ZIP_DEFLATED), (413, "too_large")),
    ):
        assert code_of(client.post("/v1/jobs", content=content, headers=ZIP)) == expected
    assert code_of(client.post("/v1/jobs?model=other", content=archive({"a.jpg": b"x"}), headers=ZIP)) == (
        422,
        "invalid_parameter",
    )
    assert code_of(client.get("/v1/jobs/none")) == (404, "not_found")
    job = client.post("/v1/jobs", content=b"x", headers={"content-type": "image/jpeg"}).json()["id"]
    for start in (-1, 2**31, 2**63, 10**4000):
        answer = client.get(f"/v1/jobs/{job}/results?start={start}")
        assert code_of(answer) == (422, "invalid_parameter")


def test_openapi_has_only_errors_of_the_service(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "422" in document["paths"]["/v1/jobs/{job_id}"]["delete"]["responses"]


def test_examples_of_openapi_are_what_it_describes(client: TestClient) -> None:
    components = client.get("/openapi.json").json()["components"]
    for schema in components["schemas"].values():
        for example in schema.get("examples", ()):
            jsonschema.validate(example, schema | {"components": components}, jsonschema.Draft202012Validator)


def test_without_a_file_there_are_no_jobs(settings: ServeSettings) -> None:
    app = create_app(ServeSettings(settings.model))
    assert "/v1/jobs" not in app.openapi()["paths"]


# --- a disk that is full, and requests that end ---


def test_jobs_go_on_once_the_disk_has_room_again(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("landmarks.serving.jobs.runner._RETRY_SECONDS", 0.01)
    full, failed = threading.Event(), set()

    def may_fail(name: str) -> None:
        work = getattr(JobStore, name)

        def failing(*given: Any, **named: Any) -> Any:
            if full.is_set():
                failed.add(name)
                raise sqlite3.OperationalError("database or disk is full")
            return work(*given, **named)

        monkeypatch.setattr(JobStore, name, failing)

    for name in ("add", "take", "finish", "expire"):
        may_fail(name)
    monkeypatch.setattr("landmarks.serving.jobs.runner._EXPIRY_SECONDS", 0.01)
    app = create_app(settings)
    with TestClient(app) as client:
        pool = app.state.service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        content = archive({f"{n}.jpg": b"x" for n in range(9)})
        job = client.post("/v1/jobs", content=content, headers=ZIP).json()["id"]
        full.set()
        refused = client.post("/v1/jobs", content=content, headers=ZIP)
        assert code_of(refused) == (503, "unavailable")
        assert refused.headers["retry-after"]
        pool.hold.set()
        end = time.monotonic() + 5
        while not ("expire" in failed and {"finish", "take"} & failed):
            assert time.monotonic() < end, failed
            time.sleep(0.01)
        full.clear()
        assert finished(client, job)["failed"] == 0
        assert pool.answered == 9  # a result that could not be stored is not worked out again
        again = client.post("/v1/jobs", content=content, headers=ZIP).json()["id"]
        assert finished(client, again)["done"] == 9
    assert "disk is full" in str([vars(record) for record in caplog.records])


def test_an_image_on_which_the_service_fails_does_not_stop_the_others(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = StubPool.answer

    async def failing(pool: StubPool, picture: bytes, *others: Any, **named: Any) -> dict[str, Any]:
        if picture == b"bug":
            raise KeyError("secret")
        return await answer(pool, picture, *others, **named)

    monkeypatch.setattr(StubPool, "answer", failing)
    with TestClient(create_app(settings)) as client:
        content = archive({"a.jpg": b"bug", "b.jpg": b"bug", "c.jpg": b"bug", "d.jpg": b"x"})
        job = client.post("/v1/jobs", content=content, headers=ZIP).json()["id"]
        assert finished(client, job)["failed"] == 3
        photos = client.get(f"/v1/jobs/{job}/results").json()["photos"]
        assert [photo["error"] and photo["error"]["code"] for photo in photos] == ["internal"] * 3 + [None]


def test_a_job_whose_request_timed_out_is_not_kept(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = JobStore.add

    def slow(*given: Any) -> Any:
        time.sleep(0.4)
        return add(*given)

    monkeypatch.setattr(JobStore, "add", slow)
    limits = replace(settings.limits, decode_seconds=0.1, request_seconds=0.1)
    with TestClient(create_app(replace(settings, limits=limits))) as client:
        refused = client.post("/v1/jobs", content=archive({"a.jpg": b"x"}), headers=ZIP)
        assert code_of(refused) == (503, "unavailable")
        assert "landmarks_job_pictures 0.0" in client.get("/metrics").text
    store = JobStore(settings.jobs.path)
    assert store.waiting() == 0
    store.close()


def test_a_job_deleted_under_its_workers_is_not_counted_twice(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = StubPool.answer

    async def waiting(pool: StubPool, picture: bytes, *others: Any, **named: Any) -> dict[str, Any]:
        while picture == b"stays":
            await asyncio.sleep(1)
        return await answer(pool, picture, *others, **named)

    monkeypatch.setattr(StubPool, "answer", waiting)
    app = create_app(settings)
    with TestClient(app) as client:
        pool = app.state.service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        content = archive({f"{n}.jpg": b"goes" for n in range(5)})
        gone = client.post("/v1/jobs", content=content, headers=ZIP).json()["id"]
        while pool.asked < 2:
            time.sleep(0.005)
        assert client.delete(f"/v1/jobs/{gone}").status_code == 204
        client.post("/v1/jobs", content=archive({f"{n}.jpg": b"stays" for n in range(5)}), headers=ZIP)
        pool.hold.set()
        while pool.answered < 2:
            time.sleep(0.01)
        time.sleep(0.05)  # their results are stored
        assert "landmarks_job_pictures 5.0" in client.get("/metrics").text


@contextmanager
def held_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have the file of jobs wait at its first question until this ends; yields the jobs that were asked for."""
    find, asked, go_on = JobStore.find, list[str](), threading.Event()

    def slow(store: JobStore, job: str, owner: str) -> Any:
        asked.append(job)
        go_on.wait(10)
        return find(store, job, owner)

    monkeypatch.setattr(JobStore, "find", slow)
    yield asked
    time.sleep(0.5)  # until all others wait for it
    go_on.set()


def test_results_that_are_read_while_their_job_is_deleted_are_complete(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.post("/v1/jobs", content=archive({"a.jpg": b"x"}), headers=ZIP).json()["id"]
    finished(client, job)
    with ThreadPoolExecutor(2) as threads:
        with held_store(monkeypatch) as asked:
            reading = threads.submit(client.get, f"/v1/jobs/{job}/results")
            while not asked:
                time.sleep(0.001)
            deleting = threads.submit(client.delete, f"/v1/jobs/{job}")
        assert [photo["number"] for photo in reading.result().json()["photos"]] == [0]
        assert deleting.result().status_code == 204
    assert client.get(f"/v1/jobs/{job}/results").status_code == 404


def test_clients_take_turns_at_the_file_of_jobs(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(replace(settings, access=Access(proxies=("10.0.0.1",))))
    with (
        TestClient(app, client=("10.0.0.1", 1)) as client,
        ThreadPoolExecutor(9) as threads,
        held_store(monkeypatch) as asked,
    ):
        for number in range(8):
            threads.submit(client.get, f"/v1/jobs/many-{number}", headers={"X-Forwarded-For": "192.0.2.1"})
            while not asked:
                time.sleep(0.001)
        time.sleep(0.5)
        threads.submit(client.get, "/v1/jobs/one", headers={"X-Forwarded-For": "192.0.2.2"})
    assert asked.index("one") == 1
    assert len(asked) == 9


def test_jobs_that_are_sent_at_once_count_for_the_key_before_they_are_stored(
    settings: ServeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "one-0123456789abcdef"
    (tmp_path / "keys.toml").write_text(f'[one]\nsha256 = "{hash_of(key)}"\nimages_per_minute = 2')
    app = create_app(replace(settings, access=Access(keys_file=tmp_path / "keys.toml")))
    with TestClient(app, headers={"X-API-Key": key}) as client, ThreadPoolExecutor(5) as threads:
        with held_store(monkeypatch):
            content = archive({"a.jpg": b"x", "b.jpg": b"x"})
            sent = [threads.submit(client.post, "/v1/jobs", content=content, headers=ZIP) for _ in range(5)]
        assert sorted(each.result().status_code for each in sent) == [202, 429, 429, 429, 429]
        assert 'landmarks_key_pictures_total{key="one"} 2.0' in client.get("/metrics").text


# --- archives ---


def read(content: bytes, limits: JobLimits = LIMITS) -> dict[str | None, bytes]:
    """Read all images of an archive, and leave out what it is to leave out."""
    packed, _ = images_of([Upload("a.zip", content)], limits, 5000)
    return {image.file: image.content() for image in packed}


def test_an_archive_unpacks_to_no_more_than_is_allowed() -> None:
    packed = archive({"bomb.jpg": bytes(10**7), "a.jpg": b"x"}, zipfile.ZIP_DEFLATED)
    assert {name: len(content) for name, content in read(packed).items()} == {"bomb.jpg": 5001, "a.jpg": 1}


def test_an_archive_is_unpacked_one_image_at_a_time(settings: ServeSettings) -> None:
    jobs, limits = replace(settings.jobs, job_mb=64), replace(settings.limits, max_mb=1)
    packed = archive({f"{n}.jpg": bytes(2**20) for n in range(40)}, zipfile.ZIP_DEFLATED)
    app = create_app(replace(settings, jobs=jobs, limits=limits))
    with TestClient(app) as client:
        pool = app.state.service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        tracemalloc.start()
        try:
            assert client.post("/v1/jobs", content=packed, headers=ZIP).json()["images"] == 40
            assert tracemalloc.get_traced_memory()[1] < 15 * 2**20
        finally:
            tracemalloc.stop()


def test_an_archive_is_searched_like_a_folder_and_what_is_left_out_is_told(client: TestClient) -> None:
    photos = ["./a.jpg", "./t/./b.JPG", "t\\c.png"]
    left_out = {
        "hidden": ["t/.thumbs/a.jpg", "t\\.thumbs\\b.jpg", "._a.jpg"],
        "system": ["t/@eaDir/a.jpg", "__MACOSX/t/a.jpg", "t/Thumbs.db"],
        "unsupported": ["readme.txt", "t/noname"],
        "companion": ["a.jpg.xmp"],
        "video": ["t/a.mov"],
    }
    names = [*photos, *(name for each in left_out.values() for name in each)]
    packed = archive({"./": b"", "t/": b"", **dict.fromkeys(names, b"x")})
    body = client.post("/v1/jobs", content=packed, headers=ZIP).json()
    assert body["images"] == 3
    assert body["skipped"] == {reason: len(each) for reason, each in left_out.items()}
    finished(client, body["id"])
    results = client.get(f"/v1/jobs/{body['id']}/results").json()["photos"]
    assert [photo["file"] for photo in results] == photos
    nothing = client.post("/v1/jobs", content=archive({"readme.txt": b"x"}), headers=ZIP)
    assert "not a supported format" in nothing.json()["error"]["message"]


@pytest.mark.parametrize("name", ["../a.jpg", "t/../../a.jpg", "..\\a.jpg"])
def test_names_that_lead_out_of_an_archive_are_refused(client: TestClient, name: str) -> None:
    refused = client.post("/v1/jobs", content=archive({name: b"x", "b.jpg": b"x"}), headers=ZIP)
    assert code_of(refused) == (400, "bad_request")
    assert "leads out of the archive" in refused.json()["error"]["message"]


def test_a_directory_of_very_many_entries_is_not_even_read() -> None:
    packed = archive({f"{n}.jpg": b"" for n in range(1500)})
    with pytest.raises(RequestError, match="too many entries"):
        read(packed)


def test_an_end_record_for_large_archives_is_read_too() -> None:
    packed = archive({"a.jpg": b"x"})
    start, end = packed.index(b"PK\x01\x02"), packed.index(b"PK\x05\x06")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - start, start)
    large = packed[:end] + record + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1) + packed[end:]
    assert read(large) == {"a.jpg": b"x"}


def test_what_is_damaged_in_an_archive_fails_alone(client: TestClient) -> None:
    packed = archive({"a.jpg": b"x" * 40, "b.jpg": b"y" * 40}, zipfile.ZIP_DEFLATED)
    for at in range(4, len(packed)):
        spoilt = packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :]
        with suppress(RequestError):
            read(spoilt)
    at = packed.index(b"PK\x01\x02")
    encrypted = packed[:6] + b"\x01" + packed[7 : at + 8] + b"\x01" + packed[at + 9 :]
    rare = packed[:8] + b"\x63" + packed[9 : at + 10] + b"\x63" + packed[at + 11 :]
    broken = packed[:36] + b"\xff\xff" + packed[38:]
    for content, told in (
        (encrypted, "a.jpg in the archive is encrypted: pack it again without a password"),
        (rare, "a.jpg in the archive is compressed in an unknown way: pack it again as an ordinary ZIP"),
        (broken, "a.jpg in the archive is damaged: pack it again"),
    ):
        job = client.post("/v1/jobs", content=content, headers=ZIP).json()
        assert (job["images"], job["done"], job["failed"]) == (2, 1, 1)
        assert finished(client, job["id"])["failed"] == 1
        photos = client.get(f"/v1/jobs/{job['id']}/results").json()["photos"]
        assert photos[0]["error"] == {"code": "bad_request", "message": told}
        assert photos[1]["tags"]
    assert "landmarks_job_pictures 0.0" in client.get("/metrics").text


# --- the file ---


def test_jobs_expire_and_their_file_is_private(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    assert stat.S_IMODE((tmp_path / "jobs.sqlite").stat().st_mode) == 0o600
    done, open_ = (store.add("", None, [NewImage(None, b"x")]) for _ in range(2))
    item = store.take()
    assert item is not None
    assert item.job == done
    store.finish(item, {}, failed=False)
    assert store.expire(time.time() - 60) == 0
    assert store.expire(time.time() + 60) == 1
    assert store.find(done, "") is None
    assert store.find(open_, "") is not None
    assert store.waiting() == 1
    store.close()


def test_results_that_are_kept_count_as_what_waits_does(client: TestClient, settings: ServeSettings) -> None:
    # Images without an answer of a worker: a client could fill the disk with their errors, fast and for a day.
    content = spoilt(archive({f"{number}{'x' * 200}.jpg": b"x" for number in range(50)}), 49)
    answers = [client.post("/v1/jobs", content=content, headers=ZIP) for _ in range(5)]
    assert [answer.status_code for answer in answers[:2]] == [202, 202]
    assert code_of(answers[-1]) == (429, "overloaded")
    assert settings.jobs.path is not None
    assert settings.jobs.path.stat().st_size < 2 * settings.jobs.job_mb * 2**20
    for answer in answers:
        if answer.status_code == 202:
            assert client.delete(f"/v1/jobs/{answer.json()['id']}").status_code == 204
    assert client.post("/v1/jobs", content=content, headers=ZIP).status_code == 202


def test_one_key_leaves_room_for_the_jobs_of_others(settings: ServeSettings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("".join(f'[{name}]\nsha256 = "{hash_of(name * 16)}"\n' for name in "abc"))
    settings = replace(settings, access=Access(keys_file=keys), jobs=replace(settings.jobs, job_mb=1))
    content = spoilt(archive({f"{number}{'x' * 200}.jpg": b"x" for number in range(50)}), 49)
    with TestClient(create_app(settings)) as client:
        stored = {}
        for name in "abc":
            send = partial(client.post, "/v1/jobs", content=content, headers=ZIP | {"X-API-Key": name * 16})
            stored[name] = 0
            while (answer := send()).status_code == 202:
                stored[name] += 1
            assert code_of(answer) == (429, "overloaded")
    assert stored["a"] > stored["b"] >= stored["c"] > 0


def test_images_and_results_of_an_owner_are_counted_in_bytes(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.size_of("a") == 0
    store.add("a", None, [NewImage(None, b"\0" * 7), NewImage(None, None, {"file": "ü"})])
    store.add("b", None, [NewImage(None, b"x")])
    assert store.size_of("a") == 7 + len('{"file": "ü"}'.encode())
    store.close()


def test_jobs_take_turns(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    large, small = store.add("", None, [NewImage("", b"")] * 3), store.add("", None, [NewImage("", b"")] * 1)
    taken = [item.job for item in iter(store.take, None)]
    assert taken == [large, small, large, large]
    store.close()


def test_owners_take_turns_also_after_a_restart_and_with_images_that_come_back(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    two = store.add("b", None, [NewImage("", b"")] * 2)
    for _ in range(4):
        store.add("a", None, [NewImage("", b"")])
    store.close()
    store = JobStore(tmp_path / "jobs.sqlite")
    taken = list(iter(store.take, None))
    assert sorted(item.owner for item in taken[:2]) == sorted(item.owner for item in taken[2:4]) == ["a", "b"]
    assert [item.owner for item in taken[4:]] == ["a", "a"]
    store.give_back(taken[0])
    assert store.take() == taken[0]
    assert store.delete(two, "b")
    assert store.take() is None
    store.close()


def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    JobStore(path).close()
    path.chmod(0o644)
    JobStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("version", [0, 1, 5])
def test_another_file_is_no_file_of_jobs_and_stays_as_it_is(tmp_path: Path, version: int) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 100)
    with closing(sqlite3.connect(tmp_path / "photos.db")) as database:
        database.executescript(f"CREATE TABLE images (id); PRAGMA user_version = {version};")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(SettingsError, match="no file of jobs"):
        JobStore(tmp_path / "notes.txt")
    with pytest.raises(SettingsError, match="database of another program"):
        JobStore(tmp_path / "photos.db")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_limits_are_checked() -> None:
    with pytest.raises(SettingsError, match="`job_hours` must be above 0"):
        JobLimits(job_hours=0)
