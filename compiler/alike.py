"""Entries of `nodes` that are written alike are parsed once: most differ from each other in a few plain words alone.

Those words are holes while the text is parsed, as a node's strings are while it is rendered (`compiler.holes`), and
then each entry gets its own. It holds since a parser knows nothing of an entry when the next one begins, and takes any
plain word where it takes one. Whatever is not plainly so is not for here: it is parsed as it stands.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from schema.scalar import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schema.scalar import Tree

_NODES = re.compile(r"\nnodes:(?:[ ]*(?:#.*)?\r?\n)+?( *)- ")
# A value that is one plain scalar to any YAML reader, and ends before whatever follows.
_WORD = re.compile(r": ([A-Za-z0-9][A-Za-z0-9._-]*)(?=[\r\n,}]|\Z)")
_HOLE = "Hole.of.an.entry."


class Alike(NamedTuple):
    """A text whose entries are told by what they have in common.

    Attributes:
        text: The same text with one entry of each kind, holes for its words; and the last entry, which goes to the end.
        words: Of each kind, the words of each of its entries.
        order: The kind of each entry but the last.
    """

    text: str
    words: Sequence[Sequence[Sequence[str]]]
    order: Sequence[int]


def folded(text: str) -> Alike | None:
    """What its entries have in common; None when that is not much."""
    found = _NODES.search(text)
    if not found or _HOLE in text:
        return None
    begin, bullet = found.end(), f"\n{found[1]}- "
    *written, last = text[begin:].split(bullet)
    kinds: dict[tuple[str, ...], int] = {}
    words: list[list[list[str]]] = []
    order = []
    for entry in written:
        parts = _WORD.split(entry)
        kind = kinds.setdefault(tuple(parts[::2]), len(kinds))
        if kind == len(words):
            words.append([])
        words[kind].append(parts[1::2])
        order.append(kind)
    if 2 * len(kinds) > len(order):
        return None
    once = [_with_holes(kind, around) for around, kind in kinds.items()]
    return Alike(text[:begin] + bullet.join([*once, last]), words, order)


def unfolded(alike: Alike, tree: Tree, plain: Callable[[str], Tree]) -> Tree | None:
    """The tree of the whole text; None when its entries are not what they seem, or a word is refused.

    Args:
        alike: What the entries have in common.
        tree: What `alike.text` says, in which nothing was refused.
        plain: What a plain scalar says; or REFUSED.
    """
    if not isinstance(tree, dict) or not isinstance(nodes := tree.get("nodes"), list):
        return None
    if len(nodes) != len(alike.words) + 1:  # each element begins at a bullet: then some bullet is no element's
        return None
    made = []
    for kind, (node, words) in enumerate(zip(nodes, alike.words, strict=False)):
        said = {_hole(kind, index): [*map(plain, column)] for index, column in enumerate(zip(*words, strict=True))}
        if not said.keys() <= _leaves(node) or any(REFUSED in column for column in said.values()):
            return None
        made.append(iter(_filled(node, said, len(words))))
    return {**tree, "nodes": [*[next(made[kind]) for kind in alike.order], nodes[-1]]}


def _hole(kind: int, index: int) -> str:
    return f"{_HOLE}{kind}.{index}"


def _with_holes(kind: int, around: Sequence[str]) -> str:
    first, *others = around
    return first + "".join([f": {_hole(kind, index)}{text}" for index, text in enumerate(others)])


def _leaves(tree: Tree) -> set[str]:
    inner: Iterable[Tree] = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return {tree} if isinstance(tree, str) else set().union(*map(_leaves, inner))


def _filled(tree: Tree, said: Mapping[str, Sequence[Tree]], count: int) -> Iterable[Tree]:
    """So many times the tree, with what was said in its holes."""
    if isinstance(tree, str):
        return said.get(tree) or repeat(tree, count)
    if not isinstance(tree, dict | list):
        return repeat(tree, count)
    inner = tree.values() if isinstance(tree, dict) else tree
    rows = zip(*[_filled(value, said, count) for value in inner], strict=True) if tree else repeat((), count)
    if isinstance(tree, list):
        return [list(row) for row in rows]
    keys = tuple(tree)
    return [dict(zip(keys, row, strict=True)) for row in rows]
