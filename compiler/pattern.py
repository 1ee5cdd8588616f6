"""What nodes said to the words that a spec has for it: `first`, a list, and ranges for the nodes of one entry."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import AddressValueError, IPv4Address
from itertools import pairwise
from typing import TYPE_CHECKING

from schema.scalar import Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.scalar import Tree

Row = tuple[str, ...]  # the addresses of one node's NPUs
Words = str | dict[str, str] | list[str]
WIDTH = 100
_TRIED = 16  # steps between neighbours that are tried; when that many differ, no few are to blame
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*", re.ASCII)
# A boolean or a null to some YAML reader, of 1.1 or of 1.2.
_NO_TEXT = re.compile(r"y|n|yes|no|on|off|true|false|null", re.IGNORECASE)


def said(value: Tree, count: int) -> Row | None:
    """The addresses that a value of `npu_addresses` gives to `count` NPUs; None when it is none."""
    if isinstance(value, list):
        texts = [text_of(item) for item in value]
        return None if None in texts else tuple(text or "" for text in texts)
    if isinstance(value, dict) and list(value) == ["first"]:
        first = text_of(value["first"])
        return None if first is None else _following(first, count)
    return None


def text_of(value: Tree | None) -> str | None:
    """The text of a scalar, however it is written; None for what has no text."""
    if isinstance(value, Scalar):
        return None if value.value is None else value.text
    return value if isinstance(value, str) else None


def words_for(rows: Sequence[Row]) -> Words | None:
    """The shortest words for the addresses of an entry's nodes; None when no ranges say them."""
    columns = list(zip(*rows, strict=False))
    if any(len(row) != len(columns) for row in rows):
        return None
    items = [_ranged(column) for column in columns]
    texts = [item for item in items if item is not None]
    if len(texts) < len(items):
        return None
    return {"first": texts[0]} if texts and all(_is_consecutive(row) for row in rows) else texts


def _ranged(addresses: Sequence[str]) -> str | None:
    """One address with ranges for as many nodes; a range moves one figure, upwards, by equal steps."""
    figures = []
    for column in zip(*(_figures(address) for address in addresses), strict=True):
        first, last = column[0], column[-1]
        step = column[1] - first if len(column) > 1 else 0
        if step < 0 or any(after - before != step for before, after in pairwise(column)):
            return None
        figures.append(str(first) if step == 0 else f"[{first}:{last}{f':{step}' if step > 1 else ''}]")
    return ".".join(figures)


def strays(rows: Sequence[Row]) -> list[int]:
    """The nodes without which ranges would say the rest; all of them when there is no such few."""
    everyone = list(range(len(rows)))
    lengths = Counter(map(len, rows))
    usual = lengths.most_common(1)[0][0]
    if len(lengths) > 1:
        return _few([index for index in everyone if len(rows[index]) != usual], everyone)
    points = [tuple(figure for address in row for figure in _figures(address)) for row in rows]
    steps = Counter(_minus(after, before) for before, after in pairwise(points))
    upwards = [step for step, _ in steps.most_common(_TRIED) if min(step, default=0) >= 0]
    tries = [_off(points, step) for step in upwards]
    return _few(min(tries, key=len, default=everyone), everyone)


def _off(points: Sequence[Sequence[int]], step: Sequence[int]) -> list[int]:
    """The nodes that are not on the line that most are on, when each is a step from the one before."""
    origins = [
        tuple(figure - index * by for figure, by in zip(point, step, strict=True)) for index, point in enumerate(points)
    ]
    origin = Counter(origins).most_common(1)[0][0]
    return [index for index, own in enumerate(origins) if own != origin]


def few_others(texts: Sequence[str]) -> list[int]:
    """The nodes whose text is not that of the most; all of them when there is no such few."""
    usual = Counter(texts).most_common(1)[0][0]
    everyone = list(range(len(texts)))
    return _few([index for index in everyone if texts[index] != usual], everyone)


def _few(some: list[int], everyone: list[int]) -> list[int]:
    return some if 2 * len(some) < len(everyone) else everyone


def flow(words: Words, *, quoted: bool = False) -> str:
    """The words on one line, in YAML's flow style; `quoted` puts every text in double quotes, as JSON does."""
    if isinstance(words, str):
        return scalar(words, '"' if quoted else "")
    if isinstance(words, list):
        return f"[{', '.join(flow(each, quoted=quoted) for each in words)}]"
    key = '"first"' if quoted else "first"
    return f"{{{key}: {flow(words['first'], quoted=quoted)}}}"


def wrapped(items: Sequence[str], column: int, line_break: str) -> str:
    """A list that is too long for one line, its bracket at `column`: over as few lines as fit, equally filled."""
    widest = max(map(len, items))
    most = max(1, (WIDTH - column) // (widest + 2))
    lines = max(2, -(-len(items) // most))
    each = -(-len(items) // lines)
    rows = [", ".join(items[start : start + each]) for start in range(0, len(items), each)]
    between = "," + line_break + " " * (column + 1)
    return f"[{between.join(rows)}]"


def scalar(text: str, style: str = "") -> str:
    """Text in the quotes it has, or in those that YAML needs to read it as text."""
    plain = _ADDRESS.fullmatch(text) or (_PLAIN.fullmatch(text) and not _NO_TEXT.fullmatch(text))
    quote = style if style in ('"', "'") else "" if plain else '"'
    return f"{quote}{text}{quote}"


def _figures(address: str) -> tuple[int, ...]:
    return tuple(map(int, address.split(".")))


def _minus(after: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    return tuple(one - other for one, other in zip(after, before, strict=True))


def _is_consecutive(row: Row) -> bool:
    return row == _following(row[0], len(row))


def _following(first: str, count: int) -> Row | None:
    """`count` addresses from `first` on; None when there are none."""
    try:
        start = IPv4Address(first)
        return tuple(str(start + step) for step in range(count))
    except AddressValueError:
        return None
