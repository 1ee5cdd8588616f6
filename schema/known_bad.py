"""What is known to fail: each entry of `known_bad.yaml` is one of these."""

from __future__ import annotations

from typing import NamedTuple


class When(NamedTuple):
    """What a deployment has to be for a report to speak of it: all that is set here.

    Attributes:
        releases: Releases of vllm-ascend; empty for all.
        super_pod: True for nodes joined by HCCS, False for those joined by RoCE, None for both.
        expert_parallel: With expert parallelism.
        pipeline: With more than one pipeline stage.
        tensor_below: With fewer NPUs in a tensor group than this; 0 for any number.
        world_least: With at least so many NPUs in all; 0 for any number.
        several_nodes: On more than one node.
        scattered: Where Ray does not hand out NPUs node after node.
        latent: With a model of latent attention.
        architectures: With one of these models, by `architectures` of config.json; empty for all.
        without: Flags of `vllm serve` of which none is given.
    """

    releases: tuple[str, ...] = ()
    super_pod: bool | None = None
    expert_parallel: bool = False
    pipeline: bool = False
    tensor_below: int = 0
    world_least: int = 0
    several_nodes: bool = False
    scattered: bool = False
    latent: bool = False
    architectures: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


class KnownBad(NamedTuple):
    """A combination that others reported, and what to take instead.

    Attributes:
        when: Which deployments it is of.
        says: What fails.
        instead: What to do instead.
        source: The report.
    """

    when: When
    says: str
    instead: str
    source: str
