"""Where a line of a generated file comes from: the fields of the spec that make it another line when they change.

Nothing is kept while a bundle is made. Each field is given another value, the one file is made anew, and the line is
looked for in it: a field that changes it is its origin, by construction, in whatever way its value gets there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.origin_keys import settable
from compiler.origin_search import Hit, Search
from compiler.origin_trial import Trial
from compiler.render import MANIFEST, SUMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compiler.diagnostics import Path
    from compiler.origin_leaf import Leaf
    from compiler.plan import Plan
    from compiler.subject import Beside, Subject


class Origins(NamedTuple):
    """What makes one line.

    Attributes:
        text: The line.
        hits: The fields that it depends on, the nearest first; none for what is the same whatever the spec says.
        untried: Fields that cannot be given another value by themselves, so that nothing is known of them.
        whole: The file holds checksums: it follows from all others of the bundle, and so from every field.
    """

    text: str
    hits: tuple[Hit, ...]
    untried: tuple[Path, ...] = ()
    whole: bool = False


def origins(subject: Subject, beside: Beside, plan: Plan, path: str, line: int) -> Origins:
    """What makes a line of a file.

    Args:
        subject: What the spec says, and what is known about it.
        beside: Reads the files that the spec names.
        plan: What it compiles to, without faults.
        path: The path of one of the bundle's files.
        line: The number of one of its lines, from 1.
    """
    trial = Trial(subject, beside, plan, path, line - 1)
    if path == MANIFEST or path.endswith(f"/{SUMS}"):
        return Origins(trial.text, (), whole=True)
    search = Search(trial)
    hits = search.hits
    if not any(hit.direct for hit in hits):
        hits += [
            Hit(leaf, direct=False, alike=False, breadth=change.breadth)
            for leaf, change in settable(trial, search.near)
        ]
    return Origins(trial.text, tuple(sorted(_gathered(hits, search.leaves), key=_nearness)), tuple(search.untried))


def _gathered(hits: Iterable[Hit], leaves: dict[Path, Leaf]) -> list[Hit]:
    """Several entries of one list that are all seen in the line are the list; and each field is told once."""
    seen: dict[Path, list[Hit]] = {}
    for hit in hits:
        in_list = hit.direct and hit.leaf.entry and isinstance(hit.leaf.path[-1], int)
        seen.setdefault(hit.leaf.path[:-1] if in_list else hit.leaf.path, []).append(hit)
    gathered = []
    for path, several in seen.items():
        first = max(several, key=lambda hit: hit.direct)
        gathered.append(first._replace(leaf=leaves[path]) if len(several) > 1 and path in leaves else first)
    return gathered


def _nearness(hit: Hit) -> tuple[bool, bool, int]:
    """Seen in the line, then written, then by how much is this line's own."""
    return not hit.direct, not hit.leaf.written, hit.breadth
