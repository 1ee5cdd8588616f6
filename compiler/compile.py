"""The whole compilation: files in, a Plan or a Bundle out, and everything that was found on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.diagnostics import has_errors
from compiler.load import load
from compiler.places import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.plan import Plan
    from compiler.places import Located
    from compiler.source import Source


class Compiled(NamedTuple):
    """The plan, or None when the spec has faults; and the faults and warnings, at their places."""

    plan: Plan | None
    diagnostics: tuple[Located, ...]


def compile_spec(sources: Sequence[Source]) -> Compiled:
    """The plan of the spec in the first source, with the others laid onto it."""
    loaded = load(sources)
    found = loaded.diagnostics
    plan = None
    if loaded.cluster is not None:
        from compiler.rules import judge  # noqa: PLC0415 - a spec that does not load needs none of it

        found = (*found, *judge(loaded.cluster))
        plan = None if has_errors(found) else _lowered(loaded.cluster)
    return Compiled(plan, locate(found, sources, loaded.entries) if found else ())


def _lowered(cluster: object) -> Plan:
    from compiler.facts import accelerator  # noqa: PLC0415
    from compiler.lower import lower  # noqa: PLC0415
    from schema.accelerator import Accelerator  # noqa: PLC0415
    from schema.cluster import Cluster  # noqa: PLC0415

    assert isinstance(cluster, Cluster)  # noqa: S101
    known = accelerator(cluster.accelerator)
    assert isinstance(known, Accelerator)  # noqa: S101 - the rules refuse any other
    return lower(cluster, known)
