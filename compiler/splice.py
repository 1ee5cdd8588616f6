"""An entry's outline and the words for its fields to edits of the text: what a person would have typed.

Values are replaced in their place and keys added beside their like, in the entry's own style, so that
comments, order, indentation and line breaks stay. A comment inside a value that goes is kept above it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from compiler.pattern import WIDTH, flow, scalar, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from compiler.outline import Outline, Pair, Part
    from compiler.pattern import Words

_FAR = 60  # a list does not begin further right when it can begin on a line of its own
_END_OF_ITS_LINE = re.compile(r"[ \t]*(,?)[ \t]*(?:#.*)?")


class Edit(NamedTuple):
    """The text from `start` to `end` becomes `text`; with `above` it is put above the line of `start`, as it is."""

    start: int
    end: int
    text: str
    above: bool = False


def is_plain(page: Outline, entry: Part) -> bool:
    """True when every key has its colon behind it, or neither colon nor value, so that text can be put there."""
    return all(
        pair.colon is not None or (entry.kind == "flow" and pair.value.is_empty())
        for pair in page.pairs(entry).values()
    )


def put(page: Outline, entry: Part, words: Mapping[str, Words]) -> list[Edit]:
    """The edits that make an entry say `words`."""
    pairs = page.pairs(entry)
    edits: list[Edit] = []
    add = _line_by_line if entry.kind == "block" else _in_flow
    beside = _beside(entry, pairs, [field for field in words if field not in pairs])
    for field, value in words.items():  # from left to right: a list is aligned to what it will stand behind
        if field in pairs:
            edits += _replaced(page, entry, pairs[field], value, edits)
        elif field in beside:
            anchor, fields = beside[field]
            edits += add(page, entry, anchor, {each: words[each] for each in fields}, edits)
    return edits


def spliced(page: Outline, edits: Sequence[Edit]) -> str:
    """The text with all edits made."""
    placed = [edit for edit in edits if not edit.above]
    blocked = _outermost([*page.long, *((edit.start, edit.end) for edit in placed)])
    placed += [_on_a_line(page, edit, blocked) for edit in edits if edit.above]
    parts, last = [], 0
    for edit in sorted(placed, key=lambda each: each[:2]):
        parts += [page.text[last : edit.start], edit.text]
        last = edit.end
    return "".join([*parts, page.text[last:]])


# ---- A value that is there ------------------------------------------------------------------------------


def _replaced(page: Outline, entry: Part, pair: Pair, words: Words, before: Sequence[Edit]) -> list[Edit]:
    old = pair.value
    if isinstance(words, dict) and old.is_mapping and len(old.parts) == 2:  # noqa: PLR2004 - a key and its value
        first = page.pairs(old).get("first")
        if first is not None and first.colon is not None:
            return _replaced(page, entry, first, words["first"], before)
    if old.kind == "block":
        return _folded(page, pair, words)
    lead = "" if not old.is_empty() else ": " if pair.colon is None else " "
    after = _after(page, old.end)
    column = _column(page, old.start, before) + len(lead)
    text = _value(page, pair, words, (column, after))
    edits = _kept(page, pair, old.start, old.end)
    if entry.kind == "flow" and _is_long(pair, words, (column, after)) and _shares_its_line(page, pair):
        column = _indent(page, entry)
        text = _value(page, pair, words, (column + old.start - pair.key.start + len(lead), after))
        edits.append(_own_line(page, pair, column))
    return [*edits, Edit(old.start, old.end, lead + text)]


def _shares_its_line(page: Outline, pair: Pair) -> bool:
    """True for a pair on one line, with another before it there."""
    line = page.line_start(pair.key.start)
    return page.line_start(pair.value.start) == line and page.text[line : pair.key.start].rstrip().endswith(",")


def _own_line(page: Outline, pair: Pair, column: int) -> Edit:
    """Begins a line with the pair."""
    line = page.line_start(pair.key.start)
    behind_comma = line + len(page.text[line : pair.key.start].rstrip())
    return Edit(behind_comma, pair.key.start, f"{page.line_break}{' ' * column}")


def _folded(page: Outline, pair: Pair, words: Words) -> list[Edit]:
    """A block of lines below its key becomes one value beside it; the key's own comment stays where it is."""
    behind = page.line_end(pair.key.start)
    beside = pair.colon or pair.key.end
    blank = len(page.text[beside:behind].partition("#")[0].rstrip())  # an anchor may stand there
    below = page.line_end(pair.value.end)
    text = _value(page, pair, words, (page.column(beside) + 1, 0))
    return [
        *_kept(page, pair, behind, below),
        Edit(beside, beside + blank, f" {text}"),
        Edit(behind, below, ""),
    ]


def _kept(page: Outline, pair: Pair, start: int, end: int) -> list[Edit]:
    """The comments of a text that goes, above its key."""
    comments = page.comments(start, end, pair.value)
    return [Edit(pair.key.start, pair.key.start, comment, above=True) for comment in comments]


def _on_a_line(page: Outline, edit: Edit, blocked: Sequence[tuple[int, int]]) -> Edit:
    """The comment on a line of its own; above what goes over several lines, since it would be text in there."""
    start = page.line_start(edit.start)
    while around := _around(start, blocked):
        start = page.line_start(around[0])
    line = page.text[start : page.line_end(start)]
    indent = line[: len(line) - len(line.lstrip())]
    return Edit(start, start, f"{indent}{edit.text}{page.line_break}")


