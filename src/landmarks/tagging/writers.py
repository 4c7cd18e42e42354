"""Formats of tagging results: a table, JSON lines, CSV, GeoJSON, and explanations in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, Protocol, get_args

from landmarks.files.csv_lines import csv_line
from landmarks.geo.gazetteer import Gazetteer, Place
from landmarks.geo.nearby import sight_km
from landmarks.model.recognizer import Candidate
from landmarks.tagging.tagger import Explanation, Finding
from landmarks.tagging.tags import Tag

Format = Literal["table", "jsonl", "csv", "geojson"]
FORMATS: tuple[Format, ...] = get_args(Format)

_CSV_COLUMNS = (
    *("path", "name", "level", "probability", "city", "country", "country_code"),
    *("latitude", "longitude", "wikidata", "model", "error"),
)
_CSV_COLUMNS_OF_PLACES = ("region", "source")


class Writer(Protocol):
    """An output format; the document is the concatenation of all returned texts."""

    def begin(self) -> str:
        """Return the text before the first photo."""
        return ""

    def photo(self, finding: Finding, diff: str | None = None) -> str:
        """Return the text for one photo; `diff` is the metadata that is, or would be, written."""

    def end(self) -> str:
        """Return the text after the last photo."""
        return ""


def make_writer(
    form: Format, gazetteer: Gazetteer, *, explain: bool = False, candidates: bool = False, places: bool = False
) -> Writer:
    """Return the writer of a format.

    Args:
        form: The format.
        gazetteer: Provides the names of candidates.
        explain: Add explanations to the table and to JSON lines.
        candidates: List the candidates in the table; JSON lines always have them.
        places: Whether there may be tags from the camera's position, for which CSV has further columns.
    """
    if form == "jsonl":
        return _JsonLines(gazetteer, explain)
    if form == "csv":
        return _Csv(places)
    if form == "geojson":
        return _GeoJson()
    return _Table(gazetteer, explain, candidates)


def describe(tag: Tag) -> str:
    """Return a tag in words, such as `Eiffel Tower (Paris, France)`."""
    place = _place_of(tag)
    around = [place.city, place.region, place.country] if place is not None else []
    inside = ", ".join(name for name in around if name and name != tag.name)
    if tag.level == "kind":
        inside = "which one is uncertain" if tag.class_name is None else ""
    return f"{tag.name} ({inside})" if inside else tag.name


def reasons(explanation: Explanation, gazetteer: Gazetteer) -> Iterator[str]:
    """Yield the reasons for an answer, one sentence each."""
    for model, own in explanation.each:
        yield from (f"{model}: {sentence}" for sentence in _reasons_of_model(own, gazetteer))
    if explanation.decision is None:
        yield from _reasons_of_model(explanation, gazetteer)
    else:
        yield f"together: {explanation.decision}"
        if explanation.contradiction not in {None, *(own.contradiction for _, own in explanation.each)}:
            yield f"not tagged: {explanation.contradiction}"
    if explanation.trip is not None:
        yield f"tagged by the trip: {explanation.trip}"
    if (nearby := explanation.nearby) is not None:
        sight = sight_km(nearby.place.kind)
        yield f"near {nearby.place.name}: {nearby.distance:.1f} km from the camera, in sight up to {sight:g} km"


def _reasons_of_model(explanation: Explanation, gazetteer: Gazetteer) -> Iterator[str]:
    best = explanation.best
    if explanation.learned is not None:
        yield f"similar to the photos of a taught landmark: {explanation.learned:.1%}"
    name = gazetteer.display_name(best.class_name)
    verdict = _passed(best.probability >= explanation.needed)
    yield f"top: {name} {best.probability:.1%} (needs {explanation.needed:.1%}: {verdict})"
    if explanation.runner_up is not None:
        second = explanation.runner_up
        yield f"next: {gazetteer.display_name(second.class_name)} {second.probability:.1%}"
    if explanation.score is not None and explanation.score_needed is not None:
        tagged = explanation.known or explanation.learned is not None or explanation.trip is not None
        below = "" if tagged else "; so no tag"
        verdict = _passed(explanation.known)
        yield (
            f"like what the model learned (score {explanation.score_name}): {explanation.score:.3f} "
            f"(needs {explanation.score_needed:.3f}: {verdict}){below}"
        )
    if explanation.distance is not None:
        yield f"the photo's GPS position is {explanation.distance:.1f} km from {name}"
    if explanation.contradiction is not None:
        yield f"not tagged: {explanation.contradiction}"


def describe_with_source(tag: Tag) -> str:
    """Return a tag in words; of one from a position with `near` or `in`, of an estimated one with `probably`."""
    if tag.source == "photo":
        return describe(tag)
    probably = "probably " if tag.source == "estimated" else ""
    return f"{probably}{'near' if tag.level == 'landmark' else 'in'} {describe(tag)}"


def _told(tag: Tag) -> str:
    """Return a tag with its probability or, of one from a position, with `near` or `in`."""
    words = describe_with_source(tag)
    return f"{tag.probability:6.1%}  {words}" if tag.source == "photo" else words


def _passed(passed: bool) -> str:
    return "passed" if passed else "not passed"


class _Table(Writer):
    """Plain text: one line per photo, with indented details."""

    def __init__(self, gazetteer: Gazetteer, explain: bool, candidates: bool) -> None:
        self._gazetteer = gazetteer
        self._explain = explain
        self._candidates = candidates

    def photo(self, finding: Finding, diff: str | None = None) -> str:
        """Return the lines of one photo."""
        if finding.photo.error is not None:
            return ""  # reported on standard error
        tags = [_told(tag) for tag in finding.photo.tags]
        lines = [f"{finding.photo.path}: {'; '.join(tag.strip() for tag in tags) or '-'}"]
        if self._candidates:
            candidates = finding.photo.candidates
            lines += [f"  {c.probability:6.1%}  {self._gazetteer.display_name(c.class_name)}" for c in candidates]
        if self._explain and finding.explanation is not None:
            lines += [f"  {line}" for line in reasons(finding.explanation, self._gazetteer)]
        if diff is not None:
            lines += [f"  {line}" for line in diff.splitlines()]
        return "\n".join(lines) + "\n"


class _JsonLines(Writer):
    """One JSON object per line: `path`, `tags`, `candidates`, `model`, or `path` and `error`."""

    def __init__(self, gazetteer: Gazetteer, explain: bool) -> None:
        self._gazetteer = gazetteer
        self._explain = explain

    def photo(self, finding: Finding, diff: str | None = None) -> str:
        """Return one JSON object on a line."""
        photo = finding.photo
        row: dict[str, Any] = {"path": str(photo.path)}
        if photo.error is not None:
            row["error"] = photo.error
            return json_text(row) + "\n"
        row["tags"] = [tag_object(tag) for tag in photo.tags]
        row["candidates"] = [candidate_object(candidate, self._gazetteer) for candidate in photo.candidates]
        row["model"] = photo.model
        if self._explain and finding.explanation is not None:
            row["explanation"] = list(reasons(finding.explanation, self._gazetteer))
        if diff is not None:
            row["diff"] = diff
        return json_text(row) + "\n"


class _Csv(Writer):
    """One row per tag, and one without a name for a photo without tags; see `csv_row`."""

    def __init__(self, places: bool) -> None:
        self._further = _CSV_COLUMNS_OF_PLACES if places else ()

    def begin(self) -> str:
        """Return the header row."""
        return csv_row((*_CSV_COLUMNS, *self._further))

    def photo(self, finding: Finding, diff: str | None = None) -> str:  # noqa: ARG002 (has no place for it)
        """Return the rows of one photo."""
        photo = finding.photo
        if photo.error is not None:
            blank = [""] * (len(_CSV_COLUMNS) - 2)
            return csv_row((str(photo.path), *blank, photo.error, *[""] * len(self._further)))
        rows = []
        for tag in photo.tags:
            place = _place_object(tag) or {}
            where = [place.get(column) for column in _CSV_COLUMNS[4:10]]
            further = (place.get("region", ""), tag.source)[: len(self._further)]
            said = (tag.name, tag.level, f"{tag.probability:.6f}")
            rows.append((str(photo.path), *said, *where, photo.model, "", *further))
        if not rows:
            blank = [""] * (len(_CSV_COLUMNS) - 3)
            rows.append((str(photo.path), *blank, photo.model, "", *[""] * len(self._further)))
        return "".join(map(csv_row, rows))


class _GeoJson(Writer):
    """A feature collection (RFC 7946): each tag at its landmark, without a geometry if its position is unknown."""

    def __init__(self) -> None:
        self._first = True

    def begin(self) -> str:
        """Return the start of the collection."""
        return '{"type": "FeatureCollection", "features": ['

    def photo(self, finding: Finding, diff: str | None = None) -> str:  # noqa: ARG002 (has no place for it)
        """Return the features of one photo."""
        photo = finding.photo
        if photo.error is not None:
            return self._feature(None, {"path": str(photo.path), "error": photo.error})
        common = {"path": str(photo.path), "model": photo.model}
        features = []
        for tag in photo.tags:
            said = tag_object(tag)
            where = said.pop("place") or {}
            latitude, longitude = where.pop("latitude", None), where.pop("longitude", None)
            point = None if latitude is None else {"type": "Point", "coordinates": [longitude, latitude]}
            features.append(self._feature(point, {**common, **where, **said}))
        return "".join(features) if features else self._feature(None, common)

    def _feature(self, geometry: dict[str, Any] | None, properties: dict[str, Any]) -> str:
        separator, self._first = ("" if self._first else ","), False
        return f"{separator}\n" + json_text({"type": "Feature", "geometry": geometry, "properties": properties})

    def end(self) -> str:
        """Return the end of the collection."""
        return "\n]}\n"


def _place_of(tag: Tag) -> Place | None:
    return None if tag.level == "kind" else tag.place


def tag_object(tag: Tag) -> dict[str, Any]:
    """Return a tag as a JSON object: `name`, `level`, `probability` and `place`, which may be None.

    A tag from a position also has `source`, and its place may have a `region`.
    """
    said = {"name": tag.name, "level": tag.level, "probability": round(tag.probability, 6)}
    return {**said, "place": _place_object(tag), **_source(tag)}


def _source(tag: Tag) -> dict[str, str]:
    return {} if tag.source == "photo" else {"source": tag.source}


def candidate_object(candidate: Candidate, gazetteer: Gazetteer) -> dict[str, Any]:
    """Return a candidate as a JSON object: `class_name`, `name` and `probability`."""
    name = gazetteer.display_name(candidate.class_name)
    return {"class_name": candidate.class_name, "name": name, "probability": round(candidate.probability, 6)}


def _place_object(tag: Tag) -> dict[str, Any] | None:
    """Return the place of a tag; for a city or country, without the position of one landmark in it."""
    place = _place_of(tag)
    if place is None:
        return None
    landmark = tag.level == "landmark"
    return {
        "name": tag.name,
        "city": place.city if tag.level != "country" else "",
        "country": place.country,
        "country_code": place.country_code,
        "kind": place.kind if landmark else "",
        "latitude": place.latitude if landmark else None,
        "longitude": place.longitude if landmark else None,
        "wikidata": place.wikidata if landmark else None,
        **({"region": place.region} if place.region else {}),
    }


def json_text(value: object) -> str:
    """Return a value as JSON on one line, with letters beyond ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def csv_row(values: tuple[object, ...]) -> str:
    """Return a line of CSV.

    A text cell that a spreadsheet would take for a formula is prefixed with an apostrophe: names are untrusted.
    """
    return csv_line(map(_safe_cell, values))


def _safe_cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
