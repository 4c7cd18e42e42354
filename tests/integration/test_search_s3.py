"""`landmarks index` and `search` with the index in object storage, a stand-in for S3.

The stand-in is moto, a package of the extra `dev`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import landmarks
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour

pytestmark = pytest.mark.skipif(find_spec("moto") is None, reason="moto is not installed")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    settings = {"ENDPOINT": address, "ALLOW_HTTP": "true", "REGION": "us-east-1", "DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        _make_bucket(f"{address}/photos")
        yield "s3://photos"
    finally:
        server.kill()
        server.wait()


def _make_bucket(address: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        try:
            with opener.open(urllib.request.Request(address, method="PUT"), timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("moto_server does not answer")


def test_an_index_in_object_storage_is_made_updated_and_asked(bucket: str, tmp_path: Path) -> None:
    model = add_reference(make_model(tmp_path / "model", calibration=calibrated()))
    photos = tmp_path / "photos"
    tower = save_colour(photos / "tower.png", COLOURS["07.Eiffel_Tower"])
    save_colour(photos / "stones.png", COLOURS["31.Stonehenge"])
    where = ("--index", f"{bucket}/index", "--model", model)
    missing = landmarks("search", tower, *where)
    assert (missing.status, "there is no index" in missing.complaint) == (2, True)
    first = landmarks("index", photos, *where)
    assert first.status == 0, first.err
    assert "2 new or changed, 0 unchanged" in first.out
    save_colour(photos / "again.png", COLOURS["07.Eiffel_Tower"])
    (photos / "stones.png").unlink()
    assert "1 new or changed, 1 unchanged; 1 removed" in landmarks("index", photos, *where).out
    found = landmarks("search", tower, *where)
    assert [line.split("/")[-1] for line in found.out.split()[1::2]] in (
        ["tower.png", "again.png"],
        ["again.png", "tower.png"],
    )
    assert len(landmarks("search", "--tag", "paris", *where).out.split()) == 2
    assert "2 new or changed" in landmarks("index", photos, "--rebuild", *where).out
    gone = landmarks("search", tower, "--index", "s3://nowhere/index", "--model", model)
    assert (gone.status, "out of reach" in gone.complaint) == (2, True)
