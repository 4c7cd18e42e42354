"""The JSON of the service. Fields are only ever added; programs may rely on those that are here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from landmarks.geo.gazetteer import Place as GazetteerPlace
from landmarks.serving.errors import Code
from landmarks.tagging.tags import Level
from landmarks.tagging.tags import Tag as PhotoTag

Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Text = Annotated[str, StringConstraints(max_length=400)]

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
    "reasons": ["score (combined): 0.210 (needs 0.930: not passed), below the threshold: no tag"],
}
_ERROR: dict[str, Any] = {
    "code": "damaged_picture",
    "message": "the JPEG picture is damaged, cut short or of a rare kind",
}
_MODEL = "world-5d1f0c3a9b7e"


def _example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [*values]}, allow_inf_nan=False)


class Place(BaseModel):
    """Where a tag lies. Of a city or a country there is no position, only the names."""

    model_config = _example(_PLACE)

    name: Text
    city: Text = ""
    country: Text = ""
    country_code: Annotated[str, StringConstraints(max_length=2)] = ""
    kind: Text = Field("", description="What it is in one word, such as bridge or temple.")
    latitude: Annotated[float, Field(strict=True, ge=-90, le=90)] | None = Field(
        None, description="Degrees north, WGS 84."
    )
    longitude: Annotated[float, Field(strict=True, ge=-180, le=180)] | None = None
    wikidata: Annotated[str, StringConstraints(pattern=r"^Q[1-9][0-9]{0,15}$")] | None = None


class Tag(BaseModel):
    """One thing said of a photo: the landmark, else its city, country or kind."""

    model_config = _example(_TAG)

    name: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    level: Level = Field(description="How much the tag says: the landmark itself, or what it falls back to.")
    probability: Probability = Field(description="Calibrated.")
    place: Place | None = None

    def to_tag(self) -> PhotoTag:
        """Return the tag as the rest of the package knows it."""
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

    class_name: str = Field(description="Class of the model; `/v1/landmarks` tells where it lies.")
    name: str
    probability: Probability


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = _example(_ERROR)

    code: Code = Field(description="For programs; stable.")
    message: str = Field(description="For people; may change.")


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    model_config = _example({"error": _ERROR})

    error: ErrorDetail


class Photo(BaseModel):
    """What is said of one photo. No tags means that the model does not know it, or is not sure enough."""

    model_config = _example(_PHOTO, _UNKNOWN)

    file: str | None = Field(description="The name that the request gave to the file; null where it gave none.")
    tags: list[Tag]
    candidates: list[Candidate] = Field(description="Likeliest first; also there where no tag is said.")
    known: bool = Field(description="Whether the photo shows something that the model knows.")
    reasons: list[str] = Field(description="Why it got its tags, or none; sentences for people.")
    error: ErrorDetail | None = Field(description="Why this photo could not be read; null where it could.")


class TagsResponse(BaseModel):
    """Tags of the photos of a request, in its order."""

    model_config = _example({"model": _MODEL, "photos": [_PHOTO, _UNKNOWN]})

    model: str = Field(description="Version of the model: another text means that answers may differ.")
    photos: list[Photo]


class LookAlike(BaseModel):
    """A picture of the index that looks like the one asked about."""

    name: str
    similarity: float = Field(ge=-1.001, le=1.001, description="Cosine of the embeddings.")
    class_name: str | None


class SearchResponse(BaseModel):
    """Look-alikes, nearest first."""

    model_config = _example(
        {
            "model": _MODEL,
            "neighbours": [{"name": "paris/tower.jpg", "similarity": 0.93, "class_name": "07.Eiffel_Tower"}],
        }
    )

    model: str
    neighbours: list[LookAlike]


class LimitsCard(BaseModel):
    """What a request may bring."""

    max_file_bytes: int
    max_pixels: int
    max_files: int
    max_request_bytes: int


class OriginCard(BaseModel):
    """A collection that the model learnt from."""

    collection: str
    pictures: int = Field(description="Training pictures; 0 where they were not counted.")
    licence: str = Field(
        description="Of the pictures; `none` where they carry none, `not stated` where nobody said."
    )


class ExpectedRateCard(BaseModel):
    """A share of photos, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


class OperatingPointCard(BaseModel):
    """Thresholds to choose from, and what was measured at them; a rate that was not measured is left out."""

    min_confidence: float
    threshold: float
    expected: dict[str, ExpectedRateCard]


class ModelCard(BaseModel):
    """The model that answers."""

    name: str
    version: str
    architecture: str
    precision: str
    created: str
    landmarks: int = Field(description="How many landmarks it knows.")
    calibrated: bool = Field(description="Whether it was calibrated for saying that it does not know.")
    promised_false_tag_rate: float | None = Field(
        description="Share of photos without a known landmark that still get a tag, as calibrated."
    )
    licence: str = Field(description="What the weights may be used for.")
    origin: list[OriginCard]
    prefer: str = Field(description="The operating point in use.")
    operating_points: dict[str, OperatingPointCard]


class ModelsResponse(BaseModel):
    """What this service has and allows."""

    models: list[ModelCard]
    search: bool = Field(description="Whether /v1/search is there.")
    limits: LimitsCard


class Point(BaseModel):
    """A position (RFC 7946): longitude, then latitude."""

    type: Literal["Point"] = "Point"
    coordinates: tuple[float, float]


class Feature(BaseModel):
    """A landmark that the model knows; the properties are those of `Place`, and its classes."""

    type: Literal["Feature"] = "Feature"
    geometry: Point | None
    properties: dict[str, Any]


class LandmarksResponse(BaseModel):
    """GeoJSON (RFC 7946) of all landmarks that the model knows."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Feature]


class XmpPhoto(BaseModel):
    """Tags of one photo that shall become metadata."""

    file: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    tags: Annotated[list[Tag], Field(min_length=1, max_length=5)]


class XmpRequest(BaseModel):
    """Photos with the tags that were kept."""

    model_config = _example({"photos": [{"file": "holiday.jpg", "tags": [_TAG]}]})

    photos: Annotated[list[XmpPhoto], Field(min_length=1, max_length=200)]


class Status(BaseModel):
    """Whether the service is well."""

    status: Literal["ok", "starting"]
