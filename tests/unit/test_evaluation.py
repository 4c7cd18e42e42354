"""A recogniser of colours evaluated on folders of colours, where every number can be counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from blank_plots import blank_plots
from PIL import Image
from tiny_model import calibrated, make_model, save_colour
from torch import nn

from landmarks.errors import DataError, ModelError, SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.folder import Origin, read_info, write_info
from landmarks.tagging.tagger import TagSettings
from landmarks.training.evaluation.evaluation import (
    EvaluateSettings,
    FolderEvaluation,
    evaluate_folder,
    write_metrics,
)
from landmarks.training.evaluation.matching import KnownLandmarks
from landmarks.training.evaluation.opening import uses_pytorch
from landmarks.training.evaluation.report import write_report
from landmarks.training.evaluation.table import source_lines, text_lines
from landmarks.training.export.predictor import Predictor, save_torchscript

RED, GREEN, BLUE, GREY, YELLOW = (230, 30, 30), (30, 230, 30), (30, 30, 230), (128, 128, 128), (235, 225, 40)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "colours", calibration=calibrated())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two known landmarks under other spellings, one photo of each mislabelled or dull, and an unknown one."""
    root = tmp_path / "data"
    for number in range(3):
        save_colour(root / "test/3.eiffel tower" / f"{number}.png", RED)
    save_colour(root / "test/3.eiffel tower/mislabelled.png", BLUE)
    save_colour(root / "test/Stonehenge/0.png", BLUE)
    save_colour(root / "test/Stonehenge/dull.png", GREY)
    (root / "test/Stonehenge/broken.png").write_bytes(b"nothing")
    save_colour(root / "test/Yellow_House/0.png", RED)
    save_colour(root / "test/Yellow_House/1.png", GREY)
    save_colour(root / "train/Stonehenge/0.png", RED)  # training pictures count nowhere
    rows = ["split,class,file,source,width,height", "test,Stonehenge,0.png,archive,64,48"]
    rows += [f"test,3.eiffel tower,{number}.png,holiday,64,48" for number in range(3)]
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    root = tmp_path / "nothing"
    for number in range(4):
        save_colour(root / "rooms" / f"{number}.png", GREY)
    save_colour(root / "fields/0.png", GREEN)
    save_colour(root / "fields/1.png", GREY)
    return root


def run(model: Path | str, *data: Path, negatives: tuple[Path, ...] = (), **changes: object) -> FolderEvaluation:
    settings = TagSettings(**changes)
    return evaluate_folder(EvaluateSettings(str(model), data, negatives, settings, workers=1))


def test_every_photo_is_counted_once_where_it_belongs(model: Path, data: Path, negatives: Path) -> None:
    evaluation = run(model, data, negatives=(negatives,))
    summary = evaluation.summary
    known, unknown, ordinary = (summary.totals[role] for role in ("known", "unknown", "negative"))
    assert (known.count, known.unreadable, unknown.count, ordinary.count) == (6, 1, 2, 6)
    # Four red and blue ones rightly; the mislabelled one wrongly; the dull one gets no tag.
    assert [round(rate.value * 6) for rate in (known.rightly, known.wrongly, known.untagged)] == [4, 1, 1]
    assert known.rightly.low < known.rightly.value < known.rightly.high
    assert unknown.tagged.value == pytest.approx(0.5)
    assert unknown.most_said == ("Eiffel Tower", 1)
    assert {group.name: group.tagged.value for group in summary.kinds} == {
        "nothing/fields": 0.5,
        "nothing/rooms": 0.0,
    }
    assert {group.name: group.count for group in summary.landmarks} == {"eiffel_tower": 4, "stonehenge": 2}
    confused = {(pair.true, pair.predicted): (pair.count, pair.share) for pair in summary.confused}
    assert confused["eiffel_tower", "stonehenge"] == (1, 0.25)
    assert [one.photo.path.name for one in summary.mistakes] == ["mislabelled.png"]
    assert {one.photo.group for one in summary.false_tags} == {"yellow_house", "nothing/fields"}
    assert [Path(path).name for path, _ in summary.unreadable] == ["broken.png"]


def test_sources_come_from_the_manifest(model: Path, data: Path) -> None:
    summary = run(model, data).summary
    found = {(one.name, one.role): one.count for one in summary.sources}
    assert found[("holiday", "known")] == 3
    assert found[("archive", "known")] == 1
    assert found[("", "unknown")] == 2
    assert any(line.startswith("holiday") for line in source_lines(summary))


