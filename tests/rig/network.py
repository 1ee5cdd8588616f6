"""Network namespaces with an eth0 each, plugged into one switch: a bridge in a namespace of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS = itertools.count()


@contextmanager
def switch() -> Iterator[str]:
    """The name of a new switch: nothing of the machine's own network is on it."""
    name = f"rig{os.getpid()}-{next(_NUMBERS)}"
    with _namespace(name):
        ip(name, "link", "add", "bridge", "type", "bridge")
        ip(name, "link", "set", "bridge", "up")
        yield name


@contextmanager
def plugged(switch: str, number: int, address: str) -> Iterator[str]:
    """The name of a new namespace whose eth0 has this address of a /24 and is in the switch's port `number`."""
    name = f"{switch}-{number}"
    with _namespace(name):
        ip(name, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", switch)
        ip(switch, "link", "set", f"port{number}", "master", "bridge", "up")
        ip(name, "address", "add", f"{address}/24", "dev", "eth0")
        ip(name, "link", "set", "eth0", "up")
        ip(name, "link", "set", "lo", "up")
        yield name


@contextmanager
def unplugged(switch: str, number: int) -> Iterator[None]:
    """The cable of port `number` is out: the host keeps its address and routes, but nobody is heard."""
    ip(switch, "link", "set", f"port{number}", "down")
    try:
        yield
    finally:
        ip(switch, "link", "set", f"port{number}", "up")


def ip(namespace: str, *words: str) -> None:
    """Runs an `ip` command in a namespace."""
    subprocess.run(("ip", "-n", namespace, *words), check=True)


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        subprocess.run(("ip", "netns", "add", name), check=True)
        stack.callback(subprocess.run, ("ip", "netns", "del", name), check=True)
        yield
