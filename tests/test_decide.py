"""What is decided about nodes and the service, from what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import scenes
from inspections import IMAGE, composed
from scenes import HOUR, NOW, decided, empty, found, healthy, inspected, on, viewed

from compiler import seen
from compiler.decide import Reason, Wishes
from compiler.decision_text import as_json, as_text
from compiler.inside import Completion, RayNode, View
from compiler.plan import Serve
from compiler.sight import Member, Sight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.decide import Decision
    from compiler.plan import Plan

PLAN = scenes.plan_of(scenes.spec())
HEAD, ONE, TWO = (node.name for node in PLAN.nodes)
ADDRESS = {node.name: node.address for node in PLAN.nodes}


def verbs(decision: Decision) -> list[str]:
    return [each.verb for each in decision.nodes]


def whats(decision: Decision, node: str) -> list[str]:
    return [reason.what for reason in decision.of(node).reasons]


def text(decision: Decision, plan: Plan = PLAN) -> str:
    return as_text(plan, decision, colour=False)


# ---- Nothing there, and all there -----------------------------------------------------------------------------


def test_where_nothing_is_all_is_made() -> None:
    decision = decided(PLAN, empty(PLAN))
    assert verbs(decision) == ["create"] * 3
    assert decision.service == ("start", (Reason("nothing is served"),))
    assert decision.changes
    assert not decision.faults
    assert not decision.warnings
    assert "3 to create; service: start." in text(decision)


def test_what_apply_made_is_left() -> None:
    decision = decided(PLAN, healthy(PLAN))
    assert verbs(decision) == ["leave"] * 3
    assert decision.service == ("leave", ())
    assert not decision.changes
    assert "Nothing to do." in text(decision)


def test_what_compose_made_is_left() -> None:
    sights = healthy(PLAN)
    for node in PLAN.nodes:
        sights = inspected(sights, node.name, composed(found(PLAN, node.name)))
    decision = decided(PLAN, sights)
    assert [each.reasons for each in decision.nodes] == [(), (), ()]
    assert not decision.changes


@pytest.mark.parametrize(
    "config",
    [
        {"Entrypoint": ["/usr/bin/tini", "--"]},
        {"User": "ascend"},
        {"Labels": {"rack": "of the image", "vendor": "x"}},
        {"Env": ["OMP_NUM_THREADS=1", "HCCL_IF_IP=0.0.0.0", "EMPTY=", "MORE==x"]},
        {"Env": None, "Labels": None, "Entrypoint": None},
        {"StopSignal": "SIGINT", "WorkingDir": "/vllm-workspace", "Cmd": ["/bin/sh"]},
    ],
    ids=",".join,
)
def test_what_the_image_brings_is_no_difference(config: Mapping[str, Any]) -> None:
    image = {**IMAGE, "Config": {**IMAGE["Config"], **config}}
    sights = healthy(PLAN)
    for node in PLAN.nodes:
        sights = inspected(sights, node.name, found(PLAN, node.name, image=image))
        sights = on(sights, node.name, image=seen.image(image))
    assert [each.reasons for each in decided(PLAN, sights).nodes] == [(), (), ()]


def test_one_node_alone() -> None:
    plan = scenes.plan_of(scenes.spec(1))
    assert not decided(plan, healthy(plan)).changes
    assert verbs(decided(plan, empty(plan))) == ["create"]


# ---- How containers are ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"Status": "exited", "ExitCode": 137}, "its container has exited with status 137"),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            "its container has exited with status 137, for want of memory",
        ),
        (
            {"Status": "exited", "ExitCode": 127, "Error": "no bash"},
            "its container has exited with status 127: no bash",
        ),
        ({"Status": "paused"}, "its container is paused"),
        ({"Status": "created"}, "its container was never started"),
        ({"Status": "created", "Error": "no space"}, "its container was never started: no space"),
        ({"Status": "restarting", "ExitCode": 1}, "its container is restarting"),
        ({"Status": "removing"}, "its container is removing"),
        ({"Status": "dead"}, "its container is dead"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_container_that_does_not_run_is_replaced(state: Mapping[str, Any], told: str) -> None:
    decision = decided(PLAN, inspected(healthy(PLAN), TWO, found(PLAN, TWO, **state)))
    assert verbs(decision) == ["leave", "leave", "replace"]
    assert whats(decision, TWO) == [told]
    assert not decision.of(TWO).by_hand


def test_a_worker_alone_is_replaced_and_the_service_starts_anew() -> None:
    decision = decided(PLAN, inspected(healthy(PLAN), ONE, found(PLAN, ONE, Status="exited")))
    assert verbs(decision) == ["leave", "replace", "leave"]
    assert decision.service == ("restart", (Reason(f"{ONE} is replaced"),))
    assert "Ray restarts on node-1.\nThe service is down meanwhile." in text(decision)


@pytest.mark.parametrize("gone", [False, True], ids=["ended", "gone"])
def test_a_head_that_starts_anew_takes_all_workers_with_it(*, gone: bool) -> None:
    documents = () if gone else (found(PLAN, HEAD, Status="exited", ExitCode=1),)
    sights = on(inspected(healthy(PLAN), HEAD, *documents), HEAD, view=None)
    decision = decided(PLAN, sights)
    assert verbs(decision) == ["create" if gone else "replace", "replace", "replace"]
    assert whats(decision, ONE) == ["Ray starts anew on the head, so it must here"]
    assert decision.service.verb == "start"
    assert "Ray restarts on all nodes." in text(decision)


def test_a_worker_that_is_not_there_is_made_whatever_the_head_does() -> None:
    sights = on(inspected(inspected(healthy(PLAN), HEAD), ONE), HEAD, view=None)
    decision = decided(PLAN, sights)
    assert verbs(decision) == ["create", "create", "replace"]
    assert whats(decision, ONE) == ["it has no container yet"]


# ---- Ray ------------------------------------------------------------------------------------------------------


def without(name: str) -> tuple[RayNode, ...]:
    return tuple(each for each in scenes.ray(PLAN) if each.address != ADDRESS[name])


def counted(name: str, npus: float, gpus: float = 0.0) -> tuple[RayNode, ...]:
    return (*without(name), RayNode(ADDRESS[name], npus, gpus))


def aged(name: str, age: float) -> dict[str, Sight]:
    return inspected(healthy(PLAN), name, found(PLAN, name, age=age))


@pytest.mark.parametrize(
    ("name", "age", "heads_age", "replaced"),
    [
        (ONE, HOUR, HOUR, True),
        (ONE, PLAN.timeouts.ray_start + 1, HOUR, True),
        (ONE, PLAN.timeouts.ray_start - 1, HOUR, False),
        (ONE, HOUR, PLAN.timeouts.ray_start - 1, False),  # it waited for the head, and is on its way now
        (ONE, HOUR, PLAN.timeouts.ray_start + 1, True),
    ],
)
def test_a_node_that_ray_lacks_is_replaced_once_it_had_time(
    name: str, age: float, heads_age: float, *, replaced: bool
) -> None:
    sights = inspected(aged(name, age), HEAD, found(PLAN, HEAD, age=heads_age))
    decision = decided(PLAN, viewed(PLAN, sights, nodes=without(name)))
    assert whats(decision, name) == (["its container runs, but it is not in Ray"] if replaced else [])


def test_each_clock_is_taken_for_itself() -> None:
    """A node's clock may be a year ahead: how old its container is, its own clock tells."""
    ahead = 365 * 86400.0
    sights = inspected(healthy(PLAN), ONE, found(PLAN, ONE, age=-ahead + 10))
    sights = viewed(PLAN, on(sights, ONE, now=NOW + ahead), nodes=without(ONE))
    assert not decided(PLAN, sights).of(ONE).changes
    assert decided(PLAN, on(sights, ONE, now=NOW + ahead + PLAN.timeouts.ray_start)).of(ONE).changes


