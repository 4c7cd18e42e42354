"""The page of the API in a real browser: it shows every operation, and sends a request."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from serving import serving
from tiny_model import COLOURS, calibrated, make_model, save_colour

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def test_the_api_is_shown_and_can_be_tried(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated())
    photo = save_colour(tmp_path / "tower.png", COLOURS["07.Eiffel_Tower"])
    key = {"LANDMARKS_API_KEY": "a-key-of-sixteen-or-more"}
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, as in a container, chromium has none
    jobs = ("--jobs", tmp_path / "jobs.sqlite")
    with (
        serving("--model", model, "--workers", 1, *jobs, environment=key) as running,
        playwright.sync_playwright() as tool,
    ):
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
        page.route("**/openapi.json", lambda route: route.abort())
        page.goto(f"{running.address}/docs")
        playwright.expect(page.get_by_role("alert")).to_have_text("The service cannot be reached.")
        page.unroute("**/openapi.json")
        page.get_by_role("button", name="Use it").click()
        playwright.expect(page.get_by_role("alert")).to_contain_text("asks for an API key")
        page.get_by_label("API key").fill(key["LANDMARKS_API_KEY"])
        page.get_by_role("button", name="Use it").click()
        playwright.expect(page.locator(".operation")).to_have_count(12)
        page.locator(".operation", has_text="POST/v1/tags").locator("summary").click()
        form = page.get_by_role("form", name="Try POST /v1/tags")
        form.get_by_label("Files").set_input_files(photo)
        form.get_by_role("button", name="Send").click()
        playwright.expect(form.locator("pre")).to_contain_text("Eiffel Tower")
        page.get_by_role("link", name="TagsResponse").first.click()
        playwright.expect(page.locator("#type-TagsResponse pre")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert axe.Axe().run(page).violations_count == 0
        browser.close()
        assert faults == []
