"""What a spec may not ask of the way a model is spread over NPUs: the sizes, and the memory that they need."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from compiler.buffers import buffer_mb, needed_mb
from compiler.catalogue import others_of
from compiler.deployment import deployment_of, hbm_of
from compiler.diagnostics import error, warning
from compiler.memory import BLOCK, GIB, MIB, gib, longest
from compiler.parallelism import asked, candidate, least_nodes, legal, within_a_node
from compiler.releases import at_least
from compiler.said import env_of, npus_of
from schema.cluster import Sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.deployment import Deployment
    from compiler.diagnostics import Diagnostic, Path
    from compiler.memory import Fit
    from compiler.parallelism import Candidate
    from compiler.subject import Subject
    from schema.cluster import Cluster

_SIZES: Path = ("serve", "parallelism")
_EXPERTS: Path = ("serve", "args", "enable-expert-parallel")
_LENGTH: Path = ("serve", "args", "max-model-len")
_PARTITION = "VLLM_PP_LAYER_PARTITION"
_SHOWN = 6  # legal choices in a hint


def nodes_are_alike(subject: Subject) -> Iterator[Diagnostic]:
    """Words for sizes need nodes with the same number of NPUs."""
    cluster, known = subject.cluster, subject.accelerator
    if known is None or isinstance(cluster.serve.parallelism, Sizes):
        return
    counts = [len(npus_of(node, cluster, known)) for node in cluster.nodes]
    usual = Counter(counts).most_common(1)[0][0]
    for index, count in enumerate(counts):
        if count != usual:
            path = ("nodes", index, "npus") if cluster.nodes[index].npus is not None else ("nodes", index)
            message = f"{cluster.nodes[index].name} brings {count} NPUs, most nodes bring {usual}"
            hint = "use the same number on all nodes, or give explicit sizes: parallelism: {tensor: N, pipeline: M}"
            yield error("uneven-npus", path, message, hint)


def hbm_is_one(subject: Subject) -> Iterator[Diagnostic]:
    """The NPUs of an accelerator come with a few kinds of memory."""
    cluster, known = subject.cluster, subject.accelerator
    if known is not None and hbm_of(cluster, known) is None:
        kinds = " or ".join(f"{hbm.total_mib >> 10}g" for hbm in known.hbm)
        message = f"{cluster.hbm_size} is no memory that NPUs of {known.name} have"
        yield error("hbm-size", ("hbm_size",), message, f"it is {kinds}: `npu-smi info` shows it as HBM-Usage")


def sizes_multiply_out(subject: Subject) -> Iterator[Diagnostic]:
    """Explicit sizes use every NPU."""
    where, written = deployment_of(subject), subject.cluster.serve.parallelism
    if where is None or not isinstance(written, Sizes) or written.tensor * written.pipeline == where.world:
        return
    (first, *_) = candidate(where, written.tensor, written.pipeline).refusals
    yield error("parallelism-size", _SIZES, first.says, _legal_hint(where))


def partition_is_one(subject: Subject) -> Iterator[Diagnostic]:
    """Each worker deals the layers out by itself, so that all must be told alike."""
    cluster = subject.cluster
    first = env_of(cluster.nodes[0], cluster).get(_PARTITION)
    for index, node in enumerate(cluster.nodes):
        own = node.env.get(_PARTITION)
        if own is not None and own != first:
            message = f"{_PARTITION} is {own!r} here and {first or 'not set'} on {cluster.nodes[0].name}"
            yield error(
                "env-range", ("nodes", index, "env", _PARTITION), message, "set it once, under the cluster's `env`"
            )


def spread_is_sound(subject: Subject) -> Iterator[Diagnostic]:
    """The sizes that the spec asks for are legal, and the model fits with them."""
    where = deployment_of(subject)
    if where is None:
        return
    tensor, pipeline, _ = asked(subject.cluster.serve.parallelism, where)
    if tensor * pipeline != where.world:
        return
    sizes = candidate(where, tensor, pipeline)
    yield from _sizes_are_legal(subject.cluster, where, sizes)
    if not sizes.refusals:
        yield from _tensor_groups_stay_in_a_node(where, sizes)
        yield from _buffers_hold(subject.cluster, where, sizes)
        yield from _model_fits(where, sizes)


def _sizes_are_legal(cluster: Cluster, where: Deployment, sizes: Candidate) -> Iterator[Diagnostic]:
    """VLLM would say it too, minutes later."""
    paths = {"sizes": _SIZES, "experts": _EXPERTS, "partition": _env_path(cluster, _PARTITION)}
    for refusal in sizes.refusals:
        hint = _legal_hint(where)
        if refusal.about == "experts":
            hint = "leave it out: this model has no experts"
        elif refusal.about == "partition":
            hint = f"one number a stage, {sizes.pipeline} in all, that add up to {where.model and where.model.layers}"
        message = f"{sizes.text}: {refusal.says}"
        at_key = refusal.about == "experts"
        yield error("parallelism-illegal", paths[refusal.about], message, hint, at_key=at_key)


def _tensor_groups_stay_in_a_node(where: Deployment, sizes: Candidate) -> Iterator[Diagnostic]:
    """Between servers that RoCE joins, each layer of each token would wait for the slow way."""
    if not where.super_pod and not within_a_node(where, sizes.tensor):
        message = f"TP {sizes.tensor} spans nodes of {where.npus[0]} NPUs: every layer's all-reduce goes over RoCE"
        hint = (
            "`pipeline` keeps TP inside a node; `compiler explain` compares: github.com/vllm-project/vllm/issues/29447"
        )
        yield warning("tensor-across-nodes", _SIZES, message, hint)


def _buffers_hold(cluster: Cluster, where: Deployment, sizes: Candidate) -> Iterator[Diagnostic]:
    """Too small a buffer ends the start: https://github.com/vllm-project/vllm-ascend/issues/2674."""
    needed = needed_mb(where, sizes.tensor)
    if where.buffer_mb and where.buffer_mb < needed:
        message = f"is {where.buffer_mb} MB, and the experts of {sizes.text} need {needed}"
        hint = f"leave it out for {buffer_mb(where, sizes.tensor)}; too small a buffer ends the start"
        yield warning("hccl-buffer", _env_path(cluster, "HCCL_BUFFSIZE"), message, hint)


