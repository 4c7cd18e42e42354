"""The album in a real browser, against `landmarks open` on made libraries: whole journeys, from the keyboard too.

Screenshots are written to build/screenshots; docs/album_pictures.py makes those that are nice to look at.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import CALL
from PIL import ExifTags, Image
from serving import Running, serving_by
from tiny_model import COLOURS, add_reference, calibrated, make_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PHOTOS = 65  # four fifths of them show what the model knows
expect = playwright.expect
Page = Any


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_reference(make_model(tmp_path_factory.mktemp("models") / "colours", calibration=calibrated()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    make_photos(folder, PHOTOS)
    return folder


@pytest.fixture(scope="module")
def album(recognizer: Path, folder: Path) -> Iterator[Running]:
    with opening(folder, recognizer) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, as in a container, chromium has none
        started = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def visit(browser: Any) -> Iterator[Callable[[str], Page]]:
    """Opens a link in one browser, which keeps the cookie, and finds fault with every script error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    faults: list[str] = []

    def visited(link: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
        page.goto(link)
        return page

    yield visited
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def signed_in(album: Running, visit: Callable[[str], Page]) -> str:
    """The address of the album, for which the browser has a cookie."""
    page = visit(album.address)
    expect(page.locator("#tagging")).to_be_hidden()
    expect(chip(page, "Tagged")).to_contain_text(str(PHOTOS * 4 // 5))
    page.close()
    return album.address.partition("?")[0]


@pytest.fixture
def page(signed_in: str, visit: Callable[[str], Page]) -> Iterator[Page]:
    page = visit(signed_in)
    expect(cells(page).first).to_be_visible()
    yield page
    page.evaluate("localStorage.clear()")  # how it is grouped and sorted
    page.close()


def opening(folder: Path, model: Path, port: str = "0", *more: str) -> Any:
    flags = ("--model", model, "--port", port, "--no-browser", *more)
    return serving_by([sys.executable, "-c", CALL, "open", folder, *flags])


def make_photos(folder: Path, count: int) -> None:
    """Photos of one colour, which the model names, a minute apart."""
    colours = list(COLOURS.values())
    for number in range(count):
        image = Image.new("RGB", (160, 120), colours[number % len(colours)])
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = (
            f"2024:05:01 {number // 60:02}:{number % 60:02}:00"
        )
        image.save(folder / f"IMG_{number:03}.jpg", exif=exif)


def content(folder: Path) -> dict[str, bytes]:
    """Photos and sidecars; the ledger beside them remembers what was undone."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".landmarks" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def cells(page: Page) -> Any:
    return page.locator("#cells").get_by_role("option")


def chip(page: Page, name: str) -> Any:
    return page.locator("#chips").get_by_role("button", name=re.compile(f"^{name}"))


def pressed(page: Page, keys: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(keys)


def undo_all(page: Page) -> None:
    undo = page.get_by_role("button", name="Undo", exact=True).first
    while undo.is_enabled():
        with page.expect_response("**/api/undo"):
            page.keyboard.press("z")


def test_fifty_photos_are_reviewed_and_all_is_undone(page: Page, folder: Path) -> None:
    before = content(folder)
    chip(page, "Tagged").click()
    expect(page.locator("#shown")).to_have_text("52 photos of 65")
    pressed(page, "Home")
    pressed(page, "c", 12)
    expect(chip(page, "Confirmed")).to_contain_text("12")
    pressed(page, "x", 8)
    expect(chip(page, "Rejected")).to_contain_text("8")
    expect(page.locator("#toast")).to_contain_text("Rejected")
    pressed(page, "Shift+ArrowRight", 29)
    pressed(page, "c")
    expect(chip(page, "Confirmed")).to_contain_text("42")
    expect(page.locator("#toast")).to_contain_text("Confirmed 30 photos")
    assert content(folder) != before
    undo_all(page)
    expect(chip(page, "Confirmed")).to_contain_text("0")
    expect(chip(page, "Rejected")).to_contain_text("0")
    assert content(folder) == before


def test_names_are_sorted_as_people_count(page: Page) -> None:
    module = page.locator("script[src$='main.js']").get_attribute("src").replace("main.js", "groups.js")
    names = ["img10.jpg", "IMG_2.jpg", "img2.jpg", "Ärger.jpg", "b/a.jpg", "zoo.jpg", "a9.jpg"]
    code = """async ([module, names]) => {
        const { sorted } = await import(new URL(module, location.href));
        const parts = names.map((path) => path.split("/"));
        const rows = parts.map((part, id) => ({ id, name: part.at(-1), folder: part.at(-2) ?? "" }));
        return sorted(rows, "name").map(({ id }) => names[id]);
    }"""
    assert page.evaluate(code, [module, names]) == [
        "a9.jpg", "Ärger.jpg", "IMG_2.jpg", "img2.jpg", "img10.jpg", "zoo.jpg", "b/a.jpg",
    ]  # fmt: skip


def test_headings_tell_the_day_that_the_camera_showed(page: Page) -> None:
    zone = page.context.new_cdp_session(page)
    zone.send("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
    module = page.locator("script[src$='main.js']").get_attribute("src")
    code = """async ([main, taken]) => {
        const load = (name) => import(new URL(main.replace("main.js", name), location.href));
        const { Library } = await load("library.js");
        const [{ grouped }, { facts }] = [await load("groups.js"), await load("facts.js")];
        const library = new Library();
        library.take([{ id: 1, taken, tags: [], rejected: [], latitude: null }]);
        const rows = [...library.photos.values()];
        const titles = ["day", "month", "trip"].map((group) => grouped(rows, group, "newest")[0].title);
        return [...titles, facts(rows[0], null, library, {}).at(-1).textContent].join(" | ");
    }"""
    told = page.evaluate(code, [module, "2024-05-01T05:00:00.5+09:00"])
    assert "April" not in told
    assert re.search(r"^Wednesday, May 1, 2024 \| May 2024 \| May 1, 2024 \| .*May 1, 2024, 5:00", told), told


def test_something_else_is_chosen_and_many_are_confirmed_at_once(page: Page) -> None:
    page.get_by_label("Group").select_option("landmark")
    expect(page.get_by_role("heading", name="Casa da Música")).to_be_visible()
    page.get_by_label("Search names, tags and folders").fill("stoneh")
    expect(page.locator("#shown")).to_have_text("13 photos of 65")
    cells(page).first.click()
    pressed(page, "Shift+ArrowRight", 2)
    expect(page.locator("#picked-text")).to_have_text("3 photos selected")
    pressed(page, "e")
    page.get_by_role("combobox", name="Name of a landmark").fill("eiff")
    expect(page.get_by_role("dialog").get_by_role("option").first).to_contain_text("Eiffel Tower")
    pressed(page, "Enter")
    expect(page.locator("#toast")).to_contain_text("3 photos now show Eiffel Tower")
    expect(page.locator("#shown")).to_have_text("10 photos of 65")
    page.get_by_role("button", name="Confirm ≥ 95 %").click()
    expect(page.get_by_role("dialog")).to_contain_text("Confirm 10 photos?")
    page.get_by_role("button", name="Confirm 10 photos").click()
    expect(chip(page, "Confirmed")).to_contain_text("10")
    page.locator("#toast").get_by_role("button", name="Undo").click()
    expect(chip(page, "Confirmed")).to_contain_text(re.compile(r"\b0$"))
    undo_all(page)


def test_the_lightbox_goes_on_zooms_and_takes_another_candidate(page: Page) -> None:
    page.get_by_label("Sort").select_option("name")
    cells(page).first.dblclick()
    box = page.locator("#lightbox")
    expect(box.locator("#lightbox-title")).to_have_text("Eiffel Tower")
    expect(box).to_contain_text("1 of 65")
    expect(box).to_contain_text(re.compile("160 . 120"))
    pressed(page, "+", 2)
    assert "scale(2.25)" in box.locator(".film").get_attribute("style")
    pressed(page, "h")
    expect(box.locator(".film .heat")).to_be_visible()
    pressed(page, "ArrowRight")
    expect(box.locator("#lightbox-title")).to_have_text("Casa da Música")
    box.get_by_role("button", name="It is this: Clérigos Tower").click()
    expect(box.locator("#lightbox-title")).to_have_text("Clérigos Tower")
    expect(box.locator(".state")).to_have_text("confirmed")
    pressed(page, "Escape")
    expect(box).to_be_hidden()
    expect(page.locator(".cell.active")).to_have_accessible_name(re.compile("IMG_001"))
    undo_all(page)


def test_from_a_near_photo_one_goes_on_where_one_was(page: Page) -> None:
    page.get_by_label("Sort").select_option("name")
    pressed(page, "Home")
    pressed(page, "c")
    expect(chip(page, "Confirmed")).to_contain_text("1")
    chip(page, "Unknown").click()
    expect(page.locator("#shown")).to_have_text("13 photos of 65")
    cells(page).nth(2).dblclick()
    box = page.locator("#lightbox")
    expect(box.locator(".count")).to_contain_text(re.compile("^3 of "))
    box.locator(".neighbours").get_by_role("button").first.click()
    expect(box.locator(".state")).to_have_text("confirmed")
    expect(box.locator(".count")).to_have_text("")
    box.get_by_role("button", name="Next photo").click()
    expect(box.locator(".count")).to_contain_text(re.compile("^4 of "))
    pressed(page, "Escape")
    expect(box).to_be_hidden()
    undo_all(page)


def test_a_large_photo_closes_once_wherever_it_was_opened(page: Page) -> None:
    box = page.locator("#lightbox")
    page.get_by_role("link", name="Map").click()
    page.get_by_role("link", name="Photos", exact=True).click()
    cells(page).first.dblclick()
    expect(box).to_be_visible()
    page.reload()
    expect(box).to_be_hidden()
    cells(page).first.dblclick()
    expect(box).to_be_visible()
    pressed(page, "Escape")
    expect(box).to_be_hidden()
    cells(page).first.dblclick()
    box.get_by_role("button", name="Close").evaluate("(button) => { button.click(); button.click(); }")
    expect(box).to_be_hidden()
    assert page.url.endswith("#photos")
    page.goto(page.url.partition("#")[0])
    cells(page).first.dblclick()
    pressed(page, "s")
    expect(page.get_by_role("button", name="show all photos again")).to_be_visible()
    expect(box).to_be_hidden()
    assert page.url.endswith("#photos")


def test_unknown_photos_are_taught_and_the_pins_open_their_photos(page: Page, folder: Path) -> None:
    before = content(folder)
    chip(page, "Unknown").click()
    expect(page.locator("#shown")).to_have_text("13 photos of 65")
    cells(page).first.click()
    pressed(page, "a")
    pressed(page, "t")
    page.get_by_label("Name", exact=True).fill("Grey wall")
    page.locator(".teach-map").click(position={"x": 200, "y": 100})
    expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("At ")
    page.get_by_role("button", name="Teach", exact=True).last.click()
    expect(page.locator("#toast")).to_contain_text("Learned Grey wall from 13 photos")
    expect(chip(page, "Unknown")).to_contain_text("0")
    page.locator("#toast").get_by_role("button", name="Review it").click()
    expect(page.locator("#shown")).to_have_text("13 photos of 65")
    chip(page, "All").click()
    page.get_by_role("link", name="Map").click()
    page.locator("#map").get_by_role("button", name="Grey wall").click()
    page.get_by_role("button", name="Show in the grid").click()
    expect(page.locator("#shown")).to_have_text("13 photos of 65")
    undo_all(page)
    expect(chip(page, "Unknown")).to_contain_text("13")
    assert content(folder) == before


def test_what_the_program_did_not_answer_is_told_and_asked_for_again(page: Page) -> None:
    page.route("**/land.json", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), times=1)
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#toast")).to_contain_text("The program answered with status 502.")
    refused = {"error": {"message": "no room"}}
    page.route("**/api/suggestions", lambda route: route.fulfill(status=503, json=refused), times=1)
    page.get_by_role("link", name="Suggested").click()
    expect(page.locator("#toast")).to_contain_text("No room")
    expect(page.locator("#suggestions-none")).to_be_hidden()
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#map svg").first).to_be_visible()
    page.get_by_role("link", name="Suggested").click()
    expect(page.locator("#suggestions > li, #suggestions-none:visible").first).to_be_visible()


def test_a_link_is_copied_or_shown_to_be_copied(page: Page) -> None:
    page.evaluate(
        """() => {
            navigator.clipboard.writeText = () => Promise.reject(new DOMException("", "NotAllowedError"));
            document.execCommand = () => {
                window.copied = document.activeElement.value;
                return Boolean(window.works);
            };
        }"""
    )
    page.locator("#link").click()
    dialog = page.get_by_role("dialog")
    link = dialog.get_by_label("Link").input_value()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Press Ctrl C")).to_be_visible()
    expect(dialog.get_by_label("Link")).to_be_focused()
    page.evaluate("window.works = true; window.copied = null")
    dialog.get_by_role("button", name="Press Ctrl C").click()
    page.wait_for_function("link => window.copied === link", arg=link)
    pressed(page, "Escape")


def test_photos_that_look_alike_are_shown_first(page: Page) -> None:
    page.get_by_label("Sort").select_option("name")
    cells(page).first.click()
    pressed(page, "s")
    expect(page.get_by_role("button", name="show all photos again")).to_be_visible()
    expect(cells(page).nth(12)).to_have_accessible_name(re.compile("^Eiffel Tower"))
    expect(cells(page).first).to_have_accessible_name(re.compile(r"IMG_000\.jpg"))
    page.get_by_role("button", name="show all photos again").click()
    expect(page.locator("#shown")).to_have_text("65 photos")


def test_two_windows_stay_in_step(page: Page, signed_in: str, visit: Callable[[str], Page]) -> None:
    other = visit(signed_in)
    expect(cells(other).first).to_be_visible()
    chip(page, "Tagged").click()
    pressed(page, "Home")
    pressed(page, "c")
    expect(chip(other, "Confirmed")).to_contain_text("1")
    other.get_by_role("button", name="Undo", exact=True).first.click()
    expect(chip(page, "Confirmed")).to_contain_text("0")
    other.close()


def test_photos_appear_and_the_page_survives_a_restart(
    recognizer: Path, tmp_path: Path, visit: Callable[[str], Page]
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    with opening(library, recognizer) as running:
        page = visit(running.address)
        expect(page.get_by_role("heading", name="No photos here yet")).to_be_visible()
        make_photos(library, 4)
        expect(chip(page, "Tagged")).to_contain_text("4")
        running.process.kill()
        running.process.wait()
        expect(page.locator("#banner")).to_contain_text("landmarks is not responding")
        pressed(page, "Home")
        pressed(page, "c")
        expect(page.locator("#toast")).to_contain_text("does not answer")
        port = running.address.partition("/?")[0].rpartition(":")[2]
        with opening(library, recognizer, port):
            expect(page.locator("#banner")).to_be_hidden()
            expect(cells(page)).to_have_count(4)
            pressed(page, "Home")
            pressed(page, "c")
            expect(chip(page, "Confirmed")).to_contain_text("1")
            (library / "note.jpg").write_text("no picture")
            chip(page, "Unreadable").click()
            cells(page).first.dblclick()
            expect(page.locator("#lightbox")).to_contain_text("not a picture of an accepted format")
            pressed(page, "Escape")
            library.rename(tmp_path / "elsewhere")
            expect(page.locator("#banner")).to_contain_text("library")
            (tmp_path / "elsewhere").rename(library)
            expect(page.locator("#banner")).to_be_hidden()
            expect(chip(page, "Confirmed")).to_contain_text("1")
        page.close()


def test_a_library_to_look_at_only_hides_what_writes_and_says_why(
    recognizer: Path, tmp_path: Path, visit: Callable[[str], Page]
) -> None:
    make_photos(tmp_path, 4)
    before = content(tmp_path)
    with opening(tmp_path, recognizer, "0", "--read-only") as running:
        page = visit(running.address)
        expect(page.locator("#banner")).to_contain_text("opened read-only: nothing can be confirmed")
        cells(page).first.click()
        expect(page.get_by_role("button", name="Similar", exact=True)).to_be_visible()
        for name in ("Confirm", "Reject", "Something else", "Teach", "Undo"):
            expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
        for key in "cxeutz":
            page.locator("#toast").evaluate("toast => (toast.hidden = true)")
            pressed(page, key)
            expect(page.locator("#toast")).to_contain_text("opened read-only")
        pressed(page, "Enter")
        expect(page.locator("#lightbox")).to_be_visible()
        expect(page.get_by_role("button", name="Reject", exact=True)).to_have_count(0)
        page.close()
    assert content(tmp_path) == before


def test_the_page_is_accessible_and_fits(page: Page) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width, height, scheme in ((1440, 900, "light"), (1024, 768, "light"), (390, 844, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": height})
        pressed(page, "Home")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=SCREENSHOTS / f"album-{width}-{scheme}.png")
        if width == 1024:
            continue  # what is between the others has no colours of its own
        assert violations(page) == []
        assert page.evaluate(SMALL) == [], "targets have 24 pixels or more (docs/open-design.md)"
        pressed(page, "Enter")
        expect(page.locator("#lightbox")).to_contain_text("Why?")
        assert page.evaluate(SMALL) == []
        assert violations(page) == []
        pressed(page, "Escape")
        expect(page.locator("#lightbox")).to_be_hidden()
    pressed(page, "t")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


NOT_USUAL = {name: {"enabled": True} for name in ("label-content-name-mismatch", "target-size")}
"""Rules of axe that are off by default: names that lack the visible text, and targets that are too small."""

SMALL = """[...document.querySelectorAll("button, input, select, [role=slider]")]
  .filter((each) => each.checkVisibility() && !each.closest("[inert]"))
  .map((each) => [each.id || each.className || each.textContent, each.getBoundingClientRect()])
  .filter(([, { width, height }]) => width && (width < 24 || height < 24))
  .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)"""


def violations(page: Page) -> list[str]:
    found = axe.Axe().run(page, options={"rules": NOT_USUAL}).response["violations"]
    return [f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in found]
