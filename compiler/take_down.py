"""Ends what runs: the service first, then the workers, then the head; and waits until the NPUs are free."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from compiler import act, inside
from compiler.answer import read_checks
from compiler.course import Failed, Failure, Now
from compiler.crew import Step
from compiler.engine_guest import lodged
from compiler.guest import ended_by, guest, run_script, unread
from compiler.steps import on_all, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.course import Event
    from compiler.engine import Engine
    from compiler.engine_guest import Inside
    from compiler.fleet import Fleet
    from compiler.plan import Plan
    from compiler.seen import Seen

FREE_SECONDS = 60
_GUEST_SECONDS = 2 * FREE_SECONDS
_AGAIN_SECONDS = 1


def service_ended(fleet: Fleet[Engine], plan: Plan, container: str) -> Iterator[Event]:
    """Ends the service in the head's container, if there is one.

    Raises:
        Failed: It could not be.
    """
    with timed(fleet, "service", "end the one that runs") as step:
        yield step.began

        def end(_: str, engine: Engine, tell: Callable[[str], None]) -> str:
            was = inside.stop(engine, container, plan, lambda _: tell("end the service"))
            return "the service had ended" if was is None else f"the service is ended (process {was})"

        seconds = plan.timeouts.stop + 120
        yield from on_all(fleet, "service", [plan.head.name], end, seconds=seconds, note=True)
        yield step.ended


def removed(
    fleet: Fleet[Engine], plan: Plan, old: Mapping[str, Sequence[Seen]], done: Callable[[str], None] = lambda _: None
) -> Iterator[Event]:
    """Ends and removes these containers, by node: on the workers first, then on the head; `done` gets each such node.

    Raises:
        Failed: Some could not be; all others are.
    """

    def end(name: str, engine: Engine, tell: Callable[[str], None]) -> str:
        for each in old[name]:
            tell(f"stop {each.name}" if each.running else f"remove {each.name}")
            act.remove(engine, each.id, plan.timeouts.stop)
        done(name)
        return f"removed {', '.join(f'{each.name} ({each.id[:12]})' for each in old[name])}"

    seconds = fleet.limits.seconds + plan.timeouts.stop
    workers = [name for name in old if name != plan.head.name]
    failures: list[Failure] = []
    for names in (workers, [name for name in old if name == plan.head.name]):
        try:
            yield from on_all(fleet, "stop", names, end, seconds=seconds, note=True)
        except Failed as failed:
            failures += failed.failures
    if failures:
        raise Failed(tuple(failures))


def freed(fleet: Fleet[Engine], plan: Plan, scripts: Mapping[str, bytes]) -> Iterator[Event]:
    """Waits, by each node's verify.sh, until nobody holds its NPUs.

    Memory that is still taken makes the next start fail with EJ0001:
    https://github.com/vllm-project/vllm-ascend/issues/3008

    Raises:
        Failed: On some nodes they are not free after FREE_SECONDS.
    """
    nodes = {node.name: node for node in plan.nodes}

    def wait(name: str, engine: Engine, tell: Callable[[str], None]) -> str:
        tell("wait until its NPUs are free")
        with lodged(engine, guest(plan, nodes[name], scripts[name], secrets.token_hex(8), _GUEST_SECONDS)) as inside:
            deadline = time.monotonic() + FREE_SECONDS
            while (held := _held(inside, tell)) and time.monotonic() < deadline:
                time.sleep(_AGAIN_SECONDS)
            return held

    failures = []
    for news in fleet.each(list(scripts), wait, seconds=_GUEST_SECONDS):
        if isinstance(news, Step):
            yield Now(news.node, news.text)
        elif news.result is None:
            fault, to_do = ended_by(news, _GUEST_SECONDS)
            failures.append(Failure(news.node, "stop", fault, to_do))
        elif news.result:
            text = f"its NPUs are not free {FREE_SECONDS} s after its container ended: {news.result}"
            failures.append(Failure(news.node, "stop", text, "end that process, then run the same again"))
    if failures:
        raise Failed(tuple(failures))


def _held(inside: Inside, tell: Callable[[str], None]) -> str:
    ended = run_script(inside, ["--json", "--only=processes"], tell)
    try:
        checks = read_checks(ended.out)
    except (ValueError, KeyError, TypeError):
        raise unread(ended) from None
    return "; ".join(check.seen for check in checks if check.status == "FAIL")
