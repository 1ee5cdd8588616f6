"""What logs say of a failure beyond that there is one: which NPU did not answer which, which versions differ.

HCCL's words: https://github.com/hicann/hccl/blob/master/docs/zh/user_guide/fault_diagnosis/param_link_stage.md and
task_exec_stage.md beside it. Ray's: https://github.com/ray-project/ray/blob/ray-2.48.0/python/ray/_private/utils.py
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compiler.clean import one_line
from compiler.triage_links import not_answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.plan import Plan

MAX_DETAILS = 5

# `This process on node ADDRESS was started with`; the five lines before and after hold the versions.
_VERSIONS = re.compile(r"Version mismatch: The cluster was started with")
_STATED = 1000  # characters of a statement of versions
_PROCESS = re.compile(r"This process on (?:node )?(\S{1,60})")
_RAY, _PYTHON = re.compile(r"\bRay: (\S{1,40})"), re.compile(r"\bPython: (\S{1,40})")
_CULPRIT = re.compile(
    r"Cluster Exception Location\[IP/ID\]:\[([^\]/\n]{1,60})/(\d{1,6})\][^\n]{0,200}?ExceptionType:\[([^\]\n]{1,60})\]"
)
_BUFFERS = re.compile(r"= (\d{1,9})MB, (?:TP )?HCCL_BUFFSIZE=(\d{1,9})MB")
_LENGTH = re.compile(r"estimated maximum model length is (\d{1,9})")


def details(code: str, texts: Sequence[str], plan: Plan) -> tuple[str, ...]:
    """What the texts of the logs say of the failure with this code, at most `MAX_DETAILS` lines."""
    reader = _READERS.get(code)
    if reader is None:
        return ()
    said = tuple(one_line(line) for line in dict.fromkeys(reader(texts, plan)))
    if len(said) <= MAX_DETAILS:
        return said
    return (*said[: MAX_DETAILS - 1], f"and {len(said) - MAX_DETAILS + 1} more")


def _versions(texts: Sequence[str], plan: Plan) -> Iterator[str]:
    for stated in (text[at.end() : at.end() + _STATED] for text in texts for at in _VERSIONS.finditer(text)):
        process = _PROCESS.search(stated)
        both = list(zip(_RAY.findall(stated), _PYTHON.findall(stated), strict=False))
        if process and len(both) > 1:
            (ray, python), (own_ray, own_python) = both[:2]
            yield f"the cluster has Ray {ray} and Python {python}"
            yield f"{_host(process[1], plan)} has Ray {own_ray} and Python {own_python}"


def _culprits(texts: Sequence[str], plan: Plan) -> Iterator[str]:
    for address, device, what in (found for text in texts for found in _CULPRIT.findall(text)):
        yield f"device {device} of {_host(address, plan)}: {what}"


def _host(address: str, plan: Plan) -> str:
    named = next((node.name for node in plan.nodes if node.address == address), "")
    return f"{named} ({address})" if named else address


def _buffers(texts: Sequence[str], _: Plan) -> Iterator[str]:
    for needed, there in (found for text in texts for found in _BUFFERS.findall(text)):
        yield f"{needed} MB are needed, HCCL_BUFFSIZE gives {there}"


def _length(texts: Sequence[str], _: Plan) -> Iterator[str]:
    for tokens in (found for text in texts for found in _LENGTH.findall(text)):
        yield f"the longest context that fits has {tokens} tokens"


_READERS: Mapping[str, Callable[[Sequence[str], Plan], Iterator[str]]] = {
    "EI0006": not_answered,
    "heartbeat": _culprits,
    "hccl-buffsize": _buffers,
    "kv-cache": _length,
    "version-mismatch": _versions,
}
