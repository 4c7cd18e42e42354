"""The page in a real browser, against a real service: photos in, tags, verdicts, downloads, errors, overload.

Screenshots of desktop and phone, light and dark, are written to build/screenshots.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from serving import Running, serving, serving_by
from tiny_model import COLOURS, save_colour

from landmarks.metadata.xmp import XmpPacket

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TOWER, HENGE, GREY = (COLOURS[name] for name in ("07.Eiffel_Tower", "31.Stonehenge", "background"))
expect = playwright.expect
Page = Any


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Running]:
    with serving("--model", model, "--workers", 1, "--max-mb", 0.1) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A tower, stones, something grey, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("photos")
    made = [
        save_colour(folder / name, colour)
        for name, colour in (("tower.jpg", TOWER), ("=stones, old.png", HENGE), ("grey.jpg", GREY))
    ]
    (folder / "note.jpg").write_text("no picture")
    return [*made, folder / "note.jpg"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        # Without a sandbox: as root, as in a container, chromium has none.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, service: Running) -> Iterator[Callable[..., Page]]:
    """Opens the page, and finds fault with every script error and every request that goes elsewhere.

    The first request for a file that is `held` is put into `waiting` and gets no answer.
    """
    contexts, faults = [], []

    def opened(
        address: str = service.address, held: str = "", waiting: list[Any] | None = None, **options: Any
    ) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **options})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: faults.append(request.url) if not request.url.startswith((address, "blob:")) else None,
        )
        if waiting is not None:
            # A list's method will not do, says Playwright.
            page.route(f"**/{held}", lambda route: waiting.append(route), times=1)  # noqa: PLW0108
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def held_back(page: Page, waiting: list[Any]) -> Any:
    """The request that was held, once the page has made it: a busy machine may draw everything else before."""
    until = time.monotonic() + 30
    while not waiting:
        assert time.monotonic() < until, "the page asks for nothing that is held"
        page.wait_for_timeout(20)
    return waiting[0]


def give(page: Page, photos: list[Path]) -> None:
    page.set_input_files("#files", photos)


def card(page: Page, name: str) -> Any:
    return page.locator(".card", has=page.get_by_text(name, exact=True))


def downloaded(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {button}").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_photos_are_taken_before_the_map_is_there(open_page: Callable[..., Page], photos: list[Path]) -> None:
    waiting: list[Any] = []
    page = open_page(held="land.json", waiting=waiting)
    give(page, photos[:1])
    expect(page.get_by_role("status")).to_have_text("1 of 1 photos done, 1 tagged, 0 unknown")
    held_back(page, waiting).continue_()
    expect(page.locator("#map-text")).to_have_text("On the map: Eiffel Tower")


def test_a_photo_that_is_brought_back_while_it_is_on_the_way_is_sent_once(
    open_page: Callable[..., Page], photos: list[Path]
) -> None:
    waiting: list[Any] = []
    page = open_page(held="v1/tags", waiting=waiting)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "v1/tags" in request.url else None)
    give(page, photos[:1])
    held_back(page, waiting)
    for button in ("Clear", "Undo"):
        page.get_by_role("button", name=button).click()
    waiting[0].continue_()
    expect(page.get_by_role("status")).to_contain_text("1 of 1 photos done")
    page.wait_for_timeout(500)  # in which a second request would be made
    assert len(sent) == 1


def test_there_are_drawings_to_try_until_there_are_photos(open_page: Callable[..., Page]) -> None:
    page = open_page()
    samples = page.locator("#samples")
    expect(samples.get_by_role("button")).to_have_text(["a circle of stones", "a pyramid", "a lighthouse"])
    assert axe.Axe().run(page).violations_count == 0
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "samples.png")
    page.evaluate("HTMLCanvasElement.prototype.toBlob = () => {}")  # which waits for idle time: there may be none
    samples.get_by_role("button", name="a pyramid").click()
    expect(card(page, "drawn pyramid.jpg")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("1 of 1 photos done")
    expect(samples).to_be_hidden()


@pytest.mark.parametrize("file", ["land.json", "v1/models"])
def test_what_a_restart_kept_from_the_page_is_asked_for_again(open_page: Callable[..., Page], file: str) -> None:
    waiting: list[Any] = []
    page = open_page(held=file, waiting=waiting)
    page.wait_for_function("document.querySelector('#samples button')")
    held_back(page, waiting).fulfill(status=502, body="<h1>Bad gateway</h1>")  # of a proxy without its service
    expect(page.get_by_role("alert")).to_have_text("The service answered with status 502.")
    expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_file_that_cannot_be_read_holds_up_no_other(
    open_page: Callable[..., Page], photos: list[Path], tmp_path: Path
) -> None:
    page = open_page()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'), {type: 'file', id: 'other'}))"
    )
    gone = Path(shutil.copy(photos[0], tmp_path / "gone.jpg"))
    page.set_input_files("#other", gone)
    gone.unlink()
    page.evaluate(
        """() => {
            const files = new DataTransfer();
            files.items.add(document.querySelector("#other").files[0]);
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true }));
        }"""
    )
    give(page, photos[:1])
    expect(page.get_by_role("status")).to_have_text("2 of 2 photos done, 1 tagged, 0 unknown, 1 failed")
    expect(card(page, "gone.jpg")).to_contain_text("The browser cannot read this")


def test_a_browser_that_does_not_let_the_page_copy_is_told(
    open_page: Callable[..., Page], photos: list[Path]
) -> None:
    page = open_page()
    give(page, photos[:1])
    expect(page.get_by_role("status")).to_contain_text("1 of 1 photos done")
    page.evaluate(
        """() => {
            navigator.clipboard.writeText = () => Promise.reject(new DOMException("", "NotAllowedError"));
            document.execCommand = () => false;
        }"""
    )
    page.get_by_role("button", name="Copy tags", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("download the tags instead")


def test_photos_are_grouped_by_place(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos[:3])
    expect(page.get_by_role("status")).to_contain_text("3 of 3 photos done")
    headings = page.locator(".group h3")
    page.get_by_label("Photos grouped").select_option("country")
    expect(headings).to_have_text(["France", "United Kingdom", "Without a place"])
    names = page.locator("#photos .file")
    expect(names).to_have_text(["tower.jpg", "=stones, old.png", "grey.jpg"])
    page.get_by_label("Photos grouped").select_option("landmark")
    expect(headings).to_have_text(["Eiffel Tower", "Stonehenge", "Without a place"])
    page.get_by_label("Photos shown").select_option("unknown")
    expect(page.locator(".group:visible h3")).to_have_text(["Without a place"])
    page.get_by_label("Photos shown").select_option("all")
    card(page, "tower.jpg").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    expect(card(page, "=stones, old.png")).to_be_focused()
    expect(card(page, "=stones, old.png")).to_contain_text("Rejected")
    assert axe.Axe().run(page).violations_count == 0
    page.get_by_label("Photos grouped").select_option("none")
    expect(headings).to_have_count(0)


def test_photos_become_tags_or_a_plain_i_do_not_know(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos)
    expect(page.get_by_role("status")).to_have_text("4 of 4 photos done, 2 tagged, 1 unknown, 1 failed")
    tower = card(page, "tower.jpg")
    expect(tower.get_by_role("heading")).to_have_text("Eiffel Tower")
    expect(tower.get_by_text("Paris, France, 48.8583° N 2.2945° E")).to_be_visible()
    assert tower.locator("meter").first.evaluate("bar => bar.value") > 0.9
    expect(card(page, "grey.jpg").get_by_role("heading")).to_have_text("I don't know")
    expect(card(page, "note.jpg")).to_contain_text("not a picture of an accepted format")
    expect(card(page, "note.jpg").get_by_role("button", name="Try again")).to_have_count(0)
    expect(page.get_by_role("button", name="Eiffel Tower: 1 photo")).to_be_visible()
    assert page.get_by_text("Look-alikes").count() == 0
    page.get_by_role("button", name="Stonehenge: 1 photo").press("Enter")
    expect(card(page, "=stones, old.png")).to_be_focused()


def test_verdicts_shape_what_is_copied_and_downloaded(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos)
    expect(page.get_by_role("status")).to_contain_text("4 of 4")
    name, content = downloaded(page, "CSV")
    assert name == "landmarks.csv"
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(content.decode()))}
    assert rows["tower.jpg"]["name"] == "Eiffel Tower"
    assert rows["'=stones, old.png"]["city"] == "Wiltshire"  # no formula for a spreadsheet to run
    assert rows["grey.jpg"]["name"] == ""
    assert "accepted format" in rows["note.jpg"]["error"]
    name, content = downloaded(page, "XMP")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.namelist() == ["tower.jpg.xmp", "=stones, old.png.xmp"]
    assert XmpPacket(archive.read("tower.jpg.xmp")).entries().keywords == ("Eiffel Tower", "Paris", "France")

    page.get_by_role("button", name="Reject Stonehenge").click()
    expect(card(page, "=stones, old.png")).to_contain_text("Rejected")
    expect(page.get_by_role("button", name="Stonehenge: 1 photo")).to_have_count(0)
    name, content = downloaded(page, "XMP")
    assert name == "tower.jpg.xmp"
    assert XmpPacket(content).entries().keywords[0] == "Eiffel Tower"
    told = {photo["file"]: photo for photo in json.loads(downloaded(page, "JSON")[1])["photos"]}
    assert (told["=stones, old.png"]["tags"], told["=stones, old.png"]["verdict"]) == ([], "rejected")
    page.get_by_role("button", name="Copy tags", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "tower.jpg\tEiffel Tower, Paris, France"

    page.get_by_label("Only what I confirmed").check()
    assert [photo["tags"] for photo in json.loads(downloaded(page, "JSON")[1])["photos"]] == [[], [], [], []]
    grey = card(page, "grey.jpg")
    grey.get_by_text("Closest guesses").click()
    grey.get_by_role("button", name="It is this: Stonehenge").click()
    expect(grey).to_contain_text("Confirmed")
    told = {photo["file"]: photo for photo in json.loads(downloaded(page, "JSON")[1])["photos"]}
    assert told["grey.jpg"]["tags"][0]["place"]["country_code"] == "GB"


def test_every_step_can_be_undone(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos[:3])
    expect(page.get_by_role("status")).to_contain_text("3 of 3")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    tower, stones, grey = (card(page, name) for name in ("tower.jpg", "=stones, old.png", "grey.jpg"))
    page.get_by_role("button", name="Reject Stonehenge").click()
    grey.get_by_text("Closest guesses").click()
    grey.get_by_role("button", name="It is this: Stonehenge").click()
    page.get_by_role("button", name="Remove tower.jpg").click()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    undo.click()
    expect(page.locator(".card")).to_have_count(2)
    undo.click()
    expect(page.locator(".card").first).to_contain_text("tower.jpg")  # where it was
    expect(tower.get_by_role("heading")).to_have_text("Eiffel Tower")
    page.keyboard.press("Control+z")
    expect(grey.get_by_role("heading")).to_have_text("I don't know")
    expect(stones).to_contain_text("Rejected")
    page.keyboard.press("Control+z")
    expect(stones).not_to_contain_text("Rejected")
    expect(undo).to_be_disabled()


def test_what_the_user_said_is_exported_as_such(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos[:3])
    expect(page.get_by_role("status")).to_contain_text("3 of 3")
    page.get_by_role("button", name="Reject Stonehenge").click()
    grey = card(page, "grey.jpg")
    grey.get_by_text("Closest guesses").click()
    grey.get_by_role("button", name="It is this: Stonehenge").click()
    expect(grey).to_contain_text("You said so.")
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(downloaded(page, "CSV")[1].decode()))}
    rejected, chosen = rows["'=stones, old.png"], rows["grey.jpg"]
    assert (rejected["name"], rejected["verdict"]) == ("Stonehenge", "rejected")
    assert (chosen["name"], chosen["verdict"], chosen["probability"]) == ("Stonehenge", "confirmed", "1")
    page.get_by_label("Photos shown").select_option("rejected")
    expect(page.get_by_role("status")).to_contain_text("1 shown")
    expect(grey).to_be_hidden()
    page.get_by_label("Photos shown").select_option("unknown")
    expect(page.get_by_role("status")).to_contain_text("0 shown")


def test_the_page_follows_the_model_of_the_answers(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    expect(page.locator("#model")).to_have_text("colours: knows 4 landmarks")
    place = {"city": "Brussels", "country": "Belgium", "latitude": 50.9, "longitude": 4.3}
    taught = {
        "name": "Our house",
        "level": "landmark",
        "probability": 0.7,
        "place": {"name": "Our house", **place},
    }
    names = {"Our house": "Our house", "99.Atomium": "Atomium"}  # only the second is a class of the model
    candidates = [{"class_name": key, "name": name, "probability": 0.5} for key, name in names.items()]
    answer = {"tags": [taught], "candidates": candidates, "known": True, "reasons": [], "error": None}
    card_of = page.request.get(f"{page.url}v1/models").json()
    point = {"min_confidence": 0.5, "threshold": 0.5, "expected": {}}
    changes = {
        "version": "fresh-2",
        "landmarks": 5,
        "min_confidence": 0.3,
        "operating_points": {"balanced": point},
    }
    card_of["models"][0].update(changes)
    known = {"geometry": None, "properties": {"name": "Atomium", "classes": ["99.Atomium"], "city": "Brussels"}}
    page.route("**/v1/tags", lambda route: route.fulfill(json={"model": "fresh-2", "photos": [answer]}))
    page.route("**/v1/models", lambda route: route.fulfill(json=card_of))
    page.route("**/v1/landmarks", lambda route: route.fulfill(json={"features": [known]}))
    give(page, photos[:2])
    expect(page.locator("#model")).to_have_text("colours: knows 5 landmarks")
    expect(page.locator("#about-text caption")).to_have_text(re.compile("use: balanced, but with .* 30.0 %"))
    for file, name in (("tower.jpg", "Our house"), ("=stones, old.png", "Atomium")):
        card(page, file).get_by_text("Is it something else?").click()
        card(page, file).get_by_role("button", name=f"It is this: {name}").click()
    rows = csv.DictReader(io.StringIO(downloaded(page, "CSV")[1].decode()))
    assert [(row["name"], row["city"], row["latitude"]) for row in rows] == [
        ("Our house", "Brussels", "50.9"),
        ("Atomium", "Brussels", ""),
    ]


def test_a_click_near_a_pin_means_it(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page(viewport={"width": 1280, "height": 1600})  # nothing scrolls
    give(page, photos[:2])
    expect(page.get_by_role("status")).to_contain_text("2 of 2")
    expect(page.locator("#map-text")).to_have_text("On the map: Eiffel Tower, Stonehenge")
    for name, file in (("Eiffel Tower", "tower.jpg"), ("Stonehenge", "=stones, old.png")):
        pin = page.get_by_role("button", name=f"{name}: 1 photo").locator("circle").last
        expect(pin).to_be_visible()
        box = pin.bounding_box()
        # Four degrees of longitude apart: in the halo of the other.
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(card(page, file)).to_be_focused()


def test_the_landmarks_that_it_knows_are_listed(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.get_by_text("Landmarks it knows").click()
    page.get_by_label("Find").fill("paris")
    expect(page.locator("#known-list li")).to_have_text(["Eiffel Tower, Paris, France"])


def test_a_link_is_no_picture(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            const text = new DataTransfer();
            text.setData("text/plain", "https://example.com/photo.jpg");
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: text, bubbles: true }));
        }"""
    )
    expect(page.get_by_role("alert")).to_contain_text("not a picture: save the picture")


