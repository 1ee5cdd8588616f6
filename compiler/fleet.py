"""The connections of one command: one for each node, opened when it is first needed, kept until the end.

A node's connection is used by one thread at a time. After a fault it is opened anew, since nobody knows what of an
answer is still under way; one whose work was given up is left to its thread.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from compiler.crew import Done, Step, work
from compiler.engine_fault import EngineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from compiler.engine_look import Looking

Result = TypeVar("Result")
Hand = TypeVar("Hand", bound="Looking")
CLOSE_SECONDS = 5


class Stopped(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """Whoever runs this wants no more steps to begin."""


class Limits(NamedTuple):
    """How to reach nodes.

    Attributes:
        parallel: How many nodes at a time.
        seconds: What one step of one node may take.
        answer_seconds: What one answer of an engine may take.
    """

    parallel: int = 64
    seconds: int = 300
    answer_seconds: float = 20


class _Link(NamedTuple, Generic[Hand]):
    """An open connection, and what closes it."""

    engine: Hand
    stack: ExitStack


class Fleet(Generic[Hand]):
    """The engines of a cluster's nodes, by the nodes' names: for looking at them, or for changing what is there.

    Attributes:
        limits: How to reach them.
        stopping: Set when no more steps shall begin.
    """

    def __init__(
        self,
        urls: dict[str, str],
        limits: Limits,
        open_: Callable[[str, float], AbstractContextManager[Hand]],
    ) -> None:
        self._open = open_
        self.urls = urls
        self.limits = limits
        self.stopping = threading.Event()
        self._links: dict[str, _Link[Hand]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes all connections; one that hangs is left to itself."""
        threads = [threading.Thread(target=self._drop, args=(name,), daemon=True) for name in tuple(self._links)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """No more steps shall begin; those that run come to their end."""
        self.stopping.set()

    def go_on(self) -> None:
        """Between two steps.

        Raises:
            Stopped: There shall be no next one.
        """
        if self.stopping.is_set():
            raise Stopped

    def engine(self, node: str) -> Hand:
        """The node's engine.

        Raises:
            EngineFault: It cannot be reached.
        """
        if node not in self._links:
            stack = ExitStack()
            engine = stack.enter_context(self._open(self.urls[node], self.limits.answer_seconds))
            self._links[node] = _Link(engine, stack)
        return self._links[node].engine

    def abandon(self, node: str) -> None:
        """Leaves a connection to the thread that uses it."""
        self._links.pop(node, None)

    def each(
        self,
        nodes: Sequence[str],
        do: Callable[[str, Hand, Callable[[str], None]], Result],
        seconds: float | None = None,
    ) -> Iterator[Step | Done[Result]]:
        """Does `do(node, engine, tell)` for each node, so many at a time, and says what happens as it happens."""

        def one(node: str, tell: Callable[[str], None]) -> Result:
            self.go_on()
            if node not in self._links:
                tell("connect")
            engine = self.engine(node)
            try:
                return do(node, engine, self._careful(tell))
            except EngineFault:
                self._drop(node)
                raise

        for news in work(nodes, one, parallel=self.limits.parallel, seconds=seconds or self.limits.seconds):
            if isinstance(news, Done) and news.result is None and news.error is None:
                self.abandon(news.node)  # given up: its thread has it still
            yield news

    def _careful(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        def told(text: str) -> None:
            self.go_on()
            tell(text)

        return told

    def _drop(self, node: str) -> None:
        link = self._links.pop(node, None)
        if link:
            with suppress(EngineFault, OSError):  # it failed already, which was told
                link.stack.close()
