"""GPS positions: parses all notations of degrees in use, and marks a position as ours.

XMP writes `48,51.498N` or `48,51,29.9N` (XMP Specification Part 2, GPSCoordinate). Programs also write decimal
degrees with a letter or a sign, degree signs, fractions, and the letter in a separate property.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_VALUE = re.compile(
    rf"""\s*(?P<before>[A-Za-z]+)?\s*(?P<sign>[-+\u2212])?\s*
    (?P<degrees>{_NUMBER})(?:/(?P<degrees_by>\d+))?
    (?:(?:\s*[,:;\u00b0\u00ba]\s*|\s*deg\s*|\s+)(?P<minutes>{_NUMBER})(?:/(?P<minutes_by>\d+))?)?
    (?:(?:\s*[,:;'\u2032\u2019]\s*|\s*min\s*|\s+)(?P<seconds>{_NUMBER})(?:/(?P<seconds_by>\d+))?)?
    \s*(?:deg|[\u00b0\u00ba'\u2032\u2019"\u2033\u201d]{{1,2}})?\s*(?P<after>[A-Za-z]+)?\s*""",
    re.VERBOSE,
)
_LETTERS = {
    "latitude": {"n": 1, "north": 1, "s": -1, "south": -1},
    "longitude": {"e": 1, "east": 1, "w": -1, "west": -1},
}
_LIMITS = {"latitude": 90, "longitude": 180}

_OURS = "estimated: of the landmark at {:.4f},{:.4f}, not of the camera"
_OURS_PARTS = re.compile(r"of the landmark at (-?\d+\.\d+),(-?\d+\.\d+), not of the camera")


def our_method(position: tuple[float, float]) -> str:
    """Return the text for `GPSProcessingMethod` that marks a position as the landmark's."""
    return _OURS.format(*position)


def is_ours(method: str, position: tuple[float, float]) -> bool:
    """Return whether we wrote a position and nobody has changed it since.

    Args:
        method: `GPSProcessingMethod`, which includes the position we wrote: a program that corrects the position
            may leave this text unchanged.
        position: The current latitude and longitude in degrees.
    """
    match = _OURS_PARTS.search(method)
    return match is not None and all(abs(float(match[i + 1]) - position[i]) < 0.001 for i in (0, 1))


def in_range(latitude: float, longitude: float) -> bool:
    """Return whether degrees are those of a position: at most 90 and 180, and not NaN."""
    return abs(latitude) <= 90 and abs(longitude) <= 180


def plausible(position: tuple[float | None, float | None] | None) -> tuple[float, float] | None:
    """Return a position if it is plausible: in range, and not the 0, 0 of a receiver without signal."""
    if position is None:
        return None
    latitude, longitude = position
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):
        return None
    return (latitude, longitude) if in_range(latitude, longitude) else None


def parse_degrees(text: str | None, axis: str, reference: str | None = None) -> float | None:
    """Parse degrees, north and east positive; None if the text has none.

    Args:
        text: For example `48,51.498N`, `48.8583`, `-33.9`, `48 deg 51' 29.9" N` or `48/1 51/1 299/10`.
        axis: `latitude` or `longitude`.
        reference: Value of `GPSLatitudeRef` or `GPSLongitudeRef`; a letter in the text itself takes precedence.
    """
    match = _VALUE.fullmatch(text or "")
    if match is None or (match["before"] and match["after"]):
        return None
    letters = _LETTERS[axis]
    written = match["before"] or match["after"]
    if written is not None and written.lower() not in letters:
        return None
    letter = written or (reference or "").strip("\0 ")
    parts = [_part(match, name) for name in ("degrees", "minutes", "seconds")]
    value = degrees_of([part for part in parts if part is not None and not math.isnan(part)])
    if value is None or (parts[0] is not None and math.isnan(parts[0])):
        return None
    below = match["sign"] in {"-", "\u2212"}
    if letter.lower() in letters:
        below = below or letters[letter.lower()] < 0
    return None if value > _LIMITS[axis] else -value if below else value


def exif_degrees(parts: Sequence[float], reference: object, axis: str) -> float | None:
    """Convert degrees from EXIF; without a valid reference they are taken as north and east.

    Args:
        parts: Degrees, minutes and seconds; the last ones may be missing.
        reference: Raw value of `GPSLatitudeRef` or `GPSLongitudeRef`, or None.
        axis: `latitude` or `longitude`.
    """
    numbers = [float(part) for part in parts]
    below = bool(numbers) and math.copysign(1, numbers[0]) < 0
    # Some cameras write missing seconds as 0/0.
    value = degrees_of([abs(number) for number in numbers if not math.isnan(number)] if numbers[:1] else [])
    if value is None or math.isnan(numbers[0]):
        return None
    text = reference.decode("latin-1") if isinstance(reference, bytes) else str(reference or "")
    below = below or _LETTERS[axis].get(text.strip("\0 ").lower(), 1) < 0
    return None if value > _LIMITS[axis] else -value if below else value


def degrees_of(parts: Sequence[float]) -> float | None:
    """Return degrees, minutes and seconds as one number, or None if they are not an angle."""
    if not 1 <= len(parts) <= 3 or any(part > 60 for part in parts[1:]):
        return None
    return sum((part / 60.0**power for power, part in enumerate(parts)), 0.0)


def degrees_text(value: float, axis: str) -> str:
    """Format degrees for XMP, to a hundred-thousandth of a minute (2 cm)."""
    letters = "NS" if axis == "latitude" else "EW"
    minutes = round(abs(value) * 60, 5)
    return f"{int(minutes // 60)},{minutes % 60:.5f}{letters[value < 0]}"


def _part(match: re.Match[str], name: str) -> float | None:
    if match[name] is None:
        return None
    by = match[f"{name}_by"]
    if by is None:
        return float(match[name])
    return float(match[name]) / int(by) if int(by) else math.nan
