"""Reads the logs that tell why something failed: the containers', Ray's own, and on the head the service's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compiler import act
from compiler.course import Failed, Failure, Now
from compiler.crew import Step
from compiler.inside import SERVE_LOG
from compiler.triage import Log, triage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from compiler.course import Event
    from compiler.decide import Fault
    from compiler.engine import Engine
    from compiler.fleet import Fleet
    from compiler.plan import Plan

# Ray's logs, and HCCL's, which prints its table of links nowhere else:
# https://github.com/vllm-project/vllm-ascend/issues/14506
_FOLDERS = ("/tmp/ray/session_latest/logs", "/root/ascend/log/debug/plog")  # noqa: S108 - in the container
_READ = re.compile(r"(raylet|gcs_server|worker-.*)\.(err|out)|plog.*\.log")


def failed(
    fleet: Fleet[Engine], plan: Plan, containers: Mapping[str, str], step: str, faults: Sequence[Fault]
) -> Iterator[Event]:
    """Reads the logs of these containers, and fails with what they say.

    Raises:
        Failed: Always.
    """
    logs = yield from gathered(fleet, plan, containers)
    failures = tuple(Failure(each.node, step, each.text, each.to_do) for each in faults)
    raise Failed(failures, triage(logs, plan), last_of(logs, {each.node for each in faults}))


def last_of(logs: Sequence[Log], nodes: set[str]) -> tuple[str, ...]:
    """The last lines of what these nodes' containers said, for a failure whose logs show nothing that is known."""
    texts = [log for log in logs if log.node in nodes and log.text.strip() and log.name in ("container", "serve.log")]
    return tuple(f"{log.node} {log.name}: {line}" for log in texts for line in log.text.rstrip().splitlines()[-5:])


def gathered(
    fleet: Fleet[Engine], plan: Plan, containers: Mapping[str, str]
) -> Generator[Event, None, tuple[Log, ...]]:
    """The logs of these containers, by node; a node that does not answer has none."""
    head = plan.head.name

    def read(name: str, engine: Engine, tell: Callable[[str], None]) -> list[Log]:
        tell("read the logs")
        container = containers[name]
        logs = [Log(name, "container", act.last_words(engine, container))]
        for folder in _FOLDERS:
            files = engine.folder(container, folder)
            logs += [Log(name, file, text) for file, text in files.items() if text and _READ.fullmatch(file)]
        if name == head:
            served = engine.folder(container, SERVE_LOG.rpartition("/")[0])
            logs.append(Log(name, "serve.log", served.get("serve.log", "")))
        return logs

    names = [name for name in containers if name in fleet.urls]
    found: dict[str, list[Log]] = {}
    for news in fleet.each(names, read):
        if isinstance(news, Step):
            yield Now(news.node, news.text)
        elif news.result is not None:
            found[news.node] = news.result
    return tuple(log for name in names for log in found.get(name, ()))