def test_metrics_rows_and_report_are_written(model: Path, data: Path, negatives: Path, tmp_path: Path) -> None:
    evaluation = run(model, data, negatives=(negatives,))
    write_metrics(evaluation, tmp_path / "out")
    write_report(evaluation, tmp_path / "out/report.html")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["photos"] == {"known": 7, "unknown": 2, "negative": 6}
    assert metrics["totals"]["known"]["rightly"]["count"] == 6
    assert [one["others"] for one in metrics["detection"]] == ["negative", "unknown", "both"]
    assert 0 <= metrics["aurc"] <= 1
    rows = [json.loads(line) for line in (tmp_path / "out/photos.jsonl").read_text().splitlines()]
    assert len(rows) == 15
    wrong = next(row for row in rows if row["path"].endswith("mislabelled.png"))
    assert (wrong["outcome"], wrong["tag"]["name"], wrong["group"]) == ("wrongly", "Stonehenge", "eiffel_tower")
    page = (tmp_path / "out/report.html").read_text()
    for text in ("Landmarks with a wrong tag", "nothing/fields", "Yellow House", "holiday", "broken.png"):
        assert text in page
    assert "http" not in page.replace("http-equiv", "")


def test_text_says_what_a_reader_asks_first(model: Path, data: Path, negatives: Path) -> None:
    text = "\n".join(text_lines(run(model, data, negatives=(negatives,))))
    for line in ("6 photos of 2 landmarks", "tagged rightly", "66.7%", "nothing/fields", "unreadable: 1 photos"):
        assert line in text


def test_a_folder_without_classes_holds_no_landmark(model: Path, tmp_path: Path) -> None:
    flat = save_colour(tmp_path / "flat/0.png", GREY).parent
    save_colour(flat / "1.png", RED)
    summary = run(model, flat).summary
    assert list(summary.totals) == ["negative"]
    assert summary.totals["negative"].tagged.value == 0.5
    assert summary.uap is None
    assert summary.curve is None


def test_classes_may_lie_in_the_folder_itself_and_negatives_within_it(model: Path, tmp_path: Path) -> None:
    root = save_colour(tmp_path / "all/Stonehenge/deep/0.png", BLUE).parents[2]
    save_colour(root / "nothing/0.png", GREY)
    save_colour(root / "background/0.png", GREY)
    save_colour(root / "loose.png", RED)
    evaluation = run(model, root, negatives=(root / "nothing",))
    assert {role: group.count for role, group in evaluation.summary.totals.items()} == {"known": 1, "negative": 2}
    assert "1 photos are in no class folder" in " ".join(evaluation.photos.notes)


def test_what_is_skipped_is_counted_by_reason(model: Path, tmp_path: Path) -> None:
    root = save_colour(tmp_path / "all/Stonehenge/0.png", BLUE).parents[1]
    save_colour(root / "nothing/field/0.png", GREY)
    save_colour(root / "@eaDir/0.png", GREY)
    for name in ("Stonehenge/clip.mp4", "nothing/field/0.xmp", "manifest.txt"):
        (root / name).touch()
    notes = run(model, root, negatives=(root / "nothing",)).photos.notes
    skipped = "skipped 3 (1 sidecar or other companion, 1 video, 1 system file or folder)"
    assert notes == (f"{root}, {root / 'nothing'}: {skipped}",)


def test_a_name_that_looks_like_a_slip_is_told(model: Path, tmp_path: Path) -> None:
    save_colour(tmp_path / "all/Stonehendge/0.png", BLUE)
    save_colour(tmp_path / "all/Eiffel_Tower/0.png", RED)
    notes = run(model, tmp_path / "all").photos.notes
    assert notes == (
        "unknown to the model, which knows one of nearly this name: Stonehendge (31.Stonehenge): one landmark?",
    )


def test_names_that_differ_in_their_numbers_alone_are_no_slips() -> None:
    known = KnownLandmarks(Gazetteer.bundled(), ["landmark 20000", "landmark 20001", "Route 66", "Casa 5"])
    names = ("landmark 00900", "landmark 7", "Landmarks 7", "Roude 66")
    assert [known.similar(name) for name in names] == [None, None, None, "Route 66"]


def test_negatives_named_like_a_known_landmark_are_told(model: Path, negatives: Path) -> None:
    save_colour(negatives / "2.eiffel_tower/0.png", RED)
    assert run(model, negatives=(negatives,)).photos.notes == (
        f"{negatives}: 2.eiffel_tower counts as photos without a landmark, and the model knows one of this name: "
        "give them as DATA",
    )


