"""Makes the next things while the last ones are used: hashing and writing wait with the interpreter's lock let go."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")
_BATCH = 128  # things at a time: a handover between threads costs as much as making several
_WAITING = 2  # batches that are made and not yet used, at most


def ahead(things: Iterable[T]) -> Iterator[T]:
    """The same things in the same order, made by a thread of their own; for a few, in this one.

    An exception in making them comes out here, in its place or a few things before it. Whoever stops in the middle
    closes the generator, which ends the thread after the batch that it is at.
    """
    source = iter(things)
    first = list(islice(source, _BATCH))
    yield from first
    if len(first) == _BATCH:
        yield from _by_thread(source)


def _by_thread(source: Iterator[T]) -> Iterator[T]:
    from queue import Queue  # noqa: PLC0415 - a small bundle needs no thread
    from threading import Thread  # noqa: PLC0415

    made: Queue[list[T] | BaseException] = Queue(_WAITING)
    wanted = True

    def make() -> None:
        try:
            while wanted and (batch := list(islice(source, _BATCH))):
                made.put(batch)
            made.put([])
        except BaseException as fault:  # noqa: BLE001 - it is raised where the things are used
            made.put(fault)

    thread = Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while batch := made.get():
            if isinstance(batch, BaseException):
                raise batch
            yield from batch
    finally:
        wanted = False
        while thread.is_alive():
            if not made.empty():
                made.get()
            thread.join(0.001)
