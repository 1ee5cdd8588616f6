"""Whether a model fits: what each NPU of each stage holds, and how many tokens are left room for.

An estimate, made of what can be known before anything runs. Left out are the activations of the largest batch, what
captured graphs keep and what libraries hold for themselves: vLLM measures these by a trial run, and takes them off the
same share. So what does not fit here does not fit at all, and what fits here barely may not.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from compiler.buffers import BUFFER_MB, buffer_mb, needed_mb
from compiler.releases import at_least
from compiler.stages import spans, stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.deployment import Deployment
    from schema.model import Cached, Model, Part, Spread

MIB = 2**20
GIB = 2**30
# Tokens of one block of the cache: vllm-ascend's default, `vllm_ascend/platform.py` check_and_update_config.
BLOCK = 128
LEFT_OUT = "activations, captured graphs and what libraries hold for themselves"


class Rank(NamedTuple):
    """What each NPU of one stage holds.

    Attributes:
        layers: The stage's layers.
        weights: Bytes of weights.
        cache: Bytes of KV cache for one token.
    """

    layers: range
    weights: int
    cache: int


class Fit(NamedTuple):
    """How a model fits with one choice of sizes.

    Attributes:
        ranks: One for each stage.
        claimed: Bytes of an NPU's memory that vLLM takes, for all that it needs.
        buffers: Bytes that HCCL's communicators take of these.
        tokens: Tokens that the KV cache holds: as many as its fullest stage can; 0 when not even the weights fit, and
            where it is not known what the cache keeps.
    """

    ranks: tuple[Rank, ...]
    claimed: int
    buffers: int
    tokens: int

    @property
    def weights(self) -> int:
        """Bytes of weights on the fullest NPU."""
        return max(rank.weights for rank in self.ranks)

    @property
    def holds_weights(self) -> bool:
        """True when the weights alone leave something of the share."""
        return self.weights < self.claimed

    @property
    def knows_tokens(self) -> bool:
        """True when it is known what the cache keeps."""
        return any(rank.cache for rank in self.ranks)

    def holds(self, length: int) -> bool:
        """True when the weights fit and, as far as that is known, one sequence of this length."""
        return self.holds_weights and (not self.knows_tokens or self.tokens >= length)

    @property
    def tightest(self) -> Rank:
        """The rank that bounds the tokens."""
        return min(self.ranks, key=lambda rank: self.room(rank) / max(1, rank.cache))

    def room(self, rank: Rank) -> int:
        """Bytes that are left for the KV cache on an NPU of this stage."""
        return max(0, self.claimed - self.buffers - rank.weights)


def fit(where: Deployment, tensor: int, pipeline: int) -> Fit | None:
    """How the model fits with these sizes; None when its weights are not known, or its layers cannot be dealt out."""
    model = where.model
    if model is None or not model.parts or not model.layers or pipeline > model.layers:
        return None
    dealt = spans(stages(model.layers, pipeline, where.partition or ""))
    ranks = tuple(
        _rank(where, layers, tensor, {"first": stage == 0, "last": stage == pipeline - 1})
        for stage, layers in enumerate(dealt)
    )
    claimed = int(where.share * where.hbm.usable_mib * MIB)
    buffers = _buffers(where, tensor, pipeline)
    room = [(claimed - buffers - rank.weights) // rank.cache for rank in ranks if rank.cache]
    tokens = max(0, min(room, default=0)) // BLOCK * BLOCK
    return Fit(ranks, claimed, buffers, tokens)


def longest(where: Deployment, need: Fit) -> int:
    """The largest max-model-len that fits, in tokens: the model's own context, or less."""
    context = where.model.context if where.model else None
    return min(need.tokens, context) if context else need.tokens


def gib(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / GIB:.1f} GiB"


