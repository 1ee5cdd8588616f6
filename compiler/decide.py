"""Decides what is to be done to each node, and why: a pure function of the plan and of what is there.

Nothing is done here. `compiler plan` shows the decision, `compiler apply` carries the same one out.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler import guest, seen
from compiler.container import definition
from compiler.creation import HIDDEN, creation
from compiler.plan import LABEL_PREFIX
from compiler.sight import LOCK, next_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from compiler.inside import View
    from compiler.plan import NodePlan, Plan
    from compiler.seen import Image, Seen
    from compiler.sight import Member, Sight

Verb = Literal["create", "replace", "leave", "remove", "unknown"]
ServiceVerb = Literal["start", "restart", "leave", "stop"]


class Reason(NamedTuple):
    """Why a container is not left as it is.

    Attributes:
        what: What differs, as `env.HCCL_IF_IP`; or a sentence, with no `old` and no `new`.
        old: What is there, or None when it is not.
        new: What is planned, or None when it is not.
        hidden: The values may be secrets: `old` and `new` only tell whether there is one.
    """

    what: str
    old: str | None = None
    new: str | None = None
    hidden: bool = False


class NodeDecision(NamedTuple):
    """What is to be done to a node.

    Attributes:
        node: Its name.
        verb: What.
        reasons: Why.
        by_hand: The container was changed after it was made: it is not what its own labels say.
        there: The container that is there, or None.
    """

    node: str
    verb: Verb
    reasons: tuple[Reason, ...] = ()
    by_hand: bool = False
    there: Seen | None = None

    @property
    def changes(self) -> bool:
        """True when something is to be done."""
        return self.verb not in ("leave", "unknown")


class ServiceDecision(NamedTuple):
    """What is to be done to the service, and why."""

    verb: ServiceVerb
    reasons: tuple[Reason, ...] = ()


class Fault(NamedTuple):
    """What stands in the way: of which node, what, and what to do."""

    node: str
    text: str
    to_do: str


class Decision(NamedTuple):
    """All that is to be done.

    Attributes:
        nodes: The nodes of the plan in its order, then those that are gone from it.
        service: The service.
        faults: What stands in the way; with any of these nothing is done.
        warnings: What is to be known, and stands in nobody's way.
        missing: Nodes where the image is not there yet.
        leftover: Containers that an apply made and did not come to use, by node: they are removed.
    """

    nodes: tuple[NodeDecision, ...]
    service: ServiceDecision
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    missing: tuple[str, ...] = ()
    leftover: Mapping[str, tuple[Seen, ...]] = {}

    @property
    def changes(self) -> bool:
        """True when something is to be done."""
        return any(each.changes for each in self.nodes) or self.service.verb != "leave" or bool(self.leftover)

    def of(self, node: str) -> NodeDecision:
        """The decision about one node."""
        return next(each for each in self.nodes if each.node == node)

    def to(self, *verbs: Verb) -> tuple[NodeDecision, ...]:
        """The nodes to which this is to be done."""
        return tuple(each for each in self.nodes if each.verb in verbs)


class Wishes(NamedTuple):
    """What whoever runs it asked for.

    Attributes:
        only: Names of the nodes to change; empty for all.
        serve: The service is to run.
        restart: The service is to start anew in any case.
    """

    only: tuple[str, ...] = ()
    serve: bool = True
    restart: bool = False


def decide(
    plan: Plan, sights: Mapping[str, Sight], gone: Sequence[Member], secrets: Mapping[str, str], wishes: Wishes
) -> Decision:
    """What is to be done.

    Args:
        plan: The cluster.
        sights: What is there, by node; of the nodes in `gone`, too.
        gone: Nodes that were made, and that the plan has no more.
        secrets: The values of the secrets that are at hand, by their name in the container.
        wishes: What was asked for.
    """
    head = sights[plan.head.name]
    own = [_of_node(plan, node, sights[node.name], head, secrets) for node in plan.nodes]
    own = _with_the_head(plan, own, wishes)
    removed = [_of_gone(member, sights[member.name], plan) for member in gone]
    nodes = tuple(each for each in (*own, *removed) if each is not None)
    narrowed = tuple(
        each if _wished(each, wishes) or not each.changes else each._replace(verb="leave") for each in nodes
    )
    faults = [*_unreachable(plan, sights, wishes), *_clashes(plan, sights, narrowed), *_beyond(plan, nodes, narrowed)]
    return Decision(
        nodes=narrowed,
        service=_service(plan, head.view, narrowed, wishes),
        faults=tuple(faults),
        warnings=(
            *_unreached(gone, sights),
            *_not_looked_at(plan, sights, wishes),
            *_mixed(nodes, narrowed),
            *_hidden(plan, nodes, secrets),
        ),
        missing=tuple(
            node.name for node in plan.nodes if not sights[node.name].fault and sights[node.name].image is None
        ),
        leftover={name: found for name, sight in sights.items() if (found := sight.temporary(plan.name))},
    )


# ---- Nodes ----------------------------------------------------------------------------------------------------


def _of_node(plan: Plan, node: NodePlan, sight: Sight, head: Sight, secrets: Mapping[str, str]) -> NodeDecision:
    there = sight.own(plan.name)
    if sight.fault:
        return NodeDecision(node.name, "unknown", (Reason(f"it cannot be looked at: {sight.fault}"),))
    if there is None:
        return NodeDecision(node.name, "create", (Reason("it has no container yet"),))
    changed = differences(plan, node, there, sight.image, secrets)
    reasons = (*_state(there), *changed, *_unknown_to_ray(plan, node, sight, head))
    by_hand = _by_hand(node, there, changed)
    return NodeDecision(node.name, "replace" if reasons else "leave", tuple(reasons), by_hand, there)


def _by_hand(node: NodePlan, there: Seen, changed: Sequence[Reason]) -> bool:
    """It says that it was made of this very spec, and is another: but for what no spec says, images and secrets."""
    if there.label("config-hash") != dict(node.labels)[f"{LABEL_PREFIX}config-hash"]:
        return False
    unsaid = {"image", *(f"env.{secret.name}" for secret in node.shape.secrets)}
    return any(each.what not in unsaid for each in changed)


def differences(
    plan: Plan, node: NodePlan, there: Seen, image: Image | None, secrets: Mapping[str, str]
) -> tuple[Reason, ...]:
    """What makes the container that is there another one than the planned one."""
    body = creation(definition(plan.container, plan.timeouts, node), secrets)
    return (*_other_image(plan, there, image), *_other_traits(node, there, image, body))


def _other_image(plan: Plan, there: Seen, image: Image | None) -> Iterator[Reason]:
    if image is None:
        if there.reference != plan.container.image:
            yield Reason("image", there.reference, plan.container.image)
    elif there.image != image.id:
        same = there.reference == plan.container.image
        yield Reason(
            "image", _short(there.image) if same else there.reference, f"{plan.container.image} ({_short(image.id)})"
        )


def _other_traits(node: NodePlan, there: Seen, image: Image | None, body: Mapping[str, Any]) -> Iterator[Reason]:
    its = image if image and image.id == there.image else None  # what another image brings says nothing of this one
    wanted = seen.desired(body, its)
    known = {name for name, _ in node.shape.variables} - {each.name for each in node.shape.secrets}
    for what in dict.fromkeys((*wanted, *there.traits)):
        old, new = there.traits.get(what), wanted.get(what)
        if old == new or _unjudged(old, new) or _not_ours(what, new, its, there, node):
            continue
        hidden = what.startswith("env.") and what.removeprefix("env.") not in known
        yield Reason(what, _veiled(old), _veiled(new), hidden=True) if hidden else Reason(what, old, new)


def _veiled(value: str | None) -> str | None:
    return None if value is None else "(hidden)"


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]


def _not_ours(what: str, new: str | None, image: Image | None, there: Seen, node: NodePlan) -> bool:
    """True for what others give a container: its image, Compose, Docker Desktop, and default limits of dockerd.

    Without the image, what it brings along cannot be told from what was added. An inspection shows the default limits
    as if they had been asked for: https://docs.docker.com/reference/cli/dockerd/ (--default-ulimit).
    """
    if new is None and what.startswith(("labels.", "ulimits.")):
        return not _was_ours(what, image, there, node)
    if what == f"labels.{seen.HASH_LABEL}":
        return True
    return image is None and (new is None or what in ("entrypoint", "user"))


def _was_ours(what: str, image: Image | None, there: Seen, node: NodePlan) -> bool:
    """What a spec had before, as far as can be told: in a container of another spec, and nobody else's label."""
    if there.label("config-hash") == dict(node.labels)[seen.HASH_LABEL]:
        return False
    room, _, name = what.partition(".")
    others = name.startswith("com.docker.compose.") or image is None or name in image.config.get("Labels", ())
    return room != "labels" or not others


