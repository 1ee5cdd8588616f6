"""The note of which nodes have been made, so that one that is gone from the spec is found: labels of a volume.

It lies on the head's engine, has no data, and is the one thing that is remembered.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from compiler.plan import LABEL_PREFIX
from compiler.sight import MEMBERS, Member, is_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compiler.decide import Decision
    from compiler.engine import Engine
    from compiler.plan import Plan
    from compiler.sight import Sight


def members_after(plan: Plan, decision: Decision, sights: Mapping[str, Sight]) -> tuple[Member, ...]:
    """Who is a member once the decision is carried out: the plan's nodes, and those where a container may still be."""
    left = {each.node for each in decision.to("leave")}
    unseen = {sight.node for sight in sights.values() if sight.fault}
    return members_with(plan, [each for each in members_of(sights) if each.name in left | unseen])


def members_of(sights: Mapping[str, Sight]) -> tuple[Member, ...]:
    """All that are noted anywhere."""
    return tuple(dict.fromkeys(member for sight in sights.values() for member in sight.members))


def members_with(plan: Plan, others: Sequence[Member]) -> tuple[Member, ...]:
    """The plan's nodes, and these others."""
    own = {node.name: Member(node.name, node.address, node.docker) for node in plan.nodes}
    return tuple(sorted({**{each.name: each for each in others}, **own}.values()))


def note(engine: Engine, cluster: str, members: Sequence[Member]) -> None:
    """Notes who is a member. What was noted before goes once that is there: cut off in between, both are.

    A volume keeps the labels that it was made with, so another note has another name.

    Raises:
        EngineFault: The engine did not do it.
    """
    told = json.dumps(members, separators=(",", ":"))
    name = f"{cluster}-{MEMBERS}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    engine.note(
        name, {f"{LABEL_PREFIX}name": cluster, f"{LABEL_PREFIX}role": MEMBERS, f"{LABEL_PREFIX}{MEMBERS}": told}
    )
    forget(engine, cluster, but=name)


def forget(engine: Engine, cluster: str, but: str = "") -> None:
    """Removes the notes of a cluster, all but the one of this name.

    Raises:
        EngineFault: The engine did not do it.
    """
    for name, labels in engine.notes(cluster).items():
        if is_note(labels) and name != but:
            engine.forget(name)
