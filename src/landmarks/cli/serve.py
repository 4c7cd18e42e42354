"""`landmarks serve`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Fields, Model, Option
from landmarks.cli.output import warn_of_update
from landmarks.errors import SettingsError
from landmarks.files.ending import on_ending
from landmarks.serving.settings import (
    LOOPBACK,
    Access,
    ConnectionLimits,
    JobLimits,
    Limits,
    ServeSettings,
    is_host,
)
from landmarks.tagging.settings import TagSettings

_ACCESS_FLAGS = {
    "api_key": "--api-key-file",
    "keys_file": "--api-keys",
    "hosts": "--allow-host",
    "origins": "--cors",
    "proxies": "--proxy",
}


_More = Annotated[
    tuple[str, ...], Option("Another model to serve, as ?model=NAME; repeat it.", repeat=True, flag="--also-model")
]
_Host = Annotated[str, Option("Address to listen on; 0.0.0.0 lets other machines in.")]
_Port = Annotated[int, Option("Port; 0 takes a free one.", minimum=0)]
_Workers = Annotated[int | None, Option("Worker processes per model.", default="one per core", minimum=1)]
_Index = Annotated[
    str | None, Option("Folder that was indexed, or its index, for POST /v1/search and similar photos.")
]
_Pictures = Annotated[bool, Option("With --index: also show similar photos, at 160 pixels.")]
_Otel = Annotated[bool, Option("Send OpenTelemetry traces and metrics, as configured by the OTEL_ variables.")]
_KeyFile = Annotated[Path | None, Option("File that holds the API key.", default="LANDMARKS_API_KEY, else no key")]
_Hosts = Annotated[
    tuple[str, ...],
    Option(
        "Host name to serve under besides localhost and addresses; repeat it.",
        default="none; any with an API key",
        repeat=True,
    ),
]


@on_ending(lambda _number, _frame: sys.exit(0))  # while it starts; then the server has its own way
def serve(
    model: Model = "world",
    more_models: _More = (),
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    workers: _Workers = None,
    index: _Index = None,
    index_pictures: _Pictures = False,
    otel: _Otel = False,
    api_key_file: _KeyFile = None,
    allow_host: _Hosts = (),
    *,
    access: Annotated[
        Access,
        Fields(omit=("api_key", "hosts"), flags=_ACCESS_FLAGS, repeat=("origins", "proxies")),
    ],
    limits: Annotated[
        Limits,
        Fields(
            omit=("max_request_mb",), flags={"max_files": "--files", "upload_bytes_per_second": "--upload-rate"}
        ),
    ],
    jobs: Annotated[JobLimits, Fields(flags={"path": "--jobs"})],
    connections: Annotated[
        ConnectionLimits,
        Fields(omit=("connections", "header_bytes", "send_seconds", "loop_share")),
    ],
    tags: Annotated[
        TagSettings,
        Fields(
            omit=("near_km", "far_km", "places", "language", "engine", "max_megapixels"),
            flags={"use_position": "--position"},
        ),
    ],
) -> None:
    """Serve models over HTTP, with a web UI.

    The address is printed on standard output once images are accepted; logs go to standard error, one JSON object
    per line. SIGTERM, SIGHUP and Ctrl-C finish the images in flight and end with status 0.
    """
    from landmarks.model.folder import find_model
    from landmarks.serving.server import run
    from landmarks.tagging.workers import cores

    key = _api_key(api_key_file)
    open_to_any = bool(key or access.keys_file)
    settings = ServeSettings(
        model=find_model(model),
        tags=tags,
        workers=workers or cores(),
        limits=limits,
        access=replace(access, api_key=key, hosts=_hosts(host, allow_host, open_to_any=open_to_any)),
        connections=connections,
        jobs=jobs,
        more_models=tuple(find_model(name) for name in more_models),
    )
    warn_of_update(settings.model, *settings.more_models)
    if index_pictures and index is None:
        raise SettingsError("`index_pictures` needs `index`: give it too")
    searcher = None
    if index is not None:
        from landmarks.serving.models.photo_index import PhotoIndex

        searcher = PhotoIndex(index, settings.model, pictures=index_pictures)
    telemetry = None
    if otel:
        from landmarks.serving.middleware.telemetry import start

        telemetry = start()
    run(settings, host, port, searcher=searcher, telemetry=telemetry, started=click.echo)


def _hosts(host: str, names: tuple[str, ...], *, open_to_any: bool) -> tuple[str, ...]:
    """Return the host names to answer under, with the one to listen on; empty for any.

    Without a key, a page of another site could have its name resolve to this machine and ask.
    """
    from landmarks.serving.middleware.security import is_address

    if open_to_any and not names:
        return ()
    own = (host,) if is_host(host) and not is_address(host) else ()
    return tuple(dict.fromkeys((*LOOPBACK, *(name.lower() for name in (*own, *names)))))


def _api_key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get("LANDMARKS_API_KEY") or None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"`api_key_file` {path}: it cannot be read: check its permissions") from error
