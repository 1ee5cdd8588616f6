"""One emulated Ascend node with a real Docker engine, on a switch with others, and what may happen to it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import ascend
from engine import Engine, compose, engine
from network import plugged, unplugged
from sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

IMAGE = "rig/vllm-ascend:v0.11.0"
# How a spec names the engines of nodes like this one.
TCP, TLS, SSH = "tcp://{address}:2375", "tcp://{address}:2376", "ssh://root@{address}"


class Place(NamedTuple):
    """What nodes have in common.

    Attributes:
        switch: The switch that they are plugged into.
        shared: What each of them has as /mnt/shared/cache.
        keys: The keys of ssh.
    """

    switch: str
    shared: Path
    keys: Path


class Node:
    """One node.

    Attributes:
        name: Its name in the spec, and its hostname.
        address: Its address, in the spec and on the switch.
        engine: Its Docker engine.
        network: The network namespace that its host is in.
    """

    def __init__(self, stack: ExitStack, place: Place, index: int, first: Node | None) -> None:
        """Starts it, and ends it with the stack; it has the images that the first node has."""
        self.name = f"node-{index}"
        self.address = f"10.77.0.{index + 1}"
        self.network = stack.enter_context(plugged(place.switch, index, self.address))
        self._place = place
        self._index = index
        running = engine(
            ascend.setup(index, self.address, place.shared),
            network=self.network,
            name=self.name,
            # Without that last word the daemon of 20.10 warns, and waits for fifteen seconds.
            options=(f"--host={TCP.format(address=self.address)}", "--tls=false"),
            images=first.engine if first else None,
        )
        self.engine: Engine = stack.enter_context(running)

    def docker(self, *words: str | Path) -> str:
        """What a `docker` command on this node prints."""
        return self.engine.docker(*words)

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker says of a container here."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return found[0]

    @property
    def containers(self) -> set[str]:
        """The names of all containers, running or not."""
        return set(self.docker("ps", "--all", "--format", "{{.Names}}").split())

    @property
    def volumes(self) -> set[str]:
        """The names of all volumes."""
        return set(self.docker("volume", "ls", "--quiet").split())

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Its cable is out: it is up, and nobody hears of it. What is asked through its unix socket still comes."""
        with unplugged(self._place.switch, self._index):
            yield

    @contextmanager
    def without_image(self) -> Iterator[None]:
        """It lacks the image."""
        self.docker("tag", IMAGE, "rig/kept")
        self.docker("rmi", IMAGE)
        try:
            yield
        finally:
            self.docker("tag", "rig/kept", IMAGE)
            self.docker("rmi", "rig/kept")

    @contextmanager
    def with_tls(self, certificate: Path, key: Path) -> Iterator[None]:
        """Its daemon listens with TLS instead, at `TLS`, and lets in whom the authority of that folder vouches for."""
        asked = ("--tlsverify", f"--tlscacert={certificate.parent / 'ca.pem'}", f"--tlscert={certificate}")
        self.engine.stop()
        self.engine.start(*asked, f"--tlskey={key}", f"--host={TLS.format(address=self.address)}")
        try:
            yield
        finally:
            self.engine.stop()
            self.engine.start()

    @contextmanager
    def with_sshd(self) -> Iterator[None]:
        """It can be reached at `SSH`, with the laptop's key."""
        with sshd(self.engine.on, self.address, self._place.keys):
            yield

    def compose(self, folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Docker Compose with this node's part of a bundle."""
        self.engine.run(compose(), *words, cwd=folder / self.name, environment=environment)

    def clear(self) -> None:
        """Takes away what a test left; an engine that was ended or frozen goes on."""
        self.engine.thaw()
        if not self.engine.running:
            self.engine.start()
        self.engine.empty()
        if volumes := self.volumes:
            self.docker("volume", "rm", *volumes)
