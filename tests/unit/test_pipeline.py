"""The pipeline from photos to tags: every entry point gives the same answer, and reads a photo once."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import landmarks
from exiftool_process import needs_exiftool
from PIL import ExifTags, Image
from tiny_model import COLOURS, CROP, add_reference, calibrated, make_model, save_colour

from landmarks.errors import ImageError, PlacesError, SettingsError
from landmarks.fewshot.enrollment import Teacher
from landmarks.imaging import decoding
from landmarks.imaging.decoding import ImageLimits
from landmarks.serving.pool.worker import Answerer, WorkerSettings
from landmarks.tagging.pipeline import Model, load_model, tag
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.workers import cores
from landmarks.training.api import export, train

TOWER = COLOURS["07.Eiffel_Tower"]
YELLOW = (225, 215, 30)
PARIS, ROME = (48.86, 2.29), (41.89, 12.49)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return add_reference(make_model(tmp_path / "models" / "colours", calibration=calibrated()))


@pytest.fixture
def taught(folder: Path, tmp_path: Path) -> Path:
    photos = [
        save_colour(tmp_path / "yellow" / f"{number}.png", (220 + 3 * number, 225 - 4 * number, 25 + number))
        for number in range(5)
    ]
    Teacher(folder).learn("Atomium", photos)
    return folder


def exif_of(position: tuple[float, float]) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N",
        ExifTags.GPS.GPSLatitude: (position[0], 0.0, 0.0),
        ExifTags.GPS.GPSLongitudeRef: "E",
        ExifTags.GPS.GPSLongitude: (position[1], 0.0, 0.0),
    }
    return exif


_opened: Counter[str] | None = None


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened[str(arguments[0])] += 1


sys.addaudithook(_count)  # one for good: a hook cannot be taken out again


@contextmanager
def opens() -> Iterator[Counter[str]]:
    """Count how often each file is opened."""
    global _opened  # noqa: PLW0603 - one hook for the process
    _opened = counted = Counter()
    try:
        yield counted
    finally:
        _opened = None


class TestOneAnswer:
    def test_what_was_taught_counts_whoever_asks(self, taught: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "photos" / "new.png", YELLOW)
        (line,) = landmarks("tag", photo, "--model", taught, "--jsonl").out.splitlines()
        tagged = json.loads(line)
        found = Answerer(WorkerSettings(taught, TagSettings(), ImageLimits())).answer(photo.read_bytes())
        assert found["tags"] == tagged["tags"]
        assert found["known"], "though the network does not know it"
        assert [tag["name"] for tag in tagged["tags"]] == ["Atomium"]
        assert found["candidates"] == tagged["candidates"]
        (line,) = landmarks("predict", "--model", taught, photo, "--jsonl").out.splitlines()
        first = json.loads(line)["candidates"][0]
        assert (first["name"], first["probability"]) == ("Atomium", tagged["tags"][0]["probability"])
        (of_api,) = Model(taught).tag([photo])
        assert [tag.name for tag in of_api.tags] == ["Atomium"]
        assert of_api.model == tagged["model"]

    def test_what_was_taught_counts_in_a_cluster_job(self, taught: Path, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow", reason="needs the extra cluster")
        pytest.importorskip("fsspec", reason="needs the extra cluster")
        import pyarrow.parquet as pq

        from landmarks.cluster.part import PartTagger
        from landmarks.cluster.plan import Plan, begin_or_continue

        save_colour(tmp_path / "photos" / "new.png", YELLOW)
        plan = Plan(str(tmp_path / "photos"), str(tmp_path / "out"), str(taught))
        begin_or_continue(plan)
        PartTagger(plan).work(0)
        (row,) = pq.read_table(next((tmp_path / "out").glob("part-*.parquet"))).to_pylist()
        assert [tag["name"] for tag in json.loads(row["tags"])] == ["Atomium"]
        assert "learned=" in row["model"]
        assert row["embedding"] is None

    def test_what_was_taught_counts_in_an_index(self, taught: Path, tmp_path: Path) -> None:
        from landmarks.search.embedder import Embedder

        photo = save_colour(tmp_path / "photos" / "new.png", YELLOW)
        (row,) = Embedder(taught).photos([photo])
        assert row.tags[0] == "atomium"

    def test_path_bytes_array_and_image_are_one_photo(self, folder: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "tower.png", TOWER)
        with Image.open(photo) as image:
            sources = [photo, str(photo), photo.read_bytes(), np.array(image), image.copy(), image.convert("RGBA")]
            found = list(Model(folder).tag(sources))
        assert {one.tags for one in found} == {found[0].tags}
        assert found[0].tags[0].name == "Eiffel Tower"
        (alone,) = Model(folder).tag(str(photo))
        assert alone.tags == found[0].tags
        assert [len(Model(folder).embed(given)) for given in (photo, sources[3], [photo] * 5)] == [1, 1, 5]
        assert [str(one.path) for one in found[2:]] == ["<bytes>", "<array>", "<image>", "<image>"]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_a_pillow_image_is_turned_upright(self, folder: Path, kind: str) -> None:
        picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        content = io.BytesIO()
        Image.fromarray(picture).save(content, kind, exif=exif)
        recognizer = Model(folder).recognizer
        with Image.open(content) as image:
            of_image = recognizer.prepare(image).picture
        np.testing.assert_array_equal(of_image, recognizer.prepare(content.getvalue()).picture)
        assert of_image is not None
        assert of_image.shape == (CROP, CROP, 3)

    def test_one_that_is_unreadable_stops_nothing(self, folder: Path, tmp_path: Path) -> None:
        cut = io.BytesIO(save_colour(tmp_path / "a.png", TOWER).read_bytes()[:-30])
        sources = [tmp_path / "gone.jpg", b"no picture", np.zeros((4, 4), dtype=np.uint8), b"", None, 7]
        sources.append(Image.open(cut))
        found = list(Model(folder).tag([*sources, save_colour(tmp_path / "a.png", TOWER)]))  # type: ignore[list-item]
        assert [bool(one.error) for one in found] == [True] * 7 + [False]
        assert (str(found[4].path), found[5].error) == (
            "<NoneType>",
            "expected a path, bytes, an array or a Pillow image, not int",
        )
        with pytest.raises(ImageError, match=r"gone\.jpg: no such file"):
            Model(folder).embed(sources[:1])

    def test_content_may_be_in_any_buffer(self, folder: Path, tmp_path: Path) -> None:
        content = save_colour(tmp_path / "a.png", TOWER).read_bytes()
        model = Model(folder)
        (usual,) = model.tag(content)
        for buffer in (bytearray(content), memoryview(content)):
            for given in (buffer, [buffer]):
                assert list(model.tag(given)) == [usual]
            assert len(model.embed(buffer)) == len(list(model.predict(buffer))) == 1

    def test_what_is_not_a_list_of_photos_is_one_photo(self, folder: Path, tmp_path: Path) -> None:
        content = save_colour(tmp_path / "a.png", TOWER).read_bytes()
        grey: Any = np.zeros((9, 9), dtype=np.uint8)
        for given in (io.BytesIO(content), grey, np.array(3), None, 7):
            (one,) = Model(folder).tag(given)
            assert "expected a" in (one.error or "")
        with os.scandir(tmp_path) as entries:
            entry = next(one for one in entries if one.name == "a.png")
        for given in (entry, [entry]):
            (one,) = Model(folder).tag(given)
            assert (one.path, [tag.name for tag in one.tags]) == (tmp_path / "a.png", ["Eiffel Tower"])
            assert len(list(tag(given, folder))) == 1

    def test_one_pattern_may_be_given_alone(self, folder: Path, tmp_path: Path) -> None:
        for name in ("a.png", "a_edited.png"):
            save_colour(tmp_path / "photos" / name, TOWER)
        (one,) = tag(tmp_path / "photos", folder, exclude="*_edited.png")
        assert one.path.name == "a.png"

    @pytest.mark.parametrize(
        ("call", "argument"),
        [
            (lambda model, folder: model.predict([], top=0), "`top`"),
            (lambda model, folder: model.predict([], top=1.5), "`top` must be a whole number, not 1.5"),
            (lambda model, folder: model.predict([], top=-1), "`top`"),
            (lambda model, folder: tag([], folder, workers=0), "`workers`"),
            (lambda model, folder: tag([], folder, workers=-2), "`workers`"),
            (lambda model, folder: load_model(folder, threads=-3), "`threads`"),
            (lambda model, folder: load_model(folder, threads=0), "`threads`"),
            (lambda model, folder: list(model.tag([b"", b""], positions=[(1, 1)])), "`positions`"),
            (lambda model, folder: list(model.tag([b""], positions=[None, None])), "`positions`"),
            (lambda model, folder: list(model.tag([b""], positions=[(200, 500)])), "`positions`"),
            (lambda model, folder: list(model.tag([b""], positions=[(math.nan, 5)])), "`positions`"),
            (lambda model, folder: list(model.tag([b"", b""], positions=PARIS)), "`positions`"),
            (lambda model, folder: list(model.tag([b""], positions=["48.9,2.3"])), "`positions`"),
            (lambda model, folder: tag("", folder), "`paths` is an empty path"),
            (lambda model, folder: tag(["a.jpg", ""], folder), "`paths` is an empty path"),
            (lambda model, folder: TagSettings(own_places=""), "`own_places` is an empty path"),
            (lambda model, folder: TagSettings(max_megapixels=math.inf), "`max_megapixels`"),
            (lambda model, folder: train(""), "`data` is an empty path"),
            (lambda model, folder: export(""), "`run` is an empty path"),
        ],
    )
    def test_an_argument_out_of_range_is_named(
        self, folder: Path, call: Callable[[Model, Path], object], argument: str
    ) -> None:
        with pytest.raises(SettingsError, match=argument):
            call(Model(folder), folder)

    def test_a_table_of_places_may_be_named_by_text(self, folder: Path) -> None:
        with pytest.raises(PlacesError, match=r"nofile\.csv"):
            load_model(folder, TagSettings(own_places="nofile.csv"))  # type: ignore[arg-type]

    def test_embeddings_are_those_of_findings(self, folder: Path, tmp_path: Path) -> None:
        photos = [save_colour(tmp_path / f"{n}.png", colour) for n, colour in enumerate(COLOURS.values())] * 2
        model = Model(folder)
        rows = np.stack([found.embedding for found in model.find(photos, embeddings=True)])
        np.testing.assert_array_equal(model.embed(photos), rows)
        assert model.embed([]).shape == (0, rows.shape[1])


class TestPosition:
    def test_bytes_say_it_and_pixels_only_what_is_passed(self, folder: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "far.jpg", TOWER, exif=exif_of(ROME))
        pixels = np.array(Image.open(photo))
        model = Model(folder)
        far = [bool(one.tags) for one in model.tag([photo, photo.read_bytes(), pixels])]
        assert far == [False, False, True]
        asked = [pixels, photo, pixels]
        assert [bool(one.tags) for one in model.tag(asked, positions=[ROME, PARIS, None])] == [False, True, True]
        off = Model(folder, TagSettings(use_position=False))
        assert all(one.tags for one in off.tag([photo, pixels], positions=[None, ROME]))


class TestLimits:
    """A photo of 0.003 megapixels is accepted or not, whichever command reads it."""

    @pytest.fixture
    def photo(self, tmp_path: Path) -> Path:
        return save_colour(tmp_path / "photos" / "a.png", TOWER)

    @pytest.mark.parametrize(
        "words", ["tag PHOTO", "tag PHOTO --write --dry-run", "predict PHOTO", "learn Atomium PHOTO"]
    )
    def test_of_commands(self, folder: Path, photo: Path, words: str) -> None:
        given = [photo if word == "PHOTO" else word for word in words.split()]
        small = landmarks(*given, "--model", folder, "--max-megapixels", 0.0001)
        assert small.status == 2
        assert "more than the limit of 0.0 MiB: raise the limit" in small.err + small.out
        done = landmarks(*given, "--model", folder, "--max-megapixels", 300)
        assert done.status == 0, done.err

    def test_the_position_of_an_accepted_photo_is_read(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo = tmp_path / "a.jpg"
        Image.new("RGB", (40, 30), TOWER).save(photo, exif=exif_of(PARIS))
        monkeypatch.setattr(decoding, "DEFAULT_LIMITS", ImageLimits(max_bytes=100))
        assert Model(folder, TagSettings(max_megapixels=300)).open(photo).position == pytest.approx(PARIS)

    def test_of_the_api(self, folder: Path, photo: Path) -> None:
        model = Model(folder, TagSettings(max_megapixels=0.0001))
        for (one,) in (list(model.tag(photo)), list(model.predict(photo))):
            assert "more than the limit" in (one.error or "")
        with pytest.raises(ImageError, match="more than the limit"):
            model.embed(photo)


class TestOpens:
    def test_a_photo_and_model_json_are_opened_once(self, folder: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "photos" / "a.jpg", TOWER)
        with opens() as counted:
            assert landmarks("tag", photo, "--model", folder, "--jsonl").status == 0
        assert counted[str(photo)] == 1
        assert counted[str(folder / "model.json")] <= 1

    def test_a_photo_whose_tags_are_written_is_opened_twice(self, folder: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "photos" / "a.jpg", TOWER)
        with opens() as counted:
            done = landmarks("tag", photo, "--model", folder, "--write")
        assert done.status == 0, done.err
        assert (photo.parent / "a.jpg.xmp").is_file()
        assert counted[str(photo)] <= 2
        assert counted[str(folder / "model.json")] <= 1

    @needs_exiftool
    def test_a_photo_that_is_written_into_is_opened_twice(self, folder: Path, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "photos" / "a.jpg", TOWER)
        before = photo.read_bytes()
        with opens() as counted:
            done = landmarks("tag", photo, "--model", folder, "--write", "--in-place")
        assert done.status == 0, done.err
        assert photo.read_bytes() != before
        assert counted[str(photo)] <= 2

    @pytest.mark.skipif(cores() < 2, reason="there is one core")
    def test_one_photo_after_the_other_keeps_one_core_busy(self, tmp_path: Path) -> None:
        photo = save_colour(tmp_path / "a.jpg", TOWER)
        code = """
import sys, time
import landmarks
model = landmarks.load_model()
for _ in range(5):
    list(model.tag(sys.argv[1:]))
wall, busy = time.perf_counter(), time.process_time()
for _ in range(60):
    list(model.tag(sys.argv[1:]))
print((time.process_time() - busy) / (time.perf_counter() - wall))
"""
        limits = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
        environment = {name: value for name, value in os.environ.items() if name not in limits}
        words = [sys.executable, "-c", code, str(photo)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert float(done.stdout) < 1.3, "threads of a library were awake beside it"

    def test_model_json_that_changed_is_read_again(self, folder: Path) -> None:
        before = load_model(folder).name
        path = folder / "model.json"
        path.write_text(path.read_text("utf-8").replace(f'"name": "{before}"', '"name": "renamed"'), "utf-8")
        assert load_model(folder).name == "renamed"
