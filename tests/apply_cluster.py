"""An emulated cluster for the commands that change one: engines with foreign containers on them, Ray, and a service.

Ray and the service run nowhere: they are worked out of the containers that run on the engines. What inside.py and
serve.sh would say in a container is said here; tests/rig/test_applied.py has the real ones.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import clusters
from engine_faults import Fault
from engine_said import STDERR, STDOUT
from processes import until

from compiler import cli
from compiler.compile import compile_spec
from compiler.container import definition
from compiler.creation import creation
from compiler.engine_guest import SCRIPT
from compiler.inside import SERVE, SERVE_LOG
from compiler.plan import LABEL_PREFIX
from compiler.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    from engine_api import Answer, Engine, Parts
    from engine_container import Container, Exec
    from engine_faults import Alive

    from compiler.plan import NodePlan, Plan

NAME = "emulated"
NPUS = 8
MOMENT = 0.02  # seconds between two looks of a program in a container
GRACE = 1.0  # seconds in which a serve.sh that was started must have come up
AGED = 61  # seconds after which what nobody started is nobody's
OF_IMAGE: dict[str, Any] = {"Env": ["FROM=image"], "Labels": {"maintainer": "somebody"}}
TIMEOUTS = {"ray_join": 4, "serve_ready": 6, "stop": 1}
OTHERS: tuple[tuple[str, bool, dict[str, str]], ...] = (
    ("training", True, {}),
    ("resting", False, {}),
    ("theirs", True, {f"{LABEL_PREFIX}name": "another"}),
)


@dataclass(eq=False)
class Meanwhile(Fault):
    """While this is asked, something else happens; it is done all the same."""

    act: Callable[[], object] = lambda: None

    def before(self, engine: Engine, alive: Alive) -> None:
        del engine, alive
        self.act()


class Told(NamedTuple):
    """How a command ended, what it said, and how long it took in seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return self.out + self.err


class Node(clusters.Node):
    """One emulated node, with containers of others on it."""

    def __init__(self, index: int, socket: Path, execute: Callable[[Node, Exec], Answer | Parts]) -> None:
        super().__init__(index, socket)
        self.engine.execute = lambda this: execute(self, this)
        self.engine.images[clusters.IMAGE]["Config"] = OF_IMAGE
        for name, running, labels in OTHERS:
            state, config = {"Running": running}, {"Labels": labels}
            self.engine.adopt({"Id": f"{name}-{index}", "Name": f"/{name}", "State": state, "Config": config})
        self.others = self.foreign()

    def foreign(self) -> dict[str, object]:
        """All containers that are not this cluster's, with what would change if somebody touched them."""
        there = self.engine.containers.values()
        foreign = [each for each in there if each.labels.get(f"{LABEL_PREFIX}name") != NAME]
        return {each.name: (each.id, each.status, each.started, each.ends) for each in foreign}

    @property
    def ours(self) -> dict[str, Container]:
        """The containers of the cluster, by name."""
        there = self.engine.containers.values()
        return {each.name: each for each in there if each.labels.get(f"{LABEL_PREFIX}name") == NAME}

    @property
    def running(self) -> Container | None:
        """The cluster's container, when it runs."""
        found = self.ours.get(NAME)
        return found if found and found.status == "running" else None

    def come_back(self, *, live_restore: bool = False) -> None:
        """Its engine comes back; what becomes of the others' containers by that is no fault of ours."""
        self.engine.come_back(live_restore=live_restore)
        self.others = self.foreign()


class Service:
    """A serve.sh: it waits for Ray, loads for a while, answers, and ends with a container that it needs."""

    def __init__(self, head: Container, log: Path, pid: int, command: list[str]) -> None:
        self.log = log
        self.pid = pid
        self.command = command
        self.began = time.monotonic()
        self.needs: list[Callable[[], bool]] = [head.attached()]
        self.placed = False
        self.over = False

    @property
    def lives(self) -> bool:
        self.over = self.over or not all(alive() for alive in self.needs)
        return not self.over

    def say(self, line: str) -> None:
        """Adds a line to its log."""
        with self.log.open("a") as file:
            file.write(f"{line}\n")


