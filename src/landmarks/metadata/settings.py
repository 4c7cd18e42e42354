"""Where tags are written; a module of its own, so that the command line can name it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from landmarks.errors import SettingsError


@dataclass(frozen=True)
class WriteOptions:
    """Where tags are written.

    Attributes:
        sidecar: Name of a new sidecar: `full` makes `photo.jpg.xmp`, `stem` makes `photo.xmp`.
        in_place: Write into the photo, by ExifTool, instead.
        iptc: With `in_place`, repeat the keywords as IPTC keywords.
        gps: With `in_place`, give a photo without a position that of the landmark.

    Raises:
        SettingsError: `iptc` or `gps` without `in_place`, or a name that is not known.
    """

    sidecar: Literal["full", "stem"] = "full"
    in_place: bool = False
    iptc: bool = False
    gps: bool = False

    def __post_init__(self) -> None:
        if self.sidecar not in {"full", "stem"}:
            raise SettingsError(f"sidecar must be full or stem, not {self.sidecar!r}")
        for name in ("iptc", "gps"):
            if getattr(self, name) and not self.in_place:
                raise SettingsError(f"{name} writes into the photo itself: give --in-place too")

    @property
    def key(self) -> str:
        """Text that differs where the options do."""
        flags = [name for name in ("iptc", "gps") if getattr(self, name)]
        return "+".join(["in-place", *flags]) if self.in_place else f"sidecar-{self.sidecar}"
