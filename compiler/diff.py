"""What a render would change, as a unified diff."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compiler.survey import Change

_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}


def unified(changes: Sequence[Change], place: str, *, colour: bool) -> str:
    """All changes, file by file; `place` is the bundle's folder as the user named it."""
    lines = [line for change in changes for line in _file(change, place)]
    return "".join(_painted(line) if colour else line for line in lines)


def _file(change: Change, place: str) -> Iterator[str]:
    name = f"{place}/{change.path}"
    if change.kind == "mode":
        yield f"--- {name}\n+++ {name}\n@@ the mode differs @@\n"
        return
    old = "/dev/null" if change.old is None else name
    new = "/dev/null" if change.new is None else name
    for line in difflib.unified_diff(_lines(change.old), _lines(change.new), old, new):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(content: bytes | None) -> list[str]:
    """Lines that end at newlines alone; what is no text, and what would move a cursor, is shown escaped."""
    text = (content or b"").decode("utf-8", "backslashreplace")
    parts = text.split("\n")
    return [_printable(f"{part}\n") for part in parts[:-1]] + ([_printable(parts[-1])] if parts[-1] else [])


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in line)


def _painted(line: str) -> str:
    colour = _COLOURS.get(line[0])
    return f"{colour}{line.rstrip()}\033[0m\n" if colour else line
