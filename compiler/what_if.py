"""`--what-if`: other values tried in a deployment's place, without touching the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from compiler.catalogue import catalogued
from compiler.deployment import as_loaded, tokens
from compiler.parallelism import Choice
from schema.cluster import Sizes
from schema.model import WEIGHTS
from schema.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compiler.deployment import Deployment
    from schema.accelerator import Accelerator


class Tried(NamedTuple):
    """A deployment with the values that were asked for, and the sizes that it would have.

    Attributes:
        title: What was asked for, as it was written.
        written: The sizes, in words or in figures.
        where: The deployment.
    """

    title: str
    written: Choice | Sizes
    where: Deployment


class Unusable(ValueError):  # noqa: N818 - it is no error of ours
    """What was asked for cannot be tried; the message says why, and what can."""


class _Trial(NamedTuple):
    """What has been changed so far."""

    where: Deployment
    accelerator: Accelerator
    choice: Choice | Sizes
    tensor: int = 0
    pipeline: int = 0


def tried(text: str, written: Choice | Sizes, where: Deployment, accelerator: Accelerator) -> Tried:
    """The deployment with `KEY=VALUE[,KEY=VALUE...]` in place of what the spec says.

    Raises:
        Unusable: A key is none, or its value is none for it.
    """
    trial = _Trial(where, accelerator, written)
    asked = dict(_assignments(text))
    if "parallelism" in asked and asked.keys() & {"tensor", "pipeline"}:
        raise Unusable("--what-if parallelism is a word for both sizes; give the word, or figures")
    for key in sorted(asked, key=lambda each: each != "model"):  # what its weights are is said of the other model then
        trial = _KEYS[key](trial, asked[key])
    return Tried(text, _sizes(trial), trial.where)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for assignment in text.split(","):
        key, _, value = (part.strip() for part in assignment.partition("="))
        if key not in _KEYS:
            hint = did_you_mean(key, tuple(_KEYS)) or f"what can be tried: {', '.join(_KEYS)}"
            raise Unusable(f"--what-if {assignment!r} is no KEY=VALUE that can be tried; {hint}")
        if not value or key in seen:
            raise Unusable(f"--what-if {assignment!r}: {key} {'is given twice' if value else 'needs a value'}")
        seen.add(key)
        yield key, value


def _sizes(trial: _Trial) -> Choice | Sizes:
    """One size given, the other follows from the number of NPUs."""
    world = trial.where.world
    if trial.tensor or trial.pipeline:
        tensor = trial.tensor or world // trial.pipeline
        return Sizes(tensor=max(1, tensor), pipeline=trial.pipeline or max(1, world // tensor))
    if isinstance(trial.choice, Sizes) and trial.choice.tensor * trial.choice.pipeline != world:
        return "pipeline"  # other nodes: the spec's own figures were for these
    return trial.choice


def _whole(key: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not 0 < int(value) < 1_000_000:  # noqa: PLR2004 - no cluster has more
        raise Unusable(f"--what-if {key}={value}: should be a whole number of at least 1")
    return int(value)


def _of_tokens(key: str, value: str) -> int:
    number = tokens(value)
    if number is None:
        raise Unusable(f"--what-if {key}={value!r} should be a whole number, like 32768 or 32k")
    return number


def _with_share(trial: _Trial, value: str) -> _Trial:
    try:
        share = float(value)
    except ValueError:
        share = 0
    if not 0 < share <= 1:
        raise Unusable(f"--what-if gpu-memory-utilization={value}: should be above 0 and at most 1")
    return trial._replace(where=trial.where._replace(share=share))


def _with_hbm(trial: _Trial, value: str) -> _Trial:
    for hbm in trial.accelerator.hbm:
        if value.lower().removesuffix("b") in (f"{hbm.total_mib >> 10}g", str(hbm.total_mib >> 10)):
            return trial._replace(where=trial.where._replace(hbm=hbm))
    kinds = " or ".join(f"{hbm.total_mib >> 10}g" for hbm in trial.accelerator.hbm)
    raise Unusable(f"--what-if hbm_size={value}: {trial.accelerator.name} has {kinds}")


def _with_weights(trial: _Trial, value: str) -> _Trial:
    model = trial.where.model
    if model is None:
        raise Unusable(f"--what-if weights={value}: nothing is known about the model")
    if value not in WEIGHTS:
        raise Unusable(f"--what-if weights={value}: should be one of {', '.join(WEIGHTS)}")
    return trial._replace(where=trial.where._replace(model=model._replace(weights=value)))


def _with_model(trial: _Trial, value: str) -> _Trial:
    model = catalogued(value)
    if model is None:
        raise Unusable(f"--what-if model={value}: the catalogue does not know it")
    release = trial.where.release
    loaded = as_loaded(model, release.vllm if release else "")
    return trial._replace(where=trial.where._replace(model=loaded))


def _with_experts(trial: _Trial, value: str) -> _Trial:
    if value not in ("true", "false"):
        raise Unusable(f"--what-if enable-expert-parallel={value}: should be true or false")
    return trial._replace(where=trial.where._replace(expert_parallel=value == "true"))


def _with_choice(trial: _Trial, value: str) -> _Trial:
    for choice in get_args(Choice):
        if choice == value:
            return trial._replace(choice=choice)
    raise Unusable(f"--what-if parallelism={value}: should be {' or '.join(get_args(Choice))}")


def _nodes(trial: _Trial, value: str) -> _Trial:
    return trial._replace(where=trial.where._replace(npus=trial.where.npus[:1] * _whole("nodes", value)))


def _length(trial: _Trial, value: str) -> _Trial:
    return trial._replace(where=trial.where._replace(length=_of_tokens("max-model-len", value)))


def _sequences(trial: _Trial, value: str) -> _Trial:
    return trial._replace(where=trial.where._replace(sequences=_of_tokens("max-num-seqs", value)))


# By the names that the spec has for them.
_KEYS: dict[str, Callable[[_Trial, str], _Trial]] = {
    "tensor": lambda trial, value: trial._replace(tensor=_whole("tensor", value)),
    "pipeline": lambda trial, value: trial._replace(pipeline=_whole("pipeline", value)),
    "parallelism": _with_choice,
    "nodes": _nodes,
    "hbm_size": _with_hbm,
    "model": _with_model,
    "weights": _with_weights,
    "max-model-len": _length,
    "max-num-seqs": _sequences,
    "gpu-memory-utilization": _with_share,
    "enable-expert-parallel": _with_experts,
}
