"""An engine behind ssh as a socket on this machine: the system's own ssh, its keys, its known hosts, its config.

docker-py's own ssh asks for passwords, cannot be told how long to wait, and opens a connection for every
request (https://github.com/docker/docker-py/issues/2398, https://github.com/docker/docker-py/issues/3062).
One `ssh -L` for each node has none of that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOTE_SOCKET = "/var/run/docker.sock"
_LOOK_SECONDS = 0.02


class SshFailed(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """ssh did not get there; the text is what it said."""


class Forwarded:
    """A way through ssh that is open.

    Attributes:
        url: The `unix://` address of its end on this machine.
    """

    def __init__(self, folder: str, process: subprocess.Popen[bytes]) -> None:
        self.url = f"unix://{folder}/socket"
        self._folder = folder
        self._process = process

    def said(self) -> str:
        """The last line that ssh said, or nothing."""
        with open(f"{self._folder}/said", encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        return lines[-1] if lines else ""

    def ready(self) -> bool:
        """True once its end is there; raises SshFailed when ssh has ended."""
        if self._process.poll() is not None:
            raise SshFailed(self.said() or f"ssh ended with status {self._process.returncode}")
        return os.path.exists(f"{self._folder}/socket")


@contextmanager
def forwarded(url: str, seconds: float) -> Iterator[Forwarded]:
    """The way to the engine at an `ssh://[user@]host[:port]` address; at most `seconds` to get there.

    Raises:
        SshFailed: There is no ssh here, or it was refused, or it took too long.
    """
    folder = tempfile.mkdtemp(prefix="compiler-")
    try:
        with open(f"{folder}/said", "wb") as said:
            process = _start(url, folder, seconds, said.fileno())
        try:
            way = Forwarded(folder, process)
            _wait(way, seconds)
            yield way
        finally:
            process.terminate()
            process.communicate()
    finally:
        shutil.rmtree(folder)


def _start(url: str, folder: str, seconds: float, said: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command(url, f"{folder}/socket", seconds), stdin=subprocess.PIPE, stdout=said, stderr=said
        )
    except FileNotFoundError:
        raise SshFailed("there is no ssh on this machine") from None


def command(url: str, socket: str, seconds: float) -> tuple[str, ...]:
    """The ssh that leads from `socket` to the engine at `url`: it never asks anything, and never hangs for ever."""
    parts = urlsplit(url)
    options = (
        "BatchMode=yes",  # no password, no question whether a host key is right
        f"ConnectTimeout={max(1, round(seconds))}",
        "ExitOnForwardFailure=yes",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "ControlPath=none",  # a shared connection would outlive this one, or end with another
        "LogLevel=ERROR",
    )
    return (
        *("ssh", "-T"),
        *(word for option in options for word in ("-o", option)),
        *(("-p", str(parts.port)) if parts.port else ()),
        *(("-l", parts.username) if parts.username else ()),
        *("-L", f"{socket}:{REMOTE_SOCKET}"),
        *("--", parts.hostname or ""),
        "cat",  # it ends when our end of its stdin does, also when we are killed: no ssh is left behind
    )


def _wait(way: Forwarded, seconds: float) -> None:
    deadline = time.monotonic() + seconds + 1
    while not way.ready():
        if time.monotonic() > deadline:
            raise SshFailed(way.said() or f"no connection within {seconds:g} s")
        time.sleep(_LOOK_SECONDS)
