"""Decoding: every accepted format and mode comes out upright RGB, everything else as one clear error."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from landmarks.errors import ImageError, ImageTooLargeError, SettingsError
from landmarks.imaging.decoding import ImageLimits, load_image, load_rgb

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WHITE = (255, 255, 255)


@cache
def scene(width: int, height: int) -> Image.Image:
    """A smooth picture in which no two corners look alike."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    blue = 127 + 100 * np.sin(x / 9) * np.cos(y / 7)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def samples() -> dict[str, bytes]:
    """A small file of every accepted format."""
    image = scene(40, 28)
    frames = [image.rotate(angle) for angle in (90, 180)]
    animated = {"save_all": True, "append_images": frames}
    return {
        "jpeg": encode(image, "JPEG", quality=95),
        "progressive": encode(image, "JPEG", quality=95, progressive=True),
        "mpo": encode(image, "MPO", quality=95, **animated),
        "png": encode(image, "PNG"),
        "apng": encode(image, "PNG", **animated),
        "webp": encode(image, "WEBP", quality=95),
        "webp animated": encode(image, "WEBP", lossless=True, **animated),
        "gif": encode(image, "GIF"),
        "gif animated": encode(image, "GIF", **animated),
        "tiff": encode(image, "TIFF"),
        "tiff deflated": encode(image, "TIFF", compression="tiff_deflate"),
        "bmp": encode(image, "BMP"),
        "heic": encode(image, "HEIF"),
        "avif": encode(image, "AVIF", quality=95),
    }


NAMES = list(samples())


def refused(source: Path | bytes | Image.Image, limits: ImageLimits | None = None) -> str:
    """The reason for which a source is refused, after a look at the shape of the error."""
    with pytest.raises(ImageError) as caught:
        load_rgb(source, limits=limits or ImageLimits())
    error = caught.value
    assert error.exit_status == 2
    assert error.path == (source if isinstance(source, Path) else None)
    assert "\n" not in str(error)
    assert ": " in error.reason, "a reason ends with the way out"
    return error.reason


