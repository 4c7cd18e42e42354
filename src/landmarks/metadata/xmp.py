"""XMP packets, edited in place: every byte that is not ours stays where it is.

A packet is parsed with Expat, which tells at which byte each element begins. What is added is spliced in as text
and what is removed is cut out, so comments, prefixes, order and white space of other programs survive, which a
parse and a re-serialisation would not give. A document type declaration is refused, and with it every entity
trick. The format: XMP Specification Part 1 (ISO 16684-1); IPTC Photo Metadata Standard for the locations.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from xml.parsers import expat
from xml.sax.saxutils import escape

from landmarks.metadata.entries import LISTS, Entries, Location, compare_key

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
EXIF = "http://ns.adobe.com/exif/1.0/"

_PROPERTIES = {
    # field of Entries -> namespace, prefix to use, local name, kind of list
    "keywords": ("http://purl.org/dc/elements/1.1/", "dc", "subject", "Bag"),
    "hierarchy": ("http://ns.adobe.com/lightroom/1.0/", "lr", "hierarchicalSubject", "Bag"),
    "tag_paths": ("http://www.digikam.org/ns/1.0/", "digiKam", "TagsList", "Seq"),
    "locations": (IPTC_EXT, "Iptc4xmpExt", "LocationShown", "Bag"),
}
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="landmarks">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n'
    '  <rdf:Description rdf:about="">\n'
    "  </rdf:Description>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
)
_START_TAG = re.compile(rb"<([^\s/>]+)(?:\s+[^\s=/>]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*\s*/?>")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GPS = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_MAX_DEPTH = 100


class PacketError(ValueError):
    """The packet is broken, or of a form that cannot be edited safely; the text says why."""


@dataclass
class _Node:
    """An element: `start` to `inside` is its start tag, `until` to `end` its end tag."""

    name: str  # namespace, space, local name
    attributes: dict[str, str]
    start: int
    inside: int
    until: int = 0
    end: int = 0
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    @property
    def is_list(self) -> bool:
        return self.name in {f"{RDF} Bag", f"{RDF} Seq", f"{RDF} Alt"}


class XmpPacket:
    """One XMP packet.

    Args:
        raw: Its bytes; None makes an empty packet.

    Raises:
        PacketError: The bytes are not a packet that can be read.
    """

    def __init__(self, raw: bytes | None = None) -> None:
        # Work goes on in UTF-8, the only encoding where Expat's byte offsets fit text that is spliced in.
        self._codec = "utf-8" if raw is None else _codec_of(raw)
        try:
            self._text = _EMPTY.encode() if raw is None else raw.decode(self._codec).encode()
        except (UnicodeError, LookupError) as error:
            raise PacketError(f"the text is not {self._codec}") from error
        self._root = _parse(self._text)
        if self._root is None:
            raise PacketError("there is no rdf:RDF element in it")

    def to_bytes(self) -> bytes:
        """Return the packet in the encoding it came in."""
        return self._text.decode().encode(self._codec, "xmlcharrefreplace")

    def entries(self) -> Entries:
        """Return what the packet says, whoever wrote it."""
        found: dict[str, tuple[object, ...]] = {}
        for name in _PROPERTIES:
            items = [item for node in self._properties(name) for item in _items(node)]
            read = _location if name == "locations" else _text
            found[name] = tuple(entry for entry in map(read, items) if entry)
        return Entries(**found)  # type: ignore[arg-type]

    def position(self) -> tuple[float, float] | None:
        """Return the camera's position, from `exif:GPSLatitude` and `exif:GPSLongitude`, or None."""
        values = {}
        for description in self._descriptions():
            values.update(_fields(description, EXIF))
        latitude, longitude = _degrees(values.get("GPSLatitude")), _degrees(values.get("GPSLongitude"))
        return None if latitude is None or longitude is None else (latitude, longitude)

    def add(self, entries: Entries) -> None:
        """Add entries at the end of their lists; lists that are missing are made.

        Raises:
            PacketError: A list has a form that is not known.
        """
        for name in _PROPERTIES:
            values: Sequence[str | Location] = getattr(entries, name)
            if values:
                self._add(name, values)

    def remove(self, entries: Entries) -> None:
        """Take entries out; a list that becomes empty goes with them, and so does an emptied frame."""
        for name in _PROPERTIES:
            keys = {compare_key(entry) for entry in getattr(entries, name)}
            if not keys:
                continue
            cuts: list[_Node] = []
            read = _location if name == "locations" else _text
            for node in self._properties(name):
                items = list(_items(node))
                ours = [item for item in items if (entry := read(item)) and compare_key(entry) in keys]
                cuts += [node] if ours and len(ours) == len(items) else ours
            self._cut(cuts)

    def _descriptions(self) -> Iterator[_Node]:
        if self._root is not None:
            yield from self._root.children

    def _properties(self, name: str) -> Iterator[_Node]:
        namespace, _, local, _ = _PROPERTIES[name]
        for description in self._descriptions():
            yield from (node for node in description.children if node.name == f"{namespace} {local}")

    def _add(self, name: str, values: Iterable[str | Location]) -> None:
        existing = next(self._properties(name), None)
        if existing is None:
            self._insert(self._description(), _property_text(name, values))
            return
        lists = [node for node in existing.children if node.is_list]
        if len(lists) != 1:
            raise PacketError(f"{LISTS[name]} is not written as a list")
        # The prefix that stands for RDF in the user's file.
        tag = _START_TAG.match(self._text, lists[0].start)
        prefix = "" if tag is None or b":" not in tag[1] else tag[1].partition(b":")[0].decode() + ":"
        self._insert(lists[0], [_item_text(value, prefix, f' xmlns:rdf="{RDF}"') for value in values])

    def _description(self) -> _Node:
        """Return the first description, which is made where there is none."""
        description = next(self._descriptions(), None)
        if description is None and self._root is not None:
            self._insert(self._root, [f'<rdf:Description xmlns:rdf="{RDF}" rdf:about=""></rdf:Description>'])
            description = next(self._descriptions())
        if description is None:
            raise PacketError("there is no rdf:RDF element in it")
        return description

    def _insert(self, node: _Node, lines: Iterable[str]) -> None:
        """Put lines at the end of an element's content, indented like what stands before them."""
        text, indent = self._text, self._indent_of(node)
        inner = indent + " "
        if node.children:
            inner = self._indent_of(node.children[-1])
        added = "".join(inner + line.replace("\n", inner) for line in lines).encode()
        if node.until == node.end:  # <x/> becomes <x>...</x>
            tag = _START_TAG.match(text, node.start)
            name = tag[1] if tag is not None else b""
            opened = text[: node.inside].rstrip(b">").rstrip(b"/") + b">"
            self._reparse(opened + added + indent.encode() + b"</" + name + b">" + text[node.end :])
            return
        at = node.inside + len(text[node.inside : node.until].rstrip())
        tail = b"" if node.children or b"\n" in text[at : node.until] else indent.encode()
        self._reparse(text[:at] + added + tail + text[at:])

    def _indent_of(self, node: _Node) -> str:
        before = self._text[: node.start]
        spaces = before[len(before.rstrip()) :].decode()
        return "\n" + spaces.rpartition("\n")[2] if "\n" in spaces else "\n"

    def _cut(self, nodes: Iterable[_Node]) -> None:
        text = self._text
        for node in sorted(nodes, key=lambda node: node.start, reverse=True):
            start = len(text[: node.start].rstrip())
            text = text[:start] + text[node.end :]
        self._reparse(text)

    def _reparse(self, text: bytes) -> None:
        self._text, self._root = text, _parse(text)


