"""Emulated hosts: namespaces of mounts, processes and the hostname, on a network of their own or on the machine's.

All that runs on a host ends with the first process of its namespaces, and what was mounted is gone.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from network import plugged, switch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS_TO_END = 30
# The first process sets the host up, says so, and stays; bash reaps what the host's other processes leave to it.
FIRST = """
set -e
eval "$SETUP"
echo ready
(($$ == 1)) || exec sleep infinity
sleep infinity &
wait
"""
# A /dev of its own; NPUs are character devices like /dev/null, since Ray counts names and opens nothing.
SETUP = """
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
"""


class Host:
    """One emulated host.

    Attributes:
        first: The id of its first process.
        enter: The command that runs a command there.
    """

    def __init__(self, first: int, environment: Mapping[str, str], *, processes: bool) -> None:
        self.first = first
        self.enter = ("nsenter", f"--target={first}", "--net", "--uts", "--mount", *["--pid"][:processes])
        self._environment = dict(environment)
        self._started: list[subprocess.Popen[bytes]] = []

    def path(self, path: str) -> Path:
        """A path as the host sees it."""
        return Path(f"/proc/{self.first}/root{path}")

    def start(self, log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command there; what it says goes to a file here."""
        with log.open("ab") as said:
            process = subprocess.Popen(
                (*self.enter, *command),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def run(self, *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; what it says is its stdout."""
        return subprocess.run(
            (*self.enter, *command),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def end(self) -> None:
        """Let go of what was started; the host's end takes the rest."""
        for process in self._started:
            process.kill()
            process.wait()


@contextmanager
def host(
    setup: str,
    *words: str | Path,
    network: str = "",
    name: str = "",
    environment: Mapping[str, str] | None = None,
    processes: bool = True,
) -> Iterator[Host]:
    """A host that the bash `setup` makes of this machine; its words are $1 and so on.

    `network` is a network namespace, else it is the machine's own; `name` is the hostname, else the machine's own.
    Without `processes` of its own it has this machine's: what is started there is the very process that started it,
    so that it hears signals, and does not end with the host.
    """
    own = dict(os.environ if environment is None else environment)
    enter = ("nsenter", f"--net=/run/netns/{network}") if network else ()
    named = f"hostname {name}\n" if name else ""
    holder = subprocess.Popen(
        # Should this process be killed, the host goes with it.
        (
            *("setpriv", "--pdeathsig=KILL", *enter),
            *(
                "unshare",
                "--mount",
                "--uts",
                *["--pid", "--mount-proc"][: 2 * processes],
                "--fork",
                "--kill-child=KILL",
            ),
            *("bash", "-c", FIRST, "host", *words),
        ),
        env=own | {"SETUP": named + setup},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        running = Host(child(holder.pid), own, processes=processes)
        try:
            yield running
        finally:
            running.end()
            first = os.pidfd_open(running.first)
            holder.kill()
            select.select([first], [], [], SECONDS_TO_END)  # it is the last there to end
            os.close(first)
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def child(process: int) -> int:
    """The id of the first process that another one started: of what `nsenter` runs in other namespaces."""
    children = Path(f"/proc/{process}/task/{process}/children")
    end = time.monotonic() + 10
    while not (found := children.read_text(encoding="ascii").split()):
        assert time.monotonic() < end, f"process {process} starts nothing"
        time.sleep(0.01)
    return int(found[0])


@contextmanager
def hosts(addresses: tuple[str, ...], path: str, programs: Path) -> Iterator[tuple[Host, ...]]:
    """Hosts with these addresses on one /24, `path` in front of their PATH; they keep the folder `programs`."""
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": "/mnt", "LANG": "C.UTF-8"}
    with ExitStack() as stack:
        where = stack.enter_context(switch())
        networks = [stack.enter_context(plugged(where, *each)) for each in enumerate(addresses)]
        yield tuple(
            stack.enter_context(host(SETUP, programs, network=network, environment=environment)) for network in networks
        )
