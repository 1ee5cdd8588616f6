"""The commands that change a cluster, and the one that shows what would be changed: `plan`, `apply` and `down`."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from compiler.clean import one_line
from compiler.cli_course import Screen
from compiler.cli_nodes import unknown
from compiler.course import Began, Failed, Failure
from compiler.decide import Wishes, decide
from compiler.decision_text import as_json, as_text
from compiler.engine import connected, looking
from compiler.engine_fault import EngineFault
from compiler.fleet import Fleet, Limits, Stopped
from compiler.hold import Locked, holding
from compiler.members import members_after, members_of
from compiler.say import AT_FAULT, CHANGES, DONE, INTERRUPTED, USAGE, coloured, say
from compiler.sight import Sight, look

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from compiler.course import Event
    from compiler.decide import Decision
    from compiler.down import Task
    from compiler.engine import Engine, Holding
    from compiler.fleet import Hand
    from compiler.plan import Plan


class Found(NamedTuple):
    """What is there, and what is to be done about it."""

    sights: Mapping[str, Sight]
    decision: Decision


def plan(options: argparse.Namespace, cluster: Plan) -> int:
    """Shows what `apply` would do; nothing of it can write."""
    wrong = unknown("node", options.node, [node.name for node in cluster.nodes])
    if wrong:
        say(wrong)
        return USAGE
    with Fleet(urls_of(cluster), limits_of(options), looking) as fleet, Screen(quiet=options.quiet) as screen:
        found = looked(fleet, cluster, _wishes(options), screen)
    decision = found.decision
    if options.json:
        sys.stdout.write(as_json(cluster, decision))
    else:
        sys.stdout.write(as_text(cluster, decision, colour=coloured(sys.stdout)))
    if decision.faults or (options.strict and decision.warnings):
        return AT_FAULT
    return CHANGES if options.detailed_exitcode and decision.changes else DONE


def apply(options: argparse.Namespace, cluster: Plan) -> int:
    """Shows the plan, asks, and carries it out."""
    return _ended("apply", options, cluster, _applied)


def down(options: argparse.Namespace, cluster: Plan) -> int:
    """Removes exactly what was made for this cluster."""
    return _ended("down", options, cluster, _downed)


def _ended(
    command: str,
    options: argparse.Namespace,
    cluster: Plan,
    do: Callable[[argparse.Namespace, Plan, Fleet[Engine], Screen], int],
) -> int:
    """Does it, and says how it ended when it did not come to its end."""
    wrong = unknown("node", options.node, [node.name for node in cluster.nodes])
    if wrong:
        say(wrong)
        return USAGE
    with Fleet(urls_of(cluster), limits_of(options), connected) as fleet, Screen(quiet=options.quiet) as screen:
        try:
            with interruptible(fleet):
                return do(options, cluster, fleet, screen)
        except Failed as failed:
            screen.failed(failed, options.spec)
        except EngineFault as fault:  # while the lock is taken
            failure = Failure(cluster.head.name, fault.step, fault.cause, fault.to_do)
            screen.failed(Failed((failure,)), options.spec)
        except Locked as locked:
            say(f"error: {cluster.head.name}: {locked}\n  = hint: {locked.to_do}")
            return AT_FAULT
        except Stopped:
            say(f"\nstopped between two steps. To go on: {_again(command, options)}")
            return INTERRUPTED
        say(f"\nThe same command goes on from here: {_again(command, options)}")
        return AT_FAULT


def _applied(options: argparse.Namespace, cluster: Plan, fleet: Fleet[Engine], screen: Screen) -> int:
    found = looked(fleet, cluster, _wishes(options), screen)
    decision = found.decision
    sys.stdout.write(as_text(cluster, decision, colour=coloured(sys.stdout)))
    sys.stdout.flush()
    missing = _missing_secrets(cluster, decision)
    if missing:
        say(f"error: {', '.join(missing)}: not set here, and the new containers need it")
        say(f"  = hint: export {' '.join(f'{name}=...' for name in missing)}")
    if decision.faults or missing:
        return AT_FAULT
    if not decision.changes and not _loading(cluster, found) and _noted(cluster, found):
        return _nothing_to_do(options, cluster, found)
    if decision.changes and not options.yes and not confirmed("Apply this?"):
        return USAGE if not sys.stdin.isatty() else AT_FAULT
    _carried_out(options, cluster, fleet, screen, found)
    _summary(options, cluster, found, screen)
    return DONE


def _carried_out(
    options: argparse.Namespace, cluster: Plan, fleet: Fleet[Engine], screen: Screen, found: Found
) -> None:
    from compiler.apply import Job, apply  # noqa: PLC0415 - each command pays for what it uses
    from compiler.prepare import pulled  # noqa: PLC0415
    from compiler.render import render_file, render_on_nodes  # noqa: PLC0415
    from compiler.verify import Options  # noqa: PLC0415

    head = cluster.head.name
    if head in found.decision.missing:  # the lock is a container, and needs an image
        for event in pulled(fleet, cluster, [head]):
            screen.show(event)
    changed = bool(found.decision.to("create", "replace"))
    if options.skip_verify and changed:
        say(
            "verify    skipped: devices, mounts, ports, drivers, links and the ways between the nodes are not looked at"
        )
    serve = render_file(cluster, f"{head}/serve.sh")
    assert serve is not None, "every bundle has one"  # noqa: S101
    with holding(fleet, cluster, cluster.container.image, "apply", options.lock_timeout) as held:
        again = looked(fleet, cluster, _wishes(options), screen)
        _still(cluster, found, again)
        job = Job(
            plan=cluster,
            decision=again.decision,
            sights=again.sights,
            secrets=_secrets(cluster),
            scripts=render_on_nodes(cluster, "verify.sh"),
            serve=serve.content,
            verify=None if options.skip_verify else Options(parallel=options.parallel, seconds=options.verify_timeout),
        )
        _shown(apply(fleet, job), cluster, held, screen)


def _shown(events: Iterable[Event], cluster: Plan, held: Holding | None, screen: Screen) -> None:
    """Shows what happens, as long as the lock is held.

    Raises:
        Failed: It is held no more; or whatever the events raise.
    """
    for event in events:
        if isinstance(event, Began) and held and held.lost():
            text = "the lock was taken away: somebody removed its container, or the head's Docker was restarted"
            raise Failed((Failure(cluster.head.name, event.step, text, "see who else is at work there"),))
        screen.show(event)


# Of the service, shown and now: what was to be ended has ended, so that less is done than was said yes to.
_ENDED_BY_ITSELF = {("restart", "start"), ("stop", "leave")}


def _still(cluster: Plan, found: Found, again: Found) -> None:
    """What was said yes to can still be done, and is the same; but a service that was loading or ending may have ended.

    Raises:
        Failed: It is not.
    """
    faults = again.decision.faults
    if faults:
        raise Failed(tuple(Failure(fault.node, "plan", fault.text, fault.to_do) for fault in faults))
    both = _to_containers(found.decision), _to_containers(again.decision)
    changed = sorted({name for name, _, _ in both[0] ^ both[1]})
    loaded = _loading(cluster, found) and not _loading(cluster, again)
    verbs = found.decision.service.verb, again.decision.service.verb
    if verbs[0] != verbs[1] and verbs not in _ENDED_BY_ITSELF and not loaded:
        changed = changed or [cluster.head.name]
    if changed:
        text = "the nodes have changed since the plan was shown"
        raise Failed((Failure(", ".join(changed), "plan", text, "look at the new plan: compiler plan SPEC"),))


def _to_containers(decision: Decision) -> set[tuple[str, str, str]]:
    """What is done to which container: not how long something took, nor what the engine may tell in other words."""
    return {(each.node, each.verb, each.there.id if each.there else "") for each in decision.nodes}


def _downed(options: argparse.Namespace, cluster: Plan, fleet: Fleet[Engine], screen: Screen) -> int:
    from compiler.down import down, ours  # noqa: PLC0415
    from compiler.render import render_on_nodes  # noqa: PLC0415

    found = looked(fleet, cluster, Wishes(), screen)
    task = ours(cluster, found.sights, options.node)
    for line in task.lines():
        print(f"  - {one_line(line)}")
    for sight in task.unreached:
        say(f"error: {sight.node}: {sight.fault}\n  = hint: {sight.to_do}")
    if not task.containers and not task.notes:
        print(f"{cluster.name}: nothing of it is there")
        return AT_FAULT if task.unreached else DONE
    if not options.yes and not confirmed("Remove this?"):
        return USAGE if not sys.stdin.isatty() else AT_FAULT
    image = task.image(cluster)
    if not image:
        say("no lock is held: the head cannot be reached, or has no image to make one of")
    scripts = {} if options.no_wait else render_on_nodes(cluster, "verify.sh")
    with holding(fleet, cluster, image, "down", options.lock_timeout) if image else nullcontext() as held:
        if held:  # somebody may have been at work meanwhile
            _same(task, ours(cluster, looked(fleet, cluster, Wishes(), screen).sights, options.node))
        _shown(down(fleet, cluster, task, scripts), cluster, held, screen)
    print(f"{cluster.name}: removed {task.text}; nothing else was touched")
    return AT_FAULT if task.unreached else DONE


def _same(task: Task, again: Task) -> None:
    """What was shown is what is there.

    Raises:
        Failed: It is not, or a node cannot be looked at any more.
    """
    known = {sight.node for sight in task.unreached}
    lost = [Failure(each.node, "look", each.fault, each.to_do) for each in again.unreached if each.node not in known]
    changed = [node for node in {**task.ids, **again.ids} if task.ids.get(node) != again.ids.get(node)]
    if lost:
        raise Failed(tuple(lost))
    if changed:
        text = "the containers have changed since they were shown"
        raise Failed((Failure(", ".join(changed), "look", text, "look at what is there now: compiler status SPEC"),))


# ---- What they share ------------------------------------------------------------------------------------------


def looked(fleet: Fleet[Hand], cluster: Plan, wishes: Wishes, screen: Screen) -> Found:
    """Looks at every node, then at those that are gone from the spec, and decides."""
    sights: dict[str, Sight] = {}
    _look(fleet, cluster, screen, sights, [node.name for node in cluster.nodes])
    members = members_of(sights)
    planned = {node.name for node in cluster.nodes}
    engines = {node.docker for node in cluster.nodes}
    gone = [member for member in members if member.name not in planned and member.docker not in engines]
    fleet.urls.update({member.name: member.docker for member in gone})
    _look(fleet, cluster, screen, sights, [member.name for member in gone])
    return Found(sights, decide(cluster, sights, gone, _secrets(cluster), wishes))


def _look(fleet: Fleet[Hand], cluster: Plan, screen: Screen, sights: dict[str, Sight], names: list[str]) -> None:
    from compiler.course import Now  # noqa: PLC0415

    for news in look(fleet, cluster, names):
        if isinstance(news, Sight):
            sights[news.node] = news
        else:
            screen.show(Now(news.node, news.text))


def urls_of(cluster: Plan) -> dict[str, str]:
    """How each node's engine is reached."""
    return {node.name: node.docker for node in cluster.nodes}


