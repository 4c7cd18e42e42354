"""Reads the entries of an XMP packet, and adds and removes ours."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from landmarks.metadata import gps
from landmarks.metadata.entries import SINGLES, Entries, Location, compare_key, distinct
from landmarks.metadata.namespaces import (
    CAMERA_RAW,
    DC,
    DIGIKAM,
    EXIF,
    IPTC_CORE,
    IPTC_EXT,
    LIGHTROOM,
    MEDIA_MANAGEMENT,
    PHOTOSHOP,
    RDF,
    XMP,
    Prefixes,
)
from landmarks.metadata.packet import Attribute, Node, Packet
from landmarks.metadata.programs import CATEGORIES, PATH_LISTS, category_paths
from landmarks.metadata.rdf import fields_of, items_of, lists_of, text_of

_LISTS = {
    # field of Entries -> namespace, local name, kind of list
    "keywords": (DC, "subject", "Bag"),
    "hierarchy": (LIGHTROOM, "hierarchicalSubject", "Bag"),
    "tag_paths": (DIGIKAM, "TagsList", "Seq"),
    "locations": (IPTC_EXT, "LocationShown", "Bag"),
}
_SINGLES = {
    "sublocation": (IPTC_CORE, "Location"),
    "city": (PHOTOSHOP, "City"),
    "region": (PHOTOSHOP, "State"),
    "country": (PHOTOSHOP, "Country"),
    "country_code": (IPTC_CORE, "CountryCode"),
}
_POSITION = ("GPSLatitude", "GPSLongitude", "GPSProcessingMethod")
_TIMES = (
    (EXIF, "DateTimeOriginal"),
    (PHOTOSHOP, "DateCreated"),
    (XMP, "CreateDate"),  # of a scan, when it was scanned
)
_PHOTO_NAMES = (
    (CAMERA_RAW, "RawFileName"),  # Lightroom, Camera Raw
    (MEDIA_MANAGEMENT, "DerivedFrom"),  # darktable
    (PHOTOSHOP, "SidecarForExtension"),
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BLANKS = str.maketrans({"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


class XmpPacket(Packet):
    """One XMP packet.

    Args:
        raw: Its bytes; None, or bytes without any text, make an empty packet.

    Raises:
        PacketError: The bytes are not a readable packet.
    """

    def entries(self) -> Entries:
        """Return the entries of the packet, whoever wrote them; a position is included only if it is ours."""
        found: dict[str, tuple[object, ...]] = {}
        for name, (namespace, local, _) in _LISTS.items():
            read = _location if name == "locations" else text_of
            items = [item for node in self._elements(namespace, local) for item in items_of(node)]
            values: list[object] = [read(item) for item in items]
            if name != "locations":
                values += self._attribute_values(namespace, local)
            found[name] = tuple(filter(None, values))
        for name in SINGLES:
            found[name] = tuple(filter(None, self._texts(*_SINGLES[name])))[:1]
        position, method = self._position()
        ours = position is not None and gps.is_ours(method, position)
        return Entries(**found, position=position if ours else None)  # type: ignore[arg-type]

    def position(self) -> tuple[float, float] | None:
        """Return the camera's position, from `exif:GPSLatitude` and `exif:GPSLongitude`, or None."""
        position, method = self._position()
        return None if position is None or gps.is_ours(method, position) else position

    def has_position(self) -> bool:
        """Return whether there is any position, valid or not."""
        return any(text for local in _POSITION for text in self._texts(EXIF, local))

    def times(self) -> Iterator[str]:
        """Yield the times at which the photo was taken, as they are written, the most trustworthy first."""
        for where in _TIMES:
            yield from self._texts(*where)

    def other_paths(self) -> tuple[str, ...]:
        """Return the hierarchies in other programs' own lists, levels separated by `|`."""
        paths = []
        for namespace, local, separator in PATH_LISTS:
            paths += [text.strip(separator).replace(separator, "|") for text in self._texts(namespace, local)]
        for text in self._texts(*CATEGORIES):
            paths += ["|".join(level.replace("|", "-") for level in path) for path in category_paths(text)]
        return distinct(filter(None, paths))

    def photo_name(self) -> str:
        """Return the name, or only the suffix, of the photo that a sidecar belongs to; empty if it has none."""
        return next((text for where in _PHOTO_NAMES for text in self._texts(*where) if text), "")

    def add(self, entries: Entries) -> None:
        """Append entries to their lists; missing lists are created."""
        new: list[str] = []
        for name in _LISTS:
            values: Sequence[str | Location] = getattr(entries, name)
            if values:
                new += self._add(name, values)
        for name in SINGLES:
            for value in getattr(entries, name)[:1]:
                new += self._set(*_SINGLES[name], value)
        if entries.position is not None:
            latitude, longitude = entries.position
            new += self._set(EXIF, "GPSLatitude", gps.degrees_text(latitude, "latitude"))
            new += self._set(EXIF, "GPSLongitude", gps.degrees_text(longitude, "longitude"))
            new += self._set(EXIF, "GPSProcessingMethod", gps.our_method(entries.position))
        if new:
            self.insert(self._description(), new)

    def remove(self, entries: Entries) -> None:
        """Remove entries, along with properties that become empty."""
        for name, (namespace, local, _) in _LISTS.items():
            keys = {compare_key(entry) for entry in getattr(entries, name)}
            if not keys:
                continue
            cuts: list[Node | Attribute] = []
            read = _location if name == "locations" else text_of
            for node in self._elements(namespace, local):
                items = items_of(node)
                ours = [item for item in items if (entry := read(item)) and compare_key(entry) in keys]
                cuts += [node] if ours and len(ours) == len(items) else ours
            self.cut(cuts)
            self._cut_single(namespace, local, keys, elements=False)
        for name in SINGLES:
            self._cut_single(*_SINGLES[name], {compare_key(value) for value in getattr(entries, name)})
        if entries.position is not None and self.entries().position is not None:
            for local in _POSITION:
                self._cut_single(EXIF, local, None)

    def _descriptions(self) -> list[Node]:
        return self.root.children

    def _elements(self, namespace: str, local: str) -> Iterator[Node]:
        name = f"{namespace} {local}"
        for description in self._descriptions():
            yield from (node for node in description.children if node.name == name)

    def _attribute_values(self, namespace: str, local: str) -> Iterator[str]:
        name = f"{namespace} {local}"
        for description in self._descriptions():
            if name in description.attributes:
                yield description.attributes[name].strip()

    def _texts(self, namespace: str, local: str) -> Iterator[str]:
        """Yield the texts of a property, whether or not it is a list."""
        yield from self._attribute_values(namespace, local)
        for node in self._elements(namespace, local):
            yield from map(text_of, items_of(node))

    def _position(self) -> tuple[tuple[float, float] | None, str]:
        values: dict[str, str] = {}
        for description in self._descriptions():
            values.update(fields_of(description, EXIF))
        return _position_of(values), values.get("GPSProcessingMethod", "")

    def _add(self, name: str, values: Sequence[str | Location]) -> list[str]:
        """Add values to an existing list, or return the text of a new property if there is none."""
        namespace, local, kind = _LISTS[name]
        carried = self._take_attributes(namespace, local)
        needed = (RDF, IPTC_EXT, EXIF) if name == "locations" else (RDF,)
        node = next(self._elements(namespace, local), None)
        if node is not None and not lists_of(node):
            if items_of(node):
                self._make_list(node, kind)
            elif node.attributes:  # qualifiers without a value do not fit a list
                self.cut([node])
            node = next(self._elements(namespace, local), None)
        groups = lists_of(node) if node is not None else []
        if groups:
            lines = []
            for value in values:
                prefixes = self.prefixes(groups[0], needed)
                lines.append(_item_text(value, prefixes, prefixes.declarations))
            prefixes = self.prefixes(groups[0], (RDF,))
            self.insert(groups[0], [*_carried_text(carried, prefixes, prefixes.declarations), *lines])
            return []
        place = self._description() if node is None else node
        prefixes = self.prefixes(place, dict.fromkeys((namespace, *needed)) if node is None else needed)
        lines = [*_carried_text(carried, prefixes, ""), *(_item_text(value, prefixes, "") for value in values)]
        listing = prefixes.name(RDF, kind)
        inner = "".join(f"\n{line}" for line in lines).replace("\n", "\n ")
        if node is not None:
            self.insert(node, [f"<{listing}{prefixes.declarations}>{inner}\n</{listing}>"])
            return []
        own = prefixes.name(namespace, local)
        listed = f"<{listing}>{inner}\n</{listing}>".replace("\n", "\n ")
        return [f"<{own}{prefixes.declarations}>\n {listed}\n</{own}>"]

    def _make_list(self, node: Node, kind: str) -> None:
        """Turn a single value into a list with one item; qualifiers of the value move to the item."""
        prefixes = self.prefixes(node, (RDF,))
        item, listing = prefixes.name(RDF, "li"), prefixes.name(RDF, kind)
        moved = list(self.attributes(node))
        tag = self.text[node.start : node.inside]
        written = b"".join(self.text[attribute.start : attribute.end] for attribute in moved)
        for attribute in reversed(moved):
            tag = tag[: attribute.start - node.start] + tag[attribute.end - node.start :]
        inner = self.text[node.inside : node.until]
        opened = tag.rstrip(b">").rstrip(b"/") + b">"
        middle = f"<{listing}{prefixes.declarations}><{item}".encode() + written + b">" + inner
        closed = f"</{item}></{listing}></{self.start_tag(node)}>".encode()
        self.replace(node.start, node.end, opened + middle + closed)

    def _take_attributes(self, namespace: str, local: str) -> list[bytes]:
        """Remove a property written as an attribute; return its values as written."""
        name, values = f"{namespace} {local}", []
        while (found := self._attribute(name)) is not None:
            if found.raw.strip():
                values.append(found.raw)
            self.cut([found])
        return values

    def _attribute(self, name: str) -> Attribute | None:
        for description in self._descriptions():
            if name in description.attributes:
                return next(found for found in self.attributes(description) if found.name == name)
        return None

    def _set(self, namespace: str, local: str, value: str) -> list[str]:
        """Return the text that sets a single-valued property, none if it has a value; remove an empty one."""
        if any(self._texts(namespace, local)):
            return []
        self._cut_single(namespace, local, {""})
        prefixes = self.prefixes(self._description(), (namespace,))
        name = prefixes.name(namespace, local)
        return [f"<{name}{prefixes.declarations}>{_escaped(value)}</{name}>"]

    def _cut_single(self, namespace: str, local: str, keys: set[str] | None, *, elements: bool = True) -> None:
        """Remove a single-valued property if its value is one of `keys`, or any value if they are None."""
        name = f"{namespace} {local}"
        cuts: list[Node | Attribute] = []
        for description in self._descriptions():
            written = description.attributes.get(name)
            if written is not None and (keys is None or compare_key(written.strip()) in keys):
                cuts += [found for found in self.attributes(description) if found.name == name]
        for node in self._elements(namespace, local) if elements else ():
            texts = [text_of(item) for item in items_of(node)] or [""]
            if keys is None or compare_key(texts[0]) in keys:
                cuts.append(node)
        if cuts:
            self.cut(cuts)

    def _description(self) -> Node:
        """Return the first description, creating one if there is none."""
        name = f"{RDF} Description"
        description = next((node for node in self._descriptions() if node.name == name), None)
        if description is None:
            prefixes = self.prefixes(self.root, (RDF,))
            tag = prefixes.name(RDF, "Description")
            about = prefixes.name(RDF, "about")
            self.insert(self.root, [f'<{tag}{prefixes.declarations} {about}=""></{tag}>'])
            description = next(node for node in self._descriptions() if node.name == name)
        return description


