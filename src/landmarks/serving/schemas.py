"""The JSON of the service. Fields are only ever added; programs may rely on the existing ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from landmarks.geo.gazetteer import MAX_TEXT
from landmarks.geo.gazetteer import Place as GazetteerPlace
from landmarks.serving.errors import Code
from landmarks.tagging.tags import Level
from landmarks.tagging.tags import Tag as PhotoTag

Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]

_PLACE: dict[str, Any] = {
    "name": "Eiffel Tower",
    "city": "Paris",
    "country": "France",
    "country_code": "FR",
    "kind": "tower",
    "latitude": 48.8583,
    "longitude": 2.2944,
    "wikidata": "Q243",
}
_TAG: dict[str, Any] = {"name": "Eiffel Tower", "level": "landmark", "probability": 0.998, "place": _PLACE}
_CANDIDATE: dict[str, Any] = {"class_name": "07.Eiffel_Tower", "name": "Eiffel Tower", "probability": 0.998}
_PHOTO: dict[str, Any] = {
    "file": "holiday.jpg",
    "tags": [_TAG],
    "candidates": [_CANDIDATE],
    "known": True,
    "reasons": ["top: Eiffel Tower 99.8% (needs 50.0%: passed)"],
    "error": None,
}
_UNKNOWN: dict[str, Any] = {
    **_PHOTO,
    "file": "cat.jpg",
    "tags": [],
    "candidates": [{"class_name": "33.Taj_Mahal", "name": "Taj Mahal", "probability": 0.21}],
    "known": False,
    "reasons": ["like what the model learned (score combined): 0.210 (needs 0.930: not passed); so no tag"],
}
_ERROR: dict[str, Any] = {
    "code": "damaged_picture",
    "message": "the JPEG picture is damaged, cut short or of a rare kind",
}
_MODEL = "world-5d1f0c3a9b7e"


def _example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [*values]}, allow_inf_nan=False)


class Place(BaseModel):
    """The place of a tag. A city or country has names but no position."""

    model_config = _example(_PLACE)

    name: Text
    city: Text = ""
    country: Text = ""
    country_code: Annotated[str, StringConstraints(max_length=2)] = ""
    kind: Text = Field("", description="Kind of place in one word, such as bridge or temple.")
    latitude: Annotated[float, Field(strict=True, ge=-90, le=90)] | None = Field(
        None, description="Degrees north, WGS 84."
    )
    longitude: Annotated[float, Field(strict=True, ge=-180, le=180)] | None = None
    wikidata: Annotated[str, StringConstraints(pattern=r"^Q[1-9][0-9]{0,15}$")] | None = None


class Tag(BaseModel):
    """A tag of a photo: the landmark, else its city, country or kind."""

    model_config = _example(_TAG)

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
    level: Level = Field(description="The landmark itself, or the level it falls back to.")
    probability: Probability = Field(
        description="Calibrated if the model is; an estimate for a tag taught with landmarks learn."
    )
    place: Place | None = None

    def to_tag(self) -> PhotoTag:
        """Convert to the package's own tag type."""
        place = None
        if self.place is not None:
            values = self.place.model_dump()
            if values["latitude"] is None or values["longitude"] is None:
                values.update(latitude=None, longitude=None)
            place = GazetteerPlace(key=self.name, **values)
        return PhotoTag(self.name, self.level, self.probability, place, None)


class Candidate(BaseModel):
    """A landmark that the photo may show."""

    model_config = _example(_CANDIDATE)

    class_name: str = Field(
        description="Class of the model; `/v1/landmarks` has its position. Of a taught landmark, the name: "
        "the tag has its position."
    )
    name: str
    probability: Probability


class ErrorDetail(BaseModel):
    """An error."""

    model_config = _example(_ERROR)

    code: Code = Field(description="For programs; stable.")
    message: str = Field(description="For people; may change.")


class ErrorBody(BaseModel):
    """The body of every error response."""

    model_config = _example({"error": _ERROR})

    error: ErrorDetail


class Photo(BaseModel):
    """The answer for one photo. Without tags, the model does not know it or is not confident enough."""

    model_config = _example(_PHOTO, _UNKNOWN)

    file: str | None = Field(description="File name in the request; null if there was none.")
    tags: list[Tag]
    candidates: list[Candidate] = Field(description="Most likely first; present even without a tag.")
    known: bool = Field(description="Whether the photo shows something that the model knows.")
    reasons: list[str] = Field(description="Why it got its tags, or none, in sentences.")
    error: ErrorDetail | None = Field(description="Why this photo could not be read; null if it could.")
    preview: str | None = Field(
        default=None,
        exclude_if=lambda preview: preview is None,
        description="A small JPEG as a data URI; only if `preview` asked for it.",
    )

    @classmethod
    def failed(cls, file: str | None, code: Code, message: str) -> Photo:
        """Return the answer for a photo that could not be analysed."""
        error = ErrorDetail(code=code, message=message)
        return cls(file=file, tags=[], candidates=[], known=False, reasons=[], error=error)