def _unjudged(old: str | None, new: str | None) -> bool:
    """A secret whose value is not at hand, so that it cannot be compared with the one that is there."""
    return old is not None and new == HIDDEN


def _state(there: Seen) -> Iterator[Reason]:
    if there.state.status != "running":
        yield Reason(f"its container {there.state.clause}")


def _unknown_to_ray(plan: Plan, node: NodePlan, sight: Sight, head: Sight) -> Iterator[Reason]:
    """The head's Ray answers and does not have it, or counts otherwise: the container runs for nothing."""
    there, view = sight.own(plan.name), head.view
    if view is None or there is None or there.state.status != "running":
        return
    # It may be on its way still. A worker waits for the head, so its time begins with the head's.
    if min(_age(plan, sight), _age(plan, head)) < plan.timeouts.ray_start:
        return
    if view.fault:
        if node.is_head:
            yield Reason(f"Ray does not answer there: {view.fault}")
        return
    found = [each for each in view.nodes if each.address == node.address]
    if not found:
        yield Reason("its container runs, but it is not in Ray")
    elif found[0].npus != len(node.shape.npus) or found[0].gpus:
        counted = f"{found[0].npus:g} NPU" + (f" and {found[0].gpus:g} GPU" if found[0].gpus else "")
        yield Reason(f"Ray counts {counted} there, planned are {len(node.shape.npus)} NPU")


