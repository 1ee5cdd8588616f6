"""An explanation as JSON, for tools. Sizes are bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from compiler.memory import LEFT_OUT, kv_heads_of_a_rank, longest, weight_bytes
from compiler.parallelism import within_a_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.deployment import Deployment
    from compiler.explain import About, Explanation, Verdict
    from compiler.memory import Fit
    from compiler.places import Located
    from schema.model import Model

FORMAT_VERSION = 1


def only_faults(errors: Sequence[Located], warnings: Sequence[Located]) -> str:
    """What there is to say of a spec that says no deployment: why."""
    return _text({"format_version": FORMAT_VERSION, "errors": _told(errors), "warnings": _told(warnings)})


def _told(found: Sequence[Located]) -> list[dict[str, object]]:
    return [
        {
            "code": each.code,
            "path": each.path,
            "file": each.place.file,
            "line": each.place.line,
            "message": each.message,
            "hint": each.hint,
            "more": f"docs/diagnostics.md#{each.code}",
        }
        for each in found
    ]


def _text(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2) + "\n"


def as_json(about: About, compared: Sequence[tuple[str, Explanation]], errors: Sequence[Located]) -> str:
    """The spec's own explanation, which is the first, and under `what_if` those of the alternatives."""
    (_, explanation), *alternatives = compared
    document: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "cluster": about.cluster,
        "image": about.image,
        "release": about.release._asdict() if about.release else None,
        **_json(explanation),
        "what_if": [{"asked": title, **_json(each)} for title, each in alternatives],
        "errors": _told(errors),
        "warnings": _told(about.warnings),
    }
    return _text(document)


def _json(explanation: Explanation) -> dict[str, object]:
    where = explanation.where
    return {
        "npus_of_nodes": list(where.npus),
        "memory": {"total": where.hbm.total_mib << 20, "usable": where.hbm.usable_mib << 20, "share": where.share},
        "model": _model_json(where.model),
        "expert_parallel": where.expert_parallel,
        "max_model_len": where.length,
        "chosen": _verdict_json(where, explanation.chosen),
        "reason": explanation.reason,
        "choices": [_verdict_json(where, each) for each in explanation.verdicts],
    }


def _model_json(model: Model | None) -> dict[str, object] | None:
    if model is None:
        return None
    kept = ("name", "origin", "architecture", "layers", "heads", "kv_heads", "latent", "experts", "context", "weights")
    known: dict[str, object] = {name: getattr(model, name) for name in kept}
    sizes = {"parameters": model.parameters, "weight_bytes": weight_bytes(model)} if model.parts else {}
    return {**known, **sizes, "pipeline": model.pipeline, "sources": list(model.sources)}


def _verdict_json(where: Deployment, verdict: Verdict) -> dict[str, object]:
    need = verdict.sizes.fit
    return {
        "tensor": verdict.sizes.tensor,
        "pipeline": verdict.sizes.pipeline,
        "legal": not verdict.sizes.refusals,
        "refusals": [{"says": each.says, "source": each.source} for each in verdict.sizes.refusals],
        "best": verdict.best,
        "lost_by": verdict.lost_by,
        "within_a_node": within_a_node(where, verdict.sizes.tensor),
        "known_bad": [{"says": each.says, "instead": each.instead, "source": each.source} for each in verdict.troubles],
        "kv_heads": kv_heads_of_a_rank(where.model, verdict.sizes.tensor) if where.model else None,
        "fit": need and _fit_json(where, need),
    }


def _fit_json(where: Deployment, need: Fit) -> dict[str, object]:
    return {
        "estimate": True,
        "leaves_out": LEFT_OUT,
        "weights_fit": need.holds_weights,
        "claimed": need.claimed,
        "hccl_buffers": need.buffers,
        "kv_tokens": need.tokens if need.knows_tokens else None,
        "largest_max_model_len": longest(where, need) if need.knows_tokens else None,
        "stages": [
            {
                "layers": len(rank.layers),
                "weights": rank.weights,
                "kv_bytes_per_token": rank.cache,
                "kv_room": need.room(rank),
            }
            for rank in need.ranks
        ],
    }
