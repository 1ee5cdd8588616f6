"""The lock of `compiler apply` and `down`, on emulated engines: one at a time, and nobody else's container is taken."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from apply_cluster import AGED, NAME, Meanwhile, Rack, rack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apply_cluster import Node

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
ROOT = Path(__file__).parent.parent
LOCK = f"{NAME}-lock"
ROUNDS = 50 if os.environ.get("SOAK") else 8


@pytest.fixture
def cluster(capsys: pytest.CaptureFixture[str]) -> Iterator[Rack]:
    """A cluster; whatever a test does, the containers of others are as they were."""
    with rack(capsys) as made:
        yield made
        assert made.touched() == []


def standing(cluster: Rack) -> Rack:
    """The same, once it serves, with a spec that is another by now; nothing was asked of its engines yet."""
    assert cluster.apply("--skip-verify").code == 0
    cluster.spec("2")
    cluster.forget_asked()
    return cluster


def locked(node: Node, status: str, **labels: str) -> Any:
    """A container that is called like the lock."""
    given = {f"ascend-cluster.{name}": text for name, text in labels.items()}
    host = {"AutoRemove": True}
    found = node.engine.adopt(
        {"Name": f"/{LOCK}", "State": {"Running": status == "running"}, "Config": {"Labels": given}, "HostConfig": host}
    )
    found.status = status  # type: ignore[assignment]
    node.others = node.foreign()
    return found


OURS = {"name": NAME, "role": "lock", "who": "root@laptop (process 4711)", "since": "yesterday", "doing": "apply"}
COMMANDS = ("apply", "down")


@pytest.mark.parametrize("command", COMMANDS)
def test_somebody_else_is_at_work(cluster: Rack, command: str) -> None:
    standing(cluster)
    lock = locked(cluster.all[0], "running", **OURS)
    told = cluster.run(command, "--yes")
    assert told.code == 1
    says = "node-0: root@laptop (process 4711) has had the lock since yesterday, for compiler apply"
    assert f"error: {says}\n  = hint: wait for it, with --lock-timeout" in told.err
    assert cluster.changes == ["node-0: POST /containers/create"]
    assert lock.status == "running"


def test_a_lock_that_was_never_started_is_somebodys_for_a_while(cluster: Rack) -> None:
    locked(cluster.all[0], "created", **OURS)
    assert cluster.apply("--skip-verify").code == 1
    cluster.all[0].engine.ahead += AGED
    assert cluster.apply("--skip-verify").code == 0
    assert cluster.wrong() == []


@pytest.mark.parametrize("status", ["created", "running", "exited"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_container_of_somebody_else_that_is_called_like_the_lock(cluster: Rack, command: str, status: str) -> None:
    standing(cluster)
    locked(cluster.all[0], status)
    cluster.all[0].engine.ahead += AGED
    told = cluster.run(command, "--yes")
    assert told.code == 1
    assert f"error: node-0: a container called {LOCK} is there on node-0, made from busybox, and is no lock" in told.err
    assert cluster.changes == ["node-0: POST /containers/create"]


@pytest.mark.parametrize("command", COMMANDS)
def test_waiting_for_the_lock(cluster: Rack, command: str) -> None:
    standing(cluster)
    lock = locked(cluster.all[0], "running", **OURS)
    threading.Timer(0.6, lock.end, (0,)).start()
    told = cluster.run(command, "--yes", "--lock-timeout", "30")
    assert told.code == 0, told.said
    assert 0.5 < told.seconds < 20


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_the_waiting_for_the_lock(cluster: Rack, command: str) -> None:
    standing(cluster)
    locked(cluster.all[0], "running", **OURS)
    threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
    told = cluster.run(command, "--yes", "--lock-timeout", "60")
    assert (told.code, told.seconds < 20) == (130, True), told.said
    assert f"stopped between two steps. To go on: compiler {command} {cluster.file}" in told.err
    assert {asked.partition(" ")[2] for asked in cluster.changes} == {"POST /containers/create"}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_was_shown_is_not_what_is_there_after_waiting(cluster: Rack, command: str) -> None:
    standing(cluster)
    lock = locked(cluster.all[0], "running", **OURS)

    def others() -> None:
        cluster.all[1].engine.world.remove(cluster.all[1].ours[NAME])
        lock.end(0)

    threading.Timer(0.6, others).start()
    told = cluster.run(command, "--yes", "--lock-timeout", "30")
    assert told.code == 1
    assert re.search("error: (plan|look): node-1: the (nodes|containers) have changed since", told.err)
    assert [asked for asked in cluster.changes if LOCK not in asked and not asked.endswith("/create")] == []


def test_a_service_that_was_to_be_ended_has_ended_by_itself_after_waiting(cluster: Rack) -> None:
    standing(cluster)
    lock = locked(cluster.all[0], "running", **OURS)
    service = cluster.service
    assert service is not None

    def ends() -> None:
        service.over = True
        lock.end(0)

    threading.Timer(0.6, ends).start()
    told = cluster.apply("--skip-verify", "--lock-timeout", "30")
    assert "service  restart" in told.out
    assert told.code == 0, told.err
    assert cluster.wrong() == []


def test_a_lock_that_somebody_removes_in_the_middle(cluster: Rack) -> None:
    head = cluster.all[0]

    def removed() -> None:
        head.engine.world.remove(head.ours[LOCK])
        time.sleep(0.3)  # a real start takes as long; what the engine tells of the removal overtakes it

    head.engine.faults.append(Meanwhile(f"POST /containers/{NAME}/start", act=removed))
    told = cluster.apply("--skip-verify")
    assert told.code == 1
    lost = "error: workers: node-0: the lock was taken away: somebody removed its container"
    assert re.search(lost, told.err), told.err
    assert [node.running is not None for node in cluster.all] == [True, False, False]
    cluster.heal()
    assert cluster.apply().code == 0
    assert cluster.wrong() == []


class Applies:
    """A process that applies when it is told to, again and again: to start one each time would take longer."""

    PROGRAM = """
