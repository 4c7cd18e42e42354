"""Requests and answers in the shape of Google Cloud Vision's `images:annotate`, for programs written for that.

The shapes are those of `BatchAnnotateImagesRequest` and `BatchAnnotateImagesResponse` of the REST API v1, as its
reference documents them (https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate). Four things
differ in meaning: `mid`, there an opaque entity id, is the Wikidata id; the bounding polygon is always the whole
picture, because the whole picture is what was recognised; only landmarks are given, as a city or a country is
none; and pictures come in the request alone, as no address is ever fetched.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from landmarks.serving.errors import google_code
from landmarks.serving.schemas import Photo

GOOGLE_PARAMETERS = frozenset(
    {"$.xgafv", "$alt", "$prettyPrint", "alt", "fields", "key", "prettyPrint", "quotaUser", "uploadType"}
)
"""Query parameters that any Google API takes; none but `key` changes anything here."""

_LANDMARKS = {"LANDMARK_DETECTION", 2}  # Google's own client sends numbers
_UNIMPLEMENTED = 12  # google.rpc.Code
_INVALID = 3
_DEFAULT_RESULTS = 10  # as with Google
MAX_IMAGES = 16
"""Pictures in a request, as with Google."""

_EXAMPLE: dict[str, Any] = {
    "responses": [
        {
            "landmarkAnnotations": [
                {
                    "mid": "Q243",
                    "description": "Eiffel Tower",
                    "score": 0.998,
                    "boundingPoly": {
                        "vertices": [],
                        "normalizedVertices": [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))],
                    },
                    "locations": [{"latLng": {"latitude": 48.8583, "longitude": 2.2944}}],
                }
            ]
        },
        {},
    ]
}
_REQUEST: dict[str, Any] = {
    "requests": [
        {"image": {"content": "/9j/4AAQSkZJRg=="}, "features": [{"type": "LANDMARK_DETECTION", "maxResults": 3}]}
    ]
}
_URL_SAFE = str.maketrans("-_", "+/", "\r\n")


class RpcStatus(BaseModel):
    """Why one picture has no answer, or not all of it."""

    code: int = Field(description="Of google.rpc.Code.")
    message: str


class Source(BaseModel):
    """Where a picture is; a request with one is answered with an error, as nothing is fetched."""

    gcsImageUri: str | None = None  # noqa: N815 - Google's name
    imageUri: str | None = None  # noqa: N815 - Google's name


class Image(BaseModel):
    """A picture."""

    content: str | None = Field(default=None, description="The file, in base64.")
    source: Source | None = None


class Feature(BaseModel):
    """What is asked of a picture."""

    type: str | int = Field("TYPE_UNSPECIFIED", description="`LANDMARK_DETECTION`, or its number 2.")
    maxResults: int | None = None  # noqa: N815 - Google's name
    model: str | None = None


class AnnotateImageRequest(BaseModel):
    """One picture, and what is asked of it."""

    image: Image = Field(default_factory=Image)
    features: list[Feature] = []
    imageContext: dict[str, Any] | None = None  # noqa: N815 - Google's name

    def problem(self) -> RpcStatus | None:
        """Return why the picture is not looked at, or None."""
        if not any(feature.type in _LANDMARKS for feature in self.features):
            return RpcStatus(code=_UNIMPLEMENTED, message="ask for LANDMARK_DETECTION: this service has no other")
        if any((feature.maxResults or 0) < 0 for feature in self.features):
            return RpcStatus(code=_INVALID, message="maxResults must not be negative")
        if self.image.content:
            return None
        if self.image.source is not None:
            message = "no address is fetched: send the picture itself as image.content, in base64"
            return RpcStatus(code=_INVALID, message=message)
        return RpcStatus(code=_INVALID, message="the picture is missing: send it as image.content, in base64")

    def content(self) -> bytes | None:
        """Return the file, or None where it is not base64."""
        text = (self.image.content or "").translate(_URL_SAFE)
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            return None

    @property
    def results(self) -> int:
        """How many landmarks to give at most."""
        wanted = [
            feature.maxResults or _DEFAULT_RESULTS for feature in self.features if feature.type in _LANDMARKS
        ]
        return max(wanted, default=_DEFAULT_RESULTS)

    @property
    def warning(self) -> RpcStatus | None:
        """What of the request is not answered beside its landmarks, or None."""
        others = sorted({str(each.type) for each in self.features if each.type not in _LANDMARKS})
        if not others:
            return None
        return RpcStatus(code=_UNIMPLEMENTED, message=f"only landmarks are given, not {', '.join(others)}")


class AnnotateRequest(BaseModel):
    """Several pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REQUEST]})

    requests: Annotated[list[AnnotateImageRequest], Field(max_length=MAX_IMAGES)] = []
    parent: str | None = None


