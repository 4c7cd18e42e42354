"""The one folder walk: what is found, what is skipped, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from landmarks.errors import InputError
from landmarks.files.walker import IGNORE_FILE, Skipped, WalkRules, count_skipped, walk
from landmarks.imaging.formats import FORMATS, PHOTO_SUFFIXES, format_of
from landmarks.imaging.photos import find_photos


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def walked(root: Path, *exclude: str) -> tuple[list[str], dict[str, str]]:
    found, skipped = [], {}
    for one in walk([root], WalkRules(PHOTO_SUFFIXES, exclude)):
        if isinstance(one, Skipped):
            skipped[one.path.relative_to(root).as_posix()] = one.reason
        else:
            found.append(one.relative_to(root).as_posix())
    return found, skipped


def test_each_reason_is_given(tmp_path: Path) -> None:
    names = ("b.jpg", "a/c.HIF", ".x.jpg", ".trash/d.jpg", "@eaDir/e.jpg", "$recycle.bin/f.jpg", "g.xmp", "h.avif")
    found, skipped = walked(make(tmp_path, *names))
    assert found == ["b.jpg", "h.avif", "a/c.HIF"]
    assert skipped == {
        ".x.jpg": "hidden",
        ".trash": "hidden",
        "@eaDir": "system",
        "$recycle.bin": "system",
        "g.xmp": "unsupported",
    }


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.png", ["a.jpg", "sub/raw/c.jpg"]),
        ("RAW", ["a.jpg", "b.png"]),
        ("raw/", ["a.jpg", "b.png"]),
        ("a.jpg/", ["a.jpg", "b.png", "sub/raw/c.jpg"]),
        ("sub/raw", ["a.jpg", "b.png"]),
        ("sub/*", ["a.jpg", "b.png"]),
        ("/a.jpg", ["b.png", "sub/raw/c.jpg"]),
        ("**/c.jpg", ["a.jpg", "b.png"]),
        ("raw/c.jpg", ["a.jpg", "b.png", "sub/raw/c.jpg"]),
    ],
)
def test_patterns_exclude(tmp_path: Path, pattern: str, left: list[str]) -> None:
    found, skipped = walked(make(tmp_path, "a.jpg", "b.png", "sub/raw/c.jpg"), pattern)
    assert found == left
    assert len(left) == 3 or set(skipped.values()) == {"excluded"}


def test_a_skipped_file_is_called_the_same_alone_and_counted(tmp_path: Path) -> None:
    make(tmp_path, ".x.jpg", "@eaDir/e.jpg", "g.txt", "out.jpg", "a.mov", "a.xmp", "sub/b.jpg")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    rules = WalkRules(PHOTO_SUFFIXES, ("out.jpg",), {".mov": "video", ".xmp": "companion"})
    skipped = [one for one in walk([tmp_path], rules) if isinstance(one, Skipped)]
    assert len({one.reason for one in skipped}) == 7
    for one in skipped:
        assert count_skipped({one.reason: 1}) == f"1 {one.message}"


def test_a_pattern_may_name_the_path_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "album/private/a.jpg", "album/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert find_photos([Path("album")], exclude=["album/private"]) == [Path("album/b.jpg")]


def test_a_file_that_is_named_is_taken_unless_a_pattern_excludes_it(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "a_edited.jpg")
    named = [tmp_path / "notes.txt", tmp_path / "a_edited.jpg"]
    assert find_photos(named) == named
    assert find_photos(named, exclude=["*_edited.*"]) == named[:1]


def test_what_a_shell_names_besides_photos_is_skipped_with_its_reason(tmp_path: Path) -> None:
    names = ("a.jpg", "a.jpg.xmp", "a.AAE", "b.MP4", "c.mov", "d.json", "Thumbs.db", "@eaDir/a.jpg", "sub/e.jpg")
    make(tmp_path, *names)
    skipped: list[Skipped] = []
    found = find_photos(sorted(tmp_path.iterdir()), on_skip=skipped.append)
    assert [photo.name for photo in found] == ["a.jpg", "e.jpg"]
    reasons = {one.path.name: one.reason for one in skipped}
    beside = {"a.jpg.xmp": "companion", "a.AAE": "companion", "d.json": "companion"}
    assert reasons == {**beside, "b.MP4": "video", "c.mov": "video", "Thumbs.db": "system", "@eaDir": "system"}
    skipped.clear()
    assert find_photos([tmp_path], on_skip=skipped.append) == found
    assert {one.path.name: one.reason for one in skipped} == reasons
    assert find_photos([tmp_path / "@eaDir"]) == [tmp_path / "@eaDir" / "a.jpg"], (
        "the one thing that was asked for"
    )


def test_folders_of_photo_programs_are_left_to_them(tmp_path: Path) -> None:
    apple, previews = "Photos Library.photoslibrary", "Catalog Smart Previews.LRDATA"
    names = ("a.jpg", f"{apple}/originals/0/A.heic", f"{apple}/resources/0/A_1.jpeg", f"{previews}/0/x.dng")
    make(tmp_path / "all", *names)
    (tmp_path / "all" / "album").symlink_to(tmp_path / "all" / apple / "originals")
    found, skipped = walked(tmp_path / "all")
    assert found == ["a.jpg"]
    assert skipped == {apple: "program", previews: "program", "album": "program"}
    assert count_skipped({"program": 3}) == "3 folders of photo programs"
    assert find_photos([tmp_path / "all" / apple / "originals"]), "the one thing that was asked for: only read"
    assert WalkRules(PHOTO_SUFFIXES).skips_path(names[1]) == "program"


def test_an_ignore_file_holds_below_its_folder(tmp_path: Path) -> None:
    make(tmp_path, "trip/a.jpg", "trip/drafts/b.jpg", "trip/sub/c_raw.jpg", "d_raw.jpg")
    (tmp_path / "trip" / IGNORE_FILE).write_text("# ours\n\ndrafts/\n*_raw.jpg\n", encoding="utf-8")
    assert walked(tmp_path)[0] == ["d_raw.jpg", "trip/a.jpg"]


@pytest.mark.parametrize("relative", [False, True])
def test_an_ignore_file_holds_for_what_is_named_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    trip = make(tmp_path / "trip", "a.jpg", "b.jpg", "drafts/c.jpg", "drafts/sub/d.jpg", "sub/b.jpg", "sub/e.jpg")
    (trip / IGNORE_FILE).write_text("drafts/\n/b.jpg\nsub/e.*\n", encoding="utf-8")
    monkeypatch.chdir(trip / "sub")
    base = Path("..") if relative else trip
    for named in (base.glob("[!.]*"), base.rglob("*.jpg")):
        skipped: list[Skipped] = []
        found = find_photos(sorted(named), on_skip=skipped.append)
        assert [path.relative_to(base).as_posix() for path in found] == ["a.jpg", "sub/b.jpg"]
        assert {one.reason for one in skipped} == {"excluded"}
    assert find_photos([Path()]) == [Path("b.jpg")]
    assert find_photos([base / "drafts"]) == [base / "drafts" / "c.jpg", base / "drafts" / "sub" / "d.jpg"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "far.jpg")
    album = make(tmp_path / "album", "sub/near.jpg")
    (album / "a-link").symlink_to(album / "sub", target_is_directory=True)
    (album / "sub" / "loop").symlink_to(album, target_is_directory=True)
    (album / "z-link").symlink_to(outside, target_is_directory=True)
    found, skipped = walked(album)
    assert found == ["sub/near.jpg", "z-link/far.jpg"]
    assert skipped == {"a-link": "seen", "sub/loop": "seen"}
    assert find_photos([album, outside, album / "sub"]) == [album / "sub" / "near.jpg", outside / "far.jpg"]


def test_what_is_missing_is_told_or_raised(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    skipped: list[Skipped] = []
    assert find_photos([tmp_path / "gone", tmp_path], on_skip=skipped.append) == [tmp_path / "a.jpg"]
    assert skipped == [Skipped(tmp_path / "gone", "missing", "no such file or folder: check the spelling")]
    with pytest.raises(InputError, match="gone: no such file"):
        find_photos([tmp_path / "gone"])


@pytest.mark.parametrize("kind", ["link to nothing", "folder"])
def test_a_folder_whose_patterns_cannot_be_read_is_not_walked(tmp_path: Path, kind: str) -> None:
    # Like a file without permission, which an administrator could read.
    make(tmp_path, "a.jpg", "private/b.jpg", "private/sub/c.jpg")
    patterns = tmp_path / "private" / ".landmarksignore"
    if kind == "folder":
        patterns.mkdir()
    else:
        patterns.symlink_to("nowhere")
    skipped: list[Skipped] = []
    assert find_photos([tmp_path], on_skip=skipped.append) == [tmp_path / "a.jpg"]
    assert [(one.path, one.reason) for one in skipped] == [(tmp_path / "private", "unreadable")]
    assert skipped[0].message.startswith("its .landmarksignore cannot be read (")
    skipped.clear()
    assert find_photos([tmp_path / "private" / "sub"], on_skip=skipped.append) == []
    assert skipped[0].message.startswith("the .landmarksignore of a folder above cannot be read (")


def test_where_there_is_no_file_system_to_walk_the_same_is_taken() -> None:
    rules = WalkRules(PHOTO_SUFFIXES, ("drafts/", "*_raw.*"))
    assert rules.skips_path("trip/a.JPG") is None
    for name in (".x.jpg", ".trash/a.jpg", "@eaDir/a.jpg", "a.txt", "trip/drafts/a.jpg", "trip/a_raw.jpg"):
        assert rules.skips_path(name), name


def test_every_suffix_and_every_signature_belongs_to_one_format() -> None:
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert {".avif", ".hif", ".heics", ".jfif", ".mpo", ".dib", ".apng"} <= PHOTO_SUFFIXES
    for each in FORMATS:
        for signature in each.signatures:
            assert format_of(signature.replace(b"?", b"\0") + b"\0" * 50) is each
        for brand in each.brands:
            assert format_of(b"\0\0\0\x18ftyp" + brand + b"\0" * 12) is each
    assert format_of(b"WEBP" + b"\0" * 60) is None
    assert format_of(b"") is None
