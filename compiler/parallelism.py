"""Tensor and pipeline parallelism: which sizes are legal, and which of them the spec asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from compiler.plan import Parallelism
from schema.cluster import Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.cluster import ModelFacts

Choice = Literal["pipeline", "tensor", "auto"]


def asked_sizes(written: Choice | Sizes, npus: Sequence[int], model: ModelFacts | None) -> Parallelism:
    """The sizes that a spec asks for, in words or in numbers, on nodes with so many NPUs each."""
    if isinstance(written, Sizes):
        return Parallelism(written.tensor, written.pipeline, "given by the spec")
    return parallelism(len(npus), npus[0], written, model)


def parallelism(nodes: int, npus_per_node: int, choice: Choice, model: ModelFacts | None) -> Parallelism:
    """The sizes that `choice` means on this cluster.

    `auto` takes the first legal one of: the guide's practice (TP inside a node, PP across nodes), which
    keeps the heavy traffic inside the servers; all NPUs in one tensor group; the largest legal TP that
    divides the NPUs. Without facts about the model, all are legal.
    """
    world = nodes * npus_per_node
    if choice == "tensor":
        return Parallelism(world, 1, f"tensor: TP is all {world} NPUs")
    practice = Parallelism(
        npus_per_node, nodes, f"pipeline: TP is the {npus_per_node} NPUs of a node, PP the {nodes} nodes"
    )
    if choice == "pipeline":
        return practice
    legal = [sizes for sizes in _splits(world) if not illegal(*sizes, model)]
    if (npus_per_node, nodes) in legal or not legal:
        return practice._replace(reason="auto: TP within a node and PP across nodes, the guide's practice")
    tensor, pipeline = next((each for each in legal if each == (world, 1)), legal[0])
    reason = f"auto: {npus_per_node} x {nodes} is illegal for this model; the largest legal TP is {tensor}"
    return Parallelism(tensor, pipeline, reason)


def illegal(tensor: int, pipeline: int, model: ModelFacts | None) -> str:
    """Why vLLM would refuse these sizes for this model, in its own words where it has some; else empty.

    The rules are those of vLLM 0.23: `vllm/config/model.py` verify_with_parallel_config,
    `vllm/model_executor/models/qwen3_moe.py`, `vllm/distributed/utils.py` get_pp_indices.
    """
    if model is None:
        return ""
    heads, kv_heads, experts, layers = model.attention_heads, model.kv_heads, model.experts, model.layers
    if heads and heads % tensor:
        return f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tensor})."
    if kv_heads and (kv_heads % tensor if kv_heads >= tensor else tensor % kv_heads):
        return f"{kv_heads} KV heads can be neither split nor replicated evenly over {tensor} NPUs."
    if experts and tensor > experts:
        return f"Tensor parallel size {tensor} is greater than the number of experts {experts}."
    if layers and pipeline > layers:
        return f"{layers} layers cannot make {pipeline} pipeline stages."
    return ""


def legal_sizes(world: int, model: ModelFacts | None) -> tuple[tuple[int, int], ...]:
    """Every (TP, PP) that uses all NPUs and that vLLM would accept, the largest TP first."""
    return tuple(sizes for sizes in _splits(world) if not illegal(*sizes, model))


def _splits(world: int) -> list[tuple[int, int]]:
    return [(world // pipeline, pipeline) for pipeline in range(1, world + 1) if world % pipeline == 0]