class TagsResponse(BaseModel):
    """Tags of the photos of a request, in order."""

    model_config = _example({"model": _MODEL, "photos": [_PHOTO, _UNKNOWN]})

    model: str = Field(description="Version of the model; if it changes, answers may differ.")
    photos: list[Photo]


class LookAlike(BaseModel):
    """A photo in the index that looks like the query."""

    name: str
    similarity: float = Field(ge=-1.001, le=1.001, description="Cosine of the embeddings.")
    class_name: str | None
    picture: str | None = Field(None, description="A small JPEG as a data URI, if the service shows them.")


class SearchResponse(BaseModel):
    """Look-alikes, nearest first."""

    model_config = _example(
        {
            "model": _MODEL,
            "neighbours": [
                {"name": "paris/tower.jpg", "similarity": 0.93, "class_name": "07.Eiffel_Tower", "picture": None}
            ],
        }
    )

    model: str
    neighbours: list[LookAlike]


class LimitsCard(BaseModel):
    """Limits per request."""

    max_file_bytes: int
    max_pixels: int
    max_files: int
    max_request_bytes: int


class OriginCard(BaseModel):
    """A collection that the model was trained on."""

    collection: str
    pictures: int = Field(description="Number of training images; 0 if not counted.")
    licence: str = Field(description="Licence of the images; `none` if they have none, `not stated` if unknown.")


class ExpectedRateCard(BaseModel):
    """A fraction of photos, with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


class OperatingPointCard(BaseModel):
    """Thresholds and their expected rates; a rate that was not measured is left out."""

    min_confidence: float
    threshold: float
    expected: dict[str, ExpectedRateCard]


class ModelCard(BaseModel):
    """The served model."""

    name: str
    version: str
    architecture: str
    precision: str
    created: str
    landmarks: int = Field(description="Number of landmarks it knows.")
    calibrated: bool = Field(description="Whether it is calibrated for unknown photos.")
    promised_false_tag_rate: float | None = Field(
        description="Target false-positive rate of the operating point in use: fraction of ordinary photos, those "
        "without a landmark, that may get a tag."
    )
    licence: str = Field(description="Permitted use of the weights.")
    origin: list[OriginCard]
    prefer: str = Field(description="The operating point in use.")
    min_confidence: float | None = Field(
        description="Minimum probability for a tag that was set instead of that of the operating point, or null."
    )
    operating_points: dict[str, OperatingPointCard]
    rate_labels: dict[str, str] = Field(description="What the expected rates are, in words, by their name.")
    rates_note: str = Field(description="How rates of false tags were found that are estimates; else empty.")


class ModelsResponse(BaseModel):
    """The model, features and limits of this service."""

    models: list[ModelCard]
    search: bool = Field(description="Whether /v1/search is available.")
    limits: LimitsCard


class Point(BaseModel):
    """A position (RFC 7946): longitude, then latitude."""

    type: Literal["Point"] = "Point"
    coordinates: tuple[float, float]


class Feature(BaseModel):
    """A landmark that the model knows; its properties are those of `Place`, and its classes."""

    type: Literal["Feature"] = "Feature"
    geometry: Point | None
    properties: dict[str, Any]


class LandmarksResponse(BaseModel):
    """GeoJSON (RFC 7946) of all landmarks that the model knows."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Feature]


class XmpPlace(Place):
    """The place of a tag to turn into metadata."""

    model_config = ConfigDict(extra="forbid")  # a misspelt field would be left out without a word


class XmpTag(Tag):
    """A tag to turn into metadata."""

    model_config = ConfigDict(extra="forbid")

    place: XmpPlace | None = None


class XmpPhoto(BaseModel):
    """Tags of one photo to turn into metadata."""

    file: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    tags: Annotated[list[XmpTag], Field(min_length=1, max_length=5)]


class XmpRequest(BaseModel):
    """Photos with the tags to write."""

    model_config = _example({"photos": [{"file": "holiday.jpg", "tags": [_TAG]}]})

    photos: Annotated[list[XmpPhoto], Field(min_length=1, max_length=200)]


class Status(BaseModel):
    """Status of the service."""

    status: Literal["ok", "starting"]
