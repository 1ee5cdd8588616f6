"""What an engine tells of a container or an image, as values: the one reader of Docker's answers about them.

`traits` names everything that decides what a container is, each as a text. The same function reads the body that
creates one and the inspection of one that is there, so what differs between them is what was changed:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect
"""

from __future__ import annotations

import posixpath
import re
import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.clean import one_line
from compiler.plan import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HASH_LABEL = f"{LABEL_PREFIX}config-hash"
# `docker update` changes these of a container that runs; nothing here sets them.
_BY_HAND = ("Memory", "NanoCpus", "CpuShares", "CpuQuota", "CpusetCpus", "CpusetMems", "PidsLimit")


class State(NamedTuple):
    """How a container is.

    Attributes:
        status: Docker's word: created, running, paused, restarting, removing, exited or dead.
        exit_code: Of its last end.
        oom_killed: It was ended for want of memory.
        error: What Docker said when it could not start it.
        started: When, by the engine's own clock, in seconds since the epoch; 0 for never.
    """

    status: str
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started: float = 0.0

    @property
    def running(self) -> bool:
        """True while its processes may run."""
        return self.status in ("running", "paused", "restarting")

    @property
    def text(self) -> str:
        """As people read it: `running`, or `exited with status 137, for want of memory`."""
        if self.status != "exited":
            return self.status
        why = ", for want of memory" if self.oom_killed else f": {self.error}" if self.error else ""
        return f"{self.status} with status {self.exit_code}{why}"

    @property
    def clause(self) -> str:
        """What is said of a container: it `has exited with status 137`, it `is paused`, it `was never started`."""
        if self.status == "created":
            return "was never started" + (f": {self.error}" if self.error else "")
        return f"has {self.text}" if self.status == "exited" else f"is {self.text}"


class Seen(NamedTuple):
    """A container that is there.

    Attributes:
        id: Docker's id of it.
        name: Its name.
        state: How it is.
        image: The id of its image.
        reference: The image as it was asked for.
        created: When, by the engine's own clock, in seconds since the epoch.
        labels: Its labels.
        devices: The device nodes of the host that it was given.
        privileged: It has all devices.
        traits: All that decides what it is.
    """

    id: str
    name: str
    state: State
    image: str
    reference: str
    created: float
    labels: Mapping[str, str]
    devices: tuple[str, ...]
    privileged: bool
    traits: Mapping[str, str]

    def __repr__(self) -> str:
        """Without its traits: among them are the values of secrets, and a traceback may show this."""
        return f"Seen(name={self.name!r}, id={self.id!r}, state={self.state.text!r})"

    @property
    def running(self) -> bool:
        """True while its processes may run."""
        return self.state.running

    def label(self, name: str) -> str:
        """One of our own labels, or nothing."""
        return self.labels.get(f"{LABEL_PREFIX}{name}", "")


class Image(NamedTuple):
    """An image that is there.

    Attributes:
        id: Docker's id of it, which is made of its content.
        digests: The names with digest that it was pulled by; none for one that was loaded from a file.
        config: What a container takes over of it: Env, Entrypoint, User and Labels.
    """

    id: str
    digests: tuple[str, ...]
    config: Mapping[str, Any]


def container(found: Mapping[str, Any]) -> Seen:
    """A container, from its inspection."""
    config, host, state = found["Config"], found["HostConfig"], found["State"]
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    return Seen(
        id=str(found["Id"]),
        name=str(found["Name"]).lstrip("/"),
        state=_state(state),
        image=str(found.get("Image", "")),
        reference=str(config.get("Image", "")),
        created=moment(str(found["Created"])),
        labels=labels,
        devices=tuple(str(each["PathOnHost"]) for each in host.get("Devices") or ()),
        privileged=bool(host.get("Privileged")),
        traits=traits(config, host),
    )


def _state(found: Mapping[str, Any]) -> State:
    status = one_line(str(found.get("Status") or ("running" if found["Running"] else "exited")))
    started = str(found.get("StartedAt") or _NEVER)
    return State(
        status=status,
        exit_code=_whole(found.get("ExitCode") or 0),
        oom_killed=bool(found.get("OOMKilled")),
        error=one_line(str(found.get("Error") or "")),
        started=0.0 if started.startswith(_NEVER) else moment(started),
    )


_NEVER = "0001-"


