"""A container of an emulated Docker engine, and a command in it: what each is and what can become of it.

A container runs until it is ended: by a question, by a test, or by the end of its stdin.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from engine_said import STDOUT, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine_state import World

Status = Literal["created", "running", "paused", "restarting", "exited", "dead", "removing", "removed"]
CUT_OFF = 126  # what a command ends with that nobody listens to any more
FOLDERS = {"/", "/bin", "/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/usr", "/var", "/var/log"}  # noqa: S108


class File(NamedTuple):
    """A file in a container."""

    content: bytes
    mode: int = 0o644


@dataclass(eq=False)
class Container:
    """A container.

    Attributes:
        image: The id of its image.
        config: Its `Config`, as an inspection shows it.
        host: Its `HostConfig`, likewise.
        mounts: Its `Mounts`, likewise.
        status: Its `State.Status`.
        out_of_memory: It was ended for want of memory.
        started: When, in seconds since the epoch; None: never.
        files: What was put into it, by path.
        takes: Seconds that it needs to end when it is told to.
        ends_with: What it ends with when it is told to.
        ends: How often it has ended.
        closed: Nobody can write to its stdin any more.
    """

    world: World
    name: str
    image: str
    config: dict[str, Any]
    host: dict[str, Any]
    mounts: list[dict[str, Any]]
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    started: float | None = None
    finished: float | None = None
    files: dict[str, File] = field(default_factory=dict)
    takes: float = 0.0
    ends_with: int = 0
    ends: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        """Notes when it was made, in seconds since the epoch."""
        self.created = self.world.now()
        self.world.names[self.id] = self.name
        self.log = Output(self.world.changed, self.world.now)

    @property
    def running(self) -> bool:
        """Its processes may run."""
        return self.status in ("running", "paused", "restarting")

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return dict(self.config["Labels"] or {})

    @property
    def environment(self) -> Mapping[str, str]:
        """Its variables."""
        pairs = (pair.partition("=") for pair in self.config["Env"] or ())
        return {name: value for name, _, value in pairs}

    @property
    def words(self) -> list[str]:
        """What it runs."""
        return [*(self.config["Entrypoint"] or ()), *(self.config["Cmd"] or ())]

    def say(self, text: str, stream: int = STDOUT) -> None:
        """Says something in its log."""
        self.log.say(stream, text.encode(), lines=True)

    def attached(self) -> Callable[[], bool]:
        """Tells whether what runs now, or is about to, has not ended yet."""
        ends = self.ends
        return lambda: self.ends == ends and self.status != "removed"

    def hear(self, content: bytes) -> None:
        """Takes what is written to its stdin. `cat` says it again."""
        if self.words == ["cat"]:
            self.log.say(STDOUT, content, lines=True)

    def close(self) -> None:
        """Notes that one who could write to its stdin has gone: with StdinOnce it ends by that."""
        with self.world.changed:
            if self.config["OpenStdin"] and self.config["StdinOnce"]:
                self.closed = True
                if self.running:
                    self.end(0)

    def end(self, status: int) -> None:
        """Ends, with all that runs in it."""
        with self.world.changed:
            if self.running:
                self.status, self.exit_code, self.pid = "exited", status, 0
                self.finished, self.ends = self.world.now(), self.ends + 1
                self.world.ended(self)

    def has_folder(self, path: str) -> bool:
        """There is such a folder in it."""
        path = path.rstrip("/") or "/"
        return path in FOLDERS or any(name.startswith(f"{path}/") for name in self.files)


@dataclass(eq=False)
class Exec:
    """A command in a container.

    Attributes:
        asked: What was asked for: `Cmd`, `Env`, `AttachStdout` and so on.
        cut: Whoever listened has gone while it still had something to say.
    """

    container: Container
    asked: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    running: bool = False
    status: int | None = None
    pid: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        self.container.world.names[self.id] = self.container.name
        self.output = Output(self.container.world.changed, self.container.world.now)

    @property
    def command(self) -> list[str]:
        """Its words."""
        return list(self.asked["Cmd"])

    @property
    def environment(self) -> Mapping[str, str]:
        """Its variables: the container's and its own."""
        own = (pair.partition("=") for pair in self.asked.get("Env") or ())
        return {**self.container.environment, **{name: value for name, _, value in own}}

    def end(self, status: int) -> None:
        """Ends."""
        with self.container.world.changed:
            if self.running:
                self.running, self.status = False, CUT_OFF if self.cut else status
                self.container.world.changed.notify_all()
