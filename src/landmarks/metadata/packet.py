"""Edits the text of an XMP packet in place, without changing any byte that is not ours.

A packet is parsed with Expat, which reports the byte offset of each element. Additions are spliced in as text and
removals are cut out, so comments, prefixes, order and white space of other programs are preserved, which parsing
and re-serialising would not do. Document type declarations are refused, and with them all entity attacks. The
format: XMP Specification Part 1 (ISO 16684-1).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from landmarks.metadata.namespaces import META, RDF, Prefixes

_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="{META}" x:xmptk="landmarks">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n'
    '  <rdf:Description rdf:about="">\n'
    "  </rdf:Description>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
)
_MARKS = (
    # UTF-32 first: its little-endian mark starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS = {
    # Which of the first four bytes are zero if the text starts with an ASCII character.
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_NOTHING = b" \t\r\n\0" + b"".join({mark for mark, _ in _MARKS})
_ATTRIBUTE = rb"\s+([^\s=/>]+)\s*=\s*(\"[^\"]*\"|'[^']*')"
_START_TAG = re.compile(rb"<([^\s/>]+)(?:" + _ATTRIBUTE + rb")*\s*/?>")
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_FRAMES = frozenset({f"{META} xmpmeta", f"{META} xapmeta"})
_MAX_DEPTH = 100


class PacketError(ValueError):
    """The packet is broken, or in a form that cannot be edited safely; the text explains why."""


@dataclass
class Node:
    """An element; `start` to `inside` are the byte offsets of its start tag, `until` to `end` of its end tag."""

    name: str  # namespace, space, local name
    attributes: dict[str, str]
    start: int
    inside: int
    scope: dict[str, str]  # namespace of each prefix inside it
    literal: bool  # is, or is inside, an element whose content is declared as literal text
    until: int = 0
    end: int = 0
    text: str = ""
    children: list[Node] = field(default_factory=list)

    @property
    def closed_at_once(self) -> bool:
        """Whether it is a self-closing tag, `<x/>`."""
        return self.until == self.end


@dataclass(frozen=True)
class Attribute:
    """An attribute as written: `start` is the offset of the white space before it, `raw` is not unescaped."""

    name: str
    raw: bytes
    start: int
    end: int


class Packet:
    """A packet and its text.

    Args:
        raw: Its bytes; None, or bytes without any text, make an empty packet.

    Raises:
        PacketError: The bytes are not a readable packet.
    """

    def __init__(self, raw: bytes | None = None) -> None:
        # All work is done in UTF-8, the only encoding in which Expat's byte offsets fit the spliced text.
        self._tail = b""
        if raw is None or is_blank(raw):
            self._codec, self.text = "utf-8", _EMPTY.encode()
        else:
            self._codec = _codec_of(raw)
            until = _whole_characters(raw, self._codec)
            self._tail = raw[until:]
            self.text = self._decoded(raw[:until])
        tree = _parse(self.text)
        if tree.root is None and tree.top.name in _FRAMES and not tree.top.children:
            self.insert(tree.top, [f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF>'])
            tree = _parse(self.text)
        self._take(tree)

    def to_bytes(self) -> bytes:
        """Return the packet in its original encoding."""
        return self.text.decode().encode(self._codec, "xmlcharrefreplace") + self._tail

    def prefixes(self, node: Node, needed: Iterable[str]) -> Prefixes:
        """Return the prefixes for text inside an element that uses these namespaces."""
        return Prefixes(node.scope, self._bound, needed)

    def attributes(self, node: Node) -> Iterator[Attribute]:
        """Yield the attributes of an element as written, without those that declare prefixes."""
        scope = node.scope | {"xml": "http://www.w3.org/XML/1998/namespace"}
        for match in _ATTRIBUTES.finditer(self.text, node.start, node.inside):
            prefix, colon, local = match[1].decode().rpartition(":")
            if prefix == "xmlns" or (not colon and local == "xmlns"):
                continue
            name = f"{scope.get(prefix, '')} {local}" if colon else local
            yield Attribute(name, match[2][1:-1], match.start(), match.end())

    def start_tag(self, node: Node) -> str:
        """Return the name of an element as written, with its prefix."""
        tag = _START_TAG.match(self.text, node.start)
        return "" if tag is None else tag[1].decode()

    def insert(self, node: Node, lines: Iterable[str]) -> None:
        """Append lines to an element's content, indented like the existing content."""
        text, indent = self.text, self._indent_of(node)
        inner = indent + " "
        if node.children:
            inner = self._indent_of(node.children[-1])
        added = "".join(inner + line.replace("\n", inner) for line in lines).encode()
        if node.closed_at_once:  # <x/> becomes <x>...</x>
            opened = text[: node.inside - 2].rstrip() + b">"
            name = self.start_tag(node).encode()
            self._reparse(opened + added + indent.encode() + b"</" + name + b">" + text[node.end :])
            return
        at = node.inside + len(text[node.inside : node.until].rstrip())
        tail = b"" if node.children or b"\n" in text[at : node.until] else indent.encode()
        self._reparse(text[:at] + added + tail + text[at:])

    def replace(self, start: int, end: int, text: bytes) -> None:
        """Replace the bytes from `start` to `end` with other text."""
        self._reparse(self.text[:start] + text + self.text[end:])

    def cut(self, parts: Iterable[Node | Attribute]) -> None:
        """Remove elements and attributes, each with the white space before it."""
        parts, text = list(parts), self.text
        if not parts:
            return
        for part in sorted(parts, key=lambda part: part.start, reverse=True):
            start = len(text[: part.start].rstrip()) if isinstance(part, Node) else part.start
            text = text[:start] + text[part.end :]
        self._reparse(text)

    def _decoded(self, raw: bytes) -> bytes:
        try:
            text = raw.decode(self._codec)
            if self._codec != "utf-8" and text.encode(self._codec) != raw:
                raise PacketError(f"the text is not plain {self._codec}")
            return text.encode()
        except (UnicodeError, LookupError) as error:
            raise PacketError(f"the text is not {self._codec}") from error

    def _indent_of(self, node: Node) -> str:
        before = self.text[: node.start]
        spaces = before[len(before.rstrip()) :].decode()
        return "\n" + spaces.rpartition("\n")[2] if "\n" in spaces else "\n"

    def _reparse(self, text: bytes) -> None:
        self.text = text
        self._take(_parse(text))

    def _take(self, tree: _Tree) -> None:
        if tree.root is None:
            raise PacketError("there is no rdf:RDF element in it")
        self.root, self._bound = tree.root, tree.bound