class TestFormats:
    @pytest.mark.parametrize("name", NAMES)
    def test_first_frame_as_rgb_whatever_the_suffix(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "picture.txt"
        path.write_bytes(samples()[name])
        loaded = load_rgb(path)
        assert loaded.dtype == np.uint8
        assert loaded.shape == (28, 40, 3)
        assert loaded.flags.writeable
        # GIF has 256 colours and dither, the others differ by their lossy compression.
        allowed = 30 if "gif" in name else 4
        assert np.abs(loaded.astype(int) - np.asarray(scene(40, 28))).mean() < allowed
        np.testing.assert_array_equal(load_rgb(samples()[name]), loaded)

    def test_a_heif_container_with_a_general_brand_is_told_by_its_other_brands(self) -> None:
        for name, brand in (("heic", b"mif1"), ("avif", b"mif1")):
            content = bytearray(samples()[name])
            content[8:12] = brand
            assert load_rgb(bytes(content)).shape == (28, 40, 3)

    def test_heif_reader_is_not_loaded_for_a_jpeg(self) -> None:
        code = (
            "import io, sys, numpy as np; from PIL import Image; from landmarks.imaging.decoding import load_rgb\n"
            "file = io.BytesIO(); Image.new('RGB', (8, 8)).save(file, 'JPEG'); load_rgb(file.getvalue())\n"
            "assert 'pillow_heif' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestModes:
    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled_not_clipped(self, kind: str) -> None:
        values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
        loaded = load_rgb(encode(Image.fromarray(values), kind))
        np.testing.assert_array_equal(loaded, np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, -1))

    def test_big_endian_16_bit_grey(self) -> None:
        values = np.linspace(0, 65535, 12 * 12).astype(">u2").reshape(12, 12)
        little = load_rgb(encode(Image.fromarray(values.astype("<u2")), "TIFF"))
        image = Image.frombytes("I;16B", (12, 12), values.tobytes())
        np.testing.assert_array_equal(load_rgb(encode(image, "TIFF")), little)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([[0, 255], [-7, 51]], np.int32), [[0, 255], [0, 51]]),
            (np.array([[0, 100_000], [50_000, -1]], np.int32), [[0, 255], [128, 0]]),
            (np.array([[0, 0.5], [1.0, -0.5]], np.float32), [[0, 128], [255, 0]]),
            (np.array([[0, 2.0], [4.0, np.nan]], np.float32), [[0, 128], [255, 0]]),
            (np.array([[np.inf, 0.2], [-np.inf, 0]], np.float32), [[0, 51], [0, 0]]),
        ],
    )
    def test_32_bit_integers_and_floats(self, values: np.ndarray, expected: list[list[int]]) -> None:
        loaded = load_rgb(encode(Image.fromarray(values), "TIFF"))
        np.testing.assert_array_equal(loaded[..., 1], expected)

    @pytest.mark.parametrize("mode", ["1", "L"])
    def test_grey_and_one_bit(self, mode: str) -> None:
        image = scene(20, 20).convert(mode)
        expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(load_rgb(encode(image, "PNG")), expected)
        np.testing.assert_array_equal(load_rgb(encode(image, "BMP")), expected)

    def test_palette_without_transparency(self) -> None:
        image = scene(20, 20).quantize(16)
        np.testing.assert_array_equal(load_rgb(encode(image, "PNG")), np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize("kind", ["PNG", "GIF"])
    def test_palette_with_one_transparent_colour_shows_white(self, kind: str) -> None:
        image = Image.new("P", (4, 2))
        image.putpalette([10, 20, 30, 200, 100, 0])
        image.putpixel((1, 0), 1)
        loaded = load_rgb(encode(image, kind, transparency=1))
        assert tuple(loaded[0, 1]) == WHITE
        assert tuple(loaded[1, 1]) == (10, 20, 30)

    def test_palette_with_graded_transparency(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([0, 0, 0] * 3)
        for x in range(3):
            image.putpixel((x, 0), x)
        loaded = load_rgb(encode(image, "PNG", transparency=bytes([0, 128, 255])))
        np.testing.assert_allclose(loaded[0, :, 0], [255, 127, 0], atol=1)

    def test_grey_and_rgb_with_a_transparent_colour(self) -> None:
        for image, key in ((Image.new("L", (2, 2), 9), 9), (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3))):
            assert (load_rgb(encode(image, "PNG", transparency=key)) == 255).all()

    @pytest.mark.parametrize(
        ("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "PNG")]
    )
    def test_alpha_is_laid_over_white(self, mode: str, kind: str) -> None:
        image = scene(24, 16).convert(mode)
        image.putalpha(Image.fromarray(np.arange(24 * 16).reshape(16, 24).astype(np.uint8)))
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        rgba = np.asarray(image.convert("RGBA")).astype(float)
        alpha = rgba[..., 3:] / 255
        expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
        np.testing.assert_allclose(load_rgb(encode(image, kind, **options)), expected, atol=1)

    def test_heic_with_alpha(self) -> None:
        image = scene(64, 64).convert("RGBA")
        image.putalpha(0)
        assert load_rgb(encode(image, "HEIF")).min() > 250

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, kind: str) -> None:
        image = scene(32, 32)
        loaded = load_rgb(encode(image.convert("CMYK"), kind))
        assert np.abs(loaded.astype(int) - np.asarray(image)).mean() < 4

    def test_ycck_jpeg(self) -> None:
        # Pillow writes CMYK only. Marked as YCCK, the same stored values must be turned from YCbCr first:
        # neutral Cb and Cr of 128 give equal C, M and Y.
        stored = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (55, 127, 127, 0)])
        content = encode(stored, "JPEG", quality=100)
        marker = content.index(b"Adobe")
        content = content[: marker + 11] + b"\x02" + content[marker + 12 :]
        red, green, blue = load_rgb(content)[8, 8].astype(int)
        assert abs(red - green) <= 3
        assert abs(green - blue) <= 3

    def test_lab_tiff(self) -> None:
        image = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (255, 128, 128)])
        assert load_rgb(encode(image, "TIFF")).min() > 240


