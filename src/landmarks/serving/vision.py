"""The answer in the shape of Google Cloud Vision's `landmarkAnnotations`, for programs written for that.

The shape is that of `BatchAnnotateImagesResponse` of the REST API v1, as its reference documents it
(https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse). Three things differ in meaning:
`mid`, there an opaque entity id, is the Wikidata id; the bounding polygon is always the whole picture, because
the whole picture is what was recognised; and only landmarks are given, as a city or a country is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from landmarks.serving.schemas import Photo

GOOGLE_PARAMETERS = frozenset(
    {"$.xgafv", "$alt", "$prettyPrint", "alt", "fields", "key", "prettyPrint", "quotaUser", "uploadType"}
)
"""Query parameters that any Google API takes; none but `key` changes anything here."""

_INVALID_ARGUMENT = 3  # google.rpc.Code
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


class Vertex(BaseModel):
    """A corner, as a share of the picture's width and height."""

    x: float
    y: float


class BoundingPoly(BaseModel):
    """The part of the picture: all of it."""

    vertices: list[Vertex] = []
    normalizedVertices: list[Vertex] = [  # noqa: N815 - Google's name
        Vertex(x=0, y=0),
        Vertex(x=1, y=0),
        Vertex(x=1, y=1),
        Vertex(x=0, y=1),
    ]


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
    boundingPoly: BoundingPoly = BoundingPoly()  # noqa: N815 - Google's name
    locations: list[LocationInfo]


class RpcStatus(BaseModel):
    """Why one picture has no answer."""

    code: int
    message: str


class AnnotateImageResponse(BaseModel):
    """What is said of one picture: an empty object where nothing is."""

    landmarkAnnotations: list[EntityAnnotation] | None = None  # noqa: N815 - Google's name
    error: RpcStatus | None = None


class VisionResponse(BaseModel):
    """The answers, in the order of the pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    responses: list[AnnotateImageResponse]


def to_vision(photos: Iterable[Photo]) -> VisionResponse:
    """Return the answers in Google's shape."""
    return VisionResponse(responses=[_response(photo) for photo in photos])


def _response(photo: Photo) -> AnnotateImageResponse:
    if photo.error is not None:
        return AnnotateImageResponse(error=RpcStatus(code=_INVALID_ARGUMENT, message=photo.error.message))
    found = []
    for tag in photo.tags:
        if tag.level != "landmark":
            continue
        place = tag.place
        locations = []
        if place is not None and place.latitude is not None and place.longitude is not None:
            locations = [LocationInfo(latLng=LatLng(latitude=place.latitude, longitude=place.longitude))]
        mid = (place.wikidata if place is not None else None) or ""
        found.append(EntityAnnotation(mid=mid, description=tag.name, score=tag.probability, locations=locations))
    return AnnotateImageResponse(landmarkAnnotations=found or None)
