"""Decodes a path, bytes, an array or a Pillow image to an upright RGB image; `ImageError` for anything else.

The format is detected from the content, never from the suffix, and only those of `landmarks.imaging.formats` reach
a decoder. Pillow's plugins are called directly, not through `Image.open`: each is imported with its first file,
nothing is registered, and the limits here replace Pillow's process-wide pixel limit.

All functions are safe to call from several threads.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from io import BytesIO
from os import PathLike
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from landmarks.errors import ImageError, ImageFormatError, ImageTooLargeError, SettingsError
from landmarks.imaging.colour import in_srgb
from landmarks.imaging.formats import ACCEPTED_FORMATS, HEAD_BYTES, RAW, ImageFormat, format_of
from landmarks.imaging.limits import DEFAULT_LIMITS, ImageLimits, memory_cost
from landmarks.imaging.mending import mended, png_without_pixels
from landmarks.imaging.raw import is_raw_tiff

__all__ = [
    "DEFAULT_LIMITS",
    "ImageLimits",
    "Photo",
    "Source",
    "list_sources",
    "load_image",
    "load_rgb",
    "photo_header",
    "read_content",
]

Source = str | Path | bytes | NDArray[np.uint8] | Image.Image
"""A photo: a path, the content of a file, RGB pixels (height, width, 3), or a Pillow image."""

Photo = Source | PathLike[str] | bytearray | memoryview
"""A photo as the public API takes it: any kind of path, and the content of a file in any buffer."""

_Sides = tuple[int | None, int | None]  # `min_side` and `to_look_at` of `load_image`

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = range(5, 9)  # of these, those that swap width and height


def list_sources(photos: Photo | Iterable[Photo]) -> Iterator[Source]:
    """Yield one or more photos as sources; what is neither a photo nor several is one that cannot be read."""
    one = isinstance(photos, str | bytes | bytearray | memoryview) or not isinstance(photos, Iterable)
    one = one or hasattr(photos, "read")  # an open file yields lines
    one = one or (isinstance(photos, np.ndarray) and photos.ndim not in {1, 4})  # not a list, not a batch
    for photo in [cast("Photo", photos)] if one else cast("Iterable[Photo]", photos):
        if isinstance(photo, bytearray | memoryview):
            yield bytes(photo)
        else:
            yield Path(photo) if isinstance(photo, PathLike) else photo


def load_rgb(
    source: Source, *, min_side: int | None = None, limits: ImageLimits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Decode an image to a writable array of shape (height, width, 3), upright, RGB, values 0 to 255.

    Arguments and errors are those of `load_image`.
    """
    return np.array(load_image(source, min_side=min_side, limits=limits))


