"""An explanation in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.diagnostics import counted
from compiler.memory import LEFT_OUT, gib, kv_heads_of_a_rank, longest, weight_bytes
from compiler.parallelism import CRITERIA, least_nodes, within_a_node
from compiler.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compiler.deployment import Deployment
    from compiler.explain import About, Explanation, Verdict
    from compiler.memory import Fit, Rank
    from compiler.places import Located
    from schema.known_bad import KnownBad
    from schema.model import Model

_BAR = 32  # characters of the bar that stands for an NPU's memory


def as_text(about: About, explanation: Explanation) -> str:
    """The whole explanation."""
    where = explanation.where
    parts = [
        "\n".join(_head(about, where)),
        "\n".join(_choices(explanation)),
        "\n".join(_memory(where, explanation.chosen)),
        "\n".join(_criteria()),
        "\n".join(_warnings(about.warnings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(about: About, where: Deployment) -> Iterator[str]:
    npus = f"{where.nodes} node{'s' * (where.nodes != 1)} with {where.world} NPUs"
    memory = f"{where.hbm.total_mib >> 10} GiB each, of which programs can have {where.hbm.usable_mib / 1024:.1f}"
    yield f"{about.cluster}: {npus}; {about.accelerator}, {memory}"
    release = about.release
    if release:
        ray = f"Ray {release.ray_least or 'any'} to {release.ray_most or 'any'}"
        parts = f"vLLM {release.vllm}, CANN {release.cann}, Python {release.python}, {ray}"
        yield f"  image   vllm-ascend {release.name}: {parts}"
    else:
        yield f"  image   {about.image}: its tag names no release known here"
    yield from (f"  {line}" for line in _model(where.model))


def _model(model: Model | None) -> Iterator[str]:
    if model is None:
        yield "model   nothing is known about it: neither heads nor layers nor memory were checked"
        return
    size = (
        f"{model.parameters / 1e9:.1f} B parameters, {model.weights}: {gib(weight_bytes(model))}" if model.parts else ""
    )
    yield f"model   {'; '.join(each for each in (model.name, size) if each)}"
    yield f"        {', '.join(_facts(model))}"
    listed = {"listed": "lists", "untested": "calls untested", "unlisted": "does not list"}.get(model.pipeline)
    if listed:
        yield f"        vllm-ascend's support matrix {listed} pipeline parallelism for it"
    yield f"        from {model.origin}"


def _facts(model: Model) -> Iterator[str]:
    """What is known of its shape, and that the rest is not."""
    yield f"{model.layers} layers" if model.layers else "layers not known"
    yield f"{model.heads} heads" if model.heads else "heads not known"
    kv_heads = f"{model.kv_heads} KV heads" if model.kv_heads else "KV heads not known"
    yield "latent attention (MLA)" if model.latent else kv_heads
    if model.experts:
        chosen = f", {model.experts_per_token} a token" if model.experts_per_token else ""
        yield f"{model.experts} experts{chosen}"
    elif model.experts == 0:
        yield "dense"
    if model.context:
        yield f"{model.context:,} tokens"


def _choices(explanation: Explanation) -> Iterator[str]:
    yield f"Sizes ({explanation.reason}):"
    rows: list[tuple[str, ...]] = [("", "", "layers a stage", "KV heads", "weights", "KV cache", "tokens", "")]
    listed = list(explanation.verdicts)
    if explanation.chosen not in listed:
        listed.insert(0, explanation.chosen)
    legal = [verdict for verdict in listed if not verdict.sizes.refusals]
    reports = list(dict.fromkeys(each for verdict in legal for each in verdict.troubles))
    rows += [_row(explanation, verdict, reports) for verdict in legal]
    yield from (f"  {line}".rstrip() for line in aligned(rows, right=(4, 5, 6)))
    for number, report in enumerate(reports, start=1):
        yield f"  [{number}] {report.says}:"
        yield f"      {report.source}"
    for verdict in listed:
        if verdict.sizes.refusals:
            mark = ">" if verdict is explanation.chosen else "x"
            yield f"  {mark} {verdict.sizes.text}: refused"
            yield from (f"      {refusal.says}\n      {refusal.source}" for refusal in verdict.sizes.refusals)


def _row(explanation: Explanation, verdict: Verdict, reports: list[KnownBad]) -> tuple[str, ...]:
    where, sizes = explanation.where, verdict.sizes
    need = sizes.fit
    kv = _kv_heads(where.model, sizes.tensor)
    figures = ("", "", "")
    if need:
        left = gib(need.room(need.tightest)) if need.holds_weights else "none"
        figures = (gib(need.weights), left, _tokens_of(need))
    mark = ">" if verdict is explanation.chosen else " "
    return (mark, sizes.text, _stages(need), kv, *figures, "; ".join(_remarks(where, verdict, reports)))


def _kv_heads(model: Model | None, tensor: int) -> str:
    if model is None or not model.kv_heads:
        return ""
    return "latent" if model.latent else str(kv_heads_of_a_rank(model, tensor))


def _tokens_of(need: Fit) -> str:
    if not need.holds_weights:
        return "do not fit"
    return f"{need.tokens:,}" if need.knows_tokens else "not known"


def _remarks(where: Deployment, verdict: Verdict, reports: list[KnownBad]) -> Iterator[str]:
    if verdict.best:
        yield "the best"
    elif verdict.lost_by and not verdict.troubles:
        yield verdict.lost_by
    if verdict.troubles:
        yield f"known to fail {' '.join(f'[{reports.index(each) + 1}]' for each in verdict.troubles)}"
    if not within_a_node(where, verdict.sizes.tensor) and "TP spans" not in verdict.lost_by:
        yield "TP spans nodes"


def _stages(need: Fit | None) -> str:
    """The layers of each stage: `47 47`, or of many `3 of 7, 5 of 8`."""
    if need is None:
        return ""
    sizes = [len(rank.layers) for rank in need.ranks]
    if len(sizes) <= 4:  # noqa: PLR2004 - as many as are read at a glance
        return " ".join(map(str, sizes))
    return ", ".join(f"{sizes.count(size)} of {size}" for size in sorted(set(sizes)))


def _memory(where: Deployment, chosen: Verdict) -> Iterator[str]:
    need = chosen.sizes.fit
    if need is None:
        return
    share = f"{where.share:g} of {where.hbm.usable_mib / 1024:.1f} GiB is vLLM's"
    yield f"Memory of each NPU with {chosen.sizes.text} ({share}):"
    shown = _alike(need.ranks)
    rows = [
        (_which(stages, rank), _bar(where, need, rank), f"weights {gib(rank.weights)}", f"HCCL {gib(need.buffers)}",
         f"KV cache {gib(need.room(rank))}", f"{rank.cache:,} bytes a token")
        for stages, rank in shown
    ]  # fmt: skip
    yield from (f"  {line}".rstrip() for line in aligned(rows, right=()))
    yield f"  {'#'} weights  {'+'} HCCL's buffers  {'='} room for the KV cache  {'.'} not vLLM's"
    yield from _tokens(where, need)
    least = least_nodes(where)
    if 0 < least < where.nodes:
        nodes = counted(least, "such node")
        yield f"  It fits on {nodes} already; every stage more adds to the time of each token."
    yield f"  This is an estimate. It leaves out {LEFT_OUT}:"
    yield "  they come off the room for the KV cache."


def _alike(ranks: Sequence[Rank]) -> list[tuple[range, Rank]]:
    """Neighbouring stages that hold the same are shown as one."""
    groups: list[tuple[range, Rank]] = []
    for stage, rank in enumerate(ranks):
        if groups and (groups[-1][1].weights, groups[-1][1].cache) == (rank.weights, rank.cache):
            groups[-1] = (range(groups[-1][0].start, stage + 1), groups[-1][1])
        else:
            groups.append((range(stage, stage + 1), rank))
    return groups


def _which(stages: range, rank: Rank) -> str:
    layers = f"{len(rank.layers)} layer{'s' * (len(rank.layers) != 1)}"
    if len(stages) == 1:
        return f"stage {stages.start}: {layers}"
    return f"stages {stages.start}-{stages.stop - 1}: {layers} each"


def _bar(where: Deployment, need: Fit, rank: Rank) -> str:
    """The memory of one NPU, a character for each share of it."""
    total = where.hbm.total_mib << 20
    ends = (rank.weights, rank.weights + need.buffers, max(need.claimed, rank.weights + need.buffers), total)
    bar = ""
    for end, mark in zip(ends, "#+=.", strict=True):
        bar += mark * (min(_BAR, round(_BAR * end / total)) - len(bar))
    return f"[{bar}]"


def _tokens(where: Deployment, need: Fit) -> Iterator[str]:
    if not need.holds_weights:
        yield "  The weights do not fit: vLLM would end with `No available memory for the cache blocks`."
        return
    if not need.knows_tokens:
        yield "  What its KV cache keeps is not known here, and its weights are taken as spread evenly."
        return
    length = where.longest
    holds = f"  The KV cache holds {need.tokens:,} tokens at most"
    if not length or not need.tokens:
        yield f"{holds}."
    elif need.tokens < length:
        yield f"{holds}: not one sequence of {length:,}."
        yield f"  The largest max-model-len that fits is {longest(where, need):,}."
    else:
        asked = "max-model-len" if where.length else "the model's own length"
        many = f"{need.tokens / length:.1f} sequences of {length:,} ({asked})"
        yield f"{holds}: {many}; max-num-seqs is {where.sequences}."
        yield f"  The largest max-model-len that fits is {longest(where, need):,}{_bounded(where, need)}."


def _bounded(where: Deployment, need: Fit) -> str:
    return ", the model's own" if longest(where, need) < need.tokens else ""


def _criteria() -> Iterator[str]:
    yield "`auto` takes, of the legal ones, the first by these, in this order:"
    rows = [(f"{number}.", each.wanted, each.source) for number, each in enumerate(CRITERIA, start=1)]
    rows.append((f"{len(CRITERIA) + 1}.", "it has the fewest stages", CRITERIA[-1].source))
    yield from (f"  {line}".rstrip() for line in aligned(rows, right=()))


def _warnings(found: tuple[Located, ...]) -> Iterator[str]:
    if found:
        yield "Warnings:"
    for each in found:
        yield f"  {each.place.file}:{each.place.line}: {each.path}: {each.message} [{each.code}]"
        if each.hint:
            yield f"      {each.hint}"
        yield f"      more, with sources: docs/diagnostics.md#{each.code}"
