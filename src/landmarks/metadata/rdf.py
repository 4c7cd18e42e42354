"""Reads RDF elements in any of RDF's notations.

A property may be an attribute, an element with text, one with a list, one with a nested description, or one that
is a description itself (`rdf:parseType="Resource"`), and any value may have qualifiers beside its `rdf:value`.
"""

from __future__ import annotations

from collections.abc import Iterator

from landmarks.metadata.namespaces import RDF
from landmarks.metadata.packet import Node

_LISTS = frozenset({f"{RDF} Bag", f"{RDF} Seq", f"{RDF} Alt"})
_VALUE = f"{RDF} value"
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_MANNERS = frozenset({f"{RDF} parseType", f"{RDF} ID", f"{RDF} datatype", _LANGUAGE})  # they are not values


def lists_of(node: Node) -> list[Node]:
    """Return the lists that are a property's value, even if it has qualifiers."""
    lists = [child for child in node.children if child.name in _LISTS]
    if lists:
        return lists
    return [group for child in _properties(node) if child.name == _VALUE for group in lists_of(child)]


def items_of(node: Node) -> list[Node]:
    """Return the items of a property; a value that is not a list is its own single item, unless it is empty."""
    lists = lists_of(node)
    if lists:
        return [item for group in lists for item in group.children if _is_item(item)]
    said = any(value.strip() for name, value in node.attributes.items() if name not in _MANNERS)
    return [node] if said or node.children or node.text.strip() else []


def text_of(node: Node) -> str:
    """Return the text of a simple value."""
    if node.literal:
        return node.text.strip()
    for name in (f"{RDF} resource", _VALUE):
        if name in node.attributes:
            return node.attributes[name].strip()
    for child in node.children:
        if _is_description(node, child) and _VALUE in child.attributes:
            return child.attributes[_VALUE].strip()
    inner = next((child for child in _properties(node) if child.name == _VALUE), None)
    return text_of(inner) if inner is not None else node.text.strip()


def fields_of(node: Node, *namespaces: str) -> dict[str, str]:
    """Return the simple fields of a structure, or of a description, by their local names."""
    values = {}
    for name, value in [*node.attributes.items(), *_inner_attributes(node)]:
        namespace, _, local = name.rpartition(" ")
        if namespace in namespaces:
            values[local] = value.strip()
    for child in _properties(node):
        namespace, _, local = child.name.rpartition(" ")
        if child.name == _VALUE:
            values.update(fields_of(child, *namespaces))
        elif namespace in namespaces:
            values[local] = _first_text(child)
    return values


def _first_text(node: Node) -> str:
    """Return a value's text: the default language of several, the first item of a list."""
    items = items_of(node)
    default = [item for item in items if item.attributes.get(_LANGUAGE) == "x-default"]
    return next((text for item in [*default, *items] if (text := text_of(item))), "")


def _properties(node: Node) -> Iterator[Node]:
    """Yield the properties of a structure, a value with qualifiers, or a description."""
    for child in node.children:
        if _is_description(node, child):
            yield from child.children
        else:
            yield child


def _inner_attributes(node: Node) -> Iterator[tuple[str, str]]:
    for child in node.children:
        if _is_description(node, child):
            yield from child.attributes.items()


def _is_description(node: Node, child: Node) -> bool:
    """Return whether a child is a description of the value, `rdf:Description` or typed, and not a property."""
    if child.name == f"{RDF} Description":
        return True
    if child.name.startswith(f"{RDF} ") or node.attributes.get(f"{RDF} parseType") == "Resource":
        return False
    # RDF alternates: a description contains properties, a property contains a description.
    typed = any(" " in name and name not in _MANNERS for name in child.attributes)
    return node.name != f"{RDF} Description" and (typed or bool(child.children))


def _is_item(node: Node) -> bool:
    return node.name == f"{RDF} li" or node.name.startswith(f"{RDF} _")
