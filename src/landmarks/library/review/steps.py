"""Steps of a review: verdicts on any number of photos, undone and done again together.

A step is recorded before its first file is touched, with the verdicts and rows of the ledger as they were. What
it wrote are the changes of its photos since then. So a step can be undone byte for byte, also after the process
was killed in the middle of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landmarks.library.library import Library
from landmarks.library.records import Change, PhotoRow, Verdict, change_of
from landmarks.library.review.judging import Judgement, judge
from landmarks.library.undo import undo_changes
from landmarks.tagging.tags import tags_from_json, tags_to_json

_KEPT = 200  # steps that can be undone
_PAGE = 64  # changes that are undone in one transaction


@dataclass(frozen=True)
class Step:
    """A step that was made, undone, or done again.

    Attributes:
        text: What was done, in a few words.
        photos: The photos.
        refused: Photos for which it could not be written, each with the reason.
        more: What the caller stored with it.
        number: Its number; 0 if there was nothing to do. Later steps have larger ones.
    """

    text: str
    photos: tuple[Path, ...]
    refused: dict[Path, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    number: int = 0


class Steps:
    """The steps of a library, which all of its windows share.

    Args:
        library: The library.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._files = library.files
        self._ledger = library.ledger

    @property
    def can_undo(self) -> int:
        """Number of steps that can be undone."""
        return int(self._ledger.row("SELECT count(*) FROM steps WHERE NOT undone")[0])

    @property
    def can_redo(self) -> int:
        """Number of steps that can be done again."""
        return int(self._ledger.row("SELECT count(*) FROM steps WHERE undone")[0])

    @property
    def newest(self) -> int:
        """Number of the step that `undo` undoes; 0 if there is none."""
        return int(self._ledger.row("SELECT coalesce(max(id), 0) FROM steps WHERE NOT undone")[0])

    @property
    def next(self) -> int:
        """Number of the step that `redo` does again; 0 if there is none."""
        return int(self._ledger.row("SELECT coalesce(min(id), 0) FROM steps WHERE undone")[0])

    def make(self, text: str, judgements: Sequence[Judgement], more: dict[str, Any] | None = None) -> Step:
        """Make a step; those that were undone before can no longer be done again.

        Args:
            text: What is done, in a few words.
            judgements: The verdicts, one judgement per photo.
            more: Stored with the step and returned by `undo` and `redo`. If it has a `model`, the tags that this
                model gave since are undone with the step.

        Raises:
            StorageError: The disk is full; the step can be undone.
        """
        action = json.dumps({"judgements": [self._packed(one) for one in judgements], "more": more or {}})
        with self._ledger.transaction():
            self._ledger.execute("DELETE FROM steps WHERE undone")
            number = self._ledger.execute(
                "INSERT INTO steps (text, action, before, since, time) VALUES (?, ?, '[]', 0, ?)",
                *(text, action, time.time()),
            )
            self._ledger.execute("DELETE FROM steps WHERE id <= ?", number - _KEPT)
        return self._do(number, text, judgements, more or {})

    def undo(self) -> Step | None:
        """Undo the last step that stands; None if there is none.

        Files that nobody has changed since are as before, byte for byte; in others only the verdicts are undone.
        """
        row = self._ledger.row("SELECT * FROM steps WHERE id = ?", self.newest)
        if row is None:
            return None
        before, more, again = json.loads(row["before"]), json.loads(row["action"])["more"], []
        # Others took back all that was written for these in the meantime: they stay due.
        due = {one["photo"] for one in before if self._ledger.photo(os.fsencode(one["photo"])) is None}
        if "model" in more:
            self._undo_model(more["model"], row["since"])
        kept = self._undo_changes(
            change
            for one in before
            for change in self._ledger.of_step(os.fsencode(one["photo"]), row["since"], row["until"])
        )
        with self._ledger.transaction():
            for one in before:
                key = os.fsencode(one["photo"])
                self._restore(key, one, files_too=key not in kept and one["photo"] not in due)
                if key in kept:
                    again.append(
                        Judgement(self._library.root / one["photo"], (), tags=tags_from_json(one["tags"]))
                    )
        refused = self._refused(again)
        for key in kept:
            # Due again: it has the tags of before, and another model may have written since.
            self._ledger.forget(key)
        self._ledger.execute("UPDATE steps SET undone = 1 WHERE id = ?", row["id"])
        photos = tuple(self._library.root / one["photo"] for one in before)
        return Step(row["text"], photos, refused, more, row["id"])

    def redo(self) -> Step | None:
        """Make the step again that was undone last; None if there is none."""
        row = self._ledger.row("SELECT * FROM steps WHERE id = ?", self.next)
        if row is None:
            return None
        action = json.loads(row["action"])
        judgements = [self._unpacked(one) for one in action["judgements"]]
        self._ledger.execute("UPDATE steps SET undone = 0 WHERE id = ?", row["id"])
        return self._do(row["id"], row["text"], judgements, action["more"])

    def _do(self, number: int, text: str, judgements: Sequence[Judgement], more: dict[str, Any]) -> Step:
        ledger = self._ledger
        with ledger.transaction():
            before = json.dumps(list(self._before(judgements)))
            since = ledger.row("SELECT coalesce(max(id), 0) FROM changes")[0]
            ledger.execute(
                "UPDATE steps SET before = ?, since = ?, until = NULL WHERE id = ?", before, since, number
            )
        refused = self._refused(judgements)
        ledger.execute("UPDATE steps SET until = (SELECT coalesce(max(id), 0) FROM changes) WHERE id = ?", number)
        return Step(text, tuple(one.photo for one in judgements), refused, more, number)

    def _refused(self, judgements: Sequence[Judgement]) -> dict[Path, str]:
        """Judge photos; return those for which it could not be written, each with the reason."""
        outcomes = judge(self._files, judgements, everywhere=True)
        return {one.path: one.refusal for one in outcomes if one.refusal is not None}

    def _before(self, judgements: Sequence[Judgement]) -> Iterator[dict[str, Any]]:
        """Yield what is known of the photos before a step."""
        for one in judgements:
            key = self._files.key(one.photo)
            row, tags = self._ledger.photo(key), self._ledger.tags(key) or "[]"
            yield {
                "photo": os.fsdecode(key),
                "row": None if row is None else _row_to_json(row),
                "verdicts": [asdict(verdict) for verdict in self._verdicts(key, row)],
                "tags": tags_to_json(one.tags) if one.tags is not None else tags,
            }

    def _undo_model(self, model: str, since: int) -> None:
        """Undo the tags that a model gave after a change; their photos are due again."""
        query = "SELECT * FROM changes WHERE model = ? AND id > ? AND state = 'done'"
        self._undo_changes(change_of(row) for row in self._ledger.rows(query, model, since))

    def _undo_changes(self, changes: Iterable[Change]) -> set[bytes]:
        """Undo changes, the newest first; return the photos of which one stays, as others have written since."""
        newest = sorted(changes, key=lambda change: -change.id)
        kept: set[bytes] = set()
        for start in range(0, len(newest), _PAGE):
            page = newest[start : start + _PAGE]
            reports = undo_changes(self._ledger, self._library.root, page, self._files.tool)
            kept |= {one.photo for one, report in zip(page, reports, strict=True) if report.status == "kept"}
        return kept

    def _restore(self, key: bytes, before: dict[str, Any], *, files_too: bool) -> None:
        """Bring the verdicts on a photo back, and its row if its files are as before."""
        row = None if before["row"] is None else _row_from_json(key, before["row"])
        now = self._ledger.photo(key)
        with self._ledger.transaction():
            for known in (row, now):
                self._ledger.withdraw(key, known.sha256 if known is not None and known.sha256 else None)
            for verdict in before["verdicts"]:
                self._ledger.judge(key, row.sha256 if row is not None else None, Verdict(**verdict))
            if files_too and row is not None:
                self._ledger.record(row)
            elif files_too:
                self._ledger.forget(key)

    def _verdicts(self, key: bytes, row: PhotoRow | None) -> list[Verdict]:
        return self._ledger.verdicts(key, row.sha256 if row is not None and row.sha256 else None)

    def _packed(self, judgement: Judgement) -> dict[str, Any]:
        return {
            "photo": os.fsdecode(self._files.key(judgement.photo)),
            "verdicts": [asdict(verdict) for verdict in judgement.verdicts],
            "afresh": judgement.afresh,
            "tags": None if judgement.tags is None else tags_to_json(judgement.tags),
        }

    def _unpacked(self, packed: dict[str, Any]) -> Judgement:
        tags = packed["tags"]
        return Judgement(
            self._library.root / packed["photo"],
            tuple(Verdict(**verdict) for verdict in packed["verdicts"]),
            packed["afresh"],
            None if tags is None else tags_from_json(tags),
        )


def _row_to_json(row: PhotoRow) -> dict[str, Any]:
    return {**asdict(row), "photo": None, "sha256": row.sha256.hex()}


def _row_from_json(key: bytes, row: dict[str, Any]) -> PhotoRow:
    return PhotoRow(**{**row, "photo": key, "sha256": bytes.fromhex(row["sha256"])})