@pytest.mark.parametrize(
    ("npus", "gpus", "told"),
    [
        (7.0, 0.0, "Ray counts 7 NPU there, planned are 8 NPU"),
        (9.0, 0.0, "Ray counts 9 NPU there, planned are 8 NPU"),
        (0.0, 8.0, "Ray counts 0 NPU and 8 GPU there, planned are 8 NPU"),
        (8.0, 1.0, "Ray counts 8 NPU and 1 GPU there, planned are 8 NPU"),
    ],
)
def test_a_node_that_ray_counts_otherwise_is_replaced(npus: float, gpus: float, told: str) -> None:
    decision = decided(PLAN, viewed(PLAN, healthy(PLAN), nodes=counted(TWO, npus, gpus)))
    assert verbs(decision) == ["leave", "leave", "replace"]
    assert whats(decision, TWO) == [told]


def test_a_head_without_ray_is_replaced_and_no_worker_is_blamed_for_it() -> None:
    sights = viewed(PLAN, healthy(PLAN), nodes=(), fault="ConnectionRefusedError: refused")
    decision = decided(PLAN, sights)
    assert whats(decision, HEAD) == ["Ray does not answer there: ConnectionRefusedError: refused"]
    assert whats(decision, ONE) == ["Ray starts anew on the head, so it must here"]
    young = inspected(sights, HEAD, found(PLAN, HEAD, age=5))
    assert verbs(decided(PLAN, young)) == ["leave"] * 3


