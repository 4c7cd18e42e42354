"""XMP as other programs write it: every notation, prefix and encoding, judged by exiv2 and ExifTool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from exiftool_process import exiftool_says, needs_exiftool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmarks.metadata.entries import Entries, Location
from landmarks.metadata.gps import exif_degrees, parse_degrees
from landmarks.metadata.xmp import XmpPacket

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
NAMES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
}
OURS = Entries(
    keywords=("Eiffel Tower", "Paris"),
    hierarchy=("Places|France|Paris|Eiffel Tower",),
    tag_paths=("Places/France/Paris/Eiffel Tower",),
    locations=(
        Location("Eiffel Tower", "Paris", "France", "FR", 48.8583, 2.2944, "http://www.wikidata.org/entity/Q243"),
    ),
    sublocation=("Eiffel Tower",),
    city=("Paris",),
    country=("France",),
    country_code=("FR",),
    position=(48.8583, 2.2944),
)
needs_exiv2 = pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed (Debian: exiv2)")


def packet(body: str = "", attributes: str = "", **names: str) -> str:
    """A packet with a rating; `names` are prefixes for the namespaces of `NAMES`."""
    bound = " ".join(f'xmlns:{prefix}="{NAMES[name]}"' for name, prefix in names.items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" '
        f'xmlns:xmp="{NAMES["xmp"]}" xmp:Rating="5" {bound} {attributes}>{body}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )


FORMS = {
    # What stands there, and the user's keywords in it.
    "attribute": (packet(attributes='dc:subject="x &amp; y"', dc="dc"), ("x & y",)),
    "empty attribute": (packet(attributes='dc:subject=""', dc="dc"), ()),
    "text": (packet("<dc:subject>a</dc:subject>", dc="dc"), ("a",)),
    "closed at once": (packet("<dc:subject/>", dc="dc"), ()),
    "empty": (packet("<dc:subject></dc:subject>", dc="dc"), ()),
    "empty bag": (packet("<dc:subject><rdf:Bag/></dc:subject>", dc="dc"), ()),
    "sequence": (packet("<dc:subject><rdf:Seq><rdf:li>a</rdf:li></rdf:Seq></dc:subject>", dc="dc"), ("a",)),
    "resource": (packet('<dc:subject rdf:resource="http://a/b"/>', dc="dc"), ("http://a/b",)),
    "value with qualifiers": (
        packet(
            '<dc:subject rdf:parseType="Resource"><rdf:value>v</rdf:value><xmp:Label>q</xmp:Label></dc:subject>',
            dc="dc",
        ),
        ("v",),
    ),
    "described value": (
        packet(
            "<dc:subject><rdf:Description><rdf:value>v</rdf:value><xmp:Label>q</xmp:Label></rdf:Description>"
            "</dc:subject>",
            dc="dc",
        ),
        ("v",),
    ),
    "items with qualifiers and languages": (
        packet(
            '<dc:subject><rdf:Bag><rdf:li rdf:parseType="Resource"><rdf:value>v</rdf:value>'
            '<xmp:Label>q</xmp:Label></rdf:li><rdf:li xml:lang="de">w</rdf:li></rdf:Bag></dc:subject>',
            dc="dc",
        ),
        ("v", "w"),
    ),
    "another prefix": (
        packet('<dd:title><rdf:Alt><rdf:li xml:lang="x-default">T</rdf:li></rdf:Alt></dd:title>', dc="dd"),
        (),
    ),
    "no prefix": (
        packet(f'<title xmlns="{NAMES["dc"]}"><rdf:Alt><rdf:li xml:lang="x-default">T</rdf:li></rdf:Alt></title>'),
        (),
    ),
    "prefixes that mean something else": (
        packet().replace("xmp:Rating", 'xmlns:dc="http://a/1" xmlns:lr="http://a/2" dc:b="c" xmp:Rating'),
        (),
    ),
    "a prefix deep inside": (
        packet(
            '<q:LocationCreated><rdf:Bag><rdf:li rdf:parseType="Resource" xmlns:ex="' + NAMES["exif"] + '">'
            "<ex:GPSLatitude>1,2.0N</ex:GPSLatitude></rdf:li></rdf:Bag></q:LocationCreated>",
            Iptc4xmpExt="q",
        ),
        (),
    ),
    "a structure in short": (
        packet('<q:LocationShown><rdf:Bag><rdf:li q:City="Rom"/></rdf:Bag></q:LocationShown>', Iptc4xmpExt="q"),
        (),
    ),
    "several descriptions": (
        packet("<dc:format>image/jpeg</dc:format>", dc="dc").replace(
            "</rdf:RDF>",
            f'<rdf:Description rdf:about="" xmlns:dc="{NAMES["dc"]}"><dc:subject><rdf:Bag>'
            "<rdf:li>z</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>",
        ),
        ("z",),
    ),
    "comments and instructions": (
        packet(
            "<!-- c --><dc:subject><rdf:Bag><!-- d --><rdf:li>a<![CDATA[ & b]]></rdf:li></rdf:Bag></dc:subject>"
            "<?p?>",
            dc="dc",
        ),
        ("a & b",),
    ),
    "nothing but the frame": ('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', ()),
}
VALIDATE = ("-validate", "-warning", "-a", "-XMP:all")
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def exiv2(path: Path) -> tuple[list[str], str]:
    done = subprocess.run(["exiv2", "-PXkt", "pr", path], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if line.strip()], done.stderr


def words(line: str) -> Iterator[str]:
    yield from (word.strip() for word in line.split(maxsplit=1)[1].split(",")) if len(line.split()) > 1 else ()


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_ours_comes_and_goes_and_the_users_stays(self, form: str) -> None:
        text, keywords = FORMS[form]
        tried = XmpPacket(text.encode())
        assert tried.to_bytes() == text.encode() or form == "nothing but the frame"
        before = tried.entries()
        assert before.keywords == keywords
        tried.add(OURS)
        again = XmpPacket(tried.to_bytes())
        assert again.entries().keywords == keywords + OURS.keywords
        assert not OURS.without(again.entries()), "all of it is there"
        again.remove(OURS)
        assert again.entries() == before
        assert 'xmp:Rating="5"' in again.to_bytes().decode() or form == "nothing but the frame"

    @needs_exiv2
    @needs_exiftool
    @pytest.mark.parametrize("form", FORMS)
    def test_exiv2_and_exiftool_take_it(self, form: str, tmp_path: Path) -> None:
        text, keywords = FORMS[form]
        sidecar = tmp_path / "photo.xmp"
        sidecar.write_text(text)
        properties = {line.split()[0] for line in exiv2(sidecar)[0]}
        complaints = exiftool_says(sidecar, *VALIDATE)["ExifTool:Validate"]
        tried = XmpPacket(text.encode())
        tried.add(OURS)
        sidecar.write_bytes(tried.to_bytes())
        lines, errors = exiv2(sidecar)
        assert not errors
        assert properties <= {line.split()[0] for line in lines}
        # exiv2 gives items with qualifiers a line of their own.
        subjects = [line for line in lines if line.startswith("Xmp.dc.subject") and "?" not in line.split()[0]]
        assert {*keywords, *OURS.keywords} <= {word for line in subjects for word in words(line)}
        said = exiftool_says(sidecar, *VALIDATE)
        # ExifTool knows no namespace without a prefix, where the XMP toolkit takes no second one beside it.
        # Of an empty list it complains no more once that has an entry.
        expected = "0 0 0" if form == "empty bag" else complaints
        assert said["ExifTool:Validate"] == expected or form == "no prefix"
        assert said["XMP-exif:GPSLatitude"] == pytest.approx(48.8583)
        assert (said["XMP-photoshop:City"], said["XMP-iptcCore:CountryCode"]) == ("Paris", "FR")
        assert said["XMP-iptcExt:LocationShown"][-1]["City"] == "Paris"  # type: ignore[index]

    @needs_exiv2
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_any_mixture(self, tmp_path: Path, data: st.DataObject) -> None:
        prefixes = {
            name: data.draw(
                st.sampled_from([name, "a1", "ns", name.upper()]).map(lambda p, n=name: f"{p}{len(n)}")
            )
            for name in data.draw(st.sets(st.sampled_from(["dc", "lr", "exif", "photoshop", "Iptc4xmpExt"])))
        }
        if len(set(prefixes.values())) < len(prefixes):
            prefixes = {name: f"{name[::-1]}x" for name in prefixes}
        body, attributes = [], []
        if "dc" in prefixes:
            p = prefixes["dc"]
            form = data.draw(st.sampled_from(["attribute", "text", "bag", "none"]))
            attributes += [f'{p}:subject="mine"'] if form == "attribute" else []
            body += [f"<{p}:subject>mine</{p}:subject>"] if form == "text" else []
            bag = f"<{p}:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></{p}:subject>"
            body += [bag] if form == "bag" else []
            body += [f"<{p}:format>image/jpeg</{p}:format>"]
        if "photoshop" in prefixes:
            attributes.append(f'{prefixes["photoshop"]}:Credit="me"')
        if "exif" in prefixes:
            body.append(f"<{prefixes['exif']}:GPSAltitude>100/1</{prefixes['exif']}:GPSAltitude>")
        if "lr" in prefixes:
            p = prefixes["lr"]
            body.append(f"<{p}:hierarchicalSubject><rdf:Bag/></{p}:hierarchicalSubject>")
        text = packet("".join(data.draw(st.permutations(body))), " ".join(attributes), **prefixes)
        codec = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]))
        raw = text.encode(codec)
        tried = XmpPacket(raw)
        assert tried.to_bytes() == raw
        before = tried.entries()
        tried.add(OURS.without(before))
        written = tried.to_bytes()
        assert not OURS.without(XmpPacket(written).entries())
        sidecar = tmp_path / "photo.xmp"
        # exiv2 reads sidecars in UTF-8 alone.
        sidecar.write_bytes(written.decode(codec).encode())
        lines, errors = exiv2(sidecar)
        assert not errors
        said = "\n".join(lines)
        assert "Xmp.xmp.Rating" in said
        assert all(word in said for word in ("Eiffel Tower", *before.keywords))
        tried.remove(OURS.without(before))
        assert tried.entries() == before


class TestEncodings:
    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize(
        "head", ["", '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '<?xml version="1.0"?>\n', "\n"]
    )
    @pytest.mark.parametrize("tail", ["", "\n<?xpacket end='w'?>" + "\0" * 40, " \n" * 9])
    def test_every_one(self, codec: str, head: str, tail: str) -> None:
        raw = (head + FORMS["sequence"][0].replace(">a<", ">\u00e9t\u00e9 \U0001f5fc<") + tail).encode(codec)
        tried = XmpPacket(raw)
        assert tried.to_bytes() == raw
        tried.add(Entries(keywords=("S\u00e8te",)))
        again = XmpPacket(tried.to_bytes())
        assert again.entries().keywords == ("\u00e9t\u00e9 \U0001f5fc", "S\u00e8te")
        again.remove(Entries(keywords=("S\u00e8te",)))
        assert again.to_bytes() == raw

    def test_a_declaration_that_lies(self) -> None:
        raw = '<?xml version="1.0" encoding="UTF-16"?>' + FORMS["sequence"][0]
        assert XmpPacket(raw.encode()).entries().keywords == ("a",)

    def test_one_padding_zero_too_many(self) -> None:
        raw = FORMS["sequence"][0].encode("utf-16-le") + b"\0"
        tried = XmpPacket(raw)
        assert tried.entries().keywords == ("a",)
        assert tried.to_bytes() == raw

    @pytest.mark.parametrize("raw", [b"", b" \n", b"\0" * 100, b"\xef\xbb\xbf", b"\xff\xfe"])
    def test_nothing_at_all_is_an_empty_packet(self, raw: bytes) -> None:
        assert XmpPacket(raw).entries() == Entries()


class TestOtherLists:
    def test_hierarchies_of_other_programs(self) -> None:
        categories = (
            "&lt;Categories&gt;&lt;Category Assigned=&quot;0&quot;&gt;Orte&lt;Category Assigned=&quot;1&quot;&gt;"
            "Rom&lt;/Category&gt;&lt;/Category&gt;&lt;Category Assigned=&quot;0&quot;&gt;Leer&lt;/Category&gt;"
            "&lt;/Categories&gt;"
        )
        text = packet(
            "<m:LastKeywordXMP><rdf:Bag><rdf:li>Urlaub/Meer</rdf:li></rdf:Bag></m:LastKeywordXMP>"
            "<p:CatalogSets><rdf:Bag><rdf:li>Leute|Anna</rdf:li><rdf:li>Urlaub|Meer</rdf:li></rdf:Bag></p:CatalogSets>",
            f'a:categories="{categories}"',
            MicrosoftPhoto="m",
            mediapro="p",
            acdsee="a",
        )
        assert XmpPacket(text.encode()).other_paths() == ("Urlaub|Meer", "Leute|Anna", "Orte|Rom")

    @pytest.mark.parametrize(
        "broken", ["&lt;Categories", "no XML", "&lt;!DOCTYPE a&gt;&lt;a/&gt;", "&lt;Category&gt;" * 200]
    )
    def test_broken_categories_are_none(self, broken: str) -> None:
        assert XmpPacket(packet(attributes=f'a:categories="{broken}"', acdsee="a").encode()).other_paths() == ()


class TestCompare:
    def test_case_and_unicode_form_do_not_matter(self) -> None:
        user = Entries(keywords=("se\u0300te", "PARIS"))
        ours = Entries(keywords=("S\u00e8te", "Paris", "Rom"))
        assert ours.without(user).keywords == ("Rom",)
        assert ours.common(user).keywords == ("S\u00e8te", "Paris")


class TestPositions:
    @pytest.mark.parametrize(
        ("text", "reference", "degrees"),
        [
            ("48,51.5N", None, 48.858333),
            ("48,51,30N", None, 48.858333),
            ("48,51,30.6s", None, -48.8585),
            ("48.8583", None, 48.8583),
            ("48.8583", "S", -48.8583),
            ("48.8583", "s", -48.8583),
            ("-33.5", None, -33.5),
            ("-33.5", "S", -33.5),
            ("48.8583 n", None, 48.8583),
            ("N 48 51 30", None, 48.858333),
            ("48 deg 51' 30.00\" N", None, 48.858333),
            ("48\u00b051'30\"S", None, -48.858333),
            ("48/1 51/1 3000/100", "N", 48.858333),
            ("48/1,51/1,0/0", "N", 48.85),
            ("48,51.5North", None, 48.858333),
            ("91,0N", None, None),
            ("48,61N", None, None),
            ("48,51.5E", None, None),
            ("", None, None),
            (None, None, None),
            ("nan", None, None),
            ("somewhere", None, None),
        ],
    )
    def test_text(self, text: str | None, reference: str | None, degrees: float | None) -> None:
        found = parse_degrees(text, "latitude", reference)
        assert found is degrees if degrees is None else found == pytest.approx(degrees, abs=1e-5)

    @pytest.mark.parametrize(
        ("parts", "reference", "degrees"),
        [
            ((48, 51, 30), "N", 48.858333),
            ((48, 51, 30), b"S\0", -48.858333),
            ((48, 51, 30), "s", -48.858333),
            ((48, 51, 30), None, 48.858333),
            ((48, 51, 30), "", 48.858333),
            ((48.8583,), "N", 48.8583),
            ((48, 51.5), "N", 48.858333),
            ((48, 51.5, float("nan")), "N", 48.858333),
            ((-48.8583, 0, 0), None, -48.8583),
            ((95, 0, 0), "N", None),
            ((float("nan"), 1, 1), "N", None),
            ((), "N", None),
        ],
    )
    def test_exif(self, parts: tuple[float, ...], reference: object, degrees: float | None) -> None:
        found = exif_degrees(parts, reference, "latitude")
        assert found is degrees if degrees is None else found == pytest.approx(degrees, abs=1e-5)

    @pytest.mark.parametrize(
        ("attributes", "body", "position"),
        [
            ('exif:GPSLatitude="48,51.5N" exif:GPSLongitude="2,17,40E"', "", (48.858333, 2.294444)),
            ('exif:GPSLatitude="48.5" exif:GPSLongitude="2.25" exif:GPSLongitudeRef="w"', "", (48.5, -2.25)),
            ('exif:GPSLatitude="0,0.0N" exif:GPSLongitude="0,0.0E"', "", None),
            ('exif:GPSLatitude="91,0.0N" exif:GPSLongitude="2,0.0E"', "", None),
            ('exif:GPSAltitude="100/1"', "", None),
            (
                'exif:GPSAltitude="100/1"',
                '<exif:GPSLatitude rdf:parseType="Resource"><rdf:value>48,51.5N</rdf:value></exif:GPSLatitude>'
                "<exif:GPSLongitude>2.25</exif:GPSLongitude>",
                (48.858333, 2.25),
            ),
        ],
    )
    def test_packets(self, attributes: str, body: str, position: tuple[float, float] | None) -> None:
        found = XmpPacket(packet(body, attributes, exif="exif").encode()).position()
        assert found is position if position is None else found == pytest.approx(position, abs=1e-5)

    def test_ours_is_not_the_cameras_until_somebody_corrects_it(self) -> None:
        tried = XmpPacket()
        tried.add(OURS)
        assert tried.position() is None
        assert tried.entries().position == pytest.approx(OURS.position)
        corrected = tried.to_bytes().replace(b"48,51.49800N", b"48,52.0N")
        assert XmpPacket(corrected).position() == pytest.approx((48.866667, 2.2944), abs=1e-5)
        tried.remove(replace(Entries(), position=OURS.position))
        assert b"GPSProcessingMethod" not in tried.to_bytes()
        assert tried.entries().locations[0].latitude == pytest.approx(48.8583), "the place that is shown stays"
