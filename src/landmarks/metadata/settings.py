"""Settings of writing tags, in a module of their own so that the command line can import them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from landmarks.errors import SettingsError, require_choice
from landmarks.metadata.programs import PROGRAMS, ProgramName, SidecarForm


@dataclass(frozen=True)
class WriteOptions:
    """Where tags are written.

    Attributes:
        sidecar: Name of a new sidecar: `full` makes `photo.jpg.xmp`, `stem` makes `photo.xmp`; `auto` makes
            `photo.xmp` for RAW files and `photo.jpg.xmp` for others. An existing one is used whatever its name.
        in_place: Write into the photo instead, with ExifTool; RAW files still get a sidecar.
        iptc: With `in_place`, repeat the keywords as IPTC keywords.
        gps: Add the landmark's position to a photo without one, marked as estimated.
        program: Write what this photo program reads: sidecars named as it expects, or for lightroom and nextcloud
            the photos themselves, with ExifTool.

    Raises:
        SettingsError: `iptc` without `in_place`, or an unknown name.
    """

    sidecar: SidecarForm = "auto"
    in_place: bool = False
    iptc: bool = False
    gps: bool = False
    program: ProgramName | None = None

    def __post_init__(self) -> None:
        require_choice("sidecar", self.sidecar, get_args(SidecarForm))
        if self.program is not None:
            require_choice("program", self.program, PROGRAMS)
            preset = PROGRAMS[self.program]
            if self.sidecar == "auto":
                object.__setattr__(self, "sidecar", preset.sidecar)
            object.__setattr__(self, "in_place", self.in_place or preset.in_place)
        if self.iptc and not self.in_place:
            raise SettingsError("`iptc` writes into the photo itself: give `in_place` too")

    @property
    def key(self) -> str:
        """Text that identifies the options."""
        flags = [name for name in ("iptc", "gps") if getattr(self, name)]
        return "+".join(["in-place" if self.in_place else f"sidecar-{self.sidecar}", *flags])

    @staticmethod
    def flags_in(key: str) -> list[str]:
        """Return which of `iptc` and `gps` were set in options, from a text that ends with their key."""
        return key.rpartition(" ")[2].split("+")[1:]
