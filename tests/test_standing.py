"""How a cluster stands: what is said of it, and that nothing less than a completion from all of Ray is serving.

tests/decisions/ has what `plan` and `status` say of each of the scenes below, as people and as programs read it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hostile
import pytest
import scenes
from inspections import composed
from scenes import ALL, HOUR, NOW, SECRETS, decided, empty, found, healthy, inspected, on, viewed

from compiler import cli_status, seen
from compiler.cli import main
from compiler.cli_apply import Found
from compiler.decide import Reason, Wishes
from compiler.decision_text import as_json, as_text
from compiler.inside import Completion, RayNode
from compiler.sight import Member, Sight
from compiler.standing import Standing, standing, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inspections import Document

    from compiler.decide import Decision
    from compiler.inside import Running
    from compiler.plan import Plan

FOLDER = Path(__file__).parent / "decisions"
PLAN = scenes.plan_of(scenes.spec())
HEAD, ONE, TWO = (node.name for node in PLAN.nodes)


def stands(sights: Mapping[str, Sight], plan: Plan = PLAN, **more: Any) -> Standing:
    return standing(plan, sights, decided(plan, sights, **more))


def of(standing: Standing, node: str) -> Any:
    return next(each for each in standing.nodes if each.node == node)


# ---- Serving --------------------------------------------------------------------------------------------------


def test_it_serves_with_a_completion_and_all_nodes_in_ray() -> None:
    found = stands(healthy(PLAN))
    assert found.serves
    assert found.seconds == scenes.ANSWERED.seconds
    assert found.service == "qwen at http://192.168.10.10:8000/v1, a completion came in 0.2 s"
    assert found.wrong == ()
    assert not found.differs


@pytest.mark.parametrize(
    ("service", "text"),
    [
        (None, "nothing is served"),
        (scenes.served(PLAN, None), "loading, process 77 on node-0"),
        (
            scenes.served(PLAN, Completion(500, "HTTP 500: EngineDeadError", 0.1)),
            "no completion at http://192.168.10.10:8000/v1: HTTP 500: EngineDeadError",
        ),
        (
            scenes.served(PLAN, Completion(-1, "no answer within 30 s", 30.0)),
            "no completion at http://192.168.10.10:8000/v1: no answer within 30 s",
        ),
        (
            scenes.served(PLAN, Completion(200, "KeyError: 'choices'", 0.1)),
            "no completion at http://192.168.10.10:8000/v1: KeyError: 'choices'",
        ),
    ],
    ids=["nothing", "loading", "500", "time-out", "no completion"],
)
def test_without_a_completion_it_does_not_serve(service: Running | None, text: str) -> None:
    found = stands(viewed(PLAN, healthy(PLAN), service=service))
    assert not found.serves
    assert found.service == text
    assert found.seconds is None
    assert [fault.node for fault in found.wrong] == [HEAD]


@pytest.mark.parametrize(
    ("nodes", "wrong"),
    [
        (scenes.ray(PLAN)[:2], TWO),
        ((*scenes.ray(PLAN)[:2], RayNode("192.168.10.12", 7.0, 0.0)), TWO),
        ((*scenes.ray(PLAN), RayNode("192.168.10.99", 8.0, 0.0)), ""),
    ],
    ids=["one lacks", "one counts 7", "one too many"],
)
def test_with_a_completion_and_another_ray_than_planned_it_does_not_serve(
    nodes: tuple[RayNode, ...], wrong: str
) -> None:
    """The completion may have come from the engine of before: it is a matter of time."""
    found = stands(viewed(PLAN, healthy(PLAN), nodes=nodes))
    assert not found.serves
    assert [fault.node for fault in found.wrong] == [wrong]


def test_with_a_ray_that_does_not_answer_it_does_not_serve() -> None:
    found = stands(viewed(PLAN, healthy(PLAN), nodes=(), fault="refused"))
    assert not found.serves
    assert [fault.text for fault in found.wrong] == ["Ray does not answer: refused"]


def test_of_a_ray_that_does_not_answer_now_no_list_is_believed() -> None:
    assert not stands(viewed(PLAN, healthy(PLAN), fault="refused")).serves


def test_when_the_head_cannot_be_looked_at_nothing_is_said_to_serve() -> None:
    found = stands({**healthy(PLAN), HEAD: Sight(HEAD, fault="connect: refused", to_do="start it")})
    assert not found.serves
    assert [(fault.node, fault.text, fault.to_do) for fault in found.wrong] == [(HEAD, "connect: refused", "start it")]


def test_what_differs_from_the_spec_may_serve_all_the_same() -> None:
    plan = scenes.changed(lambda spec: spec["env"].update(OMP_NUM_THREADS="9"))
    found = stands(healthy(plan, PLAN), plan)
    assert found.serves
    assert found.differs
    assert found.wrong == ()
    assert told(of(found, ONE).differs) == "env.OMP_NUM_THREADS: 8 -> 9"


def test_a_secret_that_is_not_set_here_is_no_difference() -> None:
    found = stands(healthy(PLAN), secrets={})
    assert found.serves
    assert not found.differs


# ---- Nodes ----------------------------------------------------------------------------------------------------


def test_how_a_node_stands() -> None:
    found = of(stands(inspected(healthy(PLAN), ONE, scenes.found(PLAN, ONE, age=90))), ONE)
    assert found[:6] == (ONE, "worker", "running", 90.0, 8.0, ())
    assert found.config_hash == dict(PLAN.nodes[1].labels)["ascend-cluster.config-hash"]


def test_a_node_whose_container_has_ended() -> None:
    sights = inspected(healthy(PLAN), ONE, scenes.found(PLAN, ONE, Status="exited", ExitCode=137, OOMKilled=True))
    found = stands(viewed(PLAN, sights, nodes=(scenes.ray(PLAN)[0], scenes.ray(PLAN)[2])))
    node = of(found, ONE)
    assert (node.container, node.since, node.npus) == ("exited with status 137, for want of memory", 0.0, None)
    assert found.wrong[0].text == "its container has exited with status 137, for want of memory"
    assert {fault.node for fault in found.wrong} == {ONE}


def test_a_node_without_a_container() -> None:
    found = stands(inspected(healthy(PLAN), ONE))
    assert of(found, ONE)[1:5] == ("worker", "", 0.0, 8.0)
    assert found.wrong[0].text == "it has no container of this cluster"


def test_a_node_that_is_gone_from_the_spec() -> None:
    gone = Member("node-9", "192.168.10.99", "ssh://x")
    theirs = seen.container(scenes.found(PLAN, ONE))
    theirs = theirs._replace(labels={**theirs.labels, "ascend-cluster.node": "node-9"})
    found = stands({**healthy(PLAN), "node-9": scenes.there("node-9", theirs)}, gone=[gone])
    assert of(found, "node-9")[:5] == ("node-9", "gone", "running", HOUR, None)
    assert found.serves
    assert found.differs


def test_a_node_that_is_gone_and_cannot_be_looked_at_may_run_still() -> None:
    gone = Member("node-9", "192.168.10.99", "ssh://x")
    sights = {**healthy(PLAN), "node-9": Sight("node-9", fault="connect: refused", to_do="x")}
    found = stands(sights, gone=[gone])
    assert found.serves
    assert found.differs


def test_a_clock_that_was_set_back_makes_no_time_below_zero() -> None:
    assert of(stands(on(healthy(PLAN), ONE, now=NOW - 2 * HOUR)), ONE).since == 0.0


def test_one_that_cannot_be_looked_at_is_not_said_to_be_as_the_spec_says() -> None:
    node = of(stands({**healthy(PLAN), ONE: Sight(ONE, fault="connect: refused", to_do="x")}), ONE)
    assert node.container == "?"
    assert told(node.differs) == "it cannot be looked at: connect: refused"


def test_what_differs_in_a_few_words() -> None:
    assert told(()) == "as the spec says"
    assert told((Reason("init", "true", "false"), Reason("x"), Reason("y"))) == "init: true -> false, and 2 more"


# ---- Mixed bundles --------------------------------------------------------------------------------------------


def bundles(*numbers: int) -> dict[str, Sight]:
    """Each node's container, as it was made of this spec (0) or another one."""
    plans = (PLAN, scenes.changed(lambda spec: spec["env"].update(OMP_NUM_THREADS="4")))
    sights = healthy(PLAN)
    for node, number in zip(PLAN.nodes, numbers, strict=True):
        sights = inspected(sights, node.name, found(plans[number], node.name))
    return sights


