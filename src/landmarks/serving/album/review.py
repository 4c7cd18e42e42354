"""What the user says on the page: verdicts, undo and redo, teaching, and the places to choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from landmarks.errors import InputError, LandmarksError, counted
from landmarks.fewshot.enrollment import Lesson, Teacher, forget
from landmarks.fewshot.learned import LearnedLandmark, LearnedLandmarks, read_learned
from landmarks.geo.gazetteer import Gazetteer, Place
from landmarks.geo.spelling import folded
from landmarks.imaging.limits import ImageLimits
from landmarks.library.library import Library
from landmarks.library.records import Verdict
from landmarks.library.review.judging import Judgement, confirmation
from landmarks.library.review.steps import Step, Steps
from landmarks.library.review.verdicts import names_of
from landmarks.model.folder import read_info
from landmarks.model.vectors import packed, unpacked
from landmarks.serving.album.album import Album
from landmarks.serving.album.catalogue import Photo
from landmarks.serving.album.rows import Said, Standing, place_object, shown_tag
from landmarks.serving.errors import RequestError
from landmarks.tagging.surroundings import taught_tag
from landmarks.tagging.tags import Tag, tags_to_json

_DONE = {"confirm": "Confirmed", "reject": "Rejected", "rename": "Named", "clear": "Cleared"}
_NO_TAG = {"confirm": "it has no tag to confirm", "reject": "it has no tag to reject"}


@dataclass(frozen=True)
class Answered:
    """What came of a step.

    Attributes:
        step: The step.
        photos: The photos whose rows may have changed.
        refused: Photos for which nothing was done, each with the reason.
        taught: Whether the model has been taught something or has forgotten it.
        warnings: Sentences about the photos that it was taught from.
    """

    step: Step
    photos: tuple[Photo, ...]
    refused: dict[int, str]
    taught: bool = False
    warnings: tuple[str, ...] = ()


class Places:
    """Places by their names in all languages, and the landmarks that were taught.

    Args:
        gazetteer: The places.
        folder: The model folder.
    """

    def __init__(self, gazetteer: Gazetteer, folder: Path) -> None:
        self.gazetteer = gazetteer
        self._folder = folder
        self._info = read_info(folder)

    def find(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return the places whose name begins with the query, then those with a word that does, as JSON."""
        wanted = folded(query)
        if not wanted:
            return []
        learned = {one.name: self._learned(one) for one in _all(read_learned(self._folder, self._info))}
        names = [*self._names, *((folded(name), name) for name in learned)]
        ranks: dict[str, tuple[int, int]] = {}
        for name, key in names:
            at = 0 if name.startswith(wanted) else 1 if f" {wanted}" in name else None
            if at is not None:
                rank = (at + (name != wanted), len(name))
                ranks[key] = min(ranks.get(key, rank), rank)
        best = sorted(ranks, key=lambda key: (ranks[key], key))[:limit]
        return [learned.get(key) or self._object(key) for key in best]

    def tag(self, key: str | None, name: str | None) -> Tag:
        """Return the tag for a place, by its key, or for a landmark by its name, which may have been taught.

        Raises:
            RequestError: Neither is given, or nothing has this key.
        """
        name = " ".join((name or "").split())
        place = self.gazetteer.get(key) if key else None
        if place is not None:
            return Tag(place.name, "landmark", 1.0, place, None)
        if not (name or key):
            raise RequestError("invalid_parameter", "say which place it is: give `key` or `name`")
        learned = read_learned(self._folder, self._info)
        if key and key not in (*self._info.classes, *(one.name for one in _all(learned))):
            raise RequestError("invalid_parameter", f"there is no place with the key {key!r}: give its `name`")
        taught = None if learned is None else learned.find(name or str(key))
        if taught is not None:
            return taught_tag(taught, 1.0, self.gazetteer)
        name = name or self.gazetteer.display_name(str(key))
        place = self.gazetteer.find(name)
        return Tag(name if place is None else place.name, "landmark", 1.0, place, None)

    @cached_property
    def _names(self) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for place in self.gazetteer:
            found |= {
                (folded(name), place.key): None for name in (place.name, *self.gazetteer.names_of(place).values())
            }
        return list(found)

    def _object(self, key: str) -> dict[str, Any]:
        place = self.gazetteer.get(key)
        return {**place_object(place), "learned": False} if place is not None else {"key": key}

    def _learned(self, one: LearnedLandmark) -> dict[str, Any]:
        place = taught_tag(one, 1.0, self.gazetteer).place
        shown = place_object(place or Place(one.name, one.name, "", "", "", "", None, None, None))
        return {**shown, "key": one.name, "name": one.name, "learned": True}


def _all(learned: LearnedLandmarks | None) -> tuple[LearnedLandmark, ...]:
    return () if learned is None else learned.landmarks