def _codec_of(raw: bytes) -> str:
    for mark, codec in _BOMS:
        if raw.startswith(mark):
            return codec
    declared = _DECLARED.match(raw.lstrip()[:200])
    return declared[1].decode("ascii").lower() if declared is not None else "utf-8"


def _parse(text: bytes) -> _Node | None:
    """Return the tree below rdf:RDF of a packet in UTF-8, or None where there is none."""
    stack: list[_Node] = []
    found: list[_Node] = []
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) >= _MAX_DEPTH:
            raise PacketError("its elements are nested too deeply")
        at = parser.CurrentByteIndex
        tag = _START_TAG.match(text, at)
        if tag is None:
            raise PacketError("an element in it cannot be told apart")
        node = _Node(name, attributes, at, tag.end())
        if stack:
            stack[-1].children.append(node)
        if name == f"{RDF} RDF":
            found.append(node)
        stack.append(node)

    def end(_name: str) -> None:
        node = stack.pop()
        if text[node.inside - 2 : node.inside] == b"/>":
            node.until = node.end = node.inside
        else:
            node.until = parser.CurrentByteIndex
            node.end = text.index(b">", node.until) + 1

    def characters(data: str) -> None:
        if stack:
            stack[-1].text += data

    def refuse(*_: object) -> None:
        raise PacketError("it has a document type declaration, which XMP forbids")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise PacketError(f"the XML is broken ({error})") from error
    finally:
        # The parser and its handlers hold each other: parted, they go at once, and the tree with them.
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    return found[0] if found else None