def damaged_exif() -> bytes:
    """A sound JPEG whose EXIF block promises more than it holds."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x02\0" * 3
    return encode(scene(48, 32), "JPEG", exif=exif)


# What a camera stored, from the upright picture: the EXIF standard says where row 0 and column 0 lie.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


class TestOrientation:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", STORED)
    def test_all_eight(self, kind: str, orientation: int) -> None:
        upright = np.asarray(scene(48, 32))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
        options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
        loaded = load_rgb(encode(image, kind, exif=exif, **options))
        assert loaded.shape == upright.shape
        assert np.abs(loaded.astype(int) - upright).mean() < 3

    @pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
    def test_containers_that_turn_by_themselves_are_turned_once(self, kind: str) -> None:
        upright = np.asarray(scene(48, 32))
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.fromarray(np.ascontiguousarray(STORED[6](upright)))
        loaded = load_rgb(encode(image, kind, exif=exif.tobytes()))
        assert loaded.shape == upright.shape
        assert np.abs(loaded.astype(int) - upright).mean() < 4

    def test_damaged_exif_leaves_the_pixels(self) -> None:
        assert load_rgb(damaged_exif()).shape == (32, 48, 3)


class TestDctScaling:
    def test_decodes_a_fraction_that_keeps_the_side_asked_for(self) -> None:
        content = encode(scene(1600, 1200), "JPEG")
        for min_side, expected in ((150, (150, 200)), (151, (300, 400)), (512, (600, 800)), (601, (1200, 1600))):
            assert load_rgb(content, min_side=min_side).shape == (*expected, 3)

    def test_other_formats_and_small_pictures_keep_every_pixel(self) -> None:
        assert load_rgb(encode(scene(400, 300), "PNG"), min_side=32).shape == (300, 400, 3)
        assert load_rgb(encode(scene(40, 30), "JPEG"), min_side=32).shape == (30, 40, 3)

    def test_works_with_orientation(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        assert load_rgb(encode(scene(800, 400), "JPEG", exif=exif), min_side=100).shape == (200, 100, 3)

    def test_refuses_no_side_at_all(self) -> None:
        with pytest.raises(SettingsError, match="min_side"):
            load_rgb(samples()["jpeg"], min_side=0)


def giant(kind: str) -> bytes:
    """A tiny file that claims 20000 x 10000 pixels."""
    small = bytearray(encode(Image.new("RGB", (8, 8)), kind))
    width, height = 20000, 10000
    if kind == "PNG":
        small[16:24] = struct.pack(">II", width, height)
        small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    elif kind == "JPEG":
        start = small.index(b"\xff\xc0") + 5
        small[start : start + 4] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        small[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        small[18:26] = struct.pack("<II", width, height)
    elif kind == "WEBP":
        width, height = 16383, 12208  # as many as the format can say
        small[26:30] = struct.pack("<HH", width, height)
    return bytes(small)


class TestLimits:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
    def test_200_megapixels_are_refused_without_spending_memory(self, kind: str) -> None:
        content = giant(kind)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reason = refused(content)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
        assert "pixels" in reason
        assert reason.endswith("make it smaller first")

    def test_the_limit_counts_pixels(self) -> None:
        content = encode(scene(40, 25), "PNG")
        assert load_rgb(content, limits=ImageLimits(max_pixels=1000)).shape == (25, 40, 3)
        assert refused(content, ImageLimits(max_pixels=999)) == (
            "the picture has 40 x 25 pixels, more than the limit of 0.000999 megapixels: make it smaller first"
        )

    def test_a_limit_above_that_of_pillow_is_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert load_rgb(samples()["jpeg"]).shape == (28, 40, 3)

    def test_bytes_are_counted_before_reading(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.jpg"
        with path.open("wb") as file:
            file.truncate(257 * 2**20)  # sparse: takes no room on disk
        assert "257.0 MiB, more than the limit of 256.0 MiB" in refused(path)
        content = samples()["jpeg"]
        assert "more than the limit" in refused(content, ImageLimits(max_bytes=len(content) - 1))
        assert load_rgb(content, limits=ImageLimits(max_bytes=len(content))).shape == (28, 40, 3)

    @pytest.mark.parametrize("name", ["max_bytes", "max_pixels"])
    def test_limits_check_themselves(self, name: str) -> None:
        with pytest.raises(SettingsError, match=name):
            ImageLimits(**{name: 0})


class TestBadInput:
    def test_missing(self, tmp_path: Path) -> None:
        assert "no such file" in refused(tmp_path / "no.jpg")

    def test_folder(self, tmp_path: Path) -> None:
        assert "folder" in refused(tmp_path)

    def test_file_used_as_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(samples()["jpeg"])
        assert "cannot be read" in refused(tmp_path / "a.jpg" / "b.jpg")

    def test_path_that_no_file_can_have(self) -> None:
        assert "cannot be read" in refused(Path("a\0b.jpg"))
        assert "cannot be read" in refused(Path("a" * 5000))

    def test_fifo_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        assert "pipe" in refused(tmp_path / "pipe.jpg")

    def test_device(self) -> None:
        assert "device" in refused(Path(os.devnull))

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "secret.jpg"
        path.write_bytes(samples()["jpeg"])
        path.chmod(0)
        if os.access(path, os.R_OK):  # root may read everything: let the system refuse in another way

            def deny(*args: object, **kwargs: object) -> None:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(Path, "open", deny)
        assert "no permission" in refused(path)

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").touch()
        assert "empty" in refused(tmp_path / "empty.jpg")
        assert "empty" in refused(b"")

    @pytest.mark.parametrize("size", [(0, 0), (0, 9), (9, 0)])
    def test_no_pixels(self, size: tuple[int, int]) -> None:
        assert "no pixels" in refused(Image.new("RGB", size))

    def test_text_renamed_to_jpg_names_the_formats(self, tmp_path: Path) -> None:
        path = tmp_path / "note.jpg"
        path.write_text("not a picture at all")
        reason = refused(path)
        for name in ("JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP", "HEIC", "AVIF"):
            assert name in reason

    @pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF", b"P6 2 2 255 ", b"8BPS\0\1", b"\0\0\1\0\1\0"])
    def test_formats_off_the_list_reach_no_decoder(self, content: bytes) -> None:
        assert "accepted format" in refused(content + bytes(100))

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("part", [0.3, 0.7])
    def test_cut_short(self, name: str, part: float, tmp_path: Path) -> None:
        content = samples()[name]
        path = tmp_path / "cut.jpg"
        path.write_bytes(content[: int(len(content) * part)])
        if name in {"mpo", "apng", "gif animated"} and part == 0.7:
            assert load_rgb(path).shape == (28, 40, 3)  # the first picture is whole, the cut is behind it
        else:
            assert "damaged, cut short" in refused(path)


SMALL = ImageLimits(max_pixels=200_000)


def array_or_image_error(content: bytes) -> None:
    try:
        loaded = load_rgb(content, min_side=8, limits=SMALL)
    except ImageError:
        return
    assert loaded.dtype == np.uint8
    assert loaded.ndim == 3
    assert loaded.shape[2] == 3
    assert loaded.size


FUZZ = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


class TestAnyBytes:
    @FUZZ
    @given(st.sampled_from(NAMES), st.binary(max_size=200))
    def test_random_bytes_behind_a_true_start(self, name: str, tail: bytes) -> None:
        array_or_image_error(tail)
        array_or_image_error(samples()[name][:16] + tail)

    @FUZZ
    @given(st.sampled_from(NAMES), st.data())
    def test_mutated_files(self, name: str, data: st.DataObject) -> None:
        content = bytearray(samples()[name])
        for _ in range(data.draw(st.integers(1, 6))):
            # Half of the changes go to the headers, where they do the most harm.
            last = data.draw(st.sampled_from([min(80, len(content)), len(content)])) - 1
            content[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
        array_or_image_error(bytes(content[:cut]))


class TestThreadsAndWarnings:
    def test_many_threads_give_the_same_pictures(self) -> None:
        contents = list(samples().values()) * 6
        expected = [load_rgb(content) for content in contents]
        with ThreadPoolExecutor(8) as pool:
            for loaded, alone in zip(pool.map(load_rgb, contents), expected, strict=True):
                np.testing.assert_array_equal(loaded, alone)

    def test_warnings_stay_inside_and_the_filters_as_they_were(self) -> None:
        noisy = damaged_exif()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            before = list(warnings.filters)
            with ThreadPoolExecutor(8) as pool:
                assert len(list(pool.map(load_image, [noisy] * 64))) == 64
            assert warnings.filters == before
            warnings.warn("still heard", stacklevel=1)
        assert [str(entry.message) for entry in caught] == ["still heard"]

    def test_the_damaged_exif_used_above_does_warn_in_pillow(self) -> None:
        noisy = damaged_exif()
        with pytest.warns(UserWarning, match="Tag data|Corrupt EXIF"):
            Image.open(io.BytesIO(noisy)).getexif()


@pytest.mark.shared
def test_real_pictures() -> None:
    if not DATA.is_dir():
        pytest.skip("the real pictures do not lie beside the project")
    paths = sorted(DATA.glob("*/test/*/*.jpg"))[::200]
    for path in paths:
        loaded = load_rgb(path)
        with Image.open(path) as image:
            assert loaded.shape in {(image.height, image.width, 3), (image.width, image.height, 3)}


class TestBrokenMetadata:
    """Good pixels are read, whatever stands around them."""

    @staticmethod
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    @pytest.mark.parametrize("at", [33, -12])
    @pytest.mark.parametrize("size", [1_500_000, 70_000_000])
    @pytest.mark.parametrize("head", [b"zTXt", b"iTXt"])
    def test_png_with_a_huge_text(self, at: int, size: int, head: bytes) -> None:
        png = samples()["png"]
        start = b"k\0\0" if head == b"zTXt" else b"k\0\1\0\0\0"
        text = self.chunk(head, start + zlib.compress(b"a" * size))
        assert np.array_equal(load_rgb(png[:at] + text + png[at:]), load_rgb(png))

    def test_png_with_a_damaged_chunk_and_without_its_end(self) -> None:
        png = samples()["png"]
        text = self.chunk(b"tEXt", b"k\0v")
        assert np.array_equal(load_rgb(png[:33] + text[:-1] + b"?" + png[33:]), load_rgb(png))
        assert np.array_equal(load_rgb(png[:-12]), load_rgb(png))

    def test_png_keeps_its_orientation(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        png = encode(scene(40, 28), "PNG", exif=exif)
        text = self.chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 1_500_000))
        assert np.array_equal(load_rgb(png[:33] + text + png[33:]), load_rgb(png))

    @pytest.mark.parametrize("kind", ["jpeg", "progressive"])
    @pytest.mark.parametrize("cut", [1, 2])
    def test_jpeg_without_its_end(self, kind: str, cut: int) -> None:
        jpeg = samples()[kind]
        assert np.array_equal(load_rgb(jpeg[:-cut]), load_rgb(jpeg))

    @pytest.mark.parametrize(
        "segment",
        [
            b"\xff\xe1\xff\xf0Exif\0\0MM",
            b"\xff\xe1\0\0Exif\0\0MM",
            b"\xff\xe1\0\x12Exif\0\0MM\0*\xff\xff\xff\xffxx",
            b"\xff\xed\0\x20Photoshop 3.0\x008BIM\x04\x04\xff\xff\xffzzzzzz",
        ],
    )
    def test_jpeg_with_a_broken_segment(self, segment: bytes) -> None:
        jpeg = samples()["jpeg"]
        assert np.array_equal(load_rgb(jpeg[:2] + segment + jpeg[2:]), load_rgb(jpeg))


class TestColour:
    @staticmethod
    def wide() -> bytes:
        """A profile with the primaries of ProPhoto RGB."""
        from PIL import ImageCms

        profile = ImageCms.createProfile("sRGB")
        raw = bytearray(ImageCms.ImageCmsProfile(profile).tobytes())
        # ProPhoto's colorants in D50, as 16.16 fixed point.
        colorants = {
            b"rXYZ": (0.7977, 0.2880, 0.0),
            b"gXYZ": (0.1352, 0.7119, 0.0),
            b"bXYZ": (0.0313, 0.0001, 0.8249),
        }
        for number in range(int.from_bytes(raw[128:132], "big")):
            entry = 132 + 12 * number
            values = colorants.get(bytes(raw[entry : entry + 4]))
            if values is not None:
                at = int.from_bytes(raw[entry + 4 : entry + 8], "big") + 8
                raw[at : at + 12] = b"".join(round(v * 65536).to_bytes(4, "big") for v in values)
        return bytes(raw)

    def test_a_wide_profile_counts(self) -> None:
        pixels = np.array([[[128, 128, 128], [140, 120, 100]]], np.uint8)
        shown = load_rgb(encode(Image.fromarray(pixels), "PNG", icc_profile=self.wide()))
        assert np.abs(shown[0, 0].astype(int) - 128).max() <= 2, "grey is grey everywhere"
        assert shown[0, 1, 0] - shown[0, 1, 2] > 60, "the same numbers mean stronger colours"
        clear = Image.fromarray(pixels).convert("RGBA")
        assert np.array_equal(load_rgb(encode(clear, "PNG", icc_profile=self.wide())), shown)

    def test_srgb_and_damaged_profiles_change_nothing(self) -> None:
        from PIL import ImageCms

        plain = encode(scene(40, 28), "PNG")
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for icc in (profile, profile[:200], b"nonsense", self.wide()[:-40]):
            raw = encode(scene(40, 28), "PNG", icc_profile=icc)
            assert icc is not profile or np.array_equal(load_rgb(raw), load_rgb(plain))
            assert load_rgb(raw).shape == load_rgb(plain).shape


def test_a_large_jpeg_counts_by_what_is_decoded(tmp_path: Path) -> None:
    limits = ImageLimits(max_pixels=4_000_000, max_decoded_pixels=1_000_000)
    image = Image.new("RGB", (2000, 1500), (200, 40, 40))
    for name, options in (("a.jpg", {}), ("b.jpg", {"progressive": True}), ("c.png", {})):
        image.save(tmp_path / name, **options)
    assert load_image(tmp_path / "a.jpg", min_side=256, limits=limits).size == (500, 375)
    for name, side in (("a.jpg", None), ("b.jpg", 256), ("c.png", 256)):
        with pytest.raises(ImageTooLargeError, match="to decode"):
            load_image(tmp_path / name, min_side=side, limits=limits)


@pytest.mark.parametrize(("width", "height"), [(12000, 9000), (16320, 12240)])
def test_phone_photos_of_108_and_200_megapixels_are_read_at_the_size_asked_for(width: int, height: int) -> None:
    pixels = np.zeros((height, width), np.uint8)
    pixels[: height // 2] = 200
    image = load_image(encode(Image.fromarray(pixels), "JPEG"), min_side=256)
    assert image.size == (-(-width // 8), -(-height // 8))
    assert np.asarray(image)[0].mean() == pytest.approx(200, abs=2)


def test_the_limit_is_on_memory_and_can_be_raised() -> None:
    small = ImageLimits(max_decoded_pixels=1_000_000)
    for mode, largest in (("RGB", 1_000_000), ("RGBA", 500_000), ("I;16", 571_000)):
        for pixels, fits in ((largest - 2000, True), (largest + 2000, False)):
            content = encode(Image.new(mode, (pixels // 100, 100)), "PNG")
            if fits:
                load_image(content, limits=small)
            else:
                with pytest.raises(ImageTooLargeError, match="raise the limit"):
                    load_image(content, limits=small)
    raised = ImageLimits.of_megapixels(300)
    assert raised.max_decoded_pixels == 300_000_000
    assert ImageLimits.of_megapixels(120).max_decoded_pixels == ImageLimits().max_decoded_pixels
    assert ImageLimits.of_megapixels(1e-9).max_decoded_pixels == 1