class Rack:
    """The nodes, what runs on them, and the spec.

    Attributes:
        loads: Seconds that the service takes to load.
        fault: What a completion fails with; empty for one that comes.
        held: Waited for by whoever waits for Ray.
        mixed: Containers that were started while another generation's ran, on nodes of the spec.
    """

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
        self.capsys = capsys
        self._folder = folder
        self.file = folder / "cluster.yaml"
        self.all = [Node(index, folder / str(index), self._execute) for index in range(count)]
        self.nodes = self.all
        self.loads, self.fault = 0.05, ""
        self.held: Callable[[], bool] = lambda: False
        self.mixed: list[str] = []
        self.services: list[Service] = []
        self._joined: dict[object, object] = {}
        self._lock = threading.RLock()
        for node in self.all:
            node.engine.started = self._started
        self.spec()

    # ---- What a test does ----------------------------------------------------------------------------------

    def spec(self, generation: str = "1", nodes: list[Node] | None = None, **more: Any) -> None:
        """Writes the spec: `generation` is a variable of all containers."""
        self.nodes = nodes or self.all
        environment = {"GENERATION": generation}
        self.file.write_bytes(clusters.spec(self.nodes, env=environment, timeouts=TIMEOUTS, **more))  # type: ignore[arg-type]

    def run(self, command: str, *options: str) -> Told:
        """Runs a command in this process."""
        self.capsys.readouterr()
        began = time.monotonic()
        code = cli.main([command, str(self.file), *options])
        seconds = time.monotonic() - began
        return Told(code, *self.capsys.readouterr(), seconds)

    def apply(self, *options: str) -> Told:
        """Applies the spec, and asks nobody."""
        return self.run("apply", "--yes", *options)

    @property
    def plan(self) -> Plan:
        """What the spec means."""
        compiled = compile_spec([Source(str(self.file), self.file.read_bytes())], "reach")
        assert compiled.plan is not None
        return compiled.plan

    @property
    def changes(self) -> list[str]:
        """What was asked of any engine that may have changed something."""
        return [f"{node.name}: {asked}" for node in self.all for asked in node.engine.changes]

    def forget_asked(self) -> None:
        """From now on, what is asked is counted anew."""
        for node in self.all:
            node.engine.asked.clear()
            node.engine.door.most = node.engine.door.open_now

    def heal(self) -> None:
        """Every engine is well again."""
        for node in self.all:
            node.engine.faults.clear()
            if not node.engine.door.listens:
                node.come_back()

    def later(self) -> None:
        """Lets time pass: what hung before is done, guests have ended by themselves, and what was forsaken is old."""
        until(lambda: not any(node.engine.door.open_now for node in self.all))
        for node in self.all:
            node.engine.ahead += AGED
            for guest in [each for name, each in node.ours.items() if "-verify-" in name and each.running]:
                guest.end(0)

    # ---- What must be --------------------------------------------------------------------------------------

    def wrong(self, *, serves: bool = True, without: tuple[str, ...] = ()) -> list[str]:
        """Each difference to what the spec says; on the nodes in `without`, nothing is to be."""
        plan = self.plan
        planned = {node.name: node for node in plan.nodes if node.name not in without}
        found = [text for node in self.all for text in _wrong(node, planned.get(node.name), plan)]
        if serves and (self.service is None or tuple(self.service.command) != plan.serve.command):
            found.append("nothing is served as planned")
        if serves and sum(each.lives for each in self.services) > 1:
            found.append("more than one service lives")
        return [*found, *self.touched(), *(f"mixed: {each}" for each in self.mixed)]

    def touched(self) -> list[str]:
        """Containers of others to which something was done."""
        return [
            f"{node.name}: touched: {node.others} {now}" for node in self.all if (now := node.foreign()) != node.others
        ]

    # ---- What runs -----------------------------------------------------------------------------------------

    @property
    def service(self) -> Service | None:
        """The service that lives."""
        with self._lock:
            found = next((each for each in self.services if each.lives), None)
            if found and not found.placed and self._as_planned():
                found.needs += [node.running.attached() for node in self.nodes[1:] if node.running]
                found.placed = True
            return found

    @property
    def answer(self) -> dict[str, Any] | None:
        """What a completion leads to; None while nobody listens."""
        found = self.service
        if found is None or not found.placed or time.monotonic() - found.began < self.loads:
            return None
        return {"status": 500 if self.fault else 200, "fault": self.fault, "seconds": 0.1}

    def ray(self) -> list[dict[str, Any]]:
        """Ray's nodes: the head's container, and each worker's that has joined this very head."""
        with self._lock:
            head = self.nodes[0].running
            if head is None:
                return []
            there = [node for node in self.all if node.running and self._has_joined(node, (head.id, head.ends))]
            return [{"id": node.name, "address": node.address, "npus": NPUS, "gpus": 0} for node in there]

    def _has_joined(self, node: Node, head: object) -> bool:
        own = node.running
        return own is not None and self._joined.setdefault((own.id, own.ends), head) == head

    def _as_planned(self) -> bool:
        return {each["address"] for each in self.ray()} == {node.address for node in self.nodes}

    def _started(self, started: Container) -> None:
        """Old containers never run beside the new."""
        if started.labels.get(f"{LABEL_PREFIX}role") not in ("head", "worker"):
            return
        generation = started.environment.get("GENERATION")
        running = [each for node in self.nodes for each in node.ours.values() if each.running]
        old = [each for each in running if each.environment.get("GENERATION") not in (None, generation)]
        self.mixed += [f"{each.name} {each.id[:12]} ran when {started.id[:12]} was started" for each in old]

    # ---- What is said in a container -----------------------------------------------------------------------

    def _execute(self, node: Node, this: Exec) -> Answer | Parts:
        programs: dict[str, Callable[[Container, dict[str, Any]], Answer | Parts]]
        words, container = this.command, this.container
        if SCRIPT in container.files:  # a guest, in which verify.sh is run
            return node.run(words, container.files[SCRIPT].content.decode())
        if words[:1] == ["timeout"] and "python3" in words:
            settings = json.loads(words[-1])
            programs = {"see": self._see, "join": self._join, "ready": self._ready, "stop": self._stop}
            return programs[words[-2]](container, settings)
        if words[-1].endswith(f"exec bash {SERVE} >{SERVE_LOG} 2>&1 </dev/null"):
            return self._serve(container)
        if SERVE_LOG in words:  # it is read by real programs
            words = [str(self._log(container)) if word == SERVE_LOG else word for word in words]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        return 0, "", ""

    def _log(self, container: Container) -> Path:
        """Where the container's log of the service really is."""
        return self._folder / f"{container.id}.log"

    def _see(self, container: Container, _: dict[str, Any]) -> Answer:
        found = self.service if container is self.nodes[0].running else None
        served = found and {"pid": found.pid, "command": found.command}
        return 0, json.dumps({"service": served, "answer": self.answer, "nodes": self.ray(), "fault": ""}), ""

    def _join(self, _: Container, settings: dict[str, Any]) -> Parts:
        deadline = time.monotonic() + settings["seconds"]
        while self.held() or not self._as_planned():
            yield STDERR, json.dumps({"nodes": self.ray(), "fault": ""}) + "\n", MOMENT
            if time.monotonic() > deadline and not self.held():
                yield STDOUT, json.dumps({"nodes": self.ray(), "fault": "", "inside": {}, "group": ""}), 0
                return 0
        there = {node.address: node.running for node in self.nodes}
        seen = {
            address: {
                "environment": {name: own.environment.get(name) for name in settings["names"]},
                "ray": "2.48.0",
                "python": "3.11.13",
                "mark": True,
            }
            for address, own in there.items()
            if own
        }
        yield STDERR, json.dumps({"workers": len(seen)}) + "\n", 0
        yield STDOUT, json.dumps({"nodes": self.ray(), "fault": "", "inside": seen, "group": ""}), 0
        return 0

    def _ready(self, container: Container, settings: dict[str, Any]) -> Parts:
        began, said = time.monotonic(), 0
        while time.monotonic() - began < settings["seconds"]:
            lines = self._log(container).read_text().splitlines() if self._log(container).exists() else []
            for line in lines[said:]:
                yield STDERR, f"| {line}\n", 0
            said = len(lines)
            if self.answer:
                yield STDOUT, json.dumps({"ready": not self.fault, "ended": False, "answer": self.answer}), 0
                return 0
            if self.service is None and time.monotonic() - began > GRACE:
                yield STDOUT, json.dumps({"ready": False, "ended": True, "answer": None}), 0
                return 0
            yield STDERR, "\n", MOMENT
        yield STDOUT, json.dumps({"ready": False, "ended": False, "answer": None}), 0
        return 0

    def _stop(self, _: Container, __: dict[str, Any]) -> Answer:
        found = self.service
        if found:
            found.over = True
        return 0, json.dumps({"was": found.pid if found else None}), ""

    def _serve(self, container: Container) -> Answer:
        """What serve.sh does: it keeps the log of before, and leaves one that serves alone."""
        log = self._log(container)
        if log.exists():
            log.rename(f"{log}.1")
        with self._lock:
            before = self.service
            made = Service(container, log, container.world.pid(), _command(container.files[SERVE].content.decode()))
            if before is None:
                self.services.append(made)
        made.say(f"serve.sh: process {before.pid} of this container serves already" if before else "INFO: loading")
        return int(before is not None), "", ""


