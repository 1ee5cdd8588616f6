"""What Ray and its workers tell, against the plan: each difference is a fault, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import scenes

from compiler.inside import Joined, RayNode, Worker
from compiler.joined import from_inside, structure

if TYPE_CHECKING:
    from compiler.plan import Plan

PLAN = scenes.plan_of(scenes.spec())
HEAD, ONE, TWO = PLAN.nodes
NODES = scenes.ray(PLAN)


def other(address: str, npus: float = 8.0, gpus: float = 0.0) -> tuple[RayNode, ...]:
    """Ray as planned, but for the node at this address."""
    return (*(each for each in NODES if each.address != address), RayNode(address, npus, gpus))


def told(nodes: tuple[RayNode, ...]) -> list[tuple[str, str]]:
    return [(fault.node, fault.text) for fault in structure(PLAN, nodes)]


# ---- The nodes ------------------------------------------------------------------------------------------------


def test_ray_as_planned() -> None:
    assert told(NODES) == []
    assert told(NODES[::-1]) == []


def test_nothing_in_ray() -> None:
    assert told(()) == [(node.name, f"{node.address}: it is not in Ray") for node in PLAN.nodes]


def test_a_node_that_ray_lacks() -> None:
    assert told(NODES[:2]) == [(TWO.name, f"{TWO.address}: it is not in Ray")]


@pytest.mark.parametrize(
    ("npus", "gpus", "texts"),
    [
        (7.0, 0.0, ["Ray counts 7 NPU, planned are 8"]),
        (16.0, 0.0, ["Ray counts 16 NPU, planned are 8"]),
        (0.0, 8.0, ["Ray counts 0 NPU, planned are 8", "Ray counts 8 GPU, which hides NPUs"]),
        (8.0, 0.5, ["Ray counts 0.5 GPU, which hides NPUs"]),
    ],
)
def test_a_node_that_ray_counts_otherwise(npus: float, gpus: float, texts: list[str]) -> None:
    assert told(other(ONE.address, npus, gpus)) == [(ONE.name, f"{ONE.address}: {text}") for text in texts]


def test_a_node_that_is_there_twice() -> None:
    """A raylet that somebody started by hand beside ours, or the one of before that Ray has not missed yet."""
    assert told((*NODES, NODES[1])) == [(ONE.name, f"{ONE.address}: Ray has 2 nodes there, planned is one")]


def test_a_node_too_many() -> None:
    """It has this cluster's head, and vLLM would place its workers there."""
    found = told((*NODES, RayNode("192.168.10.99", 8.0, 0.0)))
    assert found == [("", "Ray has a node at 192.168.10.99 with 8 NPU, which the spec does not name")]


def test_every_difference_is_told_at_once() -> None:
    found = told((RayNode(HEAD.address, 8.0, 0.0), RayNode(ONE.address, 4.0, 0.0), RayNode("10.0.0.1", 1.0, 0.0)))
    assert [node for node, _ in found] == [ONE.name, TWO.name, ""]


def test_each_fault_says_what_to_do() -> None:
    faults = [*structure(PLAN, other(ONE.address, 7.0)), *structure(PLAN, NODES[:2])]
    assert all(fault.to_do for fault in faults)


# ---- From inside ----------------------------------------------------------------------------------------------


def witness(plan: Plan, index: int, **fields: Any) -> Worker:
    """A worker on a node, as planned but for these fields."""
    environment = {name: value for name, value, _ in plan.nodes[index].environment}
    return Worker(environment, "2.48.0", "3.11.13", mark=True)._replace(**fields)


def joined(*, group: str = "", **others: Worker | None) -> Joined:
    """All as planned but for what these nodes' workers see; None for one that did not answer."""
    workers = {node.name.replace("-", "_"): witness(PLAN, index) for index, node in enumerate(PLAN.nodes)}
    seen = {name: worker for name, worker in (workers | others).items() if worker}
    addresses = {node.name.replace("-", "_"): node.address for node in PLAN.nodes}
    return Joined(NODES, "", {addresses[name]: worker for name, worker in seen.items()}, group)


def inside(found: Joined) -> list[tuple[str, str]]:
    return [(fault.node, fault.text) for fault in from_inside(PLAN, found)]


def environment(index: int, **variables: str | None) -> Worker:
    worker = witness(PLAN, index)
    return worker._replace(environment={**worker.environment, **variables})


def test_all_as_planned_from_inside() -> None:
    assert inside(joined()) == []


@pytest.mark.parametrize(("value", "is_there"), [("4", "is '4'"), ("", "is ''"), (None, "is not set")])
def test_another_environment_in_a_worker(value: str | None, is_there: str) -> None:
    text = f"OMP_NUM_THREADS {is_there} in Ray's workers, planned is '8'"
    assert inside(joined(node_1=environment(1, OMP_NUM_THREADS=value))) == [(ONE.name, text)]


def test_the_heads_own_address_must_not_reach_a_worker() -> None:
    """vLLM copies the head's environment to its workers; the nodes' own variables are exempt from it."""
    found = inside(joined(node_2=environment(2, HCCL_IF_IP=HEAD.address)))
    assert found == [(TWO.name, f"HCCL_IF_IP is '{HEAD.address}' in Ray's workers, planned is '{TWO.address}'")]


def test_more_variables_than_planned_are_no_difference() -> None:
    assert inside(joined(node_1=environment(1, LANG="C"))) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"ray": "2.47.1"}, "Ray 2.47.1, the head has 2.48.0"),
        ({"python": "3.10.0"}, "Python 3.10.0, the head has 3.11.13"),
    ],
)
def test_other_versions_than_the_heads(fields: dict[str, str], text: str) -> None:
    assert inside(joined(node_1=witness(PLAN, 1, **fields))) == [(ONE.name, text)]


def test_a_cache_that_is_not_shared() -> None:
    found = inside(joined(node_2=witness(PLAN, 2, mark=False)))
    assert found == [(TWO.name, "/mnt/shared/cache is not the storage that the head has: the head's mark is not there")]


@pytest.mark.parametrize("worker", [None, Worker({}, fault="no worker was started there within 120 s")])
def test_a_node_without_a_worker(worker: Worker | None) -> None:
    said = worker.fault if worker else "no worker answered"
    assert inside(joined(node_1=worker)) == [(ONE.name, f"from inside a Ray worker: {said}")]


def test_a_head_that_cannot_mark_the_cache_is_the_one_to_blame() -> None:
    """Then nobody can find its mark, and its worker tells no version to compare with."""
    unmarked = Worker({}, fault="/root/.cache/.ascend-cluster-x cannot be written: Read-only file system")
    one, two = witness(PLAN, 1, mark=False), witness(PLAN, 2, mark=False, ray="2.40.0")
    assert [node for node, _ in inside(joined(node_0=unmarked, node_1=one, node_2=two))] == [HEAD.name]


def test_without_a_worker_on_the_head_nothing_is_compared_with_it() -> None:
    others = witness(PLAN, 1, mark=False, ray="2.40.0")
    assert inside(joined(node_0=None, node_1=others)) == [(HEAD.name, "from inside a Ray worker: no worker answered")]


def test_a_placement_group_that_cannot_be_had() -> None:
    found = inside(joined(group="not within 60 s; 16 NPU are free"))
    text = "a placement group of 24 x 1 NPU cannot be had: not within 60 s; 16 NPU are free"
    assert found == [("", text)]
