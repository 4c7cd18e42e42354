"""The routes of a library in the browser."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from landmarks.errors import ImageError
from landmarks.serving.album.catalogue import Photo
from landmarks.serving.album.incoming.access import OPEN
from landmarks.serving.album.incoming.parameters import (
    MAX_NAME,
    body_of,
    degrees,
    json_answer,
    number_in_path,
    number_of,
    position,
    text_of,
    whole,
)
from landmarks.serving.album.opened import Opened
from landmarks.serving.album.rows import Said
from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.security import host_name
from landmarks.serving.page import START, file_endpoint, modules_of, page_contents, version_of
from landmarks.serving.settings import LOOPBACK

if TYPE_CHECKING:
    from landmarks.serving.album.review import Answered, Review
    from landmarks.serving.album.workbench import Workbench

_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_ALIVE_SECONDS = 15.0
_TOGETHER_SECONDS = 0.25  # changes this close are told together
_MAX_PHOTOS = 100_000
_SHARED = ("slippy.js", "slippy.css")
_FIRST = 120  # photos that come with the page: more than a large screen shows
_EARLY = 40  # and those whose pictures a browser fetches before it runs any script

Result = TypeVar("Result")
Handler = Callable[[Request], Awaitable[Response]]


class Events:
    """Tells open windows what has changed, as server-sent events.

    Args:
        opened: The library.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung: set[asyncio.Event] = set()
        self._ended = False

    def begin(self) -> None:
        """Begin, in the loop of the application."""
        self._loop = asyncio.get_running_loop()
        self._opened.changed = self._tell

    def end(self) -> None:
        """End all streams."""
        self._ended = True
        self._ring()

    async def stream(self) -> AsyncIterator[str]:
        """Yield what has changed, from now on; everything is told once at the beginning."""
        bell, told = asyncio.Event(), dict[str, Any]()
        self._rung.add(bell)
        try:
            while not self._ended:
                for name, value in self._now().items():
                    if told.get(name) != value:
                        told[name] = value
                        data = self._opened.library() if name == "library" else value
                        yield f"event: {name}\ndata: {json.dumps(data)}\n\n"
                try:
                    await asyncio.wait_for(bell.wait(), _ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                bell.clear()
                if not self._ended:
                    await asyncio.sleep(_TOGETHER_SECONDS)
        finally:
            self._rung.discard(bell)

    def _now(self) -> dict[str, Any]:
        library = self._opened.library()
        tagging = library.pop("tagging")
        return {"photos": {"revision": self._opened.album.revision}, "tagging": tagging, "library": library}

    def _tell(self) -> None:
        if self._loop is not None and not self._ended:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for bell in self._rung:
            bell.set()


def album_routes(opened: Opened, events: Events, *, lan: bool) -> list[Route]:
    """Return all routes; the files of the page, and those that it shares with other pages, are read now.

    Args:
        opened: The library.
        events: What has changed.
        lan: Whether other machines are let in.
    """
    look, say = _Looking(opened, events), _Saying(opened, lan=lan)
    routes = [
        Route("/api/library", look.library),
        Route("/api/photos", look.photos),
        Route("/api/photos/{number}", look.photo),
        Route("/api/events", look.events),
        Route("/api/places", look.places),
        Route("/api/towns", look.towns),
        Route("/api/similar", look.similar),
        Route("/api/suggestions", look.suggestions),
        Route("/api/verdicts", say.verdicts, methods=["POST"]),
        Route("/api/undo", say.undo, methods=["POST"]),
        Route("/api/redo", say.redo, methods=["POST"]),
        Route("/api/teach", say.teach, methods=["POST"]),
        Route("/api/tagging", say.tagging, methods=["POST"]),
        Route("/api/links", say.link, methods=["POST"]),
    ]
    routes += [
        Route("/previews/{number}", _picture(opened, lambda bench, photo: bench.preview(photo), _FOREVER)),
        # It depends on the model too, which the address does not name.
        Route("/heatmaps/{number}", _picture(opened, lambda bench, photo: bench.heatmap(photo), {})),
        Route("/thumbnails/{number}", _thumbnail(opened)),
    ]
    return routes + _page_routes(opened)


def _page_routes(opened: Opened) -> list[Route]:
    """Return the routes of the page and its files, which have the version in their address: they are kept."""
    files = page_contents("landmarks.serving.album")
    start = files.pop(START)
    files |= {f"/shared{path}": content for path, content in page_contents().items() if path != START}
    maps = resources.files("landmarks.library.maps")
    files |= {f"/shared/{name}": maps.joinpath(name).read_bytes() for name in _SHARED}
    version = f"v{version_of(files)}"
    links = (f'<link rel="modulepreload" href="{version}{path}">' for path in modules_of(files, "/main.js"))
    start = start.replace(b"{{version}}", version.encode()).replace(b"{{modules}}", "\n  ".join(links).encode())

    def filled() -> bytes:
        photos = opened.album.newest(_FIRST)
        shown = [f'<img src="thumbnails/{one.id}?v={one.version}" alt="">' for one in photos if one.is_readable]
        early = "".join(shown[:_EARLY]).encode()
        page = start.replace(b"{{early}}", early).replace(b"{{hidden}}", b" hidden" if early else b"")
        return page.replace(b"{{first}}", opened.first(photos).replace(b"<", b"\\u003c"))

    async def page(_request: Request) -> Response:
        """Return the page, with the photos that it shows first."""
        return Response(await _in_thread(opened, filled), media_type="text/html")

    kept = [
        Route(f"/{version}{path}", file_endpoint(path, content, forever=True)) for path, content in files.items()
    ]
    # Browsers ask for the icons and the manifest of an installed page by the address that they know.
    plain = [Route(path, file_endpoint(path, content)) for path, content in files.items() if path.endswith(OPEN)]
    return [Route(START, page), *kept, *plain]


class _Looking:
    """Routes that change nothing."""

    def __init__(self, opened: Opened, events: Events) -> None:
        self._opened = opened
        self._events = events

    async def library(self, _request: Request) -> Response:
        """Return what is open, and how far its tagging is."""
        return json_answer(self._opened.library())

    async def photos(self, request: Request) -> Response:
        """Return the rows of all photos, or of those that have changed."""
        since = whole(request, "since")
        packs = "gzip" in request.headers.get("accept-encoding", "")

        def rows() -> tuple[bytes, dict[str, str]]:
            body = self._opened.album.answer(since)
            if not packs or len(body) < 1000:
                return body, {}
            packer = zlib.compressobj(1, wbits=31)  # with the head of gzip
            return packer.compress(body) + packer.flush(), {"Content-Encoding": "gzip"}

        body, headers = await _in_thread(self._opened, rows)
        return Response(body, media_type="application/json", headers=headers)

    async def photo(self, request: Request) -> Response:
        """Return all that is known of a photo."""
        photo, bench = self._opened.album.get(number_in_path(request)), await _bench(self._opened)
        return json_answer(await _in_thread(self._opened, lambda: bench.detail(photo)))

    async def events(self, _request: Request) -> Response:
        """Stream what changes; whoever asks for that has seen the first page."""
        self._opened.workbench()
        return StreamingResponse(self._events.stream(), media_type="text/event-stream")

    async def places(self, request: Request) -> Response:
        """Return places by the beginning of their name."""
        query, limit = request.query_params.get("q", ""), whole(request, "limit") or 8
        bench = await _bench(self._opened)
        found = await _in_thread(self._opened, lambda: bench.places.find(query[:MAX_NAME], min(limit, 50)))
        return json_answer(found)

    async def towns(self, request: Request) -> Response:
        """Return the largest towns of a part of the map."""
        from landmarks.geo.towns import largest_towns_in  # noqa: PLC0415 - with NumPy

        south, west, north, east = (degrees(request, name) for name in ("south", "west", "north", "east"))
        limit = min(whole(request, "limit") or 60, 500)
        found = await _in_thread(self._opened, lambda: largest_towns_in(south, west, north, east, limit))
        return json_answer(found)

    async def similar(self, request: Request) -> Response:
        """Return the photos that look most like one."""
        number, limit = self._opened.album.get(whole(request, "id") or 0).id, whole(request, "limit") or 50
        bench = await _bench(self._opened)
        found = await _in_thread(self._opened, lambda: bench.similar(number, min(limit, 500)))
        return json_answer(found)

    async def suggestions(self, _request: Request) -> Response:
        """Return groups of unknown photos that look alike."""
        bench = await _bench(self._opened)
        return json_answer(await _in_thread(self._opened, bench.suggestions))


class _Saying:
    """Routes that change something."""

    def __init__(self, opened: Opened, *, lan: bool) -> None:
        self._opened = opened
        self._lan = lan

    async def verdicts(self, request: Request) -> Response:
        """Confirm, reject or rename tags of photos, or withdraw what was said of them."""
        body = await body_of(request)
        photos, said = self._photos(body), body.get("verdict")
        if said not in get_args(Said):
            raise RequestError("invalid_parameter", f"verdict must be one of {', '.join(get_args(Said))}")
        key, name = text_of(body, "key"), text_of(body, "name")
        verdict: Said = next(one for one in get_args(Said) if one == said)
        return await self._step(lambda review: review.judge(photos, verdict, key, name), photos)

    async def undo(self, request: Request) -> Response:
        """Undo the last step; refuse if it is not the one that is meant."""
        number = number_of(await body_of(request), "number")
        return await self._step(lambda review: review.undo(number))

    async def redo(self, request: Request) -> Response:
        """Do the step again that was undone last; refuse if it is not the one that is meant."""
        number = number_of(await body_of(request), "number")
        return await self._step(lambda review: review.redo(number))

    async def teach(self, request: Request) -> Response:
        """Teach the model a landmark from photos."""
        body = await body_of(request)
        photos, name = self._photos(body), text_of(body, "name")
        if not name:
            raise RequestError("invalid_parameter", "give the name of the landmark")
        where = body.get("latitude"), body.get("longitude")
        there = None if where == (None, None) else position(*where)
        return await self._step(lambda review: review.teach(photos, name, there), photos, {"landmark": name})

    async def tagging(self, request: Request) -> Response:
        """Pause the tagging, or go on."""
        running = (await body_of(request)).get("running")
        if not isinstance(running, bool):
            raise RequestError("invalid_parameter", "running must be true or false")
        tagger = (await _bench(self._opened)).tagger
        tagger.pause(paused=not running)
        return json_answer(tagger.status())

    async def link(self, request: Request) -> Response:
        """Return a new link, which can be used once."""
        await body_of(request)
        host = request.headers["host"]
        if self._lan and host_name(host) in LOOPBACK:
            # The port is the listener's: browsers leave out port 80, and an IPv6 address has colons of its own.
            host = f"{_own_address()}:{request.scope['server'][1]}"
        return json_answer({"url": f"http://{host}/?token={self._opened.sessions.link()}"})

    async def _step(
        self, make: Callable[[Review], Answered], photos: Sequence[Photo] = (), more: dict[str, Any] | None = None
    ) -> Response:
        bench = await _bench(self._opened)
        done = await asyncio.wrap_future(bench.step(make, photos))
        body = await _in_thread(self._opened, lambda: bench.answer(done, more or {}))
        return Response(body, media_type="application/json")

    def _photos(self, body: dict[str, Any]) -> list[Photo]:
        numbers = body.get("photos")
        if not isinstance(numbers, list) or not 0 < len(numbers) <= _MAX_PHOTOS:
            raise RequestError("invalid_parameter", "photos must be a list of numbers of photos")
        if not all(type(number) is int for number in numbers):
            raise RequestError("invalid_parameter", "photos must be a list of numbers of photos")
        return [self._opened.album.get(number) for number in dict.fromkeys(numbers)]


def _thumbnail(opened: Opened) -> Handler:
    async def thumbnail(request: Request) -> Response:
        """Return the thumbnail of a photo."""
        photo = opened.album.get(number_in_path(request))
        return await _jpeg(opened, lambda: opened.thumbnail(photo), _FOREVER)

    return thumbnail


def _picture(opened: Opened, make: Callable[[Workbench, Photo], bytes], headers: dict[str, str]) -> Handler:
    async def picture(request: Request) -> Response:
        """Return a picture of a photo."""
        photo, bench = opened.album.get(number_in_path(request)), await _bench(opened)
        return await _jpeg(opened, lambda: make(bench, photo), headers)

    return picture


async def _jpeg(opened: Opened, make: Callable[[], bytes], headers: dict[str, str]) -> Response:
    """Return a picture of a photo; its address has the version of the photo."""
    try:
        content = await _in_thread(opened, make)
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise RequestError("not_found", "this photo is no longer there") from error
        raise
    return Response(content, media_type="image/jpeg", headers=headers)


async def _bench(opened: Opened) -> Workbench:
    """Wait for the workbench."""
    return await asyncio.wrap_future(opened.workbench())


async def _in_thread(opened: Opened, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(opened.threads, work)


def _own_address() -> str:
    """Return the address of this machine in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation, RFC 5737
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