def _model_fits(where: Deployment, sizes: Candidate) -> Iterator[Diagnostic]:
    """What does not fit by its weights alone fails after they were loaded for minutes."""
    need = sizes.fit
    if need is None or where.model is None:
        return
    if not need.holds_weights:
        share = f"{where.share:g} of {where.hbm.usable_mib / 1024:.1f} GiB"
        message = (
            f"{where.model.name} ({where.model.weights}) needs {gib(need.weights)} of weights on an NPU with "
            f"{sizes.text}, and vLLM may take {gib(need.claimed)}: {share}"
        )
        yield error("model-does-not-fit", ("serve", "model"), message, _fitting_hint(where))
        return
    length = where.longest
    if not need.holds(length):
        message = cache_says(need, length, where)
        hint = f"max-model-len: {longest(where, need)} would, at most" if need.tokens else _fitting_hint(where)
        yield warning("length-does-not-fit", _LENGTH if where.length else ("serve", "model"), message, hint)


def cache_says(need: Fit, length: int, where: Deployment) -> str:
    """VLLM's own sentence, which later has a letter less: `check_enough_kv_cache_memory` in kv_cache_utils.py."""
    models = "models's" if where.release and not at_least(where.release.vllm, "0.19.0") else "model's"
    rank, blocks = need.tightest, -(-length // BLOCK)
    needed = blocks * BLOCK * rank.cache / GIB
    return (
        f"To serve at least one request with the {models} max seq len ({length}), ({needed:.2f} GiB "
        f"KV cache is needed, which is larger than the available KV cache memory ({need.room(rank) / GIB:.2f} GiB)."
    )


def _legal_hint(where: Deployment) -> str:
    dense = where.model is not None and where.model.experts == 0  # what else is wrong is told by itself
    found = legal(where._replace(partition=None, expert_parallel=where.expert_parallel and not dense))
    if not found:
        return "no sizes use all these NPUs with this model; use fewer NPUs"
    shown = ", ".join(f"{{tensor: {each.tensor}, pipeline: {each.pipeline}}}" for each in found[:_SHOWN])
    return f"legal are {shown}{', ...' if len(found) > _SHOWN else ''}"


def _fitting_hint(where: Deployment) -> str:
    """What would make room: other sizes, a larger share of the memory, fewer bits, more nodes."""
    length = where.longest
    found = [each for each in legal(where) if each.fit]
    ways = [
        f"{{tensor: {each.tensor}, pipeline: {each.pipeline}}}" for each in found if each.fit and each.fit.holds(length)
    ][:1]
    shares = [share for each in found if (share := _share_for(where, each, length)) <= _MOST_SHARE]
    if shares and not ways:
        ways.append(f"gpu-memory-utilization: {min(shares):.2f}")
    if where.model and where.model.weights == "bf16" and _fits_lighter(where, length):
        others = others_of(where.model.name, ("w8a8",))
        ways.append(f"{others[0]} (half the weights)" if others else "a W8A8 checkpoint (half the weights)")
    nodes = least_nodes(where, above=where.nodes)
    if nodes:
        ways.append(f"{nodes} nodes")
    return f"what would fit: {', or '.join(ways)}" if ways else "no number of these nodes holds it"


def _fits_lighter(where: Deployment, length: int) -> bool:
    """Whether the same model in W8A8 would fit."""
    lighter = where._replace(model=where.model and where.model._replace(weights="w8a8"))
    return any(each.fit and each.fit.holds(length) for each in legal(lighter))


def _share_for(where: Deployment, each: Candidate, length: int) -> float:
    """The share of an NPU's memory that the weights and one sequence need, in hundredths, rounded up."""
    assert each.fit is not None, "only those whose memory is known are asked"  # noqa: S101
    need = max(rank.weights + each.fit.buffers + length * rank.cache for rank in each.fit.ranks)
    return math.ceil(100 * need / (where.hbm.usable_mib * MIB)) / 100


_MOST_SHARE = 0.95  # above, nothing is left for what vLLM's trial run measures


def _env_path(cluster: Cluster, name: str) -> Path:
    for path, env in (
        (("nodes", 0, "env"), cluster.nodes[0].env),
        (("defaults", "env"), cluster.defaults.env),
        (("env",), cluster.env),
    ):
        if name in env:
            return (*path, name)
    return _SIZES
