"""What an emulated Docker engine does to a container that is there: start, stop, restart, kill, rename, remove."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from engine_answers import Refused, Reply
from engine_create import check_name
from engine_state import KILLED

if TYPE_CHECKING:
    from engine_answers import Answer, Question
    from engine_api import Engine
    from engine_container import Container

NOT_STARTED, NOT_FOUND = 128, 127
PATIENCE = 10  # seconds that a container gets to end when nobody says how long: docker stop
# What does not end a process that has not asked for it: signal(7).
HARMLESS = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)


def start(engine: Engine, question: Question) -> Answer:
    """Starts one; one that runs is no fault."""
    with engine.world.changed:
        found = engine.find(question.words[0])
        if found.running:
            return Reply(304)
        _start(engine, found)
    engine.started(found)
    return Reply(204)


def _start(engine: Engine, container: Container) -> None:
    """Starts it, unless it names what is not there; one with AutoRemove is gone then.

    https://github.com/moby/moby/blob/20.10/daemon/start.go, containerStart
    """
    refused = _refused(engine, container)
    if refused is None:
        engine.world.run(container)
        return
    container.error = refused.message
    container.exit_code = NOT_FOUND if refused.status == 400 else NOT_STARTED
    if container.host["AutoRemove"]:
        engine.world.remove(container)
    raise refused


def _refused(engine: Engine, container: Container) -> Refused | None:
    for device in container.host["Devices"] or ():
        if (path := device["PathOnHost"]) in engine.missing:
            cause = f'error gathering device information while adding custom device "{path}"'
            return Refused(500, f"{cause}: no such file or directory")
    if (program := container.words[0]) in engine.absent:
        cause = "failed to create shim task: OCI runtime create failed: runc create failed"
        return Refused(400, f"{cause}: {unknown(program)}")
    return None


def unknown(program: str) -> str:
    """What runc says of a program that is not there."""
    cause = f'exec: "{program}": executable file not found in $PATH: unknown'
    return f"unable to start container process: {cause}"


def stop(engine: Engine, question: Question) -> Answer:
    """Tells one to end, and ends it after `t` seconds."""
    found = engine.find(question.words[0])
    if not found.running:
        return Reply(304)
    _stop(engine, found, question)
    return Reply(204)


def _stop(engine: Engine, container: Container, question: Question) -> None:
    seconds = float(question.query.get("t") or container.config.get("StopTimeout") or PATIENCE)
    alive = container.attached()
    with engine.world.changed:
        if container.takes:
            engine.world.changed.wait_for(lambda: not alive() or engine.over.is_set(), min(container.takes, seconds))
        if alive():
            container.end(container.ends_with if container.takes <= seconds else KILLED)


def restart(engine: Engine, question: Question) -> Answer:
    """Stops one, if it runs, and starts it."""
    found = engine.find(question.words[0])
    if found.running:
        _stop(engine, found, question)
    with engine.world.changed:
        _start(engine, found)
    engine.started(found)
    return Reply(204)


def kill(engine: Engine, question: Question) -> Answer:
    """Sends it a signal: it ends by that, unless it is one that nobody minds."""
    (name,) = question.words
    try:
        found = engine.find(name)
    except Refused as refused:
        raise Refused(404, f"Cannot kill container: {name}: {refused.message}") from None
    sent = _signal(question.query.get("signal", "KILL"))
    with engine.world.changed:
        if not found.running:
            raise Refused(409, f"Cannot kill container: {name}: Container {found.id} is not running")
        if sent not in HARMLESS:
            found.end(KILLED if sent == signal.SIGKILL else found.ends_with)
    return Reply(204)


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals[f"SIG{name.removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise Refused(400, f"Invalid signal: {name}") from None


def rename(engine: Engine, question: Question) -> Answer:
    """Gives it another name."""
    name = question.query.get("name", "").lstrip("/")
    with engine.world.changed:
        found = engine.find(question.words[0])
        if not name:
            raise Refused(400, "Neither old nor new names may be empty")
        if name == found.name:
            raise Refused(400, "Renaming a container with the same name as its current name")
        check_name(engine, name, "Error when allocating new name: ")
        found.name = engine.world.names[found.id] = name
    return Reply(204)


def remove(engine: Engine, question: Question) -> Answer:
    """Removes it; one that runs only with `force`."""
    (name,) = question.words
    with engine.world.changed:
        found = engine.find(name)
        if found.status == "removing":
            raise Refused(409, f"removal of container {name} is already in progress")
        if found.running and not question.yes("force"):
            to_do = "Stop the container before attempting removal or force remove"
            raise Refused(409, f"You cannot remove a running container {found.id}. {to_do}")
        engine.world.remove(found)
    return Reply(204)
