"""Which sidecar belongs to which photo, and what a new one must preserve."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from exiftool_process import exiftool_writes, needs_exiftool
from PIL import Image

from landmarks.errors import MetadataError
from landmarks.geo.gazetteer import Place
from landmarks.metadata.edit import Edit, plan, target_of
from landmarks.metadata.entries import Entries
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.reading import read_position
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.sidecars import own_sidecar
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.keywords import entries_for
from landmarks.tagging.tags import Tag

TOWER = Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243")
TAG = Tag("Eiffel Tower", "landmark", 0.97, TOWER, "eiffel_tower")
FRAME = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {}>{}'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
MINE = FRAME.format('exif:GPSLatitude="10,30N" exif:GPSLongitude="20,15E"', "<dc:subject>mine</dc:subject>")


def photo(folder: Path, name: str = "I.jpg", **options: object) -> Path:
    path = folder / name
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", **options)
    path.write_bytes(buffer.getvalue())
    return path


def edit(path: Path, wanted: Entries, ours: Entries | None = None, options: WriteOptions | None = None) -> Edit:
    with ExifTool() as tool:
        return plan(path, wanted, ours or Entries(), options=options or WriteOptions(), tool=tool)


class TestWhose:
    @pytest.mark.parametrize(
        ("name", "others", "found"),
        [
            ("A.jpg", ["A.XMP"], "A.XMP"),
            ("A.jpg", ["a.xmp"], "a.xmp"),
            ("A.JPG", ["a.jpg.Xmp"], "a.jpg.Xmp"),
            ("A.jpg", ["A.jpg.XMP", "A.xmp"], "A.jpg.XMP"),
            ("I.jpg", ["I.AAE", "I.xmp"], "I.xmp"),
            ("I.jpg", ["I.AAE", "I.MOV", "I.THM", "I.json", "I.jpg.pp3", "I.jpg.dop", "I.dop", "I.xmp"], "I.xmp"),
            ("I.jpg", ["I.cr2", "I.xmp"], None),
            ("I.cr2", ["I.jpg", "I.xmp"], "I.xmp"),
            ("I.CR2", ["I.JPG", "i.XMP"], "i.XMP"),
            ("I.cr2", ["I.nef", "I.xmp"], None),
            ("I.jpg", ["I.heic", "I.xmp"], None),
            ("a.jpg", ["A.jpg", "A.jpg.xmp"], None),
            ("I.jpg", ["J.xmp", "I.jpg.txt"], None),
            ("I.jpg.jpeg", ["I.jpg", "I.jpg.xmp"], None),
            ("I.HEIC.jpg", ["i.heic", "I.heic.XMP"], None),
            ("I.cr2.jpg", ["I.cr2", "I.cr2.xmp"], None),
            ("I.MOV.jpg", ["I.MOV", "I.MOV.xmp"], None),
            ("I.jpg", ["I.jpg.jpeg", "I.jpg.xmp"], "I.jpg.xmp"),
            ("I.jpg.jpeg", ["I.jpg.xmp"], "I.jpg.xmp"),
            ("I.v2.jpg", ["I.v2.xmp", "I.v2.png.txt"], "I.v2.xmp"),
        ],
    )
    def test_by_names(self, tmp_path: Path, name: str, others: list[str], found: str | None) -> None:
        for other in [name, *others]:
            (tmp_path / other).touch()
        assert own_sidecar(tmp_path / name) == (None if found is None else tmp_path / found)

    @pytest.mark.parametrize("second", ["I.jpg.jpeg", "I.jpg.cr2", "i.JPG.jpeg"])
    def test_a_sidecar_with_the_whole_name_of_a_photo_is_no_other_ones(self, tmp_path: Path, second: str) -> None:
        photo(tmp_path)
        other = photo(tmp_path, second)
        (tmp_path / "I.jpg.xmp").write_text(MINE)
        assert read_position(other) is None
        assert target_of(other, WriteOptions()) == tmp_path / f"{second}.xmp"
        with pytest.raises(MetadataError, match="would belong to several photos"):
            target_of(other, WriteOptions(sidecar="stem"))

    @pytest.mark.parametrize(
        ("said", "owner"),
        [('photoshop:SidecarForExtension="JPG"', "I.jpg"), ('photoshop:SidecarForExtension="CR2"', "I.cr2")],
    )
    def test_by_content(self, tmp_path: Path, said: str, owner: str) -> None:
        for name in ("I.jpg", "I.cr2"):
            photo(tmp_path, name)
        (tmp_path / "I.xmp").write_text(FRAME.format(said, ""))
        assert own_sidecar(tmp_path / owner) == tmp_path / "I.xmp"

    def test_a_sidecar_that_comes_later_is_seen(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        assert own_sidecar(path) is None
        (tmp_path / "i.Xmp").touch()
        assert own_sidecar(path) == tmp_path / "i.Xmp"
        (tmp_path / "i.Xmp").unlink()
        assert own_sidecar(path) is None

    @pytest.mark.parametrize(
        ("form", "name", "target"),
        [
            ("auto", "I.jpg", "I.jpg.xmp"),
            ("auto", "I.NEF", "I.xmp"),
            ("full", "I.NEF", "I.NEF.xmp"),
            ("stem", "I.jpg", "I.xmp"),
        ],
    )
    def test_new_ones(self, tmp_path: Path, form: str, name: str, target: str) -> None:
        options = WriteOptions(sidecar=form)  # type: ignore[arg-type]
        assert target_of(photo(tmp_path, name), options) == tmp_path / target

    def test_lightroom_reads_photos_themselves_but_raw_files(self, tmp_path: Path) -> None:
        options = WriteOptions(program="lightroom")
        assert target_of(photo(tmp_path, "I.jpg"), options) == tmp_path / "I.jpg"
        assert target_of(photo(tmp_path, "J.CR3"), options) == tmp_path / "J.xmp"


class TestPosition:
    def test_of_another_photo_is_not_this_ones(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        (tmp_path / "I.xmp").write_text(MINE)
        assert read_position(path) == pytest.approx((10.5, 20.25))
        (tmp_path / "I.cr2").touch()
        assert read_position(path) is None

    def test_gps_into_the_sidecar_and_out_of_it(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        made = edit(path, entries_for([TAG], gps=True), options=WriteOptions(gps=True))
        made.target.write_bytes(made.after)
        assert b">estimated" in made.after
        assert read_position(path) is None, "it is the landmark's"
        assert not edit(path, entries_for([TAG], gps=True), made.ours).changes
        cleaned = edit(path, Entries(), made.ours)
        assert b"GPS" not in cleaned.after

    @pytest.mark.parametrize("where", ["sidecar", "nonsense in the sidecar", "photo"])
    def test_never_over_one_that_is_there(self, tmp_path: Path, where: str) -> None:
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (10.0, 30.0, 0.0), 3: "E", 4: (20.0, 15.0, 0.0)}
        path = photo(tmp_path, exif=exif if where == "photo" else Image.Exif())
        if where != "photo":
            text = MINE if where == "sidecar" else MINE.replace("10,30N", "99,0N")
            (tmp_path / "I.xmp").write_text(text)
        made = edit(path, entries_for([TAG], gps=True), options=WriteOptions(gps=True))
        assert made.ours.position is None
        assert b"estimated" not in made.after

    def test_where_the_camera_had_no_fix_it_is_written(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}
        made = edit(photo(tmp_path, exif=exif), entries_for([TAG], gps=True), options=WriteOptions(gps=True))
        assert made.ours.position == (48.8583, 2.2944)


class TestCarried:
    def test_the_users_city_is_never_changed_nor_mixed_with_ours(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        (tmp_path / "I.xmp").write_text(FRAME.format('photoshop:City="Lyon"', ""))
        entries = XmpPacket(edit(path, entries_for([TAG])).after).entries()
        assert (entries.city, entries.country, entries.sublocation) == (("Lyon",), (), ())
        (tmp_path / "I.xmp").write_text(FRAME.format('photoshop:City="PARIS"', ""))
        entries = XmpPacket(edit(path, entries_for([TAG])).after).entries()
        assert (entries.city, entries.country) == (("PARIS",), ("France",))

    @needs_exiftool
    @pytest.mark.parametrize("field", ["IPTC:City", "XMP-photoshop:City"])
    @pytest.mark.parametrize("in_place", [False, True])
    def test_nor_is_one_in_the_photo_contradicted(self, tmp_path: Path, field: str, in_place: bool) -> None:
        path, options = photo(tmp_path), WriteOptions(in_place=in_place)
        for city, added in (("Lyon", ()), ("PARIS", ("France",))):
            exiftool_writes(path, f"-{field}={city}")
            assert edit(path, entries_for([TAG]), options=options).added.country == added

    def test_an_empty_file_is_no_sidecar_yet(self, tmp_path: Path) -> None:
        inside = XmpPacket()
        inside.add(Entries(keywords=("Holiday",)))
        path = photo(tmp_path, xmp=inside.to_bytes())
        (tmp_path / "I.xmp").touch()
        made = edit(path, entries_for([TAG]))
        assert made.before == b""
        assert XmpPacket(made.after).entries().keywords[0] == "Holiday"

    def test_hierarchies_of_other_programs_come_into_a_first_tags_list(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        last = (
            '<m:LastKeywordXMP xmlns:m="http://ns.microsoft.com/photo/1.0/"><rdf:Bag><rdf:li>Urlaub/Meer</rdf:li>'
            "</rdf:Bag></m:LastKeywordXMP>"
        )
        (tmp_path / "I.xmp").write_text(FRAME.format('dc:subject="Meer"', last))
        entries = XmpPacket(edit(path, entries_for([TAG])).after).entries()
        assert entries.tag_paths == ("Urlaub/Meer", "Places/France/Paris/Eiffel Tower")

    def test_a_shared_sidecar_goes_on_in_the_new_one(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        photo(tmp_path, "I.heic")
        (tmp_path / "I.xmp").write_text(
            MINE.replace("<dc:subject>", "<dc:format>image/jpeg</dc:format><dc:subject>")
        )
        made = edit(path, entries_for([TAG]))
        assert made.target == tmp_path / "I.jpg.xmp"
        assert made.before is None
        assert b"image/jpeg" in made.after
        assert XmpPacket(made.after).entries().keywords[0] == "mine"
        assert "mine" not in made.ours.keywords

    def test_a_read_only_sidecar_is_named(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        (tmp_path / "I.xmp").write_text(MINE)
        (tmp_path / "I.xmp").chmod(0o444)
        with pytest.raises(MetadataError, match=r"I\.xmp: it is read-only") as caught:
            edit(path, entries_for([TAG]))
        assert caught.value.path == tmp_path / "I.xmp"

    @needs_exiftool
    def test_in_place_too(self, tmp_path: Path) -> None:
        path = photo(tmp_path)
        options = WriteOptions(in_place=True)
        made = edit(path, entries_for([TAG]), options=options)
        path.write_bytes(made.after)
        assert made.ours.city == ("Paris",)
        assert not edit(path, entries_for([TAG]), made.ours, options).changes
        path.write_bytes(edit(path, Entries(), made.ours, options).after)
        assert b"Paris" not in path.read_bytes()


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.touch()
    sidecar = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.XMP"))
    sidecar.touch()
    assert own_sidecar(path) == sidecar
