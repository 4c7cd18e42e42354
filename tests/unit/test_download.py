"""Downloading files from a local server that fails in each of the usual ways."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from free_port import free_port

from landmarks.errors import DownloadError
from landmarks.model.importing.download import RemoteFile, fetch, is_right

CONTENT = bytes(range(256)) * 4000
FILES = [RemoteFile("a/one.bin", len(CONTENT), hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest())]


class Server(ThreadingHTTPServer):
    """Serves the content; `faults` says what goes wrong with the next requests."""

    daemon_threads = True
    faults: list[str]
    asked: list[str | None]

    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        fault = self.server.faults.pop(0) if self.server.faults else ""
        self.server.asked.append(self.headers.get("Range"))
        if fault.isdecimal():
            self.send_error(int(fault))
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if fault != "no ranges" else 0
        body = b"x" * len(CONTENT) if fault == "wrong" else CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:300_000] if fault == "breaks" else body)
        if fault == "breaks":
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.faults, made.asked = [], []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def fetched(server: Server, folder: Path, pauses: tuple[float, ...] = ()) -> None:
    fetch(FILES, server.address(), folder, pauses=pauses, timeout=10)


def test_file_is_fetched_once_and_counted(server: Server, tmp_path: Path) -> None:
    told: list[int] = []
    fetch(FILES, server.address(), tmp_path, progress=told.append)
    assert (tmp_path / "a/one.bin").read_bytes() == CONTENT
    assert sum(told) == len(CONTENT)
    fetched(server, tmp_path)
    assert len(server.asked) == 1


def test_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.faults = ["breaks"]
    fetched(server, tmp_path, pauses=(0.0,))
    assert server.asked[0] is None
    assert server.asked[1] is not None
    assert int(server.asked[1][6:-1]) > 0
    assert is_right(tmp_path / "a/one.bin", FILES[0])


def test_interrupted_command_goes_on_at_the_next_and_a_server_without_ranges_starts_again(
    server: Server, tmp_path: Path
) -> None:
    server.faults = ["breaks"]
    with pytest.raises(DownloadError, match=r"the connection broke .*: run the command again"):
        fetched(server, tmp_path)
    assert not (tmp_path / "a/one.bin").exists()
    assert 0 < (tmp_path / "a/one.bin.part").stat().st_size < len(CONTENT)
    server.faults = ["no ranges"]
    fetched(server, tmp_path)
    assert (tmp_path / "a/one.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one.bin"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "is not there any more .404.: name another address with `address`"),
        ("407", "the proxy wants a password: set HTTPS_PROXY"),
        ("500", "the server refused it .500"),
        ("wrong", "is not the one that was expected"),
    ],
)
def test_refusals_are_one_sentence_and_nothing_wrong_is_kept(
    server: Server, tmp_path: Path, fault: str, message: str
) -> None:
    server.faults = [fault]
    with pytest.raises(DownloadError, match=message):
        fetched(server, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_offline_short_disk_and_no_web_address_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match=r"cannot be reached .*HTTPS_PROXY.*`source`"):
        fetch(FILES, f"http://127.0.0.1:{free_port()}", tmp_path)
    with pytest.raises(DownloadError, match="not a web address"):
        fetch(FILES, "file:///etc", tmp_path)
    full = shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DownloadError, match="1 MB are needed and 1 MB are free"):
        fetch(FILES, "http://127.0.0.1:1", tmp_path)
