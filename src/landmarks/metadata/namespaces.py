"""The XMP namespaces that we read or write, and their prefixes in a packet.

The XMP toolkit, on which exiv2, digiKam and darktable are built, accepts only one prefix per namespace in a packet
and refuses a packet with a second one. So what we add uses the existing prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
CAMERA_RAW = "http://ns.adobe.com/camera-raw-settings/1.0/"
MEDIA_MANAGEMENT = "http://ns.adobe.com/xap/1.0/mm/"
MICROSOFT = "http://ns.microsoft.com/photo/1.0/"
EXPRESSION = "http://ns.microsoft.com/expressionmedia/1.0/"
MEDIAPRO = "http://ns.iview-multimedia.com/mediapro/1.0/"
ACDSEE = "http://ns.acdsee.com/iptc/1.0/"

_USUAL = {
    RDF: "rdf",
    DC: "dc",
    LIGHTROOM: "lr",
    DIGIKAM: "digiKam",
    IPTC_CORE: "Iptc4xmpCore",
    IPTC_EXT: "Iptc4xmpExt",
    PHOTOSHOP: "photoshop",
    EXIF: "exif",
}


class Prefixes:
    """The prefixes for text to insert into a packet.

    Args:
        scope: Namespace of each prefix at the insertion point.
        bound: All bindings in the packet, as pairs of prefix and namespace.
        needed: Namespaces that the text uses.
    """

    def __init__(self, scope: Mapping[str, str], bound: Iterable[tuple[str, str]], needed: Iterable[str]) -> None:
        bound = list(bound)
        self._prefixes: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        for namespace in needed:
            here = [prefix for prefix, meaning in scope.items() if meaning == namespace]
            there = [prefix for prefix, meaning in bound if meaning == namespace]
            # Prefer a prefix to the default namespace, which does not apply to attributes.
            prefix = next(filter(None, here), next(filter(None, there), (here + there + [None])[0]))
            if prefix is None or prefix in self._declared:
                prefix = _free(_USUAL[namespace], {prefix for prefix, _ in bound} | set(self._declared))
            if scope.get(prefix) != namespace:
                self._declared[prefix] = namespace
            self._prefixes[namespace] = prefix

    @property
    def declarations(self) -> str:
        """Attributes that declare missing prefixes, for the outermost element of the text."""
        names = ((f"xmlns:{prefix}" if prefix else "xmlns", space) for prefix, space in self._declared.items())
        return "".join(f' {name}="{space}"' for name, space in names)

    def name(self, namespace: str, local: str) -> str:
        """Return the prefixed name of an element."""
        prefix = self._prefixes[namespace]
        return f"{prefix}:{local}" if prefix else local


def _free(prefix: str, taken: set[str]) -> str:
    number, free = 1, prefix
    while free in taken:
        number += 1
        free = f"{prefix}{number}"
    return free
