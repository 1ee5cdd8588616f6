"""`compiler plan`, `apply` and `down` on emulated engines: what they change, never touch, and are stopped by.

What goes wrong in the middle is in test_apply_faults.py; real engines and real Ray are in rig/test_applied.py.
"""

from __future__ import annotations

import json
import os
import re
import threading
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from apply_cluster import NAME, Meanwhile, Rack, rack
from clusters import DIGEST, IMAGE
from engine_faults import Cuts
from processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
LOCK = f"{NAME}-lock"
ALL = ("node-0", "node-1", "node-2")


@pytest.fixture(params=[3])
def cluster(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Rack]:
    """A cluster; whatever a test does, the containers of others are as they were."""
    with rack(capsys, request.param) as made:
        yield made
        assert made.touched() == []
        named = [f"/{name}" for node in made.all for name in node.others if name != LOCK]
        assert [asked for asked in made.changes if any(name in asked for name in named)] == []


def standing(cluster: Rack, *options: str) -> Rack:
    """The same, once it serves; nothing was asked of its engines yet."""
    told = cluster.apply("--skip-verify", *options)
    assert told.code == 0, told.said
    cluster.forget_asked()
    return cluster


def verbs(cluster: Rack, *options: str) -> dict[str, str]:
    """What the plan does to each node and to the service."""
    document = json.loads(cluster.run("plan", "--json", *options).out)
    return {each["name"]: each["verb"] for each in document["nodes"]} | {"service": document["service"]["verb"]}


def ids(cluster: Rack) -> dict[str, str]:
    """The container of each node that has one."""
    return {node.name: node.ours[NAME].id for node in cluster.all if NAME in node.ours}


# ---- From nothing, and back ---------------------------------------------------------------------------------


def test_from_nothing_to_serving_and_back(cluster: Rack) -> None:
    assert cluster.run("plan", "--detailed-exitcode").code == 2
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    assert f"{NAME} serves: http://192.168.0.1:8000/v1" in told.out
    steps = re.findall(r"(\w+) \d+\.\d s", told.out.partition("took")[2])
    assert steps == ["verify", "make", "head", "workers", "ray", "serve"]

    down = cluster.run("down", "--yes")
    assert (down.code, cluster.wrong(serves=False, without=ALL)) == (0, []), down.said
    assert cluster.service is None
    assert f"{NAME}: nothing of it is there" in cluster.run("down", "--yes").out


def test_again_there_is_nothing_to_do(cluster: Rack) -> None:
    standing(cluster)
    before = ids(cluster)
    told = cluster.apply()
    assert (told.code, cluster.changes) == (0, [])
    assert "Nothing to do." in told.out
    assert f"{NAME} serves" in told.out
    assert (ids(cluster), cluster.wrong()) == (before, [])
    assert cluster.run("plan", "--detailed-exitcode").code == 0


def test_the_head_starts_before_the_workers_and_ends_after_them(cluster: Rack) -> None:
    order: list[str] = []
    standing(cluster)
    cluster.spec("2")
    for node in cluster.all:
        asked = rf"DELETE /containers/{NAME}$|POST /containers/{NAME}/start"
        node.engine.faults.append(Meanwhile(asked, act=partial(order.append, node.name)))
    assert cluster.apply().code == 0
    assert (set(order[:2]), order[2:4], set(order[4:])) == ({"node-1", "node-2"}, ["node-0"] * 2, {"node-1", "node-2"})
    assert cluster.wrong() == []


# ---- What is asked for --------------------------------------------------------------------------------------


def test_one_node_alone(cluster: Rack) -> None:
    standing(cluster)
    before = ids(cluster)
    cluster.all[2].ours[NAME].end(137)
    told = cluster.apply("--node", "node-2")
    assert (told.code, cluster.wrong()) == (0, []), told.said
    after = ids(cluster)
    assert [name for name in after if after[name] != before[name]] == ["node-2"]
    verified = [asked for asked in cluster.all[1].engine.changes if "-verify-" in asked]
    assert cluster.all[1].engine.changes == ["POST /containers/create", *verified]


def test_one_node_alone_while_another_is_down(cluster: Rack) -> None:
    standing(cluster)
    cluster.all[1].engine.die()
    cluster.all[2].ours[NAME].end(137)
    told = cluster.apply("--node", "node-2")
    assert "warning: node-1: left as it is, and not looked at: connect: Connection refused" in told.out
    assert told.code == 0, told.said
    assert f"{NAME} is as planned" in told.out
    assert cluster.all[2].running
    cluster.all[1].come_back(live_restore=True)
    assert cluster.apply().code == 0
    assert cluster.wrong() == []