@pytest.mark.parametrize(
    ("numbers", "named"), [((0, 1, 0), [ONE]), ((1, 0, 1), [HEAD, TWO]), ((0, 0, 0), []), ((1, 1, 1), [])]
)
def test_mixed_bundles_are_told(numbers: tuple[int, ...], named: list[str]) -> None:
    standing = stands(bundles(*numbers))
    texts = [fault.text for fault in standing.wrong]
    wanted = (
        [f"mixed bundles: what runs on {', '.join(named)} was made from another spec than the rest"] if named else []
    )
    assert texts == wanted
    assert standing.differs == (sum(numbers) > 0)


def test_of_many_other_bundles_a_few_are_named() -> None:
    plan = scenes.plan_of(scenes.spec(20))
    other = scenes.changed(lambda spec: spec["env"].update(OMP_NUM_THREADS="4"), 20)
    sights = {**healthy(plan, other), "node-19": healthy(plan)["node-19"]}
    (fault,) = standing(plan, sights, decided(plan, sights)).wrong
    assert "node-0, node-1, node-2, node-3, node-4 and 14 more was made" in fault.text


# ---- What users read ------------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """What is there, and what was asked for."""

    spec: Document
    sights: dict[str, Sight]
    gone: Sequence[Member] = ()
    secrets: Mapping[str, str] = SECRETS
    wishes: Wishes = ALL


