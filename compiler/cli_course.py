"""Shows what happens while a cluster is changed: on a terminal a line that moves, in a log a line for each thing."""

from __future__ import annotations

import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Self

from compiler.clean import one_line
from compiler.course import Began, Ended, Failed, Line, Noted, Now
from compiler.say import coloured, say
from compiler.triage_text import as_lines

if TYPE_CHECKING:
    from compiler.course import Event, Failure

_DIM, _BOLD, _RED, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[1;31m", "\x1b[0m"
_COLUMN = 10  # of the step's name
_COLUMNS = 80  # of a terminal that does not say how wide it is
_MANY = 16  # nodes; of more, a line each would hide the rest
_MOVES_SECONDS = 0.1


class Screen:
    """What is said on stderr of a course of events.

    Attributes:
        seconds: How long each step took, in their order.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self.colour = coloured(sys.stderr)
        self.began = time.monotonic()
        self.moved = 0.0
        self.step = ""
        self.of = 0
        self.done = 0
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def show(self, event: Event) -> None:
        """One event."""
        if isinstance(event, Now):
            self._move(event)
        elif isinstance(event, Began):
            self.step, self.of, self.done = event.step, event.of, 0
            nodes = f" ({event.of} nodes)" if event.of > 1 else ""
            self._say(event.step, f"{event.text}{nodes}", _BOLD)
        elif isinstance(event, Ended):
            self.seconds[event.step] = self.seconds.get(event.step, 0) + event.seconds
            self._say("", f"done in {event.seconds:.1f} s", _DIM)
            self.step = ""
        elif isinstance(event, Line):
            self._say("", f"| {one_line(event.text, 2000)}", _DIM)
        elif isinstance(event, Noted):
            self._note(event)

    def _note(self, event: Noted) -> None:
        self.done += bool(event.node)
        if not event.node:
            self._say("", one_line(event.text))
        elif self.of <= _MANY:
            count = f"[{self.done}/{self.of}] " if self.of > 1 else ""
            self._say("", f"{count}{event.node}: {one_line(event.text)}")

    def _say(self, step: str, text: str, style: str = "") -> None:
        if self.quiet:
            return
        self._wipe()
        line = f"{step.ljust(_COLUMN)}{text}"
        say(f"{style}{line}{_PLAIN}" if style and self.colour else line)

    def _move(self, event: Now) -> None:
        now = time.monotonic()
        if not self.live or now - self.moved < _MOVES_SECONDS:
            return
        self.moved = now
        width = _columns() - 1
        count = f"[{self.done}/{self.of}] " if self.of > 1 else ""
        where = f"{event.node}: " if event.node else ""
        line = f"{self.step.ljust(_COLUMN)}{count}{now - self.began:.0f} s   {where}{one_line(event.text)}"
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def _wipe(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def failed(self, failed: Failed, spec: str) -> None:
        """What went wrong: on which nodes, what their logs say of it, and what to do."""
        self._wipe()
        for failure in failed.failures[:_MANY]:
            say(self._red(_sentence(failure)))
            say(f"  = hint: {one_line(failure.to_do).replace('SPEC', shlex.quote(spec))}")
        if len(failed.failures) > _MANY:
            say(f"and {len(failed.failures) - _MANY} more")
        if failed.findings:
            say("\nWhat the logs say:")
            for line in as_lines(failed.findings, spec):
                say(line)
        elif failed.last:
            say("\nThe logs show nothing that is known here; they end with:")
            for line in failed.last:
                say(f"  {one_line(line)}")

    def _red(self, text: str) -> str:
        return f"{_RED}{text}{_PLAIN}" if self.colour else text


def _columns() -> int:
    """Of the terminal that stderr is: stdout may be a file; a longer line could not be wiped."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def _sentence(failure: Failure) -> str:
    where = f"{failure.node}: " if failure.node else ""
    return f"error: {failure.step}: {where}{one_line(failure.cause)}"
