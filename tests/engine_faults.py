"""What can go wrong with an emulated Docker engine, and what it does then.

A fault is put into `Engine.faults`, and lifted by taking it out again; the first one that a question fits is it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine_answers import Cut, Reply, Spoilt, Torn

if TYPE_CHECKING:
    from engine_answers import Answer
    from engine_api import Engine

Alive = Callable[[], bool]  # neither is the fault lifted nor the engine dead
LOOK = 0.02  # seconds after which what hangs looks whether it still does
FULL = "no space left on device"


@dataclass(eq=False)
class Fault:
    """Nothing goes wrong yet: what does is told by the kinds below.

    Attributes:
        asked: A regular expression for the questions that it is about, searched for in `METHOD /path`, as in
            `Engine.asked`.
        after: So many of them are answered before it.
        times: So many of them it meets; None: all.
        met: So many it has met.
    """

    asked: str = ""
    after: int = 0
    times: int | None = None
    met: int = 0

    def fits(self, asked: str) -> bool:
        """Whether it is about this question, `METHOD /path`; it counts those that it could be about."""
        if re.search(self.asked, asked) is None:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.met += 1
        return self.times is None or self.met <= self.times

    def before(self, engine: Engine, alive: Alive) -> Answer | None:
        """What happens instead of doing what is asked; None: it is done."""
        del engine, alive
        return None

    def afterwards(self, engine: Engine, alive: Alive, answer: Answer) -> Answer:
        """What becomes of the answer, once what is asked is done."""
        del engine, alive
        return answer


def _wait(engine: Engine, fault: Fault, alive: Alive) -> None:
    """Waits until the fault is lifted.

    Raises:
        Cut: The engine died before.
    """
    while alive():
        engine.over.wait(LOOK)
    if fault in engine.faults:
        raise Cut


@dataclass(eq=False)
class Hangs(Fault):
    """It stands still, as after SIGSTOP; what was asked meanwhile is done when the fault is lifted."""

    def before(self, engine: Engine, alive: Alive) -> None:
        _wait(engine, self, alive)


@dataclass(eq=False)
class Late(Fault):
    """What is asked is done, but the answer comes only when the fault is lifted."""

    def afterwards(self, engine: Engine, alive: Alive, answer: Answer) -> Answer:
        _wait(engine, self, alive)
        return answer


@dataclass(eq=False)
class Cuts(Fault):
    """The connection is closed instead of an answer; with `done`, what is asked is done all the same."""

    done: bool = False

    def before(self, engine: Engine, alive: Alive) -> None:
        del engine, alive
        if not self.done:
            raise Cut

    def afterwards(self, engine: Engine, alive: Alive, answer: Answer) -> Answer:
        del engine, alive, answer
        raise Cut


@dataclass(eq=False)
class Slow(Fault):
    """It takes its time, in seconds."""

    seconds: float = 1

    def before(self, engine: Engine, alive: Alive) -> None:
        if engine.over.wait(self.seconds) or not alive():
            raise Cut


@dataclass(eq=False)
class Says(Fault):
    """It says something else, and does nothing."""

    document: Any = None
    status: int = 200

    def before(self, engine: Engine, alive: Alive) -> Answer:
        del engine, alive
        return Reply(self.status, self.document)


def fails(asked: str, message: str, status: int = 500, *, after: int = 0, times: int | None = None) -> Says:
    """It refuses, with these words."""
    return Says(asked, after, times, document={"message": message}, status=status)


def full() -> Says:
    """Its disk is full: what fails then, and with which words, was recorded from Docker 20.10.24."""
    asked = (
        r"^(POST /containers/(create|[^/]+/(start|restart|rename))|PUT /containers/[^/]+/archive|POST /images/create)$"
    )
    return fails(asked, f"write /var/lib/docker/overlay2/0f0f-init/link: {FULL}")


@dataclass(eq=False)
class Garbage(Fault):
    """It answers what no HTTP server does, or half of what one does."""

    content: bytes = b"\x15\x03\x01\x00\x02\x02\x0a\x1b[2J\r\n\r\n"

    def before(self, engine: Engine, alive: Alive) -> Answer:
        del engine, alive
        return Spoilt(self.content)


@dataclass(eq=False)
class Tears(Fault):
    """What is asked is done, and the connection ends after so many bytes of the answer."""

    size: int = 100

    def afterwards(self, engine: Engine, alive: Alive, answer: Answer) -> Answer:
        del engine, alive
        return Torn(answer, self.size)


@dataclass(eq=False)
class Dies(Cuts):
    """The engine dies: before it has done what is asked, or with `done` thereafter."""

    def before(self, engine: Engine, alive: Alive) -> None:
        del alive
        if not self.done:
            engine.die()
            raise Cut

    def afterwards(self, engine: Engine, alive: Alive, answer: Answer) -> Answer:
        del alive, answer
        engine.die()
        raise Cut
