"""Waits for Ray and for the service: bounded, with words for what is missing, and with the logs when it failed."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from compiler import inside
from compiler.course import Line, Noted, Now
from compiler.crew import Done, Step
from compiler.decide import Fault
from compiler.fleet import Stopped
from compiler.gather import failed
from compiler.guest import ended_by
from compiler.joined import from_inside, structure
from compiler.steps import on_all, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from compiler.course import Event
    from compiler.engine import Engine
    from compiler.fleet import Fleet
    from compiler.inside import Joined, Ready
    from compiler.plan import Plan

WATCH_SECONDS = 3  # between two looks at whether the containers still run, while Ray is awaited
_FOR_WORKERS = 400  # seconds, beside those for joining: a worker on each node, and a placement group


def in_ray(fleet: Fleet[Engine], plan: Plan, running: Mapping[str, str]) -> Iterator[Event]:
    """Ray has the planned nodes and NPUs, and its workers see what was planned.

    Args:
        fleet: The engines.
        plan: The cluster.
        running: The container of each node.

    Raises:
        Failed: It has not, within `timeouts.ray_join`.
    """
    with timed(fleet, "ray", f"wait for {plan.size_text}, up to {plan.timeouts.ray_join} s") as step:
        yield step.began
        joined = yield from _joined(fleet, plan, running)
        faults = list(structure(plan, joined.nodes))
        if joined.fault:
            faults = [_of_head(plan, f"Ray does not answer: {joined.fault}")]
        if not faults:
            faults = list(from_inside(plan, joined))
        if faults:
            yield from failed(fleet, plan, running, "ray", faults)
        yield Noted("", f"Ray has {plan.size_text}; a worker on each node sees the planned environment")
        yield step.ended


def _joined(fleet: Fleet[Engine], plan: Plan, running: Mapping[str, str]) -> Generator[Event, None, Joined]:
    """Waits for Ray; a container that ends meanwhile ends the waiting."""
    head = plan.head.name
    watched = time.monotonic()

    def join(_: str, engine: Engine, tell: Callable[[str], None]) -> Joined:
        tell("ask Ray")
        word = secrets.token_hex(8)
        return inside.join(engine, running[head], plan, word, lambda news: tell(_waiting(plan, news)))

    limit = plan.timeouts.ray_join + _FOR_WORKERS
    for news in fleet.each([head], join, seconds=limit):
        if isinstance(news, Step):
            yield Now(news.node, news.text)
            if time.monotonic() - watched > WATCH_SECONDS:
                yield from _alive(fleet, plan, running)
                watched = time.monotonic()
        elif news.result is not None:
            return news.result
        else:
            yield from failed(fleet, plan, running, "ray", [_of_done(news, limit)])
    raise AssertionError("a node's work always ends")


def _waiting(plan: Plan, news: Mapping[str, Any]) -> str:
    """What is missing, of what Ray has."""
    if "workers" in news:
        return f"look from a worker on each node: {news['workers']} of {len(plan.nodes)}"
    if news.get("fault"):
        return f"Ray does not answer yet: {news['fault']}"
    faults = list(structure(plan, inside.ray_nodes(news)))
    if not faults:
        return "Ray is as planned"
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"wait for {faults[0].node or 'the planned nodes'}: {faults[0].text}{more}"


def _alive(fleet: Fleet[Engine], plan: Plan, running: Mapping[str, str]) -> Iterator[Event]:
    """Fails when a worker's container has ended."""

    def state(name: str, engine: Engine, _: Callable[[str], None]) -> str:
        there = engine.container(running[name])
        return "is gone" if there is None else "" if there.running else f"has {there.state.text}"

    workers = [node.name for node in plan.workers]
    ended = {name: text for name, text in (yield from on_all(fleet, "ray", workers, state)).items() if text}
    if ended:
        fleet.abandon(plan.head.name)  # it is awaiting Ray there
        faults = [Fault(name, f"its container {text}", f"compiler logs SPEC {name}") for name, text in ended.items()]
        yield from failed(fleet, plan, running, "ray", faults)


def served(fleet: Fleet[Engine], plan: Plan, running: Mapping[str, str], script: bytes | None) -> Iterator[Event]:
    """Starts `serve.sh` on the head, and follows its log until one completion came.

    Args:
        fleet: The engines.
        plan: The cluster.
        running: The container of each node.
        script: serve.sh; None to follow the one that runs.

    Raises:
        Failed: None came within `timeouts.serve_ready`, or serve.sh ended.
    """
    head = plan.head.name
    with timed(fleet, "serve", f"wait for a completion, up to {plan.timeouts.serve_ready} s") as step:
        yield step.began

        def serve(_: str, engine: Engine, tell: Callable[[str], None]) -> Ready:
            if script is not None:
                inside.serve(engine, running[head], script)
            return inside.ready(engine, running[head], plan, tell)

        limit = plan.timeouts.serve_ready + inside.FIRST_ANSWER_SECONDS + 120
        for news in fleet.each([head], serve, seconds=limit):
            if isinstance(news, Step):
                yield Line(news.text) if news.text not in ("", "connect") else Now(head, "wait for the service")
            elif news.result is None:
                yield from failed(fleet, plan, running, "serve", [_of_done(news, limit)])
            elif not news.result.ready:
                yield from failed(fleet, plan, running, "serve", [_of_head(plan, _unready(news.result, plan))])
            elif news.result.answer:
                yield Noted("", f"a completion came in {news.result.answer.seconds:.1f} s")
        yield step.ended


def _unready(ready: Ready, plan: Plan) -> str:
    said = f"; its last answer: {ready.answer.fault}" if ready.answer and ready.answer.fault else ""
    if ready.ended:
        return f"serve.sh has ended before it served{said}"
    if ready.answer and ready.answer.status > 0:
        return f"it listens, but gives no completion{said}"
    return f"it gave no completion within {plan.timeouts.serve_ready} s (timeouts.serve_ready){said}"


def _of_head(plan: Plan, text: str) -> Fault:
    return Fault(plan.head.name, text, "compiler logs SPEC --service")


def _of_done(done: Done[Any], seconds: float) -> Fault:
    if isinstance(done.error, Stopped):
        raise done.error
    return Fault(done.node, *ended_by(done, int(seconds)))