class Vertex(BaseModel):
    """A corner, in pixels."""

    x: int
    y: int


class NormalizedVertex(BaseModel):
    """A corner, as a share of the picture's width and height."""

    x: float
    y: float


class BoundingPoly(BaseModel):
    """The part of the picture: all of it."""

    vertices: list[Vertex] = []
    normalizedVertices: list[NormalizedVertex] = []  # noqa: N815 - Google's name


class LatLng(BaseModel):
    """A position in degrees."""

    latitude: float
    longitude: float


class LocationInfo(BaseModel):
    """Where the landmark lies."""

    latLng: LatLng  # noqa: N815 - Google's name


class EntityAnnotation(BaseModel):
    """One landmark."""

    mid: str = Field("", description="Wikidata id, empty where unknown.")
    description: str
    score: float
    boundingPoly: BoundingPoly  # noqa: N815 - Google's name
    locations: list[LocationInfo]


class AnnotateImageResponse(BaseModel):
    """What is said of one picture: an empty object where nothing is."""

    landmarkAnnotations: list[EntityAnnotation] | None = None  # noqa: N815 - Google's name
    error: RpcStatus | None = None


class VisionResponse(BaseModel):
    """The answers, in the order of the pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    responses: list[AnnotateImageResponse]


class GoogleError(BaseModel):
    """Why a whole request is refused."""

    code: int = Field(description="The HTTP status.")
    message: str
    status: str = Field(description="Name in google.rpc.Code.")


class GoogleErrorBody(BaseModel):
    """The body of an answer that is an error."""

    error: GoogleError


NOT_BASE64 = RpcStatus(code=_INVALID, message="image.content is not base64")
"""For a picture that cannot even be unpacked."""


def to_vision(photos: Iterable[Photo]) -> VisionResponse:
    """Return the answers in Google's shape, with the polygon as shares of the picture."""
    whole = [NormalizedVertex(x=x, y=y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return VisionResponse(
        responses=[annotation(photo, BoundingPoly(normalizedVertices=whole), _DEFAULT_RESULTS) for photo in photos]
    )


def whole_picture(width: int, height: int) -> BoundingPoly:
    """Return the polygon around a picture of some pixels."""
    if not width or not height:
        return BoundingPoly()
    corners = ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1))
    return BoundingPoly(vertices=[Vertex(x=x, y=y) for x, y in corners])


def annotation(photo: Photo, polygon: BoundingPoly, results: int) -> AnnotateImageResponse:
    """Return what is said of one photo.

    Args:
        photo: The answer.
        polygon: Of the whole picture.
        results: Most landmarks.
    """
    if photo.error is not None:
        number, _ = google_code(photo.error.code)
        return AnnotateImageResponse(error=RpcStatus(code=number, message=photo.error.message))
    found = []
    for tag in photo.tags:
        if tag.level != "landmark":
            continue
        place = tag.place
        locations = []
        if place is not None and place.latitude is not None and place.longitude is not None:
            locations = [LocationInfo(latLng=LatLng(latitude=place.latitude, longitude=place.longitude))]
        mid = (place.wikidata if place is not None else None) or ""
        found.append(
            EntityAnnotation(
                mid=mid, description=tag.name, score=tag.probability, boundingPoly=polygon, locations=locations
            )
        )
    return AnnotateImageResponse(landmarkAnnotations=found[:results] or None)
