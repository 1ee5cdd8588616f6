"""The table of docs/parallelism.md: what `auto` takes for each model of the catalogue on each kind of cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.catalogue import catalogue
from compiler.deployment import Deployment
from compiler.facts import accelerator
from compiler.memory import gib, weight_bytes
from compiler.parallelism import candidates, ranked
from schema.accelerator import Accelerator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.model import Model

NODES = (1, 2, 4, 8, 16)
LENGTH = 8192
# ModelSlim's and the plain ones: what A2 and A3 run.
RUN = ("bf16", "w8a8", "w4a8", "w4a4", "w4a16")
HARDWARE = (("A2, 64 GB", "atlas-a2", 0), ("A2, 32 GB", "atlas-a2", 1), ("A3, 64 GB", "atlas-a3", 0))


def shapes() -> list[Model]:
    """One model for each shape and kind of weights that these NPUs run."""
    kept: dict[tuple[str, str], Model] = {}
    for model in catalogue():
        if model.weights in RUN:
            kept.setdefault((model.origin, model.weights), model)
    return list(kept.values())


def deployment(model: Model, name: str, kind: int, nodes: int) -> Deployment:
    known = accelerator(name)
    assert isinstance(known, Accelerator)
    return Deployment((known.npus,) * nodes, known.hbm[kind], known.super_pod, model, length=LENGTH)


def answer(where: Deployment) -> str:
    """The best sizes with the weights of an NPU and the tokens of KV cache, or why there are none."""
    judged = candidates(where)
    found = ranked(where, judged)
    if not found:
        return f"refused: {judged[0].refusals[0].says}"
    best = found[0]
    assert best.fit is not None
    if not best.fit.holds_weights:
        return f"no: {gib(best.fit.weights)}"
    if not best.fit.knows_tokens:
        return f"{best.text}, {gib(best.fit.weights)}"
    tokens = best.fit.tokens
    if tokens < LENGTH:
        return f"no: {gib(best.fit.weights)}, {tokens:,} tokens"
    return f"{best.text}, {gib(best.fit.weights)}, {thousands(tokens)}"


def thousands(tokens: int) -> str:
    return f"{tokens / 1e6:.1f} M" if tokens >= 1_000_000 else f"{tokens // 1000} k"


def table() -> str:
    """The whole table, a section for each shape and kind of weights."""
    return "\n".join(line for model in shapes() for line in _section(model)).rstrip()


def _section(model: Model) -> Iterator[str]:
    size = f"{gib(weight_bytes(model))} of weights"
    size += "" if model.cached else ", as if spread evenly; its KV cache is not judged"
    yield f"**{model.name}**, {model.weights}, {size}"
    yield ""
    yield f"| nodes | {' | '.join(title for title, _, _ in HARDWARE)} |"
    yield f"| --- |{' --- |' * len(HARDWARE)}"
    for nodes in NODES:
        cells = [answer(deployment(model, name, kind, nodes)) for _, name, kind in HARDWARE]
        yield f"| {nodes} | {' | '.join(cells)} |"
    yield ""
