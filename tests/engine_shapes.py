"""The documents of an emulated Docker engine: a container, a command, a volume, an image and the engine itself.

Keys and defaults are what Docker 20.10.24 answered; https://docs.docker.com/reference/api/engine/version/v1.41/
names them. tests/rig/test_emulated.py compares them with a real engine's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine_container import Container, Exec

Document = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"
ROOT = "/var/lib/docker"
VERSION = "20.10.24"
SHM_SIZE = 64 << 20  # bytes
_MASKED = ("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")
CONFIG: Document = {
    **dict.fromkeys(("Hostname", "Domainname", "User", "Image", "WorkingDir"), ""),
    **dict.fromkeys(_FLAGS, False),
    **dict.fromkeys(("Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels")),
}
ONLY_WHEN_GIVEN = ("StopTimeout", "StopSignal", "Healthcheck", "Shell")
HOST: Document = {
    **dict.fromkeys(("ContainerIDFile", "VolumeDriver", "Cgroup", "PidMode", "UTSMode", "UsernsMode", "Isolation"), ""),
    **dict.fromkeys(("CgroupParent", "CpusetCpus", "CpusetMems"), ""),
    **dict.fromkeys(("AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "OomKillDisable"), False),
    **dict.fromkeys(("OomScoreAdj", "CpuShares", "Memory", "NanoCpus", "BlkioWeight", "CpuPeriod", "CpuQuota"), 0),
    **dict.fromkeys(("CpuRealtimePeriod", "CpuRealtimeRuntime", "KernelMemory", "KernelMemoryTCP", "CpuCount"), 0),
    **dict.fromkeys(("MemoryReservation", "MemorySwap", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"), 0),
    **dict.fromkeys(("Binds", "PortBindings", "VolumesFrom", "CapAdd", "CapDrop", "Dns", "DnsOptions", "DnsSearch")),
    **dict.fromkeys(("ExtraHosts", "GroupAdd", "Links", "SecurityOpt", "BlkioWeightDevice", "BlkioDeviceReadBps")),
    **dict.fromkeys(("BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps", "Devices", "Ulimits")),
    **dict.fromkeys(("DeviceCgroupRules", "DeviceRequests", "MemorySwappiness", "PidsLimit")),
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "default",
    "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
    "CgroupnsMode": "host",
    "IpcMode": "private",
    "ShmSize": SHM_SIZE,
    "Runtime": "runc",
    "ConsoleSize": [0, 0],
    "MaskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
    "ReadonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
}
_NETWORK: Document = {
    **dict.fromkeys(("NetworkID", "EndpointID", "Gateway", "IPAddress", "IPv6Gateway", "GlobalIPv6Address"), ""),
    **dict.fromkeys(("IPAMConfig", "Links", "Aliases", "DriverOpts")),
    "MacAddress": "",
    "IPPrefixLen": 0,
    "GlobalIPv6PrefixLen": 0,
}
_NETWORKS: Document = {
    **dict.fromkeys(("Bridge", "SandboxID", "LinkLocalIPv6Address", "SandboxKey", "EndpointID", "Gateway"), ""),
    **dict.fromkeys(("GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress"), ""),
    **dict.fromkeys(("LinkLocalIPv6PrefixLen", "GlobalIPv6PrefixLen", "IPPrefixLen"), 0),
    "HairpinMode": False,
    "Ports": {},
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
}


def stamp(seconds: float | None, *, parts: bool = True) -> str:
    """A time as Docker writes it; `parts` of a second are billionths."""
    if seconds is None:
        return NEVER
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e9):09d}Z" if parts else f"{whole}Z"


def inspection(container: Container, execs: list[str]) -> Document:
    """A container, with the commands in it that have not ended."""
    path, *words = container.words
    folder = f"{ROOT}/containers/{container.id}" if container.started else ""
    return {
        "Id": container.id,
        "Created": stamp(container.created),
        "Path": path,
        "Args": words,
        "State": state(container),
        "Image": container.image,
        "ResolvConfPath": folder and f"{folder}/resolv.conf",
        "HostnamePath": folder and f"{folder}/hostname",
        "HostsPath": folder and f"{folder}/hosts",
        "LogPath": folder and f"{folder}/{container.id}-json.log",
        "Name": f"/{container.name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs or None,
        "HostConfig": container.host,
        "GraphDriver": {"Data": {}, "Name": "overlay2"},
        "Mounts": container.mounts,
        "Config": container.config,
        "NetworkSettings": {**_NETWORKS, "Networks": {container.host["NetworkMode"]: _NETWORK}},
    }


def state(container: Container) -> Document:
    """How it goes."""
    return {
        "Status": container.status,
        "Running": container.running,
        "Paused": container.status == "paused",
        "Restarting": container.status == "restarting",
        "OOMKilled": container.out_of_memory,
        "Dead": container.status in ("removing", "dead"),
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": stamp(container.started),
        "FinishedAt": stamp(container.finished),
    }


def entry(container: Container, now: float) -> Document:
    """A container in a list."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.config["Image"],
        "ImageID": container.image,
        "Command": " ".join(f"'{word}'" if " " in word else word for word in container.words),
        "Created": int(container.created),
        "Ports": [],
        "Labels": container.config["Labels"] or {},
        "State": container.status,
        "Status": status(container, now),
        "HostConfig": {"NetworkMode": container.host["NetworkMode"]},
        "NetworkSettings": {"Networks": {container.host["NetworkMode"]: _NETWORK}},
        "Mounts": container.mounts,
    }