def kv_heads_of_a_rank(model: Model, tensor: int) -> int:
    """KV heads that each rank keeps: its share, or one and the same on several ranks."""
    return max(1, (model.kv_heads or 1) // tensor)


def weight_bytes(model: Model) -> int:
    """Bytes of the whole checkpoint, by what its numbers are."""
    return sum(_bytes_of(part, part.total, model) for part in model.parts)


def cache_bytes(model: Model) -> int:
    """Bytes of one token in the KV cache of the whole model, before heads are replicated."""
    return sum(each.numbers * len(each.layers) for each in model.cached) * model.cache_bits // 8


def _rank(where: Deployment, layers: range, tensor: int, ends: Mapping[str, bool]) -> Rank:
    """What a rank of the stage with these layers holds; `ends` tells which ends of the pipeline the stage is."""
    model = _model(where)
    weights = 0
    for part in model.parts:
        times = ends[part.layers] if isinstance(part.layers, str) else _shared(part.layers, layers)
        numbers = times * _split(part.numbers, part.spread, tensor, where)
        weights += part.copies * _bytes_of(part, numbers, model)
    cached = sum(
        _shared(each.layers, layers) * _split(each.numbers, each.spread, tensor, where) for each in _cached(where)
    )
    return Rank(layers, weights, cached * model.cache_bits // 8)


def _cached(where: Deployment) -> tuple[Cached, ...]:
    """What is kept of a token. Before v0.15 vllm-ascend gave a sparse indexer as much room as the latent vector.

    https://github.com/vllm-project/vllm-ascend/blob/v0.13.0/vllm_ascend/worker/model_runner_v1.py, get_kv_cache_spec.
    """
    cached = _model(where).cached
    if len(cached) < 2 or where.release is None or at_least(where.release.vllm, "0.15.0"):  # noqa: PLR2004
        return cached
    latent, index = cached
    return latent, index._replace(numbers=latent.numbers)


def _model(where: Deployment) -> Model:
    assert where.model is not None, "`fit` has seen to it"  # noqa: S101
    return where.model


def _shared(of_part: tuple[int, ...], of_stage: range) -> int:
    """How many layers of the stage have the part; both ascend."""
    return bisect_left(of_part, of_stage.stop) - bisect_left(of_part, of_stage.start)


def _split(numbers: int, spread: Spread, tensor: int, where: Deployment) -> int:
    """The numbers that one rank gets, rounded up."""
    model = _model(where)
    if spread == "replicated":
        return numbers
    if spread == "kv":
        heads = model.kv_heads or 1
        return numbers * kv_heads_of_a_rank(model, tensor) // heads
    if spread == "experts" and where.expert_parallel and model.experts:
        return numbers // model.experts * -(-model.experts // tensor)
    return -(-numbers // tensor)


# Bits of a number, of the experts and of the other parts that are quantised, with the scales of small groups: int4 of
# Kimi-K2-Thinking has one of 16 bits for 32 numbers and leaves the rest as it was, the mx forms have one of 8.
# https://huggingface.co/moonshotai/Kimi-K2-Thinking, https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf
_BITS: dict[str, tuple[float, float]] = {
    "bf16": (16, 16),
    "w8a8": (8, 8),
    "w4a8": (4, 8),
    "w4a4": (4, 4),
    "w4a16": (4.5, 16),
    "fp8": (8, 8),
    "fp4": (4.25, 8),
    "mxfp8": (8.25, 8.25),
    "mxfp4": (4.25, 8.25),
}


def _bytes_of(part: Part, numbers: int, model: Model) -> int:
    """The bytes of so many numbers of a part; the few scales of whole channels are not counted."""
    of_experts, of_others = _BITS[model.weights]
    bits = 16.0 if not part.quantised else of_experts if part.name == "experts" else of_others
    return int(numbers * bits / 8)


def _buffers(where: Deployment, tensor: int, pipeline: int) -> int:
    """Bytes of HCCL's buffers: each communicator has one to send and one to receive.

    From v0.11 on vllm-ascend gives HCCL_BUFFSIZE to the group of the experts and 200 MB to the others:
    `get_hccl_config_for_pg_options` of https://github.com/vllm-project/vllm-ascend/blob/v0.23.0/vllm_ascend/utils.py.
    Counted are the tensor group, the pipeline, and the group of the experts where it is used.
    """
    groups = (tensor > 1) + (pipeline > 1)
    set_mb = where.buffer_mb or buffer_mb(where, tensor)
    of_all = where.release is not None and not at_least(where.release.vllm, "0.11.0")
    experts = set_mb if needed_mb(where, tensor) else 0
    return 2 * (groups * (set_mb if of_all else BUFFER_MB) + experts) * MIB
