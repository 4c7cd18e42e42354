"""`landmarks serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from landmarks.cli import options


def serve(
    model: options.Model = "world34",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode and recognise. [default: one a core]")
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Pictures in the service at a time; others get 429.")] = 64,
    files: Annotated[int, typer.Option(min=1, help="Pictures a request may bring.")] = 32,
    max_mb: Annotated[float, typer.Option(help="Largest picture, in MiB.")] = 20.0,
    max_megapixels: Annotated[float, typer.Option(help="Largest picture, in megapixels.")] = 50.0,
    decode_seconds: Annotated[float, typer.Option(help="Longest work on one picture.")] = 10.0,
    request_seconds: Annotated[float, typer.Option(help="Longest time of a request.")] = 30.0,
    min_confidence: options.MinConfidence = None,
    top: Annotated[int, typer.Option(min=1, help="Candidates a photo.")] = 5,
    places: options.Places = None,
    position: options.Position = True,
    index: Annotated[
        str | None, typer.Option(help="Index made by landmarks index, for POST /v1/search and look-alikes.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the API key. [default: LANDMARKS_API_KEY, else no key]"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name to answer under; repeat it. [default: localhost on loopback, else any]"),
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may read the answers; repeat it. [default: none]")
    ] = None,
) -> None:
    """Answer over HTTP, and show a page for people.

    The address goes to standard output once pictures can be taken; logs go to standard error, one JSON object a
    line. SIGTERM and Ctrl-C finish what was taken and end with status 0.
    """
    from landmarks.model.folder import find_model
    from landmarks.serving.server import run
    from landmarks.serving.settings import LOOPBACK, Access, Limits, ServeSettings
    from landmarks.tagging.settings import TagSettings
    from landmarks.tagging.workers import cores

    max_file_bytes = int(max_mb * 2**20)
    limits = Limits(
        max_file_bytes=max_file_bytes,
        max_pixels=int(max_megapixels * 1e6),
        max_files=files,
        max_request_bytes=max(5 * max_file_bytes, 2**20),
        decode_seconds=decode_seconds,
        request_seconds=request_seconds,
    )
    hosts = tuple(name.lower() for name in allow_host or ())
    access = Access(
        api_key=_api_key(api_key_file),
        hosts=hosts or (LOOPBACK if host in LOOPBACK else ()),
        origins=tuple(cors or ()),
    )
    settings = ServeSettings(
        model=find_model(model),
        tags=TagSettings(top=top, min_confidence=min_confidence, use_position=position, own_places=places),
        workers=workers or cores(),
        queue=queue,
        limits=limits,
        access=access,
    )
    searcher = None
    if index is not None:
        from landmarks.serving.photo_index import PhotoIndex

        searcher = PhotoIndex(index, settings.model)
    run(settings, host, port, searcher=searcher, started=typer.echo)


def _api_key(path: Path | None) -> str | None:
    from landmarks.errors import SettingsError

    if path is None:
        return os.environ.get("LANDMARKS_API_KEY") or None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"--api-key-file {path}: it cannot be read: check its permissions") from error