@dataclass
class Review:
    """The steps of the users of a library; everything here runs in the library's thread.

    Attributes:
        library: The library.
        album: Its photos.
        places: Places to choose from.
        folder: The model folder.
        limits: Largest file and image to accept.
        standing: Returns what is known of the tags of a photo.
        said: Returns what the model said of a photo, before any verdict, or None.
        identity: Returns the identity of the model and what it was taught.
    """

    library: Library
    album: Album
    places: Places
    folder: Path
    limits: ImageLimits
    standing: Callable[[Photo], Standing]
    said: Callable[[Photo], Standing | None]
    identity: Callable[[], str]

    @cached_property
    def _steps(self) -> Steps:
        return Steps(self.library)

    @property
    def counts(self) -> tuple[int, int]:
        """How many steps can be undone, and how many done again."""
        return self._steps.can_undo, self._steps.can_redo

    def judge(self, photos: Sequence[Photo], said: Said, key: str | None, name: str | None) -> Answered:
        """Confirm, reject or rename the tags of photos, or withdraw what was said of them."""
        tag = self.places.tag(key, name) if said == "rename" else None
        judgements, refused = [], {}
        for photo in photos:
            verdicts = self._verdicts(self.standing(photo), said, tag)
            if not verdicts and said != "clear":
                refused[photo.id] = _NO_TAG[said]
                continue
            path = self.album.path(photo)
            judgements.append(Judgement(path, tuple(verdicts), said == "clear", self._raw(photo)))
        text = f"{_DONE[said]} {counted(len(judgements), 'photo')}{f' {tag.name}' if tag is not None else ''}"
        if not judgements:
            return Answered(Step(text, ()), (), refused)
        return self._answered(self._steps.make(text, judgements), refused)

    def teach(self, photos: Sequence[Photo], name: str, position: tuple[float, float] | None) -> Answered:
        """Teach the model a landmark from photos, and confirm it on them."""
        name = " ".join(name.split())
        paths = {photo.id: self.album.path(photo) for photo in photos}
        before = self._steps.newest
        lesson = self._learn(name, list(paths.values()), position)
        new = lesson.landmark.vectors[len(lesson.landmark.vectors) - lesson.added :].astype("<f2")
        unread = dict(lesson.failed)
        refused = {number: unread[path] for number, path in paths.items() if path in unread}
        try:
            tag = self.places.tag(None, name)
            judgements = [
                Judgement(
                    paths[photo.id],
                    tuple(self._verdicts(self.standing(photo), "rename", tag)),
                    False,
                    self._raw(photo),
                )
                for photo in photos
                if photo.id not in refused
            ]
            more = {"name": name, "added": [packed(one) for one in new], "position": position}
            more["model"] = self.identity()
            step = self._steps.make(f"Taught {name} from {counted(len(judgements), 'photo')}", judgements, more)
        except Exception:
            if self._steps.newest == before:  # there is no step whose undo would make the model forget it
                forget(self.folder, name, new)
            raise
        taken = (f"{name}: {lesson.taken_for}",) if lesson.taken_for else ()
        return replace(self._answered(step, refused, taught=True), warnings=(*lesson.warnings, *taken))

    def undo(self, number: int | None = None) -> Answered:
        """Undo the last step.

        Args:
            number: Its number; None if whichever it is is meant.

        Raises:
            RequestError: There is none, or it is another one.
        """
        _expect(number, self._steps.newest)
        step = self._steps.undo()
        if step is None:
            raise RequestError("conflict", "there is nothing to undo")
        if step.more:
            # If somebody made the model forget it in the meantime (InputError), it need not again.
            with self._or_back(self._steps.redo), suppress(InputError):
                forget(self.folder, step.more["name"], [unpacked(one, "<f2") for one in step.more["added"]])
        return self._answered(step, {}, taught=bool(step.more))

    def redo(self, number: int | None = None) -> Answered:
        """Do the step again that was undone last.

        Args:
            number: Its number; None if whichever it is is meant.

        Raises:
            RequestError: There is none, or it is another one.
        """
        _expect(number, self._steps.next)
        step = self._steps.redo()
        if step is None:
            raise RequestError("conflict", "there is nothing to do again")
        if step.more:
            position = step.more["position"]
            with self._or_back(self._steps.undo):
                self._learn(step.more["name"], step.photos, None if position is None else tuple(position))
        return self._answered(step, {}, taught=bool(step.more))

    @contextmanager
    def _or_back(self, back: Callable[[], object]) -> Iterator[None]:
        """Take a step back if what belongs to it fails: the model and the ledger agree about what was taught."""
        try:
            yield
        except LandmarksError:
            with suppress(LandmarksError):
                back()
            raise

    def _raw(self, photo: Photo) -> tuple[Tag, ...] | None:
        said = self.said(photo)
        return None if said is None else said.tags

    def _learn(self, name: str, paths: Sequence[Path], position: tuple[float, float] | None) -> Lesson:
        return Teacher(self.folder, self.limits).learn(name, paths, position=position)

    def _verdicts(self, standing: Standing, said: Said, tag: Tag | None) -> list[Verdict]:
        if said == "clear":
            return []
        if tag is not None:
            inside = names_of(tag)
            wrong = [one for one in standing.tags if one.source == "photo" and one.name.casefold() not in inside]
            return [*(_rejection(one) for one in wrong), confirmation(tag)]
        shown = shown_tag(standing)
        if shown is None:
            return []
        return [confirmation(shown) if said == "confirm" else _rejection(shown)]

    def _answered(self, step: Step, refused: dict[int, str], *, taught: bool = False) -> Answered:
        photos = tuple(photo for path in step.photos if (photo := self.album.at(path)) is not None)
        failed = {photo.id: step.refused[path] for path in step.refused if (photo := self.album.at(path))}
        return Answered(step, photos, {**refused, **failed}, taught)


def _expect(number: int | None, actual: int) -> None:
    if number not in (None, actual):
        raise RequestError(
            "conflict",
            "another step was made since, so nothing was changed: Undo at the top takes back the newest",
        )


def _rejection(tag: Tag) -> Verdict:
    return Verdict(tag.name.casefold(), "rejected", tags_to_json([tag]))
