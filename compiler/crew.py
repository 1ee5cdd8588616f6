"""Works on many nodes at once: each in a thread of its own, each with a limit, and none can hold up the others."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Result = TypeVar("Result")


class Step(NamedTuple):
    """A node has come so far: `text` says what is being done."""

    node: str
    text: str


class Done(NamedTuple, Generic[Result]):
    """A node is done after `seconds`: its result, or the exception that it ended with, or neither when it was given up.

    Attributes:
        last: What it was doing, for one that was given up.
    """

    node: str
    result: Result | None
    error: BaseException | None
    seconds: float
    last: str


class _End(NamedTuple, Generic[Result]):
    """How a node's work ended."""

    result: Result | None
    error: BaseException | None


class _Job(Generic[Result]):
    """One node's work, and what is known of it."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.began = 0.0
        self.last = ""
        self.over = False


def work(
    nodes: Sequence[str],
    do: Callable[[str, Callable[[str], None]], Result],
    *,
    parallel: int,
    seconds: float,
) -> Iterator[Step | Done[Result]]:
    """Does `do(node, tell)` for each node, `parallel` at a time, and says what happens as it happens.

    A node that takes more than `seconds` is given up: its thread is left to itself, and dies with the
    program.
    """
    waiting = [_Job[Result](node) for node in reversed(nodes)]
    running: dict[str, _Job[Result]] = {}
    heard: queue.SimpleQueue[tuple[_Job[Result], str | _End[Result]]] = queue.SimpleQueue()
    while waiting or running:
        while waiting and len(running) < parallel:
            job = waiting.pop()
            running[job.node] = job
            job.began = time.monotonic()
            threading.Thread(target=_run, args=(job, do, heard), name=job.node, daemon=True).start()
        try:
            job, news = heard.get(timeout=_patience(running, seconds))
        except queue.Empty:
            for late in [each for each in running.values() if time.monotonic() - each.began >= seconds]:
                yield _over(late, running, _End(None, None))
            continue
        if job.over:
            continue
        if isinstance(news, str):
            job.last = news
            yield Step(job.node, news)
        else:
            yield _over(job, running, news)


def _run(
    job: _Job[Result],
    do: Callable[[str, Callable[[str], None]], Result],
    heard: queue.SimpleQueue[tuple[_Job[Result], str | _End[Result]]],
) -> None:
    try:
        result = do(job.node, lambda text: heard.put((job, text)))
    except BaseException as error:  # noqa: BLE001 - whoever reads the queue decides what it means
        heard.put((job, _End(None, error)))
    else:
        heard.put((job, _End(result, None)))


def _over(job: _Job[Result], running: dict[str, _Job[Result]], end: _End[Result]) -> Done[Result]:
    job.over = True
    del running[job.node]
    return Done(job.node, end.result, end.error, time.monotonic() - job.began, job.last)


def _patience(running: dict[str, _Job[Result]], seconds: float) -> float:
    """How long until the next node has to be given up."""
    first = min((job.began for job in running.values()), default=time.monotonic())
    return max(0.0, first + seconds - time.monotonic())