def status(container: Container, now: float) -> str:
    """How it goes, in words."""
    if container.running:
        return f"Up {_ago(now - (container.started or now))}"
    if container.status == "exited":
        return f"Exited ({container.exit_code}) {_ago(now - (container.finished or now))} ago"
    return {"created": "Created", "removing": "Removal In Progress"}.get(container.status, "Dead")


def _ago(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return {0: "Less than a second", 1: "1 second"}.get(whole, f"{whole} seconds")
    return "About a minute" if whole < 120 else f"{whole // 60} minutes"


def command(this: Exec) -> Document:
    """A command in a container."""
    program, *words = this.command
    return {
        "ID": this.id,
        "Running": this.running,
        "ExitCode": this.status,
        "ProcessConfig": {
            "tty": bool(this.asked.get("Tty")),
            "entrypoint": program,
            "arguments": words,
            "privileged": bool(this.asked.get("Privileged")),
        },
        "OpenStdin": bool(this.asked.get("AttachStdin")),
        "OpenStderr": bool(this.asked.get("AttachStderr")),
        "OpenStdout": bool(this.asked.get("AttachStdout")),
        "CanRemove": False,
        "ContainerID": this.container.id,
        "DetachKeys": "",
        "Pid": this.pid,
    }


def volume(name: str, labels: dict[str, str] | None, now: float) -> Document:
    """A volume."""
    return {
        "CreatedAt": stamp(now, parts=False),
        "Driver": "local",
        "Labels": labels,
        "Mountpoint": f"{ROOT}/volumes/{name}/_data",
        "Name": name,
        "Options": None,
        "Scope": "local",
    }


def image(partly: Document, tags: list[str], digests: list[str]) -> Document:
    """An image of which only a part is given."""
    return {
        "Parent": "",
        "Comment": "",
        "Created": "2025-01-01T00:00:00Z",
        "Container": "",
        "ContainerConfig": CONFIG,
        "DockerVersion": "",
        "Author": "",
        "Architecture": "arm64",
        "Os": "linux",
        "Size": 1 << 30,
        "VirtualSize": 1 << 30,
        "GraphDriver": {"Data": {}, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": [f"sha256:{'1' * 64}"]},
        "Metadata": {"LastTagTime": NEVER},
        **partly,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Config": {**CONFIG, **(partly.get("Config") or {})},
    }


def image_entry(shown: Document) -> Document:
    """An image in a list, from its inspection."""
    return {
        "Containers": -1,
        "Created": 1735689600,  # 2025-01-01
        "Id": shown["Id"],
        "Labels": shown["Config"]["Labels"],
        "ParentId": shown["Parent"],
        "RepoDigests": shown["RepoDigests"] or None,
        "RepoTags": shown["RepoTags"] or None,
        "SharedSize": -1,
        "Size": shown["Size"],
        "VirtualSize": shown["VirtualSize"],
    }


def version() -> Document:
    """The engine's version."""
    return {
        "Version": VERSION,
        "ApiVersion": "1.41",
        "MinAPIVersion": "1.12",
        "GitCommit": "5d6db84",
        "GoVersion": "go1.19.8",
        "Os": "linux",
        "Arch": "arm64",
        "KernelVersion": "5.10.0",
        "BuildTime": "2023-05-07T21:09:36.000000000+00:00",
    }


def information(name: str, states: Sequence[str], images: int, now: float) -> Document:
    """What the engine says of itself."""
    return {
        "ID": "EMUL:ATED",
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": 0,
        "ContainersStopped": len(states) - states.count("running"),
        "Images": images,
        "Driver": "overlay2",
        "SystemTime": stamp(now),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1",
        "KernelVersion": "5.10.0",
        "OperatingSystem": "openEuler 22.03",
        "OSType": "linux",
        "Architecture": "aarch64",
        "NCPU": 192,
        "MemTotal": 1 << 40,
        "DockerRootDir": ROOT,
        "Name": name,
        "Labels": [],
        "ServerVersion": VERSION,
        "Runtimes": {"runc": {"path": "runc"}},
        "DefaultRuntime": "runc",
        "LiveRestoreEnabled": False,
        "InitBinary": "docker-init",
        "SecurityOptions": ["name=seccomp,profile=default"],
        "Warnings": None,
    }
