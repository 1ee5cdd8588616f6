"""What a spec may not ask of the model that it serves: what vLLM and this hardware do not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.architectures import first_with, knows
from compiler.catalogue import catalogued_ids, others_of
from compiler.deployment import tokens, widened
from compiler.diagnostics import error, warning
from compiler.releases import at_least
from compiler.said import env_of
from schema.model import MODELSLIM, UNSUPPORTED
from schema.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.diagnostics import Diagnostic, Path
    from compiler.subject import Subject
    from schema.model import Model

_MODEL: Path = ("serve", "model")
_QUANTISATION: Path = ("serve", "args", "quantization")
_LENGTH: Path = ("serve", "args", "max-model-len")
# What is not judged without a fact of the model.
_UNJUDGED = (
    ("heads", "attention heads"),
    ("kv_heads", "KV heads"),
    ("experts", "experts"),
    ("layers", "layers"),
    ("parts", "memory"),
)
# How vLLM is told that a model's context is stretched.
_STRETCHES = ("rope-scaling", "hf-overrides", "config-format")
_FP8 = "github.com/vllm-project/vllm-ascend/issues/1526"


def model_is_known(subject: Subject) -> Iterator[Diagnostic]:
    """A model that nothing is known about may run; but nobody has looked."""
    name, model = subject.cluster.serve.model, subject.model
    unjudged = [word for field, word in _UNJUDGED if model is None or getattr(model, field) in (None, ())]
    if subject.faults or not unjudged:
        return
    message = f"the catalogue does not know {name}" if model is None else f"not all is known about {name}"
    message = f"{message}, so these were not checked: {', '.join(unjudged)}"
    meant = did_you_mean(name, catalogued_ids()) if model is None and not name.startswith("/") else ""
    named = subject.cluster.model is not None
    say = "say them under `model`" if named else "name its config.json: `model: PATH/config.json`, relative to the spec"
    hint = meant or (f"{say}: model: {{config: PATH, layers: 40, ...}}" if named else say)
    yield warning("unknown-model", _MODEL, message, hint)


def architecture_is_known(subject: Subject) -> Iterator[Diagnostic]:
    """VLLM's own list of classes; one that is not in it may still run as Transformers has it, if it is a plain one."""
    model, release = subject.model, subject.release
    if model is None or release is None or not model.architecture or knows(release, model.architecture) is not False:
        return
    message = f"Model architectures ['{model.architecture}'] are not supported for now."
    since = first_with(model.architecture)
    hint = f"vllm-ascend {release.name} has vLLM {release.vllm}"
    hint += f"; vLLM {since} and later know it" if since else "; no release known here has it"
    special = bool(model.experts) or model.latent
    yield _as_sure_as("unsupported-model", message, hint, sure=special)


def context_holds(subject: Subject) -> Iterator[Diagnostic]:
    """VLLM refuses a longer sequence than the model was made for, unless it is told how to stretch it."""
    cluster, model = subject.cluster, subject.model
    length = tokens(cluster.serve.args.get("max-model-len"))
    stretched = any(flag in cluster.serve.args for flag in _STRETCHES)
    allowed = env_of(cluster.nodes[0], cluster).get("VLLM_ALLOW_LONG_MAX_MODEL_LEN")
    if model is None or not model.context or not length or length <= model.context or stretched or allowed == "1":
        return
    message = (
        f"User-specified max_model_len ({length}) is greater than the derived max_model_len "
        f"(max_position_embeddings={model.context} or model_max_length=None in model's config.json)."
    )
    hint = (
        f"at most {model.context}; or stretch the context with `rope-scaling` or `hf-overrides`, as its model card says"
    )
    yield error("context-exceeded", _LENGTH, message, hint)


def hardware_runs_the_weights(subject: Subject) -> Iterator[Diagnostic]:
    """No FP8 on these NPUs, but MiniMax's, which later releases widen; ModelSlim's weights are told to older ones."""
    model = subject.model
    if model is None or subject.accelerator is None:
        return
    given = subject.cluster.serve.args.get("quantization")
    vllm = subject.release.vllm if subject.release else ""
    if model.weights in UNSUPPORTED and not widened(model, vllm):
        yield _no_fp8(model, vllm)
    elif model.weights in MODELSLIM and given is None and not _is_found(subject.cluster.serve.model, vllm):
        message = (
            f"{model.name} is quantised by ModelSlim ({model.weights}), which this vllm-ascend does not find by itself"
        )
        hint = "add `quantization: ascend` under serve.args; from v0.17 on it is found"
        yield _as_sure_as("quantization-missing", message, hint, sure=bool(vllm))
    elif model.weights == "bf16" and given == "ascend" and model.parts:
        message = (
            f"{model.name} is not quantised, and `quantization: ascend` looks for ModelSlim's description of its layers"
        )
        hint = "leave it out, or name the quantised checkpoint"
        yield warning("quantization-unneeded", _QUANTISATION, message, hint)


def _is_found(name: str, vllm: str) -> bool:
    """Whether vllm-ascend finds ModelSlim's description by itself: from v0.17.0rc1 on; in v0.15.0rc1 that of a folder.

    https://github.com/vllm-project/vllm-ascend/pull/7111, which brings back what pull 6873 took away.
    """
    folder_alone = at_least(vllm, "0.15.0") and not at_least(vllm, "0.16.0") and name.startswith("/")
    return at_least(vllm, "0.17.0") or folder_alone


def quantisation_is_the_platforms(subject: Subject) -> Iterator[Diagnostic]:
    """The methods that vllm-ascend takes: `supported_quantization` of its platform.py, by release."""
    written = subject.cluster.serve.args.get("quantization")
    given = written or (subject.model.method if subject.model else "")
    if subject.release is None or not isinstance(given, str) or not given or (given == "fp8" and not written):
        return
    vllm = subject.release.vllm
    taken = ["ascend", *(["compressed-tensors"] if at_least(vllm, "0.12.0") else [])]
    taken += ["fp8", "deepseek_v4_fp8"] if at_least(vllm, "0.21.0") else []
    if given not in taken:
        message = f"{given} quantization is currently not supported in npu."
        hint = did_you_mean(given, taken) or f"vllm-ascend {subject.release.name} takes {', '.join(taken)}"
        yield error("quantization", _QUANTISATION if written else _MODEL, message, hint)


def _no_fp8(model: Model, vllm: str) -> Diagnostic:
    """Refused with these words, or, before 0.12 and from 0.21 on, a traceback while the model is built.

    https://github.com/vllm-project/vllm/blob/v0.18.0/vllm/platforms/interface.py, verify_quantization;
    https://github.com/vllm-project/vllm-ascend/issues/14467. What releases after v0.23.0 do is not known here.
    """
    message = f"{model.name} is {model.weights}, which NPUs of this generation do not run"
    worded = at_least(vllm, "0.12.0") and not at_least(vllm, "0.21.0")
    says = ": fp8 quantization is currently not supported in npu." if worded else ""
    others = others_of(model.name, ("w8a8", "w4a8", "bf16"))
    hint = f"take {' or '.join(others[:3]) or 'a W8A8 or BF16 checkpoint of it'}: {_FP8}"
    sure = bool(vllm) and not at_least(vllm, "0.24.0")
    return _as_sure_as("weights-unsupported", message + says, hint, sure=sure)


def _as_sure_as(code: str, message: str, hint: str, *, sure: bool) -> Diagnostic:
    """A warning where it depends on a release that is not known here."""
    made = error(code, _MODEL, message, hint)
    return made if sure else made._replace(severity="warning")
