"""The volumes of an emulated Docker engine: a name and labels each."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import engine_shapes as shapes
from engine_answers import Refused, Reply
from engine_filters import filters, labelled, named

if TYPE_CHECKING:
    from engine_answers import Answer, Question
    from engine_api import Engine
    from engine_shapes import Document
    from engine_state import World


def volume(world: World, name: str, labels: dict[str, str] | None) -> Document:
    """The volume of this name: the one that there is, as it is, or a new one.

    Raises:
        Refused: No volume can be called so.
    """
    name = name or secrets.token_hex(32)
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name):
        allowed = 'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed'
        to_do = "If you intended to pass a host directory, use absolute path"
        cause = f'"{name}" includes invalid characters for a local volume name, {allowed}. {to_do}'
        raise Refused(400, f"create {name}: {cause}")
    if len(name) == 1:
        cause = "volume name is too short, names should be at least two alphanumeric characters"
        raise Refused(400, f"create {name}: {cause}")
    with world.changed:
        return world.volumes.setdefault(name, shapes.volume(name, labels, world.now()))


def create(engine: Engine, question: Question) -> Answer:
    """Makes one."""
    asked = question.document()
    return Reply(201, volume(engine.world, asked.get("Name", ""), asked.get("Labels")))


def inspect(engine: Engine, question: Question) -> Answer:
    """Shows one."""
    return Reply(200, _known(engine, question.words[0]))


def listed(engine: Engine, question: Question) -> Answer:
    """Shows those that are asked for."""
    wanted = filters(question, "label", "name")
    with engine.world.changed:
        there = list(engine.world.volumes.values())
    found = [each for each in there if named(each["Name"], wanted) and labelled(each["Labels"] or {}, wanted)]
    return Reply(200, {"Volumes": found, "Warnings": None})


def remove(engine: Engine, question: Question) -> Answer:
    """Removes one; with `force`, one that is not there is no fault."""
    (name,) = question.words
    with engine.world.changed:
        if name in engine.world.volumes or not question.yes("force"):
            _known(engine, name)
            if users := engine.world.users(name):
                raise Refused(409, f"remove {name}: volume is in use - [{', '.join(users)}]")
            del engine.world.volumes[name]
    return Reply(204)


def _known(engine: Engine, name: str) -> Document:
    found = engine.world.volumes.get(name)
    if found is None:
        raise Refused(404, f"get {name}: no such volume")
    return found
