"""RAW files of cameras and JPEG XL: which pixels are taken, which way up, and with which metadata."""

from __future__ import annotations

import struct
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from landmarks.errors import ImageError
from landmarks.imaging.decoding import load_image, photo_header
from landmarks.imaging.formats import PHOTO_SUFFIXES, RAW, format_of
from landmarks.metadata.edit import target_of
from landmarks.metadata.entries import Entries
from landmarks.metadata.reading import embedded_entries, read_position
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.xmp import XmpPacket

Fields = dict[int, tuple[int, bytes]]
GPS: Fields = {
    1: (2, b"N\0"),
    2: (5, struct.pack("<6I", 48, 1, 51, 1, 30, 1)),
    3: (2, b"E\0"),
    4: (5, struct.pack("<6I", 2, 1, 17, 1, 40, 1)),
}


def jpeg(size: tuple[int, int], colour: tuple[int, int, int], **options: object) -> bytes:
    """A JPEG whose upper half is of one colour and whose lower half is black."""
    image = Image.new("RGB", size, colour)
    image.paste((0, 0, 0), (0, size[1] // 2, *size))
    buffer = BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def lossless_jpeg() -> bytes:
    """The beginning of sensor data in lossless JPEG, as in CR2 and DNG."""
    return b"\xff\xd8\xff\xc3\0\x11\x08\x10\0\x18\0\x03\x01\x11\0\x02\x11\0\x03\x11\0" + b"\x55" * 500


def number(value: int) -> tuple[int, bytes]:
    return 4, struct.pack("<I", value)


class Tiff:
    """A TIFF with directories and data, put together by hand."""

    def __init__(self, magic: bytes = b"II*\0", head: int = 8) -> None:
        self.content = bytearray(magic + struct.pack("<I", 0) + b"\0" * (head - 8))

    def data(self, content: bytes) -> int:
        at = len(self.content)
        self.content += content + b"\0" * (len(content) % 2)
        return at

    def directory(self, fields: Fields, after: int = 0) -> int:
        """Add a directory; returns where it is."""
        sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
        entries = b""
        for tag, (kind, raw) in sorted(fields.items()):
            value = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", self.data(raw))
            entries += struct.pack("<HHI", tag, kind, len(raw) // sizes[kind]) + value
        return self.data(struct.pack("<H", len(fields)) + entries + struct.pack("<I", after))

    def done(self, first: int) -> bytes:
        self.content[4:8] = struct.pack("<I", first)
        return bytes(self.content)


def picture_fields(tiff: Tiff, content: bytes, size: tuple[int, int], **fields: int) -> Fields:
    at = tiff.data(content)
    common = {256: number(size[0]), 257: number(size[1]), 273: number(at), 279: number(len(content))}
    return common | {int(tag[1:]): number(value) for tag, value in fields.items()}


def dng(previews: list[bytes], *, orientation: int = 6, magic: bytes = b"II*\0", mark: bool = True) -> bytes:
    """A RAW file built like DNG and NEF: a thumbnail first, sensor data and previews in directories below."""
    tiff = Tiff(magic)
    sensor = picture_fields(tiff, lossless_jpeg(), (80, 60), t262=32803, t259=7)
    shown = [picture_fields(tiff, preview, (640, 480), t254=1, t259=7, t262=6) for preview in previews]
    below = [tiff.directory(each) for each in (sensor, *shown)]
    thumb = picture_fields(tiff, b"\x80" * 160 * 120 * 3, (160, 120), t254=1, t262=2, t277=3)
    packet = XmpPacket()
    packet.add(Entries(keywords=("Holiday",)))
    thumb |= {
        274: (3, struct.pack("<H", orientation)),
        330: (4, struct.pack(f"<{len(below)}I", *below)),
        700: (1, packet.to_bytes()),
        0x8825: number(tiff.directory(GPS)),
    }
    if mark:
        thumb[50706] = (1, b"\1\4\0\0")
    return tiff.done(tiff.directory(thumb))


def cr3(preview: bytes) -> bytes:
    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content) + 8) + name + content

    main, position = Tiff(), Tiff()
    about = main.done(main.directory({274: (3, struct.pack("<H", 8))}))
    where = position.done(position.directory(GPS))
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    moov = box(b"moov", box(b"uuid", b"\x85" * 16 + box(b"CMT1", about) + box(b"CMT4", where)))
    return head + moov + box(b"mdat", jpeg((160, 120), (0, 255, 0)) + preview + lossless_jpeg())


def raf(preview: bytes) -> bytes:
    return b"FUJIFILMCCD-RAW 0201" + b"\0" * 100 + preview + b"\x5a" * 3000


RED, BLUE = (220, 30, 30), (30, 30, 220)
SMALL, LARGE = jpeg((320, 240), BLUE), jpeg((640, 480), RED)


def colour_at(image: Image.Image, where: tuple[float, float]) -> str:
    r, g, b = image.getpixel((int(where[0] * image.width), int(where[1] * image.height)))  # type: ignore[misc]
    return "red" if r > 150 else "blue" if b > 150 else "green" if g > 150 else "black"


class TestPreviews:
    @pytest.mark.parametrize("mark", [True, False], ids=["DNG", "NEF"])
    @pytest.mark.parametrize("previews", [[SMALL, LARGE], [LARGE, SMALL]])
    def test_the_largest_is_taken_and_turned_by_the_raw(self, previews: list[bytes], mark: bool) -> None:
        image = load_image(dng(previews, mark=mark))
        assert image.size == (480, 640)
        assert colour_at(image, (0.9, 0.5)) == "red"
        assert colour_at(image, (0.1, 0.5)) == "black"

    @pytest.mark.parametrize("magic", [b"IIRO", b"IIRS", b"IIU\0"])
    def test_makers_of_their_own_header(self, magic: bytes) -> None:
        content = dng([LARGE], magic=magic, orientation=3)
        assert format_of(content[:64]) is RAW
        assert colour_at(load_image(content), (0.5, 0.9)) == "red"
        assert read_position_of(content) == pytest.approx((48.858333, 2.294444), abs=1e-4)

    def test_cr3(self) -> None:
        content = cr3(LARGE)
        image = load_image(content)
        assert image.size == (480, 640)
        assert colour_at(image, (0.1, 0.5)) == "red"
        assert read_position_of(content) == pytest.approx((48.858333, 2.294444), abs=1e-4)

    def test_raf_has_its_metadata_in_the_preview(self) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 3
        assert colour_at(load_image(raf(jpeg((640, 480), RED, exif=exif))), (0.5, 0.9)) == "red"

    def test_a_damaged_one_gives_way_to_the_next(self) -> None:
        cut = LARGE[: LARGE.index(b"\xff\xda") + 4] + b"\xff\xd9"
        assert colour_at(load_image(dng([cut, SMALL], orientation=1)), (0.5, 0.1)) == "blue"

    def test_a_reduced_size_is_enough(self) -> None:
        assert load_image(dng([jpeg((2400, 1600), RED)], orientation=1), min_side=256).size == (600, 400)

    def test_a_thumbnail_is_never_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rawpy", None)
        content = dng([jpeg((160, 120), RED)])
        with pytest.raises(ImageError, match=r"no preview but a thumbnail: install LibRaw.*'\.\[raw\]'"):
            load_image(content)
        assert read_position_of(content) is not None, "its metadata can be read all the same"

    def test_without_a_preview_libraw_develops_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rawpy = pytest.importorskip("rawpy")

        class Developed:
            def __enter__(self) -> Developed:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def postprocess(self, **_: object) -> np.ndarray:
                return np.full((600, 400, 3), 200, np.uint8)

        monkeypatch.setattr(rawpy, "imread", lambda _file: Developed())
        assert load_image(dng([])).size == (400, 600), "turned once, by LibRaw"

    def test_sensor_data_that_is_cut_short_is_not_developed(self) -> None:
        pytest.importorskip("rawpy")
        content = dng([], orientation=1)
        at = content.index(lossless_jpeg())
        for cut in (content[:at] + b"\0" * 100, content.replace(struct.pack("<I", at), struct.pack("<I", 2**31))):
            with pytest.raises(ImageError):
                load_image(cut)
        with pytest.raises(ImageError, match="no preview but a thumbnail, and its sensor data is cut short"):
            load_image(raf(jpeg((160, 120), RED)))

    def test_what_is_no_raw_at_all(self) -> None:
        for content in (
            dng([LARGE])[:300],
            b"FUJIFILMCCD-RAW " + b"\0" * 300,
            b"II*\0\xff\xff\xff\xff" + b"\0" * 99,
        ):
            with pytest.raises(ImageError):
                load_image(content)


def test_an_ordinary_tiff_with_a_second_page_is_none() -> None:
    buffer = BytesIO()
    pages = [Image.new("RGB", (40, 30), RED), Image.new("RGB", (20, 15), BLUE)]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    assert load_image(buffer.getvalue()).size == (40, 30)


def read_position_of(content: bytes) -> tuple[float, float] | None:
    from landmarks.metadata.reading import embedded_position

    return embedded_position(content)


def test_metadata_of_a_raw_file_and_its_sidecar(tmp_path: Path) -> None:
    photo = tmp_path / "IMG_1.NEF"
    photo.write_bytes(dng([LARGE]))
    assert read_position(photo) == pytest.approx((48.858333, 2.294444), abs=1e-4)
    assert embedded_entries(photo)[0].keywords == ("Holiday",)
    assert target_of(photo, WriteOptions()) == tmp_path / "IMG_1.xmp"
    assert target_of(photo, WriteOptions(in_place=True)) == tmp_path / "IMG_1.xmp"
    with photo_header(photo) as header:
        assert header is not None
        assert header.getexif()[ExifTags.Base.Orientation] == 6


def test_every_raw_suffix_counts_as_a_photo() -> None:
    names = [
        "cr2",
        "cr3",
        "nef",
        "arw",
        "raf",
        "orf",
        "rw2",
        "dng",
        "pef",
        "srw",
        "3fr",
        "iiq",
        "x3f",
        "nrw",
        "jxl",
        "jp2",
    ]
    assert {f".{name}" for name in names} <= PHOTO_SUFFIXES


def jxl(image: Image.Image, **options: object) -> bytes:
    plugin = pytest.importorskip("pillow_jxl")
    buffer = BytesIO()
    plugin.JpegXLImagePlugin._save  # noqa: B018 - registers the format
    image.save(buffer, "JXL", effort=1, **options)
    return buffer.getvalue()


class TestJpegXl:
    @pytest.mark.parametrize("size", [(40, 24), (41, 23), (300, 200), (200, 300), (257, 1031)])
    @pytest.mark.parametrize("box", [False, True])
    def test_pixels(self, size: tuple[int, int], box: bool) -> None:
        content = jxl(Image.open(BytesIO(jpeg(size, RED))).convert("RGB"), use_container=box)
        image = load_image(content)
        assert image.size == size
        assert colour_at(image, (0.5, 0.1)) == "red"
        with photo_header(content) as header:
            assert header is not None
            assert header.size == size

    def test_too_large_is_refused_before_decoding(self) -> None:
        # A bare codestream that claims 2^30 x 2^30 pixels.
        bits, at = 0, 0
        for value, count in ((0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (3, 2), (2**30 - 1, 30)):
            bits |= value << at
            at += count
        with pytest.raises(ImageError, match="pixels, more than the limit"):
            load_image(b"\xff\x0a" + bits.to_bytes(14, "little"))

    def test_without_its_decoder_the_way_out_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        photo = tmp_path / "a.jxl"
        photo.write_bytes(jxl(Image.new("RGB", (40, 30))))
        monkeypatch.setitem(sys.modules, "pillow_jxl", None)
        with pytest.raises(ImageError, match=r"a\.jxl: this is a JPEG XL file: .*pip install -e '\.\[jxl\]'"):
            load_image(photo)


def test_jpeg_2000() -> None:
    buffer = BytesIO()
    Image.open(BytesIO(LARGE)).save(buffer, "JPEG2000")
    assert colour_at(load_image(buffer.getvalue()), (0.5, 0.1)) == "red"
