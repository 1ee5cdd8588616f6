"""Does a task in a second process, for as long as this one wants it and not a moment longer."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

from compiler.refusal import WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_TURNS = 4096


class Turns:
    """The numbers below `count`, each for one of the processes that share this: for whichever asks next.

    Raises:
        ValueError: There are too many: they wait in a pipe, which holds 64 KiB.
    """

    def __init__(self, count: int) -> None:
        if count > MOST_TURNS:
            raise ValueError(count)
        self._reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(b"".join([turn.to_bytes(4, "little") for turn in range(count)]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)

    def __iter__(self) -> Iterator[int]:
        while turn := os.read(self._reading, 4):
            yield int.from_bytes(turn, "little")


class Word:
    """A line that one process waits for and the other says, once."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._reading, self._writing = os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reading.close()
        self._writing.close()

    def say(self, word: str) -> None:
        """Say it: a few bytes, which no pipe refuses."""
        self._writing.write(f"{word}\n".encode())

    def heard(self) -> str:
        """What the other process says; empty when it is gone."""
        self._writing.close()
        return self._reading.readline().decode().removesuffix("\n")


class Orphaned(BaseException):
    """The process that wanted the task is gone."""


@contextmanager
def beside(task: Callable[[Callable[[], None]], Any]) -> Iterator[Callable[[], Any]]:
    """While the block runs, the task does too, in a copy of this process; what is yielded waits for its result.

    The task is given a function to call now and then: it ends the copy when this process has ended, whatever ended
    it. A file lock that this process holds is held until then. However the block ends, the copy is gone after it.

    Raises:
        WriteRefused: The task was refused.
        RuntimeError: It ended otherwise; its traceback was printed.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    # A terminal sends Ctrl-C to both, and one decides what is to be done: the copy is never told. Nor may it come
    # between the fork and what follows: the copy would go on as this process does, or this one forget the copy.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if child == 0:
        _do(task, parent, writing)
    try:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield lambda: _result(pipe.read())
    finally:
        os.kill(child, signal.SIGKILL)  # when it has ended already, it is told to nobody
        os.waitpid(child, 0)


def _do(task: Callable[[Callable[[], None]], Any], parent: int, writing: int) -> NoReturn:
    def wanted() -> None:
        if os.getppid() != parent:
            raise Orphaned

    try:
        try:
            said = True, task(wanted)
        except WriteRefused as refused:
            said = False, (refused.message, refused.hint)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(said, pipe)
    except BaseException as fault:  # noqa: BLE001 - a copy must never go on as this process would
        if not isinstance(fault, Orphaned):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(0)


def _result(said: bytes) -> Any:
    if not said:
        raise RuntimeError("the second process ended without a result")
    done, result = pickle.loads(said)  # noqa: S301 - of our own copy
    if done:
        return result
    raise WriteRefused(*result)
