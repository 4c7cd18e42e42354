"""A web server that ends as a service should: at SIGTERM, Ctrl-C and SIGHUP, with status 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from landmarks.serving.listening import on_ending


class EndingServer(uvicorn.Server):
    """uvicorn's server, which would raise the signal again once it has shut down, and leaves out SIGHUP."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down at a signal."""
        with on_ending(self.handle_exit):
            yield
