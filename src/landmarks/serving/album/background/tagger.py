"""Tags the photos of an album in the background, and writes the tags with the library."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import LandmarksError, counted
from landmarks.fewshot.learned import LearnedLandmarks, read_learned
from landmarks.fewshot.reference import read_reference
from landmarks.library.batch import Outcome
from landmarks.library.library import Library
from landmarks.metadata.settings import WriteOptions
from landmarks.model.folder import read_info
from landmarks.serving.album.album import Album
from landmarks.serving.album.background.likeness import Likeness
from landmarks.serving.album.catalogue import Answer, Photo
from landmarks.serving.album.rows import Standing
from landmarks.serving.errors import RequestError
from landmarks.tagging.pipeline import Model
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, identity_of, without_learned
from landmarks.tagging.tags import ImageTags, tags_from_json, tags_to_json
from landmarks.tagging.words import explain
from landmarks.tagging.workers import cores

_CHUNK = 8  # photos between two looks at whether to pause
_GONE_SECONDS = 1.0
_log = logging.getLogger("landmarks.serving")

State = Literal["running", "paused", "idle", "stopped"]


@dataclass(frozen=True)
class Work:
    """What the tagger works with.

    Attributes:
        album: The photos.
        folder: Model folder.
        settings: How to tag.
        options: Where tags are written; None to write nothing.
        in_library: Does something with the library in its thread.
        refresh: Makes the rows of photos anew.
        changed: Called when the state of the tagging has changed.
    """

    album: Album
    folder: Path
    settings: TagSettings
    options: WriteOptions | None
    in_library: Callable[[Callable[[Library], Any]], Any]
    refresh: Callable[[Sequence[Photo]], None]
    changed: Callable[[], None]


class Tagger:
    """Tags what is due until stopped.

    Photos that were tagged with other settings before, as by `landmarks tag --write --places`, keep their tags.

    Args:
        work: What it works with.

    Attributes:
        likeness: The vectors of the photos.
        identity: Identity of the model and what it was taught.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._info = read_info(work.folder)
        self.likeness = Likeness(lambda: read_reference(work.folder, self._info))
        self._wake = threading.Event()
        self._stopped = self._paused = self._stale = False
        self._gone: str | None = None
        self._message: str | None = None
        self._state: State = "idle"
        self._due = 0
        self._moves = True
        self._looked = False
        self._locked: set[bytes] = set()  # photos in folders that may not be written
        self._loading = threading.Lock()
        self._model: Model | None = None
        self._begin()
        self._take_up()

    @property
    def model(self) -> Model:
        """The model, loaded when it is needed first."""
        with self._loading:
            if self._model is None:
                threads = max(1, cores() - 1)  # one core is left for the page
                self._model = Model(self._work.folder, self._work.settings, threads=threads)
            return self._model

    def status(self) -> dict[str, Any]:
        """Return how far the tagging is, as JSON."""
        photos = self._work.album.photos()
        message = self._gone or self._message
        if message is None and self._locked:
            held = counted(len(self._locked), "photo")
            message = f"{held} in folders that cannot be written: their tags are only shown."
        if message is None and not photos and self._looked:
            message = "There are no photos here yet: new ones appear by themselves."
        return {
            "state": "stopped" if self._gone else self._state,
            "done": max(0, len(photos) - self._due),
            "total": len(photos),
            "unreadable": sum(photo.state == "unreadable" for photo in photos),
            "message": message,
        }

    def pause(self, *, paused: bool) -> None:
        """Pause, or go on."""
        self._paused, self._message = paused, None
        self._go("paused" if paused else self._state, self._due)
        self._wake.set()

    def look(self) -> None:
        """Look for work: photos have come, changed or moved."""
        self._moves, first = True, not self._looked
        self._looked = True
        if first:
            self._work.changed()
        self._wake.set()

    def taught(self) -> None:
        """Go through the photos again: the model was taught something, or has forgotten it."""
        with self._loading:
            self._model = None
            self._begin()
        self._stale = True
        self._wake.set()

    def catch_up(self) -> None:
        """Do so if that was elsewhere, as by `landmarks learn` or in another library."""
        with suppress(LandmarksError, OSError):  # a file of the model cannot be read now: the next look sees it
            if identity_of(self._work.folder, self._info, self._work.settings) != self.identity:
                self.taught()

    def out_of_reach(self, reason: str | None) -> None:
        """Say why the library cannot be reached at the moment, or None once it can."""
        if reason != self._gone:
            self._gone = reason
            self._wake.set()
            self._work.changed()

    def unlock(self) -> None:
        """Look whether photos in folders that could not be written are gone, or can be written now."""
        album, locked = self._work.album, tuple(self._locked)
        writable = cache(lambda folder: os.access(folder, os.W_OK))
        held = {key for key in locked if (one := album.find(key)) and not writable(album.path(one).parent)}
        if len(held) < len(locked):
            self._locked.difference_update(set(locked) - held)
            self._wake.set()
            self._work.changed()

    def stop(self) -> None:
        """End `run`."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Tag until stopped."""
        while not self._stopped:
            self._wake.clear()
            self._stale = False
            due = self._all_due() if self._looked and not self._gone else []
            self._go("paused" if self._paused else "running" if due else "idle", len(due))
            if self._paused or not due:
                self._wake.wait()
                continue
            try:
                self._pass(self._in_order(due))
            except LandmarksError as error:
                if isinstance(error, RequestError) or not self._work.album.root.is_dir():
                    self._wake.wait(_GONE_SECONDS)  # the scanner says that the folder is gone, and when it is back
                else:
                    self._give_up(str(error))
            except Exception:  # noqa: BLE001 - the thread must not end unseen
                _log.exception("tagging failed")
                self._give_up("Tagging failed: see the log of landmarks open.")

    def said(self, photo: Photo) -> Standing | None:
        """Return what the model said of a photo, before any verdict; None if another one tagged it, or none."""
        answer = self._work.album.catalogue.answer(photo.key, photo.version)
        if answer is None or (photo.model and not self._ours.fullmatch(photo.model)):
            return None
        said = json.loads(answer.answer)
        tags = tags_from_json(said["tags"])
        if said["error"] is not None:
            return Standing("unreadable", reason=said["error"])
        return Standing("tagged" if tags else "unknown", tags)

    def _begin(self) -> None:
        """Learn what the model is and was taught."""
        work = self._work
        self.identity = identity_of(work.folder, self._info, work.settings)
        self._learned: LearnedLandmarks | None = None
        key = "" if work.options is None else f" {work.options.key}"
        self._run_key = self.identity + key
        base = without_learned(self.identity)
        self._ours = re.compile(f"{re.escape(base)}(-learned=[0-9a-f]+)?{re.escape(key)}")

    def _take_up(self) -> None:
        """Take up what earlier processes have found."""
        album, base, vectors = self._work.album, without_learned(self.identity), {}
        for key, version, model, vector in album.catalogue.answers():
            photo = album.find(key)
            if photo is not None and photo.version == version:
                photo.answered = model
                if vector is not None and without_learned(model) == base:
                    vectors[photo.id] = np.frombuffer(vector, dtype=np.float16)
        self.likeness.put(vectors)

    def _all_due(self) -> list[Photo]:
        photos = self._work.album.photos()
        return [one for one in photos if one.rests and (one.answered != self.identity or self._is_unwritten(one))]

    def _is_unwritten(self, photo: Photo) -> bool:
        if self._work.options is None or photo.model == self._run_key or photo.key in self._locked:
            return False
        return not photo.model or self._ours.fullmatch(photo.model) is not None

    def _in_order(self, due: list[Photo]) -> list[Photo]:
        """Return what is due: new photos first, then those that may show what was taught."""
        known, vectors = self.likeness.of([photo.id for photo in due])
        possible: set[int] = set()
        if known:
            possible = {one for one, may in zip(known, self._may_show(vectors), strict=True) if may}
        return sorted(due, key=lambda photo: (photo.answered is not None, photo.id not in possible))

    def _pass(self, due: list[Photo]) -> None:
        with ThreadPoolExecutor(cores(), "decode") as pool:
            for start in range(0, len(due), _CHUNK):
                if self._stopped or self._paused or self._gone or self._stale:
                    return
                self._chunk(due[start : start + _CHUNK], pool)
                self._go("running", max(0, len(due) - start - _CHUNK))

    def _chunk(self, photos: list[Photo], pool: ThreadPoolExecutor) -> None:
        identity, album = self.identity, self._work.album
        photos = [photo for photo in photos if album.find(photo.key) is photo]
        answers = {photo.id: self._known(photo, identity) for photo in photos}
        fresh = [photo for photo in photos if answers[photo.id] is None]
        for photo, finding in zip(fresh, self._ask([album.path(one) for one in fresh], pool), strict=True):
            answers[photo.id] = self._answer(finding)
        given = [(photo, answer) for photo in photos if (answer := answers[photo.id]) is not None]
        album.catalogue.put_answers((photo.key, photo.version, answer) for photo, answer in given)
        for photo, _ in given:
            photo.answered = identity
        vectors = ((photo.id, answer.vector) for photo, answer in given if answer.vector is not None)
        self.likeness.put({number: np.frombuffer(vector, dtype=np.float16) for number, vector in vectors})
        if self._work.options is not None:
            self._write(given, identity)
        self._work.refresh(photos)
        for photo in photos:
            if self._is_unwritten(photo):
                photo.rests = False  # it has changed, or another process has it: the next look sees to it

    def _write(self, given: Sequence[tuple[Photo, Answer]], identity: str) -> None:
        """Write the tags of those photos that still are as they were read."""
        album = self._work.album
        results: dict[Path, ImageTags] = {}
        for photo, answer in given:
            path = album.path(photo)
            if not os.access(path.parent, os.W_OK):
                self._locked.add(photo.key)
            elif self._is_unwritten(photo) and _is_as_listed(path, photo):
                results[path] = _image_tags(path, answer, identity)
        moves, self._moves = self._moves, False

        def feed(due: Iterable[Path]) -> Iterator[ImageTags]:
            return (results[path] for path in due)

        def write(library: Library) -> list[Outcome]:
            if identity != self.identity:
                return []  # the model was taught something in the meantime
            return list(library.tag(list(results), feed, model=identity, moves=moves))

        if results:
            self._work.in_library(write)

    def _ask(self, paths: Sequence[Path], pool: ThreadPoolExecutor) -> list[Finding]:
        """Ask the network."""
        if not paths:
            return []
        model = self.model
        opened = list(pool.map(model.open, paths))
        findings = model.answer(opened, embeddings=True)
        return [
            replace(finding, photo=replace(finding.photo, sha256=one.photo.sha256))
            for finding, one in zip(findings, opened, strict=True)
        ]

    def _answer(self, finding: Finding) -> Answer:
        photo, explanation = finding.photo, finding.explanation
        said = {
            "tags": tags_to_json(photo.tags),
            "candidates": [[one.class_name, round(one.probability, 6)] for one in photo.candidates],
            "reasons": "" if explanation is None else explain(explanation, photo.tags, self.model.gazetteer),
            "learned": explanation is not None and explanation.learned is not None,
            "error": photo.error,
            "sha256": None if photo.sha256 is None else photo.sha256.hex(),
        }
        vector = None if finding.embedding is None else self.likeness.vectors(finding.embedding[None])[0].tobytes()
        return Answer(photo.model, json.dumps(said), vector)

    def _known(self, photo: Photo, identity: str) -> Answer | None:
        """Return the stored answer for a photo if it holds for the model as it is now."""
        if photo.answered is None or without_learned(photo.answered) != without_learned(identity):
            return None
        answer = self._work.album.catalogue.answer(photo.key, photo.version)
        if answer is None or answer.model == identity:
            return answer
        if json.loads(answer.answer)["learned"]:
            return None
        known, vectors = self.likeness.of([photo.id])
        if known and self._may_show(vectors)[0]:
            return None
        return replace(answer, model=identity)  # nothing that was taught since can change it

    def _may_show(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which photos may show a landmark that was taught, by their vectors."""
        if self._learned is None and without_learned(self.identity) != self.identity:
            self._learned = read_learned(self._work.folder, self._info)
        none = np.zeros(len(vectors), dtype=np.bool_)
        return none if self._learned is None else self._learned.may_show(vectors)

    def _go(self, state: State, due: int) -> None:
        if (state, due) != (self._state, self._due):
            self._state, self._due = state, due
            self._work.changed()

    def _give_up(self, message: str) -> None:
        """Pause until the user goes on, and say why."""
        self._message, self._paused = message, True
        self._work.changed()


def _image_tags(path: Path, answer: Answer, identity: str) -> ImageTags:
    said = json.loads(answer.answer)
    sha256 = None if said["sha256"] is None else bytes.fromhex(said["sha256"])
    return ImageTags(path, tags_from_json(said["tags"]), (), identity, said["error"], sha256)


def _is_as_listed(path: Path, photo: Photo) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (photo.size, photo.mtime_ns)