def _location(node: Node) -> Location | None:
    values = fields_of(node, IPTC_EXT, EXIF)
    location = Location(
        name=values.get("LocationName", ""),
        city=values.get("City", ""),
        country=values.get("CountryName", ""),
        country_code=values.get("CountryCode", ""),
        identifier=values.get("LocationId", ""),
    )
    position = _position_of(values)
    if position is not None:
        location = replace(location, latitude=position[0], longitude=position[1])
    return None if location == Location("") else location


def _position_of(values: dict[str, str]) -> tuple[float, float] | None:
    latitude = gps.parse_degrees(values.get("GPSLatitude"), "latitude", values.get("GPSLatitudeRef"))
    longitude = gps.parse_degrees(values.get("GPSLongitude"), "longitude", values.get("GPSLongitudeRef"))
    return gps.plausible((latitude, longitude))


def _carried_text(values: Iterable[bytes], prefixes: Prefixes, declared: str) -> list[str]:
    """Return items for values that were attributes, where white space is a space and `]]>` has no meaning."""
    item = prefixes.name(RDF, "li")
    texts = (re.sub(rb"[\t\r\n]", b" ", value).replace(b">", b"&gt;").decode() for value in values)
    return [f"<{item}{declared}>{text}</{item}>" for text in texts]


