"""Requests and responses in the format of Google Cloud Vision's `images:annotate`, for programs written for it.

The formats are `BatchAnnotateImagesRequest` and `BatchAnnotateImagesResponse` of the REST API v1, as documented in
its reference (https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate). Four things differ: `mid`,
there an opaque entity ID, is the Wikidata ID; the bounding polygon is always the whole image, because the whole
image was recognised; only landmarks are returned, not cities or countries; and images must be in the request,
because no URL is ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic.alias_generators import to_snake

from landmarks.serving.errors import google_code
from landmarks.serving.schemas import Photo

GOOGLE_PARAMETERS = frozenset(
    {
        *("$.xgafv", "$alt", "$prettyPrint", "access_token", "alt", "fields", "key", "oauth_token", "prettyPrint"),
        *("quotaUser", "uploadType", "upload_protocol"),
    }
)
"""Query parameters that every Google API accepts, but for `callback`; only `key` has an effect here."""

_LANDMARKS = {"LANDMARK_DETECTION", 2}  # Google's own client sends numbers
_UNIMPLEMENTED = 12  # google.rpc.Code
_INVALID = 3
_DEFAULT_RESULTS = 10  # as with Google
MAX_IMAGES = 16
"""Maximum number of images per request, as with Google."""

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
_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))
"""Decodes both alphabets of RFC 4648, with and without padding, in a third of the time of the standard library."""


class RpcStatus(BaseModel):
    """Why one image has no answer, or only part of it."""

    code: int = Field(description="Of google.rpc.Code.")
    message: str


class _Message(BaseModel):
    """A part of a request, in the JSON of protocol buffers: names also in snake case, null for nothing."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_snake(name))),
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


class Source(_Message):
    """Location of an image; a request with one gets an error, because nothing is fetched."""

    gcsImageUri: str | None = None  # noqa: N815 - Google's name
    imageUri: str | None = None  # noqa: N815 - Google's name


class Image(_Message):
    """An image."""

    content: str | None = Field(default=None, description="The file, in base64.")
    source: Source | None = None


class RequestedFeature(_Message):
    """A requested feature."""

    type: Annotated[str, StringConstraints(max_length=100)] | int = Field(
        "TYPE_UNSPECIFIED", description="`LANDMARK_DETECTION`, or its number 2."
    )
    maxResults: int | None = None  # noqa: N815 - Google's name
    model: str | None = None


class AnnotateImageRequest(_Message):
    """One image and the features requested for it."""

    image: Image = Field(default_factory=Image)
    features: list[RequestedFeature] = []
    imageContext: dict[str, Any] | None = None  # noqa: N815 - Google's name

    def problem(self) -> RpcStatus | None:
        """Return why the image is not processed, or None."""
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
        """Return the file, or None if it is not base64."""
        text = (self.image.content or "").replace("\r", "").replace("\n", "")
        try:
            return _BASE64.validate_strings(text)
        except ValueError:
            return None

    @property
    def results(self) -> int:
        """Maximum number of landmarks to return."""
        wanted = [
            feature.maxResults or _DEFAULT_RESULTS for feature in self.features if feature.type in _LANDMARKS
        ]
        return max(wanted, default=_DEFAULT_RESULTS)

    @property
    def warning(self) -> RpcStatus | None:
        """Requested features that are not supported, or None."""
        others = sorted({str(each.type) for each in self.features if each.type not in _LANDMARKS})
        if not others:
            return None
        return RpcStatus(code=_UNIMPLEMENTED, message=f"only landmarks are given, not {', '.join(others)}")


class AnnotateRequest(_Message):
    """One or more images."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REQUEST]})

    requests: Annotated[list[AnnotateImageRequest], Field(max_length=MAX_IMAGES)] = []
    parent: str | None = None
    labels: dict[str, str] | None = None


class Vertex(BaseModel):
    """A corner, in pixels."""

    x: int
    y: int


class NormalizedVertex(BaseModel):
    """A corner, as fractions of the image's width and height."""

    x: float
    y: float


class BoundingPoly(BaseModel):
    """The polygon around the whole image."""

    vertices: list[Vertex] = []
    normalizedVertices: list[NormalizedVertex] = []  # noqa: N815 - Google's name


class LatLng(BaseModel):
    """A position in degrees."""

    latitude: float
    longitude: float


class LocationInfo(BaseModel):
    """Position of the landmark."""

    latLng: LatLng  # noqa: N815 - Google's name


class EntityAnnotation(BaseModel):
    """One landmark."""

    mid: str = Field("", description="Wikidata ID, empty if unknown.")
    description: str
    score: float
    boundingPoly: BoundingPoly  # noqa: N815 - Google's name
    locations: list[LocationInfo]


class AnnotateImageResponse(BaseModel):
    """The answer for one image: an empty object if there is no tag."""

    landmarkAnnotations: list[EntityAnnotation] | None = None  # noqa: N815 - Google's name
    error: RpcStatus | None = None


class VisionResponse(BaseModel):
    """The answers, in the order of the images."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    responses: list[AnnotateImageResponse]


class GoogleError(BaseModel):
    """Why the whole request was refused."""

    code: int = Field(description="The HTTP status.")
    message: str
    status: str = Field(description="Name in google.rpc.Code.")


class GoogleErrorBody(BaseModel):
    """The body of an error response."""

    error: GoogleError


NOT_BASE64 = RpcStatus(code=_INVALID, message="image.content is not base64")
"""Error for an image that cannot be decoded from base64."""


def to_vision(photos: Iterable[Photo]) -> VisionResponse:
    """Return the answers in Google's format, with the polygon as fractions of the image."""
    whole = [NormalizedVertex(x=x, y=y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return VisionResponse(
        responses=[annotation(photo, BoundingPoly(normalizedVertices=whole), _DEFAULT_RESULTS) for photo in photos]
    )


def whole_picture(width: int, height: int) -> BoundingPoly:
    """Return the polygon around an image of this size, in pixels."""
    if not width or not height:
        return BoundingPoly()
    corners = ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1))
    return BoundingPoly(vertices=[Vertex(x=x, y=y) for x, y in corners])


def annotation(photo: Photo, polygon: BoundingPoly, results: int) -> AnnotateImageResponse:
    """Convert the answer for one photo.

    Args:
        photo: The answer.
        polygon: Polygon around the whole image.
        results: Maximum number of landmarks.
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
