"""Asks every node: runs its verify.sh in a container that is there for a while, and looks at its engine and image.

One thread a node; each node ends with an Answer, also one that refuses, hangs or vanishes.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from compiler.answer import Answer, Check, read_checks
from compiler.clean import one_line
from compiler.crew import Done, Step, work
from compiler.engine import connected
from compiler.engine_fault import EngineFault
from compiler.engine_guest import lodged
from compiler.guest import ended_by, guest, run_script, unread
from compiler.look import (
    BY_US,
    OURS,
    containers_check,
    engine_check,
    given_check,
    image_check,
    look_checks,
    look_inside,
    ours,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from contextlib import AbstractContextManager

    from compiler.engine import Engine
    from compiler.engine_guest import Inside, Wanted
    from compiler.plan import NodePlan, Plan

Tell = Callable[[str], None]
Reach = Callable[["NodePlan"], "AbstractContextManager[Engine]"]

CLEAN_SECONDS = 15
HURRY_SECONDS = 3  # for the same, when whoever runs it has lost patience
MARK_SECONDS = 60  # how long the other nodes wait for the head's mark


class Options(NamedTuple):
    """How to ask.

    Attributes:
        only: Names or ids of checks; these alone. Empty for all.
        skip: Names or ids of checks to leave out.
        parallel: How many nodes at a time.
        seconds: What one node may take.
        answer_seconds: What one answer of an engine may take.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    parallel: int = 64
    seconds: int = 900
    answer_seconds: float = 20

    @property
    def script_seconds(self) -> int:
        """What a node's verify.sh may take: the rest is for starting, reporting and removing."""
        return max(1, self.seconds - min(20, self.seconds // 3))

    def wants(self, check: str) -> bool:
        """True when a check of this id is to be made."""
        names = {check, check.partition("[")[0]}
        return (not self.only or bool(names & set(self.only))) and not names & set(self.skip)


class Progress(NamedTuple):
    """Where the run is: `text` is what this node does now, or how it ended when `answer` is there."""

    node: str
    text: str
    answer: Answer | None


def verify(
    plan: Plan, scripts: Mapping[str, bytes], options: Options, reach: Reach | None = None
) -> Generator[Progress, None, None]:
    """Asks each node of `scripts`, which has the text of its verify.sh, and says how far it is.

    Every node ends with a Progress that has its answer, also one that could not be reached. `reach` gives a node's
    engine; without it, each node gets a connection of its own.
    """
    run = _Run(plan, scripts, options, reach or (lambda node: connected(node.docker, options.answer_seconds)))
    patience = CLEAN_SECONDS
    try:
        names = sorted(scripts, key=lambda name: name != plan.head.name)  # the others wait for the head's mark
        for news in work(names, run.ask, parallel=options.parallel, seconds=options.seconds):
            if isinstance(news, Step):
                yield Progress(news.node, news.text, None)
            else:
                answer = _answer(news, options)
                yield Progress(news.node, one_line(answer.fault), answer)
    except KeyboardInterrupt:
        patience = HURRY_SECONDS
        raise
    finally:
        run.clean(patience)


def _answer(done: Done[Answer], options: Options) -> Answer:
    if done.result is not None:
        return done.result._replace(seconds=done.seconds)
    fault, to_do = ended_by(done, options.seconds)
    return Answer(done.node, fault=fault, to_do=to_do, seconds=done.seconds)


class _Run:
    """One run over all nodes, and what it has left on them so far."""

    def __init__(self, plan: Plan, scripts: Mapping[str, bytes], options: Options, reach: Reach) -> None:
        self.reach = reach
        self.plan = plan
        self.nodes = {node.name: node for node in plan.nodes}
        self.scripts = scripts
        self.options = options
        self.nonce = secrets.token_hex(8)
        self.marked = threading.Event()  # the head has left its mark in the shared cache, or never will
        self.mark_left = False
        self.over = threading.Event()  # nobody waits for an answer any more
        self.open: dict[str, ExitStack] = {}
        self.ended: dict[str, threading.Event] = {}
        self.inside: dict[str, Inside] = {}
        if plan.head.name not in scripts or not options.wants("cache[shared]"):
            self.marked.set()

    def ask(self, name: str, tell: Tell) -> Answer:
        """All that one node says."""
        ended = self.ended[name] = threading.Event()
        try:
            return self._all(self.nodes[name], self._heeding(tell))
        finally:
            ended.set()

    def _heeding(self, tell: Tell) -> Tell:
        def told(text: str) -> None:
            if self.over.is_set():
                raise EngineFault("stop", "nobody waits for an answer any more", "run it again")
            tell(text)

        return told

    def _all(self, node: NodePlan, tell: Tell) -> Answer:
        name = node.name
        stack = self.open[name] = ExitStack()
        try:
            answer = self._ask(node, tell, stack)
        except BaseException:
            self._left(node)
            with suppress(EngineFault):  # the first fault is the one to tell
                self._close(name)
            raise
        self._left(node)
        if node.is_head and self.mark_left:  # the others look for its mark until the end
            return answer
        try:
            self._close(name)
        except EngineFault as fault:
            return answer._replace(fault=str(fault), to_do=fault.to_do)
        return answer

    def _left(self, node: NodePlan) -> None:
        """Nobody waits for a mark that the head will not leave any more."""
        if node.is_head:
            self.marked.set()

    def _close(self, name: str) -> None:
        self.inside.pop(name, None)
        self.open.pop(name).close()

    def _ask(self, node: NodePlan, tell: Tell, stack: ExitStack) -> Answer:
        tell("connect")
        engine = stack.enter_context(self.reach(node))
        clock = engine.clock()
        answer = Answer(node.name, ahead=clock.ahead, uncertainty=clock.uncertainty)
        tell("look at the engine")
        containers = engine.containers()
        image = image_check(engine.image(self.plan.container.image), self.plan)
        checks = [engine_check(engine.version()), image, containers_check(containers, self.plan, node)]
        if image.status == "FAIL":
            fault = "its image is missing: there is nothing to run the other checks in"
            return answer._replace(checks=self._wanted(checks), fault=fault, to_do=image.next)
        tell("start a container")
        inside = stack.enter_context(lodged(engine, self._guest(node)))
        self.inside[node.name] = inside
        checks.append(given_check(inside.refused))
        tell("look into the image")
        checks += _image_checks(inside)
        running = any(each.running and ours(each, self.plan) for each in containers)
        checks += self._script_checks(node, inside, running=running, tell=tell)
        return answer._replace(checks=self._wanted(checks))

    def _wanted(self, checks: Iterable[Check]) -> tuple[Check, ...]:
        """What was asked for; and in any case that the time did not suffice for it."""
        return tuple(check for check in checks if check.name == "time" or self.options.wants(check.id))

    def _guest(self, node: NodePlan) -> Wanted:
        return guest(self.plan, node, self.scripts[node.name], self.nonce, self.options.seconds)

    def _script_checks(self, node: NodePlan, inside: Inside, *, running: bool, tell: Tell) -> tuple[Check, ...]:
        only = [name for name in self.options.only if _name(name) not in OURS]
        skip = [*BY_US, *(name for name in self.options.skip if _name(name) not in OURS)]
        if self.options.only and not only:
            return ()
        if node.is_head and not self.marked.is_set():
            tell("leave a mark in the cache")
            words = ["--json", "--nonce", self.nonce, "--only=cache[shared]"]
            self.mark_left = run_script(inside, words, tell).status == 0
            self.marked.set()
        tell("wait for the head's mark")
        self.marked.wait(MARK_SECONDS)
        words = ["--json", "--progress", f"--seconds={self.options.script_seconds}"]
        words += [f"--skip={','.join(skip)}"]
        words += [f"--only={','.join(only)}"] if only else []
        words += [f"--nonce={self.nonce}"] if self.mark_left else []
        words += ["--running"] if running else []
        ended = run_script(inside, words, tell)
        try:
            return read_checks(ended.out)
        except (ValueError, KeyError, TypeError):
            raise unread(ended) from None

    def clean(self, seconds: float) -> None:
        """Takes the mark away, and every container that is still there; a node that hangs is left to itself."""
        self.over.set()
        self.marked.set()
        threads = [threading.Thread(target=self._clean, args=(name, seconds), daemon=True) for name in tuple(self.open)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _clean(self, name: str, seconds: float) -> None:
        inside = self.inside.get(name)
        with suppress(EngineFault):  # that this node failed is known already
            if inside and self.nodes[name].is_head and self.mark_left:
                run_script(inside, ["--forget", self.nonce], lambda _: None)
        with suppress(EngineFault):
            if inside:
                inside.remove()
        self.ended[name].wait(seconds)  # it may be about to make its container, and then is the one to remove it
        with suppress(EngineFault, KeyError):  # its container ends by itself
            self._close(name)


def _image_checks(inside: Inside) -> tuple[Check, ...]:
    ended = inside.run(("timeout", "-k", "5", "60", "bash", "-c", look_inside()))
    return look_checks(ended)


def _name(check: str) -> str:
    return check.partition("[")[0]
