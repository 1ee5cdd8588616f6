"""The whole compilation: files in, a Plan or a Bundle out, and everything that was found on the way."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler.diagnostics import has_errors
from compiler.load import load
from compiler.places import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.diagnostics import Diagnostic, Path
    from compiler.places import Located
    from compiler.plan import Plan
    from compiler.remainder import Remainder
    from compiler.source import Source
    from compiler.subject import Beside, Subject
    from schema.accelerator import Accelerator
    from schema.cluster import Cluster, Node


# What the plan is for: `reach` needs nodes that can be reached, `discover` not yet what it is going to write.
Purpose = Literal["render", "reach", "discover"]


class Compiled(NamedTuple):
    """What a spec compiles to.

    Attributes:
        plan: The plan, or None when the spec has faults.
        diagnostics: The faults and warnings, at their places.
        subject: The cluster with all that is known about it, or None when the spec could not be read as one.
    """

    plan: Plan | None
    diagnostics: tuple[Located, ...]
    subject: Subject | None = None


class Judged(NamedTuple):
    """What a spec says, judged.

    Attributes:
        subject: The cluster with all that is known about it, or None when the spec could not be read as one.
        diagnostics: The faults and warnings, at their places.
        sound: The subject when it has no fault, so that it can be planned.
    """

    subject: Subject | None
    diagnostics: tuple[Located, ...]
    sound: Subject | None = None


def nothing_beside(path: str) -> bytes:
    """For a spec that stands alone: no file that it names is there."""
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def compile_spec(sources: Sequence[Source], purpose: Purpose = "render", beside: Beside = nothing_beside) -> Compiled:
    """The plan of the spec in the first source, the others laid onto it; `beside` reads the files that it names."""
    judged = judge_spec(sources, purpose, beside)
    plan = planned(judged.sound, purpose) if judged.sound else None
    return Compiled(plan, judged.diagnostics, judged.subject)


def judge_spec(sources: Sequence[Source], purpose: Purpose = "render", beside: Beside = nothing_beside) -> Judged:
    """Everything of the compilation but the plan."""
    loaded = load(sources)
    found = loaded.diagnostics
    subject = None
    if loaded.cluster is not None:
        subject = _subject(loaded.cluster, beside)
        found = (*found, *_judged(subject, purpose))
    elif loaded.rest is not None:
        found = (*found, *_judged_in_part(loaded.rest, beside))
    located = locate(found, sources, loaded.entries) if found else ()
    return Judged(subject, located, None if has_errors(found) else subject)


def planned(subject: Subject, purpose: Purpose = "render") -> Plan:
    """The plan of what was found to be sound."""
    from compiler.lower import lower  # noqa: PLC0415

    if purpose != "discover" or subject.accelerator is None:
        return lower(subject)
    return lower(subject._replace(cluster=_without_misfits(subject.cluster, subject.accelerator)))


def _subject(cluster: Cluster, beside: Beside) -> Subject:
    from compiler.subject import subject_of  # noqa: PLC0415 - a spec that does not load needs none of it

    return subject_of(cluster, beside)


def _judged(subject: Subject, purpose: Purpose) -> tuple[Diagnostic, ...]:
    from compiler.rules import RULES_FOR, judge  # noqa: PLC0415 - as above

    return judge(subject, RULES_FOR[purpose])


def _judged_in_part(rest: Remainder, beside: Beside) -> tuple[Diagnostic, ...]:
    """What the rules find in the sound parts, at the places that these have in the whole."""
    from compiler.rules import RULES_OF_A_PART, judge  # noqa: PLC0415

    def in_whole(path: Path) -> Path:
        if path[:1] == ("nodes",) and len(path) > 1 and isinstance(path[1], int):
            return ("nodes", rest.kept[path[1]], *path[2:])
        return path

    found = judge(_subject(rest.cluster, beside), RULES_OF_A_PART)
    return tuple(each._replace(path=in_whole(each.path), related=in_whole(each.related)) for each in found)


def _without_misfits(cluster: Cluster, known: Accelerator) -> Cluster:
    """The cluster without NPU addresses that are too many or too few: a Plan has one for each NPU or none."""
    from compiler.said import npu_addresses_of, npus_of  # noqa: PLC0415

    def fitting(node: Node) -> Node:
        npus = len(npus_of(node, cluster, known))
        fits = len(npu_addresses_of(node, npus)) == npus
        return node if fits else node.but(npu_addresses=None)

    return cluster.but(nodes=[fitting(node) for node in cluster.nodes])
