"""Emulated hosts: network, mount and PID namespaces with eight NPU device nodes, joined by a bridge."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A /dev of its own; NPUs are character devices like /dev/null, since Ray counts names and opens nothing.
SETUP = """
set -e
mount --bind "$1" /media # the programs stay where they are, even below what is hidden now
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /mnt
mkdir -p "$1"
mount --move /media "$1"
mkdir -p /tmp/dev
mount -t tmpfs tmpfs /tmp/dev
cp -a /dev/{null,zero,full,random,urandom,tty,fd,stdin,stdout,stderr} /tmp/dev
mkdir /tmp/dev/shm
for npu in {0..7}; do mknod /tmp/dev/davinci$npu c 1 3; done
mount --move /tmp/dev /dev
mount -t tmpfs -o size=12g tmpfs /dev/shm
echo ready
while :; do sleep 1; done
"""


class Host:
    """One emulated host; everything in it dies with its first process."""

    def __init__(self, init: int, environment: dict[str, str]) -> None:
        self._enter = ("nsenter", f"--target={init}", "--net", "--mount", "--pid")
        self._environment = environment
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, log: Path, *command: str) -> subprocess.Popen[bytes]:
        """Start a command there; what it says goes to a file here."""
        with log.open("wb") as said:
            process = subprocess.Popen(
                (*self._enter, *command),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Let go of what was started; the host's end takes the rest."""
        for process in self._started:
            process.kill()
            process.wait()

    def run(self, *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; what it says is its stdout."""
        return subprocess.run(
            (*self._enter, *command),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )


@contextmanager
def hosts(addresses: tuple[str, ...], path: str, programs: Path) -> Iterator[tuple[Host, ...]]:
    """Hosts with these addresses on one /24, `path` in front of their PATH; they keep the folder `programs`."""
    switch = f"rig{os.getpid()}"
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": "/mnt", "LANG": "C.UTF-8"}
    with ExitStack() as stack:
        _ip("netns", "add", switch)
        stack.callback(_ip, "netns", "del", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        made = []
        for number, address in enumerate(addresses):
            made.append(Host(stack.enter_context(_host(switch, number, address, programs)), environment))
            stack.callback(made[-1].end)
        yield tuple(made)


@contextmanager
def _host(switch: str, number: int, address: str, programs: Path) -> Iterator[int]:
    """The id of the first process of a new host."""
    name = f"{switch}-{number}"
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", switch)
        _ip("-n", switch, "link", "set", name, "master", "bridge", "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        holder = subprocess.Popen(
            (
                "nsenter",
                f"--net=/run/netns/{name}",
                *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"),
                *("bash", "-c", SETUP, "host", str(programs)),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        yield int(children.read_text(encoding="ascii"))


def _end(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)