def is_blank(raw: bytes) -> bool:
    """Return whether a file has no text: no bytes, or only white space, zeros and byte order marks."""
    return not raw.strip(_NOTHING)


def _codec_of(raw: bytes) -> str:
    """Return the codec of a packet, `utf-8` by default."""
    for mark, codec in _MARKS:
        if raw.startswith(mark):
            return codec
    zeros = _ZEROS.get(tuple(byte == 0 for byte in raw[:4]))  # type: ignore[arg-type]
    if zeros is not None:
        return zeros
    declared = _DECLARED.match(raw[:1000].lstrip())
    name = declared[1].decode("ascii").lower() if declared is not None else "utf-8"
    # The declaration itself was readable byte by byte, so the text has no wide characters, whatever it declares.
    return "utf-8" if name.replace("_", "-").startswith(("utf-16", "utf-32", "ucs")) else name


def _whole_characters(raw: bytes, codec: str) -> int:
    """Return the number of bytes before an incomplete last character, such as a single padding zero."""
    width = 4 if codec.startswith("utf-32") else 2 if codec.startswith("utf-16") else 1
    return len(raw) - len(raw) % width


@dataclass(frozen=True)
class _Tree:
    """A parsed packet: its outermost element, its rdf:RDF, and all prefix declarations."""

    top: Node
    root: Node | None
    bound: list[tuple[str, str]]


def _parse(text: bytes) -> _Tree:
    """Parse a packet in UTF-8."""
    # Packets are padded, some with zeros; anything before an XML declaration would break it.
    lead = len(text) - len(text.lstrip(b" \t\r\n\0")) if b"<?xml " in text[:100] else 0
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.buffer_text = True
    builder = _Builder(text, lambda: lead + parser.CurrentByteIndex)
    parser.StartNamespaceDeclHandler = builder.bind
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.characters, builder.refuse
    try:
        parser.Parse(text[lead:].replace(b"\0", b" "), True)
    except expat.ExpatError as error:
        raise PacketError(f"the XML is broken ({error})") from error
    finally:
        # Break the reference cycle of the parser and its handlers, so that they are freed at once.
        parser.StartNamespaceDeclHandler = None
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    return builder.tree()


class _Builder:
    """Builds the tree from Expat's events; `at` returns the current byte offset."""

    def __init__(self, text: bytes, at: Callable[[], int]) -> None:
        self._text = text
        self._at = at
        self._stack: list[Node] = []
        self._top: Node | None = None
        self._root: Node | None = None
        self._bound: list[tuple[str, str]] = []
        self._new: dict[str, str] = {}  # declarations of the next element

    def tree(self) -> _Tree:
        """Return the finished tree; raises `PacketError` without rdf:RDF."""
        if self._top is None:
            raise PacketError("there is no rdf:RDF element in it")
        return _Tree(self._top, self._root, self._bound)

    def bind(self, prefix: str | None, namespace: str | None) -> None:
        """Record a prefix declaration of the next element."""
        self._new[prefix or ""] = namespace or ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Open an element; raises `PacketError` if it is nested too deeply or ambiguous."""
        above = self._stack[-1] if self._stack else None
        if len(self._stack) >= _MAX_DEPTH:
            raise PacketError("its elements are nested too deeply")
        at = self._at()
        tag = _START_TAG.match(self._text, at)
        if tag is None:
            raise PacketError("an element in it is ambiguous")
        scope = above.scope if above is not None else {}
        if self._new:
            scope = {**scope, **self._new}
            self._bound.extend(self._new.items())
            self._new = {}
        literal = attributes.get(f"{RDF} parseType") == "Literal" or (above is not None and above.literal)
        node = Node(name, attributes, at, tag.end(), scope, literal)
        if above is not None:
            above.children.append(node)
        else:
            self._top = node
        if self._root is None and name == f"{RDF} RDF":
            self._root = node
        self._stack.append(node)

    def end(self, _name: str) -> None:
        """Close the innermost element."""
        node = self._stack.pop()
        if self._text[node.inside - 2 : node.inside] == b"/>":
            node.until = node.end = node.inside
        else:
            node.until = self._at()
            node.end = self._text.index(b">", node.until) + 1
        if self._stack and self._stack[-1].literal:
            self._stack[-1].text += node.text

    def characters(self, data: str) -> None:
        """Add text to the innermost element."""
        if self._stack:
            self._stack[-1].text += data

    def refuse(self, *_: object) -> None:
        """Refuse a document type declaration."""
        raise PacketError("it has a document type declaration, which XMP forbids")