def test_the_head_alone_takes_all_with_it(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec("2")
    told = cluster.apply("--node", "node-0")
    assert (told.code, cluster.changes) == (1, [])
    assert "Ray starts anew on the head, so it must on node-1, node-2" in told.out


def test_without_a_service(cluster: Rack) -> None:
    told = cluster.apply("--no-serve")
    assert (told.code, cluster.wrong(serves=False), cluster.service) == (0, [], None), told.said
    assert cluster.apply("--no-serve").code == 0
    assert cluster.apply().code == 0
    assert cluster.wrong() == []


def test_a_service_that_starts_anew(cluster: Rack) -> None:
    standing(cluster)
    before, first = ids(cluster), cluster.service
    told = cluster.apply("--restart")
    assert (told.code, cluster.wrong(), ids(cluster)) == (0, [], before), told.said
    assert cluster.service is not first
    assert [asked.partition(": ")[2].split("/")[2] for asked in cluster.changes] == ["create", *[LOCK] * 2, NAME, LOCK]


def test_a_service_that_loads_is_followed(cluster: Rack) -> None:
    cluster.loads = 1e9
    cluster.all[0].engine.faults.append(Cuts(f"POST /exec/{NAME}/start", after=2))  # it is what follows the service
    assert cluster.apply("--skip-verify").code == 1
    cluster.heal()
    before, service = ids(cluster), cluster.service
    assert service is not None
    threading.Timer(0.3, lambda: setattr(cluster, "loads", 0.0)).start()
    told = cluster.apply()
    assert (told.code, cluster.wrong(), ids(cluster)) == (0, [], before), told.said
    assert cluster.service is service
    assert "Nothing to do." in told.out


def test_skipping_the_verification_is_told(cluster: Rack) -> None:
    told = cluster.apply("--skip-verify")
    assert "verify    skipped: devices, mounts, ports, drivers, links and the ways between the nodes" in told.err
    assert not any("verify.sh" in command for node in cluster.all for command in node.commands)


def test_a_check_that_fails_changes_nothing(cluster: Rack) -> None:
    cluster.all[1].said["link[3]"] = {"status": "FAIL", "seen": "DOWN", "expected": "UP", "next": "look at the cable"}
    told = cluster.apply()
    assert told.code == 1
    assert "error: verify: node-1: link[3]: DOWN, expected UP\n  = hint: look at the cable" in told.err
    assert ids(cluster) == {}
    assert cluster.wrong(serves=False, without=ALL) == []


def test_without_a_yes_nothing_is_done(cluster: Rack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - pytest's own has no isatty
    standing(cluster)
    cluster.spec("2")
    for command in ("apply", "down"):
        told = cluster.run(command)
        assert (told.code, cluster.changes) == (2, [])
        assert "error: there is no terminal to ask on\n  = hint: --yes says yes beforehand" in told.err


# ---- Nodes that come and go ---------------------------------------------------------------------------------


def test_a_node_that_is_gone_from_the_spec_and_comes_back(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec(nodes=cluster.all[:2])
    assert verbs(cluster) == {"node-0": "leave", "node-1": "leave", "node-2": "remove", "service": "restart"}
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    cluster.spec()
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said


def test_a_node_that_is_gone_and_cannot_be_reached_is_a_warning_until_it_can(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec(nodes=cluster.all[:2])
    gone = cluster.all[2]
    gone.ours[NAME].end(137)
    gone.engine.die()
    told = cluster.apply()
    assert told.code == 0, told.said
    assert "warning: node-2: it is gone from the spec, and cannot be looked at: connect: " in told.said
    gone.come_back(live_restore=True)
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    assert "node-2  remove" in told.out


def test_a_node_that_is_gone_is_forgotten_when_somebody_else_removed_its_container(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec(nodes=cluster.all[:2])
    cluster.all[2].engine.world.remove(cluster.all[2].ours[NAME])
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    cluster.all[2].engine.die()
    assert "node-2" not in cluster.apply().said


def test_another_head_takes_the_note_with_it(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec("2", nodes=cluster.all[::-1])
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said


def test_a_note_that_was_lost_is_written_again(cluster: Rack) -> None:
    standing(cluster)
    cluster.all[0].engine.world.volumes.clear()
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    assert [asked for asked in cluster.changes if LOCK not in asked] == [
        "node-0: POST /containers/create",
        "node-0: POST /volumes/create",
    ]


def test_a_volume_of_somebody_else_stays_whatever_it_is_called(cluster: Rack) -> None:
    name = f"{NAME}-members"
    made = {"Name": name, "Labels": {"a": "b"}, "Mountpoint": "/v"}
    cluster.all[0].engine.world.volumes[name] = made
    assert cluster.apply("--skip-verify").code == 0
    assert cluster.run("down", "--yes").code == 0
    assert cluster.all[0].engine.world.volumes == {name: made}


# ---- Images -------------------------------------------------------------------------------------------------


def test_an_image_that_is_missing_somewhere_changes_nothing_anywhere(cluster: Rack) -> None:
    cluster.all[1].engine.images.clear()
    told = cluster.apply("--skip-verify")
    assert told.code == 1
    assert "error: image: node-1: its image is missing, and pulling it failed: " in told.err
    assert (ids(cluster), [asked for node in cluster.all[1:] for asked in node.engine.changes]) == (
        {},
        ["POST /images/create"],
    )


@pytest.mark.parametrize("node", [0, 1])
def test_an_image_that_is_missing_is_pulled(cluster: Rack, node: int) -> None:
    lacks = cluster.all[node].engine
    lacks.registry = {IMAGE: lacks.images.pop(IMAGE)}
    assert f"node-{node}  {IMAGE} is not there yet: apply pulls it" in cluster.run("plan").out
    told = cluster.apply()
    assert (told.code, cluster.wrong()) == (0, []), told.said
    assert f"node-{node}: the image is pulled" in told.err


def test_another_image_under_the_same_name_changes_nothing(cluster: Rack) -> None:
    cluster.all[1].engine.images[IMAGE] = {"Id": "sha256:" + "cd" * 32, "RepoDigests": []}
    told = cluster.apply("--skip-verify")
    assert (told.code, ids(cluster)) == (1, {})
    assert f"error: image: node-1: {IMAGE} is another image there than on node-0" in told.err


def test_another_id_of_the_same_digest_is_the_same_image(cluster: Rack) -> None:
    """Docker's two stores of images make the id differently of the same content."""
    image = {**cluster.all[1].engine.images[IMAGE], "Id": "sha256:" + "cd" * 32}
    cluster.all[1].engine.images[IMAGE] = {**image, "RepoDigests": [f"vllm-ascend@{DIGEST}"]}
    told = cluster.apply("--skip-verify")
    assert (told.code, cluster.wrong()) == (0, []), told.said


# ---- How engines are reached --------------------------------------------------------------------------------


def test_one_connection_a_node(cluster: Rack) -> None:
    """And for the lock two more on the head: the one that holds it, and the one that made it."""
    cluster.forget_asked()
    for command, lock in (
        ("plan", 0),
        ("status", 0),
        ("apply", 2),
        ("apply", 0),
        ("status", 0),
        ("logs", 0),
        ("down", 2),
    ):
        cluster.run(command, *(["--yes"] if command in ("apply", "down") else []))
        assert [node.engine.door.most for node in cluster.all] == [1 + lock, 1, 1], command
        until(lambda: not any(node.engine.door.open_now for node in cluster.all))
        cluster.forget_asked()


def test_who_only_looks_changes_nothing(cluster: Rack) -> None:
    for prepare in (Rack.forget_asked, standing, harm):
        prepare(cluster)
        cluster.forget_asked()
        for words in (("plan",), ("plan", "--json"), ("status",), ("logs",), ("logs", "--service")):
            told = cluster.run(*words)
            assert told.code in (0, 1), told.said
            assert cluster.changes == [], words


def harm(cluster: Rack) -> None:
    cluster.spec("2")
    cluster.all[1].ours[NAME].end(137)
    cluster.all[2].engine.die()


@pytest.mark.parametrize("cluster", [5], indirect=True)
def test_all_nodes_must_be_reached_or_nothing_is_changed(cluster: Rack) -> None:
    for count in range(1, 6):
        for down in combinations(cluster.all, count):
            for node in down:
                node.engine.die()
            names = {node.name for node in down}
            told = cluster.apply("--skip-verify")
            assert (told.code, cluster.changes) == (1, []), names
            told_of = re.findall(r"  ! in the way: ((?:[\w-]+(?:, )?)+): connect: Connection refused", told.out)
            assert {name for each in told_of for name in each.split(", ")} == names
            cluster.heal()
    told = cluster.apply("--skip-verify")
    assert (told.code, cluster.wrong()) == (0, []), told.said


@pytest.mark.parametrize("cluster", [4], indirect=True)
def test_down_removes_what_it_can_reach_and_says_what_is_left(cluster: Rack) -> None:
    for count in range(1, 4):
        for down in combinations(cluster.all, count):
            standing(cluster)
            for node in down:
                node.engine.die()
            told = cluster.run("down", "--yes", "--no-wait")
            assert told.code == 1
            left = {node.name for node in cluster.all if NAME in node.ours}
            assert left == {node.name for node in down}, told.said
            assert all(f"error: {node.name}: connect: " in told.err for node in down)
            for node in down:
                node.come_back(live_restore=True)
            assert cluster.run("down", "--yes", "--no-wait").code == 0
            assert cluster.wrong(serves=False, without=tuple(node.name for node in cluster.all)) == []
