"""What became of a line in another text that was made in the same way, and what a reader sees in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Above so many lines, only those around the line in question are compared: a picture of 1,000 nodes has 18,000.
_LARGE = 2000


class Change(NamedTuple):
    """What became of a line.

    Attributes:
        after: The lines that stand in its place, none when it is gone.
        breadth: How many lines changed with it in the whole text.
    """

    after: tuple[str, ...]
    breadth: int


def lines_of(content: bytes) -> list[str]:
    """The lines as editors and diffs count them, without their ends."""
    lines = content.decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def change(before: Sequence[str], after: Sequence[str], line: int) -> Change | None:
    """What became of the line (from 0), or None when it is still there."""
    before, after = [_content(each) for each in before], [_content(each) for each in after]
    text = before[line]
    if before == after or before.count(text) == after.count(text) == 1:  # the only one like it may have moved
        return None
    if len(before) + len(after) > _LARGE:
        before, after, line = _around(before, after, line)
    blocks = list(_blocks(before, after))
    for first, last, others in blocks:
        if first <= line < last:
            return Change(tuple(others), sum(last - first for first, last, _ in blocks))
    return None


def _content(line: str) -> str:
    """The line without what only joins it to the next: a flag more below it makes it no other one."""
    return line.removesuffix(" \\")


def _around(before: list[str], after: list[str], line: int) -> tuple[list[str], list[str], int]:
    """Both texts between the nearest lines above and below that each of them has once; and where the line is now."""
    counts, others = Counter(before), Counter(after)
    there = {text: index for index, text in enumerate(after) if counts[text] == others[text] == 1}
    above = next((index for index in range(line, -1, -1) if before[index] in there), None)
    first, other_first = (0, 0) if above is None else (above, there[before[above]])
    below = (index for index in range(line, len(before)) if there.get(before[index], -1) >= other_first)
    last = next(below, None)
    if last is None:
        return before[first:], after[other_first:], line - first
    return before[first : last + 1], after[other_first : there[before[last]] + 1], line - first


def _blocks(before: list[str], after: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """What differs: from and to in `before`, and the lines of `after` there."""
    start = _common(before, after)
    end = min(_common(before[::-1], after[::-1]), len(before) - start, len(after) - start)
    middle, other = before[start : len(before) - end], after[start : len(after) - end]
    steps = SequenceMatcher(None, middle, other, autojunk=False).get_opcodes()
    floor = 0
    for at, (tag, first, last, other_first, other_last) in enumerate(steps):
        if tag == "delete":
            ceiling = start + steps[at + 1][2] if at + 1 < len(steps) else len(before)
            yield (*_slid(before, start + first, start + last, floor, ceiling), [])
        elif tag == "replace":
            yield start + first, start + last, other[other_first:other_last]
        if tag != "equal":
            floor = start + last


def _common(one: list[str], other: list[str]) -> int:
    """How many lines at the start are equal."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _slid(lines: list[str], first: int, last: int, floor: int, ceiling: int) -> tuple[int, int]:
    """Where a block of lines that is gone begins and ends to a reader's eye, with equal lines above and below it.

    Of `a b c a b c` it may be `a b c` or `b c a`: taken is the block that begins with the least indented line,
    as an entry of a list does, and of those the first.
    """
    size = last - first
    while first > floor and lines[first - 1] == lines[last - 1]:
        first, last = first - 1, last - 1
    best = first
    while last < ceiling and lines[first] == lines[last]:
        first, last = first + 1, last + 1
        if _indent(lines[first]) < _indent(lines[best]):
            best = first
    return best, best + size


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip()) if line.strip() else len(line) + 1000


def stands_in(value: object, line: str) -> bool:
    """Whether a value is to be seen in a line, by itself and not as a part of another word or number."""
    if isinstance(value, bool):
        return _alone("true" if value else "false", line, r"[\w-]")
    if isinstance(value, int | float):
        return _alone(str(value), line, r"[\w.]", r"\.?[0-9]")  # 30s is 30
    if not isinstance(value, str) or not value:
        return False
    forms = (
        value,
        value.replace("$", "$$"),
        json.dumps(value, ensure_ascii=False)[1:-1],
    )  # as Compose and JSON have it
    return any(_alone(form, line, r"[\w-]") for form in forms)


def is_key_in(key: object, line: str) -> bool:
    """Whether a key is to be seen in a line; `--` and `--no-` may stand before it."""
    return isinstance(key, str) and _alone(key, line.replace("--no-", "--").replace("--", " "), r"[\w-]")


def _alone(word: str, line: str, before: str, after: str = "") -> bool:
    return word in line and re.search(f"(?<!{before}){re.escape(word)}(?!{after or before})", line) is not None
