"""Makes what the bare loop is given: each kind of node's templates, and each node's strings."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from compiler.compile import compile_spec
from compiler.holes import strings
from compiler.render import _Kinds
from compiler.source import Source


def main(spec: str, target: str) -> None:
    plan = compile_spec([Source(spec, Path(spec).read_bytes())]).plan
    assert plan is not None
    kinds, every = {}, _Kinds(plan)
    nodes = []
    for node in plan.nodes:
        kind = every.of(node)
        if kind not in kinds:
            kinds[kind] = [(part.name, _jinja(part.form)) for part in kind._parts]  # noqa: SLF001
        encoded = [value.decode() for value in kind._table.encoded(strings(node))]  # noqa: SLF001
        nodes.append((node.name, list(kinds).index(kind), encoded))
    Path(target).write_bytes(pickle.dumps((list(kinds.values()), nodes)))


def _jinja(form: object) -> str:
    pieces = [piece.decode() for piece in form._pieces]  # type: ignore[attr-defined]  # noqa: SLF001
    slots = iter(form.slots)  # type: ignore[attr-defined]
    raw = "{% raw %}", "{% endraw %}"
    return "".join(
        f"{{{{ v[{next(slots)}] }}}}" if index % 2 else (piece and f"{raw[0]}{piece}{raw[1]}")
        for index, piece in enumerate(pieces)
    )


main(*sys.argv[1:])
