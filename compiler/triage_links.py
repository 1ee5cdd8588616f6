"""Which NPU did not answer which: the table that HCCL writes when a link was waited for in vain, in the plan's names.

Each row is written by the NPU of `src_ip` about the one of `dest_ip`; its TLS status is that of the writer, ENABLE,
DISABLE or UNKNOWN, and older releases leave it out. Some releases also write which device they found to be cut off:
https://github.com/hicann/hccl/blob/master/docs/zh/user_guide/fault_diagnosis/param_link_stage.md
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from compiler.plan import Plan

_END = re.compile(r"([0-9A-Fa-f.:]{2,45})(?:%\w{1,20})?\((\d{1,9})\)")
_ROLES = {"server", "client"}
_DEVICE = r"\(server ([^,()\n]{1,60}), device ID (\d{1,6})\)"
_FOUND = re.compile(rf"srcRank {_DEVICE} fails to connect to dstRank {_DEVICE}")


class _Row(NamedTuple):
    """Two ends of a link as people name them: who did not answer, who waited, and the TLS status of the latter."""

    silent: str
    waiting: str
    tls: str


def not_answered(texts: Iterable[str], plan: Plan) -> Iterator[str]:
    """What TLS has to do with it, then each link, first those whose silent end waits for nobody itself."""
    npus = {
        address: f"NPU {npu} of {node.name} ({address})"
        for node in plan.nodes
        for npu, address in zip(node.shape.npus, node.npu_addresses, strict=False)
    }
    lines = [line for text in texts for line in text.split("\n") if "|" in line or "dstRank" in line]
    rows = list(dict.fromkeys(chain(_found(lines, plan), _rows(lines, npus))))
    yield from _tls(rows)
    waiting = {row.waiting for row in rows}
    for row in sorted(rows, key=lambda row: row.silent in waiting):
        yield f"{row.silent} did not answer {row.waiting}"


def _rows(lines: Iterable[str], npus: Mapping[str, str]) -> Iterator[_Row]:
    """The rows of the tables."""
    for line in lines:
        cells = [cell.strip() for cell in line.partition("|")[2].split("|")]
        if len(cells) < 6 or cells[4] not in _ROLES:  # noqa: PLR2004 - destination, port, source, port, role, status
            continue
        destination, source = _END.fullmatch(cells[0]), _END.fullmatch(cells[2])
        if destination and source:
            tls = cells[6] if len(cells) > 6 else ""  # noqa: PLR2004 - the column that newer releases have
            yield _Row(_end(destination, npus), _end(source, npus), tls)


def _end(match: re.Match[str], npus: Mapping[str, str]) -> str:
    return npus.get(match[1], f"{match[1]} (rank {match[2]})")


def _found(lines: Iterable[str], plan: Plan) -> Iterator[_Row]:
    """What HCCL found out itself after it had waited."""
    hosts = {node.address: f"{node.name} ({node.address})" for node in plan.nodes}
    for line in lines:
        if told := _FOUND.search(line):
            waiting, silent = (
                f"device {device} of {hosts.get(server, server)}"
                for server, device in ((told[1], told[2]), (told[3], told[4]))
            )
            yield _Row(silent, waiting, "")


def _tls(rows: Iterable[_Row]) -> Iterator[str]:
    """Says so where one end has TLS and the other has not, or where only one end is known and has it."""
    status = {row.waiting: row.tls for row in rows}
    on = [npu for npu, tls in status.items() if tls == "ENABLE"]
    off = [npu for npu, tls in status.items() if tls == "DISABLE"]
    if on and off:
        yield f"TLS is on at {_some(on)} and off at {_some(off)}: it must be alike everywhere"
    elif on and any(row.silent not in on for row in rows if row.waiting in on):
        yield f"TLS is on at {_some(on)}: it must be so at the other end, too"


def _some(npus: list[str]) -> str:
    return npus[0] if len(npus) == 1 else f"{npus[0]} and {len(npus) - 1} more"
