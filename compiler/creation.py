"""A container's definition as the body that creates it; `docker compose up` of docker-compose.yaml sends the same.

A test on a real engine holds the two equal: tests/rig/test_parity.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.plan import size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.container import Definition

HIDDEN = "\0hidden"  # stands for a secret whose value is not at hand; no variable can hold a NUL


def creation(definition: Definition, secrets: Mapping[str, str]) -> dict[str, Any]:
    """The body of https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate.

    Args:
        definition: The container.
        secrets: The value of each secret by the name that it has in the container; one that is missing is HIDDEN.
    """
    hidden = {secret.name: secrets.get(secret.name, HIDDEN) for secret in definition.secrets}
    environment = {**dict(definition.environment), **hidden}
    return {
        "Image": definition.image,
        "Cmd": list(definition.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": dict(definition.labels),
        "AttachStdout": True,
        "AttachStderr": True,
        "StopTimeout": definition.stop_seconds,
        "HostConfig": {
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "no"},
            "Init": definition.init,
            "Privileged": definition.privileged,
            "ShmSize": size_bytes(definition.shm_size),
            "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in definition.ulimits],
            "Devices": [
                {"PathOnHost": device, "PathInContainer": device, "CgroupPermissions": "rwm"}
                for device in definition.devices
            ],
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": each.source,
                    "Target": each.target,
                    "ReadOnly": each.read_only,
                    "BindOptions": {},
                }
                for each in definition.mounts
            ],
            # Empty, as Compose has them: Docker tells an empty list from none.
            "ExtraHosts": [],
            "PortBindings": {},
        },
    }
