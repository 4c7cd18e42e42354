"""Sidecars, embedded metadata and positions: entries are added, and nothing of the user's is lost."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from exiftool_process import exiftool_says, exiftool_writes, needs_exiftool
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from landmarks.errors import MetadataError, SettingsError
from landmarks.geo.gazetteer import Place
from landmarks.imaging.decoding import load_rgb
from landmarks.metadata.edit import Edit, plan, target_of
from landmarks.metadata.entries import Entries, Location
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.packet import PacketError
from landmarks.metadata.reading import embedded_entries, read_facts, read_position
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket
from landmarks.tagging.keywords import entries_for
from landmarks.tagging.tags import Tag, tags_from_json, tags_to_json

TOWER = Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243")
TAG = Tag("Eiffel Tower", "landmark", 0.97, TOWER, "eiffel_tower")
WANTED = entries_for([TAG])
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
PACKETS = {
    "adobe": f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- written by hand -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk='XMP Core'>
  <rdf:RDF {RDF}>
    <rdf:Description   rdf:about='' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating='4' {DC}>
      <dc:subject><rdf:Bag><rdf:li>Urlaub &amp; Meer</rdf:li>
        <rdf:li>\u00e9t\u00e9 &#233;</rdf:li></rdf:Bag></dc:subject>
    </rdf:Description>
  </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>   \n""",
    "other prefixes": """<R:RDF xmlns:R="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><R:Description R:about="a">
<q:subject xmlns:q="http://purl.org/dc/elements/1.1/"><R:Seq><R:li>b</R:li><R:li>a</R:li></R:Seq></q:subject>
</R:Description></R:RDF>""",
    "default prefix": """<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><Description>
<q:subject xmlns:q="http://purl.org/dc/elements/1.1/"><Bag><li>b</li></Bag></q:subject></Description></RDF>""",
    "closed at once": f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>
 <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="a > b"/>
</rdf:RDF></x:xmpmeta>""",
    "no description": f"<rdf:RDF {RDF}/>",
    "empty list": f"""<rdf:RDF {RDF}><rdf:Description {DC}>
<dc:subject><rdf:Bag/></dc:subject></rdf:Description></rdf:RDF>""",
    "one for each": f"""<rdf:RDF {RDF}>
 <rdf:Description rdf:about="" {DC}><dc:title>x</dc:title></rdf:Description>
 <rdf:Description rdf:about="" {DC}>
  <dc:subject><rdf:Bag><rdf:li>z</rdf:li></rdf:Bag></dc:subject></rdf:Description>
