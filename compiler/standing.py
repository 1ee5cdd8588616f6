"""How a cluster stands: judged from what is there, without a change.

It serves when a real completion came just now and Ray has all planned nodes: nothing less is called serving, since
/health and /v1/models answer 200 with dead workers (https://github.com/vllm-project/vllm/issues/16259).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler import seen
from compiler.decide import WITH_THE_HEAD, Fault, Reason
from compiler.decision_text import reason_text
from compiler.joined import structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from compiler.decide import Decision
    from compiler.inside import Running
    from compiler.plan import Plan
    from compiler.sight import Sight


_NAMED = 5  # nodes


class NodeStanding(NamedTuple):
    """How a node stands.

    Attributes:
        node: Its name.
        role: `head` or `worker`, or `gone` for one that the spec has no more.
        container: How its container is; empty when there is none or it could not be looked at.
        since: When that was started, by the engine's clock, in seconds ago; 0 when it does not run.
        npus: NPUs that Ray counts there; None when Ray does not have it.
        differs: What differs from the spec.
        config_hash: What its container was made from.
    """

    node: str
    role: str
    container: str
    since: float
    npus: float | None
    differs: tuple[Reason, ...]
    config_hash: str


class Standing(NamedTuple):
    """How a cluster stands.

    Attributes:
        serves: It really does: a completion came, and Ray has all planned nodes.
        service: What is to be said of the service.
        seconds: How long the completion took; None without one.
        nodes: Each node.
        wrong: What is wrong, of which node, and what to do.
        differs: Something is not as the spec says, though it may serve.
    """

    serves: bool
    service: str
    seconds: float | None
    nodes: tuple[NodeStanding, ...]
    wrong: tuple[Fault, ...]
    differs: bool


def standing(plan: Plan, sights: Mapping[str, Sight], decision: Decision) -> Standing:
    """How it stands, of what is there and of what would be done about it."""
    view = sights[plan.head.name].view
    running = view.service if view else None
    wrong = tuple(_wrong(plan, sights, decision))
    answered = running is not None and running.answer is not None and not running.answer.fault
    serves = answered and view is not None and not view.fault and not any(structure(plan, view.nodes))
    return Standing(
        serves=serves,
        service=_service(plan, running),
        seconds=running.answer.seconds if running and running.answer and answered else None,
        nodes=tuple(_node(plan, sights, each.node, each.reasons) for each in decision.nodes),
        wrong=wrong,
        # A warning of no node says what cannot be told from here: a secret that is not set.
        differs=decision.changes or bool(decision.faults) or any(each.node for each in decision.warnings),
    )


def _node(plan: Plan, sights: Mapping[str, Sight], name: str, differs: tuple[Reason, ...]) -> NodeStanding:
    sight, view = sights[name], sights[plan.head.name].view
    there = sight.own(plan.name)
    planned = next((node for node in plan.nodes if node.name == name), None)
    counted = {each.address: each.npus for each in view.nodes} if view and planned else {}
    return NodeStanding(
        node=name,
        role=planned.shape.role if planned else "gone",
        container="?" if sight.fault else "" if there is None else there.state.text,
        since=max(0.0, sight.now - there.state.started) if there and there.running else 0.0,
        npus=counted.get(planned.address) if planned else None,
        differs=tuple(each for each in differs if each != WITH_THE_HEAD),  # which is so once somebody applies
        config_hash=there.label("config-hash") if there else "",
    )


def _wrong(plan: Plan, sights: Mapping[str, Sight], decision: Decision) -> Iterator[Fault]:
    """What keeps it from serving; what merely differs is told elsewhere."""
    ended = tuple(_containers(plan, sights))
    yield from ended
    view = sights[plan.head.name].view
    if view is None:
        return
    if view.fault:
        yield Fault(plan.head.name, f"Ray does not answer: {view.fault}", f"compiler logs SPEC {plan.head.name}")
    else:
        known = {fault.node for fault in ended}
        yield from (fault for fault in structure(plan, view.nodes) if fault.node not in known)
    yield from _unserved(plan, view.service)
    yield from _mixed(decision, plan)


def _containers(plan: Plan, sights: Mapping[str, Sight]) -> Iterator[Fault]:
    for node in plan.nodes:
        sight = sights[node.name]
        there = sight.own(plan.name)
        if sight.fault:
            yield Fault(node.name, sight.fault, sight.to_do)
        elif there is None:
            yield Fault(node.name, "it has no container of this cluster", "compiler apply SPEC")
        elif there.state.status != "running":
            yield Fault(
                node.name, f"its container {there.state.clause}", f"compiler logs SPEC {node.name}; compiler apply SPEC"
            )


def _unserved(plan: Plan, running: Running | None) -> Iterator[Fault]:
    head = plan.head.name
    if running is None:
        yield Fault(head, "nothing is served", "compiler apply SPEC")
    elif running.answer is None:
        yield Fault(head, "the service does not listen yet: it loads", "compiler logs SPEC --service --follow")
    elif running.answer.fault:
        # One that says nothing may be busy: it is not started anew unless somebody says so.
        anew = "compiler apply SPEC" + ("" if running.answer.status > 0 else " --restart, unless it is busy")
        yield Fault(head, f"no completion: {running.answer.fault}", f"compiler logs SPEC --service; {anew}")


def _mixed(decision: Decision, plan: Plan) -> Iterator[Fault]:
    """Some nodes run what this spec says and others what another said: two bundles under one Ray."""
    planned = {node.name: dict(node.labels)[seen.HASH_LABEL] for node in plan.nodes}
    own = ((each.node, each.there) for each in decision.nodes if each.node in planned)
    there = {name: found.label("config-hash") for name, found in own if found}
    other = [name for name, found in there.items() if found != planned[name]]
    if other and len(other) < len(there):
        names = ", ".join(other[:_NAMED]) + (f" and {len(other) - _NAMED} more" if len(other) > _NAMED else "")
        text = f"mixed bundles: what runs on {names} was made from another spec than the rest"
        yield Fault("", text, "compiler plan SPEC shows what differs; compiler apply SPEC")


def _service(plan: Plan, running: Running | None) -> str:
    url = f"http://{plan.head.address}:{plan.serve.port}/v1"
    if running is None:
        return "nothing is served"
    if running.answer is None:
        return f"loading, process {running.pid} on {plan.head.name}"
    if running.answer.fault:
        return f"no completion at {url}: {running.answer.fault}"
    return f"{plan.serve.served_name} at {url}, a completion came in {running.answer.seconds:.1f} s"


def told(reasons: tuple[Reason, ...]) -> str:
    """What differs, in a few words."""
    if not reasons:
        return "as the spec says"
    return reason_text(reasons[0]) + (f", and {len(reasons) - 1} more" if len(reasons) > 1 else "")
