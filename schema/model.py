"""What a model is, as far as parallelism and memory depend on it: made of its config.json."""

from __future__ import annotations

from typing import Literal, NamedTuple

# How a part is spread over the ranks of a tensor group: evenly, by whole KV heads, by experts, or not at all.
Spread = Literal["tensor", "kv", "experts", "replicated"]
# What the numbers of a checkpoint are: bits of weights, bits of activations.
Weights = Literal["bf16", "w8a8", "w4a8", "w4a4", "w4a16", "fp8", "fp4", "mxfp8", "mxfp4"]
WEIGHTS: tuple[Weights, ...] = ("bf16", "w8a8", "w4a8", "w4a4", "w4a16", "fp8", "fp4", "mxfp8", "mxfp4")
# Those that ModelSlim makes.
MODELSLIM: tuple[Weights, ...] = ("w8a8", "w4a8", "w4a4")
# What NPUs of Atlas A2 and A3 do not run: https://github.com/vllm-project/vllm-ascend/issues/1526
UNSUPPORTED: tuple[Weights, ...] = ("fp8", "fp4", "mxfp8", "mxfp4")
# What vllm-ascend's support matrix says of a model in its column "Pipeline Parallel".
Listed = Literal["listed", "untested", "unlisted", ""]


class Part(NamedTuple):
    """One kind of weights of a model.

    Attributes:
        name: What it is: `attention`, `experts`, `embedding`.
        numbers: How many numbers it has in one layer.
        layers: The layers that have it, from 0 on; or the end of the pipeline that holds it.
        spread: How the ranks of a tensor group share it.
        quantised: True when a quantised checkpoint holds it in fewer bits.
        copies: How often vllm-ascend keeps it.
    """

    name: str
    numbers: int
    layers: tuple[int, ...] | Literal["first", "last"]
    spread: Spread
    quantised: bool
    copies: int = 1

    @property
    def total(self) -> int:
        """Its numbers in the whole model."""
        return self.numbers * (1 if isinstance(self.layers, str) else len(self.layers))


class Cached(NamedTuple):
    """What is kept of each token in the KV cache.

    Attributes:
        numbers: How many numbers in one layer.
        layers: The layers that keep it.
        spread: `kv`: each rank keeps its KV heads, at least one. `replicated`: each rank keeps all.
    """

    numbers: int
    layers: tuple[int, ...]
    spread: Spread


class Model(NamedTuple):
    """A model. What is None, or empty, is not known: what depends on it is then not judged.

    Attributes:
        name: What people call it.
        origin: How it is known here: by the catalogue, by its config.json, by the spec's own facts.
        architecture: The class that vLLM runs it with: `architectures` of config.json.
        layers: Hidden layers, without those of multi-token prediction.
        heads: Attention heads.
        kv_heads: KV heads of grouped-query attention; 1 for latent attention, which keeps one vector for all heads.
        latent: True for latent attention (MLA).
        experts: Routed experts of a layer; 0 for a dense model.
        experts_per_token: How many of them one token goes to.
        shared_experts: Experts that every token goes to.
        expert_width: `moe_intermediate_size`.
        dense_width: `intermediate_size` of the layers without experts; 0 when all have experts.
        hidden: `hidden_size`.
        vocabulary: `vocab_size`.
        context: The longest sequence that it was made for, in tokens: `max_position_embeddings`.
        divided: What else must divide by TP, by name and number.
        weights: What the checkpoint's numbers are.
        method: `quant_method` of its config.json; empty when that is not what its weights are known by.
        cache_bits: Bits of a number in the KV cache.
        parts: All its weights.
        cached: What its KV cache keeps.
        pipeline: What vllm-ascend's support matrix says.
        sources: Where the facts come from.
    """

    name: str
    origin: str
    architecture: str = ""
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    latent: bool = False
    experts: int | None = None
    experts_per_token: int = 0
    shared_experts: int = 0
    expert_width: int = 0
    dense_width: int = 0
    hidden: int = 0
    vocabulary: int = 0
    context: int | None = None
    divided: tuple[tuple[str, int], ...] = ()
    weights: Weights = "bf16"
    method: str = ""
    cache_bits: int = 16
    parts: tuple[Part, ...] = ()
    cached: tuple[Cached, ...] = ()
    pipeline: Listed = ""
    sources: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers its weights are; 0 when that is not known."""
        return sum(part.total for part in self.parts)
