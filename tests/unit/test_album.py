"""A library in the browser, in this process: who may see it, its rows, its steps, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from io import BytesIO
from itertools import islice
from pathlib import Path
from posixpath import normpath
from typing import Any

import pillow_heif
import pytest
from commands import CALL, landmarks
from exiftool_process import needs_exiftool
from PIL import Image
from serving import serving_by
from starlette.testclient import TestClient
from tiny_model import COLOURS, add_reference, calibrated, camera_exif, make_model, save_colour

from landmarks.cli import main
from landmarks.errors import InputError, ModelError, SettingsError, StorageError
from landmarks.fewshot.enrollment import Teacher
from landmarks.fewshot.learned import read_learned
from landmarks.files.state import state_of, user_cache
from landmarks.imaging.decoding import load_image
from landmarks.imaging.thumbnails import load_small
from landmarks.library.library import LEDGER, Library
from landmarks.library.review.judging import judge
from landmarks.library.review.steps import Steps
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket
from landmarks.model.folder import read_info
from landmarks.serving.album.album import Album
from landmarks.serving.album.app import create_app
from landmarks.serving.album.catalogue import Catalogue, Photo
from landmarks.serving.album.incoming.access import Sessions
from landmarks.serving.album.opened import Opened
from landmarks.serving.album.process import run
from landmarks.serving.album.routes import Events
from landmarks.serving.album.rows import Standing
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.album.workbench import Workbench
from landmarks.serving.middleware.security import HEADERS
from landmarks.tagging.settings import TagSettings

TOWER, HENGE, GREY = COLOURS["07.Eiffel_Tower"], COLOURS["31.Stonehenge"], COLOURS["background"]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def taught_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be taught; copied by those who do so."""
    return add_reference(make_model(tmp_path_factory.mktemp("taught") / "colours", calibration=calibrated()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path / "holiday")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Page]:
    """An open page of a library in which nothing changes."""
    with opened_page(draw(tmp_path_factory.mktemp("calm") / "holiday"), model) as page:
        page.settled()
        yield page


def draw(folder: Path) -> Path:
    """Draw eight photos, no two of them alike to the byte."""
    for number in range(3):
        save_colour(folder / "paris" / f"tower{number}.jpg", TOWER, (640 + number, 480))
        save_colour(folder / f"grey{number}.jpg", GREY, (640 + number, 480))
    exif = camera_exif((51.18, -1.83), "2024:05:01 10:00:00")
    save_colour(folder / "henge.jpg", HENGE, (480, 640), exif)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


class Page:
    """What a page of the library can do, with waits for the background work."""

    def __init__(self, client: TestClient, opened: Opened) -> None:
        self.client = client
        self.opened = opened

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def rows(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.get("/api/photos")["photos"]}

    def ids(self, *names: str) -> list[int]:
        rows = self.rows()
        return [rows[name]["id"] for name in names]

    def wait(self, reached: Callable[[], Any], seconds: float = 60.0) -> Any:
        ends = time.monotonic() + seconds
        while not (found := reached()):
            assert time.monotonic() < ends, (self.get("/api/library"), self.rows())
            time.sleep(0.01)
        return found

    def settled(self) -> dict[str, Any]:
        """The rows once all is tagged."""
        return self.wait(
            lambda: (
                (rows := self.rows())
                and self.get("/api/library")["tagging"]["state"] == "idle"
                and all(row["state"] != "waiting" for row in rows.values())
                and rows
            )
        )


@contextmanager
def opened_page(root: Path, model: Path, *, enter: bool = True, **more: Any) -> Iterator[Page]:
    options = more.pop("options", WriteOptions())
    settings = AlbumSettings(root, model, TagSettings(), options, look_seconds=0.02, **more)
    opened = Opened(settings)
    with TestClient(create_app(opened, "127.0.0.1"), base_url="http://127.0.0.1:8400") as client:
        if enter:
            assert client.get(f"/?token={opened.sessions.link()}", follow_redirects=False).status_code == 303
        yield Page(client, opened)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and LEDGER.parts[0] not in path.parts
    }


def keywords(photo: Path) -> tuple[str, ...]:
    return XmpPacket(photo.with_name(photo.name + ".xmp").read_bytes()).entries().keywords


# --- who may see it ---


def test_a_link_opens_once_and_everything_else_needs_its_cookie(root: Path, model: Path) -> None:
    with opened_page(root, model, enter=False) as page:
        for path in ("/", "/api/library", "/api/photos", "/thumbnails/1", "/shared/dom.js", "/api/events"):
            answer = page.client.get(path)
            assert answer.status_code == 401
            assert "link" in answer.json()["error"]["message"]
        token = page.opened.sessions.link()
        answer = page.client.get(f"/?token={token}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie, "or a link in web mail leads nowhere"
        assert page.get("/api/library")["title"] == "holiday"
        page.client.cookies.clear()
        assert page.client.get(f"/?token={token}").status_code == 401


def test_a_link_that_was_used_leads_to_the_page_whose_session_is_open(root: Path, model: Path) -> None:
    with opened_page(root, model, enter=False) as page:
        link = f"/?token={page.opened.sessions.link()}"
        assert page.client.head(link, follow_redirects=False).status_code == 401, "as mail programs look at links"
        for _ in range(2):
            answer = page.client.get(link, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
        fresh = page.opened.sessions.link()
        assert page.client.get(f"/?token={fresh}", follow_redirects=False).status_code == 303
        assert page.client.head(link, follow_redirects=False).status_code == 303
        page.client.cookies.clear()
        for method in ("GET", "POST"):
            answer = page.client.request(method, link, json={})
            assert (answer.status_code, "used before" in answer.text) == (401, method == "GET")


def test_another_window_gets_a_link_of_its_own(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        link = page.post("/api/links", {})["url"]
        assert link.startswith("http://127.0.0.1:8400/?token=")
        page.client.cookies.clear()
        assert page.client.get(link, follow_redirects=False).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8400", **JSON}, 403),
        ({"origin": "http://evil.example", **JSON}, 403),
        ({"origin": "http://127.0.0.1:3000", **JSON}, 403),
        ({"origin": "http://127.0.0.1:8400", "sec-fetch-site": "cross-site", **JSON}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"origin": "http://127.0.0.1:8400", **JSON}, 200),
    ],
)
def test_other_pages_cannot_ask(calm: Page, headers: dict[str, str], status: int) -> None:
    assert calm.client.post("/api/links", content=b"{}", headers=headers).status_code == status


