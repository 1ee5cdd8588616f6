"""Judges what Ray and its workers tell: one fault for each difference to the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.decide import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compiler.inside import Joined, RayNode, Worker
    from compiler.plan import NodePlan, Plan

_COUNTS = "see what the container is given: docker exec CONTAINER ls /dev; Ray counts device nodes"


def structure(plan: Plan, nodes: Sequence[RayNode]) -> Iterator[Fault]:
    """What Ray lacks, counts otherwise, or has too much."""
    there: dict[str, list[RayNode]] = {}
    for each in nodes:
        there.setdefault(each.address, []).append(each)
    for node in plan.nodes:
        found, npus = there.pop(node.address, []), len(node.shape.npus)
        where = f"{node.address}:"
        if len(found) != 1:
            text = f"{where} Ray has {len(found)} nodes there, planned is one" if found else f"{where} it is not in Ray"
            yield Fault(node.name, text, f"read its container's log: compiler logs SPEC {node.name}")
        for each in found:
            if each.npus != npus:
                yield Fault(node.name, f"{where} Ray counts {each.npus:g} NPU, planned are {npus}", _COUNTS)
            if each.gpus:
                yield Fault(node.name, f"{where} Ray counts {each.gpus:g} GPU, which hides NPUs", _COUNTS)
    for address, found in there.items():
        text = f"Ray has a node at {address} with {found[0].npus:g} NPU, which the spec does not name"
        yield Fault("", text, "end its Ray there, or add it to the spec")


def from_inside(plan: Plan, joined: Joined) -> Iterator[Fault]:
    """What a worker process on each node sees, against the plan; then whether the model's place can be had."""
    head = joined.workers.get(plan.head.address)
    for node in plan.nodes:
        worker = joined.workers.get(node.address)
        if worker is None or worker.fault:
            said = worker.fault if worker else "no worker answered"
            yield Fault(node.name, f"from inside a Ray worker: {said}", f"compiler logs SPEC {node.name}")
            continue
        yield from _environment(node, worker.environment)
        if not worker.mark and head and not head.fault:  # else it may never have been written
            text = f"{plan.cache} is not the storage that the head has: the head's mark is not there"
            yield Fault(
                node.name, text, "mount the same storage on every node; check by compiler verify, cache[shared]"
            )
        if head and not head.fault:
            yield from _versions(node, worker, head)
    if joined.group:
        bundles = plan.parallelism.tensor * plan.parallelism.pipeline
        text = f"a placement group of {bundles} x 1 NPU cannot be had: {joined.group}"
        yield Fault("", text, "see who has them: docker exec in the head's container, ray status")


def _environment(node: NodePlan, found: Mapping[str, str | None]) -> Iterator[Fault]:
    for name, value, _ in node.environment:
        if found.get(name) != value:
            is_there = "is not set" if found.get(name) is None else f"is {found[name]!r}"
            text = f"{name} {is_there} in Ray's workers, planned is {value!r}"
            yield Fault(node.name, text, "Ray reads it when it starts: apply again, or start that container anew")


def _versions(node: NodePlan, worker: Worker, head: Worker) -> Iterator[Fault]:
    for what, own, heads in (("Ray", worker.ray, head.ray), ("Python", worker.python, head.python)):
        if own != heads:
            text = f"{what} {own}, the head has {heads}"
            yield Fault(node.name, text, "the same image on every node: compiler verify --only image,ray,python")
