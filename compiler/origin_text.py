"""The origins of a line as people and programs read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.diagnostics import Place, path_text
from compiler.report import painter, printable, quoted
from schema.record import Record, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from compiler.diagnostics import Path
    from compiler.origin import Origins
    from compiler.origin_file import Line
    from compiler.origin_search import Hit
    from compiler.places import Standing
    from compiler.source import Source

FORMAT_VERSION = 1
_MOST_QUOTED, _MOST_LISTED = 8, 12
_LONGEST = 60

_CHECKSUMS = """\
This file holds checksums of the others, so it follows from the whole spec. Ask about a line of the file that changed.
"""
_OWN_TEXT = """\
No field of the spec makes this line: it is the compiler's own text, the same whatever the spec says.
"""


class Answer(NamedTuple):
    """A line, its origins, and where those stand that are written."""

    line: Line
    origins: Origins
    standings: Mapping[Path, Standing]


def as_text(answer: Answer, sources: Sequence[Source], *, colour: bool) -> str:
    """The line; what is seen in it, quoted from the spec; what else it depends on, a line each."""
    lines = {source.name: source.content.decode("utf-8-sig", "replace").splitlines() for source in sources}
    paint = painter(colour=colour)
    line, origins = answer.line, answer.origins
    text = f"{line.path}:{line.number}: {paint('bold', printable(origins.text))}\n\n"
    if origins.whole or not origins.hits:
        return text + (_CHECKSUMS if origins.whole else _OWN_TEXT) + _untried(origins)
    first, rest = _divided(origins.hits)
    text += "".join(_block(hit, answer, lines, paint) for hit in first)
    if rest:
        heading = "It depends on these too:" if first else "It depends on:"
        text += f"\n{heading}\n" + "".join(f"  {_told(hit, answer)}\n" for hit in rest[:_MOST_LISTED])
    if len(rest) > _MOST_LISTED:
        text += f"  and {len(rest) - _MOST_LISTED} more; --json lists them all\n"
    return text + _untried(origins)


def _divided(hits: Sequence[Hit]) -> tuple[Sequence[Hit], Sequence[Hit]]:
    """What is quoted: all that is seen in the line, else the nearest that is written; and what is only listed."""
    direct = sum(hit.direct for hit in hits) or sum(hit.leaf.written for hit in hits[:2])
    return hits[: min(direct, _MOST_QUOTED)], hits[min(direct, _MOST_QUOTED) :]


def _block(hit: Hit, answer: Answer, lines: Mapping[str, Sequence[str]], paint: Callable[[str, str], str]) -> str:
    text = f"{paint('bold', _told(hit, answer))}\n"
    if standing := answer.standings.get(hit.leaf.path):
        place = _place(hit, standing)
        text += quoted(place, lines.get(place.file, []), lambda caret: paint("bold", caret))
    return text


def _told(hit: Hit, answer: Answer) -> str:
    """`cluster.yaml:14:14: nodes[0].address: 192.168.10.10`, or that it is a default."""
    leaf, standing = hit.leaf, answer.standings.get(hit.leaf.path)
    alike = " (and the same field of other nodes)" if hit.alike else ""
    if standing is None:
        return printable(f"{path_text(leaf.path)}: {_default(hit)}{alike}")
    place, value = _place(hit, standing), _shown(leaf.value)
    where = f"{place.file}:{place.line}:{place.column}: {path_text(standing.path)}"
    if standing.path != leaf.path:
        value = f"{value} for {path_text(leaf.path[:2])}"  # the entry stands for many nodes
    return printable(where + (f": {value}" if value else "") + alike)


def _default(hit: Hit) -> str:
    value = _shown(hit.leaf.value)
    about = " ".join(hit.leaf.about.split())
    return f"not written; its default is {value}" if value else f"not written. {about}".strip()


def _shown(value: Any) -> str:
    """A value in a few words; nothing for what only holds others, or for none."""
    if value is None or isinstance(value, Record) or value in ({}, []):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        whole = json.dumps(plain(value), ensure_ascii=False)
        return whole if len(whole) <= _LONGEST else f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _place(hit: Hit, standing: Standing) -> Place:
    """The value; of what holds others, its name."""
    return standing.key if isinstance(hit.leaf.value, Record | dict | list) else standing.value


def _untried(origins: Origins) -> str:
    if not origins.untried:
        return ""
    paths = ", ".join(path_text(path) for path in origins.untried[:_MOST_LISTED])
    return f"\nNothing is known about what cannot change by itself: {paths}\n"


def as_json(answer: Answer) -> str:
    """One document; `format_version` changes when a field's meaning does."""
    line, origins = answer.line, answer.origins
    document = {
        "format_version": FORMAT_VERSION,
        "file": line.path,
        "line": line.number,
        "text": origins.text,
        "made_by": _made_by(origins),
        "origins": [_origin(hit, answer.standings.get(hit.leaf.path)) for hit in origins.hits],
        "untried": [path_text(path) for path in origins.untried],
        "notes": list(line.notes),
    }
    return json.dumps(document, indent=2) + "\n"


def _made_by(origins: Origins) -> str:
    """What is nearest to the line: `spec`, `default`, or the `compiler` alone; `whole` for checksums."""
    if origins.whole or not origins.hits:
        return "whole" if origins.whole else "compiler"
    return "spec" if origins.hits[0].leaf.written else "default"


def _origin(hit: Hit, standing: Standing | None) -> dict[str, Any]:
    leaf = hit.leaf
    place = _place(hit, standing) if standing else None
    return {
        "path": path_text(leaf.path),
        "value": plain(leaf.value),
        "written": leaf.written,
        "direct": hit.direct,
        "other_nodes_too": hit.alike,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
    }