</rdf:RDF>""",
}


def photo_bytes(kind: str = "JPEG", **options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    buffer = BytesIO()
    if kind in {"HEIF"}:
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, format="HEIF")
    else:
        Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_bytes())
    return path


@functools.cache
def shared_tool() -> ExifTool:
    return ExifTool()


@pytest.fixture(scope="module", autouse=True)
def _tool_ends() -> Iterator[None]:
    yield
    shared_tool().close()


def edit(photo: Path, wanted: Entries = WANTED, ours: Entries | None = None, **options: bool) -> Edit:
    wished = WriteOptions(**options)  # type: ignore[arg-type]
    return plan(photo, wanted, ours or Entries(), options=wished, tool=shared_tool())


class TestEntries:
    def test_a_landmark_becomes_keywords_paths_and_a_location(self) -> None:
        assert WANTED.keywords == ("Eiffel Tower", "Paris", "France")
        assert WANTED.hierarchy == ("Places|France|Paris|Eiffel Tower",)
        assert WANTED.tag_paths == ("Places/France/Paris/Eiffel Tower",)
        assert WANTED.locations == (
            Location(
                "Eiffel Tower", "Paris", "France", "FR", 48.8583, 2.2944, "http://www.wikidata.org/entity/Q243"
            ),
        )
        assert (WANTED.sublocation, WANTED.city) == (("Eiffel Tower",), ("Paris",))
        assert (WANTED.country, WANTED.country_code) == (("France",), ("FR",))
        assert not WANTED.iptc_keywords
        assert WANTED.position is None

    def test_other_levels(self) -> None:
        city = entries_for([Tag("Paris", "city", 0.9, TOWER, None)])
        assert city.hierarchy == ("Places|France|Paris",)
        assert city.locations == (Location("", "Paris", "France", "FR"),), "the tower's position is not the city's"
        country = entries_for([Tag("France", "country", 0.9, TOWER, None)])
        assert country.keywords == ("France",)
        assert country.locations == (Location("", "", "France", "FR"),)
        kind = entries_for([Tag("tower", "kind", 0.9, TOWER, None)])
        assert (kind.keywords, kind.locations) == (("tower",), ())
        assert entries_for([Tag("Somewhere", "landmark", 0.9, None, "x")]).hierarchy == ("Places|Somewhere",)
        assert entries_for([]) == Entries()

    def test_a_path_that_another_one_contains_is_left_out(self) -> None:
        tags = [TAG, Tag("Paris", "city", 0.9, TOWER, None), Tag("France", "country", 0.9, TOWER, None)]
        assert entries_for(tags).hierarchy == WANTED.hierarchy

    def test_a_city_state_is_named_once(self) -> None:
        place = Place("m", "Marina Bay", "Singapore", "Singapore", "SG", "", None, None, None)
        assert entries_for([Tag("Marina Bay", "landmark", 1, place, "m")]).hierarchy == (
            "Places|Singapore|Marina Bay",
        )

    def test_separators_and_line_breaks_in_names(self) -> None:
        entries = entries_for([Tag("AC/DC|Lane\n2", "kind", 0.9, None, None)])
        assert entries.hierarchy == ("Places|AC/DC-Lane 2",)
        assert entries.tag_paths == ("Places/AC-DC|Lane 2",)

    def test_iptc_keywords_keep_to_their_limit(self) -> None:
        entries = entries_for(
            [Tag("\u00e9" * 33, "kind", 1, None, None), Tag("ok", "kind", 1, None, None)], iptc=True
        )
        assert entries.iptc_keywords == ("ok",)

    def test_json_keeps_everything(self) -> None:
        entries = entries_for([TAG], iptc=True, gps=True)
        assert entries.position == (48.8583, 2.2944)
        assert Entries.from_json(entries.to_json()) == entries
        assert tags_from_json(tags_to_json([TAG])) == (TAG,)


class TestPacket:
    @pytest.mark.parametrize("name", PACKETS)
    @pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
    def test_what_stood_there_stays_in_place(self, name: str, codec: str) -> None:
        raw = PACKETS[name].encode(codec)
        packet = XmpPacket(raw)
        assert packet.to_bytes() == raw
        before = packet.entries()
        packet.add(WANTED)
        added = packet.to_bytes()
        assert added.decode(codec)
        after = XmpPacket(added).entries()
        assert after.keywords == before.keywords + WANTED.keywords
        assert after.hierarchy == WANTED.hierarchy
        assert after.locations[0].key == WANTED.locations[0].key
        assert after.locations[0].latitude == pytest.approx(48.8583)
        assert _is_subsequence(raw if name != "no description" and name != "closed at once" else b"", added)
        packet.remove(WANTED)
        assert packet.entries() == before

    @pytest.mark.parametrize("name", ["adobe", "other prefixes", "default prefix", "one for each"])
    def test_an_addition_to_lists_can_be_taken_out_without_a_trace(self, name: str) -> None:
        raw = PACKETS[name].encode()
        packet = XmpPacket(raw)
        packet.add(Entries(keywords=("Paris", "a < b & c")))
        assert XmpPacket(packet.to_bytes()).entries().keywords[-2:] == ("Paris", "a < b & c")
        packet.remove(Entries(keywords=("Paris", "a < b & c")))
        assert packet.to_bytes() == raw

    @settings(deadline=None)
    @given(
        st.sampled_from(sorted(PACKETS)),
        st.lists(st.tuples(st.booleans(), st.lists(st.text(min_size=1), max_size=3)), max_size=6),
    )
    def test_any_text_can_go_in_and_out(self, name: str, steps: list[tuple[bool, list[str]]]) -> None:
        packet = XmpPacket(PACKETS[name].encode())
        original = packet.entries().keywords
        for put_in, words in steps:
            clean = tuple(w for w in words if w not in original)
            entries = Entries(keywords=clean, hierarchy=clean)
            (packet.add if put_in else packet.remove)(entries.without(Entries(keywords=original)))
            packet = XmpPacket(packet.to_bytes())
        assert packet.entries().keywords[: len(original)] == original

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"<x:xmpmeta", "broken"),
            (b"<a></b>", "broken"),
            (b"<a/>", "no rdf:RDF"),
            (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
            (b"\xff\xfe<\x00a", "broken"),
            (b"<a>\xff</a>", "not utf-8"),
            (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not nonsense"),
            (b"<a>" * 200 + b"</a>" * 200, "too deeply"),
        ],
    )
    def test_broken_packets_are_refused(self, raw: bytes, reason: str) -> None:
        with pytest.raises(PacketError, match=reason):
            XmpPacket(raw)

    def test_other_notations_of_a_location_are_read(self) -> None:
        raw = f"""<rdf:RDF {RDF}><rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
        <e:LocationShown><rdf:Bag><rdf:li e:City="Paris" e:CountryName="France"/>
        <rdf:li rdf:parseType="Resource"><e:City>Rom</e:City></rdf:li></rdf:Bag></e:LocationShown>
        </rdf:Description></rdf:RDF>"""
        assert XmpPacket(raw.encode()).entries().locations == (
            Location("", "Paris", "France"),
            Location("", "Rom"),
        )


def _is_subsequence(small: bytes, large: bytes) -> bool:
    rest = iter(large)
    return all(byte in rest for byte in small)


class TestSidecar:
    def test_a_new_one_beside_a_plain_photo(self, photo: Path) -> None:
        made = edit(photo)
        assert made.target == photo.with_name("photo.jpg.xmp")
        assert XmpPacket(made.after).entries() == WANTED
        assert made.ours == made.added == WANTED
        assert "+ dc:subject: Eiffel Tower" in made.diff()
        assert not photo.with_name("photo.jpg.xmp").exists(), "planning writes nothing"

    @needs_exiftool
    def test_exiftool_reads_it_as_meant(self, photo: Path) -> None:
        made = edit(photo)
        made.target.write_bytes(made.after)
        said = exiftool_says(made.target, "-validate", "-XMP:all")
        assert said["ExifTool:Validate"] == "0 0 0"
        assert said["XMP-dc:Subject"] == ["Eiffel Tower", "Paris", "France"]
        assert said["XMP-lr:HierarchicalSubject"] == ["Places|France|Paris|Eiffel Tower"]
        assert said["XMP-digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]
        shown = said["XMP-iptcExt:LocationShown"][0]
        assert (shown["City"], shown["CountryCode"], shown["LocationName"]) == ("Paris", "FR", "Eiffel Tower")
        assert (shown["GPSLatitude"], shown["GPSLongitude"]) == (48.8583, 2.2944)
        assert "XMP-exif:GPSLatitude" not in said, "programs would take it for the camera's position"

    def test_merging_never_says_twice_what_the_user_said(self, photo: Path) -> None:
        sidecar = photo.with_name("photo.jpg.xmp")
        sidecar.write_bytes(PACKETS["adobe"].replace("Urlaub &amp; Meer", "PARIS").encode())
        made = edit(photo)
        assert XmpPacket(made.after).entries().keywords == (
            "PARIS",
            "\u00e9t\u00e9 \u00e9",
            "Eiffel Tower",
            "France",
        )
        assert "Paris" not in made.ours.keywords
        sidecar.write_bytes(made.after)
        assert not edit(photo, WANTED, made.ours).changes
        assert XmpPacket(edit(photo, Entries(), made.ours).after).entries().keywords[0] == "PARIS"

    def test_another_model_changes_only_ours(self, photo: Path) -> None:
        sidecar = photo.with_name("photo.jpg.xmp")
        sidecar.write_bytes(PACKETS["adobe"].encode())
        first = edit(photo)
        sidecar.write_bytes(first.after)
        second = edit(photo, entries_for([Tag("France", "country", 0.9, TOWER, None)]), first.ours)
        assert second.removed.keywords == ("Eiffel Tower", "Paris")
        assert not second.added.keywords
        assert XmpPacket(second.after).entries().keywords == ("Urlaub & Meer", "\u00e9t\u00e9 \u00e9", "France")

    @pytest.mark.parametrize("in_place", [False, pytest.param(True, marks=needs_exiftool)])
    def test_a_location_that_is_known_better_replaces_ours(self, photo: Path, in_place: bool) -> None:
        first = edit(photo, in_place=in_place)
        first.target.write_bytes(first.after)
        moved, renamed = replace(TOWER, latitude=48.9), replace(TOWER, wikidata="Q244")
        for place in (moved, renamed):
            wanted = entries_for([replace(TAG, place=place)])
            second = edit(photo, wanted, first.ours, in_place=in_place)
            assert second.removed == Entries(locations=first.ours.locations)
            assert second.added == Entries(locations=wanted.locations)
            second.target.write_bytes(second.after)
            present = embedded_entries(photo)[0] if in_place else XmpPacket(second.after).entries()
            assert present.locations == second.ours.locations == wanted.locations
            assert not edit(photo, wanted, second.ours, in_place=in_place).changes
            first = second

    def test_a_location_that_the_user_corrected_stays(self, photo: Path) -> None:
        first = edit(photo)
        users = first.after.replace(b"48,51.", b"48,59.")
        assert users != first.after
        first.target.write_bytes(users)
        assert not edit(
            photo, entries_for([replace(TAG, place=replace(TOWER, latitude=48.9))]), first.ours
        ).changes

    def test_what_the_user_took_out_is_told(self, photo: Path) -> None:
        first = edit(photo)
        packet = XmpPacket(first.after)
        packet.remove(Entries(keywords=("Eiffel Tower",)))
        first.target.write_bytes(packet.to_bytes())
        second = edit(photo, WANTED, first.ours)
        assert second.gone.keywords == ("Eiffel Tower",)
        assert "Eiffel Tower" not in XmpPacket(second.after).entries().keywords

    def test_the_users_keywords_do_not_vanish_behind_a_first_tags_list(self, photo: Path) -> None:
        sidecar = photo.with_name("photo.jpg.xmp")
        sidecar.write_bytes(PACKETS["adobe"].encode())
        made = edit(photo)
        paths = XmpPacket(made.after).entries().tag_paths
        assert paths == ("Urlaub & Meer", "\u00e9t\u00e9 \u00e9", *WANTED.tag_paths)
        assert made.ours.tag_paths == WANTED.tag_paths
        ours = Entries.from_json(made.ours.to_json())  # as the ledger stores them
        packet = XmpPacket(made.after)
        packet.add(Entries(tag_paths=("Mine",)))
        for after, left in ((made.after, ()), (packet.to_bytes(), (*paths[:-1], "Mine"))):
            sidecar.write_bytes(after)
            assert XmpPacket(edit(photo, Entries(), ours).after).entries().tag_paths == left
        sidecar.write_bytes(made.after)
        other = entries_for([replace(TAG, name="Tour Eiffel")])
        assert set(XmpPacket(edit(photo, other, ours).after).entries().tag_paths) >= set(paths[:-1])

    @needs_exiftool
    def test_a_first_tags_list_in_a_photo_goes_with_our_paths(self, photo: Path) -> None:
        exiftool_writes(photo, "-XMP-dc:Subject=Mine")
        made = edit(photo, in_place=True)
        photo.write_bytes(made.after)
        assert exiftool_says(photo)["XMP-digiKam:TagsList"] == ["Mine", *WANTED.tag_paths]
        photo.write_bytes(edit(photo, Entries(), made.ours, in_place=True).after)
        said = exiftool_says(photo)
        assert (said.get("XMP-digiKam:TagsList"), said["XMP-dc:Subject"]) == (None, ["Mine"])

    def test_embedded_keywords_do_not_vanish_behind_a_new_sidecar(self, photo: Path) -> None:
        packet = XmpPacket()
        packet.add(Entries(keywords=("Holiday",), hierarchy=("Family|Anna",)))
        photo.write_bytes(photo_bytes(xmp=packet.to_bytes()))
        entries = XmpPacket(edit(photo).after).entries()
        assert entries.keywords == ("Holiday", *WANTED.keywords)
        assert entries.hierarchy == ("Family|Anna", *WANTED.hierarchy)
        assert entries.tag_paths == ("Family/Anna", "Holiday", *WANTED.tag_paths)

    @pytest.mark.parametrize("raw", [b"<a", b"my own notes", b"<html/>"])
    def test_a_broken_one_is_left_alone(self, photo: Path, raw: bytes) -> None:
        sidecar = photo.with_name("photo.jpg.xmp")
        sidecar.write_bytes(raw)
        with pytest.raises(MetadataError, match=r"photo\.jpg\.xmp: .*left alone"):
            edit(photo)
        assert sidecar.read_bytes() == raw

    def test_links_and_protected_files_are_refused(self, photo: Path, tmp_path: Path) -> None:
        sidecar = photo.with_name("photo.jpg.xmp")
        sidecar.symlink_to(tmp_path / "elsewhere.xmp")
        with pytest.raises(MetadataError, match=r"it is a link, .*: replace it by the file it leads to"):
            edit(photo)
        sidecar.unlink()
        sidecar.write_bytes(PACKETS["adobe"].encode())
        sidecar.chmod(0o444)
        with pytest.raises(MetadataError, match="read-only"):
            edit(photo)
        sidecar.chmod(0o644)
        os.link(sidecar, tmp_path / "second")
        with pytest.raises(MetadataError, match="hard links"):
            edit(photo)
        sidecar.unlink()
        sidecar.mkdir()
        with pytest.raises(MetadataError, match="not a regular file"):
            edit(photo)

    def test_a_huge_one_is_left_alone(self, photo: Path) -> None:
        with photo.with_name("photo.jpg.xmp").open("wb") as file:
            file.truncate(33 * 2**20)
        with pytest.raises(MetadataError, match="too large"):
            edit(photo)

    @pytest.mark.parametrize(
        ("option", "others", "expected"),
        [
            ("full", [], "photo.jpg.xmp"),
            ("full", ["photo.xmp"], "photo.xmp"),
            ("full", ["photo.xmp", "photo.CR2"], "photo.jpg.xmp"),
            ("full", ["photo.xmp", "photo.jpg.xmp"], "photo.jpg.xmp"),
            ("stem", [], "photo.xmp"),
            ("stem", ["photo.jpg.xmp"], "photo.jpg.xmp"),
            ("stem", ["photo.CR2"], None),
        ],
    )
    def test_its_name(self, photo: Path, option: str, others: list[str], expected: str | None) -> None:
        for name in others:
            photo.with_name(name).touch()
        options = WriteOptions(sidecar=option)  # type: ignore[arg-type]
        if expected is None:
            with pytest.raises(MetadataError, match="several photos"):
                target_of(photo, options)
        else:
            assert target_of(photo, options) == photo.with_name(expected)

    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.jpg"))
        path.write_bytes(photo_bytes())
        made = edit(path)
        assert os.fsencode(made.target).endswith(b"caf\xe9\n.jpg.xmp")
        assert made.diff().encode()


@needs_exiftool
class TestInPlace:
    @pytest.mark.parametrize(
        ("kind", "suffix"),
        [
            ("JPEG", "jpg"),
            ("PNG", "png"),
            ("WEBP", "webp"),
            ("TIFF", "tif"),
            ("GIF", "gif"),
            ("HEIF", "heic"),
            ("AVIF", "avif"),
            ("JPEG2000", "jp2"),
        ],
    )
    def test_pixels_stay_and_entries_come_and_go(self, tmp_path: Path, kind: str, suffix: str) -> None:
        photo = tmp_path / f"photo.{suffix}"
        photo.write_bytes(photo_bytes(kind))
        pixels = load_rgb(photo)
        exiftool_writes(photo, "-XMP-dc:Subject=mine")
        assert embedded_entries(photo)[0].keywords == ("mine",)
        gps, iptc = kind != "GIF", kind in {"JPEG", "PNG", "TIFF", "JPEG2000"}
        wanted = entries_for([TAG], gps=True, iptc=True)
        made = edit(photo, wanted, in_place=True, gps=True, iptc=True)
        assert (made.added.position is not None, made.added.iptc_keywords != ()) == (gps, iptc)
        photo.write_bytes(made.after)
        assert np.array_equal(load_rgb(photo), pixels)
        said = exiftool_says(photo)
        assert said["XMP-dc:Subject"] == ["mine", "Eiffel Tower", "Paris", "France"]
        assert list(embedded_entries(photo)[0].keywords) == said["XMP-dc:Subject"]
        assert said["XMP-digiKam:TagsList"] == ["mine", "Places/France/Paris/Eiffel Tower"]
        assert said["XMP-iptcExt:LocationShown"][0]["GPSLatitude"] == pytest.approx(48.8583)
        assert ("GPS:GPSLatitude" in said, "IPTC:Keywords" in said) == (gps, iptc)
        assert read_position(photo) is None, "it is the landmark's"
        assert not edit(photo, wanted, made.ours, in_place=True, gps=True, iptc=True).changes
        cleaned = edit(photo, Entries(), made.ours, in_place=True)
        photo.write_bytes(cleaned.after)
        assert np.array_equal(load_rgb(photo), pixels)
        said = exiftool_says(photo)
        assert said["XMP-dc:Subject"] == ["mine"]
        assert "XMP-iptcExt:LocationShown" not in said
        assert "GPS:GPSLatitude" not in said

    def test_iptc_keywords_only_if_asked(self, photo: Path) -> None:
        exiftool_writes(photo, "-IPTC:Keywords=Urlaub")
        photo.write_bytes(edit(photo, in_place=True).after)
        assert exiftool_says(photo)["IPTC:Keywords"] == "Urlaub"
        made = edit(photo, entries_for([TAG], iptc=True), WANTED, in_place=True, iptc=True)
        photo.write_bytes(made.after)
        assert exiftool_says(photo)["IPTC:Keywords"] == ["Urlaub", "Eiffel Tower", "Paris", "France"]
        assert exiftool_says(photo)["XMP-digiKam:TagsList"][0] == "Urlaub"

    def test_accents_in_new_iptc_keywords(self, photo: Path) -> None:
        wanted = entries_for([Tag("S\u00e8te \u2013 \u014csaka", "kind", 1, None, None)], iptc=True)
        photo.write_bytes(edit(photo, wanted, in_place=True, iptc=True).after)
        assert exiftool_says(photo)["IPTC:Keywords"] == "S\u00e8te \u2013 \u014csaka"

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    @pytest.mark.parametrize(
        ("charset", "name"),
        [("Latin", "\u30ed\u30fc\u30de"), ("UTF8", "\u30ed\u30fc\u30de"), ("UTF8", "S\u00e8te")],
    )
    def test_old_iptc_is_converted_where_it_cannot_hold_a_keyword(
        self, tmp_path: Path, kind: str, charset: str, name: str
    ) -> None:
        photo = tmp_path / f"photo.{kind.lower()}"
        photo.write_bytes(photo_bytes(kind))
        long = "\u00fc" * 64
        old = ["-m", "-charset", f"iptc={charset}", "-IPTC:Keywords=Urlaub", f"-IPTC:Keywords+={long}"]
        exiftool_writes(photo, *old, "-IPTC:Caption-Abstract=Gr\u00fc\u00dfe")
        wanted = entries_for([Tag(name, "kind", 1, None, None)], iptc=True)
        made = edit(photo, wanted, in_place=True, iptc=True)
        photo.write_bytes(made.after)
        said = exiftool_says(photo)
        assert said["IPTC:Keywords"] == ["Urlaub", long, name]
        assert said["IPTC:Caption-Abstract"] == "Gr\u00fc\u00dfe"
        assert said["XMP-digiKam:TagsList"][:2] == ["Urlaub", long]
        assert not edit(photo, wanted, made.ours, in_place=True, iptc=True).changes
        photo.write_bytes(edit(photo, Entries(), made.ours, in_place=True).after)
        assert exiftool_says(photo)["IPTC:Keywords"] == ["Urlaub", long]

    def test_old_iptc_stays_as_it_is_where_it_can_hold_the_keywords(self, photo: Path) -> None:
        exiftool_writes(photo, "-charset", "iptc=Latin", "-IPTC:Keywords=K\u00f6ln")
        wanted = entries_for([Tag("S\u00e8te", "kind", 1, None, None)], iptc=True)
        photo.write_bytes(edit(photo, wanted, in_place=True, iptc=True).after)
        said = exiftool_says(photo)
        assert (said["IPTC:Keywords"], "IPTC:CodedCharacterSet" in said) == (["K\u00f6ln", "S\u00e8te"], False)

    @pytest.mark.parametrize("where", ["EXIF", "XMP-exif", "sidecar"])
    def test_a_camera_position_is_never_touched(self, photo: Path, where: str) -> None:
        target = photo.with_name("photo.jpg.xmp") if where == "sidecar" else photo
        group = "XMP-exif" if where == "sidecar" else where
        arguments = [f"-{group}:GPSLatitude=10.5", f"-{group}:GPSLongitude=20.25"]
        if where == "EXIF":
            arguments += ["-GPSLatitudeRef=S", "-GPSLongitudeRef=E"]
        exiftool_writes(target, *arguments)
        camera = (-10.5 if where == "EXIF" else 10.5, 20.25)
        assert read_position(photo) == pytest.approx(camera)
        made = edit(photo, entries_for([TAG], gps=True), in_place=True, gps=True)
        assert made.ours.position is None
        photo.write_bytes(made.after)
        assert read_position(photo) == pytest.approx(camera)

    def test_coordinates_that_are_no_numbers_stop_nothing(self, photo: Path) -> None:
        # 0/0: what cameras without a fix record.
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (IFDRational(0, 0),) * 3, 3: "E", 4: (IFDRational(0, 0),) * 3}
        photo.write_bytes(photo_bytes(exif=exif))
        place = "{LocationName=Pier,GPSLatitude=unknown,GPSLongitude=999}"
        exiftool_writes(photo, f"-XMP-iptcExt:LocationShown={place}")
        made = edit(photo, entries_for([TAG], gps=True), in_place=True, gps=True)
        photo.write_bytes(made.after)
        assert "Eiffel Tower" in exiftool_says(photo)["XMP-dc:Subject"]
        shown = exiftool_says(photo)["XMP-iptcExt:LocationShown"]
        assert [one["LocationName"] for one in shown] == ["Pier", "Eiffel Tower"]
        assert not edit(photo, entries_for([TAG], gps=True), made.ours, in_place=True, gps=True).changes

    def test_a_position_of_ours_that_the_user_corrects_is_the_users(self, photo: Path) -> None:
        first = edit(photo, entries_for([TAG], gps=True), in_place=True, gps=True)
        photo.write_bytes(first.after)
        correct = ["-GPS:GPSLatitude=48.86", "-GPS:GPSLongitude=2.3"]
        exiftool_writes(photo, *correct)
        assert read_position(photo) == pytest.approx((48.86, 2.3))
        photo.write_bytes(edit(photo, Entries(), first.ours, in_place=True).after)
        assert read_position(photo) == pytest.approx((48.86, 2.3))

    def test_keywords_that_look_like_numbers_or_options(self, photo: Path) -> None:
        words = ("2015", "-1", "1e5", "-execute", "#", "<x>", "a\\nb", "{ready}", "[x]")
        photo.write_bytes(edit(photo, Entries(keywords=words), in_place=True).after)
        assert edit(photo, Entries(keywords=words), Entries(keywords=words), in_place=True).changes is False
        struct = Entries(locations=(Location("a|b, {c} [d]", "=", "}", ""),))
        made = edit(photo, struct, in_place=True)
        photo.write_bytes(made.after)
        assert not edit(photo, struct, made.ours, in_place=True).changes
        assert "XMP-iptcExt:LocationShown" in exiftool_says(photo)

    @pytest.mark.parametrize("raw", [b"", b"no photo", photo_bytes("BMP"), photo_bytes()[:200]])
    def test_what_exiftool_cannot_write_is_refused(self, photo: Path, raw: bytes) -> None:
        photo.write_bytes(raw)
        with pytest.raises(MetadataError, match="ExifTool cannot"):
            edit(photo, in_place=True)
        assert photo.read_bytes() == raw

    def test_a_crash_of_exiftool_is_reported_and_got_over(self, photo: Path) -> None:
        with ExifTool() as tool:
            tool.read(photo, photo.read_bytes())
            assert tool._process is not None
            tool._process.kill()
            tool._process.wait()
            with pytest.raises(MetadataError, match="broke down"):
                tool.read(photo, photo.read_bytes())
            assert tool.read(photo, photo.read_bytes()) == (Entries(), False)

    def test_ctrl_c_does_not_reach_exiftool(self, photo: Path) -> None:
        with ExifTool() as tool:
            tool.read(photo, photo.read_bytes())
            assert tool._process is not None
            assert os.getpgid(tool._process.pid) != os.getpgrp()

    def test_links_and_read_only_photos_are_refused(self, photo: Path) -> None:
        link = photo.with_name("link.jpg")
        link.symlink_to(photo)
        with pytest.raises(MetadataError, match="link"):
            edit(link, in_place=True)
        photo.chmod(0o444)
        with pytest.raises(MetadataError, match="read-only"):
            edit(photo, in_place=True)


def test_without_exiftool_the_way_out_is_named(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    shared_tool().close()
    with pytest.raises(MetadataError, match="install it"):
        edit(photo, in_place=True)
    assert edit(photo).changes


def test_options_check_themselves() -> None:
    with pytest.raises(SettingsError, match="`in_place`"):
        WriteOptions(iptc=True)
    with pytest.raises(SettingsError, match="auto, full, stem"):
        WriteOptions(sidecar="x")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="immich"):
        WriteOptions(program="x")  # type: ignore[arg-type]
    lightroom = WriteOptions(program="lightroom")
    assert (lightroom.sidecar, lightroom.in_place) == ("stem", True)
    assert WriteOptions(program="immich", gps=True).key == "sidecar-full+gps"
    keys = {WriteOptions().key, WriteOptions(sidecar="stem").key, WriteOptions(in_place=True).key}
    assert len(keys | {WriteOptions(in_place=True, gps=True).key}) == 4


class TestPosition:
    def gps(self, latitude: tuple[float, ...], reference: str, **more: object) -> Image.Exif:
        exif = Image.Exif()
        exif[0x8825] = {1: reference, 2: latitude, 3: "E", 4: (2.0, 17.0, 40.0), **more}
        return exif

    def test_exif(self, photo: Path) -> None:
        assert read_position(photo) is None
        photo.write_bytes(photo_bytes(exif=self.gps((48.0, 51.0, 30.0), "N")))
        assert read_position(photo) == pytest.approx((48.858333, 2.294444), abs=1e-6)
        photo.write_bytes(photo_bytes(exif=self.gps((48.0, 51.0, 30.0), "S")))
        assert read_position(photo) == pytest.approx((-48.858333, 2.294444), abs=1e-6)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
    def test_other_formats(self, photo: Path, kind: str) -> None:
        photo.write_bytes(photo_bytes(kind, exif=self.gps((48.0, 51.0, 30.0), "N").tobytes()))
        assert read_position(photo) == pytest.approx((48.858333, 2.294444), abs=1e-6)

    @pytest.mark.parametrize("length", [4, 12])
    def test_a_box_of_a_jpeg_2000_file(self, tmp_path: Path, length: int) -> None:
        photo, exif = tmp_path / "photo.jp2", self.gps((48.0, 51.0, 30.0), "N")
        exif[ExifTags.Base.Orientation] = 6
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:05:01 18:00:00"
        plain = photo_bytes("JPEG2000")
        box = b"uuid" + b"JpgTiffExif->JP2" + exif.tobytes().removeprefix(b"Exif\0\0")
        size = len(box) + length
        head = size.to_bytes(4, "big") + box[:4] if length == 4 else b"\0\0\0\1uuid" + size.to_bytes(8, "big")
        at = plain.index(b"jp2c") - 4  # before the picture, as ExifTool writes it
        photo.write_bytes(plain[:at] + head + box[4:] + plain[at:])
        facts = read_facts(photo)
        assert facts.position == pytest.approx((48.858333, 2.294444), abs=1e-6)
        assert (facts.taken, facts.size) == (datetime(2026, 5, 1, 18), (40, 56))
        assert np.array_equal(load_rgb(photo), np.rot90(load_rgb(plain), -1)), "turned as its EXIF says"
        photo.write_bytes(photo.read_bytes()[: at + 40])
        assert read_position(photo) is None, "cut short"

    @pytest.mark.parametrize("latitude", [(95.0, 0.0, 0.0), (0.0, 0.0)])
    def test_nonsense_counts_as_none(self, photo: Path, latitude: tuple[float, ...]) -> None:
        exif = self.gps(latitude, "N")
        if latitude == (0.0, 0.0):
            exif[0x8825][4] = (0.0, 0.0, 0.0)
        photo.write_bytes(photo_bytes(exif=exif))
        assert read_position(photo) is None

    def test_the_sidecar_comes_first(self, photo: Path) -> None:
        photo.write_bytes(photo_bytes(exif=self.gps((48.0, 51.0, 30.0), "N")))
        photo.with_suffix(".xmp").write_text(
            f'<rdf:RDF {RDF}><rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" '
            'exif:GPSLatitude="10,30.0N" exif:GPSLongitude="20,15,0W"/></rdf:RDF>'
        )
        assert read_position(photo) == pytest.approx((10.5, -20.25))
        photo.with_suffix(".xmp").write_text("broken")
        assert read_position(photo) == pytest.approx((48.858333, 2.294444), abs=1e-6)

    def test_what_is_no_photo_has_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe1\x00\x10Exif\0\0II*\0garbage")
        os.mkfifo(tmp_path / "pipe.jpg")
        for name in ("a.jpg", "pipe.jpg", "missing.jpg", "."):
            assert read_position(tmp_path / name) is None

    def test_the_landmark_in_a_sidecar_of_ours_is_no_camera_position(self, photo: Path) -> None:
        made = edit(photo)
        made.target.write_bytes(made.after)
        assert read_position(photo) is None
