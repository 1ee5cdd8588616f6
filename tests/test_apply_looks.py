"""`compiler status` and `logs` on emulated engines: what they tell, and what never gets to a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apply_cluster import NAME, Meanwhile, Rack, rack
from engine_faults import Says, fails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
ROOT = Path(__file__).parent.parent
NASTY = "\x1b[2J\x1b]0;owned\x07 red\x9b31m\u202e\r\x08 said"
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture
def cluster(capsys: pytest.CaptureFixture[str]) -> Iterator[Rack]:
    """A cluster that serves."""
    with rack(capsys) as made:
        told = made.apply("--skip-verify")
        assert told.code == 0, told.said
        yield made
        assert made.touched() == []


# ---- How it stands ------------------------------------------------------------------------------------------


def test_it_serves(cluster: Rack) -> None:
    told = cluster.run("status")
    assert told.code == 0
    first, _, *rows = told.out.splitlines()
    assert first == f"{NAME} serves: Qwen/Qwen3-32B at http://192.168.0.1:8000/v1, a completion came in 0.1 s"
    assert [row.split()[:3] for row in rows[1:]] == [
        ["node-0", "head", "running"],
        ["node-1", "worker", "running"],
        ["node-2", "worker", "running"],
    ]
    assert all(row.rstrip().endswith("8 NPU   as the spec says") for row in rows[1:])


def test_as_json(cluster: Rack) -> None:
    told = cluster.run("status", "--json")
    document = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert (document["serves"], document["as_planned"], document["wrong"]) == (True, True, [])
    assert document["service"]["completion_seconds"] == 0.1
    assert [each["npus_in_ray"] for each in document["nodes"]] == [8, 8, 8]


def unserved(cluster: Rack) -> None:
    assert cluster.service
    cluster.service.over = True


def loading(cluster: Rack) -> None:
    cluster.loads = 1e9


def faulty(cluster: Rack) -> None:
    cluster.fault = "HTTP 500: EngineDeadError"


def ended(cluster: Rack) -> None:
    cluster.all[1].ours[NAME].end(137)


def dead(cluster: Rack) -> None:
    cluster.all[1].engine.die()


def drifted(cluster: Rack) -> None:
    cluster.spec("2")


def gone(cluster: Rack) -> None:
    for node in cluster.all:
        node.engine.world.remove(node.ours[NAME])


STANDINGS: list[tuple[Callable[[Rack], None], int, str]] = [
    (unserved, 1, "wrong: node-0: nothing is served"),
    (loading, 1, "wrong: node-0: the service does not listen yet: it loads"),
    (faulty, 1, "wrong: node-0: no completion: HTTP 500: EngineDeadError"),
    (ended, 1, "wrong: node-1: its container has exited with status 137"),
    (dead, 1, "wrong: node-1: connect: Connection refused"),
    (drifted, 0, "it is not all as the spec says\n  = hint: compiler plan "),
    (gone, 1, "wrong: node-2: it has no container of this cluster"),
]


@pytest.mark.parametrize(("harm", "code", "says"), STANDINGS, ids=[each[0].__name__ for each in STANDINGS])
def test_it_says_what_is_wrong_and_changes_nothing(
    cluster: Rack, harm: Callable[[Rack], None], code: int, says: str
) -> None:
    harm(cluster)
    cluster.forget_asked()
    told = cluster.run("status")
    assert (told.code, cluster.changes) == (code, [])
    assert says in told.out
    document = json.loads(cluster.run("status", "--json").out)
    assert (document["as_planned"], bool(document["wrong"])) == (harm is loading, code == 1)
    cluster.heal()


# ---- What was said ------------------------------------------------------------------------------------------


def test_the_last_lines_of_each_node(cluster: Rack) -> None:
    for node in cluster.all:
        node.ours[NAME].say("".join(f"{node.name} says {number}\n" for number in range(200)))
    told = cluster.run("logs", "--tail", "2")
    assert told.code == 0
    assert sorted(told.out.splitlines()) == [
        f"node-{index} | node-{index} says {number}" for index in range(3) for number in (198, 199)
    ]
    assert cluster.run("logs", "node-1", "--tail", "1").out == "node-1 says 199\n"


def test_a_node_that_is_down_does_not_hold_up_the_rest(cluster: Rack) -> None:
    for node in cluster.all:
        node.ours[NAME].say("here\n")
    cluster.all[1].engine.die()
    told = cluster.run("logs")
    assert (told.code, sorted(told.out.splitlines())) == (1, ["node-0 | here", "node-2 | here"])
    assert "error: node-1: connect: Connection refused\n  = hint: " in told.err


def test_a_node_without_a_container_says_what_to_do(cluster: Rack) -> None:
    cluster.all[1].engine.world.remove(cluster.all[1].ours[NAME])
    told = cluster.run("logs", "node-1")
    assert told.code == 1
    assert (
        f"error: node-1: read a log: it has no container of this cluster\n  = hint: compiler apply {cluster.file}"
        in told.err
    )


def test_a_container_of_somebody_else_is_not_read(cluster: Rack) -> None:
    cluster.all[1].engine.world.remove(cluster.all[1].ours[NAME])
    cluster.all[1].engine.adopt({"Name": f"/{NAME}", "State": {"Running": True}}).say("private\n")
    told = cluster.run("logs", "node-1")
    assert (told.code, told.out) == (1, "")
    cluster.all[1].others = cluster.all[1].foreign()


def test_what_the_service_said(cluster: Rack) -> None:
    assert cluster.service
    for number in range(5):
        cluster.service.say(f"INFO: {number}")
    assert cluster.run("logs", "--service").out == "INFO: loading\n" + "".join(f"INFO: {n}\n" for n in range(5))
    assert cluster.run("logs", "--service", "--tail", "2").out == "INFO: 3\nINFO: 4\n"
    with cluster.service.log.open("a") as file:
        file.write("half a li")
    assert cluster.run("logs", "--service", "--tail", "2").out == "INFO: 4\nhalf a li\n"


def test_a_log_that_is_longer_than_what_is_read_at_a_time(cluster: Rack) -> None:
    assert cluster.service
    lines = [f"INFO: {'x' * 1000} {number}" for number in range(2500)]
    with cluster.service.log.open("a") as file:
        file.write("\n".join(lines) + "\n")
    assert cluster.run("logs", "--service", "--tail", "2400").out.splitlines() == lines[-2400:]


def test_nothing_was_served_yet(cluster: Rack) -> None:
    gone(cluster)
    assert cluster.apply("--skip-verify", "--no-serve").code == 0
    told = cluster.run("logs", "--service")
    assert (told.code, told.out) == (1, "")
    assert "error: node-0: read a log: nothing has been served in this container" in told.err
    assert cluster.run("logs", "node-0", "--service").code == 2


# ---- What is said from now on -------------------------------------------------------------------------------


@contextmanager
def following(cluster: Rack, *words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """`logs --follow` in a process of its own, and what it says."""
    program = [sys.executable, "-m", "compiler", "logs", str(cluster.file), "--follow", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        assert running.stdout
        yield running, running.stdout
        running.kill()


def test_containers_are_followed_until_they_end(cluster: Rack) -> None:
    with following(cluster, "--tail", "1") as (running, out):
        for round_ in range(3):
            for node in cluster.all:
                node.ours[NAME].say(f"{round_}\n")
            assert sorted(out.readline() for _ in range(3)) == [f"node-{index} | {round_}\n" for index in range(3)]
        for node in cluster.all:
            node.ours[NAME].end(0)
        assert running.wait(20) == 0


def test_the_service_is_followed_from_one_to_the_next(cluster: Rack) -> None:
    """Also what it says while the end of its log is looked for."""
    first = cluster.service
    assert first
    between = Meanwhile("^POST /containers/[^/]+/exec$", after=1, times=1, act=lambda: first.say("in between"))
    cluster.all[0].engine.faults.append(between)
    with following(cluster, "--service") as (running, out):
        assert [out.readline() for _ in range(2)] == ["INFO: loading\n", "in between\n"]
        first.say("more")
        assert out.readline() == "more\n"
        with first.log.open("a") as file:
            file.write("cut o")
        assert cluster.apply("--restart").code == 0
        assert [out.readline() for _ in range(2)] == ["cut o\n", "INFO: loading\n"]
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
        assert (running.returncode, err) == (130, "interrupted\n")


def test_a_follower_is_told_when_the_head_is_replaced(cluster: Rack) -> None:
    with following(cluster, "--service") as (running, out):
        assert out.readline() == "INFO: loading\n"
        cluster.all[0].ours[NAME].end(0)
        _, err = running.communicate(timeout=20)
        assert running.returncode == 1
        assert err.startswith("error: node-0: ")


# ---- What never gets to a terminal --------------------------------------------------------------------------


def test_what_containers_and_the_service_say_moves_no_cursor(cluster: Rack) -> None:
    assert cluster.service
    cluster.service.say(NASTY)
    for node in cluster.all:
        node.ours[NAME].say(f"{NASTY}\n")
    cluster.fault = NASTY
    for words in (("logs",), ("logs", "--service"), ("status",), ("plan",), ("apply",)):
        told = cluster.run(*words, *(["--yes"] if words == ("apply",) else []))
        assert "said" in told.said, words
        assert UNSEEN.findall(told.said) == [], words


QUESTIONS = [
    "/version",
    "/info",
    "/images/.*/json",
    "/containers/json",
    f"/containers/{NAME}/json",
    "/volumes",
    "/exec",
]


@pytest.mark.parametrize("asked", QUESTIONS)
def test_what_an_engine_says_moves_no_cursor(cluster: Rack, asked: str) -> None:
    for fault in (fails(f"{asked}$", NASTY), Says(f"{asked}$", document={NASTY: NASTY}), Says(asked, document=NASTY)):
        for node in cluster.all[:2]:
            node.engine.faults[:] = [fault]
        for words in (("status",), ("plan",), ("logs",), ("logs", "--service"), ("apply", "--yes"), ("down", "--yes")):
            told = cluster.run(*words)
            assert told.code in (0, 1), (words, told.said)
            assert UNSEEN.findall(told.said) == [], words
        cluster.heal()


def test_how_a_container_ended_moves_no_cursor(cluster: Rack) -> None:
    found: Any = cluster.all[1].ours[NAME]
    found.end(137)
    found.error = NASTY
    cluster.all[2].engine.adopt({"Name": "/others", "State": {"Running": True}, "Config": {"Image": NASTY}})
    cluster.all[2].others = cluster.all[2].foreign()
    for words in (("status",), ("plan",), ("status", "--json"), ("plan", "--json"), ("down",)):
        told = cluster.run(*words)
        assert "137" in told.out, words
        assert UNSEEN.findall(told.said) == [], words


def test_a_name_moves_no_cursor(cluster: Rack) -> None:
    cluster.all[1].ours[NAME].name = f"{NAME}{NASTY}"
    for words in (("status",), ("plan",), ("apply", "--yes"), ("down", "--yes")):
        told = cluster.run(*words)
        assert UNSEEN.findall(told.said) == [], words
    assert "said" in told.out
