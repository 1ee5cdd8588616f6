"""A container that is there for a while, with one script in it; what Docker refuses of it is left out and told."""

from __future__ import annotations

import io
import re
import tarfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.engine_fault import EngineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from compiler.engine import Engine
    from compiler.engine_look import Outcome
    from compiler.plan import Mount

SCRIPT = "/compiler-verify.sh"


class Wanted(NamedTuple):
    """The container to make for a while.

    Attributes:
        name: Its name.
        image: The image reference.
        seconds: It ends by itself after so long, whatever becomes of us.
        labels: Its labels.
        devices: Device nodes, at the same path inside.
        mounts: Bind mounts; a missing source is an error.
        memory: Folders in memory, of its own.
        privileged: It has every device and capability.
        script: A bash script that lies at SCRIPT in it.
    """

    name: str
    image: str
    seconds: int
    labels: Mapping[str, str]
    devices: tuple[str, ...]
    mounts: tuple[Mount, ...]
    memory: tuple[str, ...]
    privileged: bool
    script: bytes


class Inside:
    """A container that is there for a while.

    Attributes:
        refused: What Docker would not give it, a device or the source of a mount, and what it said.
    """

    def __init__(self, engine: Engine, container: str, refused: Mapping[str, str]) -> None:
        self.refused = refused
        self._engine = engine
        self._container = container

    def run(self, command: Sequence[str], heard: Callable[[str], None] = lambda _: None) -> Outcome:
        """Runs a command in it to its end.

        Raises:
            EngineFault: The engine did not do it, or its answer was cut off.
        """
        return self._engine.run(self._container, command, heard)

    def remove(self) -> None:
        """Removes it with all that runs in it, before its time.

        Raises:
            EngineFault: The engine did not do it.
        """
        self._engine.remove(self._container)


@contextmanager
def lodged(engine: Engine, wanted: Wanted) -> Iterator[Inside]:
    """A container that runs nothing yet, removed at the end; what Docker refuses of it is left out and told."""
    refused: dict[str, str] = {}
    while True:
        made = None
        try:
            made = engine.create(wanted.name, _body(wanted, refused))  # its name is nobody's: a random word is in it
            engine.put(made, {SCRIPT: wanted.script})
            engine.start(made)
            break
        except EngineFault as fault:
            if made is not None or fault.unsure:
                with suppress(EngineFault):  # the first fault is the one to tell
                    _removed(engine, made or wanted.name)
            if not _named(fault.cause, _asked(wanted, refused), refused):
                raise
    try:
        yield Inside(engine, made, refused)
    finally:
        _removed(engine, made)


def _removed(engine: Engine, container: str) -> None:
    """Removes it, also when the first answer was lost: one that was never started would not end by itself."""
    try:
        engine.remove(container)
    except EngineFault as fault:
        if not fault.unsure:
            raise
        engine.remove(container)


def _body(wanted: Wanted, refused: Mapping[str, str]) -> dict[str, Any]:
    """The container as Docker's API takes it: the host's network, and an end of its own."""
    return {
        "Image": wanted.image,
        "Entrypoint": ["sleep"],
        "Cmd": [str(wanted.seconds)],
        "User": "0",
        "Labels": dict(wanted.labels),
        "HostConfig": {
            "NetworkMode": "host",
            "AutoRemove": True,
            "Privileged": wanted.privileged,
            "Devices": [
                {"PathOnHost": device, "PathInContainer": device, "CgroupPermissions": "rwm"}
                for device in wanted.devices
                if device not in refused
            ],
            "Mounts": [
                {"Type": "bind", "Source": each.source, "Target": each.target, "ReadOnly": each.read_only}
                for each in wanted.mounts
                if each.source not in refused
            ],
            "Tmpfs": dict.fromkeys(wanted.memory, "mode=1777"),
            # Who holds an NPU is read in /proc of all processes of the host; that is all that these two are for.
            "CapAdd": ["SYS_PTRACE"],
            "SecurityOpt": ["apparmor=unconfined", "label=disable"],
        },
    }


def _asked(wanted: Wanted, refused: Mapping[str, str]) -> Iterable[str]:
    asked = {*wanted.devices, *(mount.source for mount in wanted.mounts)}
    return sorted(asked - set(refused), key=len, reverse=True)


def _named(cause: str, asked: Iterable[str], refused: dict[str, str]) -> bool:
    """Notes which path Docker refused; true when its words name one.

    As in `bind source path does not exist: /usr/local/dcmi` and `error gathering device information while
    adding custom device "/dev/davinci7": no such file or directory`.
    """
    for path in asked:
        if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w./-])", cause):
            refused[path] = cause
            return True
    return False


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of executable files, by their absolute paths."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()
