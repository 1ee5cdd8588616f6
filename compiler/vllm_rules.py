"""VLLM's own rules about TP and PP: which sizes it would refuse, with its own sentence and where that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler.architectures import supports_pipeline
from compiler.diagnostics import counted
from compiler.releases import at_least
from compiler.stages import partition_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.deployment import Deployment

_VLLM = "https://github.com/vllm-project/vllm/blob/v0.23.0/vllm"


class Refusal(NamedTuple):
    """Why vLLM would refuse some sizes.

    Attributes:
        says: Its own words, where it has some.
        source: Where it says them.
        about: What would have to change: the sizes, or another word of the spec.
    """

    says: str
    source: str
    about: Literal["sizes", "experts", "partition"] = "sizes"


def refusals(where: Deployment, tensor: int, pipeline: int) -> tuple[Refusal, ...]:
    """Why vLLM would refuse these sizes; nothing when it would take them. What is not known is not judged."""
    return tuple(found for rule in _RULES for found in rule(where, tensor, pipeline))


def _heads(where: Deployment, tensor: int, _: int) -> Iterator[Refusal]:
    model = where.model
    if model and model.heads and model.heads % tensor:
        says = f"Total number of attention heads ({model.heads}) must be divisible by tensor parallel size ({tensor})."
        yield Refusal(says, f"{_VLLM}/config/model.py")


def _kv_heads(where: Deployment, tensor: int, _: int) -> Iterator[Refusal]:
    model = where.model
    if model is None or not model.kv_heads or model.latent:
        return
    heads = model.kv_heads
    if heads >= tensor and heads % tensor:
        says = f"{heads} KV heads cannot be split evenly over {tensor} NPUs: assert total_num_kv_heads % tp_size == 0"
    elif heads < tensor and tensor % heads:
        says = f"{heads} KV heads cannot be repeated evenly on {tensor} NPUs: assert tp_size % total_num_kv_heads == 0"
    else:
        return
    yield Refusal(says, f"{_VLLM}/model_executor/models/qwen3_moe.py")


def _experts(where: Deployment, tensor: int, _: int) -> Iterator[Refusal]:
    model = where.model
    if model is None or model.experts is None:
        return
    if not model.experts and where.expert_parallel:
        says = "Number of experts in the model must be greater than 0 when expert parallelism is enabled."
        yield Refusal(says, f"{_VLLM}/config/model.py", "experts")
    if model.experts and tensor > model.experts and (model.architecture in _COUNTING_EXPERTS or not model.architecture):
        says = f"Tensor parallel size {tensor} is greater than the number of experts {model.experts}."
        yield Refusal(says, f"{_VLLM}/model_executor/models/qwen3_moe.py")


# The classes that say so; the others take it: vllm/model_executor/models/ of 0.9 to 0.25.
_COUNTING_EXPERTS = frozenset(
    ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM", "MiniMaxM2ForCausalLM")
)


def _widths(where: Deployment, tensor: int, _: int) -> Iterator[Refusal]:
    """What tensor parallelism cuts into equal slices; with expert parallelism experts are whole."""
    model = where.model
    if model is None:
        return
    source = f"{_VLLM}/distributed/utils.py"
    if model.dense_width % tensor:
        yield Refusal(
            f"{model.dense_width} is not divisible by {tensor} (the feed-forward's intermediate_size)", source
        )
    if not where.expert_parallel and model.expert_width % tensor:
        says = f"an expert's {model.expert_width} is not divisible by {tensor}: assert intermediate_size % tp_size == 0"
        yield Refusal(says, f"{_VLLM}/model_executor/layers/fused_moe/layer.py")
    for name, number in model.divided:
        if number % tensor:
            yield Refusal(f"{number} {name} are not divisible by {tensor}", source)
    padded = -(-model.vocabulary // 64) * 64  # vLLM pads the vocabulary first
    if padded % tensor:
        yield Refusal(f"{padded} is not divisible by {tensor} (the padded vocabulary)", source)


def _layers(where: Deployment, _: int, pipeline: int) -> Iterator[Refusal]:
    model = where.model
    if model is None or not model.layers:
        return
    source = f"{_VLLM}/distributed/utils.py"
    if where.partition is not None:
        fault = partition_fault(where.partition, model.layers, pipeline)
        if fault:
            yield Refusal(fault, source, "partition")
    elif pipeline > model.layers:
        yield Refusal(f"{model.layers} layers cannot make {pipeline} pipeline stages: some would have none", source)


def _support(where: Deployment, _: int, pipeline: int) -> Iterator[Refusal]:
    """Whether its class can be cut into stages, in this release."""
    if pipeline == 1 or where.release is None or where.model is None:
        return
    if supports_pipeline(where.release, where.model.architecture) is False:
        says = "Pipeline parallelism is not supported for this model."
        yield Refusal(f"{says} Supported models implement the `SupportsPP` interface.", f"{_VLLM}/config/model.py")


def _world(where: Deployment, tensor: int, pipeline: int) -> Iterator[Refusal]:
    """Sizes that use other NPUs than there are: Ray would wait for more, or leave some idle."""
    if tensor * pipeline != where.world:
        nodes, npus = counted(where.nodes, "node"), counted(where.world, "NPU")
        says = f"{tensor} x {pipeline} is {tensor * pipeline}, but the {nodes} bring {npus}"
        yield Refusal(says, f"{_VLLM}/v1/executor/ray_utils.py")


def _drafts(where: Deployment, _: int, pipeline: int) -> Iterator[Refusal]:
    """Multi-token prediction in stages, which v0.22.1rc1 and v0.23 refuse: a check that later ones no longer have."""
    release = where.release
    if pipeline == 1 or release is None or "mtp" not in where.speculative.lower() or where.producer:
        return
    if at_least(release.vllm, "0.22.0") and not at_least(release.vllm, "0.24.0"):
        says = (
            "PP+MTP is only supported on PD-disaggregated P nodes (kv_role='kv_producer'). D nodes must use "
            "pipeline_parallel_size=1 and may combine data parallelism with MTP."
        )
        yield Refusal(says, "https://github.com/vllm-project/vllm-ascend/blob/v0.23.0/vllm_ascend/platform.py")


_RULES = (_world, _heads, _kv_heads, _experts, _widths, _layers, _support, _drafts)
