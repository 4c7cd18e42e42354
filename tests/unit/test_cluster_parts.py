"""The parts of a cluster job, without a cluster: inputs, outputs, and resuming."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import landmarks
from tiny_model import COLOURS, camera_exif, save_colour

pytest.importorskip("pyarrow", reason="needs the extra cluster")
pytest.importorskip("fsspec", reason="needs the extra cluster")

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from landmarks.cluster.part import ATTEMPTS, PartTagger, attempts_name, outcome_of, part_name
from landmarks.cluster.plan import Plan, begin_or_continue
from landmarks.cluster.source import Columns, PartReader
from landmarks.errors import InputError, LandmarksError, SettingsError, StorageError
from landmarks.files.storage import Storage
from landmarks.files.walker import Skipped
from landmarks.model.recognizer import Recognizer

ROME = (41.89, 12.4922)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, colour in enumerate([*COLOURS.values()] * 2):
        save_colour(folder / f"{number:02d}.png", colour)
    (folder / "damaged.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes((folder / "00.png").read_bytes())
    save_colour(folder / "trip" / "far.jpg", COLOURS["07.Eiffel_Tower"], exif=camera_exif(ROME))
    return folder


def do(plan: Plan) -> list[dict[str, object]]:
    """Do all parts of a job in this process; gives its rows."""
    work, tagger = begin_or_continue(plan), PartTagger(plan)
    for part in range(work.parts):
        tagger.work(part)
    return rows_of(Path(plan.out))


def rows_of(out: Path) -> list[dict[str, object]]:
    return [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def tags_of(rows: list[dict[str, object]]) -> dict[str, object]:
    return {Path(str(row["path"])).name: row["tags"] and json.loads(str(row["tags"])) for row in rows}


def test_a_job_says_what_landmarks_tag_says(model: Path, photos: Path, tmp_path: Path) -> None:
    rows = do(Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5))
    said = landmarks("tag", photos, "--model", model, "--jsonl").out.splitlines()
    expected = {row["path"]: row for row in map(json.loads, said)}
    assert len(rows) == len(expected) == 12
    for row in rows:
        alone = expected[str(row["path"])]
        assert row["error"] == alone.get("error")
        assert row["model"] == alone.get("model")
        assert row["embedding"] is None
        for key in ("tags", "candidates"):
            assert (None if row[key] is None else json.loads(str(row[key]))) == alone.get(key)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("attempts", "inputs.parquet", "job.json"),
        *(part_name(part) for part in range(3)),
    ]


def test_embeddings_are_those_of_the_network(model: Path, tmp_path: Path) -> None:
    from landmarks.imaging.preprocessing import prepare

    photo = save_colour(tmp_path / "photos" / "tower.png", COLOURS["07.Eiffel_Tower"])
    (row,) = do(Plan(str(photo.parent), str(tmp_path / "out"), str(model), embeddings=True))
    recognizer = Recognizer(model)
    expected = recognizer.answer(prepare(photo, recognizer.info.preprocessing)[None]).embeddings[0]
    assert np.asarray(row["embedding"], dtype=np.float16).tolist() == expected.astype(np.float16).tolist()


def test_parquet_of_bytes_goes_in(model: Path, photos: Path, tmp_path: Path) -> None:
    paths = sorted(photos.glob("0*.png"))[:6]
    table = pa.table({"name": [path.name for path in paths], "photo": [path.read_bytes() for path in paths]})
    (tmp_path / "tables").mkdir()
    pq.write_table(table.slice(0, 4), tmp_path / "tables" / "a.parquet", row_group_size=2)
    empty = pa.table([[None], [None]], schema=table.schema)
    pq.write_table(pa.concat_tables([table.slice(4), empty]), tmp_path / "tables" / "b.parquet")
    source, columns = str(tmp_path / "tables"), Columns("photo", "name")
    rows = do(Plan(source, str(tmp_path / "out"), str(model), columns=columns))
    plain = do(Plan(str(photos), str(tmp_path / "plain"), str(model)))
    assert len(list((tmp_path / "out").glob("part-*"))) == 3
    assert [row["path"] for row in rows[:6]] == [path.name for path in paths]
    assert tags_of(rows[:6]) == {path.name: tags_of(plain)[path.name] for path in paths}
    assert rows[6]["error"] == "there is no picture in this row"
    assert str(rows[6]["path"]).endswith("b.parquet#0.2")
    with pytest.raises(InputError, match="no column 'bytes': give `column` one of name, photo"):
        begin_or_continue(Plan(source, str(tmp_path / "other"), str(model)))


def test_any_file_system_of_fsspec_is_read(model: Path, photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in photos.glob("0?.png"):
            file.write(path, f"in/{path.name}")
    rows = do(Plan(f"zip://in::file://{archive}", str(tmp_path / "out"), str(model)))
    plain = tags_of(do(Plan(str(photos), str(tmp_path / "plain"), str(model))))
    assert tags_of(rows) == {name: tags for name, tags in plain.items() if name[0] == "0"}
    with pytest.raises(InputError, match="nowhere://photos: cannot be reached"):
        begin_or_continue(Plan("nowhere://photos", str(tmp_path / "third"), str(model)))


def test_a_folder_is_searched_as_by_all_commands(model: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "trip", photos / "private")
    (photos / ".landmarksignore").write_text("private/\n")
    odd = os.fsencode(photos / "0") + b"\xff.jpg"
    shutil.copy(photos / "trip" / "far.jpg", odd)
    skipped: list[Skipped] = []
    plan = Plan(str(photos), str(tmp_path / "out"), str(model))
    assert begin_or_continue(plan, skipped.append).photos == 13
    assert Counter(one.reason for one in skipped) == {"hidden": 2, "unsupported": 1, "excluded": 1}
    rows = do(plan)
    assert not any("private" in str(row["path"]) for row in rows)
    assert [row["error"] for row in rows if str(row["path"]).endswith("0\\udcff.jpg")] == [None]
    pq.write_table(pa.table({"bytes": [b""]}), photos / "old.parquet")
    with pytest.raises(InputError, match=r"photos and Parquet files, such as .*old\.parquet: keep them apart"):
        begin_or_continue(Plan(str(photos), str(tmp_path / "other"), str(model)))


def test_pictures_of_hugging_face_are_read_and_other_columns_refused(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    source = tmp_path / "tables"
    source.mkdir()
    picture = {"bytes": (photos / "00.png").read_bytes(), "path": "00.png"}
    pq.write_table(pa.table({"image": [picture], "label": [3]}), source / "a.parquet")
    rows = do(Plan(str(source), str(tmp_path / "out"), str(model), columns=Columns("image")))
    assert [row["error"] for row in rows] == [None]
    for columns, wrong in (
        (Columns("label"), "the column 'label' holds int64, not photos: give another `column`"),
        (Columns("image", "nmae"), "no column 'nmae': give `path_column` one of image, label"),
    ):
        with pytest.raises(InputError, match=wrong):
            begin_or_continue(Plan(str(source), str(tmp_path / "no"), str(model), columns=columns))


def test_the_results_become_one_lance_table(model: Path, photos: Path, tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb", reason="needs the extra search")
    from landmarks.cluster.table import write_table

    plan = Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5, embeddings=True)
    rows = do(plan)
    write_table(plan, len(rows))
    table = lancedb.connect(plan.out).open_table("tagged")
    assert table.to_arrow().to_pylist() == rows
    wanted = next(row for row in rows if row["embedding"])
    (found,) = table.search(wanted["embedding"]).limit(1).to_list()
    assert found["embedding"] == wanted["embedding"]


def test_a_lance_table_is_written_once_and_anew_where_it_was_left_unfinished(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    lancedb = pytest.importorskip("lancedb", reason="needs the extra search")
    from landmarks.cluster.table import write_table

    plan = Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5)
    rows = do(plan)
    write_table(plan, len(rows))
    versions = tmp_path / "out" / "tagged.lance" / "_versions"
    before = {path.name: path.stat().st_mtime_ns for path in versions.iterdir()}
    write_table(plan, len(rows))
    assert {path.name: path.stat().st_mtime_ns for path in versions.iterdir()} == before
    shutil.rmtree(versions)  # as a process leaves it that dies before it has said that all is there
    write_table(plan, len(rows))
    table = lancedb.connect(plan.out).open_table("tagged")
    assert "embedding" not in table.schema.names
    assert table.to_arrow().to_pylist() == [
        {key: value for key, value in row.items() if key != "embedding"} for row in rows
    ]
    assert len(list((tmp_path / "out" / "tagged.lance" / "data").iterdir())) == 1


def test_a_lance_table_that_cannot_be_written_is_told(model: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs the extra search")
    from landmarks.cluster.table import write_table

    plan = Plan(str(photos), str(tmp_path / "out"), str(model))
    rows = do(plan)
    (tmp_path / "out" / part_name(0)).write_text("damaged")
    with pytest.raises(StorageError, match=r"out: the Lance table cannot be written .*run the command again"):
        write_table(plan, len(rows))


def test_a_table_of_something_else_is_left_alone(model: Path, photos: Path, tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb", reason="needs the extra search")
    from landmarks.cluster.table import write_table

    plan = Plan(str(photos), str(tmp_path / "out"), str(model))
    rows = do(plan)
    mine = lancedb.connect(plan.out).create_table("tagged", [{"mine": 1}])
    with pytest.raises(InputError, match=r"out: its table 'tagged' is of something else: move it away"):
        write_table(plan, len(rows))
    assert mine.count_rows() == 1


def test_another_format_is_refused_before_any_work(photos: Path, tmp_path: Path) -> None:
    outcome = landmarks("cluster", photos, tmp_path / "out", "--format", "csv")
    assert outcome.status == 2
    assert "'csv' is not one of 'parquet', 'lance'" in outcome.complaint
    assert not (tmp_path / "out").exists()


def test_a_job_goes_on_with_the_list_it_began_with(model: Path, photos: Path, tmp_path: Path) -> None:
    plan = Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5)
    work = begin_or_continue(plan)
    save_colour(photos / "00 came later.png", COLOURS["31.Stonehenge"])
    (photos / "03.png").unlink()
    assert begin_or_continue(plan) == work
    rows = do(plan)
    assert len(rows) == work.photos == 12
    assert [row["error"] for row in rows if str(row["path"]).endswith("03.png")] == [
        "no such file: it was there when the job began"
    ]


def test_one_photo_that_a_client_library_fails_on_is_a_row(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(str(photos), str(tmp_path / "out"), str(model))
    begin_or_continue(plan)
    read = LocalFileSystem.cat_file

    def fail(system: LocalFileSystem, path: str, **more: object) -> bytes:
        if path.endswith(("03.png", "04.png")):
            raise RuntimeError("403 Forbidden")  # aiohttp's errors are no OSError either
        return bytes(read(system, path, **more))

    monkeypatch.setattr(LocalFileSystem, "cat_file", fail)
    (photos / "04.png").write_bytes(b"")
    assert [row["error"] for row in do(plan) if row["error"]][:2] == [
        "the file cannot be read (403 Forbidden): check the rights and the disk",
        "the file is empty: copy it again from its source",
    ]


def test_names_need_not_be_utf8(model: Path, photos: Path, tmp_path: Path) -> None:
    odd = photos.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    assert len(do(Plan(str(odd), str(tmp_path / "out"), str(model)))) == 12
    pq.write_table(pa.table({"bytes": [(odd / "00.png").read_bytes()]}), tmp_path / "a.parquet")
    tables = tmp_path / os.fsdecode(b"caf\xe9.parquet")
    (tmp_path / "a.parquet").rename(tables)
    (row,) = do(Plan(str(tables), str(tmp_path / "named"), str(model)))
    assert (row["error"], str(row["path"]).endswith(r"/caf\udce9.parquet#0.0")) == (None, True)


def test_another_job_never_mixes_with_results_that_are_there(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin_or_continue(Plan(str(photos), str(out), str(model), part_size=5))
    with pytest.raises(InputError, match=r"results of another job \(its part_size differs"):
        begin_or_continue(Plan(str(photos), str(out), str(model), part_size=6))
    (tmp_path / "full").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "full" / "mine.parquet")
    with pytest.raises(InputError, match="Parquet files of something else"):
        begin_or_continue(Plan(str(photos), str(tmp_path / "full"), str(model)))
    (tmp_path / "full" / "mine.parquet").rename(tmp_path / "full" / ".inputs-1a2b3c4d.parquet")  # of a killed one
    table = tmp_path / "full" / "tagged.lance"
    table.mkdir()
    with pytest.raises(InputError, match=r"full: tagged\.lance is the table of another job: remove it or"):
        begin_or_continue(Plan(str(photos), str(tmp_path / "full"), str(model)))
    table.rmdir()
    for _ in range(2):
        assert begin_or_continue(Plan(str(photos), str(tmp_path / "full"), str(model))).photos == 12
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["inputs.parquet", "job.json"]


def test_a_job_that_goes_on_knows_what_could_not_be_read(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "closed" / ".landmarksignore").mkdir(parents=True)
    plan = Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5)
    for _ in range(2):
        skipped: list[Skipped] = []
        work = begin_or_continue(plan, skipped.append)
        assert [one.path for one in skipped if one.reason == "unreadable"] == [photos / "closed"]
    tagger = PartTagger(plan)
    done = [tagger.work(part) for part in range(work.parts)]
    assert sum(unreadable for _, unreadable in done) == 1
    assert [outcome_of(plan, part) for part in range(work.parts)] == done
    (tmp_path / "out" / part_name(1)).write_text("damaged")
    with pytest.raises(InputError, match=r"part-000001\.parquet is damaged: remove it"):
        outcome_of(plan, 1)


@pytest.mark.parametrize("what", ["ls", "pipe_file"])
def test_results_out_of_reach_are_told(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Unable to locate credentials")  # botocore's errors are no OSError either

    monkeypatch.setattr(MemoryFileSystem, what, fail)
    with pytest.raises(LandmarksError, match=r"^memory://out: .*\(Unable to locate credentials\): check "):
        begin_or_continue(Plan(str(photos), "memory://out", str(model)))


def test_no_more_is_read_of_a_file_than_the_limit(model: Path, photos: Path, tmp_path: Path) -> None:
    plan = Plan(str(photos), str(tmp_path / "out"), str(model))
    begin_or_continue(plan)
    with (photos / "00.png").open("ab") as file:
        file.truncate(2**40)
    reader = PartReader(Storage.at(plan.source), tmp_path / "out" / "inputs.parquet", plan.columns, 2**20)
    said = dict(reader.photos(0))
    assert said[str(photos / "00.png")] == "the file has more than the limit of 1.0 MiB: make it smaller first"
    assert said[str(photos / "01.png")] == (photos / "01.png").read_bytes()


def test_a_part_whose_process_dies_every_time_is_left_for_the_next_start(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(str(photos), str(tmp_path / "out"), str(model), part_size=5)
    begin_or_continue(plan)
    with monkeypatch.context() as patch:
        patch.setattr(PartTagger, "_rows", lambda *_: (_ for _ in ()).throw(SystemExit))
        for _ in range(ATTEMPTS):
            with pytest.raises(SystemExit):
                PartTagger(plan).work(1)
    assert PartTagger(plan).work(1) == (0, 0)
    assert not (tmp_path / "out" / part_name(1)).exists()
    begin_or_continue(plan)
    assert PartTagger(plan).work(1) == (5, 0)
    assert not (tmp_path / "out" / attempts_name(1)).exists()


def test_what_cannot_be_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        begin_or_continue(Plan(str(tmp_path / "nowhere"), str(tmp_path / "out"), str(model)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are no photos and no Parquet files in it"):
        begin_or_continue(Plan(str(tmp_path / "empty"), str(tmp_path / "out"), str(model)))
    with pytest.raises(SettingsError, match="`part_size` must be at least 1, not 0"):
        Plan("a", "b", str(model), part_size=0)