def test_a_container_that_has_ended_is_not_told_twice() -> None:
    sights = inspected(healthy(PLAN), ONE, found(PLAN, ONE, Status="exited", ExitCode=1))
    decision = decided(PLAN, viewed(PLAN, sights, nodes=without(ONE)))
    assert whats(decision, ONE) == ["its container has exited with status 1"]


# ---- The service ----------------------------------------------------------------------------------------------


def served(answer: Completion | None, command: tuple[str, ...] = PLAN.serve.command) -> dict[str, Sight]:
    return viewed(PLAN, healthy(PLAN), service=scenes.served(PLAN, answer)._replace(command=command))


@pytest.mark.parametrize(
    ("answer", "verb"),
    [
        (Completion(200, "", 1.0), "leave"),
        (Completion(500, "HTTP 500: EngineDeadError", 0.1), "restart"),
        (Completion(404, "HTTP 404: no such model", 0.1), "restart"),
        (Completion(200, "KeyError: 'choices'", 0.1), "restart"),
        (Completion(-1, "no answer within 30 s", 30.0), "leave"),  # busy, or it hangs: nobody knows
        (Completion(0, "ConnectionResetError: reset", 0.1), "leave"),
        (None, "leave"),  # it loads
    ],
    ids=lambda value: str(value.status if isinstance(value, Completion) else value),
)
def test_the_service_by_what_it_answers(answer: Completion | None, verb: str) -> None:
    decision = decided(PLAN, served(answer))
    assert verbs(decision) == ["leave"] * 3
    assert decision.service.verb == verb
    if verb == "restart":
        assert answer is not None
        assert decision.service.reasons == (Reason(f"it listens, but gives no completion: {answer.fault}"),)


def test_nothing_is_served_though_all_runs() -> None:
    decision = decided(PLAN, viewed(PLAN, healthy(PLAN), service=None))
    assert verbs(decision) == ["leave"] * 3
    assert decision.service == ("start", (Reason("nothing is served"),))


COMMAND = ("vllm", "serve", "M", "--a", "1", "--on", "--many", "x", "y")


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (("vllm", "serve", "M", "--a", "2", "--on", "--many", "x", "y"), Reason("--a", "2", "1")),
        (("vllm", "serve", "M", "--a=2", "--on", "--many", "x", "y"), Reason("--a", "2", "1")),
        (("vllm", "serve", "M", "--a", "1", "--many", "x", "y"), Reason("--on", None, "(set)")),
        (("vllm", "serve", "M", "--a", "1", "--on", "--off", "--many", "x", "y"), Reason("--off", "(set)", None)),
        (("vllm", "serve", "M", "--a", "1", "--on", "--many", "x y"), Reason("--many", "'x y'", "x y")),
        (("vllm", "serve", "M", "--a", "", "--on", "--many", "x", "y"), Reason("--a", "''", "1")),
        (
            ("vllm", "serve", "N", "--a", "1", "--on", "--many", "x", "y"),
            Reason("command", "vllm serve N", "vllm serve M"),
        ),
        ((), Reason("it was started by an older serve.sh, which does not say how")),
    ],
)
def test_the_services_command_has_changed(old: tuple[str, ...], reason: Reason) -> None:
    plan = PLAN._replace(serve=Serve("M", "M", (COMMAND,), 8000))
    sights = viewed(plan, healthy(plan), service=scenes.served(plan)._replace(command=old))
    decision = decided(plan, sights)
    assert decision.service == ("restart", (reason,))
    assert verbs(decision) == ["leave"] * 3
    assert decided(plan, healthy(plan)).service == ("leave", ())