def _command(script: str) -> list[str]:
    """The words of `vllm serve` that serve.sh notes in its lock, as JSON."""
    line = next(line for line in script.splitlines() if line.startswith("printf '%s\\n%s\\n' \"$$\" "))
    words: list[str] = json.loads(shlex.split(line)[3])
    return words


def _wrong(node: Node, planned: NodePlan | None, plan: Plan) -> Iterator[str]:
    there = dict(node.ours)
    own = there.pop(NAME, None)
    if planned is None:
        if own:
            yield f"{node.name}: {NAME} is there"
    elif own is None or own.status != "running":
        yield f"{node.name}: {NAME} does not run"
    else:
        yield from (f"{node.name}: {text}" for text in _other(own, planned, plan))
    yield from (f"{node.name}: {name} is left, {each.status}" for name, each in there.items())
    noted = [json.loads(each["Labels"][f"{LABEL_PREFIX}members"]) for each in node.engine.world.volumes.values()]
    is_head = planned is not None and planned.is_head
    members = [[[each.name, each.address, each.docker] for each in plan.nodes]] if is_head else []
    if [sorted(each) for each in noted] != [sorted(each) for each in members]:
        yield f"{node.name}: noted is {noted}, not {members}"


def _other(own: Container, planned: NodePlan, plan: Plan) -> Iterator[str]:
    """In what a container is not what would be created of the spec."""
    body = creation(definition(plan.container, plan.timeouts, planned), {})
    config = {**body, "Env": [*body["Env"], *OF_IMAGE["Env"]], "Labels": {**OF_IMAGE["Labels"], **body["Labels"]}}
    for key in ("Image", "Cmd", "Env", "Labels"):
        if own.config[key] != config[key]:
            yield f"{key} is {own.config[key]}, not {config[key]}"
    for key in ("Devices", "ShmSize", "Ulimits", "Init", "Privileged", "NetworkMode"):
        if own.host[key] != body["HostConfig"][key]:
            yield f"{key} is {own.host[key]}, not {body['HostConfig'][key]}"
    mounts = [(each["Source"], each["Destination"]) for each in own.mounts]
    if mounts != [(each["Source"], each["Target"]) for each in body["HostConfig"]["Mounts"]]:
        yield f"other mounts: {mounts}"


@contextmanager
def rack(capsys: pytest.CaptureFixture[str], count: int = 3) -> Iterator[Rack]:
    """A cluster on whose engines nothing of it is yet."""
    folder = Path(tempfile.mkdtemp(prefix="rack-"))  # short: a socket's path has 107 bytes at most
    try:
        with ExitStack() as stack:
            made = Rack(folder, capsys, count)
            for node in made.all:
                stack.enter_context(node.engine)
            yield made
    finally:
        shutil.rmtree(folder)
