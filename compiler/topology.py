"""Lays the cluster out as a picture: where each node's card and each line between them lies, in SVG's units."""

from __future__ import annotations

from itertools import groupby
from math import ceil, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from compiler.plan import NodePlan, Plan

_MARGIN = 24
_HEADING = 64
_CARD_WIDTH = 232
_CELL = 24
_CELLS_PER_ROW = 8
_GAP_X, _GAP_Y = 24, 40
_CARD_TEXT = 74
_MOST_COLUMNS = 24


class Cell(NamedTuple):
    """One NPU: its id, and its left upper corner inside its card."""

    npu: int
    x: int
    y: int

    @property
    def text_x(self) -> int:
        """Where the id is centred."""
        return self.x + _CELL // 2 - 2

    @property
    def text_y(self) -> int:
        """Where the id stands."""
        return self.y + _CELL // 2 + 2


class Kind(NamedTuple):
    """What cards have in common: each is drawn once, and used for every card of it."""

    role: str
    cells: tuple[Cell, ...]


class Card(NamedTuple):
    """One node, with its left upper corner and the number of its kind, from 1 on."""

    name: str
    address: str
    interface: str
    x: int
    y: int
    kind: int


class Picture(NamedTuple):
    """Everything that the template prints; `lines` join the workers to the head, as SVG writes paths."""

    width: int
    height: int
    card_width: int
    card_height: int
    cell: int
    kinds: tuple[Kind, ...]
    cards: tuple[Card, ...]
    lines: tuple[str, ...]

    @property
    def role_x(self) -> int:
        """Where a card's role ends."""
        return self.card_width - 16


def picture(plan: Plan) -> Picture:
    """The head above, the workers in rows below, a trunk on the left that joins them."""
    workers = [node for node in plan.nodes if not node.is_head]
    columns = _columns(len(workers))
    height = max(_card_height(npus) for npus in {node.shape.npus for node in plan.nodes})
    left, top = _MARGIN + (_GAP_X if workers else 0), _MARGIN + _HEADING
    kinds: dict[tuple[str, tuple[int, ...]], int] = {}
    cards = [_card(plan.head, left, top, kinds)]
    for index, node in enumerate(workers):
        row, column = divmod(index, columns)
        cards.append(_card(node, left + column * (_CARD_WIDTH + _GAP_X), top + (row + 1) * (height + _GAP_Y), kinds))
    rows = 1 + ceil(len(workers) / columns)
    return Picture(
        width=max(2 * left + columns * (_CARD_WIDTH + _GAP_X) - _GAP_X, 2 * _MARGIN + 520),
        height=top + rows * (height + _GAP_Y) - _GAP_Y + _MARGIN,
        card_width=_CARD_WIDTH,
        card_height=height,
        cell=_CELL - 4,
        kinds=tuple(Kind(role, _cells(npus)) for role, npus in kinds),
        cards=tuple(cards),
        lines=_lines(cards, height),
    )


def _columns(workers: int) -> int:
    """As wide as high, about; a card is twice as wide as high."""
    return max(1, min(_MOST_COLUMNS, ceil(sqrt(workers)), workers))


def _card_height(npus: tuple[int, ...]) -> int:
    return _CARD_TEXT + _CELL * ceil(len(npus) / _CELLS_PER_ROW) + 12


def _card(node: NodePlan, x: int, y: int, kinds: dict[tuple[str, tuple[int, ...]], int]) -> Card:
    kind = kinds.setdefault((node.shape.role, node.shape.npus), len(kinds) + 1)
    return Card(node.name, node.address, node.interface, x, y, kind)


def _cells(npus: tuple[int, ...]) -> tuple[Cell, ...]:
    return tuple(
        Cell(npu, 16 + _CELL * (index % _CELLS_PER_ROW), _CARD_TEXT + _CELL * (index // _CELLS_PER_ROW))
        for index, npu in enumerate(npus)
    )


def _lines(cards: list[Card], height: int) -> tuple[str, ...]:
    """A trunk down from the head, and for each row a bus with a line down to each card."""
    head, workers = cards[0], cards[1:]
    if not workers:
        return ()
    trunk, middle, gap = head.x - _GAP_X // 2, head.y + height // 2, _GAP_Y // 2
    lines = [f"M{head.x} {middle}H{trunk}V{workers[-1].y - gap}"]
    for y, cards_of_row in groupby(workers, key=lambda card: card.y):
        row = [card.x + _CARD_WIDTH // 2 for card in cards_of_row]
        lines.append(f"M{trunk} {y - gap}H{row[-1]}" + "".join([f"M{x} {y - gap}V{y}" for x in row]))
    return tuple(lines)
