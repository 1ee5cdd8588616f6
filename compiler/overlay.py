"""Overlays onto the spec, left to right: mappings deep, `nodes` by name, all else replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.diagnostics import Diagnostic, error
from compiler.ranges import Expanded, expand
from schema.scalar import REFUSED, Scalar

if TYPE_CHECKING:
    from compiler.source import Source
    from schema.scalar import Tree

Entry = tuple["int | None", ...]


class Merged(NamedTuple):
    """The one tree that the files make together.

    Attributes:
        tree: The tree, its `nodes` expanded.
        entries: For each node, the index of its entry in each file, or None where a file has none.
    """

    tree: Tree
    entries: list[Entry]


def merge(documents: list[tuple[Source, Tree]]) -> tuple[Merged, tuple[Diagnostic, ...]]:
    """The merged tree of a spec and its overlays."""
    tree: Tree = {}
    nodes: list[Tree] | None = None
    entries: list[Entry] = []
    faults: list[Diagnostic] = []
    for index, (_, document) in enumerate(documents):
        if index and isinstance(document, Scalar) and document.value is None:
            continue  # an overlay with nothing in it
        if not isinstance(document, dict):
            return Merged(document, []), ()
        written = document.get("nodes")
        tree = _deep(tree, document)
        if isinstance(written, list):
            expanded = expand(written, overlay=index > 0)
            if nodes is None:
                nodes = expanded.nodes
                entries = [_entry(len(documents), index, origin) for origin in expanded.entries]
                faults += expanded.faults
            else:
                faults += _by_name(nodes, entries, expanded, index)
    if nodes is not None and isinstance(tree, dict):
        tree["nodes"] = nodes
    return Merged(tree, entries), tuple(faults)


def _entry(files: int, index: int, origin: int) -> Entry:
    return (None,) * index + (origin,) + (None,) * (files - index - 1)


def _deep(base: Tree, over: Tree) -> Tree:
    """`over` onto `base`; a null in an overlay takes the key away."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if not base:
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Scalar) and value.value is None:
            merged.pop(key, None)
        elif key not in merged:
            merged[key] = value
        else:
            merged[key] = _deep(merged[key], value)
    return merged


def _by_name(nodes: list[Tree], entries: list[Entry], over: Expanded, index: int) -> list[Diagnostic]:
    """Lays an overlay's nodes onto those of the same name; a new name is a new node."""
    places = {_name(node): place for place, node in enumerate(nodes)}
    faults: list[Diagnostic] = []
    laid: list[int] = []
    for node, origin in zip(over.nodes, over.entries, strict=True):
        name = _name(node)
        if name in places and name is not None:
            place = places[name]
            nodes[place] = _deep(nodes[place], node)
            entries[place] = (*entries[place][:index], origin, *entries[place][index + 1 :])
        else:
            place = len(nodes)
            if name is None and node is not REFUSED:
                message = "this node of an overlay has no name, so it is laid onto none"
                faults.append(error("overlay", ("nodes", place), message, "name the node it is meant for"))
            nodes.append(node if name is not None else REFUSED)  # what was told is not judged any further
            entries.append(_entry(len(entries[0]) if entries else index + 1, index, origin))
        laid.append(place)
    moved = (fault._replace(path=("nodes", laid[int(fault.path[1])], *fault.path[2:])) for fault in over.faults)
    return [*faults, *moved]


def _name(node: Tree) -> str | None:
    name = node.get("name") if isinstance(node, dict) else None
    return name.text if isinstance(name, Scalar) else name if isinstance(name, str) else None
