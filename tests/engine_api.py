"""An emulated Docker engine: the part of its API that the compiler's commands need, with real state, and its faults.

It is as Docker 20.10.24 is, as far as it goes: tests/rig/test_emulated.py asks both the same. Containers run
nothing: what a command in one says is told by `run`, and a container ends when somebody ends it. Its parts:

    engine_door       HTTP on a socket              engine_faults     what goes wrong
    engine_answers    questions and answers         engine_routes     which question is answered by which of:
    engine_state      all that there is             engine_create, _life, _flow, _files, _commands, _images, _volumes
    engine_container  one of them, and a command    engine_shapes     the documents that are answered
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from engine_answers import Hijacked, Refused, Reply
from engine_create import adopt
from engine_door import Door
from engine_routes import route
from engine_state import World

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from engine_answers import Answer as Answered
    from engine_answers import Question
    from engine_container import Container, Exec
    from engine_faults import Fault
    from engine_shapes import Document

# What a command in a container is answered with: status, stdout, stderr; or part by part, each with its stream and
# the seconds before it; what the generator returns is the status.
Parts = Generator[tuple[int, str, float], None, int | None]
Answer = tuple[int, str, str]
LOOK = """\
python 3.11.13
ray 2.48.0
vllm 0.11.0
vllm-ascend 0.11.0
program /usr/local/bin/vllm
npu-smi 0
| npu-smi 25.2.0                   Version: 25.2.0 |
"""
# What changes no container, no volume and no image: what a command does is told by its words alone.
READS = re.compile(r"(GET|HEAD) |POST /containers/[^/]+/(wait|exec)$|POST /exec/[^/]+/start$")


@dataclass(eq=False)
class Engine:
    """One engine, healthy until a test changes it.

    Attributes:
        socket: Where it listens; None, or TLS settings, stand for a free port of this machine.
        run: Answers a command in a container, by its words and the file that was put into the container last.
        images: A part of the inspection of each image, by reference: its `Id` at least.
        others: A part of the inspection of each container that was there before.
        execute: Answers a command in place of `run`, and knows all of it: its container, the files and variables.
        registry: What can be pulled: as `images`, or the words that a pull ends with in its midst. None: no network.
        started: Told of each container that was started.
        missing: Paths of the host that are not there.
        absent: Programs that no image has.
        ahead: Seconds that its clock is ahead.
        name: The host's name.
        faults: What goes wrong, until it is taken out again.
        asked: Method and path of each question, in their order; for ids, it has the names of the containers.
        over: Set when the engine ends: what hangs waits for it.
    """

    socket: Path | ssl.SSLContext | None
    run: Callable[[list[str], str], Answer | Parts]
    images: dict[str, Document] = field(default_factory=dict)
    others: Sequence[Document] = ()
    execute: Callable[[Exec], Answer | Parts] | None = None
    registry: dict[str, Document | str] | None = field(default_factory=dict)
    started: Callable[[Container], None] = lambda _: None
    missing: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    ahead: float = 0.0
    name: str = "emulated"
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.world = World(self.now)
        self.door = Door(self.socket, self._answer)
        self.url = self.door.url
        self._lives = 0
        for partly in self.others:
            adopt(self, partly)

    def __enter__(self) -> Self:
        self.door.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.die()

    # ---- What a test does to it, and sees ------------------------------------------------------------------

    def die(self) -> None:
        """Dies, as by SIGKILL: its clients are cut off, and nobody listens. Its containers live on."""
        self._lives += 1
        self.door.close()
        with self.world.changed:
            self.world.changed.notify_all()

    def come_back(self, *, live_restore: bool = False) -> None:
        """Comes back with all that it had, but for what it reads anew.

        Docker ends the containers that run, unless it is set to `live-restore`:
        https://docs.docker.com/engine/daemon/live-restore/
        """
        for each in list(self.world.containers.values()):
            each.host |= {key: each.host[key] or [] for key in ("Dns", "DnsOptions", "DnsSearch")}
            if not live_restore:
                each.end(each.ends_with)
        self.door.open()

    def forget(self) -> None:
        """Has no containers, commands and volumes any more, as after the loss of /var/lib/docker."""
        for each in list(self.world.containers.values()):
            self.world.remove(each)
        self.world.volumes.clear()

    def adopt(self, partly: dict[str, Any]) -> Container:
        """Has one more container, as if it was there before: made of a part of its inspection."""
        return adopt(self, partly)

    @property
    def containers(self) -> dict[str, Container]:
        """Its containers, by name."""
        with self.world.changed:
            return {each.name: each for each in self.world.containers.values()}

    @property
    def changes(self) -> list[str]:
        """What was asked that may have changed a container, a volume or an image. Commands are not among it."""
        return [asked for asked in self.asked if not READS.match(asked)]

    # ---- What its parts need -------------------------------------------------------------------------------

    def now(self) -> float:
        """The time by its clock, in seconds since the epoch."""
        return time.time() + self.ahead

    def find(self, name: str) -> Container:
        """The container of this id, name or beginning of an id.

        Raises:
            Refused: There is none.
        """
        found = self.world.find(name)
        if found is None:
            raise Refused(404, f"No such container: {name}")
        return found

    def answer(self, this: Exec) -> Answer | Parts:
        """What a command says."""
        if self.execute is not None:
            return self.execute(this)
        last = list(this.container.files.values())[-1:]
        return self.run(this.command, last[0].content.decode() if last else "")

    def lasting(self, alive: Callable[[], bool]) -> Callable[[], bool]:
        """As `alive`, but for the engine's own end."""
        lives = self._lives
        return lambda: lives == self._lives and alive()

    def _answer(self, question: Question) -> Answered:
        """Answers a question, through the first fault that it fits."""
        path = f"{question.method} {question.path}"
        with self.world.changed:
            asked = re.sub("[0-9a-f]{64}", lambda match: self.world.names.get(match[0], match[0]), path)
            self.asked.append(asked)
            fault = next((each for each in self.faults if each.fits(asked)), None)
        if fault is None:
            return self._done(question)
        alive = self.lasting(lambda: fault in self.faults)
        answer = fault.before(self, alive)
        return fault.afterwards(self, alive, self._done(question)) if answer is None else answer

    def _done(self, question: Question) -> Answered:
        try:
            return route(self, question)
        except Refused as refused:
            if question.path.endswith("/attach"):  # its connection is taken over before anything is looked up
                return Hijacked(iter((f"{refused.message}\r\n".encode(),)), status=refused.status)
            return Reply(refused.status, {"message": refused.message})
