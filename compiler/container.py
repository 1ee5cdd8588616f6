"""A node's container as a value: what docker-compose.yaml writes and what the executor creates are this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.packaged import packaged

if TYPE_CHECKING:
    from compiler.plan import Container, Mount, NodePlan, Secret, Timeouts, Ulimit


class Definition(NamedTuple):
    """Everything that decides what one container is.

    Attributes:
        name: The container's name on its host.
        image: The image reference.
        command: The container's command, a word each.
        environment: Name and value of each variable, but for the secrets.
        secrets: Variables passed through from the caller's environment.
        labels: Name and value of each label.
        devices: Device nodes, at the same path inside.
        mounts: Bind mounts; a missing source is an error.
        ulimits: Limits of its processes.
        shm_size: Size of /dev/shm, as Docker reads it.
        init: An init runs as process 1.
        privileged: It has every device and capability.
        stop_seconds: How long it may take to end.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    labels: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    mounts: tuple[Mount, ...]
    ulimits: tuple[Ulimit, ...]
    shm_size: str
    init: bool
    privileged: bool
    stop_seconds: int


def definition(container: Container, timeouts: Timeouts, node: NodePlan) -> Definition:
    """The container of a node."""
    return Definition(
        name=container.name,
        image=container.image,
        command=(
            *(
                "bash",
                "-c",
                start_script(),
                "ray-start",
                node.address,
                str(timeouts.ray_start),
                str(timeouts.ray_join),
            ),
            *node.shape.ray_start,
            "--node-ip-address",
            node.address,
        ),
        environment=tuple((name, value) for name, value, _ in node.environment),
        secrets=node.shape.secrets,
        labels=node.labels,
        devices=node.shape.devices,
        mounts=node.shape.mounts,
        ulimits=container.ulimits,
        shm_size=container.shm_size,
        init=container.init,
        privileged=container.privileged,
        stop_seconds=timeouts.stop,
    )


def start_script() -> str:
    """The bash that starts Ray in the container and stays while it lives."""
    return packaged("templates", "container/start.sh").decode()
