"""Photos and sidecars that are renamed, moved, swapped, copied or deleted between a write and what follows it."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from commands import landmarks
from exiftool_process import needs_exiftool
from PIL import Image

from landmarks.errors import InputError
from landmarks.geo.gazetteer import Place
from landmarks.library.due import Rest
from landmarks.library.library import LEDGER, Library
from landmarks.library.undo import Undone
from landmarks.metadata.entries import Entries
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.tags import ImageTags, Tag

SEEDS = 12
"""Seeds of random moves; benchmarks/library.py goes on with further ones."""

TOWER = Tag(
    "Eiffel Tower",
    "landmark",
    0.9,
    Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243"),
    "eiffel_tower",
)
ROME = Tag(
    "Colosseum",
    "landmark",
    0.9,
    Place("colosseum", "Colosseum", "Rome", "Italy", "IT", "ruin", 41.8902, 12.4922, "Q10285"),
    "colosseum",
)


def photo(path: Path, seed: int, **options: object) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


def users_sidecar(photo: Path, word: str) -> Path:
    packet = XmpPacket()
    packet.add(Entries(keywords=(word,)))
    path = photo.with_name(photo.name + ".xmp")
    path.write_bytes(packet.to_bytes())
    return path


def tagger(photos: Iterable[Path]) -> Iterator[ImageTags]:
    for path in photos:
        yield ImageTags(path, (TOWER if path.read_bytes()[-20] % 2 else ROME,), (), "m")


def write(root: Path, **options: object) -> list[str]:
    with Library(root, options=WriteOptions(**options)) as library:  # type: ignore[arg-type]
        return [outcome.status for outcome in library.tag([root], tagger, model="m")]


def undo(root: Path, **how: object) -> list[Undone]:
    with Library(root) as library:
        return list(library.undo(**how))  # type: ignore[arg-type]


def in_place(root: Path) -> int:
    with Library(root) as library:
        return sum(row.standing for row in library.runs())


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and LEDGER.parts[0] not in path.parts)
    return {os.fspath(path.relative_to(root)): path.read_bytes() for path in found}


def rename(root: Path) -> None:
    (root / "a.jpg").rename(root / "z.jpg")
    (root / "a.jpg.xmp").rename(root / "z.jpg.xmp")


def move(root: Path) -> None:
    (root / "sub").mkdir()
    for name in ("a.jpg", "a.jpg.xmp"):
        (root / name).rename(root / "sub" / name)


def move_photo_alone(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "a.jpg").rename(root / "sub" / "a.jpg")


def move_sidecar_alone(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "a.jpg.xmp").rename(root / "sub" / "somewhere.xmp")


def to_stem(root: Path) -> None:
    (root / "a.jpg").rename(root / "b2.jpg")
    (root / "a.jpg.xmp").rename(root / "b2.xmp")


def swap(root: Path) -> None:
    for end in ("jpg", "jpg.xmp"):
        (root / f"a.{end}").rename(root / f"t.{end}")
        (root / f"b.{end}").rename(root / f"a.{end}")
        (root / f"t.{end}").rename(root / f"b.{end}")


def onto_another(root: Path) -> None:
    """b is deleted, and a takes its name."""
    for end in ("jpg", "jpg.xmp"):
        (root / f"a.{end}").replace(root / f"b.{end}")


@pytest.mark.parametrize("own", [False, True], ids=["new sidecar", "user's sidecar"])
@pytest.mark.parametrize("change", [rename, move, move_photo_alone, move_sidecar_alone, to_stem, swap])
def test_undo_finds_what_was_moved(tmp_path: Path, change: Callable[[Path], None], own: bool) -> None:
    for name, seed in (("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 3)):
        made = photo(tmp_path / name, seed)
        if own:
            users_sidecar(made, f"of {name}")
    before = sorted(files(tmp_path).values())
    assert write(tmp_path) == ["written"] * 3
    change(tmp_path)
    assert [one.status for one in undo(tmp_path)] == ["restored"] * 3
    assert sorted(files(tmp_path).values()) == before
    assert in_place(tmp_path) == 0


def test_one_takes_the_place_of_a_deleted_one(tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg", 1)
    users_sidecar(first, "mine")
    photo(tmp_path / "b.jpg", 2)
    before = sorted(content for name, content in files(tmp_path).items() if name.startswith("a."))
    write(tmp_path)
    onto_another(tmp_path)
    told = {one.status: one for one in undo(tmp_path)}
    assert set(told) == {"restored", "kept"}
    assert told["restored"].target == tmp_path / "b.jpg.xmp"
    assert "neither it nor its photo is found" in (told["kept"].reason or "")
    assert sorted(files(tmp_path).values()) == before


def test_what_was_moved_away_is_said_and_undone_when_it_is_back(tmp_path: Path) -> None:
    root, away = tmp_path / "photos", tmp_path / "away"
    photo(root / "a.jpg", 1)
    before = files(root)
    write(root)
    away.mkdir()
    for name in ("a.jpg", "a.jpg.xmp"):
        (root / name).rename(away / name)
    (told,) = undo(root)
    assert (told.status, in_place(root)) == ("kept", 1)
    assert (told.reason or "").endswith("bring them back to undo this")
    for name in ("a.jpg", "a.jpg.xmp"):
        (away / name).rename(root / name)
    assert [one.status for one in undo(root)] == ["restored"]
    assert files(root) == before


def test_a_deleted_sidecar_is_gone_until_its_photo_is_due_again(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    write(tmp_path)
    (tmp_path / "a.jpg.xmp").unlink()
    assert write(tmp_path) == [], "the user wants none"
    assert [one.status for one in undo(tmp_path)] == ["gone"]
    assert in_place(tmp_path) == 0
    assert write(tmp_path) == ["written"]


def test_the_old_path_may_be_named(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    photo(tmp_path / "b.jpg", 2)
    write(tmp_path)
    rename(tmp_path)
    assert [one.target for one in undo(tmp_path, below=tmp_path / "a.jpg")] == [tmp_path / "z.jpg.xmp"]
    assert in_place(tmp_path) == 1


@needs_exiftool
@pytest.mark.parametrize("swapped", [False, True])
def test_photos_that_were_written_themselves(tmp_path: Path, swapped: bool) -> None:
    first, second = photo(tmp_path / "a.jpg", 1), photo(tmp_path / "b.jpg", 2)
    before = sorted(files(tmp_path).values())
    assert write(tmp_path, in_place=True) == ["written"] * 2
    first.rename(tmp_path / "t.jpg")
    if swapped:
        second.rename(first)
        (tmp_path / "t.jpg").rename(second)
    assert [one.status for one in undo(tmp_path)] == ["restored"] * 2
    assert sorted(files(tmp_path).values()) == before


def test_a_verdict_follows_its_photo(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    before = sorted(files(tmp_path).values())
    write(tmp_path)
    rename(tmp_path)
    name = (TOWER if (tmp_path / "z.jpg").read_bytes()[-20] % 2 else ROME).name
    with Library(tmp_path) as library:
        library.reject(tmp_path / "z.jpg", name)
        assert name.encode() not in (tmp_path / "z.jpg.xmp").read_bytes()
        library.confirm(tmp_path / "z.jpg", name)
        assert name.encode() in (tmp_path / "z.jpg.xmp").read_bytes()
        with pytest.raises(InputError):
            library.confirm(tmp_path / "a.jpg", name)
    undo(tmp_path)
    assert sorted(files(tmp_path).values()) == before


@pytest.mark.parametrize("change", [rename, move])
def test_a_verdict_may_name_the_old_path(tmp_path: Path, change: Callable[[Path], None]) -> None:
    old = photo(tmp_path / "a.jpg", 1)
    name = (TOWER if old.read_bytes()[-20] % 2 else ROME).name
    before = sorted(files(tmp_path).values())
    write(tmp_path)
    change(tmp_path)
    (new,) = tmp_path.rglob("*.jpg")
    done = landmarks("reject", old, name)
    assert (done.status, done.err) == (0, f"{old}: moved to {new}\n")
    (sidecar,) = tmp_path.rglob("*.xmp")
    assert name.encode() not in sidecar.read_bytes()
    with Library(tmp_path) as library:
        assert [(found, one.verdict) for found, one in library.verdicts()] == [(new, "rejected")]
        assert landmarks("confirm", new, name).status == 0
    assert name.encode() in sidecar.read_bytes()
    undo(tmp_path)
    assert sorted(files(tmp_path).values()) == before


def test_a_verdict_on_what_is_gone_is_refused_in_a_sentence(tmp_path: Path) -> None:
    gone = photo(tmp_path / "a.jpg", 1)
    name = (TOWER if gone.read_bytes()[-20] % 2 else ROME).name
    write(tmp_path)
    gone.unlink()
    for command in ("reject", "confirm"):
        done = landmarks(command, gone, name)
        assert done.status == 2
        assert done.complaint == f"{gone}: it was moved or deleted, and is not found in {tmp_path}"
        other = tmp_path / "typo.jpg"
        assert "no such file, and nothing was written for it" in landmarks(command, other, name).complaint
    with Library(tmp_path) as library:
        assert list(library.verdicts()) == []


def test_a_moved_photo_is_not_tagged_anew(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    write(tmp_path)
    rename(tmp_path)
    assert write(tmp_path) == []
    assert in_place(tmp_path) == 1


def test_an_edited_photo_is_still_itself(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    photo(tmp_path / "b.jpg", 2)
    write(tmp_path)
    photo(tmp_path / "a.jpg", 9)
    packet = XmpPacket((tmp_path / "a.jpg.xmp").read_bytes())
    packet.add(Entries(keywords=("Oma",)))
    (tmp_path / "a.jpg.xmp").write_bytes(packet.to_bytes())
    assert sorted(one.status for one in undo(tmp_path)) == ["cleaned", "restored"]
    assert XmpPacket((tmp_path / "a.jpg.xmp").read_bytes()).entries().keywords == ("Oma",)


def test_a_copy_of_the_original_does_not_take_the_sidecar_of_the_edited_photo(tmp_path: Path) -> None:
    edited, copy = photo(tmp_path / "a.jpg", 1), tmp_path / "a_orig.jpg"
    name = (TOWER if edited.read_bytes()[-20] % 2 else ROME).name
    write(tmp_path)
    shutil.copy2(edited, copy)
    edited.write_bytes(edited.read_bytes() + b"edited")
    assert landmarks("reject", edited, name).status == 0
    assert name.encode() not in (tmp_path / "a.jpg.xmp").read_bytes()
    with Library(tmp_path) as library:
        outcomes = {one.path: one.status for one in library.tag([tmp_path], tagger, model="m")}
    assert outcomes[copy] == "written"
    assert copy.with_name("a_orig.jpg.xmp").exists()
    told = undo(tmp_path)
    assert {one.status for one in told} == {"restored"}
    assert {path.name for path in tmp_path.glob("*.*")} - {LEDGER.parts[0]} == {"a.jpg", "a_orig.jpg"}


@needs_exiftool
def test_a_copy_of_a_photo_that_was_written_and_then_edited(tmp_path: Path) -> None:
    edited = photo(tmp_path / "a.jpg", 1)
    write(tmp_path, in_place=True)
    written = edited.read_bytes()
    (tmp_path / "a_orig.jpg").write_bytes(written)
    edited.write_bytes(written + b"edited")
    write(tmp_path, in_place=True)
    assert {one.target for one in undo(tmp_path, below=edited)} == {edited}
    assert b"Places" not in edited.read_bytes()
    assert b"Places" in (tmp_path / "a_orig.jpg").read_bytes()


@needs_exiftool
def test_a_photo_that_was_moved_and_another_one_under_its_name(tmp_path: Path) -> None:
    for in_place in (False, True):
        root = tmp_path / str(in_place)
        before = photo(root / "a.jpg", 1).read_bytes()
        write(root, in_place=in_place)
        rename(root) if not in_place else (root / "a.jpg").rename(root / "z.jpg")
        other = photo(root / "a.jpg", 2).read_bytes()
        assert write(root, in_place=in_place) == ["written"]
        undo(root)
        assert files(root) == {"a.jpg": other, "z.jpg": before}


def test_verdicts_do_not_pass_to_another_photo_under_the_name(tmp_path: Path) -> None:
    old = photo(tmp_path / "a.jpg", 1)
    kept = old.read_bytes()
    name = (TOWER if kept[-20] % 2 else ROME).name
    write(tmp_path)
    with Library(tmp_path) as library:
        library.confirm(old, name)
        old.unlink()
        old.with_name("a.jpg.xmp").unlink()
        photo(old, 2)
        assert list(library.verdicts()) == []
        (outcome,) = library.tag(
            [tmp_path], lambda photos: (ImageTags(one, (), (), "m") for one in photos), model="m"
        )
        assert (outcome.status, outcome.tags) == ("unchanged", ())
        old.write_bytes(kept)
        (outcome,) = library.tag(
            [tmp_path], lambda photos: (ImageTags(one, (), (), "m") for one in photos), model="m"
        )
        assert [tag.name for tag in outcome.tags] == [name], "its own photo is back"


def test_a_rejection_stays_with_a_photo_that_is_edited(tmp_path: Path) -> None:
    edited = photo(tmp_path / "a.jpg", 1)
    name = (TOWER if edited.read_bytes()[-20] % 2 else ROME).name
    write(tmp_path)
    with Library(tmp_path) as library:
        library.reject(edited, name)
        users_sidecar(edited, "Mine")
        edited.write_bytes(edited.read_bytes() + b"edited")
        assert [one.verdict for _, one in library.verdicts()] == ["rejected"]


def test_a_photo_that_was_moved_without_its_sidecar_gets_a_new_one(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    before = list(files(tmp_path).values())
    write(tmp_path)
    (tmp_path / "a.jpg").rename(tmp_path / "z.jpg")
    assert write(tmp_path) == ["written"]
    assert (tmp_path / "z.jpg.xmp").exists()
    assert write(tmp_path) == []
    assert [one.status for one in undo(tmp_path)] == ["restored"] * 2
    assert list(files(tmp_path).values()) == before


def test_so_does_one_for_which_another_program_wrote_a_sidecar_meanwhile(tmp_path: Path) -> None:
    made = photo(tmp_path / "a.jpg", 1)
    write(tmp_path)
    (tmp_path / "a.jpg.xmp").unlink()
    sidecar = users_sidecar(made.rename(tmp_path / "z.jpg"), "Paris")
    before = sidecar.read_bytes()
    assert write(tmp_path) == ["written"]
    assert sidecar.read_bytes() != before
    undo(tmp_path)
    assert sidecar.read_bytes() == before


def test_a_verdict_finds_the_sidecar_that_was_moved_away_alone(tmp_path: Path) -> None:
    made = photo(tmp_path / "a.jpg", 1)
    name = (TOWER if made.read_bytes()[-20] % 2 else ROME).name
    before = made.read_bytes()
    write(tmp_path)
    move_sidecar_alone(tmp_path)
    assert [one.status for one in undo(tmp_path, dry_run=True)] == ["planned"]
    with Library(tmp_path) as library:
        assert [one.status for one in library.reject(made, name)] == ["written"]
    assert name.encode() not in (tmp_path / "sub" / "somewhere.xmp").read_bytes()
    assert {one.status for one in undo(tmp_path)} == {"restored"}
    assert files(tmp_path) == {"a.jpg": before}


class TestWatch:
    def test_a_file_is_at_rest_when_two_looks_find_it_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        path, rest = photo(tmp_path / "a.jpg", 1), Rest(2.0)
        os.utime(path, (2e10, 2e10))  # a camera whose clock is in the future
        assert not rest.reached(path)
        now += 1
        assert not rest.reached(path)
        now += 1
        assert rest.reached(path)
        path.write_bytes(path.read_bytes() + b"more")
        now += 5
        assert not rest.reached(path), "somebody is still writing it"
        rest.forget_the_rest()
        rest.forget_the_rest()
        now += 5
        assert not rest.reached(path)
        assert not rest.reached(tmp_path / "gone.jpg")

    def test_what_is_skipped_is_told_once(self, tmp_path: Path) -> None:
        os.utime(photo(tmp_path / "a.jpg", 1), (2e10, 2e10))
        (tmp_path / "clip.mov").touch()
        stop, told, looks = Event(), [], 0

        def tag(due: Iterable[Path]) -> Iterator[ImageTags]:
            nonlocal looks
            looks += 1
            if looks == 5:
                stop.set()
            return tagger(due)

        with Library(tmp_path, on_left_out=told.append) as library:
            outcomes = list(library.watch([tmp_path], tag, model="m", stop=stop, interval=0.01))
        assert [outcome.status for outcome in outcomes] == ["written"]
        assert sorted(one.reason for one in told) == ["companion", "hidden", "video"]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_moved_no_byte_of_the_users_is_lost(tmp_path: Path, seed: int) -> None:
    """Photos and sidecars are moved, renamed, swapped, copied and deleted at random between writes and undoes."""
    chance = random.Random(seed)
    for number in range(6):
        made = photo(tmp_path / str(number % 2) / f"p{number}.jpg", number)
        if number % 3 == 0:
            users_sidecar(made, f"word {number}")
    kept = {made.read_bytes() for made in tmp_path.rglob("*.jpg")}
    words = {f"word {number}" for number in (0, 3)}
    for _ in range(6):
        write(tmp_path)
        for _ in range(chance.randrange(1, 4)):
            _disturb(tmp_path, chance, kept, words)
        if chance.random() < 0.6:
            before = files(tmp_path)
            told = undo(tmp_path)
            for one in told:
                name = os.fspath(one.target.relative_to(tmp_path))
                if one.status == "restored":
                    assert before.get(name) != files(tmp_path).get(name), "a false 'restored'"
            if all(one.status != "kept" for one in told):
                assert in_place(tmp_path) == 0
        assert {made.read_bytes() for made in tmp_path.rglob("*.jpg")} == kept
        left = b"".join(path.read_bytes() for path in tmp_path.rglob("*.xmp"))
        assert all(word.encode() in left for word in words)


def _disturb(root: Path, chance: random.Random, kept: set[bytes], words: set[str]) -> None:
    photos = sorted(root.rglob("*.jpg"))
    if len(photos) < 2:
        return
    one, other = chance.sample(photos, 2)
    pair = [(one, other), (one.with_name(one.name + ".xmp"), other.with_name(other.name + ".xmp"))]
    kind = chance.choice(["rename", "move", "swap", "copy", "delete"])
    place = root / str(chance.randrange(3)) / f"n{chance.randrange(10_000)}.jpg"
    place.parent.mkdir(exist_ok=True)
    if kind == "swap":
        for left, right in pair:
            spare = root / "spare"
            for source, target in ((left, spare), (right, left), (spare, right)):
                if source.exists():
                    source.rename(target)
        return
    if kind == "delete":
        sidecar = pair[1][0]
        packet = XmpPacket(sidecar.read_bytes()) if sidecar.exists() else XmpPacket()
        words.difference_update(packet.entries().keywords)
        sidecar.unlink(missing_ok=True)
        content = one.read_bytes()
        one.unlink()
        if all(made.read_bytes() != content for made in root.rglob("*.jpg")):
            kept.discard(content)
        left_over = b"".join(path.read_bytes() for path in root.rglob("*.xmp"))
        words.update(word for word in ("word 0", "word 3") if word.encode() in left_over)
        return
    act = shutil.copy2 if kind == "copy" else Path.rename
    for source, _ in pair:
        if source.exists():
            act(source, place if source == one else place.with_name(place.name + ".xmp"))
