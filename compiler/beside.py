"""Does a task in a second process, for as long as this one wants it and not a moment longer."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedWriter
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Self

from compiler.refusal import WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from io import RawIOBase

    # Given a function that it calls now and then; what it yields is heard here, and what is said here it gets for that.
    Task = Callable[[Callable[[], None]], Generator[Any, str, None]]

_TURN = 64  # numbers, at least
_MOST_TURNS = 1024  # they wait in a pipe, which may hold no more than a page


class Turns:
    """The numbers below `count`, some at each turn, for whichever of the processes that share this asks next."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._size = max(_TURN, -(-count // _MOST_TURNS))
        self._reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(b"".join([first.to_bytes(4, "little") for first in range(0, count, self._size)]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)

    def __iter__(self) -> Iterator[range]:
        while turn := os.read(self._reading, 4):
            first = int.from_bytes(turn, "little")
            yield range(first, min(first + self._size, self._count))


class Orphaned(BaseException):
    """The process that wanted the task is gone."""


class Second:
    """The process that does the task, as the first one sees it."""

    def __init__(self, hears: BinaryIO, says: RawIOBase) -> None:
        self._hears, self._says = hears, says

    def heard(self) -> Any:
        """What the task yields next, as soon as it does.

        Raises:
            WriteRefused: The task was refused.
            RuntimeError: It ended otherwise; its traceback was printed.
        """
        try:
            done, result = pickle.load(self._hears)  # noqa: S301 - of our own copy
        except (EOFError, pickle.UnpicklingError):
            raise RuntimeError("the second process ended without a result") from None
        if done:
            return result
        raise WriteRefused(*result)

    def say(self, line: str) -> None:
        """What the task gets for what it yielded, whether it has done so yet or not: it waits for it there."""
        with suppress(BrokenPipeError):  # it has ended, and that is heard
            self._says.write(f"{line}\n".encode())


@contextmanager
def beside(task: Task) -> Iterator[Second]:
    """While the block runs, the task does too, in a copy of this process.

    The function that the task is given ends the copy when this process has ended, whatever ended it. A file lock that
    this process holds is held until then. However the block ends, the copy is gone after it.

    Raises:
        OSError: No process can be made.
    """
    parent = os.getpid()
    sys.stdout.flush()
    with ExitStack() as opened:
        hears, says_there = _pipe(opened)
        hears_there, says = _pipe(opened)
        # A terminal sends Ctrl-C to both, and one decides what is to be done: the copy is never told. Nor may it come
        # between the fork and what follows: the copy would go on as this process does, or this one forget the copy.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            child = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        if child == 0:
            hears.close()  # so that both are the first one's alone, and end with it
            says.close()
            _do(task, parent, hears_there, says_there)
        try:
            hears_there.close()
            says_there.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield Second(hears, says)
        finally:
            os.kill(child, signal.SIGKILL)  # when it has ended already, it is told to nobody
            os.waitpid(child, 0)


def _pipe(opened: ExitStack) -> tuple[BinaryIO, RawIOBase]:
    reading, writing = os.pipe()
    hears = opened.enter_context(os.fdopen(reading, "rb"))
    return hears, opened.enter_context(os.fdopen(writing, "wb", buffering=0))


def _do(task: Task, parent: int, hears: BinaryIO, says: RawIOBase) -> NoReturn:
    def wanted() -> None:
        if os.getppid() != parent:
            raise Orphaned

    try:
        _talk(task(wanted), hears, says)
    except BaseException as fault:  # noqa: BLE001 - a copy must never go on as this process would
        if not isinstance(fault, Orphaned | BrokenPipeError):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(0)


def _talk(doing: Generator[Any, str, None], hears: BinaryIO, says: RawIOBase) -> None:
    pipe = BufferedWriter(says)
    try:
        said = next(doing)
        while True:
            pickle.dump((True, said), pipe)
            pipe.flush()
            if not (line := hears.readline()):
                return
            said = doing.send(line.decode().removesuffix("\n"))
    except WriteRefused as refused:
        pickle.dump((False, (refused.message, refused.hint)), pipe)
        pipe.flush()
    except StopIteration:
        return
