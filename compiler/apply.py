"""Carries a decision out: the new containers beside the old ones, the old ones away, head, workers, Ray, service.

Up to the moment when something that runs is ended, what was made is taken away again when a step fails. From then on
a failure leaves what is there: the same command again goes on from it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from compiler import act
from compiler.bring_up import in_ray, served
from compiler.course import Failed, Noted
from compiler.fleet import Stopped
from compiler.members import forget, members_after, members_of, members_with, note
from compiler.prepare import images_are_one, pulled, verified
from compiler.steps import on_all, timed
from compiler.take_down import freed, removed, service_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.course import Event
    from compiler.decide import Decision, NodeDecision
    from compiler.engine import Engine
    from compiler.fleet import Fleet
    from compiler.plan import Plan
    from compiler.sight import Member, Sight
    from compiler.verify import Options


_NAMED = 8  # nodes


class Job(NamedTuple):
    """All that an apply needs.

    Attributes:
        plan: The cluster.
        decision: What is to be done.
        sights: What is there, by node.
        secrets: The value of each secret, by its name in the container.
        scripts: verify.sh of each node.
        serve: serve.sh.
        verify: How to verify the nodes before anything is changed; None not to.
    """

    plan: Plan
    decision: Decision
    sights: Mapping[str, Sight]
    secrets: Mapping[str, str]
    scripts: Mapping[str, bytes]
    serve: bytes
    verify: Options | None


def apply(fleet: Fleet[Engine], job: Job) -> Iterator[Event]:
    """Carries the decision out, and says what happens.

    Raises:
        Failed: A step failed.
        Stopped: Whoever runs it wanted no more steps to begin.
    """
    yield from _Apply(fleet, job).steps()


class _Apply:
    """One run, and how far it has come."""

    def __init__(self, fleet: Fleet[Engine], job: Job) -> None:
        self.fleet = fleet
        self.job = job
        self.plan = job.plan
        self.decision = job.decision
        self.head = job.plan.head.name
        self.nodes = {node.name: node for node in job.plan.nodes}
        self.changed = [each.node for each in job.decision.to("create", "replace")]
        self.made: dict[str, act.Made] = {}
        left = ((each.node, each.there) for each in job.decision.to("leave") if each.node in self.nodes)
        self.running = {name: there.id for name, there in left if there and there.state.status == "running"}
        self.noted = job.sights[self.head].members
        self.away: set[str] = set()  # where the old container is removed
        self.touched = False

    def steps(self) -> Iterator[Event]:
        """All of them, in their order."""
        try:
            yield from self._prepared()
            yield from self._ended()
            yield from self._begun()
        except (Failed, Stopped):
            yield from self._told() if self.touched else self._undone()
            raise

    def _begun(self) -> Iterator[Event]:
        """The new, from the head on."""
        yield from self._started("head", [name for name in self.made if name == self.head])
        yield from self._started("workers", [name for name in self.made if name != self.head])
        if set(self.running) == set(self.nodes):
            yield from in_ray(self.fleet, self.plan, self.running)
            yield from self._served()
        yield from self._noted(members_after(self.plan, self.decision, self.job.sights))
        yield from self._unnoted()

    def _told(self) -> Iterator[Event]:
        """How far each node has come."""
        states: dict[str, list[str]] = {}
        for each in self.decision.nodes:
            states.setdefault(self._state(each), []).append(each.node)
        for state, names in states.items():
            shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            yield Noted("", f"now: {shown}: {state}")

    def _state(self, each: NodeDecision) -> str:
        if each.verb == "leave":
            return "as it was"
        if each.node in self.running:
            return "its new container runs"
        if each.there and each.node not in self.away:
            return "its old container is there, or it did not answer"
        gone = "its container is removed" if each.there else "it has no container"
        return gone + (", the new one is made and not started" if each.node in self.made else "")

    def _prepared(self) -> Iterator[Event]:
        """Nothing of it touches what runs."""
        fleet, plan = self.fleet, self.plan
        missing = [name for name in self.decision.missing if name in self.changed]
        if missing:
            yield from pulled(fleet, plan, missing)
        if not self.changed:
            return
        if self.job.verify:
            # With --node, one that cannot be reached is left as it is.
            reached = [node.name for node in plan.nodes if not self.job.sights[node.name].fault]
            yield from verified(fleet, plan, self._scripts(reached), self.job.verify)
        yield from images_are_one(fleet, plan, sorted({self.head, *self.changed}, key=lambda name: name != self.head))
        with timed(fleet, "make", "make the containers, not started yet", len(self.changed)) as step:
            yield step.began
            yield from self._noted(members_with(self.plan, members_of(self.job.sights)))
            yield from self._made()
            yield step.ended

    def _made(self) -> Iterator[Event]:
        def make(name: str, engine: Engine, tell: Callable[[str], None]) -> act.Made:
            tell("create a container")
            self.made[name] = made = act.make(engine, self.plan, self.nodes[name], self.job.secrets)
            return made

        yield from on_all(self.fleet, "make", self.changed, make)

    def _noted(self, members: tuple[Member, ...]) -> Iterator[Event]:
        """Who is a member, noted on the head."""

        def write(_: str, engine: Engine, tell: Callable[[str], None]) -> bool:
            tell("note the members")
            note(engine, self.plan.name, members)
            return True

        if members != self.noted:
            yield from on_all(self.fleet, "note the members", [self.head], write)
            self.noted = members

    def _unnoted(self) -> Iterator[Event]:
        """What a node has noted that was the head once is in the head's own note by now."""

        def erase(_: str, engine: Engine, __: Callable[[str], None]) -> bool:
            forget(engine, self.plan.name)
            return True

        once = [name for name, sight in self.job.sights.items() if sight.members and name != self.head]
        yield from on_all(self.fleet, "note the members", once, erase)

    def _undone(self) -> Iterator[Event]:
        """Takes away what was made, as long as nothing that ran was touched."""
        if not self.made:
            return

        def undo(name: str, engine: Engine, _: Callable[[str], None]) -> bool:
            engine.remove(self.made[name].id)
            return True

        self.fleet.stopping.clear()
        with suppress(Failed, Stopped):  # the first failure is the one to tell; the next apply removes the rest
            yield from on_all(self.fleet, "undo", list(self.made), undo)
        yield Noted("", "nothing that ran was touched; what had been made was removed again")

    def _ended(self) -> Iterator[Event]:
        """What is in the way of the new."""
        decision, view = self.decision, self.job.sights[self.head].view
        head = next(each for each in decision.nodes if each.node == self.head)
        if decision.service.verb in ("restart", "stop") and view and view.service and head.there:
            self.touched = True
            yield from service_ended(self.fleet, self.plan, head.there.id)
        old = {each.node: (each.there,) for each in decision.to("replace", "remove") if each.there}
        left = decision.leftover
        away = {name: (*left.get(name, ()), *old.get(name, ())) for name in (*left, *old)}
        if away:
            with timed(self.fleet, "stop", "end the old containers, and wait for the NPUs", len(old)) as step:
                yield step.began
                self.touched = True
                yield from removed(self.fleet, self.plan, away, self.away.add)
                yield from freed(self.fleet, self.plan, self._scripts([name for name in old if name in self.nodes]))
                yield step.ended
        self.touched = True

    def _scripts(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return {name: self.job.scripts[name] for name in names}

    def _started(self, step_name: str, names: Sequence[str]) -> Iterator[Event]:
        if not names:
            return
        with timed(self.fleet, step_name, "start", len(names)) as step:
            yield step.began

            def start(name: str, engine: Engine, tell: Callable[[str], None]) -> str:
                tell("start its container")
                act.start(engine, self.plan, self.made[name])
                self.running[name] = self.made[name].id
                return "started"

            yield from on_all(self.fleet, step_name, names, start, note=True)
            yield step.ended

    def _served(self) -> Iterator[Event]:
        """One service, until it gives a completion."""
        verb, view = self.decision.service.verb, self.job.sights[self.head].view
        if verb in ("start", "restart"):
            yield from served(self.fleet, self.plan, self.running, self.job.serve)
        elif verb == "leave" and view and view.service and not view.service.answer:  # it is loading
            yield from served(self.fleet, self.plan, self.running, None)
