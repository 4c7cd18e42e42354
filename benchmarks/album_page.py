"""The page of `landmarks open` in chromium with 20,000 photos: first photos, long tasks, memory of the renderer.

Run `python benchmarks/album.py --keep FOLDER`, then `python benchmarks/album_page.py --keep FOLDER`: this is a
second start then, with rows and some thumbnails stored. Tagging is paused, as the page is measured, not the model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from album import Page as Client
from album import make_library, opened
from playwright.sync_api import Browser, Page, sync_playwright
from record import RESULTS, record, table

LIMIT = 100
"""Milliseconds that a task of the page may take while it scrolls."""

# Steps of a frame: what a wheel, a fast flick and the bar at the edge do.
_SCROLL = """async ([step, frames]) => {
    const scroller = document.querySelector("#scroller");
    for (let frame = 0; frame < frames; frame += 1) {
        scroller.scrollTop = step ? scroller.scrollTop + step : scroller.scrollHeight * ((frame * 0.618) % 1);
        await new Promise(requestAnimationFrame);
    }
}"""
_WAYS = {
    "wheel, 100 px per frame": (100, 400),
    "flick, 600 px per frame": (600, 200),
    "jumps of the bar": (0, 60),
}
_ACTIONS = {"group": ("landmark", "trip", "month"), "sort": ("name", "newest")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="folder of the library that album.py made")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory(prefix="landmarks-page-") as name, sync_playwright() as tool:
        base = given.keep or Path(name)
        make_library(base / "library", given.photos)
        browser = tool.chromium.launch(executable_path=chromium, args=flags)
        rows = list(measure(base, browser))
        browser.close()
    body = table(["measured", "value"], [list(row) for row in rows])
    command = f"python benchmarks/album_page.py --photos {given.photos}"
    record("album_page", "The page of `landmarks open` with many photos", command, body, (), folders=[given.out])
    return 0


def measure(base: Path, browser: Browser) -> Iterator[tuple[str, str]]:
    """Yield what the page takes: once as it is, and once traced, which takes memory of its own."""
    with opened(base, base / "library") as (client, service, begun):
        client.post("/api/tagging", {"running": False})
        page, asked = visit(browser, client)
        shown = time.perf_counter()
        yield "first photos, after the command was started", f"{shown - begun:.2f} s"
        yield "first photos, after the page was asked for", f"{shown - asked:.2f} s"
        renderer = max(cpu_seconds(process) for process in renderers(browser))
        yield "CPU time until then", f"service {cpu_seconds(service):.2f} s, renderer {renderer:.2f} s"
        for step, frames in _WAYS.values():
            page.evaluate(_SCROLL, [step, frames])
        yield "elements of the page", f"{page.evaluate('document.querySelectorAll(`*`).length'):,}"
        yield "JavaScript heap", f"{page.evaluate('performance.memory.usedJSHeapSize') / 2**20:.0f} MiB"
        yield "memory of the renderer", f"{renderer_mib(browser):.0f} MiB"
        page.close()
        page, _ = visit(browser, client, traced=True)
        yield "tasks while it opens", tasks(browser, page)
        for name, way in _WAYS.items():
            page.evaluate(_SCROLL, list(way))
            page.wait_for_timeout(500)
            yield f"tasks while it scrolls: {name}", tasks(browser, page)
        for control, values in _ACTIONS.items():
            for value in values:
                page.locator(f"#{control}").select_option(value)
                page.wait_for_timeout(600)
                yield f"tasks: {control} by {value}", tasks(browser, page)


def visit(browser: Browser, client: Client, *, traced: bool = False) -> tuple[Page, float]:
    """Open the page as a new visitor, and wait for the first photos; returns when it was asked for, too."""
    link = client.post("/api/links", {})["url"]
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    if traced:
        browser.start_tracing(page=page, categories=["toplevel"])
    asked = time.perf_counter()
    page.goto(link, wait_until="commit")
    page.locator(".cell img[src]").first.wait_for()
    return page, asked


def tasks(browser: Browser, page: Page) -> str:
    """Say how long the tasks of the page's main thread were since the last call, by the clock and in CPU time.

    The clock counts what other programs took meanwhile; on a machine that does nothing else both are the same.
    """
    events = json.loads(browser.stop_tracing())["traceEvents"]
    browser.start_tracing(page=page, categories=["toplevel"])
    names = [event for event in events if event["name"] == "thread_name"]
    mains = {(event["pid"], event["tid"]) for event in names if event["args"]["name"] == "CrRendererMain"}
    found = [
        event for event in events if event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in mains
    ]
    clock = max((event.get("dur", 0) / 1000 for event in found), default=0.0)
    cpu = [event.get("tdur", 0) / 1000 for event in found]
    over = sum(duration > LIMIT for duration in cpu)
    return (
        f"longest {max(cpu, default=0.0):.0f} ms of CPU time ({clock:.0f} ms by the clock), {over} over {LIMIT} ms"
    )


def renderers(browser: Browser) -> list[int]:
    """Return the processes that show pages."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return [int(process["id"]) for process in found if process["type"] == "renderer"]


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def renderer_mib(browser: Browser) -> float:
    """Return the memory of the largest renderer; pages that processes share count by their share (PSS)."""
    sizes = [0.0]
    for process in renderers(browser):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        sizes.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")))
    return max(sizes)


if __name__ == "__main__":
    sys.exit(main())
