"""The page of `landmarks open` in chromium with 20,000 photos: first photos, long tasks, memory of the renderer.

Run `python benchmarks/album.py --keep FOLDER`, then `python benchmarks/album_page.py --keep FOLDER`: rows and some
thumbnails are stored then. The service is started, visited and stopped; the second start is measured, in the same
browser, which was running all the time and has kept the files of the page. What an empty page takes is measured in
it too. While the page is used, tagging is paused, as the page is measured, not the model.
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

from album import make_library, started
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
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
_FIRST = """() => new Promise((told) => {
    new PerformanceObserver((list) => {
        const photo = list.getEntries().find(({ url }) => url.includes("/thumbnails/"));
        if (photo) told((performance.timeOrigin + photo.renderTime) / 1000);
    }).observe({ type: "largest-contentful-paint", buffered: true });
    const watch = setInterval(() => {
        if (!document.querySelector(".early img, .cell img[src]")?.naturalWidth) return;
        clearInterval(watch);
        const now = Date.now() / 1000;
        setTimeout(() => told(now), 500); // unless the browser has said when it painted it
    }, 20);
})"""
"""When the first photo was painted, in seconds since 1970."""
_SHEET = "document.querySelector('.cell img[src]')?.naturalWidth > 0"
"""Whether it is in the sheet, where it can be chosen."""
_COMPLETE = "document.querySelector('#all-count')?.textContent && document.querySelector('#loading').hidden"
_PAUSE = """() => fetch("api/tagging", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ running: false }),
})"""
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
    load = f"Load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    command = f"python benchmarks/album_page.py --photos {given.photos}"
    record(
        "album_page",
        "The page of `landmarks open` with many photos",
        command,
        f"{body}\n\n{load}",
        (),
        folders=[given.out],
    )
    return 0


def measure(base: Path, browser: Browser) -> Iterator[tuple[str, str]]:
    """Yield what the page takes: its second start, its use, and both traced, which takes memory of its own."""
    # Without the policy of the page, which forbids what is asked of it here.
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    with started(base, base / "library") as (link, _, _):
        address = link.partition("/?")[0]
        for place in (link, address):  # a script is kept compiled after two visits
            page = context.new_page()
            page.goto(place)
            page.wait_for_function(_COMPLETE)
            page.close()
    with started(base, base / "library", int(address.rpartition(":")[2])) as (link, service, begun):
        page = context.new_page()
        yield from first_photos(browser, page, link, service, begun)
        page.evaluate(_PAUSE)
        empty = sorted(visit_nothing(context, address) for _ in range(5))[2]
        yield "of which a tab with an empty page takes", f"{empty:.2f} s"
        for step, frames in _WAYS.values():
            page.evaluate(_SCROLL, [step, frames])
        yield "elements of the page", f"{page.evaluate('document.querySelectorAll(`*`).length'):,}"
        heap = context.new_cdp_session(page).send("Runtime.getHeapUsage")["usedSize"]
        yield "JavaScript heap", f"{heap / 2**20:.0f} MiB"
        yield "memory of the renderer", f"{renderer_mib(browser):.0f} MiB"
        page.close()
        page = context.new_page()
        browser.start_tracing(page=page, categories=["toplevel"])
        page.goto(address, wait_until="commit")
        page.wait_for_function(_COMPLETE, polling=20)
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


def first_photos(browser: Browser, page: Page, link: str, service: int, begun: float) -> Iterator[tuple[str, str]]:
    """Yield how soon the first photos are shown in a new tab, and all are in the sheet."""
    before = {process: cpu_seconds(process) for process in renderers(browser)}  # which tabs before have left, too
    asked = time.perf_counter()
    page.goto(link, wait_until="commit")
    shown = page.evaluate(_FIRST) - time.time() + time.perf_counter()
    renderer = max(cpu_seconds(process) - before.get(process, 0.0) for process in renderers(browser))
    used = f"service {cpu_seconds(service):.2f} s, renderer {renderer:.2f} s"
    page.wait_for_function(_SHEET, polling=20)
    usable = time.perf_counter()
    page.wait_for_function(_COMPLETE, polling=20)
    listed = time.perf_counter()
    yield "first photos, after the command was started", f"{shown - begun:.2f} s"
    yield "first photos, after the page was asked for", f"{shown - asked:.2f} s"
    yield "CPU time until then", used
    yield "first photos can be chosen, after the command was started", f"{usable - begun:.2f} s"
    yield "all photos in the sheet, after the command was started", f"{listed - begun:.2f} s"


def visit_nothing(context: BrowserContext, address: str) -> float:
    """Return how long the browser takes to open a tab and to show a short text in it, which is there at once."""
    begun = time.perf_counter()
    page = context.new_page()
    page.goto(f"{address}/manifest.webmanifest", wait_until="commit")
    page.wait_for_function("document.body?.textContent.includes('landmarks')", polling=20)
    seconds = time.perf_counter() - begun
    page.close()
    return seconds


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
