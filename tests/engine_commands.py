"""Commands in a container of an emulated Docker engine, and what a test says that they do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import engine_shapes as shapes
from engine_answers import Hijacked, Refused, Reply
from engine_container import Exec
from engine_life import unknown
from engine_said import STDERR, STDOUT, Said, framed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine_answers import Answer, Question
    from engine_api import Engine, Parts

NOT_RUN = 126
BROKEN = 255  # what a command ends with whose test failed


def create(engine: Engine, question: Question) -> Answer:
    """Makes one; it is run later."""
    asked = question.document()
    with engine.world.changed:
        found = engine.find(question.words[0])
        if not asked.get("Cmd"):
            raise Refused(400, "No exec command specified")
        if asked.get("AttachStdin"):
            raise Refused(501, "the emulated engine knows no AttachStdin of a command")
        if not found.running:
            raise Refused(409, f"Container {found.id} is not running")
        made = Exec(found, asked)
        engine.world.execs[made.id] = made
    return Reply(201, {"Id": made.id})


def inspect(engine: Engine, question: Question) -> Answer:
    """Shows one."""
    return Reply(200, shapes.command(_known(engine, question.words[0])))


def _known(engine: Engine, name: str) -> Exec:
    found = engine.world.execs.get(name)
    if found is None:
        raise Refused(404, f"No such exec instance: {name}")
    return found


def start(engine: Engine, question: Question) -> Answer:
    """Runs one: apart, or with its output as the rest of the connection."""
    found = _known(engine, question.words[0])
    apart = question.document().get("Detach", False)
    with engine.world.changed:
        if not found.container.running:
            how = shapes.status(found.container, engine.now())
            raise Refused(500, f"Container {found.container.id} is not running: {how}")
        if (refusal := _refusal(engine, found)) is None:
            found.running, found.pid = True, engine.world.pid()
            threading.Thread(target=_work, args=(engine, found), daemon=True).start()
    if refusal is not None and apart:
        raise refusal
    if refusal is not None:
        told = Said(engine.now(), STDOUT, f"{refusal.message}\r\n".encode())
        return Hijacked(iter((framed(told, tty=False),)))
    return Reply(200) if apart else Hijacked(_parts(engine, found), left=lambda: _cut(found))


def _refusal(engine: Engine, this: Exec) -> Refused | None:
    """Why it cannot run."""
    if this.running:
        return Refused(409, f"Error: Exec command {this.id} is already running")
    if this.status is not None:
        return Refused(409, f"Error: Exec command {this.id} has already run")
    if (program := this.command[0]) in engine.absent:
        this.status = NOT_RUN
        return Refused(400, f"OCI runtime exec failed: exec failed: {unknown(program)}")
    return None


def _cut(this: Exec) -> None:
    this.cut = True


def _parts(engine: Engine, this: Exec) -> Iterator[bytes]:
    alive = engine.lasting(lambda: this.running)
    wanted = {STDOUT: this.asked.get("AttachStdout"), STDERR: this.asked.get("AttachStderr")}
    for said in this.output.follow(0, alive):
        if said is None or wanted[said.stream]:
            yield b"" if said is None else framed(said, tty=bool(this.asked.get("Tty")))


def _work(engine: Engine, this: Exec) -> None:
    """Does what the test says that the command does, until it is over or its container is."""
    status = BROKEN
    try:
        answer = engine.answer(this)
        if isinstance(answer, tuple):
            status, out, err = answer
            this.output.say(STDERR, err.encode())
            this.output.say(STDOUT, out.encode())
        else:
            status = _said(engine, this, answer)
    finally:
        this.end(status)


def _said(engine: Engine, this: Exec, parts: Parts) -> int:
    """Says part by part; what it ends with is what the generator returns."""
    while True:
        try:
            stream, text, seconds = next(parts)
        except StopIteration as over:
            return over.value or 0
        with engine.world.changed:
            engine.world.changed.wait_for(lambda: not this.running or engine.over.is_set(), seconds)
        if not this.running or engine.over.is_set():
            parts.close()
            return BROKEN
        this.output.say(stream, text.encode())
