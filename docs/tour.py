"""Makes docs/images/tour.png, the picture of the README: tagging in a terminal, and the web UI.

Run `.venv/bin/python docs/tour.py`. It runs the real commands on the drawings in docs/examples and takes
screenshots in a real browser, so the picture shows what the package does today. It needs chromium.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "tour.png"
COMMAND = ("tag", "docs/examples", "--explain")
SIZE = {"width": 760, "height": 560}

sys.path.append(str(ROOT / "tests"))
from serving import serving  # noqa: E402 - a folder of tests is no package

TERMINAL = """<style>
body {{ margin: 0; background: #1b2127; color: #d8dee4; padding: 24px;
  font: 15px/1.6 "DejaVu Sans Mono", monospace }}
pre {{ margin: 0; white-space: pre-wrap }} b {{ color: #8fd18f }}
</style><pre><b>$</b> landmarks {command}
{output}</pre>"""


def terminal(browser: Browser) -> Image.Image:
    """Run the command and draw a terminal with its output."""
    run = [sys.executable, "-m", "landmarks", *COMMAND]
    output = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
    page = browser.new_page(viewport=SIZE, device_scale_factor=2)
    page.set_content(TERMINAL.format(command=html.escape(" ".join(COMMAND)), output=html.escape(output)))
    return screenshot(page)


def web(browser: Browser) -> Image.Image:
    """Start the service, give it the drawings, and wait for the answers."""
    photos = sorted((ROOT / "docs" / "examples").glob("*.jpg"))
    with serving("--workers", 1) as running:
        page = browser.new_page(viewport=SIZE, device_scale_factor=2)
        page.goto(running.address)
        page.set_input_files("#files", photos)
        page.get_by_role("status").get_by_text(f"{len(photos)} of {len(photos)} photos done").wait_for()
        return screenshot(page)


def screenshot(page: object) -> Image.Image:
    """Return what a page shows now."""
    path = TARGET.with_suffix(".part.png")
    page.screenshot(path=path)  # type: ignore[attr-defined]
    with Image.open(path) as shown:
        image = shown.convert("RGB")
    path.unlink()
    return image


def main() -> None:
    with sync_playwright() as tool:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root chromium has no sandbox
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        left, right = terminal(browser), web(browser)
        browser.close()
    sheet = Image.new("RGB", (left.width + right.width + 24, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + 24, 0))
    sheet.thumbnail((1600, 1600))
    sheet.quantize(128).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
