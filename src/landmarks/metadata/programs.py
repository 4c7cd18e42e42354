"""Photo programs: which file each of them reads, and in which properties of its own it stores hierarchies.

Sources: docs.immich.app (XMP sidecars), docs.photoprism.app (Metadata), digiKam's handbook (Metadata settings,
Sidecars), darktable's manual (Sidecar files), Adobe's help for Lightroom Classic (Metadata basics), and
Nextcloud's apps Photos and Memories, which run ExifTool on the photo itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.parsers import expat

from landmarks.metadata.namespaces import ACDSEE, EXPRESSION, MEDIAPRO, MICROSOFT

SidecarForm = Literal["auto", "full", "stem"]
ProgramName = Literal["immich", "photoprism", "digikam", "darktable", "lightroom", "nextcloud"]


@dataclass(frozen=True)
class Program:
    """Where a photo program looks for tags.

    Attributes:
        sidecar: Naming scheme of the sidecars it reads.
        in_place: Whether it reads the photo itself and no sidecar; for RAW files it reads the sidecar.
    """

    sidecar: SidecarForm = "auto"
    in_place: bool = False


PROGRAMS: dict[ProgramName, Program] = {
    "immich": Program("full"),
    "photoprism": Program("full"),
    "digikam": Program("full"),
    "darktable": Program("full"),
    "lightroom": Program("stem", in_place=True),
    "nextcloud": Program("auto", in_place=True),
}
"""Programs with a preset."""

PATH_LISTS = (
    # Lists of hierarchies, with their level separators.
    (MICROSOFT, "LastKeywordXMP", "/"),
    (MEDIAPRO, "CatalogSets", "|"),
    (EXPRESSION, "CatalogSets", "|"),
)
CATEGORIES = (ACDSEE, "categories")
"""ACDSee's own XML, inside the text of a property."""

_MAX_DEPTH = 100


@dataclass
class _Category:
    assigned: bool
    name: str = ""
    has_children: bool = False


def category_paths(text: str) -> list[tuple[str, ...]]:
    """Parse ACDSee's categories.

    Args:
        text: XML text of the property.

    Returns:
        The assigned categories, each as a path from the top level; the leaves if none is marked as assigned; empty
        if the XML is broken.
    """
    stack: list[_Category] = []
    paths: list[tuple[str, ...]] = []
    leaves: list[tuple[str, ...]] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) >= _MAX_DEPTH:
            raise ValueError(name)
        if name == "Category":
            if stack:
                stack[-1].has_children = True
            stack.append(_Category(attributes.get("Assigned", "0").strip().lower() in {"1", "true"}))

    def end(name: str) -> None:
        """Keep the path of a category that is assigned, or has no other below it."""
        if name != "Category":
            return
        path = tuple(category.name.strip() for category in stack)
        last = stack.pop()
        if not all(path):
            return
        if last.assigned:
            paths.append(path)
        elif not last.has_children:
            leaves.append(path)

    def characters(data: str) -> None:
        if stack:
            stack[-1].name += data

    def refuse(*_: object) -> None:
        raise ValueError("document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError):
        return []
    finally:
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    return paths or leaves
