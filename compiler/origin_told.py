"""`compiler explain FILE:LINE`: everything from the words of a person to the words of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.load import load
from compiler.origin import origins
from compiler.origin_file import NoLineError, line_of
from compiler.origin_text import Answer, as_json, as_text
from compiler.places import standing
from compiler.say import AT_FAULT, DONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.plan import Plan
    from compiler.source import Source
    from compiler.subject import Beside, Subject


class Told(NamedTuple):
    """What is said.

    Attributes:
        text: The answer, for stdout.
        notes: What else there is to say, for stderr.
        code: The exit code.
    """

    text: str
    notes: tuple[str, ...]
    code: int


def told(  # noqa: PLR0913 - a compiled spec has these parts
    target: str,
    subject: Subject,
    plan: Plan,
    sources: Sequence[Source],
    beside: Beside,
    *,
    json: bool = False,
    colour: bool = False,
) -> Told:
    """Where the line FILE:LINE comes from.

    Args:
        target: FILE:LINE; FILE on disk, or as the bundle calls it.
        subject: What the spec says, and what is known about it.
        plan: What it compiles to, without faults.
        sources: The spec and its overlays.
        beside: Reads the files that the spec names.
        json: One JSON document instead of text.
        colour: Whether the text may have colours.
    """
    try:
        line = line_of(target, plan, sources[0].name)
    except NoLineError as none:
        hint = (f"  = hint: {none.hint}",) if none.hint else ()
        return Told("", (f"error: {none.message}", *hint), AT_FAULT)
    found = origins(subject, beside, plan, line.path, line.number)
    written = [hit.leaf.path for hit in found.hits if hit.leaf.written]
    answer = Answer(line, found, standing(written, sources, load(sources).entries))
    text = as_json(answer) if json else as_text(answer, sources, colour=colour)
    return Told(text, tuple(f"warning: {note}" for note in line.notes), DONE)
