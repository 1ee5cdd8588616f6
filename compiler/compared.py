"""Alternatives side by side: a column each, a row for each thing that may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.memory import gib, kv_heads_of_a_rank, longest
from compiler.parallelism import within_a_node
from compiler.table import aligned
from schema.model import UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compiler.explain import Explanation
    from compiler.memory import Fit


def side_by_side(compared: Sequence[tuple[str, Explanation]]) -> str:
    """The table; what all have alike stands in it as well, so that nothing has to be looked up."""
    rows = [("", *(title for title, _ in compared))]
    rows += [(name, *(said(each) for _, each in compared)) for name, said in _ROWS]
    lines = [f"  {line}".rstrip() for line in aligned(rows, right=())]
    notes = [
        f"  {title}: refused: {refusal.says}\n      {refusal.source}"
        for title, each in compared
        for refusal in each.chosen.sizes.refusals
    ]
    notes += [
        f"  {', '.join(title for title, each in compared if report in each.chosen.troubles)}: {report.says}:\n"
        f"      {report.source}"
        for report in dict.fromkeys(report for _, each in compared for report in each.chosen.troubles)
    ]
    return "\n".join((*lines, *([""] if notes else []), *notes)) + "\n"


def _of_fit(said: Callable[[Explanation, Fit], str]) -> Callable[[Explanation], str]:
    def of(explanation: Explanation) -> str:
        need = explanation.chosen.sizes.fit
        return said(explanation, need) if need else "not known"

    return of


def _verdict(explanation: Explanation) -> str:
    """The first thing that is against it, or that nothing is."""
    where, chosen = explanation.where, explanation.chosen
    model, need = where.model, chosen.sizes.fit
    against = (
        (bool(chosen.sizes.refusals), "refused"),
        (model is None, "not judged"),
        (model is not None and model.weights in UNSUPPORTED, "weights not run here"),
        (need is not None and not need.holds_weights, "does not fit"),
        (model is not None and where.longest > (model.context or where.longest), "beyond its context"),
        (bool(chosen.troubles), "known to fail"),
        (need is not None and not need.holds(where.longest), "too long for the cache"),
        (need is None, "legal"),
    )
    return next((word for is_so, word in against if is_so), "legal, fits")


def _npus(explanation: Explanation) -> str:
    where = explanation.where
    same = len(set(where.npus)) == 1
    npus = f"{where.nodes} x {where.npus[0]}" if same else f"{where.nodes} nodes, {where.world} NPUs"
    return f"{npus} of {where.hbm.total_mib >> 10} GiB"


def _model(explanation: Explanation) -> str:
    model = explanation.where.model
    return f"{model.name.rpartition('/')[2]}, {model.weights}" if model else "not known"


def _group(explanation: Explanation) -> str:
    inside = within_a_node(explanation.where, explanation.chosen.sizes.tensor)
    return "inside a node" if inside else "spans nodes"


def _kv_heads(explanation: Explanation) -> str:
    model = explanation.where.model
    if model is None or model.kv_heads is None:
        return "not known"
    return "latent" if model.latent else str(kv_heads_of_a_rank(model, explanation.chosen.sizes.tensor))


def _layers(_: Explanation, need: Fit) -> str:
    sizes = [len(rank.layers) for rank in need.ranks]
    return str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"


def _tokens(_: Explanation, need: Fit) -> str:
    if not need.holds_weights:
        return "none"
    return f"{need.tokens:,}" if need.knows_tokens else "not known"


def _sequences(explanation: Explanation, need: Fit) -> str:
    where = explanation.where
    length = where.longest
    return f"{need.tokens / length:.1f} of {length:,}" if length and need.knows_tokens else "not known"


_ROWS: tuple[tuple[str, Callable[[Explanation], str]], ...] = (
    ("sizes", lambda each: each.chosen.sizes.text),
    ("verdict", _verdict),
    ("nodes x NPUs", _npus),
    ("model", _model),
    ("tensor group", _group),
    ("layers a stage", _of_fit(_layers)),
    ("KV heads an NPU", _kv_heads),
    ("weights an NPU", _of_fit(lambda _, need: gib(need.weights))),
    ("room for KV cache", _of_fit(lambda _, need: gib(need.room(need.tightest)))),
    ("KV tokens, at most", _of_fit(_tokens)),
    ("sequences", _of_fit(_sequences)),
    ("largest max-model-len", _of_fit(lambda each, need: f"{longest(each.where, need):,}")),
)
