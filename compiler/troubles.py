"""What others reported to fail: the entries of `schema/known_bad.yaml` that a deployment with some sizes meets."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from compiler.deployment import deployment_of
from compiler.diagnostics import warning
from compiler.plain import facts_in, listed, mapping, text, texts, truth, whole
from compiler.vllm_rules import refusals
from schema.known_bad import KnownBad, When

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from compiler.deployment import Deployment
    from compiler.diagnostics import Diagnostic, Path
    from compiler.subject import Subject
    from schema.scalar import Tree

# Ray sorts what it has to place before it fills node after node, with `std::sort`, which keeps the order of what is
# equal only up to so many: tests/rig/test_ray.py has the orders that it came to.
_KEPT_IN_ORDER = 16


def troubles(where: Deployment, tensor: int, pipeline: int) -> tuple[KnownBad, ...]:
    """The reports that speak of this deployment with these sizes."""
    return tuple(each for each in known_bad() if _meets(each.when, where, tensor, pipeline))


@cache
def known_bad() -> tuple[KnownBad, ...]:
    """Every report."""
    return tuple(_known_bad(mapping(each)) for each in listed(facts_in("known_bad.yaml")))


def _known_bad(tree: Mapping[str, Tree]) -> KnownBad:
    return KnownBad(_when(mapping(tree["when"])), text(tree["says"]), text(tree["instead"]), text(tree["source"]))


def _when(tree: Mapping[str, Tree]) -> When:
    def holds(condition: str) -> bool:
        return condition in tree and truth(tree[condition])

    return When(
        releases=texts(tree.get("releases", [])),
        super_pod=holds("super_pod") if "super_pod" in tree else None,
        expert_parallel=holds("expert_parallel"),
        pipeline=holds("pipeline"),
        tensor_below=whole(tree["tensor_below"]) if "tensor_below" in tree else 0,
        world_least=whole(tree["world_least"]) if "world_least" in tree else 0,
        several_nodes=holds("several_nodes"),
        scattered=holds("scattered"),
        latent=holds("latent"),
        architectures=texts(tree.get("architectures", [])),
        without=texts(tree.get("without", [])),
    )


def _meets(when: When, where: Deployment, tensor: int, pipeline: int) -> bool:
    return (
        (not when.releases or (where.release is not None and where.release.name in when.releases))
        and when.super_pod in (None, where.super_pod)
        and (not when.expert_parallel or where.expert_parallel)
        and (not when.pipeline or pipeline > 1)
        and (not when.tensor_below or tensor < when.tensor_below)
        and where.world >= when.world_least
        and (not when.several_nodes or where.nodes > 1)
        and (not when.scattered or _is_scattered(where))
        and _is_of_the_model(when, where)
        and not any(flag in where.flags for flag in when.without)
    )


def _is_scattered(where: Deployment) -> bool:
    """True where Ray's first NPUs are not those of the first node, the next those of the next by address, and so on.

    The node that vLLM runs on is always first; which of the others is next is up to Ray.
    """
    return where.nodes > 1 and (where.world > _KEPT_IN_ORDER or where.nodes > 2)  # noqa: PLR2004 - one of the others


def _is_of_the_model(when: When, where: Deployment) -> bool:
    if not when.latent and not when.architectures:
        return True
    model = where.model
    return (
        model is not None
        and (not when.latent or model.latent)
        and (not when.architectures or model.architecture in when.architectures)
    )


def known_to_fail(subject: Subject) -> Iterator[Diagnostic]:
    """Warns of each report, where the spec can be changed."""
    from compiler.parallelism import asked  # noqa: PLC0415 - which asks this file what is known to fail

    where = deployment_of(subject)
    if where is None:
        return
    tensor, pipeline, _ = asked(subject.cluster.serve.parallelism, where)
    if refusals(where, tensor, pipeline):
        return  # nobody gets as far as to see it fail
    for each in troubles(where, tensor, pipeline):
        path, message = _place(each.when), f"{each.says}: {each.source}"
        yield warning("known-bad", path, message, each.instead, at_key="args" in path)


def _place(when: When) -> Path:
    """Where the spec is changed the least; the release can always be."""
    if when.expert_parallel:
        return ("serve", "args", "enable-expert-parallel")
    if when.pipeline:
        return ("serve", "parallelism")
    return ("serve", "args") if when.without else ("image",)