import contextlib, io, json, sys
from compiler.cli import main
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(json.loads(line))
    print(json.dumps([code, said.getvalue()]), flush=True)
"""

    def __init__(self, stack: ExitStack) -> None:
        program = [sys.executable, "-c", self.PROGRAM]
        self.process = stack.enter_context(
            subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout
        stack.callback(self.stdin.close)

    def begin(self, cluster: Rack) -> None:
        self.stdin.write(json.dumps(["apply", str(cluster.file), "--yes", "--skip-verify"]) + "\n")
        self.stdin.flush()

    def end(self) -> tuple[int, str]:
        code, said = json.loads(self.stdout.readline())
        return int(code), str(said)


def test_of_two_at_once_one_wins_and_the_other_says_who(cluster: Rack) -> None:
    """Whoever has the lock waits for Ray until the other one has given up."""
    with ExitStack() as stack:
        two = [Applies(stack) for _ in range(2)]
        for round_ in range(ROUNDS):
            cluster.spec(str(round_))
            over = threading.Event()
            cluster.held = lambda over=over: not over.wait(0)  # type: ignore[misc]
            told: dict[int, tuple[int, str]] = {}

            def wait(index: int, told: dict[int, tuple[int, str]] = told, over: threading.Event = over) -> None:
                told[index] = two[index].end()
                over.set()

            threads = [threading.Thread(target=wait, args=(index,)) for index in range(2)]
            for each, thread in zip(two, threads, strict=True):
                each.begin(cluster)
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(code for code, _ in told.values()) == [0, 1], told
            winner, loser = sorted(told, key=lambda index: told[index][0])
            assert f"(process {two[winner].process.pid}) has had the lock since" in told[loser][1]
            assert cluster.wrong() == []