def _outermost(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        if end > max(start, kept[-1][1] if kept else 0):
            kept.append((start, end))
    return kept


def _around(offset: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The span that `offset` lies within, not at one of its ends."""
    before = bisect_left(spans, (offset, 0)) - 1
    return spans[before] if before >= 0 and spans[before][0] < offset < spans[before][1] else None


# ---- A key that is not there ----------------------------------------------------------------------------


def _beside(entry: Part, pairs: Mapping[str, Pair], new: Sequence[str]) -> dict[str, tuple[Pair, list[str]]]:
    """The pair that new fields follow, by the first of them: the interface the address, the NPUs' addresses both."""
    address = pairs.get("address") or pairs["name"]
    last = max((address, pairs.get("interface", address)), key=lambda pair: pair.value.end)
    if entry.kind == "flow":
        last = list(pairs.values())[-1]
    if len(new) > 1 and address is last:
        return {new[0]: (address, list(new))}
    return {field: (address if field == "interface" else last, [field]) for field in new}


def _line_by_line(
    page: Outline, entry: Part, anchor: Pair, new: Mapping[str, Words], before: Sequence[Edit]
) -> list[Edit]:
    """Lines below the anchor's, with its indentation."""
    del entry, before
    indent = page.column(anchor.key.start)
    texts = [_pair(page, anchor, field, words, (indent, 0)) for field, words in new.items()]
    end = page.line_end(anchor.value.end)
    return [Edit(end, end, "".join(f"{page.line_break}{' ' * indent}{text}" for text in texts))]


def _in_flow(page: Outline, entry: Part, anchor: Pair, new: Mapping[str, Words], before: Sequence[Edit]) -> list[Edit]:
    """Behind the anchor in braces; on lines of their own where the anchor has one."""
    end, line_end = anchor.value.end, page.line_end(anchor.value.end)
    alone = _END_OF_ITS_LINE.fullmatch(page.text, end, line_end)
    indent = page.column(anchor.key.start)
    if alone and not page.text[page.line_start(anchor.key.start) : anchor.key.start].strip():
        texts = [_pair(page, anchor, field, words, (indent, 1)) for field, words in new.items()]
        between = f"{page.line_break}{' ' * indent}"
        if alone[1]:
            return [Edit(line_end, line_end, "".join(f"{between}{text}," for text in texts))]
        return [Edit(end, end, _comma(anchor)), Edit(line_end, line_end, between + f",{between}".join(texts))]
    edits: list[Edit] = []
    for field, words in new.items():
        column, after = _column(page, end, [*before, *edits]) + 2, _after(page, end)
        lead = " "
        if _is_long(anchor, words, (column + len(f"{field}: "), after)):  # better on a line of its own
            column = _indent(page, entry)
            lead = f"{page.line_break}{' ' * column}"
        text = _pair(page, anchor, field, words, (column, after))
        edits.append(Edit(end, end, f"{_comma(anchor)}{lead}{text}"))
    return edits


def _comma(anchor: Pair) -> str:
    return " ," if anchor.value.is_empty() else ","  # `role:,` would be no YAML


def _indent(page: Outline, entry: Part) -> int:
    """Where a line begins that goes on with an entry in braces."""
    column = page.column(entry.parts[0].start)
    if column <= _FAR:
        return column
    line = page.text[page.line_start(entry.start) : entry.start]
    return len(line) - len(line.lstrip(" ")) + 2


# ---- The words ------------------------------------------------------------------------------------------


def _pair(page: Outline, anchor: Pair, field: str, words: Words, room: tuple[int, int]) -> str:
    key = scalar(field, _quote(anchor))
    like = anchor._replace(value=anchor.key)  # quoted when the keys are, whatever the anchor's value is
    column, after = room
    return f"{key}: {_value(page, like, words, (column + len(key) + 2, after))}"


def _value(page: Outline, pair: Pair, words: Words, room: tuple[int, int]) -> str:
    """The words; `room` is the column they begin at, and how many characters stand behind them on the line."""
    quote = _quote(pair)
    if isinstance(words, str):
        return scalar(words, pair.value.style or quote)
    if isinstance(words, list) and _is_long(pair, words, room):
        return wrapped([scalar(each, quote) for each in words], room[0], page.line_break)
    return flow(words, quoted=bool(quote))


def _is_long(pair: Pair, words: Words, room: tuple[int, int]) -> bool:
    """True for a list that would pass the width when it is written on one line."""
    column, after = room
    return isinstance(words, list) and column + len(flow(words, quoted=bool(_quote(pair)))) + after > WIDTH


def _quote(pair: Pair) -> str:
    """Double quotes where the spec is written as JSON is."""
    return '"' if pair.key.style == '"' else ""


def _after(page: Outline, offset: int) -> int:
    """How much stands behind on the line, without its comment."""
    return len(page.text[offset : page.line_end(offset)].partition(" #")[0].rstrip())


def _column(page: Outline, offset: int, before: Sequence[Edit]) -> int:
    """The column of `offset` when the edits before it on its line are made."""
    start = page.line_start(offset)
    shift = sum(
        len(edit.text) - (edit.end - edit.start) for edit in before if start <= edit.start <= edit.end <= offset
    )
    return page.column(offset) + shift