SCENES: dict[str, Callable[[], Scene]] = {}


def scene(make: Callable[[], Scene]) -> Callable[[], Scene]:
    SCENES[make.__name__.removeprefix("_").replace("_", "-")] = make
    return make


def new_spec(change: Callable[[Document], object], nodes: int = 3) -> Document:
    document = scenes.spec(nodes)
    change(document)
    return document


@scene
def _nothing_there() -> Scene:
    return Scene(scenes.spec(), empty(PLAN))


@scene
def _as_planned() -> Scene:
    return Scene(scenes.spec(), healthy(PLAN))


@scene
def _another_spec() -> Scene:
    def change(spec: Document) -> None:
        spec["env"] = {"OMP_NUM_THREADS": "9", "NOTE": "it's  two  spaces "}
        spec["secrets"]["API"] = {"from_env": "API"}
        spec["ports"] = {"ray": 6390}
        spec["container"] = {"shm_size": "32g", "devices": ["/dev/infiniband"]}
        spec["serve"]["args"] = {"served-model-name": "qwen", "max-model-len": 4096, "seed": 7}

    spec = new_spec(change)
    return Scene(spec, healthy(scenes.plan_of(spec), PLAN))


@scene
def _changed_by_hand() -> Scene:
    document = found(PLAN, ONE)
    document["HostConfig"] |= {"Memory": 1 << 30, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}
    document["Config"]["Env"].append("LD_PRELOAD=/lib/x.so")
    return Scene(scenes.spec(), inspected(healthy(PLAN), ONE, document))


@scene
def _containers_ended() -> Scene:
    sights = inspected(healthy(PLAN), ONE, found(PLAN, ONE, Status="exited", ExitCode=137, OOMKilled=True))
    error = 'OCI runtime create failed: exec: "bash": executable file not found in $PATH'
    sights = inspected(sights, TWO, found(PLAN, TWO, Status="created", Error=error))
    return Scene(scenes.spec(), viewed(PLAN, sights, nodes=scenes.ray(PLAN)[:1]))


@scene
def _head_gone() -> Scene:
    return Scene(scenes.spec(), on(inspected(healthy(PLAN), HEAD), HEAD, view=None))


@scene
def _ray_is_another() -> Scene:
    nodes = (scenes.ray(PLAN)[0], RayNode("192.168.10.11", 7.0, 0.0), RayNode("192.168.10.99", 8.0, 0.0))
    return Scene(scenes.spec(), viewed(PLAN, healthy(PLAN), nodes=nodes))