def _item_text(value: str | Location, prefixes: Prefixes, declared: str) -> str:
    """Return one `rdf:li`; `declared` declares the prefixes that are missing around it."""
    item = prefixes.name(RDF, "li")
    if isinstance(value, str):
        return f"<{item}{declared}>{_escaped(value)}</{item}>"
    description = prefixes.name(RDF, "Description")
    lines = "".join(f"  {line}\n" for line in _field_lines(value, prefixes))
    return f"<{item}{declared}>\n <{description}>\n{lines} </{description}>\n</{item}>"


def _field_lines(location: Location, prefixes: Prefixes) -> Iterator[str]:
    def element(namespace: str, local: str, content: str, attributes: str = "") -> str:
        name = prefixes.name(namespace, local)
        return f"<{name}{attributes}>{content}</{name}>"

    simple = (("City", location.city), ("CountryCode", location.country_code), ("CountryName", location.country))
    for local, text in simple:
        if text:
            yield element(IPTC_EXT, local, _escaped(text))
    if location.name:
        item = element(RDF, "li", _escaped(location.name), ' xml:lang="x-default"')
        yield element(IPTC_EXT, "LocationName", element(RDF, "Alt", item))
    if location.identifier:
        item = element(RDF, "li", _escaped(location.identifier))
        yield element(IPTC_EXT, "LocationId", element(RDF, "Bag", item))
    if location.latitude is not None and location.longitude is not None:
        yield element(EXIF, "GPSLatitude", gps.degrees_text(location.latitude, "latitude"))
        yield element(EXIF, "GPSLongitude", gps.degrees_text(location.longitude, "longitude"))


def _escaped(text: str) -> str:
    # Blanks too, else indenting would change the text. xml.sax.saxutils would import urllib: 30 ms of each start.
    return html.escape(_NOT_XML.sub("", text), quote=False).translate(_BLANKS)
