"""Turns tags into file changes, a few at a time: planned, recorded, written, marked as done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from landmarks.errors import MetadataError, StorageError
from landmarks.files.state import is_remote
from landmarks.library.delta import make_delta
from landmarks.library.ledger import Ledger
from landmarks.library.records import WROTE, Change, PhotoRow, PhotoState, Verdict, change_of
from landmarks.library.review.verdicts import confirmed_tags, judged, rejected_by_hand
from landmarks.library.writing import ChangedMeanwhileError, Snapshot, digest, is_full, put_file, was_written
from landmarks.metadata.edit import Edit, plan, source_of, target_of
from landmarks.metadata.entries import Entries
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.keywords import counterparts, entries_for, too_long_for_iptc
from landmarks.tagging.tags import ImageTags, Tag, tags_from_json, tags_to_json

_EDITS = 16  # per batch: the ledger is synced to the disk twice per batch
_BYTES = 32 * 2**20  # of files waiting in memory


@dataclass(frozen=True)
class Outcome:
    """The outcome for one photo.

    Attributes:
        path: The photo, as found.
        status: `written`; `planned` in a preview; `unchanged` if there was nothing to write; `quarantined` if it
            cannot be read or written; `changed` if somebody changed it in the meantime, so that it is left to the
            next run.
        tags: Its tags, after the user's verdicts.
        reason: Why it is in quarantine, or None.
        diff: What is, or would be, written, as lines that begin with `-` or `+`; or None.
        rejected: Keywords that somebody removed from the file, so that the tags with these names are now rejected.
        too_long: Keywords left out of those for IPTC, which holds 64 bytes each.
    """

    path: Path
    status: Literal["written", "planned", "unchanged", "quarantined", "changed"]
    tags: tuple[Tag, ...] = ()
    reason: str | None = None
    diff: str | None = None
    rejected: tuple[str, ...] = ()
    too_long: tuple[str, ...] = ()

    @property
    def refusal(self) -> str | None:
        """Why nothing was written for the photo although something was to be; None if all went well."""
        return "it was changed in the meantime" if self.status == "changed" else self.reason


@dataclass(frozen=True)
class Work:
    """A photo to process.

    Attributes:
        photo: Its path.
        key: Its path relative to the root, as bytes.
        snapshot: Its state when it was claimed; None if it cannot be read.
        model_key: The model and options used.
    """

    photo: Path
    key: bytes
    snapshot: Snapshot | None
    model_key: str


@dataclass(frozen=True)
class _Target:
    """A file to edit, and how; `is_other`: it is not the one that the run writes, but was written before."""

    path: Path
    options: WriteOptions
    is_other: bool = False


@dataclass(frozen=True)
class _Planned:
    """The edits of the files of a photo that change; the photo's own comes last, as the others check the photo."""

    work: Work
    edits: tuple[Edit, ...]
    tags: tuple[Tag, ...]
    model: str
    rejected: tuple[str, ...]
    too_long: tuple[str, ...]

    def outcome(self, status: Literal["written", "planned", "unchanged"]) -> Outcome:
        diff = "\n".join(edit.diff() for edit in self.edits) or None
        return Outcome(self.work.photo, status, self.tags, None, diff, self.rejected, self.too_long)


