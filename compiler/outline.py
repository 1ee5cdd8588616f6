"""YAML text to its outline: where each key and value stands, so that text can be put beside it or in its place.

Offsets count characters of the decoded text. What the loader refuses (aliases, tags, keys that are no text)
has no outline: ask `source.parse` first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from compiler.source import events

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["scalar", "flow", "block"]
_COMMENT = re.compile(r"#[^\r\n]*")
_COLON = re.compile(r"[ \t]*:")


class Part:
    """A scalar or a collection.

    Attributes:
        start: Its first character, an anchor's `&` included.
        end: Behind its last character; comments and empty lines behind it are not part of it.
        kind: How it is written: `block` and `flow` are collections.
        is_mapping: True for a mapping, whose `parts` are its keys and values in turns.
        text: What a scalar says.
        style: A scalar's quote, or `|` or `>`; empty when it is plain.
        parts: What is in a collection.
    """

    __slots__ = ("end", "is_mapping", "kind", "parts", "start", "style", "text")

    def __init__(self, start: int, end: int, kind: Kind, *, is_mapping: bool = False) -> None:
        self.start = start
        self.end = end
        self.kind = kind
        self.is_mapping = is_mapping
        self.text = ""
        self.style = ""
        self.parts: list[Part] = []

    def is_empty(self) -> bool:
        """True for a value that is not written at all."""
        return self.start == self.end


class Pair(NamedTuple):
    """A key, its value, and the place behind the colon; None when no colon follows the key on its line."""

    key: Part
    value: Part
    colon: int | None


class Outline:
    """The parts of one text.

    Attributes:
        text: The whole text.
        root: The document.
        long: Start and end of every scalar that goes over several lines; its lines are no place for a comment.
    """

    def __init__(self, text: str, root: Part, long: list[tuple[int, int]]) -> None:
        self.text = text
        self.root = root
        self.long = long
        first_break = text.find("\n")
        self.line_break = "\r\n" if first_break > 0 and text[first_break - 1] == "\r" else "\n"

    def pairs(self, mapping: Part) -> dict[str, Pair]:
        """The pairs of a mapping, in their order."""
        keys, values = mapping.parts[::2], mapping.parts[1::2]
        return {key.text: Pair(key, value, _colon(self.text, key)) for key, value in zip(keys, values, strict=True)}

    def line_start(self, offset: int) -> int:
        """Where the line of `offset` begins."""
        return self.text.rfind("\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Where the line of `offset` ends, before its line break."""
        end = self.text.find("\n", offset)
        if end < 0:
            return len(self.text)
        return end - 1 if end > offset and self.text[end - 1] == "\r" else end

    def column(self, offset: int) -> int:
        """How many characters of its line stand before `offset`."""
        return offset - self.line_start(offset)

    def comments(self, start: int, end: int, within: Part) -> list[str]:
        """The comments between two places, neither of which is inside a scalar; `within` has all scalars there."""
        gaps, last = [], start
        for scalar in _scalars(within):
            begin = self.line_end(scalar.start) if scalar.style in ("|", ">") else scalar.start  # `| # why`
            gaps.append(self.text[last : max(last, begin)])
            last = max(last, scalar.end)
        gaps.append(self.text[last : max(last, end)])
        return [comment for gap in gaps for comment in _COMMENT.findall(gap)]


def outline(text: str, name: str) -> Outline:
    """The outline of a text that the loader has read without a fault."""
    root = Part(0, len(text), "block")
    long: list[tuple[int, int]] = []
    stack = [root]
    for event in events(text, name):
        match type(event).__name__:
            case "ScalarEvent":
                stack[-1].parts.append(_scalar(event, text, stack[-1]))
                if event.start_mark.line != event.end_mark.line:
                    long.append((event.start_mark.index, event.end_mark.index))
            case "MappingStartEvent" | "SequenceStartEvent" as start:
                stack.append(_collection(event, is_mapping=start == "MappingStartEvent"))
            case "MappingEndEvent" | "SequenceEndEvent":
                ended = stack.pop()
                # A block ends where something else begins, behind all comments between.
                ended.end = event.end_mark.index if ended.kind == "flow" else ended.parts[-1].end
                stack[-1].parts.append(ended)
    return Outline(text, root.parts[0] if root.parts else root, long)


def _scalar(event: Any, text: str, within: Part) -> Part:
    start: int = event.start_mark.index
    written = text[start : event.end_mark.index].rstrip()  # the parser counts empty lines behind a block to it
    if not written and within.is_mapping and len(within.parts) % 2:
        start = _place_of_nothing(text, within.parts[-1], start)
    part = Part(start, start + len(written), "scalar")
    part.text, part.style = event.value, event.style or ""
    return part


def _place_of_nothing(text: str, key: Part, told: int) -> int:
    """Where a value would stand that is not written; the parser may have it where the next thing begins."""
    colon = _colon(text, key)
    if colon is not None:
        return colon
    return told if text[told - 1] == ":" else key.end


def _colon(text: str, key: Part) -> int | None:
    found = _COLON.match(text, key.end)
    return found.end() if found else None


def _collection(event: Any, *, is_mapping: bool) -> Part:
    kind: Kind = "flow" if event.flow_style else "block"
    return Part(event.start_mark.index, event.end_mark.index, kind, is_mapping=is_mapping)


def _scalars(part: Part) -> Iterator[Part]:
    if part.kind == "scalar":
        yield part
    for inner in part.parts:
        yield from _scalars(inner)
