"""Located diagnostics as people, programs and GitHub read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compiler.diagnostics import Place
    from compiler.places import Located
    from compiler.source import Source

Format = Literal["text", "json", "github"]
FORMAT_VERSION = 1

_COLOURS = {
    "error": "\033[1;31m",
    "warning": "\033[1;33m",
    "bold": "\033[1m",
    "dim": "\033[2m",
    "off": "\033[0m",
}


def as_text(located: Sequence[Located], sources: Sequence[Source], *, colour: bool) -> str:
    """File, line, column, the quoted line with a caret, the code and the hint: one block each."""
    lines = {source.name: source.content.decode("utf-8-sig", "replace").splitlines() for source in sources}
    paint = painter(colour=colour)
    return "".join(_block(each, lines.get(each.place.file, []), paint) for each in located)


def as_json(located: Sequence[Located]) -> str:
    """One document; `format_version` changes when a field's meaning does."""
    diagnostics = [
        {
            "severity": each.severity,
            "code": each.code,
            "message": each.message,
            "path": each.path,
            "file": each.place.file,
            "line": each.place.line,
            "column": each.place.column,
            "hint": each.hint,
        }
        for each in located
    ]
    return json.dumps({"format_version": FORMAT_VERSION, "diagnostics": diagnostics}, indent=2) + "\n"


def as_github(located: Sequence[Located]) -> str:
    """Workflow commands, which GitHub shows as annotations on the changed lines.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    return "".join(
        f"::{each.severity} file={_property(each.place.file)},line={each.place.line},"
        f"col={each.place.column},title={_property(each.code)}::{_data(_sentence(each))}\n"
        for each in located
    )


def count(located: Sequence[Located]) -> str:
    """`2 errors, 1 warning`."""
    counts = [(sum(each.severity == severity for each in located), severity) for severity in ("error", "warning")]
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts if number)


def _block(each: Located, lines: Sequence[str], paint: Callable[[str, str], str]) -> str:
    file, line, column, _ = each.place
    head = f"{file}:{line}:{column}: {paint(each.severity, each.severity)}: {paint('bold', _subject(each))}"
    text = f"{head} {paint('dim', f'[{each.code}]')}\n"
    if not each.secret:
        text += quoted(each.place, lines, lambda caret: paint(each.severity, caret))
    if each.hint:
        text += f"{' ' * len(str(line))} = {paint('bold', 'hint')}: {printable(each.hint)}\n"
    return text


def quoted(place: Place, lines: Sequence[str], paint: Callable[[str], str]) -> str:
    """The line of a place with carets under it; empty when the file has no such line."""
    _, line, column, length = place
    written = lines[line - 1] if line <= len(lines) else ""
    if not written:
        return ""
    gutter = " " * len(str(line))
    shown, start = _window(printable(written), column - 1)
    caret = paint("^" * max(1, min(length, len(shown) - start)))
    return f"{gutter} |\n{line} | {shown}\n{gutter} | {' ' * start}{caret}\n"


def _window(text: str, start: int, width: int = 110) -> tuple[str, int]:
    """The part of a long line around the caret, and where the caret stands in it."""
    if len(text) <= width:
        return text, start
    first = max(0, start - width // 2)
    cut = text[first : first + width]
    return ("..." if first else "") + cut + ("..." if first + width < len(text) else ""), start - first + (
        3 if first else 0
    )


def _subject(each: Located) -> str:
    return printable(f"{each.path}: {each.message}" if each.path else each.message)


def _sentence(each: Located) -> str:
    return _subject(each) + (f"\n{each.hint}" if each.hint else "")


def printable(text: str) -> str:
    """The text with nothing that would move a terminal's cursor; a tab is one column, as it was counted."""
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in text)


def painter(*, colour: bool) -> Callable[[str, str], str]:
    """Paints a text in the colour of a name, where colours are wanted."""
    if not colour:
        return lambda _, text: text
    return lambda name, text: f"{_COLOURS[name]}{text}{_COLOURS['off']}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