ASK = """
const { ApiError, get, post } = await import(`data:text/javascript,${encodeURIComponent(process.argv[1])}`);
const said = (message) => JSON.stringify({ error: { message } });
for (const [text, status] of [["{", 200], [said(""), 400], ["<p>", 502], [said("no"), 404]]) {
  globalThis.fetch = async () => new Response(text, { status });
  const error = await get("library").catch((error) => error);
  console.log(error instanceof ApiError, error.message);
}
globalThis.fetch = async () => { throw new TypeError("Failed to fetch"); };
for (const ask of [get, post]) console.log(await ask("undo").catch((error) => error.message));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_says_in_a_sentence_what_is_wrong_with_an_odd_answer() -> None:
    module = files("landmarks.serving.album").joinpath("static", "api.js")
    command = ["node", "--input-type=module", "-e", ASK, module.read_text(encoding="utf-8")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "true The answer of the program was cut off.",
        "true The program answered with status 400.",
        "true The program answered with status 502.",
        "true No",
        "The program does not answer: nothing was changed.",
        "The program does not answer: see whether it was done before you do it again.",
    ]


def test_a_session_that_cannot_be_stored_is_open_until_the_end() -> None:
    sessions = Sessions(known=lambda _digest: False, store=lambda _digest: None)
    secret = sessions.exchange(sessions.link())
    assert secret is not None
    assert sessions.is_open(secret)
    assert not sessions.is_open("another")


def test_a_session_outlives_a_restart(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        cookies = dict(page.client.cookies)
    with opened_page(root, model, enter=False) as page:
        page.client.cookies.update(cookies)
        assert page.get("/api/library")["title"] == "holiday"


def test_every_answer_has_the_security_headers(calm: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict[str, Any]:
        raise RuntimeError("a fault of ours")

    def status(method: str, path: str, **more: Any) -> int:
        answer = calm.client.request(method, path, follow_redirects=False, **more)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json()["error"]["message"], path
        return answer.status_code

    digits = "7" * 5000
    for kind in ("thumbnails", "previews", "heatmaps", "api/photos"):
        assert [status("GET", f"/{kind}/{number}") for number in (digits, "x", "-1", "٣")] == [404] * 4
    assert status("GET", f"/api/photos?since={digits}") == 422
    for text in (r"\ud800", r"a\u0000b", r"\u001b[2J"):
        for path in ("verdicts", "teach"):
            body = f'{{"photos": [1], "verdict": "rename", "name": "{text}", "key": "{text}"}}'
            assert status("POST", f"/api/{path}", content=body, headers=JSON) == 422
    assert status("GET", "/api/library/") == 404, "and no redirect to an absolute address"
    assert status("GET", "/nothing") == 404
    assert status("PUT", "/api/library", content="{}", headers=JSON) == 405
    assert status("GET", "/", headers={"host": "evil.example"}) == 403
    monkeypatch.setattr(Workbench, "detail", broken)
    assert status("GET", f"/api/photos/{calm.ids('henge.jpg')[0]}") == 500
    monkeypatch.setattr(Opened, "library", broken)
    assert [status("GET", path) for path in ("/", "/api/library")] == [500, 500]


def test_a_link_by_the_name_of_the_machine_opens_where_it_has_no_address(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.socket.connect", no_route)
    monkeypatch.setattr("socket.gethostname", lambda: "Attic")
    opened = Opened(AlbumSettings(root, model, TagSettings(), WriteOptions()))
    with TestClient(create_app(opened, "0.0.0.0"), base_url="http://127.0.0.1") as client:
        client.get(f"/?token={opened.sessions.link()}", follow_redirects=False)
        link = client.post("/api/links", json={}).json()["url"]
        assert link.startswith("http://Attic:80/?token=")
        assert client.get(link, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "localhost:80"])
def test_a_link_for_other_machines_has_the_port_that_is_listened_on(
    root: Path, model: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landmarks.serving.album.routes._own_address", lambda: "192.0.2.2")
    opened = Opened(AlbumSettings(root, model, TagSettings(), WriteOptions()))
    with TestClient(create_app(opened, "0.0.0.0"), base_url="http://127.0.0.1") as client:
        client.get(f"/?token={opened.sessions.link()}", follow_redirects=False)
        link = client.post("/api/links", json={}, headers={"host": host}).json()["url"]
        assert link.startswith("http://192.0.2.2:80/?token=")


# --- rows ---


def test_photos_are_listed_read_and_tagged(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        rows = page.settled()
        assert {name: row["state"] for name, row in rows.items()} == {
            **dict.fromkeys(["tower0.jpg", "tower1.jpg", "tower2.jpg", "henge.jpg"], "tagged"),
            **dict.fromkeys(["grey0.jpg", "grey1.jpg", "grey2.jpg"], "unknown"),
            "broken.jpg": "unreadable",
        }
        tower = rows["tower0.jpg"]
        assert (tower["folder"], tower["name_of_tag"], tower["level"]) == ("paris", "Eiffel Tower", "landmark")
        assert (tower["city"], tower["country"], tower["verdict"]) == ("Paris", "France", None)
        assert tower["tags"] == ["Eiffel Tower", "Paris", "France"]
        assert (tower["position"], round(tower["latitude"], 2)) == ("landmark", 48.86)
        henge = page.wait(lambda: (row := page.rows()["henge.jpg"])["taken"] and row)
        assert (henge["taken"], henge["camera"], henge["position"]) == ("2024-05-01T10:00:00", "drawn", "camera")
        assert "not a picture" in rows["broken.jpg"]["reason"]
        assert keywords(root / "paris" / "tower0.jpg") == ("Eiffel Tower", "Paris", "France")
        tagging = page.get("/api/library")["tagging"]
        assert tagging == {"state": "idle", "done": 8, "total": 8, "unreadable": 1, "message": None}


def test_what_is_skipped_is_counted_but_for_what_is_ours(root: Path, model: Path) -> None:
    for name in ("film.mp4", "film.mov", "Thumbs.db", ".hidden.jpg"):
        (root / name).write_bytes(b"no photo")
    with opened_page(root, model) as page:
        page.settled()
        assert page.wait(lambda: page.get("/api/library")["skipped"]) == "2 videos"
        (root / "film.mov").unlink()
        page.wait(lambda: page.get("/api/library")["skipped"] == "1 video")


def test_a_library_inside_stays_one_of_its_own(root: Path, model: Path) -> None:
    save_colour(root / "rome" / "tower.jpg", TOWER, (700, 480))
    assert main(["tag", str(root / "rome"), "--write", "--model", str(model), "-q"]) == 0
    with opened_page(root, model) as page:
        assert "tower.jpg" not in page.settled()
        assert page.get("/api/library")["skipped"] == "1 library of its own"
    with opened_page(root / "rome", model) as page:
        assert list(page.settled()) == ["tower.jpg"]


@pytest.mark.parametrize("option", ["ledger", "state"])
def test_a_ledger_may_be_elsewhere(root: Path, model: Path, tmp_path: Path, option: str) -> None:
    place = tmp_path / "elsewhere"
    command = [str(root), "--write", "--model", str(model), "-q", f"--{option}", str(place)]
    main(["tag", *command])
    assert main(["reject", str(root / "paris" / "tower0.jpg"), "Eiffel Tower", f"--{option}", str(place)]) == 0
    with opened_page(root, model, **{option: place}) as page:
        assert page.settled()["tower0.jpg"]["rejected"] == ["Eiffel Tower"]
        page.post("/api/verdicts", {"photos": page.ids("tower1.jpg"), "verdict": "confirm"})
    assert not (root / LEDGER).exists()
    assert main(["undo", str(root), f"--{option}", str(place), "-q"]) == 0
    assert not list(root.rglob("*.xmp"))


def test_only_what_has_changed_is_sent_again(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        before = page.wait(lambda: all(row["version"] for row in page.rows().values()) and page.get("/api/photos"))
        seen: list[int] = []  # the look that reads the last camera may still be going on
        page.wait(lambda: seen.append(page.get("/api/photos")["revision"]) or seen[-20:] == seen[-1:] * 20)
        before = page.get("/api/photos")
        (number,) = page.ids("tower1.jpg")
        page.post("/api/verdicts", {"photos": [number], "verdict": "confirm"})
        (root / "grey2.jpg").unlink()
        gone = next(row["id"] for row in before["photos"] if row["name"] == "grey2.jpg")
        later = page.wait(
            lambda: (answer := page.get(f"/api/photos?since={before['revision']}"))["removed"] == [gone] and answer
        )
        assert [row["id"] for row in later["photos"]] == [number]
        assert not later["complete"]
        assert page.get("/api/photos?since=7")["complete"], "a revision of an earlier process"


def test_a_second_start_shows_everything_at_once_and_tags_nothing_again(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        before = page.settled()
        before = page.wait(lambda: (rows := page.rows())["henge.jpg"]["taken"] and rows)
    opened = Opened(AlbumSettings(root, model, TagSettings(), WriteOptions()))
    try:
        shown = {row["name"]: row for row in json.loads(opened.album.answer())["photos"]}
        assert shown == before
        opened.start()
        identity = opened.workbench().result().tagger.identity
        assert {photo.answered for photo in opened.album.photos()} == {identity}
    finally:
        opened.close()


def test_a_step_right_after_the_start_waits_for_the_ledger(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        [tower] = page.ids("tower0.jpg")
    with opened_page(root, model) as page:
        [row] = page.post("/api/verdicts", {"photos": [tower], "verdict": "confirm"})["photos"]
        assert row["verdict"] == "confirmed"


def test_the_first_page_of_a_second_start_waits_for_neither_model_nor_numpy(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        page.wait(lambda: page.rows()["henge.jpg"]["taken"])
        numbers = page.ids("henge.jpg")
        assert page.client.get(f"/thumbnails/{numbers[0]}").status_code == 200
    code = f"""
