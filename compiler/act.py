"""What is done to one node's container, step by step; each step may be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.container import definition
from compiler.creation import creation
from compiler.engine import Held
from compiler.engine_fault import EngineFault
from compiler.sight import next_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.engine import Engine
    from compiler.plan import NodePlan, Plan

_TRIES = 3
LAST_LINES = 400  # of a container's log, when it is to be told why it ended


class Made(NamedTuple):
    """A container that was made beforehand."""

    node: str
    id: str


def make(engine: Engine, plan: Plan, node: NodePlan, secrets: Mapping[str, str]) -> Made:
    """Makes a node's container under another name, while the old one may run still.

    Docker finds out here whether the image and what is mounted are there: before anything was stopped.

    Raises:
        EngineFault: The engine did not do it.
    """
    name = next_name(plan.name)
    body = creation(definition(plan.container, plan.timeouts, node), secrets)
    for _ in range(_TRIES):
        try:
            return Made(node.name, engine.create(name, body))
        except Held:
            if not _cleared(engine, name, plan):
                raise
        except EngineFault as fault:
            # Without an answer it may have been made all the same: then it is made anew, to be sure of it.
            if not fault.unsure or engine.container(name) is None or not _cleared(engine, name, plan):
                raise
    raise EngineFault("create a container", f"the name {name} is taken again and again", "see by whom: docker ps -a")


def _cleared(engine: Engine, name: str, plan: Plan) -> bool:
    """Removes a container of this name that is ours; False when it is somebody else's."""
    there = engine.container(name)
    if there is not None and there.label("name") != plan.name:
        return False
    if there is not None:
        engine.remove(there.id)
    return True


def remove(engine: Engine, container: str, seconds: int) -> None:
    """Ends a container in peace, or after `seconds` by force, and removes it.

    Raises:
        EngineFault: The engine did not do it.
    """
    engine.stop(container, seconds)
    engine.remove(container)


def start(engine: Engine, plan: Plan, made: Made) -> None:
    """Gives a container that was made beforehand its name, and starts it.

    Raises:
        EngineFault: The engine did not do it.
    """
    try:
        engine.rename(made.id, plan.name)
    except EngineFault:
        there = engine.container(made.id)
        if there is None or there.name != plan.name:  # else it was done, and only the answer was lost
            raise
    try:
        engine.start(made.id)
    except EngineFault as fault:
        there = engine.container(made.id) if fault.unsure else None
        if there is None or not there.running:
            raise


def last_words(engine: Engine, container: str) -> str:
    """The end of what a container said.

    Raises:
        EngineFault: The engine did not tell it.
    """
    return b"\n".join(engine.log(container, last=LAST_LINES)).decode(errors="replace")