@scene
def _ray_does_not_answer() -> Scene:
    fault = "ConnectionRefusedError: [Errno 111] Connection refused"
    return Scene(scenes.spec(), viewed(PLAN, healthy(PLAN), nodes=(), fault=fault, service=None))


def _answering(answer: Completion | None) -> Scene:
    return Scene(scenes.spec(), viewed(PLAN, healthy(PLAN), service=scenes.served(PLAN, answer)))


@scene
def _engine_is_dead() -> Scene:
    return _answering(Completion(500, 'HTTP 500: {"error": "EngineDeadError"}', 0.1))


@scene
def _engine_is_busy() -> Scene:
    return _answering(Completion(-1, "no answer within 30 s", 30.0))


@scene
def _loading() -> Scene:
    return _answering(None)


@scene
def _nothing_served() -> Scene:
    return Scene(scenes.spec(), viewed(PLAN, healthy(PLAN), service=None))


@scene
def _node_added() -> Scene:
    old = scenes.plan_of(scenes.spec(2))
    return Scene(scenes.spec(), {**healthy(old), TWO: scenes.there(TWO)})


@scene
def _nodes_gone() -> Scene:
    spec, old = scenes.spec(2), healthy(PLAN)
    plan = scenes.plan_of(spec)
    lost = Sight("node-3", fault="connect: no answer in time", to_do="try by hand: docker -H ssh://root@x version")
    gone = [Member(name, f"192.168.10.1{name[-1]}", f"ssh://root@{name}") for name in (TWO, "node-3")]
    return Scene(spec, {**healthy(plan, PLAN), HEAD: old[HEAD], TWO: old[TWO], "node-3": lost}, gone)


def _lost() -> Sight:
    return Sight(ONE, fault="connect: no route to host", to_do="see whether it is up, and whether ssh gets there")


@scene
def _unreachable() -> Scene:
    return Scene(scenes.spec(), {**healthy(PLAN), ONE: _lost()})


@scene
def _one_node_named() -> Scene:
    spec = new_spec(lambda spec: spec["env"].update(OMP_NUM_THREADS="9"))
    sights = {**healthy(scenes.plan_of(spec), PLAN), ONE: _lost()}
    return Scene(spec, sights, wishes=Wishes(only=(TWO,)))


@scene
def _only_the_head_named() -> Scene:
    spec = new_spec(lambda spec: spec["env"].update(OMP_NUM_THREADS="9"))
    return Scene(spec, healthy(scenes.plan_of(spec), PLAN), wishes=Wishes(only=(HEAD,)))


@scene
def _not_to_be_served() -> Scene:
    sights = inspected(healthy(PLAN), ONE, found(PLAN, ONE, Status="paused"))
    return Scene(scenes.spec(), sights, wishes=Wishes(serve=False))


@scene
def _in_the_way() -> Scene:
    other = scenes.alien("llama", devices=["/dev/davinci3", "/dev/davinci4"], labels={"ascend-cluster.name": "llama"})
    sights = inspected(empty(PLAN), ONE, scenes.alien("qwen3", Status="exited"))
    return Scene(scenes.spec(), inspected(sights, TWO, other))


@scene
def _image_missing() -> Scene:
    return Scene(scenes.spec(), on(on(empty(PLAN), HEAD, image=None), TWO, image=None))


@scene
def _image_retagged() -> Scene:
    other = seen.Image("sha256:" + "beef" * 16, (), {"Env": ["PATH=/other"], "Labels": {}})
    return Scene(scenes.spec(), {name: sight._replace(image=other) for name, sight in healthy(PLAN).items()})


@scene
def _left_by_an_apply() -> Scene:
    labels = {"ascend-cluster.name": "qwen3", "ascend-cluster.role": "worker"}
    left = seen.container(scenes.alien("qwen3-next", labels=labels, Status="created"))
    return Scene(scenes.spec(), on(healthy(PLAN), ONE, containers=(*healthy(PLAN)[ONE].containers, left)))


@scene
def _mixed_bundles() -> Scene:
    return Scene(scenes.spec(), bundles(0, 1, 0))


