"""Asks the program templates/container/inside.py in the head's container, and reads what it tells as values."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from compiler.clean import one_line
from compiler.engine_fault import EngineFault
from compiler.packaged import packaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from compiler.engine import Engine
    from compiler.engine_look import Looking, Outcome
    from compiler.plan import Plan

Told = TypeVar("Told")
SERVE = "/tmp/serve.sh"  # noqa: S108 - in the container; where serve.sh itself puts it, too
SERVE_LOG = "/var/log/ascend-cluster/serve.log"
_SETTINGS = "/tmp/ascend-cluster.json"  # noqa: S108 - in the container
_MARK = "\x1e"  # before the result: Ray prints on stdout what it wants to be seen
_LONGEST_WORD = 100_000  # bytes; the kernel takes 131,071: MAX_ARG_STRLEN of execve(2)
ANSWER_SECONDS = 30  # for one token; a service under load answers within seconds
FIRST_ANSWER_SECONDS = 300  # the first request of all may have to wait for a compilation


class RayNode(NamedTuple):
    """A node that lives, as Ray has it."""

    address: str
    npus: float
    gpus: float


class Completion(NamedTuple):
    """What one request for one token led to.

    Attributes:
        status: The HTTP status; 0 without a reply, -1 when there was none in time.
        fault: Why it is no completion; empty when it is one.
        seconds: How long it took.
    """

    status: int
    fault: str
    seconds: float


class Running(NamedTuple):
    """A serve.sh, or the vLLM that it became.

    Attributes:
        pid: Its process in the head's container.
        command: The words of its `vllm serve`; empty when it was started by an older serve.sh.
        answer: What it answers, or None while it does not listen yet.
    """

    pid: int
    command: tuple[str, ...]
    answer: Completion | None


class View(NamedTuple):
    """What the head's container sees.

    Attributes:
        service: What is served, or None.
        nodes: Ray's living nodes.
        fault: Why Ray does not answer; empty when it does.
    """

    service: Running | None
    nodes: tuple[RayNode, ...]
    fault: str


class Worker(NamedTuple):
    """What a worker process on a node sees.

    Attributes:
        environment: Its value of each planned variable.
        ray: The version of Ray.
        python: The version of Python.
        mark: The head's mark in the cache is there.
        fault: Why it could not be asked.
    """

    environment: Mapping[str, str | None]
    ray: str = ""
    python: str = ""
    mark: bool = False
    fault: str = ""


class Joined(NamedTuple):
    """How waiting for Ray ended.

    Attributes:
        nodes: Ray's living nodes.
        fault: Why Ray does not answer; empty when it does.
        workers: What a worker on each node sees, by its address; empty when the nodes are not as planned.
        group: Why a placement group for the model cannot be had; empty when it can, or the model has it.
    """

    nodes: tuple[RayNode, ...]
    fault: str
    workers: Mapping[str, Worker]
    group: str


class Ready(NamedTuple):
    """How waiting for the service ended.

    Attributes:
        ready: It answered a completion.
        ended: Nothing serves any more.
        answer: The last answer, if any.
    """

    ready: bool
    ended: bool
    answer: Completion | None


def see(engine: Looking, container: str, plan: Plan, heard: Callable[[str], None]) -> View:
    """What is served and whether it answers, and which nodes Ray has; changes nothing.

    Raises:
        EngineFault: The engine did not do it, or the program said something else.
    """
    settings = _common(plan) | {"answer_seconds": ANSWER_SECONDS}
    ended = _run(engine, container, ("see", json.dumps(settings)), heard, 2 * ANSWER_SECONDS + 60)
    return _read(container, ended, _view)


def _view(told: Mapping[str, Any]) -> View:
    found = told["service"]
    service = found and Running(int(found["pid"]), tuple(map(str, found["command"])), _completion(told["answer"]))
    return View(service or None, ray_nodes(told), str(told["fault"]))


def join(engine: Engine, container: str, plan: Plan, mark: str, heard: Callable[[Mapping[str, Any]], None]) -> Joined:
    """Waits until Ray has the planned nodes with the planned NPUs, then looks from a worker on each; see Joined.

    Args:
        engine: The head's.
        container: The head's container.
        plan: The cluster.
        mark: A word that no other run has.
        heard: Gets what Ray has, again and again.

    Raises:
        EngineFault: The engine did not do it, or the program said something else.
    """
    limit, worker_seconds, group_seconds = plan.timeouts.ray_join, 120, 60
    settings = _common(plan) | {
        "seconds": limit,
        "worker_seconds": worker_seconds,
        "group_seconds": group_seconds,
        "npus": {node.address: len(node.shape.npus) for node in plan.nodes},
        "bundles": plan.parallelism.tensor * plan.parallelism.pipeline,
        "names": sorted({name for node in plan.nodes for name, _ in node.shape.variables}),
        "mark": f"/root/.cache/.ascend-cluster-{mark}",
    }
    words = ("join", _given(engine, container, json.dumps(settings)))

    def line(text: str) -> None:
        try:
            told = json.loads(text)
        except ValueError:  # a warning of Ray's
            return
        if isinstance(told, dict):
            heard(told)

    ended = _run(engine, container, words, line, limit + worker_seconds + group_seconds + 60)
    return _read(container, ended, _joined)


def _joined(told: Mapping[str, Any]) -> Joined:
    inside = {str(address): _worker(each) for address, each in told["inside"].items()}
    return Joined(ray_nodes(told), str(told["fault"]), inside, str(told["group"]))


def ready(engine: Engine, container: str, plan: Plan, heard: Callable[[str], None]) -> Ready:
    """Follows the service until it answers a completion, or has ended, or its time is over.

    Args:
        engine: The head's.
        container: The head's container.
        plan: The cluster.
        heard: Gets each line of serve.sh's log, and now and then nothing.

    Raises:
        EngineFault: The engine did not do it, or the program said something else.
    """
    settings = _common(plan) | {
        "seconds": plan.timeouts.serve_ready,
        "answer_seconds": FIRST_ANSWER_SECONDS,
        "start_seconds": 10,
        "failures": 3,
        "log": SERVE_LOG,
    }
    limit = plan.timeouts.serve_ready + FIRST_ANSWER_SECONDS + 60

    def line(text: str) -> None:
        heard(text.removeprefix("| "))

    return _read(container, _run(engine, container, ("ready", json.dumps(settings)), line, limit), _ready)


def _ready(told: Mapping[str, Any]) -> Ready:
    return Ready(bool(told["ready"]), bool(told["ended"]), _completion(told["answer"]))


def stop(engine: Engine, container: str, plan: Plan, heard: Callable[[str], None]) -> int | None:
    """Ends the service and gives the process that it was, or None when there was none.

    Raises:
        EngineFault: The engine did not do it, or the program said something else.
    """
    seconds = plan.timeouts.stop
    words = ("stop", json.dumps({"seconds": seconds}))
    return _read(container, _run(engine, container, words, heard, seconds + 60), _was)


def _was(told: Mapping[str, Any]) -> int | None:
    return None if told["was"] is None else int(told["was"])


def serve(engine: Engine, container: str, script: bytes) -> None:
    """Starts serve.sh in the head's container and leaves it to itself; its log of before is kept as `serve.log.1`.

    Raises:
        EngineFault: The engine did not do it.
    """
    engine.put(container, {SERVE: script})
    folder = SERVE_LOG.rpartition("/")[0]
    keep = f"mkdir -p {folder} && if [ -e {SERVE_LOG} ]; then mv {SERVE_LOG} {SERVE_LOG}.1; fi"
    engine.run_apart(container, ("bash", "-c", f"{keep} && exec bash {SERVE} >{SERVE_LOG} 2>&1 </dev/null"))


def _common(plan: Plan) -> dict[str, Any]:
    return {"gcs": [plan.head.address, plan.ports.ray], "port": plan.serve.port, "model": plan.serve.served_name}


def _given(engine: Engine, container: str, settings: str) -> str:
    """The settings as a word; those of a large cluster are longer than a word can be."""
    if len(settings.encode()) < _LONGEST_WORD:
        return settings
    engine.put(container, {_SETTINGS: settings.encode()})
    return f"@{_SETTINGS}"


def _run(engine: Looking, container: str, words: Sequence[str], heard: Callable[[str], None], seconds: int) -> Outcome:
    program = packaged("templates", "container/inside.py").decode()
    command = ("timeout", "--kill-after=5", str(seconds), "python3", "-c", program, *words)
    return engine.run(container, command, heard)


def _read(container: str, ended: Outcome, read: Callable[[Mapping[str, Any]], Told]) -> Told:
    """What it told, as `read` makes a value of it; what cannot be read was not said by our program."""
    with suppress(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return read(json.loads(ended.out.rpartition(_MARK)[2].partition("\n")[0]))
    said = one_line((ended.err.strip() or ended.out).rpartition("\n")[2])
    raise EngineFault(
        "look from inside",
        f"it ended with status {ended.status}: {said or 'no word'}",
        f"see what runs there: docker logs {container}",
    )


def ray_nodes(told: Mapping[str, Any]) -> tuple[RayNode, ...]:
    """Ray's living nodes, of what the program tells."""
    nodes = (RayNode(str(each["address"]), float(each["npus"]), float(each["gpus"])) for each in told["nodes"])
    return tuple(sorted(nodes))


def _completion(told: Mapping[str, Any] | None) -> Completion | None:
    return Completion(int(told["status"]), one_line(str(told["fault"])), float(told["seconds"])) if told else None


def _worker(told: Mapping[str, Any]) -> Worker:
    if told.get("fault"):
        return Worker({}, fault=one_line(str(told["fault"])))
    return Worker(dict(told["environment"]), str(told["ray"]), str(told["python"]), bool(told["mark"]))
