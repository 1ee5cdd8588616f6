"""Joins diagnostics to the files: the path that a fault has becomes a file, a line and a column.

A good spec never pays for this: only when something must be told are the files walked once more.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.diagnostics import Diagnostic, Path, Place, path_text
from compiler.source import Source, Stop, decode, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compiler.overlay import Entry


class Located(NamedTuple):
    """A diagnostic with its place: what is printed."""

    severity: str
    code: str
    message: str
    path: str
    place: Place
    hint: str
    secret: bool


class Standing(NamedTuple):
    """Where a field stands: its path as the file has it, the place of its key, and that of its value."""

    path: Path
    key: Place
    value: Place


class _Spot(NamedTuple):
    """Where the deepest known part of a path stands in one file, and how deep that is."""

    depth: int
    key: Place
    value: Place


def locate(
    diagnostics: Sequence[Diagnostic], sources: Sequence[Source], entries: Sequence[Entry]
) -> tuple[Located, ...]:
    """Every diagnostic at its place, in the order of the files; equal faults of one entry are told once."""
    wanted = {path for each in diagnostics for path in (each.path, each.related) if not each.place}
    best = _finder(wanted, sources, entries)
    located = [_located(each, best, sources) for each in diagnostics]
    order = {source.name: index for index, source in enumerate(sources)}
    located.sort(key=lambda each: (order.get(each.place.file, 0), each.place.line, each.place.column))
    return _told_once(located)


def standing(paths: Sequence[Path], sources: Sequence[Source], entries: Sequence[Entry]) -> dict[Path, Standing]:
    """Where each of these paths stands: in the last file that has it."""
    best = _finder(set(paths), sources, entries)
    found = {path: best(path)[1:] for path in paths}
    return {path: Standing(own, spot.key, spot.value) for path, (own, spot) in found.items()}


def _finder(
    paths: set[Path], sources: Sequence[Source], entries: Sequence[Entry]
) -> Callable[[Path], tuple[int, Path, _Spot]]:
    """Finds the file that a path stands in, the path as that file has it, and its spot."""
    spots = [_spots(source, {_in_file(path, file, entries) for path in paths}) for file, source in enumerate(sources)]

    def best(path: Path) -> tuple[int, Path, _Spot]:
        found = []
        for file, spot in enumerate(spots):
            own = _in_file(path, file, entries)
            if own in spot:
                whole = spot[own].depth == len(own)
                found.append((spot[own].depth, file if whole else -file, file, own, spot[own]))
        _, _, file, own, there = max(found)
        return file, own, there

    return best


def _located(each: Diagnostic, best: Callable[[Path], tuple[int, Path, _Spot]], sources: Sequence[Source]) -> Located:
    severity, code, message, path, hint = each[:5]
    if each.place:
        return Located(severity, code, message, path_text(path), each.place, hint, each.secret)
    file, own, spot = best(path)
    if "{there}" in hint:
        there_file, _, there = best(each.related)
        line = f"line {there.value.line}"
        hint = hint.replace("{there}", line if there_file == file else f"{line} of {sources[there_file].name}")
    missing = spot.depth < len(own)  # then what should hold it is shown
    place = spot.key if each.at_key or missing else spot.value
    return Located(severity, code, message, path_text(own), place, hint, each.secret)


def _told_once(located: list[Located]) -> tuple[Located, ...]:
    """A range makes many nodes of one entry: the same fault of each is told for the first, with a count."""
    groups: dict[tuple[str, Place, str, str], list[Located]] = {}
    for each in located:
        of_many = each.path.startswith("nodes[")
        groups.setdefault((each.code, each.place, each.path, "" if of_many else each.message), []).append(each)
    told = []
    for group in groups.values():
        first = group[0]
        others = len({each.message for each in group}) - 1
        more = f" (and {others} more like it in this entry)" if others else ""
        told.append(first._replace(message=first.message + more))
    return tuple(told)


def _in_file(path: Path, file: int, entries: Sequence[Entry]) -> Path:
    """The path as this file has it: the entry that a node came from, instead of the node."""
    if len(path) < 2 or path[0] != "nodes":  # noqa: PLR2004 - `nodes` and an index
        return path
    index = path[1]
    if not isinstance(index, int) or index >= len(entries):
        return path
    entry = entries[index][file]
    return path[:1] if entry is None else ("nodes", entry, *path[2:])


class _Wanted:
    """A part of a path that is looked for, and the parts below it."""

    __slots__ = ("below", "paths", "spot")

    def __init__(self) -> None:
        self.below: dict[str | int, _Wanted] = {}
        self.spot: _Spot | None = None


def _spots(source: Source, paths: set[Path]) -> dict[Path, _Spot]:
    """Where each path, or the deepest part of it that the file has, stands in the file."""
    root = _Wanted()
    parts = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
    for path in paths:
        step = root
        for part in path:
            step = step.below.setdefault(part, _Wanted())
    start = Place(source.name, 1, 1, 1)
    root.spot = _Spot(0, start, start)
    with suppress(Stop):  # it was told when the file was read; what was found before it stands
        # It is walked no further than to the last of them.
        deque(islice(_walk(decode(source), source.name, root), len(parts)), maxlen=0)
    found = {}
    for path in paths:
        step, spot = root, root.spot
        for part in path:
            step = step.below[part]
            spot = step.spot or spot
        found[path] = spot
    return found


def _walk(text: str, name: str, root: _Wanted) -> Iterator[_Wanted]:
    """Gives each part below `root` its spot, as far as the file has it, and yields it."""
    from ruamel.yaml.events import (  # noqa: PLC0415 - as in `source.events`
        AliasEvent,
        MappingEndEvent,
        MappingStartEvent,
        ScalarEvent,
        SequenceEndEvent,
        SequenceStartEvent,
    )

    # A frame is what is wanted inside a collection (None: nothing), the next key or index, and its place.
    stack: list[list[Any]] = []
    for event in events(text, name):
        kind = type(event)
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            stack.pop()
            continue
        if kind not in (ScalarEvent, MappingStartEvent, SequenceStartEvent, AliasEvent):
            continue
        frame = stack[-1] if stack else None
        wanted: _Wanted | None = root
        if frame is not None:
            inside, key, key_event, is_list, depth = frame
            if not is_list and key_event is None:  # this is the key
                if kind is MappingStartEvent or kind is SequenceStartEvent:
                    return  # told, and nothing behind it was read
                frame[1], frame[2] = getattr(event, "value", ""), event
                continue
            wanted = inside.below.get(key) if inside is not None else None
            if wanted is not None and wanted.spot is None:
                value = _place(event, name)
                wanted.spot = _Spot(depth + 1, _place(key_event, name) if key_event else value, value)
                yield wanted
            if is_list:
                frame[1] = key + 1
            else:
                frame[2] = None
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            is_list = kind is SequenceStartEvent
            inner = wanted if wanted is not None and wanted.below else None
            stack.append([inner, 0 if is_list else "", None, is_list, len(stack)])


def _place(event: Any, name: str) -> Place:
    start, end = event.start_mark, event.end_mark
    length = max(1, end.column - start.column) if start.line == end.line else 1
    return Place(name, start.line + 1, start.column + 1, length)