def test_negatives_may_be_a_data_set_with_splits(model: Path, tmp_path: Path) -> None:
    for photo in ("train/rooms/0.png", "test/rooms/1.png", "test/Stonehenge/0.png"):
        save_colour(tmp_path / "nothing" / photo, GREY)
    found = run(model, negatives=(tmp_path / "nothing",))
    assert {group.name: group.tagged.count for group in found.summary.kinds} == {
        "nothing/rooms": 2,
        "nothing/Stonehenge": 1,
    }
    assert ["Stonehenge counts as photos" in note for note in found.photos.notes] == [True]


def test_folders_of_one_name_are_groups_of_their_own(model: Path, tmp_path: Path) -> None:
    folders = [save_colour(tmp_path / part / "0.png", GREY).parent for part in ("a/neg", "b/neg", "c/other")]
    found = run(model, negatives=tuple(folders))
    names = {str(folders[0]), str(folders[1]), "other"}
    assert {group.name for group in found.summary.kinds} == names


def test_photos_that_the_model_may_have_learnt_from_are_told(model: Path, tmp_path: Path) -> None:
    write_info(model, replace(read_info(model), data={"name": "mine"}))
    photo = save_colour(tmp_path / "mine/Stonehenge/0.png", BLUE)
    (tmp_path / "mine.csv").write_text(f"path,label\n{photo},Stonehenge\n")
    (note,) = run(model, tmp_path / "mine").photos.notes
    assert note.startswith(f"{tmp_path}/mine: the model was trained on a data set of this name")
    save_colour(tmp_path / "apart/mine/train/Stonehenge/0.png", BLUE)
    assert len(run(model, tmp_path / "apart/mine/train").photos.notes) == 1
    assert run(model, tmp_path / "mine.csv").photos.notes == ()
    save_colour(tmp_path / "mine/test/Stonehenge/1.png", BLUE)
    assert run(model, tmp_path / "mine").photos.notes == ()
    save_colour(tmp_path / "before/Stonehenge/0.png", BLUE)
    for pictures, told in ((0, 1), (3, 0)):  # a run before this one, or a source of its own pictures
        write_info(model, replace(read_info(model), origin=(Origin("before", pictures),)))
        assert len(run(model, tmp_path / "before").photos.notes) == told


def test_photos_that_the_thresholds_may_have_been_chosen_on_are_told(data: Path, negatives: Path) -> None:
    chosen = calibrated(fitted_on={"negatives": 6, "folders": ["nothing", "others"]})
    model = make_model(data.parent / "chosen", calibration=chosen)
    (note,) = run(model, data, negatives=(negatives,)).photos.notes
    assert note.startswith(
        f"{negatives}: the thresholds of the model were chosen on photos of a folder of this name"
    )
    elsewhere = negatives.rename(data.parent / "elsewhere")
    assert run(model, data, negatives=(elsewhere,)).photos.notes == ()
    (note,) = run(model, elsewhere.rename(data.parent / "others")).photos.notes
    assert note.startswith(f"{data.parent / 'others'}: the thresholds")


def test_aliases_of_the_gazetteer_are_one_landmark(model: Path, tmp_path: Path) -> None:
    places = tmp_path / "places.csv"
    places.write_text("key,aliases,name\nstonehenge,steine,Stonehenge\n")
    save_colour(tmp_path / "all/Steine/0.png", BLUE)
    assert run(model, tmp_path / "all", own_places=places).summary.totals["known"].rightly.value == 1


def test_a_city_is_neither_right_nor_wrong_but_coarser(model: Path, tmp_path: Path) -> None:
    between = (30, 215, 65)  # as near to one tower of Porto as to the other
    save_colour(tmp_path / "all/Clerigos_Tower/0.png", between)
    save_colour(tmp_path / "all/Stonehenge/0.png", between)
    total = run(model, tmp_path / "all", min_confidence=0.9).summary.totals["known"]
    assert (total.coarser.value, total.coarser_true, total.rightly.value, total.wrongly.value) == (1, 1, 0, 0)


def test_an_uncalibrated_model_is_judged_by_its_probability(tmp_path: Path, data: Path) -> None:
    summary = run(make_model(tmp_path / "plain"), data).summary
    known = summary.totals["known"]
    assert known.rightly.value == pytest.approx(4 / 6)
    assert all(one.score == one.probability for one in summary.mistakes)


