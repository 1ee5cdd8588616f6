"""The commands that reach nodes: `verify` and `discover`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Self

from compiler.say import AT_FAULT, DONE, USAGE, coloured, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from compiler.amend import Amended
    from compiler.answer import Answer
    from compiler.crew import Step
    from compiler.discover import Facts
    from compiler.plan import Plan
    from compiler.source import Source


def verify(options: argparse.Namespace, plan: Plan) -> int:
    """Asks every node, judges, and prints the table."""
    from compiler import board as boards  # noqa: PLC0415 - each command pays for what it uses
    from compiler.checks import known_names  # noqa: PLC0415
    from compiler.look import OURS  # noqa: PLC0415
    from compiler.verify import Options, verify  # noqa: PLC0415

    only, skip = _names(options.only), _names(options.skip)
    wrong = unknown("check", [each.partition("[")[0] for each in (*only, *skip)], (*known_names(), *OURS))
    wrong = wrong or unknown("node", options.node, [node.name for node in plan.nodes])
    if wrong:
        say(wrong)
        return USAGE
    asked = Options(only, skip, options.parallel, options.timeout, _answer_seconds(options.timeout))
    answers: list[Answer] = []
    asking = verify(plan, _scripts(plan, options.node), asked)
    # Closed whatever happens here: then it takes away what it has left on the nodes.
    with closing(asking), _Progress(len(options.node or plan.nodes), quiet=options.quiet) as progress:
        for news in asking:
            progress.show(news.node, news.text)
            if news.answer:
                answers.append(news.answer)
                progress.done(news.node, news.answer.summary)
    found = boards.board(plan, answers, asked.wants)
    if options.json:
        sys.stdout.write(boards.as_json(found))
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        sys.stdout.write(boards.as_text(found, width=width, colour=coloured(sys.stdout)))
        if found.failed and not options.quiet:
            say(f"once that is mended: compiler verify {shlex.quote(options.spec)} --only {','.join(found.failed)}")
    return DONE if found.passed and not (options.strict and found.warned) else AT_FAULT


def discover(options: argparse.Namespace, plan: Plan, sources: Sequence[Source]) -> int:
    """Asks every node for its addresses, and writes them into the spec or shows what it would write."""
    wrong = unknown("node", options.node, [node.name for node in plan.nodes])
    if wrong or sources[0].name == "<stdin>":
        say(wrong or "discover writes into the spec: name its file")
        return USAGE
    from compiler.crew import Step  # noqa: PLC0415
    from compiler.discover import discover  # noqa: PLC0415

    told: list[Facts] = []
    with _Progress(len(options.node or plan.nodes), quiet=options.quiet) as progress:
        news: Step | Facts
        scripts = _scripts(plan, options.node)
        asking = discover(
            plan,
            scripts,
            parallel=options.parallel,
            seconds=options.timeout,
            answer_seconds=_answer_seconds(options.timeout),
        )
        for news in asking:
            if isinstance(news, Step):
                progress.show(news.node, news.text)
            else:
                told.append(news)
                progress.done(news.node, news.fault or f"{len(news.npu_addresses)} addresses")
    return _written(options, plan, sources, told)


def _written(options: argparse.Namespace, plan: Plan, sources: Sequence[Source], told: Sequence[Facts]) -> int:
    """Writes what the nodes said, or shows it; says what could not be asked or written."""
    from compiler.newfile import rewrite  # noqa: PLC0415
    from compiler.refusal import WriteRefused  # noqa: PLC0415

    sound = [facts for facts in told if not facts.fault]
    amended = _amended(plan, sources[0], sound)
    overruled = _overruled([sources[0]._replace(content=amended.text), *sources[1:]], sound)
    whole = _all_told(sources, amended, told, overruled)
    before, after = sources[0].content, amended.text
    if before == after:
        if whole and not options.quiet:
            print(f"{options.spec}: every node is as it says")
        return DONE if whole else AT_FAULT
    if options.diff:
        return _shown(options.spec, before, after)
    try:
        rewrite(options.spec, before, after)
    except WriteRefused as refused:
        say(f"error: {refused.message}")
        return AT_FAULT
    if not options.quiet:
        print(f"{options.spec}: written. Next: compiler check {options.spec}")
    return DONE if whole else AT_FAULT


def _amended(plan: Plan, source: Source, sound: Sequence[Facts]) -> Amended:
    """The spec with what it does not say yet, its overlays included."""
    from compiler.amend import Found, amend  # noqa: PLC0415

    nodes = {node.name: node for node in plan.nodes}

    def news(facts: Facts) -> Found:
        node = nodes[facts.node]
        addresses = None if node.npu_addresses == facts.npu_addresses else facts.npu_addresses
        return Found(None if node.interface else facts.interface or None, addresses)

    return amend(source, {facts.node: news(facts) for facts in sound})


def _all_told(sources: Sequence[Source], amended: Amended, told: Sequence[Facts], overruled: Sequence[str]) -> bool:
    """True when every node was asked and all of it could be written; else says what is missing."""
    from compiler.places import locate  # noqa: PLC0415
    from compiler.report import as_text  # noqa: PLC0415

    unasked = [facts for facts in told if facts.fault]
    for facts in unasked:
        say(f"{facts.node}: {facts.fault}\n  = hint: {facts.to_do}")
    if amended.refused:
        located = locate(amended.refused, sources[:1], ())
        sys.stderr.write(as_text(located, sources, colour=coloured(sys.stderr)))
    for line in overruled:
        say(line)
    return not (unasked or amended.refused or overruled)


def _shown(spec: str, before: bytes, after: bytes) -> int:
    from compiler.diff import unified  # noqa: PLC0415
    from compiler.survey import Change  # noqa: PLC0415

    folder, name = os.path.split(spec)
    change = Change(name, "changed", before, after)
    sys.stdout.write(unified([change], folder or ".", colour=coloured(sys.stdout)))
    return AT_FAULT


def _overruled(sources: Sequence[Source], sound: Sequence[Facts]) -> list[str]:
    """Nodes for which an overlay says something else than the node itself, whatever the spec says."""
    from compiler.compile import compile_spec  # noqa: PLC0415

    plan = compile_spec(sources, "discover").plan if len(sources) > 1 else None
    if plan is None:
        return []
    merged = {node.name: node.npu_addresses for node in plan.nodes}
    wrong = [facts for facts in sound if merged.get(facts.node) not in ((), facts.npu_addresses)]
    return [f"{facts.node}: an overlay says other NPU addresses than the node: correct them there" for facts in wrong]


def _scripts(plan: Plan, names: Iterable[str]) -> Mapping[str, bytes]:
    """verify.sh of each named node, or of all."""
    from compiler.render import render_on_nodes  # noqa: PLC0415

    wanted = set(names) or {node.name for node in plan.nodes}
    return {node: script for node, script in render_on_nodes(plan, "verify.sh").items() if node in wanted}


def _answer_seconds(node: int) -> int:
    """What one answer of an engine may take, of what the node may take: a silent engine is told from a slow script."""
    return min(20, max(1, node // 2))


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for each in given for name in each.split(",") if name)


def unknown(kind: str, names: Iterable[str], known: Sequence[str]) -> str:
    """A sentence about the first name that is none of the known ones; empty when there is none."""
    from schema.suggest import did_you_mean  # noqa: PLC0415

    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            return f"there is no {kind} {name}" + (f": {hint}" if hint else "")
    return ""


class _Progress:
    """Says on stderr how far the nodes are: one line that changes, or for a log a line as each ends."""

    def __init__(self, nodes: int, *, quiet: bool) -> None:
        self.nodes = nodes
        self.ended = 0
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self.began = time.monotonic()
        self.shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def show(self, node: str, text: str) -> None:
        """What a node does now; at most ten times a second."""
        now = time.monotonic()
        if not self.live or now - self.shown < 0.1:  # noqa: PLR2004
            return
        self.shown = now
        width = shutil.get_terminal_size((80, 24)).columns - 1
        line = f"{self.ended} of {self.nodes} nodes done, {now - self.began:.0f} s   {node}: {text}"
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def done(self, node: str, how: str) -> None:
        """A node has ended."""
        self.ended += 1
        self._wipe()
        if not self.quiet:
            say(f"[{self.ended}/{self.nodes}] {node}: {how}")

    def _wipe(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
