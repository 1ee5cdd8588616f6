"""Renders once for all nodes of a shape: a node's own strings are holes while the text around them is made.

A template gets a node whose strings are `Hole`s. A filter does not encode a hole but notes which encoder
to use, and the hole prints as a mark that no text of a spec can hold. Filled with a node's strings, the
form gives what rendering that node by itself would give; a property test holds the two equal.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Self

from compiler import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compiler.plan import NodePlan, Peer

Encoder = str  # the name of one of quote.ENCODERS
_MARK = re.compile("\0([0-9]+):([a-z_]+)\0")  # a spec cannot hold a NUL


class Hole(str):
    """Stands for the `number`-th of a node's own strings, to be written through `encoder`."""

    __slots__ = ("encoder", "number")

    number: int
    encoder: Encoder

    def __new__(cls, number: int, encoder: Encoder = "text") -> Self:
        """A hole; as text it is its mark."""
        hole = super().__new__(cls, f"\0{number}:{encoder}\0")
        hole.number, hole.encoder = number, encoder
        return hole


def through(encoder: Encoder, value: str) -> str:
    """The value encoded; a hole stays a hole that knows its encoder."""
    if not isinstance(value, Hole):
        return quote.ENCODERS[encoder](value)
    if value.encoder != "text":
        raise ValueError(f"a string is encoded once, not by {encoder} after {value.encoder}")
    return Hole(value.number, encoder)


def strings(node: NodePlan) -> list[str]:
    """A node's own strings, in the order of the holes."""
    flat = [node.name, node.address, node.interface, node.docker]
    flat += node.values
    flat += node.label_values
    flat += node.npu_addresses
    for peer in node.peers:
        flat += (peer.name, peer.address)
        flat += peer.addresses
    flat += node.head
    return flat


def symbolic(node: NodePlan) -> NodePlan:
    """The node with a hole for each of its own strings."""
    holes = iter([Hole(index) for index in range(len(strings(node)))])

    def several(values: Sequence[object]) -> tuple[str, ...]:
        return tuple(next(holes) for _ in values)

    def peer(real: Peer) -> Peer:
        return real._replace(name=next(holes), address=next(holes), addresses=several(real.addresses))

    name, address, interface, docker = several(("name", "address", "interface", "docker"))
    return node._replace(
        name=name,
        address=address,
        interface=interface,
        docker=docker,
        values=several(node.values),
        label_values=several(node.label_values),
        npu_addresses=several(node.npu_addresses),
        peers=tuple(peer(each) for each in node.peers),
        head=several(node.head),
    )


def layout(node: NodePlan) -> object:
    """What two nodes must have in common to be filled into one form."""
    # Nodes of a shape share one tuple of NPUs: it is told by its identity, ten times as fast as by what is in it.
    peers = tuple([(id(each.npus), len(each.addresses)) for each in node.peers])
    return id(node.shape), len(node.npu_addresses), peers, len(node.head)


class Form:
    """Text with holes, cut at them, as bytes.

    Attributes:
        text: The text, with marks for the holes.
        slots: For each hole, in order, which of the strings that it is filled with goes there.
    """

    def __init__(self, text: str, slot: Callable[[int, Encoder], int]) -> None:
        """The form of a text; `slot` tells for a hole's number and encoder which string goes there: see `Table`."""
        self.text = text
        parts = _MARK.split(text)
        self._pieces = [b""] * (2 * len(parts[::3]) - 1)
        self._pieces[::2] = [literal.encode() for literal in parts[::3]]
        self.slots = [slot(int(index), encoder) for index, encoder in zip(parts[1::3], parts[2::3], strict=True)]

    def filled(self, encoded: Sequence[bytes]) -> bytes:
        """The text with the strings in its holes, `encoded` already."""
        pieces = self._pieces.copy()
        pieces[1::2] = [encoded[slot] for slot in self.slots]
        return b"".join(pieces)


class Table:
    """Which of a node's own strings are written at all, each through which encoder: each is encoded once a node."""

    def __init__(self) -> None:
        self._slots: dict[tuple[int, Encoder], int] = {}
        self._wanted: list[tuple[int, Callable[[str], bytes]]] = []

    def slot(self, index: int, encoder: Encoder) -> int:
        """Where `encoded` has this string through this encoder."""
        if (index, encoder) not in self._slots:
            self._slots[index, encoder] = len(self._wanted)
            self._wanted.append((index, _to_bytes(encoder)))
        return self._slots[index, encoder]

    def encoded(self, values: Sequence[str]) -> list[bytes]:
        """What goes into the holes, from a node's own strings."""
        return [encode(values[index]) for index, encode in self._wanted]


@cache
def _to_bytes(encoder: Encoder) -> Callable[[str], bytes]:
    """Encodes to bytes. What nodes share, or one node has of its neighbours, is encoded once."""
    encode = quote.ENCODERS[encoder]
    return lru_cache(maxsize=1024)(lambda value: encode(value).encode())
