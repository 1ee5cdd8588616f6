"""The commands that only look: `status`, and `logs`."""

from __future__ import annotations

import json
import queue
import shlex
import sys
import threading
import time
from typing import TYPE_CHECKING

from compiler.clean import one_line
from compiler.cli_apply import limits_of, looked, urls_of
from compiler.cli_course import Screen
from compiler.cli_nodes import unknown
from compiler.decide import Wishes
from compiler.engine import looking
from compiler.engine_fault import EngineFault
from compiler.engine_look import MOST_ADDED
from compiler.fleet import Fleet
from compiler.inside import SERVE_LOG
from compiler.say import AT_FAULT, DONE, USAGE, coloured, say
from compiler.standing import standing, told
from compiler.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from compiler.engine_look import Looking
    from compiler.plan import Plan
    from compiler.standing import NodeStanding, Standing

FORMAT_VERSION = 1
_CLEAR = "\x1b[H\x1b[2J"
_GREEN, _RED, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"
_MANY = 40  # nodes; of more, only those with something to say are shown
_FOLLOW_SECONDS = 1


def status(options: argparse.Namespace, cluster: Plan) -> int:
    """How it stands; done only when it really serves."""
    while True:
        with (
            Fleet(urls_of(cluster), limits_of(options), looking) as fleet,
            Screen(quiet=options.quiet or options.json) as screen,
        ):
            found = looked(fleet, cluster, Wishes(), screen)
        stands = standing(cluster, found.sights, found.decision)
        if options.watch and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        sys.stdout.write(_json(cluster, stands) if options.json else _text(options.spec, cluster, stands))
        sys.stdout.flush()
        if not options.watch:
            well = stands.serves and not stands.wrong and not (options.strict and stands.differs)
            return DONE if well else AT_FAULT
        time.sleep(options.watch)


def _text(spec: str, cluster: Plan, stands: Standing) -> str:
    colour = coloured(sys.stdout)
    word = "serves" if stands.serves else "does not serve"
    if stands.serves and stands.wrong:
        word = "serves, but not all is well"
    if colour:
        word = f"{_RED if stands.wrong else _GREEN}{word}{_PLAIN}"
    lines = [f"{cluster.name} {word}: {stands.service}", ""]
    shown = [each for each in stands.nodes if len(stands.nodes) <= _MANY or each.differs or each.npus is None]
    rows = [("node", "role", "container", "for", "in Ray", "spec"), *(_row(each) for each in shown)]
    lines += [f"  {line}" for line in aligned(rows, right=())]
    if len(shown) < len(stands.nodes):
        lines.append(f"  and {len(stands.nodes) - len(shown)} more, which run as the spec says")
    for fault in stands.wrong:
        where = f"{fault.node}: " if fault.node else ""
        to_do = one_line(fault.to_do).replace("SPEC", shlex.quote(spec))
        lines += [f"wrong: {where}{one_line(fault.text)}", f"  = hint: {to_do}"]
    if stands.differs and not stands.wrong:
        lines += ["it is not all as the spec says", f"  = hint: compiler plan {shlex.quote(spec)}"]
    return "\n".join(lines) + "\n"


def _row(each: NodeStanding) -> tuple[str, ...]:
    npus = f"{each.npus:g} NPU" if each.npus is not None else "no"
    return (each.node, each.role, each.container or "none", _ago(each.since), npus, told(each.differs))


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds else "-"


def _json(cluster: Plan, stands: Standing) -> str:
    document = {
        "format_version": FORMAT_VERSION,
        "cluster": cluster.name,
        "serves": stands.serves,
        "service": {
            "url": f"http://{cluster.head.address}:{cluster.serve.port}/v1",
            "model": cluster.serve.served_name,
            "text": stands.service,
            "completion_seconds": stands.seconds,
        },
        "as_planned": not stands.differs,
        "nodes": [
            {
                "name": each.node,
                "role": each.role,
                "container": each.container,
                "running_seconds": each.since,
                "npus_in_ray": each.npus,
                "differs": [reason.what for reason in each.differs],
                "config_hash": each.config_hash,
            }
            for each in stands.nodes
        ],
        "wrong": [each._asdict() for each in stands.wrong],
    }
    return json.dumps(document, indent=2) + "\n"


def logs(options: argparse.Namespace, cluster: Plan) -> int:
    """What containers said, or the service; with `--follow`, what they say from now on, too."""
    names = [node.name for node in cluster.nodes]
    wrong = unknown("node", options.nodes, names)
    if wrong or (options.service and options.nodes):
        say(wrong or "the service runs on the head alone: leave the node out, or --service")
        return USAGE
    wanted = [cluster.head.name] if options.service else options.nodes or names
    heard: queue.SimpleQueue[tuple[str, str | EngineFault | None]] = queue.SimpleQueue()
    with Fleet(urls_of(cluster), limits_of(options), looking) as fleet:
        for name in wanted:
            threading.Thread(target=_read, args=(fleet, cluster, name, options, heard), daemon=True).start()
        return _printed(heard, len(wanted), options.spec)


def _read(
    fleet: Fleet[Looking],
    cluster: Plan,
    name: str,
    options: argparse.Namespace,
    heard: queue.SimpleQueue[tuple[str, str | EngineFault | None]],
) -> None:
    """Puts each line, and nothing at the end."""
    try:
        for line in _lines(fleet, cluster, name, options):
            heard.put((name, line))
    except EngineFault as fault:
        heard.put((name, fault))
    heard.put((name, None))


def _lines(fleet: Fleet[Looking], cluster: Plan, name: str, options: argparse.Namespace) -> Iterator[str]:
    engine = fleet.engine(name)
    there = engine.container(cluster.name)
    if there is None or there.label("name") != cluster.name:
        raise EngineFault("read a log", "it has no container of this cluster", "compiler apply SPEC")
    if not options.service:
        for line in engine.log(there.id, last=options.tail, follow=options.follow):
            yield line.decode(errors="replace")
        return
    if there.state.status != "running":
        raise EngineFault("read a log", f"the head's container {there.state.text}", "compiler apply SPEC")
    yield from _of_service(engine, there.id, options)


def _of_service(engine: Looking, container: str, options: argparse.Namespace) -> Iterator[str]:
    place = engine.last_lines(container, SERVE_LOG, options.tail)
    if place is None:
        raise EngineFault("read a log", "nothing has been served in this container", "compiler apply SPEC")
    line = b""
    while True:
        before, (place, added) = place, engine.added(container, SERVE_LOG, place)
        if place.file != before.file:  # another service has begun
            added = b"\n" if line else b""
        *whole, line = (line + added).split(b"\n")
        yield from (each.decode(errors="replace") for each in whole)
        if not options.follow and len(added) < MOST_ADDED:
            break
        if not added:
            time.sleep(_FOLLOW_SECONDS)
    if line:
        yield line.decode(errors="replace")


def _printed(heard: queue.SimpleQueue[tuple[str, str | EngineFault | None]], readers: int, spec: str) -> int:
    code, prefix = DONE, readers > 1
    while readers:
        name, line = heard.get()
        if line is None:
            readers -= 1
        elif isinstance(line, EngineFault):
            say(f"error: {name}: {line}\n  = hint: {line.to_do.replace('SPEC', shlex.quote(spec))}")
            code = AT_FAULT
        else:
            print(f"{name} | {one_line(line, 10_000)}" if prefix else one_line(line, 10_000), flush=True)
    return code
