"""What parallelism and memory depend on, taken out of a spec: so that other values can be tried in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from compiler.flag_kinds import as_json
from compiler.plan import size_bytes
from compiler.releases import at_least
from compiler.said import env_of, npus_of
from schema.cluster import Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.subject import Subject
    from schema.accelerator import Accelerator, Hbm
    from schema.cluster import Cluster
    from schema.model import Model
    from schema.release import Release

# Those of vLLM unless the spec says otherwise: `vllm/config/cache.py`, where the share grew in 0.20, `scheduler.py`.
MEMORY_SHARE, LATER_SHARE = 0.9, 0.92
SEQUENCES = 256


class Deployment(NamedTuple):
    """One model on one cluster.

    Attributes:
        npus: How many NPUs each node brings.
        hbm: The memory of one NPU.
        super_pod: True where nodes are joined by HCCS, and not by RoCE.
        model: What is served; None when nothing is known about it.
        release: The vllm-ascend release, or None when it is not known.
        expert_parallel: Whole experts on each NPU instead of a slice of every expert.
        share: The part of an NPU's memory that vLLM claims: `gpu-memory-utilization`.
        length: The longest sequence to be served, in tokens; None for the model's own.
        fitted: VLLM takes the longest that fits: `max-model-len` is `auto` or -1.
        sequences: How many are worked on at a time: `max-num-seqs`.
        speculative: The method of speculative decoding, or empty.
        drafts: How many tokens it drafts.
        producer: It fills a KV cache for others: `kv_role` is kv_producer.
        partition: VLLM_PP_LAYER_PARTITION, or None when it is not set.
        buffer_mb: HCCL_BUFFSIZE as the spec has it; 0 when it leaves that to us.
        flags: The flags that `vllm serve` is given, but those that are false.
    """

    npus: tuple[int, ...]
    hbm: Hbm
    super_pod: bool
    model: Model | None
    release: Release | None = None
    expert_parallel: bool = False
    share: float = MEMORY_SHARE
    length: int | None = None
    fitted: bool = False
    sequences: int = SEQUENCES
    speculative: str = ""
    drafts: int = 0
    producer: bool = False
    partition: str | None = None
    buffer_mb: int = 0
    flags: tuple[str, ...] = ()

    @property
    def world(self) -> int:
        """All NPUs."""
        return sum(self.npus)

    @property
    def nodes(self) -> int:
        """All nodes."""
        return len(self.npus)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence to be served: what is asked for, or the model's own; 0 when not known."""
        return 1 if self.fitted else self.length or (self.model and self.model.context) or 0


def deployment_of(subject: Subject) -> Deployment | None:
    """What the spec deploys, or None when its nodes are not such that sizes can be told for them."""
    cluster, known = subject.cluster, subject.accelerator
    if known is None:
        return None
    npus = tuple(len(npus_of(node, cluster, known)) for node in cluster.nodes)
    if not all(npus) or not (isinstance(cluster.serve.parallelism, Sizes) or len(set(npus)) == 1):
        return None
    args, env = cluster.serve.args, env_of(cluster.nodes[0], cluster)
    buffer = env.get("HCCL_BUFFSIZE", "")
    vllm = subject.release.vllm if subject.release else ""
    return Deployment(
        npus=npus,
        hbm=hbm_of(cluster, known) or known.hbm[0],
        super_pod=known.super_pod,
        model=subject.model and as_loaded(subject.model, vllm),
        release=subject.release,
        expert_parallel=args.get("enable-expert-parallel") is True,
        # With the cache's size given, the share does not count: all that is asked is whether the weights fit at all.
        share=1.0 if "kv-cache-memory-bytes" in args else share_of(args.get("gpu-memory-utilization"), vllm),
        length=tokens(args.get("max-model-len")),
        fitted=str(args.get("max-model-len")) in ("auto", "-1") and at_least(vllm, "0.14.0"),
        sequences=tokens(args.get("max-num-seqs")) or SEQUENCES,
        speculative=_key(args, "speculative-config", "method"),
        drafts=tokens(_key(args, "speculative-config", "num_speculative_tokens")) or 0,
        producer=_key(args, "kv-transfer-config", "kv_role") == "kv_producer",
        partition=env.get("VLLM_PP_LAYER_PARTITION"),
        buffer_mb=int(buffer) if re.fullmatch("[0-9]{1,9}", buffer) else 0,
        flags=tuple(flag for flag, value in args.items() if value is not False),
    )


def _key(args: Mapping[str, object], flag: str, key: str) -> str:
    """A key of a mapping that a flag takes, as such or as JSON, or of its dotted form; empty when it is not given."""
    given = args.get(flag)
    if isinstance(given, str):
        given = as_json(given)
    value = given.get(key) if isinstance(given, dict) else args.get(f"{flag}.{key}")
    return str(value) if value is not None else ""


def hbm_of(cluster: Cluster, known: Accelerator) -> Hbm | None:
    """The memory that the spec says its NPUs have; None when the accelerator has no such kind."""
    if cluster.hbm_size is None:
        return known.hbm[0]
    wanted = size_bytes(cluster.hbm_size) >> 20
    return next((hbm for hbm in known.hbm if hbm.total_mib == wanted), None)


def share_of(written: object, vllm: str) -> float:
    """`gpu-memory-utilization` as vLLM takes it; what is none, this release's own."""
    otherwise = LATER_SHARE if at_least(vllm, "0.20.0") else MEMORY_SHARE
    try:
        share = float(str(written)) if written is not None else otherwise
    except ValueError:
        return otherwise
    return share if 0 < share <= 1 else otherwise


_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_READABLE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)([kKmMgG]?)")


def tokens(written: object) -> int | None:
    """A number of tokens as vLLM reads it: 8192, or 8k (8000), 8K (8192); None for what is none, and for its `auto`.

    `human_readable_int` of https://github.com/vllm-project/vllm/blob/v0.11.0/vllm/engine/arg_utils.py.
    """
    found = _READABLE.fullmatch(str(written).strip())
    if found is None or ("." in found[1] and found[2] not in ("k", "m", "g")):
        return None
    return (
        int(float(found[1]) * _MULTIPLES[found[2]]) if "." in found[1] else int(found[1]) * _MULTIPLES[found[2]] or None
    )


def widened(model: Model, vllm: str) -> bool:
    """True for MiniMax's FP8, which vllm-ascend makes BF16 at load, from v0.17.0rc1 on.

    https://github.com/vllm-project/vllm-ascend/blob/v0.18.0/vllm_ascend/patch/platform/patch_minimax_m2_config.py
    """
    return model.architecture == "MiniMaxM2ForCausalLM" and model.weights == "fp8" and at_least(vllm, "0.17.0")


def as_loaded(model: Model, vllm: str) -> Model:
    """The model as it lies in memory."""
    return model._replace(weights="bf16") if vllm and widened(model, vllm) else model
