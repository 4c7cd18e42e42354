"""Indexes, data sets and photos in object storage: a stand-in for S3, which is moto."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from commands import landmarks
from free_port import free_port
from tiny_backbone import TINY_BACKBONE
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour

pytest.importorskip("pyarrow", reason="needs the extra cluster")

import pyarrow.parquet as pq

from landmarks.cluster.part import PartTagger, part_name
from landmarks.cluster.plan import Plan, begin_or_continue
from landmarks.files.storage import Storage

pytestmark = pytest.mark.skipif(find_spec("moto") is None, reason="moto is not installed")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    monkeypatch = pytest.MonkeyPatch()
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    settings = {
        "ENDPOINT": address,
        "ENDPOINT_URL": address,
        "ALLOW_HTTP": "true",
        "REGION": "us-east-1",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**settings, "ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        _make_bucket(f"{address}/photos")
        yield "s3://photos"
    finally:
        server.kill()
        server.wait()
        monkeypatch.undo()


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


@pytest.fixture
def pictures(drawn: Path) -> Iterator[str]:
    """Drawn pictures in a file system that is no disk."""
    system = fsspec.filesystem("memory")
    system.put(f"{drawn}/", "/bucket/drawn", recursive=True)
    yield "memory://bucket/drawn"
    system.store.clear()


def test_every_command_that_takes_a_data_set_takes_an_address(
    pictures: str, drawn: Path, transfer_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert landmarks("data", pictures).out == landmarks("data", drawn).out
    for words in (
        ("batch", pictures),
        ("pack", pictures, "shards"),
        ("doctor", pictures, "--out", "examined"),
        ("evaluate", transfer_run, f"{pictures}/test", "--out", "evaluated"),
    ):
        outcome = landmarks(*words)
        assert outcome.status == 0, outcome.err
        assert "files copied" in outcome.err
    known = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["totals"]["known"]
    assert known["count"] == sum(1 for _ in (drawn / "test").rglob("*.jpg"))
    for flags in (("--apply", "small"), ("--undo",)):
        refused = landmarks("doctor", pictures, *flags)
        assert (refused.status, "move the pictures of local folders" in refused.complaint) == (2, True)


@pytest.mark.skipif(find_spec("s3fs") is None, reason="s3fs is not installed")
class TestPhotos:
    """Photos in a bucket, by s3fs."""

    def test_training_copies_a_data_set_once(self, bucket: str, drawn: Path, tmp_path: Path) -> None:
        import s3fs

        s3fs.S3FileSystem().put(str(drawn), f"{bucket}/pictures/drawn", recursive=True)
        pictures = sum(1 for _ in drawn.rglob("*.jpg"))
        small = (
            "--method",
            "transfer",
            *TINY_BACKBONE,
            "--epochs",
            2,
            "--views",
            1,
            "--cache",
            tmp_path / "cache",
        )
        address = f"{bucket}/pictures/drawn"
        first = landmarks("train", address, *small, "--out", tmp_path / "first")
        assert first.status == 0, first.err
        assert f"{pictures} files copied, 0 unchanged, 0 removed" in first.err
        s3fs.S3FileSystem().rm(f"{address}/train/{min((drawn / 'train').iterdir()).name}/000.jpg")
        again = landmarks("train", address, *small, "--out", tmp_path / "again")
        assert again.status == 0, again.err
        assert f"0 files copied, {pictures - 1} unchanged, 1 removed" in again.err
        runs = [json.loads((tmp_path / name / "run.json").read_text())["data"] for name in ("first", "again")]
        assert {run["name"] for run in runs} == {"drawn"}
        assert runs[0]["fingerprint"] != runs[1]["fingerprint"]
        missing = landmarks("train", f"{bucket}/nothing", *small, "--out", tmp_path / "none")
        assert (missing.status, missing.complaint) == (
            2,
            f"{bucket}/nothing: there is nothing, or no server that answers: check address and network",
        )
        assert not (tmp_path / "none").exists()

    def test_a_cluster_reads_and_writes_a_bucket(self, bucket: str, tmp_path: Path) -> None:
        import s3fs

        model = make_model(tmp_path / "model", calibration=calibrated())
        for name in ("07.Eiffel_Tower", "31.Stonehenge"):
            save_colour(tmp_path / "photos" / f"{name}.png", COLOURS[name])
        s3fs.S3FileSystem().put(str(tmp_path / "photos"), f"{bucket}/many", recursive=True)
        plan = Plan(f"{bucket}/many", f"{bucket}/out", str(model))
        work, tagger, out = begin_or_continue(plan), PartTagger(plan), Storage.at(plan.out)
        assert out.names() == {"inputs.parquet", "job.json"}
        s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(f"{bucket}/out/another", b"of another process")
        assert "another" in out.names()
        assert [tagger.work(part) for part in range(work.parts)] == [(2, 0)]
        with s3fs.S3FileSystem().open(f"{bucket}/out/{part_name(0)}") as file:
            rows = pq.read_table(file).to_pylist()
        assert [json.loads(row["tags"])[0]["name"] for row in rows] == ["Eiffel Tower", "Stonehenge"]
