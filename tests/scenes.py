"""Clusters and what is there of them, as values: for tests of what is decided and said about it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import hostile
from inspections import IMAGE, Document, inspection

from compiler import seen
from compiler.compile import compile_spec
from compiler.container import definition
from compiler.creation import creation
from compiler.decide import Decision, Wishes, decide
from compiler.inside import Completion, RayNode, Running, View
from compiler.sight import Sight
from compiler.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from compiler.plan import NodePlan, Plan
    from compiler.seen import Seen
    from compiler.sight import Member

NOW = 1_795_000_000.0  # by every node's clock
HOUR = 3600.0
CANARY = "hf-canary-$3cr3t'"
SECRETS = {"HF_TOKEN": CANARY}
ALL = Wishes()
ANSWERED = Completion(200, "", 0.25)


def spec(nodes: int = 3) -> Document:
    """A cluster of Atlas A2 servers; node-0 is the head."""
    return {
        "version": 1,
        "name": "qwen3",
        "accelerator": "atlas-a2",
        "image": "quay.io/ascend/vllm-ascend:v0.11.0",
        "cache": "/mnt/shared/cache",
        "env": {"HCCL_OP_EXPANSION_MODE": "AIV", "OMP_NUM_THREADS": "8"},
        "secrets": {"HF_TOKEN": {"from_env": "HUB_TOKEN"}},
        "container": {"mounts": [{"source": "/data/models", "target": "/models"}]},
        "defaults": {"interface": "eth0", "docker": "ssh://root@{address}", "labels": {"rack": "a-12"}},
        "nodes": [
            {
                "name": f"node-{index}",
                "address": f"192.168.10.{10 + index}",
                "npu_addresses": {"first": f"10.20.{index}.10"},
            }
            for index in range(nodes)
        ],
        "serve": {
            "model": "Qwen/Qwen3-32B",
            "args": {"served-model-name": "qwen", "max-model-len": 8192, "enable-prefix-caching": True},
        },
    }


def plan_of(document: Document) -> Plan:
    """The plan of this spec, which must be right."""
    compiled = compile_spec([Source("cluster.yaml", hostile.yaml(document).encode())])
    assert compiled.plan is not None, compiled.diagnostics
    return compiled.plan


def changed(change: Callable[[Document], object], nodes: int = 3) -> Plan:
    """The plan of the spec after this change."""
    document = copy.deepcopy(spec(nodes))
    change(document)
    return plan_of(document)


def node_of(plan: Plan, name: str) -> NodePlan:
    return next(node for node in plan.nodes if node.name == name)


def found(plan: Plan, name: str, *, secrets: Mapping[str, str] = SECRETS, age: float = HOUR, **more: Any) -> Document:
    """The inspection of a node's container, made `age` seconds ago."""
    body = creation(definition(plan.container, plan.timeouts, node_of(plan, name)), secrets)
    return inspection(body, plan.name, started=NOW - age, **more)


def alien(name: str, *, devices: Sequence[str] = (), labels: Mapping[str, str] | None = None, **more: Any) -> Document:
    """The inspection of a container that somebody else made."""
    host = {"Devices": [{"PathOnHost": d, "PathInContainer": d, "CgroupPermissions": "rwm"} for d in devices]}
    body = {"Image": "registry.example/other:1", "Cmd": ["sleep", "inf"], "Labels": labels, "HostConfig": host}
    return inspection(body, name, **more)


def ray(plan: Plan) -> tuple[RayNode, ...]:
    """Ray as planned."""
    return tuple(RayNode(node.address, float(len(node.shape.npus)), 0.0) for node in plan.nodes)


def served(plan: Plan, answer: Completion | None = ANSWERED) -> Running:
    """The service as planned."""
    return Running(77, plan.serve.command, answer)


def healthy(plan: Plan, made_of: Plan | None = None) -> dict[str, Sight]:
    """All runs and serves, and was made of this plan, or of another one with the same nodes."""
    old = made_of or plan
    sights = {node.name: there(node.name, seen.container(found(old, node.name))) for node in plan.nodes}
    view = View(served(old), ray(plan), "")
    return sights | {plan.head.name: sights[plan.head.name]._replace(view=view)}


def empty(plan: Plan) -> dict[str, Sight]:
    """Nothing is there but the image."""
    return {node.name: there(node.name) for node in plan.nodes}


def there(node: str, *containers: Seen) -> Sight:
    """A node with the image and these containers."""
    return Sight(node, version="20.10.24", now=NOW, image=seen.image(IMAGE), containers=containers)


def on(sights: Mapping[str, Sight], node: str, **fields: Any) -> dict[str, Sight]:
    """What is there, but for these fields of a node's sight."""
    return {**sights, node: sights[node]._replace(**fields)}


def inspected(sights: Mapping[str, Sight], node: str, *documents: Document) -> dict[str, Sight]:
    """What is there, but for the containers of a node."""
    return on(sights, node, containers=tuple(map(seen.container, documents)))


def viewed(plan: Plan, sights: Mapping[str, Sight], **fields: Any) -> dict[str, Sight]:
    """What is there, but for these fields of what the head's container sees."""
    view = sights[plan.head.name].view
    assert view is not None
    return on(sights, plan.head.name, view=view._replace(**fields))


def decided(
    plan: Plan,
    sights: Mapping[str, Sight],
    *,
    gone: Sequence[Member] = (),
    secrets: Mapping[str, str] = SECRETS,
    wishes: Wishes = ALL,
) -> Decision:
    """The decision, with the secrets at hand."""
    return decide(plan, sights, gone, secrets, wishes)
