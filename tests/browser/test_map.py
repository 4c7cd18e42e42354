"""The page of `landmarks map` in a real browser: clusters part, pins show their photos, nothing is fetched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_model import save_colour

from landmarks.library.maps.page import web_page
from landmarks.library.maps.spots import Spot

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def test_pins_part_and_show_their_photos(tmp_path: Path) -> None:
    places = {
        "sydney": (-33.86, 151.2),
        "paris": (48.86, 2.3),
        "london": (51.5, -0.1),
        "paris <!--<script>": (48.87, 2.31),
    }
    spots = [
        Spot(save_colour(tmp_path / f"{name}.jpg", (9, 90, 90)), (), position, "camera", None)
        for name, position in places.items()
    ]
    (tmp_path / "map.html").write_text("".join(web_page(spots, "Trip <2026>", tmp_path)), encoding="utf-8")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1024, "height": 768})
        faults: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text))
        page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        page.goto((tmp_path / "map.html").as_uri())
        pins, list_ = page.locator(".pins button"), page.get_by_role("list")
        playwright.expect(page.get_by_role("heading", name="Trip <2026>")).to_be_visible()
        playwright.expect(pins).to_have_count(2)
        assert axe.Axe().run(page).violations_count == 0
        page.get_by_role("button", name="london.jpg and 2 more").click()
        playwright.expect(page.get_by_role("heading", name="3 photos", exact=True)).to_be_visible()
        playwright.expect(pins).to_have_count(2)  # Paris, as a cluster, and London
        page.get_by_role("button", name="london.jpg", exact=True).press("Enter")
        playwright.expect(list_.get_by_role("link")).to_have_count(1)
        assert list_.get_by_role("link").get_attribute("href") == "london.jpg"
        page.locator("#map").press("-")
        page.locator("#map").press("ArrowLeft")
        page.get_by_role("button", name="All", exact=True).click()
        playwright.expect(list_.get_by_role("link")).to_have_count(4)
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert faults == []
    assert set(asked) <= {"file", "data"}
    assert asked.count("file") == 1
