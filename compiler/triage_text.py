"""Findings as people read them: the cause, what was seen, what to do, and the check that would have told it before."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from compiler.triage import Finding

_LABEL = 11  # characters of a label with the space behind it


def as_lines(findings: Sequence[Finding], spec: str = "SPEC") -> tuple[str, ...]:
    """A block of lines for each finding, with an empty line between two; `spec` is the path that commands name."""
    lines: list[str] = []
    for finding in findings:
        lines += [*([""] if lines else []), *_block(finding, spec)]
    return tuple(lines)


def _block(finding: Finding, spec: str) -> Iterator[str]:
    yield from _labelled("cause", (finding.cause,))
    yield from _labelled("namely", finding.details)
    yield from _labelled("seen", finding.evidence)
    yield from _labelled("to do", (finding.to_do,))
    yield from _labelled("caught by", caught_by(finding, spec))
    yield from _labelled("source", (finding.source,))


def _labelled(label: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield f"  {label.ljust(_LABEL)}{text}"
        label = ""


def caught_by(finding: Finding, spec: str = "SPEC") -> tuple[str, ...]:
    """The commands that would have told it before launch, and what they call it."""
    names = dict.fromkeys(check.partition("[")[0] for check in finding.checks)
    verify = f"compiler verify {shlex.quote(spec)} --only {','.join(names)}"
    codes = ", ".join(finding.diagnostics)
    check = f"compiler check {shlex.quote(spec)}: {codes}"
    told = (*((verify,) if names else ()), *((check,) if codes else ()))
    return told or ("nothing before launch",)