def limits_of(options: argparse.Namespace) -> Limits:
    """How the command line says to reach them."""
    return Limits(options.parallel, options.timeout, min(20, max(1, options.timeout // 2)))


def _wishes(options: argparse.Namespace) -> Wishes:
    return Wishes(tuple(options.node), not options.no_serve, options.restart)


def _secrets(cluster: Plan) -> dict[str, str]:
    """The value of each secret that is set here, by its name in the container."""
    pairs = ((each.name, os.environ.get(each.from_env, "")) for each in cluster.head.shape.secrets)
    return {name: value for name, value in pairs if value}


def _missing_secrets(cluster: Plan, decision: Decision) -> list[str]:
    if not decision.to("create", "replace"):
        return []
    return [each.from_env for each in cluster.head.shape.secrets if not os.environ.get(each.from_env)]


def _loading(cluster: Plan, found: Found) -> bool:
    """The service runs, and does not listen yet."""
    view = found.sights[cluster.head.name].view
    return bool(view and view.service and view.service.answer is None and found.decision.service.verb == "leave")


def _noted(cluster: Plan, found: Found) -> bool:
    """The note of the members is right, and on the head alone."""
    members = {name: sight.members for name, sight in found.sights.items() if sight.members}
    return members == {cluster.head.name: members_after(cluster, found.decision, found.sights)}


def confirmed(question: str) -> bool:
    """Asks; without a terminal there is nobody to ask."""
    if not sys.stdin.isatty():
        say("error: there is no terminal to ask on\n  = hint: --yes says yes beforehand")
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("not done")
    return False


@contextmanager
def interruptible(fleet: Fleet[Engine]) -> Iterator[None]:
    """The first Ctrl-C lets what runs come to its end and begins nothing more; the second ends at once."""

    def stop(number: int, _: object) -> None:
        if fleet.stopping.is_set():
            raise KeyboardInterrupt
        fleet.stop()
        name = signal.Signals(number).name
        # Not by print: this may have come in the middle of one.
        os.write(2, f"\n{name}: finishing what runs, beginning nothing more; once again ends at once\n".encode())

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing_to_do(options: argparse.Namespace, cluster: Plan, found: Found) -> int:
    view = found.sights[cluster.head.name].view
    answer = view.service.answer if view and view.service else None
    if options.no_serve:
        return DONE
    if answer is not None and answer.status == 200 and not answer.fault:  # noqa: PLR2004
        print(f"{cluster.name} serves: {_url(cluster)}, a completion came in {answer.seconds:.1f} s")
        return DONE
    said = answer.fault if answer else "nothing is served"
    say(f"error: {cluster.head.name}: all is as planned, but there is no completion: {said}")
    say(f"  = hint: it may be busy, or hang; to start it anew: {_again('apply', options)} --restart")
    return AT_FAULT


def _summary(options: argparse.Namespace, cluster: Plan, found: Found, screen: Screen) -> None:
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in screen.seconds.items())
    total = time.monotonic() - screen.began
    serves = not options.no_serve and not options.node
    print(f"{cluster.name} {'serves: ' + _url(cluster) if serves else 'is as planned'}")
    print(f"  took   {total:.1f} s: {steps}")
    print(f"  next   compiler status {options.spec}")
    if serves:
        model = cluster.serve.served_name
        print(f"""         curl {_url(cluster)}/completions -H 'Content-Type: application/json' \\""")
        print(f"""           -d '{{"model": "{model}", "prompt": "tell me how to sleep well", "max_tokens": 100}}'""")
    for warning in found.decision.warnings:
        say(f"warning: {warning.node + ': ' if warning.node else ''}{warning.text}\n  = hint: {warning.to_do}")


def _url(cluster: Plan) -> str:
    return f"http://{cluster.head.address}:{cluster.serve.port}/v1"


def _again(command: str, options: argparse.Namespace) -> str:
    import shlex  # noqa: PLC0415

    words = ["compiler", command, options.spec]
    words += [word for overlay in options.overlay for word in ("-f", overlay)]
    words += [word for node in options.node for word in ("--node", node)]
    return shlex.join(words)