def _age(plan: Plan, sight: Sight) -> float:
    """How long its container runs, in seconds, by its engine's own clock."""
    there = sight.own(plan.name)
    return sight.now - there.state.started if there else 0.0


def _with_the_head(plan: Plan, own: Sequence[NodeDecision], wishes: Wishes) -> list[NodeDecision]:
    """When Ray's head starts anew, every worker must: the head's Ray has forgotten them."""
    head = next(each for each in own if each.node == plan.head.name)
    if not head.changes or not _wished(head, wishes):
        return list(own)
    return [
        each._replace(verb="replace", reasons=(WITH_THE_HEAD,))
        if each.verb == "leave" and each.there is not None
        else each
        for each in own
    ]


WITH_THE_HEAD = Reason("Ray starts anew on the head, so it must here")


def _of_gone(member: Member, sight: Sight, plan: Plan) -> NodeDecision | None:
    there = sight.own(plan.name)
    if there is None or there.label("node") != member.name:
        return None
    return NodeDecision(member.name, "remove", (Reason("it is gone from the spec"),), there=there)


def _wished(each: NodeDecision, wishes: Wishes) -> bool:
    return not wishes.only or each.node in wishes.only


# ---- The service ----------------------------------------------------------------------------------------------


def _service(plan: Plan, view: View | None, nodes: Sequence[NodeDecision], wishes: Wishes) -> ServiceDecision:
    running = view.service if view else None
    disturbed = tuple(_disturbed(nodes))
    whole = _whole(plan, nodes)
    unserved = "not asked for" if not wishes.serve else "not all nodes are known to run" if not whole else ""
    if unserved:
        stop = running is not None and disturbed
        return ServiceDecision("stop", disturbed) if stop else ServiceDecision("leave", (Reason(unserved),))
    if running is None:
        return ServiceDecision("start", (Reason("nothing is served"),))
    reasons = [*disturbed, *_other_command(running.command, plan.serve.command)]
    if running.answer is not None and running.answer.status > 0 and running.answer.fault:
        reasons.append(Reason(f"it listens, but gives no completion: {running.answer.fault}"))
    if wishes.restart:
        reasons.append(Reason("asked for"))
    return ServiceDecision("restart" if reasons else "leave", tuple(reasons))


