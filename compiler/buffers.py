"""How large HCCL's buffers must be for the experts of a deployment: HCCL_BUFFSIZE, in MB.

With expert parallelism each token is sent to the NPUs that hold its experts, through a buffer that HCCL sets up once
and that must hold the largest batch. Too small a one ends the start with "HCCL_BUFFSIZE is too SMALL", or with an error
that names no buffer at all: https://github.com/vllm-project/vllm-ascend/issues/2674. The sizes are those of the
operators' own checks; vllm-ascend says when it takes which: `select_moe_comm_method` of
https://github.com/vllm-project/vllm-ascend/blob/v0.23.0/vllm_ascend/ascend_forward_context.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.releases import at_least

if TYPE_CHECKING:
    from compiler.deployment import Deployment
    from schema.model import Model

# HCCL's own: https://www.hiascend.com/document/detail/en/canncommercial/850/maintenref/envvar
BUFFER_MB = 200
# What vllm-ascend's documents set wherever experts span nodes.
DOCUMENTED_MB = 1024
# Of the largest graph: `cudagraph_capture_sizes`, https://github.com/vllm-project/vllm/blob/v0.23.0/vllm/config/vllm.py
_MOST_TOKENS = 512
_A2_LEAST_RANKS, _A2_MOST_EXPERTS = 16, 24
_STEP_MB = 128


def buffer_mb(where: Deployment, tensor: int) -> int:
    """What HCCL_BUFFSIZE should be, in MB: what the operators need, and what is documented once nodes are crossed."""
    needed = needed_mb(where, tensor)
    if needed and where.model and not where.super_pod:
        needed = max(needed, _a2_hierarchical_mb(where.model, _batch(where, tensor)))
    if where.expert_parallel and where.nodes > 1:
        needed = max(needed, DOCUMENTED_MB)
    return BUFFER_MB if needed <= BUFFER_MB else -(-needed // _STEP_MB) * _STEP_MB


def needed_mb(where: Deployment, tensor: int) -> int:
    """The least with which the operators start, in MB; 0 where they are not used, or the model is not known."""
    model = where.model
    if not (where.expert_parallel and model and model.experts and model.hidden and tensor > 1):
        return 0
    if where.super_pod:
        return _a3_mb(model, _batch(where, tensor), tensor)
    return _a2_mb(model, _batch(where, tensor), tensor) if _a2_dispatches(where, model, tensor) else 0


def _a2_dispatches(where: Deployment, model: Model, tensor: int) -> bool:
    """Whether Atlas A2 takes these operators: from 16 ranks on, and in later releases with 24 experts each at most.

    v0.11 and older count all stages: vllm_ascend/worker/model_runner_v1.py of v0.11.0, `_select_moe_comm_method`.
    """
    vllm = where.release.vllm if where.release else ""
    ranks = where.world if vllm and not at_least(vllm, "0.12.0") else tensor
    few = (model.experts or 0) // tensor <= _A2_MOST_EXPERTS or (bool(vllm) and not at_least(vllm, "0.18.0"))
    return ranks >= _A2_LEAST_RANKS and few


def _batch(where: Deployment, tensor: int) -> int:
    """Tokens of one rank: its share of the largest graph, or of the largest batch without graphs."""
    vllm = where.release.vllm if where.release else ""
    if vllm and not at_least(vllm, "0.11.0"):
        return _MOST_TOKENS  # `mc2_tokens_capacity` of v0.10.2rc1: 512 for each
    later = not vllm or at_least(vllm, "0.13.0")
    tokens = where.sequences * (1 + where.drafts if later or _is_eager(where) else 1)
    largest = tokens if _is_eager(where) else 2 * tokens
    return min(-(-min(largest, _MOST_TOKENS) // tensor), _MOST_TOKENS)


def _is_eager(where: Deployment) -> bool:
    return "enforce-eager" in where.flags


def _a3_mb(model: Model, batch: int, ranks: int) -> int:
    """Atlas A3: 609 MB for 512 tokens of 2048 in https://github.com/vllm-project/vllm-ascend/pull/5287."""
    experts = -(-(model.experts or 0) // ranks)
    sent = _up_to(512, _up_to(32, 2 * model.hidden) + 44)
    returned = _up_to(512, 2 * model.hidden)
    return (2 * batch * (sent * ranks * experts + returned * model.experts_per_token) >> 20) + 1


def _a2_mb(model: Model, batch: int, ranks: int) -> int:
    """Atlas A2, each NPU to each other one.

    https://www.hiascend.com/document/detail/zh/canncommercial/83RC1/API/aolapi/context/aclnnMoeDistributeDispatch.md
    """
    experts = -(-(model.experts or 0) // ranks)
    most = min(experts, model.experts_per_token)
    return 2 * ((batch * ranks * most * model.hidden * 2 >> 20) + 1 + 2)


def _a2_hierarchical_mb(model: Model, batch: int) -> int:
    """Atlas A2, by nodes first, where HCCL_INTRA_PCIE_ENABLE asks for it: 600 MB for 256 experts of https://github.com/vllm-project/vllm-ascend/issues/16835."""
    routing = 3 * (model.experts_per_token + 7) // 8 * 8 * 4
    return ((model.experts or 0) * batch * (2 * model.hidden + routing + 64) >> 20) + 1 + 404


def _up_to(step: int, number: int) -> int:
    return -(-number // step) * step
