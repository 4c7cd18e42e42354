"""How long a browser may take: as long as a slow machine needs, since what passes costs nothing."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):  # the tests here are skipped, then
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