import sys
from pathlib import Path
from starlette.testclient import TestClient
from landmarks.cli import open
from landmarks.metadata.settings import WriteOptions
from landmarks.model.folder import find_model
from landmarks.serving.album.app import create_app
from landmarks.serving.album.incoming.access import Sessions
from landmarks.serving.album.opened import Opened
from landmarks.serving.album.settings import AlbumSettings
from landmarks.tagging.settings import TagSettings

opened = Opened(AlbumSettings(Path({str(root)!r}), find_model({str(model)!r}), TagSettings(), WriteOptions()))
client = TestClient(create_app(opened, "127.0.0.1"), base_url="http://127.0.0.1:8400")
client.get(f"/?token={{opened.sessions.link()}}")
for path in ("/", "/api/library", "/api/photos", "/thumbnails/{numbers[0]}"):
    assert client.get(path).status_code == 200, path
assert client.get("/api/library").json()["tagging"]["state"] == "starting"
assert len(client.get("/api/photos").json()["photos"]) == 8
print([name for name in ("numpy", "onnxruntime", "PIL") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_page_comes_with_its_newest_photos_and_files_that_are_kept(root: Path, model: Path) -> None:
    for number, name in enumerate(("<b>", "</script>", "plain")):
        (root / name).mkdir(parents=True)
        exif = camera_exif(None, f"2024:06:0{number + 1} 10:00:00")
        save_colour(root / name / "one.jpg", GREY, (650 + number, 480), exif)
    with opened_page(root, model) as page:
        rows = page.wait(lambda: len(rows := page.get("/api/photos")["photos"]) == 11 and rows)
        page.wait(lambda: sum(row["taken"] is not None for row in page.get("/api/photos")["photos"]) == 4)
        page.settled()
        rows = {row["id"]: row for row in page.get("/api/photos")["photos"]}
        text = page.client.get("/").text
        first = json.loads(
            re.search(r'<script id="first" type="application/json">(.*?)</script>', text, re.DOTALL)[1]
        )
        assert first["info"]["title"] == "holiday"
        assert {row["id"]: row for row in first["photos"]} == rows
        assert [row["folder"] for row in first["photos"][:4]] == ["plain", "</script>", "<b>", ""]
        early = [row for row in first["photos"] if row["state"] != "unreadable"]
        pictures = [f"thumbnails/{row['id']}?v={row['version']}" for row in early]
        assert re.findall(r'<img src="(thumbnails[^"]+)"', text) == pictures
        linked = re.findall(r'(?:href|src)="([^"]+)"', text)
        modules = re.findall(r'rel="modulepreload" href="([^"]+)"', text)
        assert len(modules) > 30
        for path in {one for one in linked if not one.startswith(("#", "thumbnails"))}:
            answer = page.client.get(f"/{path}")
            assert answer.status_code == 200, path
            kept = path.endswith((".webmanifest", "icon-512.png"))
            assert ("immutable" in answer.headers["cache-control"]) is not kept, path
            imported = re.findall(r'from "([^"]+)"', answer.text) if path.endswith(".js") else []
            assert {normpath(f"{path}/../{one}") for one in imported} <= {*modules}, path


def test_a_damaged_model_ends_the_command_with_a_sentence(root: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "damaged")
    (model / "model.json").write_text("{}")
    settings = AlbumSettings(root, model, TagSettings(), WriteOptions())
    with pytest.raises(ModelError, match="damaged"):
        run(settings, "127.0.0.1", 0)


def test_new_and_changed_photos_appear(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        save_colour(root / "new.jpg", HENGE)
        save_colour(root / "paris" / "tower0.jpg", HENGE, (700, 500))
        rows = page.wait(
            lambda: (
                (rows := page.rows()).get("new.jpg", {}).get("name_of_tag") == "Stonehenge"
                and rows["tower0.jpg"]["name_of_tag"] == "Stonehenge"
                and rows
            )
        )
        assert rows["new.jpg"]["state"] == "tagged"


def test_photos_tagged_with_other_options_keep_their_tags(root: Path, model: Path) -> None:
    assert main(["tag", "--write", "--places", "--model", str(model), "-q", str(root)]) == 2  # one is broken
    before = files_of(root)
    with opened_page(root, model) as page:
        rows = page.settled()
        assert "Lark Hill" in rows["henge.jpg"]["tags"]
        page.wait(lambda: all(photo.answered for photo in page.opened.album.photos()))
    assert files_of(root) == before


def test_a_verdict_stands_in_another_language(root: Path, model: Path) -> None:
    tower = root / "paris" / "tower0.jpg"
    with opened_page(root, model) as page:
        page.settled()
        page.post("/api/verdicts", {"photos": page.ids(tower.name), "verdict": "confirm"})
    assert landmarks("relabel", root, "--language", "de").status == 0
    with opened_page(root, model) as page:
        row = page.wait(lambda: (row := page.rows()[tower.name])["name_of_tag"] == "Eiffelturm" and row)
        assert row["verdict"] == "confirmed"


def test_an_estimated_place_is_told_apart_until_it_is_confirmed(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "paris"
    save_colour(root / "phone.jpg", GREY, (640, 480), camera_exif((48.8566, 2.3522), "2024:05:01 10:00:00"))
    save_colour(root / "camera.jpg", GREY, (641, 480), camera_exif(None, "2024:05:01 10:10:00"))
    assert main(["tag", "--write", "--places", "--trips", "--model", str(model), "-q", str(root)]) == 0
    before = files_of(root)
    assert "Paris (estimated)" in keywords(root / "camera.jpg")
    with opened_page(root, model) as page:
        row = page.settled()["camera.jpg"]
        shown = {key: row[key] for key in ("name_of_tag", "source", "position", "probability", "verdict")}
        assert shown == dict(zip(shown, ("Paris", "estimated", "estimated", None, None), strict=True))
        assert (round(row["latitude"], 1), round(row["longitude"], 1)) == (48.9, 2.4)
        assert page.rows()["phone.jpg"]["source"] == "position"
        [camera] = page.ids("camera.jpg")
        [row] = page.post("/api/verdicts", {"photos": [camera], "verdict": "confirm"})["photos"]
        assert (row["source"], row["verdict"], row["position"]) == ("position", "confirmed", "town")
        assert "Paris" in keywords(root / "camera.jpg")
        assert not any("estimated" in one for one in keywords(root / "camera.jpg"))
        page.post("/api/undo", {})
        assert page.rows()["camera.jpg"]["source"] == "estimated"
    assert files_of(root) == before


# --- pictures ---


def test_pictures_of_a_photo(root: Path, model: Path) -> None:
    save_colour(root / "large.png", TOWER, (3000, 1500))
    with opened_page(root, model) as page:
        rows = page.settled()
        number, version = rows["large.png"]["id"], rows["large.png"]["version"]
        for kind, size in (("thumbnails", (256, 128)), ("previews", (2048, 1024)), ("heatmaps", (1024, 512))):
            answer = page.client.get(f"/{kind}/{number}?v={version}")
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.headers["cache-control"].endswith("no-store" if kind == "heatmaps" else "immutable")
            with Image.open(BytesIO(answer.content)) as image:
                assert image.size == size
        answer = page.client.get(f"/thumbnails/{rows['broken.jpg']['id']}")
        assert answer.status_code == 422
        assert "not a picture" in answer.json()["error"]["message"]
        assert page.client.get("/thumbnails/999").status_code == 404
        stored = page.opened.catalogue.thumbnail(b"large.png", version)
        assert stored is not None


def test_a_photo_that_vanished_is_not_found(root: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_page(root, model) as page:
        page.settled()
        [number] = page.ids("tower0.jpg")
        monkeypatch.setattr(Album, "remove", lambda *_: None)  # the look that misses it has not come yet
        monkeypatch.setattr(Catalogue, "thumbnail", lambda *_: None)
        (root / "paris" / "tower0.jpg").unlink()
        for kind in ("thumbnails", "previews", "heatmaps"):
            answer = page.client.get(f"/{kind}/{number}")
            assert (answer.status_code, "no longer" in answer.json()["error"]["message"]) == (404, True), kind


def test_file_names_need_not_be_utf8(tmp_path: Path, model: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    save_colour(root / os.fsdecode(b"tour\xe9.jpg"), TOWER)
    (root / os.fsdecode(b"bris\xe9.jpg")).write_bytes(b"no picture")
    with opened_page(root, model) as page:
        rows = page.wait(lambda: len(rows := page.rows()) == 2 and rows)
        assert page.get("/api/library")["title"] == root.name
        assert page.client.get("/").status_code == 200
        for name, row in rows.items():
            assert page.get(f"/api/photos/{row['id']}")["path"] == str(root / name)
            shown = page.client.get(f"/previews/{row['id']}").status_code
            assert shown == (200 if name.startswith("tour") else 422)


@pytest.mark.parametrize("size", [(480, 360), (360, 480)])
def test_a_heic_is_shown_by_the_small_copy_in_it_if_that_is_large_enough(size: tuple[int, int]) -> None:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    content = BytesIO()
    pillow_heif.from_pillow(image).save(content, quality=20, thumbnails=[320])
    small = load_small(content.getvalue(), 320)
    stored = pillow_heif.open_heif(content.getvalue())[0].get_thumbnail(0).to_pillow()
    assert small.tobytes() == stored.tobytes()
    assert load_small(content.getvalue(), 400).size == tuple(side * 400 // 480 for side in size)
    assert min(load_image(content.getvalue(), min_side=240).size) == 360, "a recogniser sees the picture itself"


def test_detail_of_a_photo(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        number, other = page.ids("tower0.jpg", "tower1.jpg")
        page.post("/api/verdicts", {"photos": [other], "verdict": "confirm"})
        detail = page.wait(lambda: (found := page.get(f"/api/photos/{number}"))["width"] and found)
        assert (detail["width"], detail["height"]) == (640, 480)
        assert detail["path"] == str(root / "paris" / "tower0.jpg")
        assert detail["candidates"][0]["key"] == "eiffel_tower"
        assert "Eiffel Tower" in detail["reasons"]
        assert [one["id"] for one in detail["neighbours"]] == [other]
        similar = page.get(f"/api/similar?id={number}&limit=2")
        assert len(similar) == 2
        assert similar[0]["similarity"] > 0.99


def test_places_are_found_in_all_languages(calm: Page) -> None:
    assert calm.get("/api/places?q=eif&limit=3")[0]["key"] == "eiffel_tower"
    assert calm.get("/api/places?q=clerigos")[0]["name"] == "Clérigos Tower"
    assert calm.get("/api/places?q=kolosseum")[0]["name"] == "Colosseum"
    assert calm.get("/api/places?q=") == []
    towns = calm.get("/api/towns?south=45&west=8&north=50&east=12&limit=2")
    assert [name for name, *_ in towns] == ["Milan", "Munich"]


# --- steps ---


def test_everything_is_undone_byte_for_byte(root: Path, taught_model: Path, tmp_path: Path) -> None:
    made = files_of(root)
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        page.settled()
        tagged = files_of(root)
        first, second, grey, more = page.ids("tower0.jpg", "tower1.jpg", "grey0.jpg", "grey1.jpg")
        page.post("/api/verdicts", {"photos": [first, second], "verdict": "confirm"})
        page.post("/api/verdicts", {"photos": [second], "verdict": "reject"})
        page.post("/api/verdicts", {"photos": [first, grey], "verdict": "rename", "key": "stonehenge"})
        assert "Stonehenge" in keywords(root / "grey0.jpg")
        page.post("/api/teach", {"photos": [more], "name": "Aunt's house", "latitude": 48.1, "longitude": 11.5})
        assert (model / "learned.npz").exists()
        assert "Munich" in keywords(root / "grey1.jpg")
        page.settled()
        steps = [page.post("/api/undo", {})["step"] for _ in range(4)]
        assert steps[0] == "Taught Aunt's house from 1 photo"
        assert steps[1:] == ["Named 2 photos Stonehenge", "Rejected 1 photo", "Confirmed 2 photos"]
        assert not (model / "learned.npz").exists()
        assert "nothing to undo" in page.post("/api/undo", {}, 409)["error"]["message"]
        page.settled()
        assert files_of(root) == tagged
        assert not any(row["verdict"] or row["rejected"] for row in page.rows().values())
    assert main(["undo", str(root)]) == 0
    assert files_of(root) == made


def test_steps_are_done_again(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        (number,) = page.ids("tower0.jpg")
        done = page.post("/api/verdicts", {"photos": [number], "verdict": "rename", "name": "Stonehenge"})
        assert (done["can_undo"], done["can_redo"], done["refused"]) == (1, 0, [])
        (row,) = done["photos"]
        assert (row["name_of_tag"], row["verdict"], row["rejected"]) == (
            "Stonehenge",
            "confirmed",
            ["Eiffel Tower"],
        )
        undone = page.post("/api/undo", {})
        assert (undone["photos"][0]["name_of_tag"], undone["can_redo"]) == ("Eiffel Tower", 1)
        again = page.post("/api/redo", {})
        assert again["photos"] == [row]
        assert again["step"] == "Named 1 photo Stonehenge"
        cleared = page.post("/api/verdicts", {"photos": [number], "verdict": "clear"})["photos"][0]
        assert (cleared["name_of_tag"], cleared["verdict"], cleared["rejected"]) == ("Eiffel Tower", None, [])
        assert page.get("/api/library")["can_undo"] == 2


def test_a_step_of_another_window_is_not_undone_in_its_place(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()

        def said(name: str, verdict: str) -> int:
            (photo,) = page.ids(name)
            number: int = page.post("/api/verdicts", {"photos": [photo], "verdict": verdict})["number"]
            return number

        phone, desktop = said("tower0.jpg", "confirm"), said("tower1.jpg", "reject")
        refused = page.post("/api/undo", {"number": phone}, 409)
        assert "another step was made since" in refused["error"]["message"]
        assert page.rows()["tower1.jpg"]["rejected"] == ["Eiffel Tower"]
        assert [page.post("/api/undo", {"number": one})["number"] for one in (desktop, phone)] == [desktop, phone]
        page.post("/api/redo", {"number": desktop}, 409)
        assert page.post("/api/redo", {"number": phone})["number"] == phone
        assert page.post("/api/undo", {"number": "x"}, 422)


def test_what_was_taught_is_looked_for_at_once(root: Path, taught_model: Path, tmp_path: Path) -> None:
    purple = (150, 30, 150)
    for number in range(6):
        save_colour(root / f"aunt{number}.jpg", purple, (600 + number, 480))
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        assert page.settled()["aunt5.jpg"]["state"] == "unknown"
        groups = page.get("/api/suggestions")
        shown = page.ids(*(f"aunt{number}.jpg" for number in range(5)))
        assert set(groups[0]["photos"]) >= set(shown)
        answer = page.post(
            "/api/teach", {"photos": shown, "name": "Aunt's house", "latitude": 48.1, "longitude": 11.5}
        )
        assert (answer["landmark"], len(answer["photos"]), answer["can_undo"]) == ("Aunt's house", 5, 1)
        found = page.wait(lambda: (row := page.rows()["aunt5.jpg"])["state"] == "tagged" and row)
        assert (found["name_of_tag"], found["verdict"], found["city"]) == ("Aunt's house", None, "Munich")
        assert page.client.get(f"/heatmaps/{found['id']}").status_code == 200, (
            "of what the network found likeliest"
        )
        assert page.get("/api/places?q=aunt")[0] | {"learned": True} == page.get("/api/places?q=aunt")[0]
        rows = page.settled()
        assert rows["tower0.jpg"]["name_of_tag"] == "Eiffel Tower"
        page.post("/api/undo", {})
        page.wait(lambda: page.rows()["aunt5.jpg"]["state"] == "unknown")
        assert page.get("/api/places?q=aunt") == []
        Teacher(model).learn("Aunt's house", [root / f"aunt{number}.jpg" for number in range(5)])
        page.wait(lambda: page.rows()["aunt5.jpg"]["state"] == "tagged")


def test_undo_of_teaching_leaves_what_was_taught_since(root: Path, taught_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        page.settled()
        page.post("/api/teach", {"photos": page.ids("grey0.jpg"), "name": "Shed"})
        teacher = Teacher(model)
        teacher.learn("Shed", [root / "henge.jpg"])
        page.post("/api/undo", {})
        assert learnt(model) == {"Shed": 1}
        assert teacher.learn("Shed", [root / "henge.jpg"]).added == 0


def test_the_pin_decides_which_place_of_a_name_is_taught(root: Path, taught_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        page.settled()
        grey = page.ids("grey0.jpg")
        answer = page.post("/api/teach", {"photos": grey, "name": "Frauenkirche"})
        assert "Frauenkirche: taken for Frauenkirche, Munich, Germany" in answer["warnings"][-1]
        assert answer["photos"][0]["city"] == "Munich"
        page.post("/api/undo", {})
        there = {"latitude": 51.052, "longitude": 13.741}
        answer = page.post("/api/teach", {"photos": grey, "name": "Frauenkirche", **there})
        assert (answer["photos"][0]["city"], len(answer["warnings"])) == ("Dresden", 1)
        named = page.post(
            "/api/verdicts", {"photos": page.ids("tower0.jpg"), "verdict": "rename", "key": "frauenkirche"}
        )
        assert named["photos"][0]["city"] == "Munich", "that of the gazetteer can be chosen all the same"


def full_disk(*_: object, **__: object) -> Any:
    raise StorageError("the disk is full: free some space")


def learnt(model: Path) -> dict[str, int]:
    """The landmarks that a model was taught, with the number of their photos."""
    return {one.name: len(one.vectors) for one in read_learned(model, read_info(model)).landmarks}


def test_a_step_of_teaching_that_fails_leaves_nothing_taught(
    root: Path, taught_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        page.settled()
        grey = page.ids("grey0.jpg", "grey1.jpg")
        with monkeypatch.context() as patch:
            patch.setattr(Steps, "make", full_disk)
            assert "full" in page.post("/api/teach", {"photos": grey, "name": "Shed"}, 503)["error"]["message"]
        assert learnt(model) == {}
        assert page.get("/api/library")["can_undo"] == 0
        page.post("/api/teach", {"photos": grey[:1], "name": "Shed"})
        assert list(learnt(model)) == ["Shed"]
        page.post("/api/undo", {})
        (root / "grey0.jpg").write_bytes(b"no picture")
        answer = page.post("/api/teach", {"photos": grey, "name": "Shed"})
        assert ([one["id"] for one in answer["photos"]], answer["refused"][0]["id"]) == (grey[1:], grey[0])
        assert answer["warnings"] == ["Shed: 1 photo: five or more are better, expect wrong tags"]
        with monkeypatch.context() as patch:
            patch.setattr("landmarks.library.review.steps.judge", full_disk)
            page.post("/api/teach", {"photos": page.ids("tower0.jpg"), "name": "Mast"}, 503)
        assert list(learnt(model)) == ["Shed", "Mast"], "the step was recorded: it can be undone"
        page.post("/api/undo", {})
        assert list(learnt(model)) == ["Shed"]
        named = page.post("/api/verdicts", {"photos": page.ids("tower1.jpg"), "verdict": "rename", "key": "Shed"})
        assert named["photos"][0]["name_of_tag"] == "Shed"


def test_what_a_step_did_before_it_failed_is_shown(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filling(*arguments: Any, **more: Any) -> Iterator[Any]:
        yield from islice(judge(*arguments, **more), 1)
        full_disk()

    with opened_page(root, model) as page:
        page.settled()
        towers = page.ids("tower0.jpg", "tower1.jpg")
        with monkeypatch.context() as patch:
            patch.setattr("landmarks.library.review.steps.judge", filling)
            page.post("/api/verdicts", {"photos": towers, "verdict": "confirm"}, 503)
        shown = {name: row["verdict"] for name, row in page.rows().items()}
        assert (shown["tower0.jpg"], page.get("/api/library")["can_undo"]) == ("confirmed", 1)
        page.post("/api/undo", {})
        assert not any(row["verdict"] for row in page.rows().values())


def test_ledger_and_model_agree_where_undo_or_redo_of_teaching_fails(
    root: Path, taught_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(taught_model, tmp_path / "model")
    with opened_page(root, model) as page:
        page.settled()
        page.post("/api/teach", {"photos": page.ids("grey0.jpg"), "name": "Shed"})
        with monkeypatch.context() as patch:
            patch.setattr("landmarks.serving.album.review.forget", full_disk)
            page.post("/api/undo", {}, 503)
        assert (page.get("/api/library")["can_undo"], page.rows()["grey0.jpg"]["verdict"]) == (1, "confirmed")
        page.post("/api/undo", {})
        assert learnt(model) == {}
        with monkeypatch.context() as patch:
            patch.setattr("landmarks.serving.album.review.Teacher", full_disk)
            page.post("/api/redo", {}, 503)
        assert (page.get("/api/library")["can_redo"], page.rows()["grey0.jpg"]["verdict"]) == (1, None)
        page.post("/api/redo", {})
        assert main(["forget", "Shed", "--model", str(model)]) == 0
        assert page.post("/api/undo", {})["can_undo"] == 0, "that it is forgotten already is no error"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/verdicts", {"photos": [999], "verdict": "confirm"}, 404),
        ("/api/verdicts", {"photos": [], "verdict": "confirm"}, 422),
        ("/api/verdicts", {"photos": "all", "verdict": "confirm"}, 422),
        ("/api/verdicts", {"photos": [True], "verdict": "confirm"}, 422),
        ("/api/verdicts", {"photos": [1], "verdict": "delete"}, 422),
        ("/api/verdicts", {"photos": [1], "verdict": "rename"}, 422),
        ("/api/verdicts", {"photos": [1], "verdict": "rename", "name": "  "}, 422),
        ("/api/verdicts", {"photos": [1], "verdict": "rename", "key": "Nosuch/place"}, 422),
        ("/api/verdicts", {"photos": [1], "verdict": "rename", "key": "nosuch", "name": "Stonehenge"}, 422),
        ("/api/teach", {"photos": [1]}, 422),
        ("/api/teach", {"photos": [1], "name": "x", "latitude": 100, "longitude": 0}, 422),
        ("/api/teach", {"photos": [1], "name": "x", "latitude": 1}, 422),
        ("/api/tagging", {"running": "yes"}, 422),
        ("/api/redo", {}, 409),
        ("/api/nothing", {}, 404),
        ("/api/library", {}, 405),
    ],
)
def test_wrong_requests_get_a_sentence(calm: Page, path: str, body: dict[str, Any], status: int) -> None:
    assert calm.post(path, body, status)["error"]["message"]
    assert calm.get("/api/library")["can_undo"] == 0


def test_photos_without_a_tag_are_refused_and_the_others_judged(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()
        tower, grey = page.ids("tower0.jpg", "grey0.jpg")
        answer = page.post("/api/verdicts", {"photos": [tower, grey], "verdict": "confirm"})
        assert answer["refused"] == [{"id": grey, "reason": "it has no tag to confirm"}]
        assert [row["id"] for row in answer["photos"]] == [tower]
        answer = page.post("/api/verdicts", {"photos": [grey], "verdict": "reject"})
        assert answer["photos"] == []
        assert answer["can_undo"] == 1, "nothing was done"


# --- the tagging ---


def test_tagging_is_paused_and_goes_on(root: Path, model: Path) -> None:
    with opened_page(root, model, enter=False) as page:
        page.opened.workbench().result().tagger.pause(paused=True)
        page.client.get(f"/?token={page.opened.sessions.link()}", follow_redirects=False)
        save_colour(root / "late.jpg", HENGE)
        page.wait(lambda: page.rows().get("late.jpg"))
        time.sleep(0.1)
        assert page.rows()["late.jpg"]["state"] == "waiting"
        assert page.get("/api/library")["tagging"]["state"] == "paused"
        assert page.post("/api/tagging", {"running": True})["state"] in {"paused", "running", "idle"}
        page.wait(lambda: page.rows()["late.jpg"]["state"] == "tagged")


def test_a_full_disk_pauses_with_a_sentence(root: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Iterator[Any]:
        raise StorageError(f"{root}: the disk is full: free some space and run the command again")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(Library, "tag", full)
        with opened_page(root, model) as page:
            tagging = page.wait(lambda: (now := page.get("/api/library")["tagging"])["message"] and now)
            assert tagging["state"] == "paused"
            assert "the disk is full" in tagging["message"]
            patch.undo()
            page.post("/api/tagging", {"running": True})
            page.settled()
            assert page.get("/api/library")["tagging"]["message"] is None


def test_a_folder_that_disappears_is_told_and_comes_back(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        before = page.settled()
        away = root.rename(root.with_name("away"))
        tagging = page.wait(lambda: (now := page.get("/api/library")["tagging"])["message"] and now)
        assert tagging["state"] == "stopped"
        assert f"The folder {root} is gone" in tagging["message"]
        assert page.rows().keys() == before.keys()
        number = before["tower0.jpg"]["id"]
        answer = page.client.post("/api/verdicts", json={"photos": [number], "verdict": "confirm"})
        assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)
        away.rename(root)
        page.wait(lambda: page.get("/api/library")["tagging"]["message"] is None)
        page.post("/api/verdicts", {"photos": [number], "verdict": "confirm"})


def test_a_ledger_out_of_reach_for_a_moment_ends_nothing(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing, failures = Workbench.standing, iter([StorageError("the ledger cannot be read")] * 2)

    def failing(opened: Opened, photo: Photo) -> Standing:
        for failure in failures:
            raise failure
        return standing(opened, photo)

    monkeypatch.setattr(Workbench, "standing", failing)
    with opened_page(root, model) as page:
        rows = page.settled()
        assert rows["tower0.jpg"]["name_of_tag"] == "Eiffel Tower"
        page.wait(lambda: page.rows()["henge.jpg"]["taken"])


@pytest.mark.parametrize("read_only", [True, False])
def test_a_library_to_look_at_only(root: Path, model: Path, read_only: bool) -> None:
    root = root if read_only else root.rename(root.with_suffix(".photoslibrary"))
    before = files_of(root)
    with opened_page(root, model, read_only=read_only) as page:
        rows = page.settled()
        assert rows["tower0.jpg"]["name_of_tag"] == "Eiffel Tower"
        assert rows["broken.jpg"]["state"] == "unreadable"
        assert page.get("/api/library") | {"read_only": True, "writes": "nothing"} == page.get("/api/library")
        error = page.post("/api/verdicts", {"photos": page.ids("tower0.jpg"), "verdict": "confirm"}, 409)
        assert "nothing can be changed" in error["error"]["message"]
    assert files_of(root) == before
    assert not (root / LEDGER.parts[0]).exists()


def test_photos_in_a_locked_folder_are_shown_and_told(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "paris" and access(path, mode))
    with opened_page(root, model) as page:
        rows = page.settled()
        assert rows["tower0.jpg"]["name_of_tag"] == "Eiffel Tower"
        assert not (root / "paris" / "tower0.jpg.xmp").exists()
        assert (root / "henge.jpg.xmp").exists()
        message = page.get("/api/library")["tagging"]["message"]
        assert message == "3 photos in folders that cannot be written: their tags are only shown."
        (root / "paris" / "tower0.jpg").unlink()
        page.wait(lambda: "2 photos" in page.get("/api/library")["tagging"]["message"])
        monkeypatch.setattr(os, "access", access)
        page.wait(lambda: page.get("/api/library")["tagging"]["message"] is None)
        page.wait((root / "paris" / "tower1.jpg.xmp").exists)


def test_a_folder_without_photos_says_so(tmp_path: Path, model: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with opened_page(empty, model) as page:
        tagging = page.wait(lambda: (now := page.get("/api/library")["tagging"])["message"] and now)
        assert "There are no photos here yet" in tagging["message"]
        assert (tagging["state"], tagging["total"], page.get("/api/suggestions")) == ("idle", 0, [])
        save_colour(empty / "first.jpg", TOWER)
        page.wait(lambda: page.rows().get("first.jpg", {}).get("state") == "tagged")
        assert page.get("/api/library")["tagging"]["message"] is None


def test_a_folder_inside_a_library_uses_its_ledger(root: Path, model: Path) -> None:
    made = files_of(root)
    assert main(["tag", "--write", "--model", str(model), "-q", str(root / "grey0.jpg"), str(root)]) == 2
    with opened_page(root / "paris", model) as page:
        rows = page.settled()
        assert rows.keys() == {"tower0.jpg", "tower1.jpg", "tower2.jpg"}
        page.post("/api/verdicts", {"photos": [rows["tower0.jpg"]["id"]], "verdict": "reject"})
        assert page.get("/api/library")["title"] == "paris"
    assert not (root / "paris" / LEDGER.parts[0]).exists()
    assert main(["undo", str(root)]) == 0
    assert files_of(root) == made


@needs_exiftool
def test_in_place_the_photo_is_written(root: Path, model: Path) -> None:
    made = files_of(root)
    with opened_page(root, model, options=WriteOptions(in_place=True)) as page:
        page.settled()
        assert files_of(root).keys() == made.keys()
        tagged, before = files_of(root), page.rows()["tower0.jpg"]["version"]
        answer = page.post("/api/verdicts", {"photos": page.ids("tower0.jpg"), "verdict": "reject"})
        assert answer["photos"][0]["state"] == "unknown", "the new content is known"
        assert answer["photos"][0]["version"] != before
        assert page.get("/api/library")["writes"] == "photos"
        assert page.settled()["tower0.jpg"]["verdict"] == "rejected"
        page.post("/api/undo", {})
        assert files_of(root) == tagged


# --- what is remembered ---


def test_a_damaged_catalogue_is_made_again(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        before = page.settled()
    file = state_of(root, user_cache() / "albums") / "catalogue.sqlite3"
    assert file.is_file()
    for damage in (b"no database at all" * 100, file.read_bytes()[:4096] + b"\xff" * 8192):
        file.write_bytes(damage)
        with opened_page(root, model) as page:
            assert page.settled().keys() == before.keys()
    with sqlite3.connect(file) as catalogue:
        assert catalogue.execute("SELECT count(*) FROM photos").fetchone() == (8,)
    catalogue.close()


def test_thumbnails_not_used_make_room(root: Path, model: Path) -> None:
    with opened_page(root, model, cache_mb=1) as page:
        catalogue = page.opened.catalogue
        for number in range(12):
            catalogue.put_thumbnail(b"%d" % number, "v", bytes(100_000))
            catalogue.thumbnail(b"0", "v")
        kept = [number for number in range(12) if catalogue.thumbnail(b"%d" % number, "v")]
        assert kept[0] == 0, "it was used last"
        assert kept[-1] == 11
        assert 5 < len(kept) < 11


def test_wrong_settings_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Opened(AlbumSettings(tmp_path / "none", model, TagSettings(), WriteOptions()))
    with pytest.raises(SettingsError, match="`cache_mb` must be at least 1"):
        AlbumSettings(tmp_path, model, TagSettings(), WriteOptions(), cache_mb=0)


# --- events ---


def test_open_windows_are_told_what_changes(root: Path, model: Path) -> None:
    with opened_page(root, model) as page:
        page.settled()

        async def told() -> list[str]:
            events = Events(page.opened)
            events.begin()
            stream = events.stream()
            first = [await anext(stream) for _ in range(3)]
            photos = page.opened.album.photos()[:1]
            bench = page.opened.workbench().result()
            step = bench.step(lambda review: review.judge(photos, "rename", "stonehenge", None))
            await asyncio.wrap_future(step)
            second = [await anext(stream)]
            while "event: library" not in second[-1]:
                second.append(await anext(stream))
            events.end()
            assert len([one async for one in stream]) <= 1
            return [*first, *second]

        messages = asyncio.run(told())
        names = [message.partition("\n")[0] for message in messages]
        assert names[:4] == [f"event: {name}" for name in ("photos", "tagging", "library", "photos")]
        assert json.loads(messages[-1].partition("data: ")[2])["can_undo"] == 1


# --- the process ---


def test_a_folder_is_open_once_at_a_time(root: Path, model: Path) -> None:
    command = [sys.executable, "-c", CALL, "open", root, "--no-browser", "--model", model, "--port", 0]
    again = ("open", root, "--no-browser", "--model", model, "--read-only")
    with serving_by(command) as running:
        outcome = landmarks(*again)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.complaint.startswith(f"{root}: it is open already: use its page")
        with pytest.raises(InputError, match="no such folder"):
            run(AlbumSettings(root / "none", model, TagSettings(), WriteOptions()), "127.0.0.1", 0)
        running.process.kill()
        running.process.wait()
    with serving_by(command) as running:
        assert "/?token=" in running.address


@pytest.mark.usefixtures("hang_up_counts")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_well(root: Path, model: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-c", CALL, "open", root, "--no-browser", "--model", model, "--port", 0]
    with serving_by(command) as running:
        urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(running.address).read()
        running.process.send_signal(ending)
        assert running.process.wait(20) == 0
        assert running.log.read_text() == ""


def test_a_folder_opens_without_a_cache(root: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", CALL, "open", root, "--no-browser", "--model", model, "--port", 0]
    with serving_by(command, {"XDG_CACHE_HOME": str(tmp_path / "file")}) as running:
        assert "/?token=" in running.address


def test_a_killed_service_goes_on_where_it_was(root: Path, model: Path) -> None:
    for number in range(60):
        save_colour(root / "more" / f"{number}.jpg", TOWER, (300 + number, 200))
    made = files_of(root)
    command = [sys.executable, "-c", CALL, "open", root, "--no-browser", "--model", model, "--port"]

    def rows(client: urllib.request.OpenerDirector, address: str) -> list[dict[str, Any]]:
        return json.loads(client.open(f"{address}/api/photos").read())["photos"]

    client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with serving_by([*command, 0]) as running:
        client.open(running.address).read()
        address = running.address.partition("/?")[0]
        ends = time.monotonic() + 120
        while sum(row["state"] == "tagged" for row in rows(client, address)) < 8:
            assert time.monotonic() < ends
            time.sleep(0.02)
        running.process.kill()
    with serving_by([*command, address.rpartition(":")[2]]):
        while any(row["state"] == "waiting" for row in rows(client, address)):
            assert time.monotonic() < ends + 120
            time.sleep(0.05)
        assert len(rows(client, address)) == 68
    assert main(["undo", str(root)]) == 0
    assert files_of(root) == made
