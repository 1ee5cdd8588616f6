"""Looks at every node, and changes nothing: its engine, its image, its containers, and on the head what runs inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from compiler import inside
from compiler.crew import Done, Step
from compiler.engine_fault import EngineFault
from compiler.guest import ROLE, ended_by
from compiler.plan import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.engine_look import Looking
    from compiler.fleet import Fleet, Hand
    from compiler.inside import View
    from compiler.plan import Plan
    from compiler.seen import Image, Seen

MEMBERS = "members"  # the role of the volume that says which nodes have been made
NEXT = "next"
LOCK = "lock"
_START_SECONDS = 60  # a guest that was made and not started for so long is nobody's


class Member(NamedTuple):
    """A node that an apply made a container on."""

    name: str
    address: str
    docker: str


class Sight(NamedTuple):
    """What is there on one node.

    Attributes:
        node: Its name.
        fault: Why it could not be looked at; empty when it was.
        to_do: What to do about that.
        version: The version of its engine.
        now: The time by its own clock, in seconds since the epoch.
        image: The cluster's image there, or None.
        containers: All of its containers.
        members: The nodes that its engine has a note of.
        view: What the head's container sees; None on a worker, or when it does not run.
    """

    node: str
    fault: str = ""
    to_do: str = ""
    version: str = ""
    now: float = 0.0
    image: Image | None = None
    containers: tuple[Seen, ...] = ()
    members: tuple[Member, ...] = ()
    view: View | None = None

    def own(self, cluster: str) -> Seen | None:
        """The cluster's container there, by its labels and its name."""
        found = (each for each in self.containers if each.name == cluster and each.label("name") == cluster)
        return next(found, None)

    def temporary(self, cluster: str) -> tuple[Seen, ...]:
        """Containers that were made beforehand, and did not come to be used: whoever made them was cut off."""
        own = (each for each in self.containers if each.label("name") == cluster)
        return tuple(each for each in own if each.name == next_name(cluster) or self._forsaken(each))

    def _forsaken(self, there: Seen) -> bool:
        """A guest is started at once, and ends by itself; one that was not started in time never does."""
        waits = there.label("role") == ROLE and there.state.status == "created"
        return waits and self.now - there.created > _START_SECONDS


def next_name(cluster: str) -> str:
    """The name of a container that is made beforehand, while the old one still runs."""
    return f"{cluster}-{NEXT}"


def is_note(labels: Mapping[str, str]) -> bool:
    """Whether a volume with these labels is a note of the members."""
    return labels.get(f"{LABEL_PREFIX}role") == MEMBERS


def look(fleet: Fleet[Hand], plan: Plan, names: Sequence[str]) -> Iterator[Step | Sight]:
    """Looks at these nodes of the fleet; every one ends with a Sight, also one that cannot be reached."""
    head = plan.head.name

    def one(node: str, engine: Hand, tell: Callable[[str], None]) -> Sight:
        tell("look at the engine")
        version, now = engine.facts()
        sight = Sight(
            node,
            version=version,
            now=now,
            image=engine.image(plan.container.image),
            containers=engine.containers(),
            members=_members(engine.notes(plan.name)),
        )
        own = sight.own(plan.name)
        if node == head and own is not None and own.state.status == "running":
            tell("look from inside")
            return sight._replace(view=_view(engine, own, plan, tell))
        return sight

    order = sorted(names, key=lambda name: name != head)  # the head takes longest
    for news in fleet.each(order, one):
        yield _ended(news, fleet.limits.seconds) if isinstance(news, Done) else news


def _view(engine: Looking, own: Seen, plan: Plan, tell: Callable[[str], None]) -> View:
    try:
        return inside.see(engine, own.id, plan, lambda _: tell("look from inside"))
    except EngineFault as fault:
        if fault.unsure:
            raise
        return inside.View(None, (), str(fault))


def _ended(done: Done[Sight], seconds: int) -> Sight:
    if done.result is not None:
        return done.result
    fault, to_do = ended_by(done, seconds)
    return Sight(done.node, fault=fault, to_do=to_do)


def _members(notes: Mapping[str, Mapping[str, str]]) -> tuple[Member, ...]:
    """The nodes in a note; what is none of ours is no note."""
    found: list[Member] = []
    for labels in notes.values():
        if not is_note(labels):
            continue
        try:
            found += [Member(*map(str, each)) for each in json.loads(labels[f"{LABEL_PREFIX}{MEMBERS}"])]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    return tuple(found)
