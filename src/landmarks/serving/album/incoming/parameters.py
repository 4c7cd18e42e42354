"""What requests ask for, checked: numbers, positions, texts, and JSON; and the JSON of answers."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from landmarks.metadata import gps
from landmarks.serving.errors import RequestError

MAX_NAME = 200
"""Most characters of a name."""

_DIGITS = 15  # of a number: more are no photo, no revision and no limit


def number_in_path(request: Request) -> int:
    """Return the number of a photo in the address.

    Raises:
        RequestError: It is no such number.
    """
    text = request.path_params["number"]
    if not _is_whole(text):
        raise RequestError("not_found", "there is nothing at this address")
    return int(text)


def whole(request: Request, name: str) -> int | None:
    """Return a whole number of the query, or None if it is not given.

    Raises:
        RequestError: It is no whole number.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _is_whole(text):
        raise RequestError("invalid_parameter", f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def degrees(request: Request, name: str) -> float:
    """Return a number of degrees of the query.

    Raises:
        RequestError: It is missing, or no number.
    """
    try:
        return float(request.query_params[name])
    except (KeyError, ValueError) as error:
        raise RequestError("invalid_parameter", f"{name} must be a number of degrees") from error


def position(latitude: object, longitude: object) -> tuple[float, float]:
    """Return a position, in degrees.

    Raises:
        RequestError: A part of it is missing or out of range.
    """
    if type(latitude) in {int, float} and type(longitude) in {int, float}:
        where = float(str(latitude)), float(str(longitude))
        if gps.in_range(*where):
            return where
    raise RequestError("invalid_parameter", "latitude and longitude must be degrees, both or neither")


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request.

    Raises:
        RequestError: There is none.
    """
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise RequestError("bad_request", "the request is not JSON") from error
    if not isinstance(body, dict):
        raise RequestError("bad_request", "the request must be a JSON object")
    return body


def number_of(body: dict[str, Any], name: str) -> int | None:
    """Return a whole number of a request, or None if it is not given.

    Raises:
        RequestError: It is no whole number.
    """
    value = body.get(name)
    if value is None or type(value) is int:
        return value
    raise RequestError("invalid_parameter", f"{name} must be a whole number")


def text_of(body: dict[str, Any], name: str) -> str | None:
    """Return a text of a request, without spaces around it, or None if it is not given.

    Raises:
        RequestError: It is no text, empty, too long, or has characters that no file can store.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        raise RequestError("invalid_parameter", f"{name} must be a text of 1 to {MAX_NAME} characters")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in "".join(value.split())):
        raise RequestError("invalid_parameter", f"{name} must be a text without control characters")
    return value.strip()


def json_answer(content: object) -> Response:
    """Return JSON in ASCII: a file name that is not UTF-8 has characters that UTF-8 cannot encode."""
    return Response(json.dumps(content).encode(), media_type="application/json")


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
