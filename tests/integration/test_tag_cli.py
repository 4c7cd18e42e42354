"""`landmarks tag`, `undo`, `reject`, `confirm` and `models`, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import CALL, landmarks, start
from exiftool_process import exiftool_says, needs_exiftool
from tiny_model import COLOURS, make_model, save_colour

from landmarks.cli.declare import Verbosity
from landmarks.cli.display import Display
from landmarks.cli.summary import Summary
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.decoding import load_rgb
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket
from landmarks.model.folder import bundled_models
from landmarks.tagging.tagger import Finding
from landmarks.tagging.tags import ImageTags
from landmarks.tagging.writers import make_writer

TOWER, HENGE, GREY = (COLOURS[name] for name in ("07.Eiffel_Tower", "31.Stonehenge", "background"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tower, stones, something grey, and a file that is no picture."""
    folder = tmp_path / "photos"
    save_colour(folder / "a tower.jpg", TOWER)
    save_colour(folder / "day" / "stones.png", HENGE)
    save_colour(folder / "grey.jpg", GREY)
    (folder / "note.jpg").write_text("no picture")
    return folder


def rows_of(text: str) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in text.splitlines()]
    return {Path(row["path"]).name: row for row in rows}


def keywords(sidecar: Path) -> tuple[str, ...]:
    return XmpPacket(sidecar.read_bytes()).entries().keywords


def test_jsonl_holds_what_is_promised(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model, "--jsonl", "--top", 2)
    assert done.status == 2
    rows = rows_of(done.out)
    assert set(rows["a tower.jpg"]) == {"path", "tags", "candidates", "model"}
    (tag,) = rows["a tower.jpg"]["tags"]
    assert set(tag) == {"name", "level", "probability", "place"}
    assert (tag["name"], tag["level"]) == ("Eiffel Tower", "landmark")
    assert (tag["place"]["city"], tag["place"]["country_code"]) == ("Paris", "FR")
    candidates = rows["a tower.jpg"]["candidates"]
    assert len(candidates) == 2
    assert set(candidates[0]) == {"class_name", "name", "probability"}
    assert candidates[0]["class_name"] == "07.Eiffel_Tower"
    assert rows["grey.jpg"]["tags"] == []
    assert set(rows["note.jpg"]) == {"path", "error"}


def test_the_table_has_the_answers_and_standard_error_the_rest(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model)
    assert done.status == 2
    assert done.out.splitlines() == [
        f"{photos / 'a tower.jpg'}: 100.0%  Eiffel Tower (Paris, France)",
        f"{photos / 'grey.jpg'}: -",
        f"{photos / 'day' / 'stones.png'}: 100.0%  Stonehenge (Wiltshire, United Kingdom)",
    ]
    assert str(photos / "note.jpg") in done.err


def test_a_run_without_bad_photos_ends_well_and_reports_no_more_than_its_closing_line(
    model: Path, photos: Path
) -> None:
    done = landmarks("tag", photos / "grey.jpg", photos / "day", "--model", model)
    assert done.status == 0
    assert done.err.startswith("2 photos: 1 tagged, 1 unknown; ")
    assert done.err.count("\n") == 1


def test_csv_has_a_row_a_photo(model: Path, photos: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(landmarks("tag", photos, "--model", model, "--csv").out)))
    assert [row["name"] for row in rows] == ["Eiffel Tower", "", "", "Stonehenge"]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert float(rows[0]["latitude"]) == pytest.approx(48.858, abs=0.01)


def test_geojson_is_a_feature_collection(model: Path, photos: Path) -> None:
    document = json.loads(landmarks("tag", photos, "--model", model, "--geojson").out)
    assert document["type"] == "FeatureCollection"
    tower, grey, note, _ = document["features"]
    assert tower["geometry"]["coordinates"] == [pytest.approx(2.294, abs=0.01), pytest.approx(48.858, abs=0.01)]
    assert (grey["geometry"], grey["properties"].get("name")) == (None, None)
    assert "error" in note["properties"]


