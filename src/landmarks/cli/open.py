"""`landmarks open`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Exclude, Fields, Ledger, Model, Option, State
from landmarks.files.ending import on_ending
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.settings import TagSettings


@on_ending(lambda _number, _frame: sys.exit(0))  # while it starts; then the server has its own way
def open(  # noqa: A001 - the name of the command
    folder: Annotated[Path, Argument("Folder of photos.")],
    model: Model = "world",
    host: Annotated[
        str, Option("Address to listen on; 0.0.0.0 lets a phone in, which needs a link.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, Option("Port; 0 takes a free one.", default="8400, or a free one", minimum=0)
    ] = None,
    browser: Annotated[bool, Option("Open the browser.")] = True,
    read_only: Annotated[bool, Option("Show tags without writing any file.")] = False,
    exclude: Exclude = (),
    cache_mb: Annotated[int, Option("Limit on the stored thumbnails, in MiB.", minimum=1)] = 1024,
    ledger: Ledger = None,
    state: State = None,
    *,
    tags: Annotated[TagSettings, Fields(only=("language", "max_megapixels"))],
    options: Annotated[WriteOptions, Fields(only=("in_place",))],
) -> None:
    """Open a library of photos in the browser: see what was found, correct it, teach it.

    The photos are tagged in the background, as by landmarks tag --write: tags go into sidecars, and photos are
    never changed without --in-place. A link that can be used once is printed; it works without internet. Ctrl-C
    ends it.
    """
    from threading import Thread

    from landmarks.metadata.exiftool import require_exiftool
    from landmarks.model.folder import find_model
    from landmarks.serving.album.process import run
    from landmarks.serving.album.settings import AlbumSettings

    if options.in_place and not read_only:
        require_exiftool()
    settings = AlbumSettings(folder, find_model(model), tags, options, exclude, read_only, cache_mb, ledger, state)

    def started(link: str) -> None:
        click.echo(link)
        if browser:
            Thread(target=_browse, args=(link,), daemon=True).start()

    run(settings, host, port, started=started)


def _browse(link: str) -> None:
    """Open a link in the browser; some browsers are waited for."""
    import webbrowser

    webbrowser.open(link)
