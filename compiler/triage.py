"""Why Ray or vLLM failed: what their logs say of it, by the entries of `schema/failures.yaml`.

Logs in, findings out, the one nearest to the cause first. Nothing that a log holds is believed to be well-formed, short
or free of control characters.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from compiler.clean import one_line
from compiler.triage_details import details
from compiler.triage_known import failures, signs
from schema.failure import RANKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from compiler.plan import Plan
    from schema.failure import Failure

MAX_FINDINGS = 5  # the sixth cause of one failure is none
MAX_EVIDENCE = 3  # lines
MAX_LINE = 4000  # characters of a line that are read; Ray and HCCL say in the first few hundred what it is
MAX_LOG = 8 << 20  # characters of a log that are read, half of them from its end
_MAX_SHOWN = 300  # characters of a line that are shown
_MAX_MATCHES = 200  # lines of one log that say the same: enough to name the nodes that are meant

# Who a line of the head's log is about: Ray puts `(RayWorkerWrapper pid=1, ip=ADDRESS)` before what a worker on another
# node said, and ends a dead one's report with `ip: ADDRESS`:
# https://docs.ray.io/en/releases-2.48.0/ray-observability/user-guides/configure-logging.html
_ABOUT = re.compile(
    r"\bip(?:=|: )(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})|(?:IP|address): (\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})"
)
# When HCCL said it: of several nodes the earliest is the first to read.
_SAID_AT = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d\.\d{3}\.\d{3}")
_NEVER = "~"


class Log(NamedTuple):
    """What a node has written.

    Attributes:
        node: The node's name in the plan.
        name: What the log is called: `container`, `serve.log`, `raylet.err`.
        text: What it holds.
    """

    node: str
    name: str
    text: str


class Finding(NamedTuple):
    """Something that failed.

    Attributes:
        code: The entry of docs/failures.md.
        nodes: Names of the nodes that it was seen on, the first to say so first.
        cause: What it is.
        details: What the logs say of it more exactly, like which NPU did not answer which.
        evidence: `NODE NAME: the line`, one for each node first; lines without control characters.
        to_do: What the one who can mend it would do.
        checks: Checks of `compiler verify` that would have told it, by name or id.
        diagnostics: Codes of `compiler check` that would have.
        source: Where it can be read.
    """

    code: str
    nodes: tuple[str, ...]
    cause: str
    details: tuple[str, ...]
    evidence: tuple[str, ...]
    to_do: str
    checks: tuple[str, ...]
    diagnostics: tuple[str, ...]
    source: str

    @property
    def node(self) -> str:
        """The nodes, as people name several."""
        return ", ".join(self.nodes)


class _Hit(NamedTuple):
    """A line that says it, the node that it is about, and when it was said, if it tells."""

    node: str
    line: str
    said_at: str


def triage(logs: Iterable[Log], plan: Plan) -> tuple[Finding, ...]:
    """What the logs of a cluster's nodes tell, the nearest to the cause first.

    What only follows from something else is left out where something nearer is known.

    Args:
        logs: What there is to read, the older of two of a node first.
        plan: Whose nodes wrote them.

    Returns:
        At most `MAX_FINDINGS`; none when nothing known is found.
    """
    read = tuple(log._replace(text=_bounded(log.text)) for log in logs)
    hits = {failure: tuple(_hits(failure, read, plan)) for failure in failures()}
    found = sorted((failure for failure in hits if hits[failure]), key=lambda failure: RANKS.index(failure.rank))
    if any(failure.rank not in {"follows", "harm"} for failure in found):
        found = [failure for failure in found if failure.rank != "follows"]
    texts = tuple(log.text for log in read)
    return tuple(
        _finding(failure, hits[failure], details(failure.code, texts, plan)) for failure in found[:MAX_FINDINGS]
    )


def _bounded(text: str) -> str:
    """As much of it as is read, a line of a progress bar on a line of its own."""
    if len(text) > MAX_LOG:
        text = f"{text[: MAX_LOG // 2]}\n{text[-MAX_LOG // 2 :]}"
    return "\n".join([line[:MAX_LINE] for line in text.replace("\r", "\n").split("\n")])


def _hits(failure: Failure, logs: Sequence[Log], plan: Plan) -> Iterator[_Hit]:
    """Each line that says it, once."""
    heads = {node.name for node in plan.nodes if node.is_head}
    names = {node.address: node.name for node in plan.nodes}
    for log in logs:
        if failure.role and (log.node in heads) != (failure.role == "head"):
            continue
        lines = (_line_at(log.text, match.start()) for match in signs(failure).finditer(log.text))
        for line in dict.fromkeys(islice(lines, _MAX_MATCHES)):
            said_at = _SAID_AT.search(line)
            shown = one_line(f"{log.node} {log.name}: {line.strip()}", _MAX_SHOWN)
            yield _Hit(_about(line, names) or log.node, shown, said_at[0] if said_at else _NEVER)


def _line_at(text: str, place: int) -> str:
    end = text.find("\n", place)
    return text[text.rfind("\n", 0, place) + 1 : end if end >= 0 else len(text)]


def _about(line: str, names: Mapping[str, str]) -> str:
    """The node whose address the line names as the speaker's; empty when that is nobody of the plan."""
    told = _ABOUT.search(line)
    return names.get(told[1] or told[2], "") if told else ""


def _finding(failure: Failure, hits: Sequence[_Hit], said: tuple[str, ...]) -> Finding:
    by_node: dict[str, list[str]] = {}
    for hit in sorted(hits, key=lambda hit: hit.said_at):
        by_node.setdefault(hit.node, []).append(hit.line)
    first = (lines[0] for lines in by_node.values())
    more = chain.from_iterable(lines[1:] for lines in by_node.values())
    return Finding(
        code=failure.code,
        nodes=tuple(by_node),
        cause=failure.cause,
        details=said,
        evidence=tuple(islice(chain(first, more), MAX_EVIDENCE)),
        to_do=failure.to_do,
        checks=failure.checks,
        diagnostics=failure.diagnostics,
        source=failure.source,
    )
