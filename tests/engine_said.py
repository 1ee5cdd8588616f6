"""What a process of an emulated engine says, kept so that it can be read again and followed while it comes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

STDOUT, STDERR = 1, 2
BUFFER = 32 << 10  # bytes that are passed on at a time
PATIENCE = 0.2  # seconds after which a reader is given nothing, so that it can look whether anybody listens


class Said(NamedTuple):
    """A piece of output, and when it was said, in seconds since the epoch."""

    when: float
    stream: int
    content: bytes


class Output:
    """All that was said so far."""

    def __init__(self, changed: threading.Condition, now: Callable[[], float]) -> None:
        self.parts: list[Said] = []
        self._changed = changed
        self._now = now

    def say(self, stream: int, content: bytes, *, lines: bool = False) -> None:
        """Adds a piece: of at most BUFFER bytes, or with `lines` of a line, as a log keeps it."""
        starts = range(0, len(content), BUFFER)
        pieces = content.splitlines(keepends=True) if lines else [content[at : at + BUFFER] for at in starts]
        with self._changed:
            self.parts += [Said(self._now(), stream, piece) for piece in pieces]
            self._changed.notify_all()

    def follow(self, begin: int, live: Callable[[], bool]) -> Iterator[Said | None]:
        """What was said from piece `begin` on, and what comes while it is live; None when nothing came for a while."""
        while True:
            with self._changed:
                if len(self.parts) <= begin and live():
                    self._changed.wait(PATIENCE)
                new, more = self.parts[begin:], live()
            yield from new
            begin += len(new)
            if not new and not more:
                return
            if not new:
                yield None


def framed(said: Said, *, tty: bool) -> bytes:
    """A piece as it is sent: after its stream, three zeros and its length, but for a terminal's.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
    """
    return said.content if tty else struct.pack(">BxxxL", said.stream, len(said.content)) + said.content