def test_a_photo_is_unreadable_to_every_kind_of_model(model: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    half = (0.5, 0.5, 0.5)
    save_torchscript(Predictor(network, ["A", "B"], half, half, resize=8, crop=8), tmp_path / "model.pt")
    photos = tmp_path / "photos"
    save_colour(photos / "A/0.png", RED)
    Image.new("RGB", (202, 2)).save(photos / "A/long.png")
    told = {run(one, photos).summary.unreadable for one in (model, tmp_path / "model.pt")}
    ((path, reason),) = told.pop()
    assert (path, told) == ((photos / "A/long.png").as_posix(), set())
    assert reason.startswith("202 x 2 pixels are more than 100 times as long as wide")


def test_onnx_means_its_folder(model: Path, data: Path, tmp_path: Path) -> None:
    assert run(model / "model.onnx", data).summary.to_dict() == run(model, data).summary.to_dict()
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((model / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"alone.onnx: without model.json"):
        run(alone, data)


def test_a_name_is_the_model_of_this_name_not_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world/run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert (uses_pytorch("world"), uses_pytorch("./world")) == (False, True)


@pytest.mark.parametrize("name", ["nowhere", "photo.png", "folder"])
def test_what_is_no_model_is_refused(name: str, data: Path, tmp_path: Path) -> None:
    save_colour(tmp_path / "photo.png", RED)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match=name):
        run(tmp_path / name, data)


def test_folders_without_photos_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty/CLASS").mkdir(parents=True)
    with pytest.raises(DataError, match="there are no photos"):
        run(model, tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        run(model, tmp_path / "nowhere")
    (tmp_path / "half/train/A").mkdir(parents=True)
    with pytest.raises(DataError, match="no test/"):
        run(model, tmp_path / "half")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/0.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of 1 photos can be read \(.*broken/0.jpg: "):
        run(model, tmp_path / "broken")
    flat = save_colour(tmp_path / "flat/0.png", GREY).parent
    with pytest.raises(DataError, match=r"empty: there are no photos in it: give a folder with one"):
        run(model, flat, tmp_path / "empty")
    with pytest.raises(DataError, match=r"empty: there are no photos in it: give .* without a landmark"):
        run(model, flat, negatives=(tmp_path / "empty",))
    assert run(model, flat, negatives=(flat,)).photos.photos[0].role == "negative"  # no photo of its own is needed
    save_colour(tmp_path / "valid/val/Stonehenge/0.png", BLUE)
    with pytest.raises(DataError, match="there is val/ but no test/"):
        run(model, tmp_path / "valid")
    with pytest.raises(SettingsError, match="`data` is empty"):
        EvaluateSettings(str(model), ())


def test_pictures_of_old_names_are_spelt_out(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    Image.new("RGB", (32, 32), RED).save(folder / "caf\udce9.png")
    evaluation = run(model, folder)
    write_metrics(evaluation, tmp_path / "out")
    write_report(evaluation, tmp_path / "out/report.html")
    assert "caf\\udce9.png" in (tmp_path / "out/report.html").read_text()


def test_a_page_of_very_many_landmarks_shows_the_worst_and_the_best(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank_plots(monkeypatch)
    evaluation = run(model, data)
    many = replace(evaluation.summary, landmarks=evaluation.summary.landmarks * 2500)
    write_report(replace(evaluation, summary=many), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "tables of more than 300 rows are cut to the first and the last ones" in page
    assert page.count("<tr>") < 300
    write_report(evaluation, tmp_path / "few.html")
    assert "are cut to" not in (tmp_path / "few.html").read_text()


def test_a_table_of_photos_is_evaluated_like_folders(model: Path, data: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},test" for path in sorted((data / "test").rglob("*.png"))]
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(["path,label,split", *rows, "gone.png,Nowhere,test"]))
    of_table, of_folders = run(model, table), run(model, data)
    assert of_table.summary.totals == of_folders.summary.totals
    assert any("left out 1 row (1 no such file)" in note for note in of_table.photos.notes)
    halves = (rows[0].replace(",test", ",train"), *(row.replace(",test", ",val") for row in rows[1:]))
    table.write_text("\n".join(["path,label,split", *halves]))
    assert run(model, table).summary.totals == of_folders.summary.totals


def test_kinds_are_named_wherever_the_folder_is_seen_from(
    model: Path, negatives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(negatives)
    found = evaluate_folder(EvaluateSettings(str(model), (), (Path(),), workers=1))
    assert {group.name for group in found.summary.kinds} == {"nothing/rooms", "nothing/fields"}
