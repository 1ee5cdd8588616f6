"""What holds for a node: its own word, else that of `defaults`, else what the accelerator has."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from schema.cluster import FirstAddress

if TYPE_CHECKING:
    from schema.accelerator import Accelerator
    from schema.cluster import Cluster, Node


def head_index(cluster: Cluster) -> int:
    """The index of the head: the node that says so, else the first that does not say `worker`."""
    for wanted in ("head", None):
        for index, node in enumerate(cluster.nodes):
            if node.role == wanted:
                return index
    return 0


def interface_of(node: Node, cluster: Cluster) -> str | None:
    """The interface that owns the node's address."""
    return node.interface or cluster.defaults.interface


def docker_of(node: Node, cluster: Cluster) -> str:
    """The Docker endpoint, its placeholders filled; empty when none was given."""
    written = node.docker or cluster.defaults.docker or ""
    return written.replace("{address}", node.address).replace("{name}", node.name)


def npus_of(node: Node, cluster: Cluster, accelerator: Accelerator) -> tuple[int, ...]:
    """The physical ids of the NPUs that are used."""
    written = node.npus if node.npus is not None else cluster.defaults.npus
    return _all(accelerator.npus) if written is None else tuple(written)


@cache
def _all(npus: int) -> tuple[int, ...]:
    return tuple(range(npus))


def npu_addresses_of(node: Node, npus: int) -> tuple[str, ...]:
    """The addresses of the node's NPUs, in the order of their ids; empty when they were left out."""
    written = node.npu_addresses
    if written is None:
        return ()
    return _consecutive(written.first, npus) if isinstance(written, FirstAddress) else tuple(written)


@lru_cache(maxsize=1 << 16)  # asked for once to be judged, and again to be planned
def _consecutive(first: str, npus: int) -> tuple[str, ...]:
    network, _, host = first.rpartition(".")
    if int(host) + npus <= len(_OCTETS):
        return tuple([f"{network}.{octet}" for octet in _OCTETS[int(host) : int(host) + npus]])
    from ipaddress import IPv4Address  # noqa: PLC0415 - hardly any node has addresses of two networks

    number = int(IPv4Address(first))
    return tuple(_dotted(number + step) for step in range(npus))


_OCTETS = tuple(map(str, range(256)))


def _dotted(number: int) -> str:
    return f"{number >> 24 & 255}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def common_env(cluster: Cluster) -> dict[str, str]:
    """The variables that the user gives every container: the cluster's and the defaults'."""
    return {**cluster.env, **cluster.defaults.env}


def env_of(node: Node, cluster: Cluster) -> dict[str, str]:
    """The variables that the user gives the node's container: those of every one, and its own."""
    return {**common_env(cluster), **node.env}
