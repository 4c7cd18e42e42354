"""The API routes, below /v1."""

from __future__ import annotations

import logging
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from json import JSONDecodeError
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import Response

from landmarks.errors import SearchError
from landmarks.imaging.thumbnails import data_uri
from landmarks.serving.errors import ANNOTATE_PATH, RequestError
from landmarks.serving.look_alikes import Searcher
from landmarks.serving.middleware.admission import Ticket
from landmarks.serving.middleware.intake import Upload, read_files, read_pictures
from landmarks.serving.models.served import ServedModel
from landmarks.serving.pool.fair_thread import FairThread
from landmarks.serving.schemas import (
    ErrorBody,
    LandmarksResponse,
    LookAlike,
    ModelsResponse,
    SearchResponse,
    TagsResponse,
    XmpRequest,
)
from landmarks.serving.service import Service, all_of
from landmarks.serving.vision import (
    GOOGLE_PARAMETERS,
    NOT_BASE64,
    AnnotateImageRequest,
    AnnotateImageResponse,
    AnnotateRequest,
    GoogleErrorBody,
    RpcStatus,
    VisionResponse,
    annotation,
    to_vision,
    whole_picture,
)
from landmarks.serving.xmp import XMP_TYPE, ZIP_TYPE, archive_of, packet_of