def test_the_same_flags_in_another_form_are_no_change() -> None:
    other = tuple(word for word in PLAN.serve.command if word not in ("--max-model-len", "8192"))
    decision = decided(PLAN, served(scenes.ANSWERED, (*other, "--max-model-len=8192")))
    assert decision.service == ("leave", ())


def test_a_flag_of_the_spec_is_told_with_old_and_new() -> None:
    plan = scenes.changed(lambda spec: spec["serve"]["args"].update({"max-model-len": 4096}))
    decision = decided(plan, healthy(plan, PLAN))
    assert verbs(decision) == ["leave"] * 3
    assert decision.service == ("restart", (Reason("--max-model-len", "8192", "4096"),))
    assert "      --max-model-len: 8192 -> 4096\n" in text(decision, plan)


def test_no_serve_leaves_the_service_alone() -> None:
    wishes = Wishes(serve=False)
    assert decided(PLAN, empty(PLAN), wishes=wishes).service.verb == "leave"
    assert decided(PLAN, empty(PLAN), wishes=wishes).changes
    assert decided(PLAN, healthy(PLAN), wishes=wishes).service.verb == "leave"
    assert decided(PLAN, served(scenes.ANSWERED, COMMAND), wishes=wishes).service.verb == "leave"
    assert "= service  left as it is\n      not asked for\n" in text(decided(PLAN, healthy(PLAN), wishes=wishes))


def test_no_serve_stops_a_service_whose_containers_are_replaced() -> None:
    sights = inspected(healthy(PLAN), ONE, found(PLAN, ONE, Status="exited"))
    decision = decided(PLAN, sights, wishes=Wishes(serve=False))
    assert decision.service == ("stop", (Reason(f"{ONE} is replaced"),))
    assert "The service ends." in text(decision)


def test_restart_is_done_as_asked_for() -> None:
    decision = decided(PLAN, healthy(PLAN), wishes=Wishes(restart=True))
    assert verbs(decision) == ["leave"] * 3
    assert decision.service == ("restart", (Reason("asked for"),))
    assert decision.changes
    assert decided(PLAN, empty(PLAN), wishes=Wishes(restart=True)).service.verb == "start"


# ---- Nodes that are gone, unreachable, or not named -----------------------------------------------------------

GONE = Member("node-9", "192.168.10.99", "ssh://root@192.168.10.99")


def with_gone(sights: Mapping[str, Sight], sight: Sight) -> dict[str, Sight]:
    return {**sights, GONE.name: sight._replace(node=GONE.name)}


def test_a_node_that_is_gone_from_the_spec_is_removed() -> None:
    old = scenes.changed(lambda spec: spec["nodes"][2].update(name=GONE.name))
    sight = scenes.there(GONE.name, seen.container(found(old, GONE.name)))
    decision = decided(PLAN, with_gone(healthy(PLAN), sight), gone=[GONE])
    assert verbs(decision) == ["leave", "leave", "leave", "remove"]
    assert whats(decision, GONE.name) == ["it is gone from the spec"]
    assert decision.service.reasons == (Reason(f"{GONE.name} is removed"),)
    assert "  - node-9  remove\n      it is gone from the spec\n" in text(decision)


@pytest.mark.parametrize(
    "sight",
    [
        scenes.there(GONE.name),
        scenes.there(GONE.name, seen.container(found(PLAN, ONE))),  # of another node: its address was taken over
        scenes.there(GONE.name, seen.container(scenes.alien("qwen3"))),
    ],
    ids=["nothing", "another node's", "somebody else's"],
)
def test_of_a_node_that_is_gone_only_its_own_container_is_removed(sight: Sight) -> None:
    decision = decided(PLAN, with_gone(healthy(PLAN), sight), gone=[GONE])
    assert verbs(decision) == ["leave"] * 3
    assert not decision.changes
    assert not decision.warnings


