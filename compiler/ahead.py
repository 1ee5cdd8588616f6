"""Does the long part of many things in a thread of its own, while the last ones are used.

For what lets the interpreter's lock go, as hashing does: then it costs nothing beside writing, which does so too.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")
_BATCH = 32  # things at a time: a handover between threads costs as much as doing several


def ahead(function: Callable[[T], R], things: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each thing with what the function makes of it, in order; for a few things it is called here and now.

    At most two batches of things are held. An exception in the function comes out here, in its place or a few things
    before it. Whoever stops in the middle closes the generator, which ends the thread after the batch that it is at.
    """
    source = iter(things)
    first = list(islice(source, _BATCH))
    if len(first) == _BATCH:
        yield from _by_thread(function, first, source)
    else:
        yield from ((each, function(each)) for each in first)


def _by_thread(function: Callable[[T], R], first: Sequence[T], source: Iterator[T]) -> Iterator[tuple[T, R]]:
    from queue import SimpleQueue  # noqa: PLC0415 - a small bundle needs no thread
    from threading import Thread  # noqa: PLC0415

    given: SimpleQueue[Sequence[T]] = SimpleQueue()
    done: SimpleQueue[Sequence[R] | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            while batch := given.get():
                done.put([function(each) for each in batch])
        except BaseException as fault:  # noqa: BLE001 - it is raised where the things are used
            done.put(fault)

    thread = Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        batch = first
        given.put(batch)
        while batch:
            following = list(islice(source, _BATCH))
            results = done.get()
            if isinstance(results, BaseException):
                raise results
            if following:
                given.put(following)
            yield from zip(batch, results, strict=True)
            batch = following
    finally:
        given.put(())
        thread.join()
