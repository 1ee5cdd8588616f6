"""Asks every node what the spec should say of it: the addresses of its NPUs, and the interface of its address."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, NamedTuple

from compiler.crew import Done, Step, work
from compiler.engine import connected
from compiler.engine_guest import lodged
from compiler.guest import ended_by, guest, run_script, unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compiler.engine_look import Outcome
    from compiler.plan import NodePlan, Plan


class Facts(NamedTuple):
    """What one node said.

    Attributes:
        node: Its name.
        interface: The interface that owns its address; empty when it could not tell.
        npu_addresses: One for each of its NPUs; an NPU without one has the empty string.
        fault: Why it said nothing; empty when it did.
        to_do: What to do about that.
    """

    node: str
    interface: str = ""
    npu_addresses: tuple[str, ...] = ()
    fault: str = ""
    to_do: str = ""


def discover(
    plan: Plan, scripts: Mapping[str, bytes], *, parallel: int, seconds: int, answer_seconds: float
) -> Iterator[Step | Facts]:
    """Asks each node of `scripts`, which has the text of its verify.sh; every node ends with its Facts."""
    nodes = {node.name: node for node in plan.nodes}
    word = secrets.token_hex(8)

    def ask(name: str, tell: Callable[[str], None]) -> Facts:
        node = nodes[name]
        tell("connect")
        with connected(node.docker, answer_seconds) as engine:
            tell("start a container")
            with lodged(engine, guest(plan, node, scripts[name], word, seconds)) as inside:
                tell("ask its NPUs")
                return _facts(node, run_script(inside, ["--facts"], tell))

    for news in work(list(scripts), ask, parallel=parallel, seconds=seconds):
        yield news if isinstance(news, Step) else _ended(news, seconds)


def _facts(node: NodePlan, ended: Outcome) -> Facts:
    try:
        told = json.loads(ended.out)
        interface, addresses = str(told["interface"]), tuple(map(str, told["npu_addresses"]))
    except (ValueError, KeyError, TypeError):
        raise unread(ended, " --facts") from None
    silent = [str(npu) for npu, address in zip(node.shape.npus, addresses, strict=False) if not address]
    if silent or len(addresses) != len(node.shape.npus):
        fault = f"NPU {', '.join(silent)} has no address" if silent else f"it named {len(addresses)} NPUs"
        first = silent[0] if silent else "0"
        return Facts(
            node.name, interface, (), fault, f"give it one, then ask again by hand: hccn_tool -i {first} -ip -g"
        )
    return Facts(node.name, interface, addresses)


def _ended(done: Done[Facts], seconds: int) -> Facts:
    if done.result is not None:
        return done.result
    fault, to_do = ended_by(done, seconds)
    return Facts(done.node, fault=fault, to_do=to_do)