def test_a_gone_node_that_cannot_be_reached_stands_in_nobodys_way() -> None:
    sights = with_gone(healthy(PLAN), Sight(GONE.name, fault="connect: no route to host", to_do="see the cable"))
    decision = decided(PLAN, sights, gone=[GONE])
    assert not decision.faults
    assert not decision.changes
    assert [warning.node for warning in decision.warnings] == [GONE.name]
    assert "connect: no route to host" in decision.warnings[0].text


LOST = Sight(ONE, fault="connect: no answer in time", to_do="see whether it is up")


def test_an_unreachable_node_stands_in_the_way() -> None:
    decision = decided(PLAN, {**healthy(PLAN), ONE: LOST})
    assert [(fault.node, fault.text, fault.to_do) for fault in decision.faults] == [(ONE, LOST.fault, LOST.to_do)]
    assert verbs(decision) == ["leave", "unknown", "leave"]
    assert not decision.of(ONE).changes
    assert not decision.warnings
    assert "node-1  as planned" not in text(decision)
    assert "Nothing is done as long as something is in the way." in text(decision)


def test_an_unreachable_node_that_is_not_named_is_a_warning() -> None:
    sights = {**inspected(healthy(PLAN), TWO), ONE: LOST}
    decision = decided(PLAN, sights, wishes=Wishes(only=(TWO,)))
    assert not decision.faults
    assert verbs(decision) == ["leave", "unknown", "create"]
    assert [(warning.node, warning.text) for warning in decision.warnings] == [
        (ONE, "left as it is, and not looked at: connect: no answer in time")
    ]
    assert decision.service.verb == "stop"  # it cannot start again without node-1


def test_an_unreachable_node_that_is_named_stands_in_the_way() -> None:
    decision = decided(PLAN, {**healthy(PLAN), ONE: LOST}, wishes=Wishes(only=(ONE,)))
    assert [fault.node for fault in decision.faults] == [ONE]
    assert not decision.warnings


def test_the_head_is_needed_whoever_is_named() -> None:
    sights = {**healthy(PLAN), HEAD: LOST._replace(node=HEAD)}
    decision = decided(PLAN, sights, wishes=Wishes(only=(TWO,)))
    assert [fault.node for fault in decision.faults] == [HEAD]
    assert not decision.warnings
    assert decision.service == ("leave", (Reason("not all nodes are known to run"),))


def new_environment() -> Plan:
    return scenes.changed(lambda spec: spec["env"].update(OMP_NUM_THREADS="9"))


def test_node_changes_only_what_it_names() -> None:
    plan = new_environment()
    decision = decided(plan, healthy(plan, PLAN), wishes=Wishes(only=(ONE,)))
    assert verbs(decision) == ["leave", "replace", "leave"]
    assert not decision.faults
    left = [(warning.node, warning.text) for warning in decision.warnings]
    assert left == [
        (name, "left as it is, for --node does not name it; it differs: env.OMP_NUM_THREADS") for name in (HEAD, TWO)
    ]
    assert "= node-0  left as it is\n      env.OMP_NUM_THREADS: 8 -> 9\n" in text(decision, plan)


def test_a_named_worker_that_is_as_planned_is_left_when_only_the_head_differs() -> None:
    sights = inspected(healthy(PLAN), HEAD, found(PLAN, HEAD, Status="paused"))
    decision = decided(PLAN, sights, wishes=Wishes(only=(ONE,)))
    assert verbs(decision) == ["leave"] * 3
    assert [warning.node for warning in decision.warnings] == [HEAD]


def test_the_head_cannot_be_replaced_without_the_workers() -> None:
    plan = new_environment()
    decision = decided(plan, healthy(plan, PLAN), wishes=Wishes(only=(HEAD, ONE)))
    assert [(fault.node, fault.text) for fault in decision.faults] == [
        (HEAD, f"Ray starts anew on the head, so it must on {TWO}")
    ]
    assert not decided(plan, healthy(plan, PLAN), wishes=Wishes(only=(HEAD, ONE, TWO))).faults


