"""Colour profiles: converts images from other colour spaces to sRGB, with littleCMS through Pillow.

Each profile is probed once. If it leaves colours unchanged, within what the eye can see, its images are not
converted, so the many photos in sRGB cost one look-up.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

_SAME = 6  # of 255 levels: a profile that differs from sRGB by no more is another maker's sRGB
_LARGEST = 4 * 2**20  # bytes of a profile; printing profiles have about two million


def in_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, without transparency.

    A profile that is damaged or does not fit the image is ignored. An image that needs no change is
    returned as is.
    """
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and 0 < len(profile) <= _LARGEST:
        fitting = image if image.mode in {"RGB", "L", "CMYK", "LAB"} else image.convert("RGB")
        transform = _transform(profile, fitting.mode)
        if transform is not None:
            return transform.apply(fitting)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return the transform from a profile to sRGB, or None if none is needed or possible."""
    from PIL import ImageCms  # noqa: PLC0415 - most runs never see a profile

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in {"RGB", "L"}:
            probe = _probe(mode)
            plain, meant = (
                np.asarray(picture, np.int16) for picture in (probe.convert("RGB"), transform.apply(probe))
            )
            if np.abs(plain - meant).max() <= _SAME:
                return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError):
        return None
    return transform


def _probe(mode: str) -> Image.Image:
    """Return an image that samples the whole colour space."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    return Image.fromarray(cube.reshape(27, 27, 3))
