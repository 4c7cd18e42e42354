"""From tags to metadata: the keywords, hierarchies and locations of a photo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from landmarks.metadata.entries import LISTS, Entries, Location, compare_key, distinct, join_path, one_line
from landmarks.tagging.tags import Tag

ROOT_KEYWORD = "Places"
"""Root keyword of all hierarchies."""

ESTIMATED_KEYWORD = "Places (estimated)"
"""Root keyword of places that are only estimated, so that they can be told apart in every program."""


def estimated_keyword(name: str) -> str:
    """Return the keyword of a place that is only estimated."""
    return f"{name} (estimated)"


def entries_for(tags: Iterable[Tag], *, iptc: bool = False, gps: bool = False) -> Entries:
    """Return the metadata entries for `tags`.

    A landmark near the camera need not be in the photo, so a tag from the camera's position yields keywords, but
    no location shown.

    Args:
        tags: Tags of one photo.
        iptc: Repeat the keywords as IPTC keywords; those over that standard's limit of 64 bytes are left out.
        gps: Add the position of the first landmark whose coordinates are known.
    """
    keywords: dict[str, None] = {}
    paths: dict[tuple[str, ...], None] = {}
    locations: dict[str, Location] = {}
    town, region, position = Location(""), "", None
    for tag in tags:
        location = _location(tag)
        above = [location.country, location.city] if location is not None else []
        # A city state is its own country; list each name once.
        names = [*(name for name in dict.fromkeys(above) if name and name != tag.name), tag.name]
        if tag.source == "estimated":
            keywords.update(
                dict.fromkeys(estimated_keyword(name) for name in reversed(names) if name not in keywords)
            )
        else:
            keywords.update(dict.fromkeys(reversed(names)))
        paths[ESTIMATED_KEYWORD if tag.source == "estimated" else ROOT_KEYWORD, *names] = None
        if location is not None and tag.source == "photo":
            locations.setdefault(location.key, location)
        elif location is not None and tag.source == "position" and tag.level != "landmark":
            town, region = location, tag.place.region if tag.place is not None else ""
            keywords |= {region: None} if region else {}
        if gps and position is None and tag.level == "landmark" and tag.place is not None:
            position = tag.place.coordinates
    # A path implies its prefixes.
    leaves = [path for path in paths if not any(len(o) > len(path) and o[: len(path)] == path for o in paths)]
    words = distinct(map(one_line, keywords))
    first = next(iter(locations.values()), town)
    return Entries(
        keywords=words,
        hierarchy=distinct(join_path(path, "|") for path in leaves),
        tag_paths=distinct(join_path(path, "/") for path in leaves),
        locations=tuple(locations.values()),
        # The older properties hold one place: that of the first tag.
        sublocation=_if_any(first.name),
        city=_if_any(first.city),
        # Of the town that the camera was in: another one may lie in another region.
        region=_if_any(region if (first.city, first.country) == (town.city, town.country) else ""),
        country=_if_any(first.country),
        country_code=_if_any(first.country_code),
        iptc_keywords=tuple(filter(_fits_iptc, words)) if iptc else (),
        position=position,
    )


def too_long_for_iptc(tags: Iterable[Tag]) -> tuple[str, ...]:
    """Return the keywords of `tags` that `entries_for` leaves out of those for IPTC."""
    entries = entries_for(tags, iptc=True)
    return tuple(word for word in entries.keywords if word not in entries.iptc_keywords)


def counterparts(entries: Entries, before: Iterable[Tag], after: Iterable[Tag]) -> Entries:
    """Return what entries of some tags are called in those of the same tags in another language.

    Args:
        entries: The entries, of any of `before`.
        before: Tags as they were.
        after: Tags as they are now.
    """
    wanted = {name: {compare_key(entry) for entry in getattr(entries, name)} for name in LISTS}
    found: dict[str, list[Any]] = {name: [] for name in LISTS}
    for tag, same in product(before, after):
        if tag.place and same.place and (tag.place.key, tag.level) == (same.place.key, same.level):
            own, other = entries_for([tag], iptc=True), entries_for([same], iptc=True)
            for name, renamed in found.items():
                was, now = getattr(own, name), getattr(other, name)
                if len(was) == len(now):  # else two names are the same in one of the languages
                    pairs = zip(was, now, strict=True)
                    renamed += [entry for known, entry in pairs if compare_key(known) in wanted[name]]
    return Entries(**{name: tuple(renamed) for name, renamed in found.items()})


def _if_any(name: str) -> tuple[str, ...]:
    return (one_line(name),) if name.strip() else ()


def _location(tag: Tag) -> Location | None:
    place = tag.place
    country, code = (place.country, place.country_code) if place is not None else ("", "")
    if tag.level == "country":
        return Location("", "", tag.name, code)
    if tag.level == "city":
        return Location("", tag.name, country, code)
    if tag.level == "kind" or place is None:
        return None
    location = Location(tag.name, place.city, country, code)
    if place.coordinates is not None:
        location = replace(location, latitude=place.latitude, longitude=place.longitude)
    if place.wikidata is not None:
        location = replace(location, identifier=f"http://www.wikidata.org/entity/{place.wikidata}")
    return location


def _fits_iptc(keyword: str) -> bool:
    return len(keyword.encode()) <= 64
