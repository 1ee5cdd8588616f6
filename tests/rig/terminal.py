"""A program on a terminal of its own, as a person runs it."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SECONDS_TO_END = 60


class Terminal:
    """What a person sees and types.

    Attributes:
        process: The program.
    """

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self.process = process
        self._ours = ours
        self._shown = bytearray()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def shown(self) -> str:
        """All that was shown until now."""
        return bytes(self._shown).decode(errors="replace")

    def type(self, text: str) -> None:
        """Types; Ctrl-C is `\\x03`."""
        os.write(self._ours, text.encode())

    def until(self, text: str, seconds: float = 60) -> None:
        """Waits until that is shown."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-3000:]
            assert self.process.poll() is None or text in self.shown, self.shown[-3000:]
            time.sleep(0.05)

    def ended(self, seconds: float = SECONDS_TO_END) -> int:
        """Waits for the program's end, and gives its status."""
        status = self.process.wait(seconds)
        self._reading.join(seconds)
        return status

    def _read(self) -> None:
        try:
            while part := os.read(self._ours, 4096):
                self._shown += part
        except OSError:  # EIO: nobody has the other side open any more
            return


@contextmanager
def terminal(command: Sequence[str | Path], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Runs it; what it started is told that the terminal is gone when it has not ended by then."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        ("setsid", "--ctty", *command), env={**environment, "TERM": "xterm"}, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    shown = Terminal(process, ours)
    try:
        yield shown
    finally:
        if process.poll() is None:
            process.kill()
        shown.ended()
        os.close(ours)
