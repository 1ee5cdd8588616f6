"""Does a step on many nodes and says what happens; a node that fails does not hold up the others."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from compiler.course import Began, Ended, Failed, Failure, Noted, Now
from compiler.crew import Step
from compiler.fleet import Stopped
from compiler.guest import ended_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from compiler.course import Event
    from compiler.engine import Engine
    from compiler.fleet import Fleet

Result = TypeVar("Result")


class Timed(NamedTuple):
    """A step that is under way."""

    name: str
    began: Began
    at: float

    @property
    def ended(self) -> Ended:
        """Its end, now."""
        return Ended(self.name, time.monotonic() - self.at)


@contextmanager
def timed(fleet: Fleet[Engine], name: str, text: str, of: int = 0) -> Iterator[Timed]:
    """A step; not begun when no more shall begin."""
    fleet.go_on()
    yield Timed(name, Began(name, text, of), time.monotonic())


def on_all(  # noqa: PLR0913 - what, where and how, in the order of a sentence
    fleet: Fleet[Engine],
    step: str,
    names: Sequence[str],
    do: Callable[[str, Engine, Callable[[str], None]], Result],
    *,
    seconds: float | None = None,
    note: bool = False,
) -> Generator[Event, None, dict[str, Result]]:
    """Does `do(node, engine, tell)` on each node and gives what it gave; with `note`, that is told as a line each.

    Raises:
        Failed: It failed on some nodes; all others have ended, too.
        Stopped: No more steps shall begin.
    """
    results: dict[str, Result] = {}
    failures: list[Failure] = []
    stopped = False
    for news in fleet.each(names, do, seconds=seconds):
        if isinstance(news, Step):
            yield Now(news.node, news.text)
        elif isinstance(news.error, Stopped):
            stopped = True
        elif news.result is None:
            fault, to_do = ended_by(news, int(seconds or fleet.limits.seconds))
            failures.append(Failure(news.node, step, fault, to_do))
        else:
            results[news.node] = news.result
            if note:
                yield Noted(news.node, str(news.result))
    if failures:
        raise Failed(tuple(failures))
    if stopped:
        raise Stopped
    return results
