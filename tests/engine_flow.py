"""What comes from a container of an emulated Docker engine bit by bit: its log, its streams, its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import engine_shapes as shapes
from engine_answers import Hijacked, Refused, Stream
from engine_said import PATIENCE, STDERR, STDOUT, Said, framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_answers import Answer, Question
    from engine_api import Engine
    from engine_container import Container


def logs(engine: Engine, question: Question) -> Answer:
    """What it has said, and with `follow` what it says until it ends."""
    if not (streams := _streams(question)):
        raise Refused(400, "Bad parameters: you must choose at least one stream")
    found = engine.find(question.words[0])
    since, until = (_seconds(question.query.get(name, "")) for name in ("since", "until"))
    alive = engine.lasting(lambda: found.running)
    follow = question.yes("follow")

    def wanted(said: Said) -> bool:
        return said.stream in streams and since <= said.when and (not until or said.when <= until)

    def parts() -> Iterator[bytes]:
        with engine.world.changed:
            before = list(found.log.parts)
        tail = question.query.get("tail", "")
        shown = [each for each in before if wanted(each)]
        for said in shown[max(0, len(shown) - int(tail)) :] if tail.isdigit() else shown:
            yield _line(found, question, said)
        for each in found.log.follow(len(before), alive) if follow else ():
            if each is None or wanted(each):
                yield b"" if each is None else _line(found, question, each)

    return Stream(parts())


def _line(container: Container, question: Question, said: Said) -> bytes:
    if question.yes("timestamps"):
        said = said._replace(content=f"{shapes.stamp(said.when)} ".encode() + said.content)
    return framed(said, tty=container.config["Tty"])


def _streams(question: Question) -> set[int]:
    return {number for name, number in (("stdout", STDOUT), ("stderr", STDERR)) if question.yes(name)}


def _seconds(text: str) -> float:
    """Seconds since the epoch; fractions may follow."""
    try:
        return float(text or 0)
    except ValueError:
        raise Refused(500, f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def attach(engine: Engine, question: Question) -> Answer:
    """Its streams. One that was made with StdinOnce ends with the first connection to its stdin that does."""
    found = engine.find(question.words[0])
    streams = _streams(question)
    own = found.attached()
    alive = engine.lasting(own)
    begin = 0 if question.yes("logs") else len(found.log.parts)

    def parts() -> Iterator[bytes]:
        for each in found.log.follow(begin, alive):
            if each is None or each.stream in streams:
                yield b"" if each is None else framed(each, tty=found.config["Tty"])

    def hear(content: bytes) -> bool:
        if own():
            found.hear(content)
        return own()

    if not question.yes("stdin"):
        return Hijacked(parts())
    return Hijacked(parts() if streams else None, hear, found.close)


def wait(engine: Engine, question: Question) -> Answer:
    """What it ends with, once it has."""
    found = engine.find(question.words[0])
    condition = question.query.get("condition", "")
    waited = {"next-exit": found.attached(), "removed": lambda: found.status != "removed"}
    alive = engine.lasting(waited.get(condition, lambda: found.running))
    return Stream(_end(found, alive), "application/json")


def _end(container: Container, alive: Callable[[], bool]) -> Iterator[bytes]:
    while alive():
        with container.world.changed:
            container.world.changed.wait_for(lambda: not alive(), PATIENCE)
        yield b""
    yield json.dumps({"Error": None, "StatusCode": container.exit_code}).encode() + b"\n"
