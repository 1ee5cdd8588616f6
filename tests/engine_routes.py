"""Which question an emulated Docker engine answers how.

Paths, fields and status codes: https://docs.docker.com/reference/api/engine/version/v1.41/ . The words are those
of Docker 20.10.24, with which tests/rig/test_emulated.py compares them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import engine_commands as commands
import engine_create as making
import engine_files as files
import engine_flow as flow
import engine_images as images
import engine_life as life
import engine_shapes as shapes
import engine_volumes as volumes
from engine_answers import Bytes, Refused, Reply
from engine_filters import filters, fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_answers import Answer, Question
    from engine_api import Engine


def route(engine: Engine, question: Question) -> Answer:
    """Does what is asked.

    Raises:
        Refused: Docker would not.
    """
    for method, pattern, answer in ROUTES:
        if method == question.method and (match := re.fullmatch(pattern, question.path)):
            return answer(engine, question._replace(words=match.groups()))
    raise Refused(404, "page not found")


def _ping(_: Engine, __: Question) -> Answer:
    return Bytes(b"OK", {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"})


def _version(_: Engine, __: Question) -> Answer:
    return Reply(200, shapes.version())


def _info(engine: Engine, _: Question) -> Answer:
    with engine.world.changed:
        states = [each.status for each in engine.world.containers.values()]
    return Reply(200, shapes.information(engine.name, states, len(images.ids(engine.images)), engine.now()))


def _containers(engine: Engine, question: Question) -> Answer:
    wanted = filters(question, "label", "name", "id", "status")
    every = question.yes("all") or bool(wanted["status"])
    with engine.world.changed:
        there = [each for each in reversed(engine.world.containers.values()) if each.running or every]
        return Reply(200, [shapes.entry(each, engine.now()) for each in there if fits(each, wanted)])


def _container(engine: Engine, question: Question) -> Answer:
    with engine.world.changed:
        found = engine.find(question.words[0])
        execs = [each.id for each in engine.world.execs.values() if each.container is found and each.status is None]
        return Reply(200, shapes.inspection(found, execs))


ROUTES: tuple[tuple[str, str, Callable[[Engine, Question], Answer]], ...] = (
    ("GET", "/_ping", _ping),
    ("HEAD", "/_ping", _ping),
    ("GET", "/version", _version),
    ("GET", "/info", _info),
    ("GET", "/containers/json", _containers),
    ("POST", "/containers/create", making.create),
    ("GET", "/containers/([^/]+)/json", _container),
    ("POST", "/containers/([^/]+)/start", life.start),
    ("POST", "/containers/([^/]+)/stop", life.stop),
    ("POST", "/containers/([^/]+)/restart", life.restart),
    ("POST", "/containers/([^/]+)/kill", life.kill),
    ("POST", "/containers/([^/]+)/rename", life.rename),
    ("DELETE", "/containers/([^/]+)", life.remove),
    ("POST", "/containers/([^/]+)/wait", flow.wait),
    ("GET", "/containers/([^/]+)/logs", flow.logs),
    ("POST", "/containers/([^/]+)/attach", flow.attach),
    ("PUT", "/containers/([^/]+)/archive", files.put_archive),
    ("GET", "/containers/([^/]+)/archive", files.get_archive),
    ("HEAD", "/containers/([^/]+)/archive", files.get_archive),
    ("POST", "/containers/([^/]+)/exec", commands.create),
    ("POST", "/exec/([^/]+)/start", commands.start),
    ("GET", "/exec/([^/]+)/json", commands.inspect),
    ("GET", "/images/json", images.listed),
    ("GET", "/images/(.+)/json", images.inspect),
    ("POST", "/images/create", images.create),
    ("GET", "/volumes", volumes.listed),
    ("POST", "/volumes/create", volumes.create),
    ("GET", "/volumes/([^/]+)", volumes.inspect),
    ("DELETE", "/volumes/([^/]+)", volumes.remove),
)
