"""`compiler explain` on the command line: what it was asked, and where its answers go."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from compiler.say import AT_FAULT, DONE, USAGE, coloured, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from compiler.compile import Compiled
    from compiler.deployment import Deployment
    from compiler.explain import Explanation
    from compiler.places import Located
    from compiler.source import Source
    from compiler.subject import Beside, Subject

_LINE = re.compile(r".+:[0-9]+")


def targets_of(named: Sequence[str], default: str) -> tuple[str, str]:
    """The spec that was named, and the line of a generated file; the line is empty when none was.

    Raises:
        ValueError: More was named than one of each.
    """
    lines = [each for each in named if _LINE.fullmatch(each) and not os.path.isfile(each)]
    specs = [each for each in named if each not in lines]
    if len(lines) > 1 or len(specs) > 1:
        raise ValueError("explain takes one spec, and one line of a generated file: FILE:LINE")
    return (*(specs or [default]), *(lines or [""]))  # type: ignore[return-value]


def explain(options: argparse.Namespace, compiled: Compiled, sources: Sequence[Source]) -> int:
    """Explains the sizes of a spec that could be read, and compares them with what was asked for."""
    from compiler.deployment import deployment_of  # noqa: PLC0415

    where = deployment_of(compiled.subject) if compiled.subject else None
    if where is None or compiled.subject is None:
        if options.json:
            from compiler import explain_json  # noqa: PLC0415

            sys.stdout.write(explain_json.only_faults(_of(compiled, "error"), _of(compiled, "warning")))
        _tell(compiled, sources, "error")
        return AT_FAULT
    try:
        compared = _compared(options, compiled.subject, where)
    except ValueError as unusable:
        say(f"error: {unusable}")
        return USAGE
    _tell(compiled, sources, "error")
    sys.stdout.write(_said(options, compiled, compared))
    return DONE if compiled.plan else AT_FAULT


def explain_line(
    options: argparse.Namespace, line: str, compiled: Compiled, sources: Sequence[Source], beside: Beside
) -> int:
    """Says which lines of the spec make a line of a generated file."""
    if options.what_if:
        say("error: --what-if is for a spec, not for a line of a generated file")
        return USAGE
    if compiled.plan is None or compiled.subject is None:
        _tell(compiled, sources, "error")
        return AT_FAULT
    from compiler.origin_told import told  # noqa: PLC0415

    answer = told(
        line, compiled.subject, compiled.plan, sources, beside, json=options.json, colour=coloured(sys.stdout)
    )
    for note in answer.notes:
        say(note)
    sys.stdout.write(answer.text)
    return answer.code


def _compared(options: argparse.Namespace, subject: Subject, where: Deployment) -> list[tuple[str, Explanation]]:
    """The spec itself first, then each alternative."""
    from compiler.explain import explained  # noqa: PLC0415
    from compiler.what_if import tried  # noqa: PLC0415

    assert subject.accelerator is not None, "without it there is no deployment"  # noqa: S101
    written = subject.cluster.serve.parallelism
    compared = [("the spec", explained(written, where))]
    for text in options.what_if:
        trial = tried(text, written, where, subject.accelerator)
        compared.append((trial.title, explained(trial.written, trial.where)))
    return compared


def _said(options: argparse.Namespace, compiled: Compiled, compared: list[tuple[str, Explanation]]) -> str:
    from compiler import explain_json, explain_text  # noqa: PLC0415
    from compiler.compared import side_by_side  # noqa: PLC0415
    from compiler.explain import About  # noqa: PLC0415

    assert compiled.subject is not None, "`explain` has seen to it"  # noqa: S101
    about = About.of(options.spec, compiled.subject, _of(compiled, "warning"))
    if options.json:
        return explain_json.as_json(about, compared, _of(compiled, "error"))
    if options.what_if:
        return side_by_side(compared)
    return explain_text.as_text(about, compared[0][1])


def _of(compiled: Compiled, severity: str) -> tuple[Located, ...]:
    return tuple(each for each in compiled.diagnostics if each.severity == severity)


def _tell(compiled: Compiled, sources: Sequence[Source], severity: str) -> None:
    from compiler import report  # noqa: PLC0415

    found = _of(compiled, severity)
    if found:
        sys.stderr.write(report.as_text(found, sources, colour=coloured(sys.stderr)))
        say(report.count(found))
