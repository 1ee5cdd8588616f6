"""Tensor and pipeline parallelism: which sizes vLLM would take, which of them are best, and why."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler.memory import Fit, fit
from compiler.plan import Parallelism
from compiler.troubles import troubles
from compiler.vllm_rules import Refusal, refusals
from schema.cluster import Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.deployment import Deployment

Choice = Literal["pipeline", "tensor", "auto"]

_VLLM = "https://github.com/vllm-project/vllm/blob/v0.23.0/vllm"
_PIPELINE_GUIDE = (
    "https://github.com/vllm-project/vllm-ascend/blob/main/docs/source/user_guide/feature_guide/pipeline_parallel.md"
)


class Candidate(NamedTuple):
    """One way to spread the model over all NPUs.

    Attributes:
        tensor: How many NPUs share each layer.
        pipeline: How many stages the layers are cut into.
        refusals: Why vLLM would not take it; empty when it would.
        fit: What it needs of the NPUs' memory; None when that is not known.
    """

    tensor: int
    pipeline: int
    refusals: tuple[Refusal, ...]
    fit: Fit | None

    @property
    def text(self) -> str:
        """The sizes as people write them."""
        return Parallelism(self.tensor, self.pipeline, "").text


def candidate(where: Deployment, tensor: int, pipeline: int) -> Candidate:
    """These sizes, judged."""
    found = refusals(where, tensor, pipeline)
    return Candidate(tensor, pipeline, found, None if found else fit(where, tensor, pipeline))


def candidates(where: Deployment) -> tuple[Candidate, ...]:
    """Every way to use all NPUs, judged, the largest TP first."""
    return tuple(candidate(where, where.world // pipeline, pipeline) for pipeline in _divisors(where.world))


def legal(where: Deployment) -> tuple[Candidate, ...]:
    """Those that vLLM would take, the best first."""
    return ranked(where, candidates(where))


def ranked(where: Deployment, judged: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Those of them that vLLM would take, the best first."""
    return tuple(sorted((each for each in judged if not each.refusals), key=lambda each: _rank(where, each)))


def asked(written: Choice | Sizes, where: Deployment) -> Parallelism:
    """The sizes that a spec asks for, in words or in figures, on nodes that bring the same number of NPUs."""
    if isinstance(written, Sizes):
        return Parallelism(written.tensor, written.pipeline, "given by the spec")
    nodes, npus = where.nodes, where.npus[0]
    if written == "tensor":
        return Parallelism(where.world, 1, f"tensor: TP is all {where.world} NPUs")
    stages = f"a node, PP the {nodes} nodes" if nodes > 1 else "the one node"
    practice = Parallelism(npus, nodes, f"pipeline: TP is the {npus} NPUs of {stages}")
    if written == "pipeline":
        return practice
    if where.model is None and not refusals(where, practice.tensor, practice.pipeline):
        return practice._replace(reason="auto: the guide's practice, since nothing is known about the model")
    found = legal(where)
    if not found:
        return practice._replace(reason="auto: no sizes are legal for this model on these NPUs")
    return Parallelism(found[0].tensor, found[0].pipeline, f"auto: {_why(where, found)}")


_MOST_NODES = 64


def least_nodes(where: Deployment, above: int = 0) -> int:
    """The least power of two of such nodes that holds the model and one sequence; 0 when none does."""
    nodes, length = 1, where.longest
    while nodes <= _MOST_NODES:
        tried = where._replace(npus=where.npus[:1] * nodes, partition=None)
        if nodes > above and any(each.fit and each.fit.holds(length) for each in legal(tried)):
            return nodes
        nodes *= 2
    return 0


class Criterion(NamedTuple):
    """What makes one choice of sizes better than another.

    Attributes:
        wanted: What should hold.
        missed: What is said of a choice for which it does not.
        holds: Whether it does.
        source: Who says that it is better.
    """

    wanted: str
    missed: str
    holds: Callable[[Deployment, Candidate], bool]
    source: str


def lost_by(where: Deployment, best: Candidate, other: Candidate) -> str:
    """Why the other one of two legal choices is not the best."""
    for criterion in CRITERIA:
        if criterion.holds(where, best) and not criterion.holds(where, other):
            return criterion.missed
    return f"has more stages than {best.text}"


def _rank(where: Deployment, each: Candidate) -> tuple[bool | int, ...]:
    return (*(not criterion.holds(where, each) for criterion in CRITERIA), each.pipeline)


def _why(where: Deployment, found: tuple[Candidate, ...]) -> str:
    best, *others = found
    if not others:
        return f"{best.text} are the only sizes that vLLM takes for this model on {where.world} NPUs"
    why = dict.fromkeys(lost_by(where, best, other) for other in others)
    held = [criterion.wanted for criterion in CRITERIA if criterion.missed in why]
    return f"the best of {len(found)} legal choices: {', '.join((*held, 'fewest stages'))}"


def within_a_node(where: Deployment, tensor: int) -> bool:
    """True when no tensor group has NPUs of two nodes."""
    return all(npus % tensor == 0 for npus in where.npus)


def _fits(_: Deployment, each: Candidate) -> bool:
    return each.fit is None or each.fit.holds_weights


def _holds_the_length(where: Deployment, each: Candidate) -> bool:
    return each.fit is None or each.fit.holds(where.longest)


def _is_not_known_to_fail(where: Deployment, each: Candidate) -> bool:
    return not troubles(where, each.tensor, each.pipeline)


def _stays_in_a_node(where: Deployment, each: Candidate) -> bool:
    return within_a_node(where, each.tensor)


_CACHE_CHECK = f"{_VLLM}/v1/core/kv_cache_utils.py"
# In the order of their weight. The last one of all, fewest stages, is the guide's as well: "Use a TP-only deployment as
# the baseline"; each stage more adds to the time of every token.
CRITERIA = (
    Criterion("the weights fit", "its weights do not fit", _fits, _CACHE_CHECK),
    Criterion("max-model-len fits", "max-model-len does not fit", _holds_the_length, _CACHE_CHECK),
    Criterion("nothing is known to fail", "it is known to fail", _is_not_known_to_fail, "schema/known_bad.yaml"),
    Criterion("TP stays inside a node", "its TP spans nodes", _stays_in_a_node, _PIPELINE_GUIDE),
)


@cache
def _divisors(number: int) -> tuple[int, ...]:
    small = [each for each in range(1, int(number**0.5) + 1) if number % each == 0]
    return tuple(sorted({*small, *(number // each for each in small)}))