def test_a_gone_node_need_not_be_named_with_the_head() -> None:
    """It cannot be: --node takes names of the spec."""
    plan = new_environment()
    sight = scenes.there(GONE.name, seen.container(found(PLAN, ONE)))
    theirs = sight.containers[0]._replace(labels={**sight.containers[0].labels, "ascend-cluster.node": GONE.name})
    sights = with_gone(healthy(plan, PLAN), sight._replace(containers=(theirs,)))
    decision = decided(plan, sights, gone=[GONE], wishes=Wishes(only=(HEAD, ONE, TWO)))
    assert not decision.faults
    assert verbs(decision) == ["replace", "replace", "replace", "leave"]
    assert [warning.node for warning in decision.warnings] == [GONE.name]


def test_the_service_does_not_start_before_all_nodes_run() -> None:
    decision = decided(PLAN, empty(PLAN), wishes=Wishes(only=(HEAD,)))
    assert not decision.faults
    assert verbs(decision) == ["create", "leave", "leave"]
    assert decision.service == ("leave", (Reason("not all nodes are known to run"),))
    ended = inspected(viewed(PLAN, healthy(PLAN), service=None), ONE, found(PLAN, ONE, Status="exited"))
    assert decided(PLAN, ended, wishes=Wishes(only=(TWO,))).service.verb == "leave"
    assert decided(PLAN, ended, wishes=Wishes(only=(ONE,))).service.verb == "start"


# ---- What is somebody else's ----------------------------------------------------------------------------------


def beside(name: str, **more: Any) -> dict[str, Sight]:
    """Nothing of ours, and a container that somebody else made."""
    return inspected(empty(PLAN), ONE, scenes.alien(name, **more))


NPU = ["/dev/davinci3", "/dev/davinci_manager"]
THEIRS = {"ascend-cluster.name": "llama", "ascend-cluster.role": "worker"}
OURS = {"ascend-cluster.name": "qwen3", "ascend-cluster.role": "worker"}


@pytest.mark.parametrize("labels", [None, THEIRS], ids=["foreign", "another cluster's"])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_container_with_our_name_is_in_the_way(labels: dict[str, str] | None, state: str) -> None:
    decision = decided(PLAN, beside("qwen3", labels=labels, Status=state))
    assert [fault.node for fault in decision.faults] == [ONE]
    assert "a container called qwen3 is there" in decision.faults[0].text
    assert ("llama" if labels else "registry.example/other:1") in decision.faults[0].text
    assert decision.of(ONE).there is None
    assert decision.of(ONE).verb == "create"


@pytest.mark.parametrize(
    ("name", "labels", "whose"),
    [
        ("other", None, "made from registry.example/other:1"),
        ("llama", THEIRS, "of the cluster llama"),
        ("qwen3-before", OURS, "of the cluster qwen3"),  # renamed by hand: it is in use, and not replaced
    ],
)
@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
def test_a_container_that_has_our_npus_is_in_the_way(
    name: str, labels: dict[str, str] | None, whose: str, state: str
) -> None:
    decision = decided(PLAN, beside(name, devices=NPU, labels=labels, Status=state))
    assert [(fault.node, fault.text) for fault in decision.faults] == [(ONE, f"{name} ({whose}) has /dev/davinci3")]


@pytest.mark.parametrize("state", ["exited", "created", "dead"])
def test_a_container_that_does_not_run_holds_no_npus(state: str) -> None:
    assert not decided(PLAN, beside("other", devices=NPU, Status=state)).faults


@pytest.mark.parametrize("role", ["verify", "lock"])
def test_our_own_guests_are_in_nobodys_way(role: str) -> None:
    labels = {**OURS, "ascend-cluster.role": role}
    assert not decided(PLAN, beside(f"qwen3-{role}-ab12", devices=NPU, labels=labels)).faults


def test_others_are_in_nobodys_way_where_nothing_is_made() -> None:
    other = seen.container(scenes.alien("other", devices=NPU))
    sights = on(healthy(PLAN), ONE, containers=(*healthy(PLAN)[ONE].containers, other))
    assert not decided(PLAN, sights).faults
    assert not decided(PLAN, beside("other", devices=NPU), wishes=Wishes(only=(HEAD, TWO))).faults


def test_other_devices_are_no_clash() -> None:
    assert not decided(PLAN, beside("exporter", devices=["/dev/davinci_manager", "/dev/davinci33"])).faults