def _items(node: _Node) -> Iterator[_Node]:
    """Give the items of a property; one that is no list is its own single item."""
    lists = [child for child in node.children if child.is_list]
    if not lists:
        yield node
    for group in lists:
        yield from (item for item in group.children if item.name == f"{RDF} li")


def _text(node: _Node) -> str:
    return node.text.strip()


def _fields(node: _Node, *namespaces: str) -> dict[str, str]:
    """Return the simple fields of a structure, in whichever of RDF's notations it is written."""
    values = {}
    for name, value in node.attributes.items():
        namespace, _, local = name.rpartition(" ")
        if namespace in namespaces:
            values[local] = value
    for child in node.children:
        namespace, _, local = child.name.rpartition(" ")
        if child.name == f"{RDF} Description":
            values.update(_fields(child, *namespaces))
        elif namespace in namespaces:
            values[local] = next((_text(item) for item in _items(child)), "")
    return values


def _location(node: _Node) -> Location | None:
    values = _fields(node, IPTC_EXT, EXIF)
    location = Location(
        name=values.get("LocationName", ""),
        city=values.get("City", ""),
        country=values.get("CountryName", ""),
        country_code=values.get("CountryCode", ""),
        identifier=values.get("LocationId", ""),
    )
    latitude, longitude = _degrees(values.get("GPSLatitude")), _degrees(values.get("GPSLongitude"))
    if latitude is not None and longitude is not None:
        location = replace(location, latitude=latitude, longitude=longitude)
    return None if location == Location("") else location


def _degrees(text: str | None) -> float | None:
    """Return the degrees of XMP's `48,51.498N` or `48,51,29.9N`, or None."""
    match = _GPS.fullmatch((text or "").strip())
    if match is None:
        return None
    value = int(match[1]) + float(match[2]) / 60 + float(match[3] or 0) / 3600
    limit = 90 if match[4] in "NS" else 180
    return None if value > limit else -value if match[4] in "SW" else value


def _degrees_text(value: float, letters: str) -> str:
    minutes = round(abs(value) * 60, 5)
    return f"{int(minutes // 60)},{minutes % 60:.5f}{letters[value < 0]}"


def _property_text(name: str, values: Iterable[str | Location]) -> list[str]:
    namespace, prefix, local, kind = _PROPERTIES[name]
    # Each property brings its own namespaces: what the prefixes mean outside does not matter.
    items = "".join(f"\n{_item_text(value, 'rdf:', '')}".replace("\n", "\n  ") for value in values)
    return [
        f'<{prefix}:{local} xmlns:{prefix}="{namespace}" xmlns:rdf="{RDF}">\n'
        f" <rdf:{kind}>{items}\n </rdf:{kind}>\n</{prefix}:{local}>"
    ]


def _item_text(value: str | Location, prefix: str, declared: str) -> str:
    """Return one `rdf:li`; `declared` binds the prefix `rdf` where it may not be bound."""
    if isinstance(value, str):
        return f"<{prefix}li>{_escaped(value)}</{prefix}li>"
    lines = [f"  <Iptc4xmpExt:{name}>{_escaped(text)}</Iptc4xmpExt:{name}>" for name, text in _simple(value)]
    if value.name:
        lines.append(
            "  <Iptc4xmpExt:LocationName><rdf:Alt>"
            f'<rdf:li xml:lang="x-default">{_escaped(value.name)}</rdf:li>'
            "</rdf:Alt></Iptc4xmpExt:LocationName>"
        )
    if value.identifier:
        lines.append(
            f"  <Iptc4xmpExt:LocationId><rdf:Bag><rdf:li>{_escaped(value.identifier)}</rdf:li></rdf:Bag>"
            "</Iptc4xmpExt:LocationId>"
        )
    if value.latitude is not None and value.longitude is not None:
        lines.append(f"  <exif:GPSLatitude>{_degrees_text(value.latitude, 'NS')}</exif:GPSLatitude>")
        lines.append(f"  <exif:GPSLongitude>{_degrees_text(value.longitude, 'EW')}</exif:GPSLongitude>")
    body = "\n".join(lines)
    return (
        f"<{prefix}li>\n"
        f' <rdf:Description{declared} xmlns:Iptc4xmpExt="{IPTC_EXT}" xmlns:exif="{EXIF}">\n'
        f"{body}\n </rdf:Description>\n</{prefix}li>"
    )


def _simple(location: Location) -> Iterator[tuple[str, str]]:
    values = (("City", location.city), ("CountryCode", location.country_code), ("CountryName", location.country))
    yield from (pair for pair in values if pair[1])


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("", text))
