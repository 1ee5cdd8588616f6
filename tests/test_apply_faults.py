"""Whatever goes wrong at whatever point of `apply` and `down`: they end, say where, and the same command repairs.

By default a sample of the points; SOAK=1 takes every one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from apply_cluster import Meanwhile, rack
from engine_answers import Cut
from engine_faults import FULL, Cuts, Dies, Fault, Hangs, Late, fails
from processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from apply_cluster import Rack, Told
    from engine_api import Engine
    from engine_faults import Alive

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
ROOT = Path(__file__).parent.parent
SOAK = bool(os.environ.get("SOAK"))
BACK_SECONDS = 0.05
PRESS_SECONDS = 0.3
STEP = r"[a-z ]+: "
NODES = r"([\w-]+, )*{node}(, [\w-]+)*: "
ERROR = rf"^(error: {STEP}{NODES}|(error|  ! in the way): {NODES}{STEP})"


# ---- What is done, and what goes wrong ----------------------------------------------------------------------


class Scene(NamedTuple):
    """A command, and what it finds.

    Attributes:
        before: Makes what is there.
        command: The command.
        gone: Names of nodes that are to have nothing in the end.
    """

    before: Callable[[Rack], object]
    command: str = "apply"
    gone: tuple[str, ...] = ()

    def run(self, cluster: Rack, *options: str) -> Told:
        return cluster.run(self.command, "--yes", *options)

    def wrong(self, cluster: Rack) -> list[str]:
        return cluster.wrong(serves=self.command == "apply", without=self.gone)


def standing(cluster: Rack) -> None:
    assert cluster.apply("--skip-verify").code == 0


def changed(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec("2")


def fewer(cluster: Rack) -> None:
    standing(cluster)
    cluster.spec("2", cluster.all[:2])


SCENES = {
    "first": Scene(lambda _: None),
    "changed": Scene(changed),
    "fewer": Scene(fewer),
    "down": Scene(standing, "down", ("node-0", "node-1", "node-2")),
}


class Restarts(Dies):
    """The engine dies and is back at once; its containers live on."""

    def before(self, engine: Engine, alive: Alive) -> None:
        del alive
        engine.die()
        time.sleep(BACK_SECONDS)
        engine.come_back(live_restore=True)
        raise Cut


QUICK: dict[str, Callable[[int], Fault]] = {
    "cut off": lambda point: Cuts("", point, 1),
    "done and cut off": lambda point: Cuts("", point, 1, done=True),
    "full": lambda point: fails("", FULL, after=point, times=1),
    "dies": lambda point: Dies("", point, 1),
    "done and dies": lambda point: Dies("", point, 1, done=True),
    "restarts": lambda point: Restarts("", point, 1),
}
SILENT: dict[str, Callable[[int], Fault]] = {
    "hangs": lambda point: Hangs("", point),
    "done and hangs": lambda point: Late("", point),
}


ASKED: dict[tuple[str, int], list[str]] = {}


def points(name: str, node: int, stride: int, first: int, capsys: pytest.CaptureFixture[str]) -> dict[int, str]:
    """What is asked of a node when all is well: every so-manieth question, or every one."""
    if (name, node) not in ASKED:
        with rack(capsys) as cluster:
            SCENES[name].before(cluster)
            cluster.forget_asked()
            told = SCENES[name].run(cluster)
            assert (told.code, SCENES[name].wrong(cluster)) == (0, []), told.said
            ASKED[name, node] = list(cluster.all[node].engine.asked)
    asked = ASKED[name, node]
    return dict(enumerate(asked)) if SOAK else {at: asked[at] for at in range(first % stride, len(asked), stride)}


def harmed(scene: Scene, node: int, fault: Fault, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """What is wrong with how it ends, and with what the same command makes of it thereafter."""
    with rack(capsys) as cluster:
        scene.before(cluster)
        cluster.all[node].engine.faults.append(fault)
        told = scene.run(cluster, *options)
        bad = ended_badly(told, cluster.all[node].name)
        if isinstance(fault, Restarts):
            until(lambda: cluster.all[node].engine.door.listens)
        cluster.heal()
        cluster.later()
        again = scene.run(cluster)
        bad += [again.said] if again.code else []
        return [*bad, *scene.wrong(cluster)]


def ended_badly(told: Told, node: str) -> list[str]:
    """It took too long, failed in a way that is none, or did not say where and at what."""
    bad = [] if told.seconds < 12 else [f"it took {told.seconds:.0f} s"]
    if told.code not in (0, 1) or "Traceback" in told.said:
        bad.append(f"{told.code}: {told.said}")
    if told.code == 1 and not re.search(ERROR.format(node=node), told.said, re.MULTILINE):
        bad.append(f"it does not say that it was {node}: {told.said}")
    return bad


# ---- Every point --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", QUICK)
@pytest.mark.parametrize("node", [0, 2], ids=["head", "worker"])
@pytest.mark.parametrize("scene", SCENES)
def test_an_engine_that_fails(scene: str, node: int, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = 5 * list(QUICK).index(kind)
    for at, asked in points(scene, node, 29, first, capsys).items():
        assert harmed(SCENES[scene], node, QUICK[kind](at), capsys) == [], f"at question {at}, {asked}"


@pytest.mark.parametrize("kind", SILENT)
@pytest.mark.parametrize(("scene", "node"), [("first", 0), ("changed", 0), ("changed", 2)])
def test_an_engine_that_says_nothing_any_more(
    scene: str, node: int, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.engine_look.SILENT_SECONDS", 1)
    first = 20 * list(SILENT).index(kind) + 14
    for at, asked in points(scene, node, 53, first, capsys).items():
        bad = harmed(SCENES[scene], node, SILENT[kind](at), capsys, "--timeout", "2")
        assert bad == [], f"at question {at}, {asked}"


# ---- Interrupts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [0, 2], ids=["head", "worker"])
@pytest.mark.parametrize("scene", SCENES)
def test_ctrl_c(scene: str, node: int, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends between two steps, and needs no time to pass before it goes on."""
    for at, asked in points(scene, node, 31, 7, capfd).items():
        with rack(capfd) as cluster:
            SCENES[scene].before(cluster)
            pressed = Meanwhile("", at, 1, act=partial(os.kill, os.getpid(), signal.SIGINT))
            cluster.all[node].engine.faults.append(pressed)
            told = SCENES[scene].run(cluster)
            assert told.code == 130 or (told.code == 0 and SCENES[scene].wrong(cluster) == []), f"{at}, {asked}: {told}"
            assert "SIGINT: finishing what runs" in told.err
            assert (told.code == 130) == (f"To go on: compiler {SCENES[scene].command} " in told.err)
            assert not any("-verify-" in name or name.endswith("-lock") for each in cluster.all for name in each.ours)
            cluster.heal()
            again = SCENES[scene].run(cluster)
            assert (again.code, SCENES[scene].wrong(cluster)) == (0, []), f"{at}, {asked}: {again.said}"