_log = logging.getLogger("landmarks.serving")
_BYTES = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {
            "photos": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
        },
        "required": ["photos"],
    }
}
PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as the body, with this type or any image/*; or one or more as files of a form, "
        "under any field name.",
        "content": {"multipart/form-data": _FORM, _BYTES: _BINARY},
    }
}
ModelName = Annotated[
    str | None, Query(max_length=200, description="Name of a model of `/v1/models`; by default the first.")
]
_WHEN = {
    400: "The request or all of its images cannot be read.",
    401: "The API key is missing or wrong.",
    404: "There is no such job.",
    403: "The service does not answer under this host name, or a page of another site asks without a key.",
    408: "The upload took too long.",
    413: "The request or all of its images are too large.",
    415: "None of the images is in an accepted format, or the body is compressed.",
    422: "A parameter is out of range.",
    429: "The service is busy; Retry-After has the seconds to wait.",
    503: "The service is unavailable; Retry-After has the seconds to wait.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of errors."""
    return {status: {"model": ErrorBody, "description": _WHEN[status]} for status in statuses}


_OF_PICTURES = errors(400, 401, 403, 408, 413, 415, 422, 429, 503)
_LANDMARKS: dict[int | str, dict[str, Any]] = {
    200: {"model": LandmarksResponse, "description": "One feature per place."},
    **errors(401, 403, 422),
}


async def only_known_parameters(request: Request) -> None:
    """Refuse unknown parameters of a route: a misspelt one would be silently ignored.

    It awaits nothing; FastAPI would run a plain function in another thread, which takes a millisecond per request.

    Raises:
        RequestError: There is one.
    """
    route = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params}
    if request.url.path == ANNOTATE_PATH:
        known |= GOOGLE_PARAMETERS
    for name in request.query_params:
        if name not in known:
            told = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise RequestError("invalid_parameter", f"{name[:60]!r} is not a parameter of {route.path}: {told}")


_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_MAX_VALUES = 20_000  # in a JSON body, which may contain images as text; the tags of 200 photos have up to 14,000


class _JsonRequest(Request):
    """A request whose JSON is parsed in a third of the time of the standard library, if it has few values."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body; raises `RequestError` for what would block the only thread of the service for long."""
        values = 0
        async for piece in super().stream():
            octets = np.frombuffer(piece, np.uint8)  # compared several at once, unlike by bytes.count
            values += sum(int(np.count_nonzero(octets == mark)) for mark in b",[{")
            if values > _MAX_VALUES:
                raise RequestError(
                    "too_large", f"the JSON has more than {_MAX_VALUES} values: send less at a time"
                )
            yield piece

    async def json(self) -> Any:
        """Return the parsed body."""
        body = (await self.body()).removeprefix(BOM_UTF8)  # some programs write it, and readers may ignore it
        try:
            return _JSON.validate_json(body)
        except ValidationError as error:
            raise JSONDecodeError(error.errors()[0]["msg"], "", 0) from error  # what FastAPI answers with 422


class _JsonRoute(APIRoute):
    """A route whose JSON is checked for its cost before it is parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that checks the JSON first."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            request = _JsonRequest(request.scope, request.receive)
            await request.body()
            return await handle(request)

        return checked if self.body_field is not None else handle


def v1_router(service: Service, searcher: Searcher | None) -> APIRouter:
    """Return the routes of a service; `/v1/search` only with a searcher."""
    router = APIRouter(prefix="/v1", route_class=_JsonRoute, dependencies=[Depends(only_known_parameters)])

    @router.post(
        "/tags",
        summary="Tag photos",
        response_model=TagsResponse | VisionResponse,
        responses=_OF_PICTURES,
        openapi_extra=PICTURES,
    )
    async def tags(
        request: Request,
        format: Annotated[  # noqa: A002 - the name that clients write
            Literal["landmarks", "vision"],
            Query(description="`vision` returns the format of Google Cloud Vision's landmarkAnnotations."),
        ] = "landmarks",
        model: ModelName = None,
        preview: Annotated[
            bool, Query(description="Include a small JPEG of each photo, for formats that browsers do not show.")
        ] = False,
    ) -> Response:
        """Return the tags of one image, or of the files of a form, in order."""
        service.catalog.find(model)
        uploads = await read_pictures(request, service.settings.limits)
        with service.catalog.use(model) as served:
            photos = await service.tag(uploads, served, preview=preview)
            if format == "vision":
                return _json(to_vision(photos), exclude_none=True)
            return _json(TagsResponse(model=served.version, photos=photos))

    @router.get("/models", summary="Models and limits", responses=errors(401, 403, 422))
    async def models() -> ModelsResponse:
        """Return the models, the default one first, their operating points, and the limits of the service."""
        return service.models(search=searcher is not None)

    @router.get("/landmarks", summary="Landmarks of the model, as GeoJSON", responses=_LANDMARKS)
    async def landmarks(model: ModelName = None) -> Response:
        """Return one feature per place; several classes may share one."""
        return Response(service.landmarks(model), media_type="application/json")

    @router.post(
        "/xmp",
        summary="Turn tags into XMP sidecars",
        response_class=Response,
        responses={
            200: {
                "description": "One photo: its packet. Several: a ZIP with one sidecar per photo. Either comes as "
                "application/octet-stream if the request accepts only that.",
                # Generators of clients know only the last of these types.
                "content": {XMP_TYPE: {"schema": {"type": "string"}}, ZIP_TYPE: _BINARY, _BYTES: _BINARY},
            },
            **errors(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    )
    async def xmp(request: Request, wanted: XmpRequest) -> Response:
        """Return the sidecar that `landmarks tag --write` would create for each photo."""
        plain = request.headers.get("accept") == _BYTES
        if len(wanted.photos) == 1:
            return Response(packet_of(wanted.photos[0]), media_type=_BYTES if plain else XMP_TYPE)
        ticket: Ticket = request.state.ticket
        content = await service.thread.run(ticket.client, partial(archive_of, wanted.photos), ticket.spend)
        return Response(content, media_type=_BYTES if plain else ZIP_TYPE)

    _add_annotate(router, service)
    if searcher is not None:
        _add_search(router, service, searcher)
    return router


def _add_annotate(router: APIRouter, service: Service) -> None:
    @router.post(
        ANNOTATE_PATH.removeprefix(router.prefix),
        summary="Google Cloud Vision's images:annotate",
        response_model=VisionResponse,
        responses={
            status: {"description": _WHEN[status], "model": GoogleErrorBody}
            for status in (400, 401, 403, 408, 422, 429, 503)  # without 422, FastAPI adds its own
        },
    )
    async def annotate(request: Request, wanted: AnnotateRequest, model: ModelName = None) -> Response:
        """Return the landmarks of each image; an image that fails has an `error` instead."""
        ticket: Ticket = request.state.ticket
        ticket.take_bytes(ticket.size)  # the base64 text and the files decoded from it

        async def one(
            asked: AnnotateImageRequest, problem: RpcStatus | None, served: ServedModel
        ) -> AnnotateImageResponse:
            content = None if problem else await service.thread.run(ticket.client, asked.content, ticket.spend)
            if problem is not None or content is None:
                return AnnotateImageResponse(error=problem or NOT_BASE64)
            answer = await service.look(Upload(None, content, ticket.client), served, ["size"])
            found = annotation(answer.photo, whole_picture(*answer.size), asked.results)
            return found if found.error is not None else found.model_copy(update={"error": asked.warning})

        with service.catalog.use(model) as served:
            problems = [asked.problem() for asked in wanted.requests]
            if problems.count(None) > (most := service.settings.limits.max_files):
                raise RequestError("too_large", f"there are more than {most} images: send fewer at a time")
            ticket.take_places(problems.count(None))
            asked = zip(wanted.requests, problems, strict=True)
            responses = await all_of(one(each, problem, served) for each, problem in asked)
        return _json(VisionResponse(responses=responses), exclude_none=True)


def _add_search(router: APIRouter, service: Service, searcher: Searcher) -> None:
    thread = FairThread()  # of its own: an index may be far away, and what else takes long must not wait for it

    @router.post("/search", summary="Find similar photos", responses=_OF_PICTURES, openapi_extra=PICTURES)
    async def search(
        request: Request, limit: Annotated[int, Query(ge=1, le=100, description="Number of results.")] = 10
    ) -> SearchResponse:
        """Return the photos in the index that look most like one image, nearest first."""
        uploads = await read_files(request, service.settings.limits.max_files)
        if len(uploads) > 1:  # before they count for the key
            raise RequestError("bad_request", "a search takes one picture: send one file")
        ticket: Ticket = request.state.ticket
        ticket.take_places(1)
        with service.catalog.use(None) as served:  # the index was made with the default model
            answer = await service.look(uploads[0], served, ["embedding"])
        problem = service.problem_of(answer.photo)
        if problem is not None or answer.embedding is None:
            raise problem or RequestError("unavailable", "the picture has no embedding: send it again")
        try:
            found = await thread.run(
                ticket.client, partial(searcher.search, answer.embedding, limit), ticket.spend
            )
        except SearchError as error:  # such as one that was moved
            _log.error("the index cannot be searched", extra={"reason": str(error)})
            message = "the index of photos cannot be read just now; the log of the service says why"
            raise RequestError("unavailable", message, retry_after=30) from error
        neighbours = [
            LookAlike(
                name=each.name,
                similarity=each.similarity,
                class_name=each.class_name,
                picture=None if each.picture is None else data_uri("jpeg", each.picture),
            )
            for each in found
        ]
        return SearchResponse(model=served.version, neighbours=neighbours)


def _json(model: BaseModel, *, exclude_none: bool = False) -> Response:
    return Response(model.model_dump_json(exclude_none=exclude_none), media_type="application/json")