def test_npus_that_the_spec_leaves_out_are_no_clash() -> None:
    plan = scenes.changed(lambda spec: spec["defaults"].update(npus=[0, 1, 2, 4]))
    assert not decided(plan, inspected(empty(plan), ONE, scenes.alien("other", devices=NPU))).faults


# ---- Images, and what an apply left behind --------------------------------------------------------------------


def test_an_image_that_is_missing_is_pulled_where_it_is_needed() -> None:
    decision = decided(PLAN, on(empty(PLAN), TWO, image=None))
    assert decision.missing == (TWO,)
    assert verbs(decision) == ["create"] * 3
    assert "  ! node-2  quay.io/ascend/vllm-ascend:v0.11.0 is not there yet: apply pulls it\n" in text(decision)


def test_the_heads_image_is_pulled_whenever_anything_changes() -> None:
    """The lock is a container of it."""
    sights = inspected(on(healthy(PLAN), HEAD, image=None), TWO)
    assert "  ! node-0  quay.io/ascend/vllm-ascend:v0.11.0 is not there yet: apply pulls it\n" in text(
        decided(PLAN, sights)
    )
    assert "apply pulls it" not in text(decided(PLAN, on(healthy(PLAN), HEAD, image=None)))


def test_an_image_that_is_missing_where_all_runs_changes_nothing() -> None:
    """It was untagged, or removed by force: what runs of it runs on."""
    decision = decided(PLAN, on(healthy(PLAN), TWO, image=None))
    assert not decision.changes
    assert "apply pulls it" not in text(decision)


def test_an_unreachable_node_is_not_said_to_lack_the_image() -> None:
    assert decided(PLAN, {**empty(PLAN), ONE: LOST}).missing == ()


def next_of(labels: dict[str, str]) -> dict[str, Sight]:
    theirs = seen.container(scenes.alien("qwen3-next", labels=labels, Status="created"))
    return on(healthy(PLAN), ONE, containers=(*healthy(PLAN)[ONE].containers, theirs))


def test_what_an_apply_left_is_removed() -> None:
    decision = decided(PLAN, next_of(OURS))
    assert {node: [each.name for each in left] for node, left in decision.leftover.items()} == {ONE: ["qwen3-next"]}
    assert decision.changes
    assert verbs(decision) == ["leave"] * 3
    assert decision.service.verb == "leave"
    assert "  - node-1  remove qwen3-next, left by an apply that was cut off\n" in text(decision)
    assert json.loads(as_json(PLAN, decision))["leftover"] == {ONE: ["qwen3-next"]}


def test_what_somebody_else_called_so_is_not() -> None:
    assert not decided(PLAN, next_of(THEIRS)).changes


# ---- Secrets --------------------------------------------------------------------------------------------------


def test_a_secret_that_changed_is_told_and_never_shown() -> None:
    decision = decided(PLAN, healthy(PLAN), secrets={"HF_TOKEN": "hf-another"})
    assert verbs(decision) == ["replace"] * 3
    assert whats(decision, ONE) == ["env.HF_TOKEN"]
    assert decision.of(ONE).reasons[0].hidden
    assert not decision.of(ONE).by_hand
    assert "env.HF_TOKEN: changed (hidden)" in text(decision)
    for shown in (text(decision), as_json(PLAN, decision), repr(decision), repr(healthy(PLAN))):
        assert scenes.CANARY not in shown
        assert json.dumps(scenes.CANARY)[1:-1] not in shown
        assert "hf-another" not in shown


def test_a_secret_that_is_not_set_here_cannot_be_compared() -> None:
    decision = decided(PLAN, healthy(PLAN), secrets={})
    assert not decision.changes
    assert [(warning.node, warning.to_do) for warning in decision.warnings] == [("", "export HUB_TOKEN first")]
    assert not decided(PLAN, empty(PLAN), secrets={}).warnings  # nothing to compare
    plan = new_environment()
    assert not decided(plan, healthy(plan, PLAN), secrets={}).warnings  # all are replaced in any case


def test_a_secret_that_the_spec_has_anew_needs_no_value_to_be_missed() -> None:
    plan = scenes.changed(lambda spec: spec["secrets"].update(API={"from_env": "API"}))
    decision = decided(plan, healthy(plan, PLAN))
    assert verbs(decision) == ["replace"] * 3
    assert decision.of(ONE).reasons == (Reason("env.API", None, "(hidden)", hidden=True),)
    assert "env.API: new (hidden)" in text(decision, plan)
    assert "\0" not in repr(decision)


