"""What a Docker daemon tells of a container that was made from a body: for tests of what reads it.

Defaults and nulls are as Docker 20.10 answers; its own merge of image and container (moby, daemon/commit.go, `merge`)
puts the image's variables behind the container's own, and takes over its entrypoint, user and labels.
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"
# As a vllm-ascend image has it: variables of its own, and an entrypoint of none.
IMAGE: Document = {
    "Id": "sha256:" + "c0ffee" * 10 + "0000",
    "RepoDigests": ["quay.io/ascend/vllm-ascend@sha256:" + "d1" * 32],
    "Config": {
        "Env": ["PATH=/usr/local/python3.11/bin:/usr/bin:/bin", "ASCEND_HOME=/usr/local/Ascend", "HCCL_BUFFSIZE=100"],
        "Cmd": ["/bin/bash"],
        "Entrypoint": None,
        "Labels": {"org.opencontainers.image.version": "22.04"},
        "User": "",
        "WorkingDir": "/workspace",
    },
}
_CONFIG: Document = {
    **dict.fromkeys(("Hostname", "Domainname", "User", "WorkingDir"), ""),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"), False),
    **dict.fromkeys(("Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels")),
}
_HOST: Document = {
    **dict.fromkeys(("ContainerIDFile", "VolumeDriver", "Cgroup", "PidMode", "UTSMode", "UsernsMode", "Isolation"), ""),
    **dict.fromkeys(("CgroupParent", "CpusetCpus", "CpusetMems"), ""),
    **dict.fromkeys(("AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "OomKillDisable"), False),
    **dict.fromkeys(("CpuShares", "Memory", "NanoCpus", "CpuPeriod", "CpuQuota", "MemorySwap", "OomScoreAdj"), 0),
    **dict.fromkeys(("Binds", "VolumesFrom", "CapAdd", "CapDrop", "Dns", "GroupAdd", "SecurityOpt", "PidsLimit")),
    **dict.fromkeys(("Devices", "Ulimits", "DeviceRequests", "DeviceCgroupRules")),
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "default",
    "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
    "CgroupnsMode": "host",
    "IpcMode": "private",
    "ShmSize": 64 << 20,
    "Runtime": "runc",
    "MaskedPaths": ["/proc/kcore", "/sys/firmware"],
}


def inspection(
    body: Mapping[str, Any],
    name: str,
    *,
    image: Mapping[str, Any] = IMAGE,
    started: float | None = 0.0,
    **state: Any,
) -> Document:
    """A container made from this body, as the daemon tells it; `started` is None for one that never was.

    What the daemon says of its state, as `Status` and `ExitCode`, is given by name.
    """
    given = {key: value for key, value in body.items() if key != "HostConfig"}
    words = given.get("Cmd") or image["Config"]["Cmd"]
    found = {
        "Id": hashlib.sha256(json.dumps([name, body], sort_keys=True).encode()).hexdigest(),
        "Created": stamp((started or 0.0) - 1.5),
        "Path": words[0],
        "Args": words[1:],
        "State": _state(started, state),
        "Image": image["Id"],
        "Name": f"/{name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "ExecIDs": None,
        "HostConfig": _host(body["HostConfig"]),
        "Mounts": [],
        "Config": {**_CONFIG, **given, **_merged(given, image["Config"])},
        "NetworkSettings": {"Networks": {}},
    }
    copy: Document = json.loads(json.dumps(found))
    return copy


def composed(found: Document) -> Document:
    """The same container, had `docker compose up` made it: labels of its own, and lists in the order of Go's maps."""
    project = {
        "project": "node-0",
        "service": "qwen3",
        "oneoff": "False",
        "config-hash": "ab" * 32,
        "version": "2.40.3",
    }
    found["Config"]["Labels"] |= {f"com.docker.compose.{name}": value for name, value in project.items()}
    for room, key in (("Config", "Env"), ("HostConfig", "Ulimits"), ("HostConfig", "Mounts")):
        found[room][key].reverse()
    return found


def stamp(seconds: float | None) -> str:
    """A time as Docker writes it."""
    if seconds is None:
        return NEVER
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e9):09d}Z"


def _state(started: float | None, given: Mapping[str, Any]) -> Document:
    status = given.get("Status", "running")
    return {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": False,
        "Dead": status == "dead",
        "Pid": 4711 if status in ("running", "paused") else 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": stamp(None if status == "created" else started),
        "FinishedAt": NEVER,
        **given,
    }


def _host(given: Mapping[str, Any]) -> Document:
    mounts = [{key: value for key, value in each.items() if value is not False} for each in given.get("Mounts") or ()]
    ulimits = [
        {"Name": each["Name"], "Hard": each["Hard"], "Soft": each["Soft"]} for each in given.get("Ulimits") or ()
    ]
    policy = {"Name": "", "MaximumRetryCount": 0, **(given.get("RestartPolicy") or {})}
    return {**_HOST, **given, "Mounts": mounts, "Ulimits": ulimits or None, "RestartPolicy": policy}


def _merged(given: Mapping[str, Any], image: Mapping[str, Any]) -> Document:
    own = given.get("Env") or []
    names = {line.partition("=")[0] for line in own}
    return {
        "Env": [*own, *(line for line in image.get("Env") or () if line.partition("=")[0] not in names)],
        "Labels": {**(image.get("Labels") or {}), **(given.get("Labels") or {})},
        **{key: given.get(key) or image.get(key) for key in ("Cmd", "Entrypoint", "User", "WorkingDir")},
    }