def _disturbed(nodes: Sequence[NodeDecision]) -> Iterator[Reason]:
    """What is done to nodes ends what runs across all of them."""
    for verb, past in (("create", "new"), ("replace", "replaced"), ("remove", "removed")):
        names = [each.node for each in nodes if each.verb == verb]
        if names:
            yield Reason(f"{_some(names)} {'is' if len(names) == 1 else 'are'} {past}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


_NAMED = 5  # nodes


def _whole(plan: Plan, nodes: Sequence[NodeDecision]) -> bool:
    """True when every node of the plan runs once this is done; the service needs them all."""
    planned = {node.name for node in plan.nodes}
    return all(
        each.changes or (each.there is not None and each.there.state.status == "running")
        for each in nodes
        if each.node in planned
    )


def _other_command(old: Sequence[str], new: Sequence[str]) -> Iterator[Reason]:
    if tuple(old) == tuple(new):
        return
    if not old:
        yield Reason("it was started by an older serve.sh, which does not say how")
        return
    before, after = _flags(old), _flags(new)
    for flag in dict.fromkeys((*before, *after)):
        if before.get(flag) != after.get(flag):
            yield Reason(flag, before.get(flag), after.get(flag))


def _flags(words: Sequence[str]) -> dict[str, str]:
    """The values of each flag of a command; what stands before the first is `command`."""
    found: dict[str, list[str]] = {}
    flag = "command"
    for word in words:
        if word.startswith("--"):
            flag, sign, value = word.partition("=")
            found.setdefault(flag, []).extend([value] if sign else [])
        else:
            found.setdefault(flag, []).append(word)
    return {name: shlex.join(values) if values else "(set)" for name, values in found.items()}


# ---- What stands in the way -----------------------------------------------------------------------------------


def _unreachable(plan: Plan, sights: Mapping[str, Sight], wishes: Wishes) -> Iterator[Fault]:
    for node in plan.nodes:
        sight = sights[node.name]
        if sight.fault and (not wishes.only or node.name in wishes.only or node.is_head):
            yield Fault(node.name, sight.fault, sight.to_do)


def _not_looked_at(plan: Plan, sights: Mapping[str, Sight], wishes: Wishes) -> Iterator[Fault]:
    for node in plan.nodes:
        sight = sights[node.name]
        if sight.fault and wishes.only and node.name not in wishes.only and not node.is_head:
            yield Fault(node.name, f"left as it is, and not looked at: {sight.fault}", sight.to_do)


def _unreached(gone: Sequence[Member], sights: Mapping[str, Sight]) -> Iterator[Fault]:
    for member in gone:
        if sights[member.name].fault:
            text = f"it is gone from the spec, and cannot be looked at: {sights[member.name].fault}"
            yield Fault(
                member.name, text, "its container may still run: `compiler down` or apply again when it is back"
            )


def _clashes(plan: Plan, sights: Mapping[str, Sight], nodes: Sequence[NodeDecision]) -> Iterator[Fault]:
    """Containers that are not ours, and have our name or our NPUs."""
    for each in nodes:
        if each.verb not in ("create", "replace"):
            continue
        node = next(one for one in plan.nodes if one.name == each.node)
        wanted = set(node.shape.npu_devices)
        for other in sights[node.name].containers:
            if _this_clusters(plan, other):
                continue
            whose = f"of the cluster {other.label('name')}" if other.label("name") else f"made from {other.reference}"
            if other.name == plan.container.name:
                text = (
                    f"a container called {other.name} is there ({_short(other.id)}, {whose}), and is not this cluster's"
                )
                yield Fault(
                    node.name, text, "remove or rename it, or give this cluster another name: it is never touched"
                )
            elif other.running and (held := sorted(wanted & set(other.devices))):
                text = f"{other.name} ({whose}) has {', '.join(held)}"
                yield Fault(node.name, text, "stop that container, or leave its NPUs out with npus in the spec")


def _this_clusters(plan: Plan, other: Seen) -> bool:
    """It is replaced, removed, or gone by itself soon. One that somebody gave another name is none of these."""
    if other.label("name") != plan.name:
        return False
    return other.name in (plan.container.name, next_name(plan.name)) or other.label("role") in (guest.ROLE, LOCK)


def _beyond(plan: Plan, nodes: Sequence[NodeDecision], narrowed: Sequence[NodeDecision]) -> Iterator[Fault]:
    """A head that starts anew takes all workers with it: not with only some of the nodes named."""
    head = next(each for each in narrowed if each.node == plan.head.name)
    both = zip(nodes, narrowed, strict=True)
    left = [before.node for before, after in both if before.verb == "replace" and not after.changes]
    if head.changes and left:
        text = f"Ray starts anew on the head, so it must on {_some(left)}"
        yield Fault(head.node, text, "leave --node out, or name these nodes, too")


def _mixed(nodes: Sequence[NodeDecision], narrowed: Sequence[NodeDecision]) -> Iterator[Fault]:
    for before, after in zip(nodes, narrowed, strict=True):
        if before.changes and not after.changes:
            what = before.reasons[0].what
            yield Fault(
                before.node, f"left as it is, for --node does not name it; it differs: {what}", "apply without --node"
            )


def _hidden(plan: Plan, nodes: Sequence[NodeDecision], secrets: Mapping[str, str]) -> Iterator[Fault]:
    """Secrets that cannot be compared. Those that a new container needs are asked for when it is made."""
    missing = [each for each in plan.head.shape.secrets if each.name not in secrets]
    if missing and any(each.verb == "leave" and each.there for each in nodes):
        names = ", ".join(each.from_env for each in missing)
        yield Fault("", f"whether a secret changed cannot be told: {names} is not set here", f"export {names} first")