def test_photos_come_by_drop_and_by_paste(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give_by_event = """([kind, content]) => {
        const files = new DataTransfer();
        files.items.add(new File([Uint8Array.from(content)], `${kind}.png`, { type: "image/png" }));
        const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: files, bubbles: true })
            : new ClipboardEvent(kind, { clipboardData: files, bubbles: true });
        document.querySelector("#drop").dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give_by_event, [kind, list(photos[1].read_bytes())])
        expect(card(page, f"{kind}.png").get_by_role("heading")).to_have_text("Stonehenge")


def test_everything_works_from_the_keyboard(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos[:2])
    expect(page.get_by_role("status")).to_contain_text("2 of 2")
    first, second = card(page, "tower.jpg"), card(page, "=stones, old.png")
    first.focus()
    page.keyboard.press("c")
    expect(first).to_contain_text("Confirmed")
    expect(first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    expect(second).to_contain_text("Rejected")
    second.get_by_role("button", name="Reject Stonehenge").focus()
    page.keyboard.press("Enter")
    expect(second).not_to_contain_text("Rejected")
    expect(second.get_by_role("button", name="Reject Stonehenge")).to_be_focused()
    page.get_by_role("button", name="Remove tower.jpg").press("Enter")
    expect(second).to_be_focused()


def test_the_focus_goes_on_from_what_is_not_shown_any_more(
    open_page: Callable[..., Page], photos: list[Path]
) -> None:
    page = open_page()
    give(page, photos[:3])
    expect(page.get_by_role("status")).to_contain_text("3 of 3")
    page.get_by_role("button", name="Stonehenge: 1 photo").focus()
    give(page, photos[:1])  # another pin is drawn anew
    expect(page.get_by_role("button", name="Eiffel Tower: 2 photos")).to_be_visible()
    expect(page.get_by_role("button", name="Stonehenge: 1 photo")).to_be_focused()
    page.get_by_label("Photos shown").select_option("open")
    first, last = page.locator(".card").first, page.locator(".card").last
    first.focus()
    page.keyboard.press("c")
    expect(first).to_be_hidden()
    expect(card(page, "=stones, old.png")).to_be_focused()
    last.get_by_role("button", name="Reject Eiffel Tower").press("Enter")
    expect(last).to_be_hidden()
    expect(card(page, "grey.jpg")).to_be_focused()


def test_the_map_is_drawn_once_for_all_that_is_removed(open_page: Callable[..., Page], photos: list[Path]) -> None:
    page = open_page()
    give(page, photos[:2])
    expect(page.locator("#map-text")).to_have_text("On the map: Eiffel Tower, Stonehenge")
    page.evaluate(
        """() => {
            window.drawn = 0;
            const count = (changes) => (window.drawn += changes.length);
            const map = document.querySelector("#map");
            new MutationObserver(count).observe(map, { childList: true, subtree: true });
        }"""
    )
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#map-text")).to_contain_text("Dots are the landmarks")
    assert page.evaluate("window.drawn") == 1


def test_nobody_leaves_unasked_while_photos_are_sent(open_page: Callable[..., Page], photos: list[Path]) -> None:
    asks = "!window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    waiting: list[Any] = []
    page = open_page(held="v1/tags", waiting=waiting)
    assert not page.evaluate(asks)
    give(page, photos[:1])
    held_back(page, waiting)
    assert page.evaluate(asks)
    waiting[0].continue_()
    expect(page.get_by_role("status")).to_contain_text("1 of 1 photos done")
    assert not page.evaluate(asks)


def test_what_is_too_large_is_not_even_sent(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page()
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
    Image.effect_noise((400, 400), 90).save(tmp_path / "large.png")
    give(page, [tmp_path / "large.png"])
    expect(card(page, "large.png")).to_contain_text("larger than")
    assert not any("/v1/tags" in url for url in sent)


def test_an_overloaded_service_is_asked_again(open_page: Callable[..., Page], model: Path, tmp_path: Path) -> None:
    many = [save_colour(tmp_path / f"{number}.png", TOWER) for number in range(6)]
    room = ("--queue", 1, "--files", 1, "--decode-seconds", 100, "--request-seconds", 100)
    with serving("--model", model, "--workers", 1, *room) as running:
        page = open_page(running.address)
        os.kill(running.workers()[0], signal.SIGSTOP)
        give(page, many)
        expect(page.get_by_text("The service is busy. Trying again soon.").first).to_be_visible()
        os.kill(running.workers()[0], signal.SIGCONT)
        expect(page.get_by_role("status")).to_contain_text("6 of 6 photos done, 6 tagged", timeout=180_000)


def test_a_service_that_is_gone_is_told_and_tried_again(
    open_page: Callable[..., Page], model: Path, photos: list[Path]
) -> None:
    with serving("--model", model, "--workers", 1) as running:
        page = open_page(running.address)
        page.route("**/v1/tags", lambda route: route.abort())
        give(page, photos[:1])
        expect(card(page, "tower.jpg")).to_contain_text("The service cannot be reached.")
        page.unroute("**/v1/tags")  # and it goes on by itself
        expect(card(page, "tower.jpg").get_by_role("heading")).to_have_text("Eiffel Tower")


def test_what_the_browser_cannot_show_has_a_picture(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page()
    give(page, [save_colour(tmp_path / "tower.tiff", TOWER, (64, 64))])
    picture = card(page, "tower.tiff").get_by_role("img", name="Photo tower.tiff")
    expect(picture).to_have_attribute("src", re.compile("data:image/jpeg;base64,"))
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64


def test_a_large_photo_is_made_small_and_keeps_its_position(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "S", 2: (33.0, 51.0, 30.5), 3: "E", 4: (151.0, 12.0, 0.0)})
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "a camera that nobody needs to know"
    noise = Image.effect_noise((3000, 2000), 60).convert("RGB")
    noise.save(tmp_path / "large.jpg", quality=95, exif=exif)
    page = open_page()
    expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
    copy = page.evaluate(
        """async (content) => {
            const { shrink } = await import("./shrink.js");
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const small = await shrink(new File([bytes], "large.jpg"));
            return Array.from(new Uint8Array(await small.arrayBuffer()));
        }""",
        base64.b64encode((tmp_path / "large.jpg").read_bytes()).decode(),
    )
    small = Image.open(io.BytesIO(bytes(copy)))
    assert small.size == (683, 1024)  # upright
    assert len(copy) < (tmp_path / "large.jpg").stat().st_size / 4
    kept = small.getexif()
    assert dict(kept) == {ExifTags.IFD.GPSInfo: kept[ExifTags.IFD.GPSInfo]}
    position = kept.get_ifd(ExifTags.IFD.GPSInfo)
    assert (position[1], position[3]) == ("S", "E")
    assert [float(part) for part in position[2]] == [33.0, 51.0, 30.5]
    assert [float(part) for part in position[4]] == [151.0, 12.0, 0.0]


def test_eight_phone_photos_pass_a_slow_uplink(
    open_page: Callable[..., Page], model: Path, tmp_path: Path
) -> None:
    """8 photos of 3.4 MB at 3 Mbit/s: sent as they are, they take over 73 seconds."""
    noise = Image.merge("RGB", [Image.effect_noise((250, 188), 60)] * 3)
    photo = Image.blend(Image.new("RGB", noise.size, TOWER), noise, 0.4).resize((2000, 1500))
    photo.save(tmp_path / "0.jpg", quality=97)
    # As heavy as those of a phone, but with fewer pixels, which the browser decodes several times.
    content = (tmp_path / "0.jpg").read_bytes().ljust(3_400_000, b"\0")
    many = [tmp_path / f"{number}.jpg" for number in range(8)]
    for path in many:
        path.write_bytes(content)
    with serving("--model", model, "--workers", 1) as running:
        page = open_page(running.address)
        expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
        requests: list[Any] = []
        page.on("request", lambda request: requests.append(request) if request.method == "POST" else None)
        uplink = {"offline": False, "latency": 50, "downloadThroughput": -1, "uploadThroughput": 3e6 / 8}
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", uplink)
        give(page, many)
        expect(page.get_by_role("status")).to_contain_text("8 of 8 photos done, 8 tagged", timeout=240_000)
        sent = [int(request.all_headers()["content-length"]) for request in requests]
        print(f"{8 * len(content) / 1e6:.1f} MB of photos, {sum(sent) / 1e6:.2f} MB sent")
        assert len(sent) >= 8
        assert sum(sent) < len(content)


def test_photos_survive_a_restart_of_the_service(
    open_page: Callable[..., Page], model: Path, tmp_path: Path
) -> None:
    many = [save_colour(tmp_path / f"{number}.png", TOWER) for number in range(20)]
    with serving("--model", model, "--workers", 1) as running:
        port = running.address.rpartition(":")[2]
        page = open_page(running.address)
        expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
        running.process.terminate()
        running.process.wait(20)
        give(page, many)
        expect(page.get_by_text("The service cannot be reached. Trying again soon.").first).to_be_visible()
        with serving("--model", model, "--workers", 1, "--port", port):
            expect(page.get_by_role("status")).to_contain_text("20 of 20 photos done, 20 tagged", timeout=240_000)


def test_the_key_is_asked_for(open_page: Callable[..., Page], model: Path, photos: list[Path]) -> None:
    key = "a-key-of-sixteen-or-more"
    with serving("--model", model, "--workers", 1, environment={"LANDMARKS_API_KEY": key}) as running:
        page = open_page(running.address)
        page.get_by_label("This service asks for an API key").fill("another-key-of-sixteen")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("alert")).to_have_text("The service does not accept this key.")
        page.get_by_label("This service asks for an API key").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
        give(page, photos[:1])
        expect(card(page, "tower.jpg").get_by_role("heading")).to_have_text("Eiffel Tower")


def test_a_right_key_is_not_called_wrong_for_what_was_sent_before(
    open_page: Callable[..., Page], model: Path, tmp_path: Path
) -> None:
    key = "a-key-of-sixteen-or-more"
    many = [save_colour(tmp_path / f"{number}.png", TOWER) for number in range(6)]
    with serving("--model", model, "--workers", 1, environment={"LANDMARKS_API_KEY": key}) as running:
        waiting: list[Any] = []
        page = open_page(running.address, held="v1/tags", waiting=waiting)
        refused: list[Any] = []
        page.on("response", lambda answer: refused.append(answer) if answer.status == 401 else None)
        expect(page.get_by_label("This service asks for an API key")).to_be_visible()
        give(page, many)
        held_back(page, waiting)
        page.get_by_label("This service asks for an API key").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#model")).to_contain_text("knows 4 landmarks")
        waiting[0].continue_()  # without a key, as it was made
        expect(page.get_by_role("status")).to_contain_text("6 of 6 photos done, 6 tagged", timeout=30_000)
        expect(page.locator("#key-form")).to_be_hidden()
        expect(page.get_by_role("alert")).to_be_hidden()
        assert len([answer for answer in refused if "/v1/tags" in answer.url]) <= 2  # as many as go at once


def test_look_alikes_are_there_where_the_service_can_search(
    open_page: Callable[..., Page], model: Path, photos: list[Path]
) -> None:
    script = Path(__file__).parents[1] / "nearest.py"
    with serving_by([sys.executable, script, model, *photos[:3]]) as running:
        # The answer may come before the page knows that the service can search.
        waiting: list[Any] = []
        page = open_page(running.address, held="v1/models", waiting=waiting)
        give(page, photos[:1])
        expect(card(page, "tower.jpg").get_by_role("heading")).to_have_text("Eiffel Tower")
        held_back(page, waiting).continue_()
        busy = {"error": {"code": "busy", "message": "The service is busy."}}
        page.route("**/v1/search*", lambda route: route.fulfill(status=429, json=busy), times=1)
        page.get_by_text("Look-alikes").click()
        expect(card(page, "tower.jpg").locator("[data-part=alike] li")).to_have_text("The service is busy.")
        page.get_by_text("Look-alikes").click(click_count=2)  # closed, and open again
        found = card(page, "tower.jpg").locator("[data-part=alike] li")
        expect(found).to_have_count(3)
        expect(found.first).to_contain_text(re.compile(r"tower\.jpg\s*(99|100)\.\d %"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_the_page_is_accessible_and_fits(
    open_page: Callable[..., Page], photos: list[Path], device: str, size: dict[str, int], scheme: str
) -> None:
    page = open_page(viewport=size, color_scheme=scheme, has_touch=device == "phone")
    expect(page.locator("#model")).to_contain_text("knows")
    assert violations(page) == []
    give(page, photos)
    expect(page.get_by_role("status")).to_contain_text("4 of 4")
    page.get_by_role("button", name="Confirm Eiffel Tower").click()
    page.get_by_role("button", name="Reject Stonehenge").click()
    card(page, "grey.jpg").get_by_text("Closest guesses").click()
    page.mouse.move(0, 0)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{device}-{scheme}.png", full_page=True)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def violations(page: Page) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in found]