@dataclass
class Batch:
    """Edits waiting to be written.

    Every file that was written for a photo before, and not undone since, is brought up to date with it.

    Attributes:
        ledger: The ledger; this process has claimed the photos.
        root: Root of the library.
        options: Where tags are written.
        tool: ExifTool, to write into photos.
        run: The run that the changes belong to; None starts one with the first change.
        read_only: Plan only.
        kind: Kind of the run that is started.
    """

    ledger: Ledger
    root: Path
    options: WriteOptions
    tool: ExifTool
    _: KW_ONLY
    run: int | None = None
    read_only: bool = False
    kind: str = "tag"
    _planned: list[_Planned] = field(default_factory=list, init=False)

    @cached_property
    def _remote(self) -> bool:
        return is_remote(self.root)

    def take(self, work: Work, result: ImageTags) -> Iterator[Outcome]:
        """Plan the edit for a result; yields the outcomes that are already certain."""
        if work.snapshot is not None:
            work = replace(work, snapshot=work.snapshot.with_content(work.photo, result.sha256))
        if result.error is not None:
            yield self._refuse(work, "unreadable", result.error)
            return
        if work.snapshot is None or work.snapshot.sha256 is None or not work.snapshot.still_true(work.photo):
            yield self._put_off(work)
            return
        yield from self._consider(work, result, None)

    def amend(
        self, work: Work, result: ImageTags, prior: Change, verdicts: Sequence[Verdict] = ()
    ) -> Iterator[Outcome]:
        """Plan an update of an earlier change, such as after new verdicts of the user."""
        yield from self._consider(work, result, prior, verdicts)

    def _consider(
        self, work: Work, result: ImageTags, prior: Change | None, verdicts: Sequence[Verdict] = ()
    ) -> Iterator[Outcome]:
        """Plan an edit of the file of an earlier change, by default the usual one, and of the photo's others."""
        try:
            targets = self._targets(work, prior)
            waiting = {edit.target for planned in self._planned for edit in planned.edits}
            if waiting & {target.path for target in targets}:
                yield from self.flush()  # the plan must see what the other edit wrote
            planned = self._plan(work, result, targets, verdicts)
        except MetadataError as error:
            yield self._refuse(work, "unwritable", _reason(error, work.photo))
            return
        except ChangedMeanwhileError:
            yield self._put_off(work)
            return
        except (StorageError, OSError) as error:
            yield from self._refuse_or_raise(work, error)
            return
        yield from self._accept(planned)

    def flush(self) -> Iterator[Outcome]:
        """Write the waiting edits; yields one outcome per edit.

        Raises:
            StorageError: The disk is full. Finished edits are recorded as such, the others are dropped.
        """
        planned, self._planned = self._planned, []
        if not planned:
            return
        if self.run is None:
            self.run = self.ledger.start_run(self.kind, planned[0].model)
        edits = [(item, edit) for item in planned for edit in item.edits]
        changes = self.ledger.intend([self._change(item, edit) for item, edit in edits])
        outcomes: dict[int, Outcome] = {}
        last: dict[bytes, Outcome] = {}
        try:
            for number, (item, edit) in zip(changes, edits, strict=True):
                before = last.get(item.work.key)  # a photo of which one file cannot be written keeps the others
                failed = before is not None and before.status != "written"
                outcomes[number] = before if before is not None and failed else self._write(item, edit)
                last[item.work.key] = outcomes[number]
        finally:
            interrupted = next((number for number in changes if number not in outcomes), None)
            with self.ledger.transaction():
                for number, (item, edit) in zip(changes, edits, strict=True):
                    outcome = outcomes.get(number)
                    written = outcome is not None and outcome.status == "written"
                    try:
                        # Ctrl-C may have come just after the file was replaced.
                        written |= number == interrupted and was_written(
                            edit.target, digest(edit.before), item.work.photo
                        )
                    except OSError:
                        continue  # unreachable at the moment: the next process tells
                    self.ledger.set_state(number, "done" if written else None)
                    if written:
                        self._record(item, edit)
                    elif outcome is not None and outcome.status == "quarantined":
                        self._record_refusal(item.work, "unwritable", outcome.reason or "")
                self.ledger.release([item.work.key for item in planned])
        yield from last.values()

    def abandon(self) -> None:
        """Release the photos of edits that were never written."""
        if self._planned and not self.read_only:
            self.ledger.release([item.work.key for item in self._planned])
        self._planned = []

    def _targets(self, work: Work, prior: Change | None) -> list[_Target]:
        """Return the files to edit: that of `prior` or the usual one, and the others that were written before."""
        found: dict[bytes, _Target] = {}
        if prior is None:
            usual = target_of(work.photo, self.options)
            found[self._key_of(work, usual)] = _Target(usual, self.options)
        for change in [prior, *self.ledger.by_file(work.key)]:
            if change is None or change.target in found:
                continue
            # A photo keeps the path it was given by, by which its edits are told from those of sidecars.
            target = work.photo if change.inside else self.root / os.fsdecode(change.target)
            if change is prior or os.path.lexists(target):  # a sidecar that somebody deleted is not written again
                options = change.options(work.model_key)
                found[change.target] = _Target(target, options, is_other=bool(found))
        return sorted(found.values(), key=lambda target: target.path == work.photo)

    def _plan(
        self, work: Work, result: ImageTags, targets: Sequence[_Target], verdicts: Sequence[Verdict]
    ) -> _Planned:
        sha256 = work.snapshot.sha256 if work.snapshot is not None else None
        tags = judged(result.tags, self.ledger.verdicts(work.key, sha256))
        while True:
            edits, rejected, left = [], dict[str, None](), tags
            for target in targets:
                edit, left, by_hand = self._plan_file(work, left, target, verdicts)
                edits += [edit] if edit is not None and edit.changes else []
                rejected |= dict.fromkeys(by_hand)
            if left == tags or len(targets) == 1:
                too_long = too_long_for_iptc(left) if any(one.options.iptc for one in targets) else ()
                return _Planned(work, tuple(edits), left, result.model, tuple(rejected), too_long)
            tags = left  # what was removed by hand from one file goes from those before it, too

    def _plan_file(
        self, work: Work, tags: tuple[Tag, ...], target: _Target, verdicts: Sequence[Verdict]
    ) -> tuple[Edit | None, tuple[Tag, ...], tuple[str, ...]]:
        """Plan the edit of one file; also returns the tags that are left, and the keywords removed by hand."""
        newest = self.ledger.newest(self._key_of(work, source_of(work.photo, target.path)))
        ours = newest.ours if newest is not None else Entries()
        edit = self._edit(work, tags, ours, target)
        content = digest(edit.before)
        if newest is None or content != newest.after_hash:
            copied = self.ledger.row(WROTE, content)
            if copied is not None:  # a copy, or an old backup, of a file that we wrote
                newest = change_of(copied)
                ours = newest.ours
                edit = self._edit(work, tags, ours, target)
        again = edit.gone.common(entries_for(confirmed_tags(verdicts), iptc=True, gps=True))
        if again:  # what is confirmed now comes back, though it was removed by hand before
            ours = ours.without(again)
            edit = self._edit(work, tags, ours, target)
        before = tags_from_json(newest.tags) if newest is not None else ()
        rejected = rejected_by_hand(edit.gone.keywords, [*before, *tags])
        if rejected:
            by_hand = [Verdict(name.casefold(), "rejected", None) for name in rejected]
            sha256 = work.snapshot.sha256 if work.snapshot is not None else None
            for verdict in by_hand if not self.read_only else ():
                self.ledger.judge(work.key, sha256, verdict)
            tags = judged(tags, by_hand)
            edit = self._edit(work, tags, ours, target)
        renamed = counterparts(edit.gone, before, tags).without(ours) if edit.gone else Entries()
        if renamed:  # a country that was removed by hand does not come back in another language
            ours = ours.plus(renamed)
            edit = self._edit(work, tags, ours, target)
        if target.is_other and newest is not None and newest.ours and edit.is_anew:
            return None, tags, rejected  # a backup, or another photo, that this run is not about
        return edit, tags, rejected

    def _edit(self, work: Work, tags: tuple[Tag, ...], ours: Entries, target: _Target) -> Edit:
        path, options, inside = target.path, target.options, self.ledger.newest(work.key)
        wanted = entries_for(tags, iptc=options.iptc, gps=options.gps)
        embedded = inside.ours if inside is not None else None
        edit = plan(work.photo, wanted, ours, options=options, tool=self.tool, target=path, embedded=embedded)
        if path == work.photo and work.snapshot is not None and digest(edit.before) != work.snapshot.sha256:
            raise ChangedMeanwhileError(str(path))
        return edit

    def _accept(self, planned: _Planned) -> Iterator[Outcome]:
        if self.read_only:
            yield planned.outcome("planned" if planned.edits else "unchanged")
            return
        if not planned.edits:
            with self.ledger.transaction():
                self._record(planned)
                self.ledger.release([planned.work.key])
            yield planned.outcome("unchanged")
            return
        self._planned.append(planned)
        edits = [edit for item in self._planned for edit in item.edits]
        if len(edits) >= _EDITS or sum(len(edit.after) + len(edit.before or b"") for edit in edits) > _BYTES:
            yield from self.flush()

    def _write(self, item: _Planned, edit: Edit) -> Outcome:
        work = item.work
        if work.snapshot is None or not work.snapshot.still_true(work.photo):
            return Outcome(work.photo, "changed")
        inside = edit.target == work.photo
        # A photo keeps its timestamp, by which it is sorted; a sidecar gets a new one, so that programs notice it.
        keep = edit.status.st_mtime_ns if edit.status is not None and inside else None
        # The plan began from the content of the snapshot. A network drive may show an old status for some seconds,
        # so a photo on one is read once more.
        expected = work.snapshot if inside and not self._remote else digest(edit.before)
        try:
            put_file(edit.target, edit.after, expected=expected, mtime_ns=keep)
        except ChangedMeanwhileError:
            return Outcome(work.photo, "changed")
        except StorageError as error:
            if is_full(error):
                raise
            return Outcome(work.photo, "quarantined", item.tags, str(error))
        except OSError as error:
            return Outcome(work.photo, "quarantined", item.tags, (error.strerror or str(error)).lower())
        return item.outcome("written")

    def _change(self, item: _Planned, edit: Edit) -> Change:
        snapshot = item.work.snapshot
        inside = edit.target == item.work.photo
        return Change(
            run=self.run or 0,
            photo=item.work.key,
            target=self._key_of(item.work, edit.target),
            before_hash=digest(edit.before),
            before_mode=edit.status.st_mode if edit.status is not None else None,
            before_mtime_ns=edit.status.st_mtime_ns if edit.status is not None else None,
            after_hash=digest(edit.after) or b"",
            undo=None if edit.before is None else make_delta(edit.before, edit.after),
            ours=edit.ours,
            tags=tags_to_json(item.tags),
            model=item.model,
            photo_size=len(edit.after) if inside else snapshot.size if snapshot is not None else None,
            photo_sha256=digest(edit.after) if inside else snapshot.sha256 if snapshot is not None else None,
        )

    def _key_of(self, work: Work, target: Path) -> bytes:
        """Return the target's path relative to the root: beside the photo, unless its sidecar was moved away."""
        beside = Path(os.fsdecode(work.key)).with_name(target.name)
        known = target.parent in {work.photo.parent, (self.root / beside).parent}
        return os.fsencode(beside if known else target.relative_to(self.root))

    def _record(self, item: _Planned, edit: Edit | None = None) -> None:
        work, snapshot = item.work, item.work.snapshot
        if snapshot is None:
            return
        row = PhotoRow(work.key, snapshot.size, snapshot.mtime_ns, snapshot.sha256 or b"", work.model_key)
        if edit is None:
            row = replace(row, tags=tags_to_json(item.tags))
        elif edit.target == work.photo:
            row = replace(row, size=len(edit.after), sha256=digest(edit.after) or b"")
        self.ledger.record(row)

    def _record_refusal(self, work: Work, state: PhotoState, reason: str) -> None:
        seen = work.snapshot
        size, mtime_ns, sha256 = -1, -1, b""
        if seen is not None and seen.sha256 is not None:
            size, mtime_ns, sha256 = seen.size, seen.mtime_ns, seen.sha256
        row = PhotoRow(work.key, size, mtime_ns, sha256, work.model_key, state, reason)
        self.ledger.record(row)

    def _refuse(self, work: Work, state: PhotoState, reason: str) -> Outcome:
        if not self.read_only:
            with self.ledger.transaction():
                self._record_refusal(work, state, reason)
                self.ledger.release([work.key])
        return Outcome(work.photo, "quarantined", reason=reason)

    def _refuse_or_raise(self, work: Work, error: StorageError | OSError) -> Iterator[Outcome]:
        if isinstance(error, StorageError) and is_full(error):
            self.ledger.release([work.key])
            raise error
        yield self._refuse(work, "unwritable", str(error))

    def _put_off(self, work: Work) -> Outcome:
        if not self.read_only:
            self.ledger.release([work.key])
        return Outcome(work.photo, "changed")


def _reason(error: MetadataError, photo: Path) -> str:
    """Return why a photo's tags cannot be written; names the sidecar if that is at fault."""
    return error.reason if error.path == photo else f"{error.path.name}: {error.reason}"