def test_explain_says_why(model: Path, photos: Path) -> None:
    out = landmarks("tag", photos / "grey.jpg", photos / "a tower.jpg", "--model", model, "--explain").out
    assert "not passed); so no tag" in out
    assert "(needs 50.0%: " in out
    assert "next: " in out


@pytest.mark.parametrize("more", [(), ("--write",)])
def test_a_document_is_whole_without_any_photo(model: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    lost = ("tag", tmp_path / "lost.jpg", "--model", model, *more)
    done = landmarks(*lost, "--geojson")
    assert (done.status, json.loads(done.out)["features"]) == (2, [])
    assert landmarks(*lost, "--csv").out.startswith("path,name,")
    assert landmarks(*lost).out == ""


def test_a_document_is_whole_after_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(make_writer("geojson", Gazetteer.bundled()), Summary(Verbosity()), errors=False)

    def interrupted() -> None:
        with display.over(2):
            display.show(Finding(ImageTags(Path("a.jpg"), (), (), "colours"), None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(json.loads(capsys.readouterr().out)["features"]) == 1


def test_explain_in_jsonl_is_a_list_of_sentences(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos / "grey.jpg", "--model", model, "--explain", "--jsonl")
    assert any("no tag" in sentence for sentence in json.loads(done.out)["explanation"])


def test_explain_draws_where_the_reasons_lie(model: Path, photos: Path, tmp_path: Path) -> None:
    save_colour(photos / "night" / "stones.png", HENGE)
    before = sorted(photos.rglob("*"))
    out = tmp_path / "why"
    done = landmarks("tag", photos, "--model", model, "--explain", "--heatmap", out, "--jsonl")
    assert done.status == 2  # the file that is no picture
    assert sorted(path.name for path in out.iterdir()) == [
        "a tower.jpg-explained.png",
        "grey.jpg-explained.png",
        "stones.png-explained-2.png",
        "stones.png-explained.png",
    ]
    assert sorted(photos.rglob("*")) == before
    assert len(rows_of(done.out)) == 4
    assert landmarks("tag", photos, "--model", model, "--explain", "--heatmap", out).status == 2
    assert len(list(out.iterdir())) == 4, "another run replaces them"


def test_heat_maps_go_with_writing_too(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "why"
    landmarks("tag", photos, "--model", model, "--write", "--explain", "--heatmap", out)
    assert len(list(out.iterdir())) == 3
    assert (photos / "a tower.jpg.xmp").exists()


def test_heat_maps_never_lie_among_the_photos(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model, "--explain", "--heatmap", photos / "why")
    assert done.status == 2
    assert "would take its images for photos: choose a folder outside" in done.complaint
    assert not (photos / "why").exists()
    one = photos / "a tower.jpg"
    done = landmarks("tag", one, "--model", model, "--explain", "--heatmap", photos)
    assert (done.status, list(photos.glob("*-explained*"))) == (2, [])
    assert f"is inside {photos}" in done.complaint
    done = landmarks("tag", one, "--model", model, "--explain", "--heatmap", one)
    assert (done.status, done.complaint) == (2, f"--heatmap {one} is a file: name a folder")
    assert landmarks("tag", one, "--model", model, "--explain", "--heatmap", photos / "why").status == 0


def test_own_places_are_used(model: Path, photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("key,name\neiffel_tower,La dame de fer\n")
    assert "La dame de fer" in landmarks("tag", photos, "--model", model, "--own-places", own).out


def test_predict_says_names_as_tag_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_model(tmp_path / "model")
    (model / "places.csv").write_text("key,name\nstonehenge,=Steine\n")
    save_colour(tmp_path / "=1.png", HENGE)

    def said(command: str, form: str) -> str:
        return landmarks(command, "=1.png", "--model", model, form).out

    tagged, predicted = (json.loads(said(command, "--jsonl")) for command in ("tag", "predict"))
    assert predicted["candidates"] == tagged["candidates"]
    for command in ("tag", "predict"):
        first = next(csv.DictReader(io.StringIO(said(command, "--csv"))))
        assert (first["path"], first["name"]) == ("'=1.png", "'=Steine")


def test_a_model_that_was_not_calibrated_is_told(photos: Path, tmp_path: Path) -> None:
    plain = make_model(tmp_path / "plain")
    assert "not calibrated" in landmarks("tag", photos / "grey.jpg", "--model", plain).err


def test_a_name_that_is_no_text_is_still_json(model: Path, tmp_path: Path) -> None:
    photo = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    save_colour(photo, TOWER)
    done = start("tag", tmp_path, "--model", model, "--jsonl")
    assert json.loads(done.out)["path"] == str(photo)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--jsonl", "--csv"), "--jsonl and --csv cannot be given together"),
        (("--in-place",), "--in-place needs --write"),
        (("--for", "lightroom"), "--for needs --write: give it too"),
        (("--gps",), "--gps needs --write"),
        (("--sidecar", "stem"), "--sidecar needs --write"),
        (("--dry-run", "--csv"), "--dry-run shows changes, which --csv cannot"),
        (("--dry-run", "--geojson"), "--dry-run shows changes, which --geojson cannot"),
        (("--workers", "0"), "Invalid value for '--workers': 0 must be at least 1: see"),
        (("--top", "0"), "Invalid value for '--top' / '-k': 0 must be at least 1: see"),
        (("--write", ""), "the path is empty: give a path, or . for the current folder"),
        (("--watch",), "--watch needs --write"),
        (("--iptc",), "give --in-place too"),
        (("--heatmap", "why"), "--heatmap shows the reasons: give --explain too"),
        (("--min-confidence", "2"), "--min-confidence must be above 0 and below 1"),
        (("--sidecar", "both"), "Invalid value for '--sidecar'"),
        (("--model", "nowhere"), "nowhere: no such model"),
        (("--write", "--watch", "--dry-run"), "cannot be given together"),
    ],
)
def test_flags_that_do_not_fit_are_the_users_mistake(
    model: Path, photos: Path, flags: tuple[str, ...], complaint: str
) -> None:
    done = landmarks("tag", photos, "--model", model, *flags)
    assert done.status == 2
    assert complaint in done.complaint
    assert not (photos / ".landmarks").exists()


def test_options_about_writing_may_be_set_once_for_all_runs(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    Path("landmarks.toml").write_text('[tag]\ngps = true\nfor = "lightroom"\n')
    assert landmarks("tag", "grey.jpg", "--model", model).status == 0
    Path("landmarks.toml").write_text("workers = 0\n")
    assert landmarks("tag", "grey.jpg").complaint == "landmarks.toml: workers: 0 must be at least 1"


@pytest.mark.parametrize("how", [(), ("--write",), ("--dry-run",)])
def test_what_is_left_out_is_told_where_nothing_is_left(
    photos: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    monkeypatch.chdir(photos)
    Path("landmarks.toml").write_text('exclude = ["grey*"]')
    Path("v.mp4").touch()
    for name, why in (("grey.jpg", "1 excluded"), ("v.mp4", "1 video")):
        done = landmarks("tag", name, *how)
        assert done.status == 2
        assert done.complaint == f"{name}: no photo is left, skipped 1 ({why}): give photos or a folder of them"


@pytest.mark.parametrize("how", [(), ("--write",), ("--dry-run",)])
def test_the_closing_line_tells_folders_from_photos(model: Path, tmp_path: Path, how: tuple[str, ...]) -> None:
    save_colour(tmp_path / "a.jpg", TOWER)
    save_colour(tmp_path / "closed" / "b.jpg", TOWER)
    (tmp_path / "closed" / ".landmarksignore").mkdir()
    done = landmarks("tag", tmp_path, "--model", model, *how)
    assert done.status == 2
    assert done.err.count(f"{tmp_path / 'closed'}: its .landmarksignore cannot be read") == 1
    assert done.complaint.startswith("1 photo: 1 tagged; ")
    assert "1 unreadable folder" in done.complaint


def test_the_closing_line_tells_what_cannot_be_written(model: Path, tmp_path: Path) -> None:
    save_colour(tmp_path / "a.jpg", TOWER)
    (tmp_path / "a.jpg.xmp").write_bytes(b"<broken")
    done = landmarks("tag", tmp_path, "--model", model, "--write")
    assert (done.status, done.complaint.split("; ")[:2]) == (2, ["1 photo: 1 unwritable", "1 not written"])


def test_undo_counts_files(model: Path, tmp_path: Path) -> None:
    photo = save_colour(tmp_path / "a.jpg", TOWER)
    assert landmarks("tag", photo, "--model", model, "--write").status == 0
    for command in ("reject", "confirm"):
        assert landmarks(command, photo, "Eiffel Tower").status == 0
    for how, status in ((("--dry-run",), "planned"), ((), "restored")):
        done = landmarks("undo", tmp_path, *how)
        assert (done.out, done.complaint) == (f"{status}: {photo}.xmp\n", f"1 file: 1 {status}")


@pytest.mark.parametrize("write", [(), ("--write",)])
def test_a_path_that_is_not_there_is_named(model: Path, tmp_path: Path, write: tuple[str, ...]) -> None:
    done = landmarks("tag", tmp_path / "nowhere", "--model", model, *write)
    assert done.status == 2
    assert "nowhere: no such file or folder" in done.complaint
    remote = landmarks("tag", "s3://bucket/photos", "--model", model)
    assert (remote.status, "an address: give files of this machine" in remote.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_named(model: Path, tmp_path: Path) -> None:
    done = landmarks("tag", tmp_path, "--model", model)
    assert (done.status, done.out) == (2, "")
    assert "no photos in it" in done.complaint


def test_many_photos_go_through_several_processes(model: Path, tmp_path: Path) -> None:
    for number in range(40):
        save_colour(tmp_path / f"{number:02d}.png", TOWER if number % 2 else GREY)
    done = landmarks("tag", tmp_path, "--model", model, "--jsonl", "--workers", 2)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(row["path"]).stem for row in rows] == [f"{n:02d}" for n in range(40)]
    assert [len(row["tags"]) for row in rows] == [0, 1] * 20


def test_tagging_alone_loads_no_database(model: Path, photos: Path) -> None:
    heavy = "{'sqlite3', 'rich', 'torch'}"
    check = f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules))))"
    done = start("tag", photos / "grey.jpg", "--model", model, before=check)
    assert done.out.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_progress_bar_stays_off_standard_output(model: Path, photos: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", CALL, "tag", str(photos), "--model", str(model), "--jsonl"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=100)
    assert len(rows_of(out)) == 4
    assert b"4/4" in os.read(ours, 100_000)
    os.close(ours)


def test_write_then_skip_then_undo(model: Path, photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    done = landmarks("tag", photos, "--model", model, "--write", "--jsonl")
    assert done.status == 2  # the file that is no picture
    assert rows_of(done.out)["a tower.jpg"]["tags"][0]["name"] == "Eiffel Tower"
    assert "Eiffel Tower" in keywords(photos / "a tower.jpg.xmp")
    assert not (photos / "grey.jpg.xmp").exists()
    again = landmarks("tag", photos, "--model", model, "--write")
    assert (again.status, again.out) == (0, "")
    assert "(3 done before, " in again.err
    assert "1 unreadable before: --retry tries again" in again.err
    listed = landmarks("undo", photos, "--list")
    assert "2 changes in place" in listed.out
    assert landmarks("undo", photos).status == 0
    after = {
        path: path.read_bytes() for path in photos.rglob("*") if path.is_file() and ".landmarks" not in str(path)
    }
    assert after == before


@needs_exiftool
@pytest.mark.parametrize("in_place", [False, True])
def test_other_programs_find_what_was_written(model: Path, tmp_path: Path, in_place: bool) -> None:
    photo = save_colour(tmp_path / "a.jpg", TOWER)
    flags = ("--in-place", "--iptc", "--gps") if in_place else ()
    assert landmarks("tag", photo, "--model", model, "--write", *flags).status == 0
    said = exiftool_says(photo if in_place else tmp_path / "a.jpg.xmp")
    words = ["Eiffel Tower", "Paris", "France"]
    assert said["XMP-dc:Subject"] == words  # Windows, Immich, Lightroom, digiKam
    assert said["XMP-lr:HierarchicalSubject"] == ["Places|France|Paris|Eiffel Tower"]  # Lightroom
    assert said["XMP-digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]  # digiKam, Immich
    (shown,) = said["XMP-iptcExt:LocationShown"]
    assert (shown["LocationName"], shown["City"]) == ("Eiffel Tower", "Paris")
    assert (shown["CountryName"], shown["CountryCode"]) == ("France", "FR")
    assert shown["LocationId"] == ["http://www.wikidata.org/entity/Q243"]
    assert (shown["GPSLatitude"], shown["GPSLongitude"]) == (pytest.approx(48.8583), pytest.approx(2.2945))
    assert "XMP-iptcExt:LocationCreated" not in said, "that is where the camera stood"
    if in_place:
        assert said["IPTC:Keywords"] == words
        assert said["IPTC:CodedCharacterSet"] == "\x1b%G", "UTF-8, or accents are lost in Windows"
        assert (said["GPS:GPSLatitude"], said["GPS:GPSLatitudeRef"]) == (pytest.approx(48.8583), "N")
        assert (said["GPS:GPSLongitude"], said["GPS:GPSLongitudeRef"]) == (pytest.approx(2.2945), "E")
    else:
        assert not any("GPSLatitude" in name for name in said), "programs would take it for the camera's"


@pytest.mark.parametrize("dry_run", [False, True])
def test_without_exiftool_writing_into_photos_ends_before_the_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    raw = save_colour(tmp_path / "raw.jpg", TOWER).rename(tmp_path / "raw.nef")
    flags = ("--model", model, "--write", "--for", "lightroom")
    assert landmarks("tag", tmp_path, *flags).status == 0, "a RAW file gets a sidecar"
    assert keywords(raw.with_suffix(".xmp"))
    save_colour(tmp_path / "photos" / "a.jpg", TOWER)
    refused = landmarks("tag", tmp_path / "photos", *flags, *(["--dry-run"] if dry_run else []))
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.count("\n") == 1
    assert "writing into photos needs ExifTool: install it" in refused.err
    assert landmarks("open", tmp_path / "photos", "--in-place").err == refused.err
    assert not (tmp_path / "photos" / ".landmarks").exists()


def test_nothing_is_written_into_the_library_of_a_photo_program(model: Path, tmp_path: Path) -> None:
    originals = tmp_path / "Photos Library.photoslibrary" / "originals"
    photo = save_colour(originals / "a.jpg", TOWER)
    (tmp_path / "link").symlink_to(originals)
    for named in (originals, photo, tmp_path / "link"):
        refused = landmarks("tag", named, "--model", model, "--write")
        assert refused.status == 1
        assert "Photos Library.photoslibrary: only its photo program may change it: export photos" in refused.err
    assert [path.name for path in originals.iterdir()] == ["a.jpg"]
    assert landmarks("tag", originals, "--model", model).out.startswith(f"{photo}: ")


@needs_exiftool
@pytest.mark.shared
def test_writing_into_real_photos_leaves_the_compressed_picture_as_it_is(
    shared_data: Path, tmp_path: Path
) -> None:
    names = ("32.Sydney_Opera_House", "07.Eiffel_Tower", "33.Taj_Mahal")
    for name in names:
        for number, photo in enumerate(sorted((shared_data / "world34" / "test" / name).iterdir())[:2]):
            shutil.copyfile(photo, tmp_path / f"{name} {number}.jpg")
    before = {photo: photo.read_bytes() for photo in tmp_path.glob("*.jpg")}
    pixels = {photo: load_rgb(photo) for photo in before}
    landmarks("tag", tmp_path, "--write", "--in-place", "--iptc", "--gps")
    changed = [photo for photo, content in before.items() if photo.read_bytes() != content]
    assert len(changed) >= 3
    for photo in changed:
        assert np.array_equal(load_rgb(photo), pixels[photo])
        tables = before[photo].index(b"\xff\xdb")  # where the picture itself begins
        assert photo.read_bytes().endswith(before[photo][tables:])
    assert landmarks("undo", tmp_path).status == 0
    assert {photo: photo.read_bytes() for photo in before} == before


def test_undo_of_a_folder_leaves_the_others(model: Path, photos: Path) -> None:
    landmarks("tag", photos, "--model", model, "--write")
    assert landmarks("undo", photos / "day").status == 0
    assert not (photos / "day" / "stones.png.xmp").exists()
    assert (photos / "a tower.jpg.xmp").exists()


def test_undo_where_nothing_was_written_says_so(tmp_path: Path) -> None:
    done = landmarks("undo", tmp_path)
    assert done.status == 2
    assert "never wrote here" in done.complaint
    assert list(tmp_path.iterdir()) == []


def test_dry_run_shows_what_would_be_written_and_writes_nothing(model: Path, photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    done = landmarks("tag", photos, "--model", model, "--dry-run")
    assert "+ dc:subject: Eiffel Tower" in done.out
    assert "2 would be written" in done.err
    assert sorted(photos.rglob("*")) == before


def test_a_rejected_tag_stays_away_until_it_is_confirmed(model: Path, photos: Path) -> None:
    photo = photos / "a tower.jpg"
    landmarks("tag", photos, "--model", model, "--write")
    assert landmarks("reject", photo, "Eiffel Tower").status == 0
    sidecar = photos / "a tower.jpg.xmp"
    assert not sidecar.exists() or "Eiffel Tower" not in keywords(sidecar)
    again = landmarks("tag", photos, "--model", model, "--write", "--min-confidence", 0.6, "--jsonl")
    assert rows_of(again.out)["a tower.jpg"]["tags"] == []
    assert landmarks("confirm", photo, "Eiffel Tower").status == 0
    assert "Eiffel Tower" in keywords(sidecar)
    unknown = landmarks("confirm", photo, "Stonehenge")
    assert unknown.status == 2
    assert unknown.complaint == f"{photo}: it never had a tag 'Stonehenge'; its tags: Eiffel Tower"


def test_a_tag_removed_by_hand_is_told(model: Path, photos: Path) -> None:
    photo = photos / "a tower.jpg"
    landmarks("tag", photo, "--model", model, "--write")
    sidecar = photo.with_name("a tower.jpg.xmp")
    packet = XmpPacket(sidecar.read_bytes())
    packet.remove(Entries(keywords=("Eiffel Tower",)))
    sidecar.write_bytes(packet.to_bytes())
    done = landmarks("tag", photo, "--model", model, "--write", "--gps")
    told = f"{photo}: Eiffel Tower: removed by hand, so rejected: landmarks confirm brings it back"
    assert told in done.err.splitlines()
    assert "1 with a tag rejected, as it was removed by hand" in done.complaint
    assert landmarks("confirm", photo, "Eiffel Tower").err == ""
    assert "Eiffel Tower" in keywords(sidecar)


def test_a_verdict_where_nothing_is_written_is_told_to_be_kept(model: Path, photos: Path) -> None:
    landmarks("tag", photos / "a tower.jpg", "--model", model, "--write")
    grey = photos / "grey.jpg"
    done = landmarks("reject", grey, "Paris")
    told = f"{grey}: nothing is written for it; the next landmarks tag --write heeds the verdict\n"
    assert (done.status, done.out) == (0, told)
    assert landmarks("reject", grey, "Paris", "--jsonl").out == ""


def test_folders_in_one_library_share_its_ledger(model: Path, photos: Path) -> None:
    landmarks("tag", photos / "day", photos, "--model", model, "--write")
    assert (photos / ".landmarks").is_dir()
    assert not (photos / "day" / ".landmarks").exists()


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("hang_up_counts")
def test_watch_tags_what_arrives_and_ends_when_told(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    words = [sys.executable, "-c", CALL, "tag", str(folder), "--model", str(model), "--write", "--watch"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1)
        save_colour(folder / "tower.jpg", TOWER)
        deadline = time.monotonic() + 60
        while not (folder / "tower.jpg.xmp").exists():
            assert time.monotonic() < deadline, "the new photo was not tagged"
            time.sleep(0.2)
        process.send_signal(signal.SIGHUP)  # its terminal was closed
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Eiffel Tower" in out


def test_models_lists_what_is_bundled() -> None:
    done = landmarks("models")
    assert done.status == 0
    assert all(name in done.out for name in bundled_models())
