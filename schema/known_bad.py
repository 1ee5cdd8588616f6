"""What is known to fail: each entry of `known_bad.yaml` is one of these."""

from __future__ import annotations

from typing import NamedTuple


class KnownBad(NamedTuple):
    """A combination that others reported, and what to take instead.

    Attributes:
        releases: Releases of vllm-ascend that it is of; empty for all.
        expert_parallel: Only with expert parallelism.
        pipeline: Only with more than one pipeline stage.
        several_nodes: Only on more than one node.
        says: What fails.
        instead: What to do instead.
        source: The report.
    """

    releases: tuple[str, ...]
    expert_parallel: bool
    pipeline: bool
    several_nodes: bool
    says: str
    instead: str
    source: str
