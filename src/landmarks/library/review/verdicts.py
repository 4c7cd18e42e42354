"""What the user's verdicts mean for the tags of a photo: which go, which stay, and by which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.languages import english_countries
from landmarks.library.records import Verdict
from landmarks.tagging.keywords import estimated_keyword
from landmarks.tagging.tags import Tag, tags_from_json


def judged(tags: Iterable[Tag], verdicts: Iterable[Verdict]) -> tuple[Tag, ...]:
    """Return the tags after the user's verdicts: without the rejected ones, the confirmed ones of the photo first.

    Rejecting a city, region or country rejects all tags in it.

    Args:
        tags: The tags.
        verdicts: The verdicts on their photo, oldest first.
    """
    verdicts = newest(verdicts)
    rejected = {verdict.name for verdict in verdicts if verdict.verdict == "rejected"}
    kept = [tag for tag in tags if not (rejected and rejected & names_of(tag))]
    certain = {name for verdict in verdicts for name in _confirmed_names(verdict)}
    kept = [tag for tag in kept if tag.source != "estimated" or not certain & own_names(tag)]
    present = {name for tag in kept for name in own_names(tag)} if verdicts else set()
    for verdict in verdicts:
        names = {verdict.name} | _confirmed_names(verdict)
        if verdict.verdict == "confirmed" and verdict.tag is not None and not names & present:
            kept += tags_from_json(verdict.tag)
    if certain:  # the first tag of what a photo shows names its place wherever there is room for one
        kept.sort(key=lambda tag: tag.source != "photo" or not certain & own_names(tag))
    return tuple(kept)


def rejected_by_hand(removed: Iterable[str], tags: Iterable[Tag]) -> tuple[str, ...]:
    """Return which of our keywords reject a tag by having been removed from a file.

    Only the name of a tag does, in any language. City and country of a tag that stays may be removed without it.

    Args:
        removed: Keywords that somebody has removed.
        tags: The tags that they were written for, and those to be written now.
    """
    removed = tuple(removed)
    names = {name.casefold() for name in removed}
    lost: set[str] = set()
    kept: set[str] = set()
    for tag in tags if names else ():
        own = own_names(tag)
        if own & names:
            lost |= own
        else:
            kept |= names_of(tag)
    return tuple(name for name in removed if name.casefold() in lost - kept)


def confirmed_tags(verdicts: Iterable[Verdict]) -> list[Tag]:
    """Return the tags that verdicts confirm."""
    stored = [verdict.tag for verdict in verdicts if verdict.verdict == "confirmed"]
    return [tag for text in stored if text is not None for tag in tags_from_json(text)]


def is_confirmed(tag: Tag, verdicts: Iterable[Verdict]) -> bool:
    """Return whether a tag was confirmed, by any of its names."""
    confirmed = {verdict.name for verdict in verdicts if verdict.verdict == "confirmed"}
    return bool(confirmed and confirmed & own_names(tag))


def newest(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts, given oldest first, without those that a later one has revised.

    It may name a tag in another language, and reject the city or country of one that was confirmed.
    """
    standing: list[Verdict] = []
    for verdict in verdicts:
        names = _confirmed_names(verdict) or {verdict.name}
        reach = names_of if verdict.verdict == "rejected" else own_names
        standing = [
            earlier
            for earlier in standing
            if earlier.name not in names and verdict.name not in _confirmed_names(earlier, reach)
        ]
        standing.append(verdict)
    return standing


def names_of(tag: Tag) -> set[str]:
    """Return the names by which a tag can be rejected, case-folded: its own, and those of where it is."""
    around: list[str] = []
    if tag.place is not None:
        around.append(tag.place.region)
        english = Gazetteer.bundled().get(tag.place.key) or tag.place
        if tag.level in {"landmark", "city"}:
            around += [tag.place.country, english.country]
        if tag.level == "landmark":
            around += [tag.place.city, english.city]
    return own_names(tag) | {name.casefold() for name in _as_written(around, tag)}


def place_names() -> set[str]:
    """Return the names that tags may have: of landmarks, cities, countries and kinds, in folded case."""
    return {
        name.casefold()
        for place in Gazetteer.bundled()
        for name in (place.name, place.city, place.country, place.kind)
    }


def own_names(tag: Tag) -> set[str]:
    """Return the names of a tag, case-folded; of a landmark in all languages, as the next run may use another."""
    names = [tag.name]
    if tag.level == "country" and tag.place is not None:
        names.append(english_countries().get(tag.place.country_code, ""))
    if tag.level == "landmark" and tag.place is not None:
        gazetteer = Gazetteer.bundled()
        names += gazetteer.names_of(tag.place).values()
        if (english := gazetteer.get(tag.place.key)) is not None:
            names.append(english.name)
    return {name.casefold() for name in _as_written(names, tag)}


def _confirmed_names(verdict: Verdict, names: Callable[[Tag], set[str]] = own_names) -> set[str]:
    return {name for tag in confirmed_tags([verdict]) for name in names(tag)}


def _as_written(names: Iterable[str], tag: Tag) -> list[str]:
    """Return names, and the keywords that they are written as: removing one by hand rejects the tag."""
    known = [name for name in names if name]
    return known + [estimated_keyword(name) for name in known] if tag.source == "estimated" else known