def load_image(
    source: Source,
    *,
    min_side: int | None = None,
    to_look_at: int | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Image.Image:
    """Decode an image to an upright Pillow image of mode RGB.

    Of an animation, the first frame is decoded. The EXIF orientation and the colour profile are applied,
    transparency is composited over white, and 16-bit grey is scaled to 8 bits. Broken metadata or a missing end is
    tolerated if all pixels are there. 32-bit integers and floats have no agreed white: the largest value becomes
    white, or 255 and 1.0 respectively if nothing is larger; values below 0 are black.

    Args:
        source: A file, the content of one, or a decoded image: pixels are used as they are, a Pillow image is
            turned upright and converted.
        min_side: The short side, in pixels and at least 1, to which the caller will downscale the image anyway.
            A JPEG may then be decoded at 1/2, 1/4 or 1/8, as long as its short side keeps at least as many pixels
            (benchmarks/results/decode.md shows the savings and the cost). None decodes every pixel.
        to_look_at: The long side, in pixels, to which the caller will downscale the image to show it. A copy of at
            least this size that is stored in a HEIC file is then decoded instead, in a hundredth of the time, but
            it is too strongly compressed to recognise what it shows. None never takes it.
        limits: Largest file and image to accept.

    Raises:
        ImageError: The source is missing, not readable, not a regular file, empty or damaged.
        ImageTooLargeError: It exceeds a limit.
        ImageFormatError: Its format is not accepted.
        SettingsError: `min_side` is below 1.
    """
    if min_side is not None and min_side < 1:
        raise SettingsError(f"min_side must be at least 1, not {min_side}")
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _decoding("decoded", None):
            source.load()  # what is damaged shows now, and Pillow turns a TIFF
            return _upright(source)
    if not isinstance(source, str | PathLike | bytes):
        raise ImageError(None, f"expected a path, bytes, an array or a Pillow image, not {type(source).__name__}")
    path = None if isinstance(source, bytes) else Path(source)
    with _open(source, limits) as file:
        kind = _sniff(file, path)
        with _decoding(kind.name, path):
            return _decode_or_mend(file, kind, path, (min_side, to_look_at), limits)


def read_content(source: Path | bytes, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Return the content of a file, so that it is opened only once.

    Raises:
        ImageError: It is missing, not readable, not a regular file, empty or over the limit.
    """
    with _open(source, limits) as file:
        try:
            return file.read()
        except OSError as error:
            path = None if isinstance(source, bytes) else source
            raise ImageError(path, "the file cannot be read: check the disk and copy it again") from error


@contextmanager
def _decoding(kind: str, path: Path | None) -> Iterator[None]:
    """Translate decoder errors into an `ImageError` of one sentence."""
    try:
        with _quiet_pillow():
            yield
    except ImageError as error:
        if error.path is None and path is not None:
            raise type(error)(path, error.reason) from error
        raise
    except Image.DecompressionBombError as error:
        # Pillow's own limit still applies to what it reads while opening a GIF, WebP or TIFF.
        raise ImageTooLargeError(path, "the picture has too many pixels: make it smaller first") from error
    except MemoryError as error:
        raise ImageError(path, "the picture does not fit in memory: make it smaller first") from error
    except Exception as error:  # decoders raise nearly every type, depending on the damage
        raise ImageError(
            path,
            f"the {kind} picture is damaged, cut short or of a rare kind: "
            "copy it again from its source, or save it as an ordinary JPEG or PNG",
        ) from error


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            None, f"expected a uint8 array of shape (height, width, 3), not {array.dtype} {array.shape}"
        )
    return Image.fromarray(array)


@contextmanager
def photo_header(photo: Path | bytes) -> Iterator[ImageFile.ImageFile | None]:
    """Open a photo, or its content, for its metadata, without decoding it; yields None if it cannot be read."""
    with ExitStack() as stack:
        image: ImageFile.ImageFile | None = None
        try:
            # The header of a large file costs no more than another.
            file = stack.enter_context(_open(photo, ImageLimits(max_bytes=sys.maxsize)))
            kind = _sniff(file, None if isinstance(photo, bytes) else photo)
            stack.enter_context(_quiet_pillow())
            try:
                image = _header(file, kind)
            except Exception:  # noqa: BLE001 - as below
                content = mended(file, kind.name)
                image = None if content is None else _header(content, kind)
        except Exception:  # noqa: BLE001 - decoders raise nearly every type, depending on the damage
            image = None
        yield image


def _header(file: BinaryIO, kind: ImageFormat) -> ImageFile.ImageFile:
    if kind.name != "PNG":
        return _plugin(kind)(file)
    image = _plugin(kind)(png_without_pixels(file))
    with suppress(Exception):  # damaged EXIF raises nearly every type
        Image.Image.getexif(image)
    image.info.setdefault("exif", b"")  # without it, the plugin would load the pixels
    return image


def _open(source: str | Path | bytes, limits: ImageLimits) -> BinaryIO:
    """Check the kind and size of the source, then open it for reading."""
    if isinstance(source, bytes):
        _check_size(len(source), None, limits)
        return BytesIO(source)
    path = Path(source)
    try:
        status = path.stat()
        if S_ISDIR(status.st_mode):
            raise ImageError(path, "this is a folder, not a picture: name a file in it")
        if not S_ISREG(status.st_mode):
            # Opening a FIFO would block until it has a writer, perhaps forever.
            raise ImageError(path, "this is a pipe or device, not a picture: copy its content to a file first")
        _check_size(status.st_size, path, limits)
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(path, "no such file: check the spelling") from error
    except PermissionError as error:
        raise ImageError(path, "no permission to read the file: change its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ImageError(path, f"the file cannot be read ({reason}): check the path and the disk") from error


def _check_size(size: int, path: Path | None, limits: ImageLimits) -> None:
    if size == 0:
        raise ImageError(path, "the file is empty: copy it again from its source")
    if size > limits.max_bytes:
        raise ImageTooLargeError(
            path,
            f"the file has {size / 2**20:.1f} MiB, more than the limit of {limits.max_bytes / 2**20:.1f} MiB: "
            "make it smaller first",
        )


def _sniff(file: BinaryIO, path: Path | None) -> ImageFormat:
    """Return the format detected from the first bytes of `file`."""
    try:
        head = file.read(HEAD_BYTES)
        file.seek(0)
    except OSError as error:
        raise ImageError(path, "the file cannot be read: check the disk and copy it again") from error
    found = format_of(head)
    if found is None:
        raise ImageFormatError(
            path, f"the content is not a picture of an accepted format: give {ACCEPTED_FORMATS}"
        )
    return RAW if found.name == "TIFF" and is_raw_tiff(file) else found


def _plugin(kind: ImageFormat) -> type[ImageFile.ImageFile]:
    module, name = kind.plugin
    plugin: type[ImageFile.ImageFile] = getattr(import_module(module), name)
    return plugin


def _decode_or_mend(
    file: BinaryIO, kind: ImageFormat, path: Path | None, sides: _Sides, limits: ImageLimits
) -> Image.Image:
    try:
        return _decode(file, kind, path, sides, limits)
    except (ImageError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception:  # decoders raise nearly every type, depending on the damage
        content = mended(file, kind.name)
        if content is None:
            raise
        return _decode(content, kind, path, sides, limits)


def _decode(
    file: BinaryIO, kind: ImageFormat, path: Path | None, sides: _Sides, limits: ImageLimits
) -> Image.Image:
    min_side, to_look_at = sides
    image: Image.Image = _plugin(kind)(file)
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            path,
            f"the picture has {width} x {height} pixels, more than the limit of "
            f"{limits.max_pixels / 1e6:g} megapixels: make it smaller first",
        )
    if kind.name in {"JPEG", RAW.name} and min_side is not None:
        cast("ImageFile.ImageFile", image).draft(None, (min_side, min_side))
    elif kind.name == "HEIC" and to_look_at is not None:
        share = to_look_at / max(width, height, to_look_at)
        cast("ImageFile.ImageFile", image).draft(None, (int(width * share), int(height * share)))
    cost = memory_cost(image, kind.name, (width, height))
    if cost > limits.max_memory:
        raise ImageTooLargeError(
            path,
            f"the picture has {width} x {height} pixels, which take {cost / 2**20:.1f} MiB to decode, more than "
            f"the limit of {limits.max_memory / 2**20:.1f} MiB: raise the limit, or make it smaller first",
        )
    image.load()
    return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    if min(image.size) < 1:
        raise ImageError(None, "the picture has no pixels: copy it again from its source")
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image once it is upright, from its header."""
    width, height = image.size
    turned = image.format != "TIFF" and _orientation(image) in _TURNED  # Pillow turns a TIFF, and its size at once
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 if the metadata is missing or damaged: the pixels may still be good."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode of the accepted formats to RGB; transparency becomes white."""
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
        white = max(float(values.max()), 255.0 if image.mode == "I" else 1.0)
        return Image.fromarray((values.clip(0) * (255.0 / white)).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        canvas = Image.new("RGB", overlay.size, (255, 255, 255))
        canvas.paste(in_srgb(overlay), mask=overlay)
        return canvas
    return in_srgb(image)


_filter_lock = threading.Lock()
_filter_users = 0
_filter_entry: Any = None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings (damaged EXIF, odd TIFF tags) while any thread decodes.

    `warnings.catch_warnings` swaps process-wide state and loses changes when threads overlap, so the first user
    adds one filter and the last removes it.
    """
    global _filter_users, _filter_entry  # noqa: PLW0603 - one count for the process, as the filters are
    with _filter_lock:
        _filter_users += 1
        if _filter_users == 1:
            warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
            _filter_entry = warnings.filters[0]
    try:
        yield
    finally:
        with _filter_lock:
            _filter_users -= 1
            if _filter_users == 0:
                # Already gone if somebody has reset the filters in the meantime.
                with suppress(ValueError):
                    cast("list[Any]", warnings.filters).remove(_filter_entry)
