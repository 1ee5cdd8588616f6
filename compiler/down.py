"""Takes a cluster away: exactly the containers and the note that were made for it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.course import Failed, Noted
from compiler.members import forget
from compiler.sight import LOCK
from compiler.steps import on_all, timed
from compiler.take_down import freed, removed, service_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.course import Event
    from compiler.engine import Engine
    from compiler.fleet import Fleet
    from compiler.plan import Plan
    from compiler.seen import Seen
    from compiler.sight import Sight


class Task(NamedTuple):
    """What is to be removed.

    Attributes:
        containers: Those of the cluster, by node.
        notes: Nodes whose engine has a note of the members.
        unreached: Nodes that could not be looked at.
        head: What is there on the head.
        serving: The head's container, when something is served in it.
    """

    containers: Mapping[str, tuple[Seen, ...]]
    notes: tuple[str, ...]
    unreached: tuple[Sight, ...]
    head: Sight
    serving: str

    @property
    def ids(self) -> dict[str, set[str]]:
        """Which containers, by node."""
        return {node: {each.id for each in found} for node, found in self.containers.items()}

    @property
    def text(self) -> str:
        """How many containers, on how many nodes."""
        found, nodes = sum(map(len, self.containers.values())), len(self.containers)
        return f"{found} container{'' if found == 1 else 's'} on {nodes} node{'' if nodes == 1 else 's'}"

    def lines(self) -> Iterator[str]:
        """What will be removed, for people."""
        for node, found in self.containers.items():
            for each in found:
                yield f"{node}  {each.name} ({each.id[:12]}), {each.state.text}"
        for node in self.notes:
            yield f"{node}  the note of the members"

    def image(self, plan: Plan) -> str:
        """An image that is there on the head, for the lock; empty when none is."""
        if self.head.fault:
            return ""
        if self.head.image is not None:
            return plan.container.image
        return next((each.image for each in self.containers.get(self.head.node, ())), "")


def ours(plan: Plan, sights: Mapping[str, Sight], only: Sequence[str]) -> Task:
    """All that carries this cluster's label, but for a lock that somebody holds; of the nodes in `only`, or of all."""
    wanted = [name for name in sights if not only or name in only]
    containers = {name: found for name in wanted if (found := _ours(plan, sights[name]))}
    notes = tuple(name for name in wanted if sights[name].members) if not only else ()
    unreached = tuple(sights[name] for name in wanted if sights[name].fault)
    head = sights[plan.head.name]
    own = head.own(plan.name)
    serving = own.id if own and head.view and head.view.service and plan.head.name in wanted else ""
    return Task(containers, () if unreached else notes, unreached, head, serving)


def _ours(plan: Plan, sight: Sight) -> tuple[Seen, ...]:
    return tuple(each for each in sight.containers if each.label("name") == plan.name and each.label("role") != LOCK)


def down(fleet: Fleet[Engine], plan: Plan, task: Task, scripts: Mapping[str, bytes]) -> Iterator[Event]:
    """Ends the service, removes the containers, waits until the NPUs are free, and says what it removed.

    Args:
        fleet: The engines.
        plan: The cluster.
        task: What is to be removed.
        scripts: verify.sh of the nodes whose NPUs are waited for.

    Raises:
        Failed: Something could not be removed, or NPUs are not free.
        Stopped: No more steps shall begin.
    """
    if task.serving:
        try:
            yield from service_ended(fleet, plan, task.serving)
        except Failed as failed:  # it ends with its container
            yield Noted(plan.head.name, f"the service could not be ended in peace: {failed}")
    with timed(fleet, "stop", "remove the containers", len(task.containers)) as step:
        yield step.began
        yield from removed(fleet, plan, task.containers)
        yield step.ended
    ended = {name: script for name, script in scripts.items() if name in task.containers}
    if ended:
        with timed(fleet, "free", "wait until nobody holds the NPUs", len(ended)) as step:
            yield step.began
            yield from freed(fleet, plan, ended)
            yield step.ended

    def forgotten(_: str, engine: Engine, __: Callable[[str], None]) -> bool:
        forget(engine, plan.name)
        return True

    yield from on_all(fleet, "forget the members", list(task.notes), forgotten)