def test_a_secret_that_is_gone_from_the_spec_is_told_and_never_shown() -> None:
    plan = scenes.changed(lambda spec: spec.pop("secrets"))
    decision = decided(plan, healthy(plan, PLAN))
    assert "env.HF_TOKEN: gone (hidden)" in text(decision, plan)
    for shown in (text(decision, plan), as_json(plan, decision), repr(decision)):
        assert scenes.CANARY not in shown


# ---- As programs read it --------------------------------------------------------------------------------------


def test_json_has_old_and_new() -> None:
    plan = new_environment()
    document = json.loads(as_json(plan, decided(plan, healthy(plan, PLAN))))
    assert document["format_version"] == 1
    assert document["cluster"] == "qwen3"
    assert document["changes"] is True
    assert document["nodes"][1] == {
        "name": ONE,
        "verb": "replace",
        "by_hand": False,
        "reasons": [{"what": "env.OMP_NUM_THREADS", "old": "8", "new": "9", "hidden": False}],
    }
    assert document["service"]["verb"] == "restart"


def test_of_many_reasons_some_are_told() -> None:
    plan = scenes.changed(lambda spec: spec.update(env={f"V{number}": "1" for number in range(30)}))
    shown = text(decided(plan, healthy(plan, PLAN)), plan)
    assert "      env.V9: (none) -> 1\n" in shown
    assert "      and 20 more\n" in shown
    assert shown.count("env.V") == 12


def test_twelve_nodes_are_named_and_thirteen_are_not() -> None:
    for count in (12, 13):
        plan = scenes.plan_of(scenes.spec(count))
        shown = text(decided(plan, empty(plan)), plan)
        assert ("node-0, node-1, node-2" in shown) == (count == 12)
        assert ("node-0 to node-12 (13 nodes)" in shown) == (count == 13)


def test_each_sign_has_its_colour() -> None:
    sights = {**inspected(healthy(PLAN), TWO, found(PLAN, TWO, Status="exited")), ONE: LOST}
    shown = as_text(PLAN, decided(PLAN, sights, wishes=Wishes(serve=False)), colour=True).splitlines()
    assert "\x1b[2m  = node-0  as planned\x1b[0m" in shown
    assert "\x1b[1;31m  ? node-1  unknown\x1b[0m" in shown
    assert "\x1b[33m  ~ node-2  replace\x1b[0m" in shown
    assert "\x1b[31m  - service  stop\x1b[0m" in shown
    assert "\x1b[1;31m  ! in the way: node-1: connect: no answer in time\x1b[0m" in shown
    assert "      node-2 is replaced" in shown
    made = as_text(PLAN, decided(PLAN, empty(PLAN)), colour=True).splitlines()
    assert "\x1b[32m  + node-0, node-1, node-2  create\x1b[0m" in made
    assert "3 to create; service: start." in made


def test_a_view_without_a_container_decides_nothing() -> None:
    """It went away between two questions."""
    view = View(None, (), "")
    assert verbs(decided(PLAN, on(empty(PLAN), HEAD, view=view))) == ["create"] * 3


def test_many_nodes_are_told_in_a_few_lines() -> None:
    plan = scenes.plan_of(scenes.spec(40))
    shown = text(decided(plan, empty(plan)), plan)
    assert "  + node-0 to node-39 (40 nodes)  create\n" in shown
    names = [node.name for node in plan.nodes[1:]]
    sights = healthy(plan)
    for name in names:
        sights = inspected(sights, name)
    shown = text(decided(plan, sights), plan)
    assert "  + node-1 to node-39 (39 nodes)  create\n" in shown
    assert len(shown.splitlines()) < 25
    replaced = {name: inspected(sights, name, found(plan, name, Status="exited"))[name] for name in names[:14]}
    shown = text(decided(plan, {**healthy(plan), **replaced}), plan)
    assert "Ray restarts on node-1, node-2, node-3, node-4, node-5, node-6, node-7, node-8" in shown
    assert "node-12 and 2 more.\n" in shown
