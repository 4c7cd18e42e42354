"""`landmarks serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Fields, Model, Option
from landmarks.errors import SettingsError
from landmarks.serving.settings import LOOPBACK, Access, ConnectionLimits, Limits, ServeSettings
from landmarks.tagging.settings import TagSettings

_LIMIT_FLAGS = {
    "max_files": "--files",
    "max_file_bytes": "--max-mb",
    "max_pixels": "--max-megapixels",
    "upload_bytes_per_second": "--upload-rate",
}
_ACCESS_FLAGS = {"origins": "--cors", "hosts": "--allow-host", "api_key": "--api-key-file", "proxies": "--proxy"}


def serve(
    model: Model = "world",
    host: Annotated[str, Option("Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, Option("Port; 0 takes a free one.", minimum=0)] = 8000,
    workers: Annotated[int | None, Option("Worker processes.", default="one per core", minimum=1)] = None,
    queue: Annotated[int, Option("Maximum images in flight; more get 429.", minimum=1)] = 64,
    max_mb: Annotated[float, Option("Largest image file, in MiB.")] = 50.0,
    max_megapixels: Annotated[float, Option("Largest image, in megapixels.")] = 200.0,
    index: Annotated[
        str | None, Option("Index made by landmarks index, for POST /v1/search and similar photos.")
    ] = None,
    api_key_file: Annotated[
        Path | None, Option("File that holds the API key.", default="LANDMARKS_API_KEY, else no key")
    ] = None,
    allow_host: Annotated[
        tuple[str, ...],
        Option(
            "Host name to serve under besides addresses; repeat it.",
            default="localhost; any with an API key",
            repeat=True,
        ),
    ] = (),
    cors: Annotated[
        tuple[str, ...],
        Option("Origin whose pages may read the answers; repeat it.", default="none", repeat=True),
    ] = (),
    proxy: Annotated[
        tuple[str, ...],
        Option("Address or network of a proxy whose X-Forwarded-For is believed; repeat it.", repeat=True),
    ] = (),
    *,
    limits: Annotated[
        Limits,
        Fields(omit=("max_file_bytes", "max_pixels", "max_request_bytes"), flags=_LIMIT_FLAGS | _ACCESS_FLAGS),
    ],
    connections: Annotated[
        ConnectionLimits,
        Fields(omit=("connections", "header_bytes", "send_seconds", "loop_share")),
    ],
    tags: Annotated[
        TagSettings,
        Fields(
            omit=("near_km", "far_km", "engine"), flags={"own_places": "--places", "use_position": "--position"}
        ),
    ],
) -> None:
    """Serve the model over HTTP, with a web UI.

    The address is printed on standard output once images are accepted; logs go to standard error, one JSON object
    per line. SIGTERM and Ctrl-C finish the images in flight and end with status 0.
    """
    from dataclasses import replace

    from landmarks.model.folder import find_model
    from landmarks.serving.server import run
    from landmarks.tagging.workers import cores

    max_file_bytes = int(max_mb * 2**20)
    hosts = tuple(name.lower() for name in allow_host)
    key = _api_key(api_key_file)
    settings = ServeSettings(
        model=find_model(model),
        tags=tags,
        workers=workers or cores(),
        queue=queue,
        limits=replace(
            limits,
            max_file_bytes=max_file_bytes,
            max_pixels=int(max_megapixels * 1e6),
            max_request_bytes=max(2 * max_file_bytes, 2**20),
        ),
        access=Access(
            api_key=key,
            # Without a key, a page of another site could have its name resolve to this machine and ask.
            hosts=hosts or (LOOPBACK if host in LOOPBACK or key is None else ()),
            origins=cors,
            proxies=proxy,
        ),
        connections=connections,
    )
    searcher = None
    if index is not None:
        from landmarks.serving.photo_index import PhotoIndex

        searcher = PhotoIndex(index, settings.model)
    run(settings, host, port, searcher=searcher, started=click.echo)


def _api_key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get("LANDMARKS_API_KEY") or None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"`api_key_file` {path}: it cannot be read: check its permissions") from error
