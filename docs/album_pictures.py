"""Takes screenshots of `landmarks open` on a library of drawn photos: build/screenshots/open-*.png.

One of them, smaller, is docs/images/open.png.

At 1440, 1024 and 390 pixels, light and dark: the sheet, a selection, the lightbox, the map, teaching, suggestions.
They are looked at by people; nothing is compared.

Run `.venv/bin/python docs/album_pictures.py`; it needs the extras `serve` and `dev`, and chromium.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from commands import CALL
from drawn import draw_scene
from serving import serving_by
from tiny_model import camera_exif

TARGET = Path(__file__).parents[1] / "build" / "screenshots"
SHOWN = Path(__file__).parent / "images" / "open.png"
SIZES = {1440: 900, 1024: 768, 390: 844}
TRIPS: dict[str, tuple[tuple[float, float], tuple[str, ...]]] = {
    "2024-05-03 north": ((57.15, -2.1), ("Lighthouse", "Clock_Tower", "Arch_Bridge")),
    "2024-09-20 east": ((35.0, 135.8), ("Pagoda", "Snow_Mountain", "Domed_Temple")),
    "2025-02-11 south": ((30.0, 31.1), ("Pyramid", "Ferris_Wheel", "Domed_Temple")),
}
PHOTOS_OF_A_TRIP = 42
TAUGHT = ("Lighthouse", "Clock_Tower", "Pagoda", "Pyramid", "Snow_Mountain")
EXAMPLES = 5
"""Photos of each taught landmark that it is taught from."""

_TEACH = """async ([name, wanted]) => {
    const { photos } = await (await fetch("api/photos")).json();
    const chosen = photos.filter((row) => row.name.startsWith(wanted)).slice(0, EXAMPLES).map((row) => row.id);
    const body = JSON.stringify({ photos: chosen, name, latitude: null, longitude: null });
    await fetch("api/teach", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}""".replace("EXAMPLES", str(EXAMPLES))


def draw_library(folder: Path) -> None:
    for name, (middle, landmarks) in TRIPS.items():
        rng = random.Random(name)
        trip = folder / name[11:]
        trip.mkdir(parents=True)
        when = datetime.fromisoformat(name[:10]) + timedelta(hours=9)
        for number in range(PHOTOS_OF_A_TRIP):
            when += timedelta(minutes=rng.expovariate(1 / 40))
            landmark = landmarks[number % len(landmarks)]
            position = (middle[0] + rng.gauss(0, 0.05), middle[1] + rng.gauss(0, 0.05))
            exif = camera_exif(position if rng.random() < 0.7 else None, when.strftime("%Y:%m:%d %H:%M:%S"))
            path = trip / f"{landmark}_{number:02}.jpg"
            draw_scene(landmark, rng, 480).save(path, quality=88, exif=exif)


def settle(page: Page) -> None:
    page.wait_for_timeout(2500)
    page.locator(".cell").first.wait_for()
    page.locator("#tagging").wait_for(state="hidden", timeout=300_000)


def prepare(page: Page) -> None:
    """Teach some landmarks, and judge a few photos, so that every state can be seen."""
    settle(page)
    for name in TAUGHT:
        page.evaluate(_TEACH, [name.replace("_", " "), name])
    settle(page)
    page.get_by_label("Sort").select_option("certain")
    page.locator("#cells").press("Home")
    for key in "cxcc":
        page.keyboard.press(key)
    page.get_by_label("Sort").select_option("newest")
    page.wait_for_timeout(1000)


def take(page: Page, name: str) -> None:
    page.wait_for_timeout(700)  # thumbnails fade in by themselves
    page.screenshot(path=TARGET / f"open-{name}.png")


def take_all(page: Page, name: str) -> None:
    page.locator("#to-photos").click()
    page.locator("#cells").press("Home")
    take(page, f"{name}-photos")
    for key in ("ArrowDown", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    take(page, f"{name}-selected")
    page.keyboard.press("t")
    take(page, f"{name}-teach")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.locator("#lightbox h3").first.wait_for()
    take(page, f"{name}-lightbox")
    page.keyboard.press("Escape")
    page.locator("#lightbox").wait_for(state="hidden")
    page.locator("#to-map").click()
    page.locator(".pins button").first.click()
    take(page, f"{name}-map")
    page.locator("#to-suggested").click()
    take(page, f"{name}-suggested")


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as tool:
        folder = Path(place) / "Holidays"
        draw_library(folder)
        for kind in ("cache", "state", "data"):  # the last holds what is taught
            os.environ[f"XDG_{kind.upper()}_HOME"] = f"{place}/{kind}"
        browser = tool.chromium.launch(executable_path=chromium, args=flags)
        options: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
        with serving_by([sys.executable, "-c", CALL, "open", folder, "--port", 0, "--no-browser"]) as running:
            page = browser.new_page(**options)
            page.goto(running.address)
            prepare(page)
            for width, height in SIZES.items():
                for scheme in ("light", "dark"):
                    page.set_viewport_size({"width": width, "height": height})
                    page.emulate_media(color_scheme=scheme)
                    take_all(page, f"{width}-{scheme}")
        browser.close()
    shown = Image.open(TARGET / "open-1440-light-photos.png").convert("RGB")
    shown.thumbnail((1080, 1080), Image.Resampling.LANCZOS)
    shown.quantize(128).save(SHOWN, optimize=True)


if __name__ == "__main__":
    main()