def _whole(number: Any) -> int:
    """The number, which must be a whole one; JSON also holds 1e999."""
    if not isinstance(number, int):
        raise TypeError(f"{number!r} is no whole number")
    return number


def moment(stamp: str) -> float:
    """Seconds since the epoch of a time like 2026-11-24T11:16:09.123456789Z.

    Raises:
        ValueError: It is no such time.
    """
    parts = re.fullmatch(r"([\dT:-]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp)
    if parts is None:
        raise ValueError(f"{stamp!r} is no time")
    date, fraction, zone = parts.groups()
    return datetime.fromisoformat(date + zone.replace("Z", "+00:00")).timestamp() + float(fraction or 0)


def image(found: Mapping[str, Any]) -> Image:
    """An image, from its inspection."""
    config = found.get("Config") or {}
    taken = {
        **{name: [str(each) for each in config.get(name) or ()] for name in ("Env", "Entrypoint")},
        "User": str(config.get("User") or ""),
        "Labels": {str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
    }
    return Image(str(found["Id"]), tuple(map(str, found.get("RepoDigests") or ())), taken)


def traits(config: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, str]:
    """All that decides what a container is, but for its image: name and text of each, in a good order to tell them."""
    return dict(_traits(config, host))


def _traits(config: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _command(config)
    for line in config.get("Env") or ():
        name, _, value = str(line).partition("=")
        yield f"env.{name}", value
    for device in host.get("Devices") or ():
        yield f"devices.{device['PathInContainer']}", f"{device['PathOnHost']} ({device['CgroupPermissions']})"
    yield from _mounts(host)
    for limit in host.get("Ulimits") or ():
        yield f"ulimits.{limit['Name']}", f"{limit['Soft']}:{limit['Hard']}"
    yield "shm_size", str(host.get("ShmSize") or 64 << 20)  # Docker's own is 64 MiB
    yield "init", str(bool(host.get("Init"))).lower()
    yield "privileged", str(bool(host.get("Privileged"))).lower()
    yield "stop_seconds", str(config.get("StopTimeout") or 10)  # Docker's own is 10
    yield "network", str(host.get("NetworkMode") or "default")
    yield "restart", str((host.get("RestartPolicy") or {}).get("Name") or "no")
    yield "user", str(config.get("User") or "root")
    for name in _BY_HAND:
        if host.get(name):
            yield f"docker update.{name}", str(host[name])
    for name, value in (config.get("Labels") or {}).items():
        yield f"labels.{name}", str(value)


def _command(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The words, and apart from them the script among them, which nobody wants to read in a table."""
    words = [str(word) for word in config.get("Cmd") or ()]
    yield "command", shlex.join(word for word in words if "\n" not in word)
    yield "start script", "".join(word for word in words if "\n" in word)
    yield "entrypoint", shlex.join(map(str, config.get("Entrypoint") or ()))


def _mounts(host: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in host.get("Mounts") or ():
        yield _mount(str(each["Target"]), str(each.get("Source") or ""), read_only=bool(each.get("ReadOnly")))
    for bind in host.get("Binds") or ():  # the short form, as `docker run -v` writes it
        source, _, rest = str(bind).partition(":")
        target, _, options = rest.partition(":")
        yield _mount(target, source, read_only="ro" in options.split(","))


def _mount(target: str, source: str, *, read_only: bool) -> tuple[str, str]:
    """Paths are normalized, as Compose does to a target that ends in a slash."""
    paths = [posixpath.normpath(path) if path else "" for path in (target, source)]
    return f"mounts.{paths[0]}", f"{paths[1]} ({'read-only' if read_only else 'writable'})"


def desired(body: Mapping[str, Any], made_of: Image | None) -> dict[str, str]:
    """The traits of a container that this body would create: what its image brings is part of it."""
    config = dict(made_of.config) if made_of else {}
    own = {line.partition("=")[0]: line for line in map(str, body.get("Env") or ())}
    theirs = {line.partition("=")[0]: line for line in config.get("Env", ())}
    merged = {
        **body,
        "Env": list({**theirs, **own}.values()),
        "Entrypoint": body.get("Entrypoint") or config.get("Entrypoint"),
        "User": body.get("User") or config.get("User"),
        "Labels": body.get("Labels") or {},
    }
    return traits(merged, body["HostConfig"])
