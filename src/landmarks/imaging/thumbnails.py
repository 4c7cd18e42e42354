"""Small copies of photos, for pages."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image

from landmarks.imaging.decoding import Source, load_image
from landmarks.imaging.limits import DEFAULT_LIMITS, ImageLimits


def load_small(source: Source, side: int, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode a photo to an upright RGB image whose longest side is `side` pixels at most.

    Of a RAW file the embedded preview is taken, of a HEIC file a stored copy that is large enough, and of a JPEG
    no more is decoded than the size needs.

    Raises:
        ImageError: The photo is unreadable.
    """
    image = load_image(source, min_side=side, to_look_at=side, limits=limits)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image as a JPEG, without metadata."""
    content = BytesIO()
    image.save(content, "JPEG", quality=quality, comment=b"")  # Pillow would keep that of the photo
    return content.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Return an image file of this kind (`png`, `jpeg`) as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