@scene
def _made_by_compose() -> Scene:
    sights = healthy(PLAN)
    for node in PLAN.nodes:
        sights = inspected(sights, node.name, composed(found(PLAN, node.name, secrets={"HF_TOKEN": "hf-another"})))
    return Scene(scenes.spec(), viewed(PLAN, sights, service=None))


@scene
def _secret_not_set() -> Scene:
    return Scene(scenes.spec(), healthy(PLAN), secrets={})


@scene
def _twenty_nodes() -> Scene:
    spec = scenes.spec(20)
    plan, old = scenes.plan_of(spec), scenes.changed(lambda spec: spec["env"].update(OMP_NUM_THREADS="4"), 20)
    sights = healthy(plan, old)
    return Scene(spec, inspected(sights, "node-7", found(old, "node-7", Status="exited", ExitCode=1)))


@scene
def _hostile() -> Scene:
    ugly = "\x1b[31mred\x1b[0m\r\n\u202e  ! warning: all is well\ud800"
    document = found(PLAN, ONE, Status="exited", ExitCode=1, Error=ugly)
    document["Config"]["Env"] += [f"{ugly}=1", f"OMP_NUM_THREADS={ugly}"]
    document["Config"]["Labels"]["rack"] = ugly
    sights = inspected(healthy(PLAN), ONE, document)
    return Scene(scenes.spec(), {**sights, TWO: Sight(TWO, fault=ugly, to_do=ugly)})


def made(name: str) -> tuple[Scene, Plan, Decision]:
    scene = SCENES[name]()
    plan = scenes.plan_of(scene.spec)
    return scene, plan, decided(plan, scene.sights, gone=scene.gone, secrets=scene.secrets, wishes=scene.wishes)


@pytest.mark.parametrize("name", SCENES)
def test_what_plan_says(name: str, snapshot: Any) -> None:
    snapshot.snapshot_dir = FOLDER / name
    _, plan, decision = made(name)
    snapshot.assert_match(as_text(plan, decision, colour=False), "plan.txt")
    snapshot.assert_match(as_json(plan, decision), "plan.json")


@pytest.mark.parametrize("name", SCENES)
def test_what_status_says(
    name: str, snapshot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command, but for the nodes: it is told what is there."""
    snapshot.snapshot_dir = FOLDER / name
    scene, plan, _ = made(name)
    decision = decided(plan, scene.sights, gone=scene.gone, secrets=scene.secrets)
    stands = standing(plan, scene.sights, decision)
    (tmp_path / "cluster.yaml").write_text(hostile.yaml(scene.spec))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_status, "looked", lambda *_: Found(sights=scene.sights, decision=decision))
    for form, options in (("txt", ()), ("json", ("--json",))):
        code = main(["status", "cluster.yaml", *options])
        assert code == (0 if stands.serves and not stands.wrong else 1)
        shown = capsys.readouterr().out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown)
        snapshot.assert_match(shown, f"status.{form}")


def test_each_folder_has_a_scene() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(SCENES)


def test_no_secret_is_told() -> None:
    for path in FOLDER.rglob("*.*"):
        assert not re.search("hf-canary|hf-another", path.read_text()), path


@pytest.mark.parametrize("name", SCENES)
def test_colours_are_all_that_a_terminal_gets_more(name: str) -> None:
    _, plan, decision = made(name)
    shown = as_text(plan, decision, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == as_text(plan, decision, colour=False)
    for line in shown.splitlines():
        assert line.startswith("\x1b[") == line.endswith("\x1b[0m")


@pytest.mark.parametrize("name", SCENES)
def test_json_and_text_say_the_same(name: str) -> None:
    _, plan, decision = made(name)
    document = json.loads(as_json(plan, decision))
    assert document["changes"] == ("Nothing to do." not in as_text(plan, decision, colour=False) and decision.changes)
    assert [each["verb"] for each in document["nodes"]] == [each.verb for each in decision.nodes]
    for key, label in (("faults", "in the way"), ("warnings", "warning")):
        alike = {(each["text"], each["to_do"]) for each in document[key]}
        assert len(alike) == as_text(plan, decision, colour=False).count(f"\n  ! {label}: ")
