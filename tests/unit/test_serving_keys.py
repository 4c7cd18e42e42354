"""Named API keys: stored as hashes, limited in rate, and read again when their file changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from stub_pool import TAG, use_stub
from tiny_model import make_model

from landmarks.errors import SettingsError
from landmarks.serving.app import create_app
from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.keys import ApiKey, KeyRing, Quota, hash_of
from landmarks.serving.settings import Access, ServeSettings

PHONE, DESK, OLD = "phone-0123456789abcdef", "desk-0123456789abcdef", "old-key-of-sixteen-or-more"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("landmarks.serving.middleware.keys.time", clock)
    return clock


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(
        f'[phone]\nsha256 = "{hash_of(PHONE)}"\nimages_per_minute = 3\n[desk]\nsha256 = "{hash_of(DESK)}"\n'
    )
    return file


@pytest.fixture
def client(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[TestClient]:
    use_stub(monkeypatch)
    access = Access(api_key=OLD, keys_file=keys)
    with TestClient(
        create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1, access=access))
    ) as client:
        yield client


def send(client: TestClient, key: str, count: int = 1) -> tuple[int, str]:
    files = [("photos", (f"{number}.png", b"picture")) for number in range(count)]
    answer = client.post("/v1/tags", files=files, headers={"Authorization": f"Bearer {key}"})
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]["code"]


def test_each_key_has_its_own_rate(client: TestClient, clock: Clock) -> None:
    assert [send(client, PHONE)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [send(client, key, 20)[0] for key in (DESK, OLD)] == [200, 200]
    assert send(client, "wrong-0123456789abcdef") == (401, "unauthorized")
    answer = client.post("/v1/tags", content=b"x", headers={"X-API-Key": PHONE})
    assert answer.json()["error"]["code"] == "rate_limited"
    assert "phone" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"] == "20"
    tags = {"photos": [{"file": "a.jpg", "tags": [TAG]}]}
    assert client.post("/v1/xmp", json=tags, headers={"X-API-Key": PHONE}).status_code == 200  # it has no image
    clock.now += 20
    assert [send(client, PHONE)[0] for _ in range(2)] == [200, 429]
    counted = client.get("/metrics", headers={"X-API-Key": DESK}).text
    for name, count in (("phone", 4), ("desk", 20), ("default", 20)):
        assert f'landmarks_key_pictures_total{{key="{name}"}} {count}.0' in counted


def test_a_large_request_is_paid_off_before_the_next(clock: Clock) -> None:
    quota = Quota(ApiKey("phone", "", images_per_minute=6))
    with quota.taking(16):  # a minute holds 6, so this is never refused for good
        pass
    for seconds, allowed in ((100, False), (10, True)):
        clock.now += seconds
        if allowed:
            quota.check()
        else:
            with pytest.raises(RequestError, match="6 images per minute"):
                quota.check()


def test_googles_clients_are_told_in_their_words(client: TestClient) -> None:
    send(client, PHONE, 3)
    answer = client.post(f"/v1/images:annotate?key={PHONE}", json={})
    assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_a_changed_file_lets_a_new_key_in_and_an_old_one_out(
    client: TestClient, keys: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert send(client, DESK)[0] == 200
    for text, statuses in (
        (f'[laptop]\nsha256 = "{hash_of("laptop-0123456789abc")}"\n', {DESK: 401, "laptop-0123456789abc": 200}),
        ("no toml", {DESK: 401, "laptop-0123456789abc": 200, OLD: 200}),  # the keys before stay
        (None, {"laptop-0123456789abc": 200, OLD: 200}),
        ("", {"laptop-0123456789abc": 401, OLD: 200}),  # the last one is revoked
    ):
        keys.unlink() if text is None else keys.write_text(text)
        clock.now += 2
        assert {key: send(client, key)[0] for key in statuses} == statuses
    failed = [vars(record) for record in caplog.records if "could not be read again" in record.message]
    assert [record["file"] for record in failed] == [str(keys)] * 2
    assert "keys_file" not in str(failed)


def test_a_key_is_never_stored_or_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    send(client, PHONE)
    (row,) = [record for record in caplog.records if record.message == "request"]
    assert vars(row)["key"] == "phone"
    assert PHONE not in repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no key in it"),
        ("= 1", "cannot be read as TOML"),
        ("phone = 1", "nothing else"),
        ('[phone]\nsha256 = "abc"', "64 hexadecimal digits"),
        (f'[phone]\nsha256 = "{hash_of(PHONE)}"\nrate = 1', "nothing else"),
        (f'[phone]\nsha256 = "{hash_of(PHONE)}"\nimages_per_minute = 0', "at least 1, not 0"),
        (f'[default]\nsha256 = "{hash_of(PHONE)}"', "is not default"),
        (f'[a]\nsha256 = "{hash_of(PHONE)}"\n[b]\nsha256 = "{hash_of(PHONE)}"', "a and b are the same key"),
        (f'[a]\nsha256 = "{hash_of(OLD)}"', "default and a are the same key"),
        (f'["a b"]\nsha256 = "{hash_of(PHONE)}"', "letters, digits"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(SettingsError, match=problem):
        KeyRing(Access(api_key=OLD, keys_file=tmp_path / "keys.toml"))


def test_a_missing_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`keys_file`"):
        KeyRing(Access(keys_file=tmp_path / "none"))