@dataclass(eq=False)
class Pressed(Hangs):
    """It stands still, and whoever runs it presses Ctrl-C twice.

    Attributes:
        pid: The process that is asked to end.
        last: When it was asked the second time.
    """

    pid: int = 0
    last: float = 0.0

    def before(self, engine: Engine, alive: Alive) -> None:
        if self.met == 1:
            threading.Thread(target=self._press).start()
        super().before(engine, alive)

    def _press(self) -> None:
        for _ in range(2):
            time.sleep(PRESS_SECONDS)
            os.kill(self.pid, signal.SIGINT)
        self.last = time.monotonic()


PRESSED = [
    (0, "/emulated-lock/attach"),
    (0, "/emulated-verify-.*/start"),
    (2, "/emulated-verify-.*/start"),
    (2, "/emulated-next/rename"),
    (0, "/containers/emulated/exec"),
]


@pytest.mark.parametrize(("node", "asked"), PRESSED)
def test_a_second_ctrl_c_ends_at_once(node: int, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with rack(capsys) as cluster:
        fault = Pressed(asked)
        cluster.all[node].engine.faults.append(fault)
        with apart(cluster) as running:
            fault.pid = running.pid
            _, err = running.communicate(timeout=60)
        assert time.monotonic() - fault.last < 6
        assert (running.returncode, err.splitlines()[-1]) == (130, "interrupted"), err
        goes_on(cluster)


# ---- Killed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
def test_killed(scene: str, capsys: pytest.CaptureFixture[str]) -> None:
    for at, asked in points(scene, 0, 37, 14, capsys).items():
        with rack(capsys) as cluster:
            SCENES[scene].before(cluster)
            with apart(cluster, SCENES[scene].command) as running:
                cluster.all[0].engine.faults.append(Meanwhile("", at, 1, act=running.kill))
                running.communicate(timeout=60)
            assert running.returncode == -signal.SIGKILL, asked
            goes_on(cluster, SCENES[scene])


def apart(cluster: Rack, command: str = "apply") -> subprocess.Popen[str]:
    """The command in a process of its own."""
    program = [sys.executable, "-m", "compiler", command, str(cluster.file), "--yes"]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def goes_on(cluster: Rack, scene: Scene = SCENES["first"]) -> None:
    """The same command again, a while later, ends as if nothing had been."""
    cluster.heal()
    cluster.later()
    again = scene.run(cluster)
    assert (again.code, scene.wrong(cluster)) == (0, []), again.said
