"""One apply at a time for a cluster: held by a container on the head's engine, which says who and since when.

Its name can be had once, which is what makes it a lock. It runs `cat` on a stdin that is this program's connection
(StdinOnce), and is removed when it ends: so it goes with whoever holds it, also when that is killed or cut off. What
other tools leave behind then is a lock that somebody has to break by hand:
https://github.com/helm/helm/issues/10323
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from compiler.engine import Held, connected
from compiler.engine_fault import EngineFault
from compiler.plan import LABEL_PREFIX
from compiler.sight import LOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compiler.engine import Engine, Holding
    from compiler.fleet import Fleet
    from compiler.plan import Plan
    from compiler.seen import Seen

LONGEST = 24 * 3600  # seconds that a lock may be held, should nobody notice that a connection is dead
_LOOK_SECONDS = 0.5
_START_SECONDS = 30  # one that was made and not started for so long is nobody's


class Locked(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """Another one is at work; the text says who, since when, and what on."""

    def __init__(self, text: str, to_do: str) -> None:
        super().__init__(text)
        self.to_do = to_do


@contextmanager
def holding(fleet: Fleet[Engine], plan: Plan, image: str, doing: str, patience: float) -> Iterator[Holding]:
    """Holds the lock of a cluster, by a connection of its own.

    Args:
        fleet: How to reach nodes, and when no more shall begin.
        plan: The cluster.
        image: An image that is there on the head.
        doing: What the lock is for, as others are told: `apply`.
        patience: How long to wait for another who has it, in seconds.

    Raises:
        Locked: Another one has it.
        EngineFault: The head's engine did not do it.
        Stopped: No more shall begin, and another one has it still.
    """
    deadline = time.monotonic() + patience

    def again() -> bool:
        """Whether to try once more, a moment later."""
        fleet.go_on()
        time.sleep(_LOOK_SECONDS if time.monotonic() < deadline else 0)
        return time.monotonic() < deadline

    body = _body(plan, image, doing)
    reached = connected(plan.head.docker, fleet.limits.answer_seconds)
    with reached as engine, engine.held(_made(engine, plan, body, again)) as held:
        yield held


def _made(engine: Engine, plan: Plan, body: Mapping[str, Any], again: Callable[[], bool]) -> str:
    name = f"{plan.name}-{LOCK}"
    while True:
        try:
            return engine.create(name, body)
        except Held:
            there = engine.container(name)
        except EngineFault as fault:
            there = engine.container(name) if fault.unsure else None
            if there is None:
                raise
        if there is None:  # it ended meanwhile
            continue
        if there.label("word") == body["Labels"][f"{LABEL_PREFIX}word"]:  # it was made, and only the answer was lost
            return there.id
        if _forsaken(engine, there, plan):
            engine.remove(there.id)
        elif not again():
            raise _locked(there, plan, name)


def _forsaken(engine: Engine, there: Seen, plan: Plan) -> bool:
    """Whoever made it came no further; nobody can have it."""
    if there.label("name") != plan.name or there.state.status not in ("created", "exited", "dead"):
        return False
    _, now = engine.facts()
    return now - there.created > _START_SECONDS or there.state.status != "created"


def _locked(there: Seen, plan: Plan, name: str) -> Locked:
    if there.label("name") != plan.name:
        return Locked(
            f"a container called {name} is there on {plan.head.name}, made from {there.reference}, and is no lock",
            "remove or rename it, or give this cluster another name: it is never touched",
        )
    text = f"{there.label('who')} has had the lock since {there.label('since')}, for compiler {there.label('doing')}"
    return Locked(
        text,
        "wait for it, with --lock-timeout; it goes when that program ends. By hand, when you know better:"
        f" docker -H {plan.head.docker} rm --force {name}",
    )


def _body(plan: Plan, image: str, doing: str) -> dict[str, Any]:
    labels = {
        "name": plan.name,
        "role": LOCK,
        "who": f"{_user()}@{socket.gethostname()} (process {os.getpid()})",
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "doing": doing,
        "word": secrets.token_hex(8),
    }
    return {
        "Image": image,
        "Entrypoint": ["timeout", "--foreground", str(LONGEST), "cat"],
        "Cmd": [],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "Labels": {f"{LABEL_PREFIX}{name}": value for name, value in labels.items()},
        "HostConfig": {"NetworkMode": "none", "AutoRemove": True, "LogConfig": {"Type": "none"}},
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())
