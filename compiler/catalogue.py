"""What is known about the model that a spec serves: by the catalogue, by its config.json, by the spec's own facts.

The catalogue is data: a file in `schema/models/` is the config.json of one shape, as far as it counts here, with the
hub ids that have this shape.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from compiler.anatomy import Config, anatomy, dense_width, divided, expert_width
from compiler.packaged import packaged, packaged_names
from compiler.plain import facts_in, mapping
from schema.model import MODELSLIM, Model, Part
from schema.scalar import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.cluster import ModelFacts
    from schema.model import Weights
    from schema.scalar import Tree

_FOLDER = "models"
_CACHED = re.compile(r"^/.*/models--[^/]+?--([^/]+)/snapshots/[^/]+/?$")


def catalogued(name: str) -> Model | None:
    """The model of this hub id, or of this path: a folder that is called like a model holds it.

    So does one of the Hugging Face cache, `models--Qwen--Qwen3-32B/snapshots/...`.
    """
    name = _CACHED.sub(r"/\1", name)
    for file in _files():
        content = packaged("schema", f"{_FOLDER}/{file}")
        if _short(name).encode() in content.lower():  # reading one file is cheap, parsing all is not
            found = _named(name, _entry(file))
            if found:
                return found
    return None


def catalogue() -> tuple[Model, ...]:
    """Every shape with every kind of weights that it is published in, by name."""
    models = [
        _of_checkpoint(file, str(checkpoint["ids"][0]), checkpoint)
        for file in _files()
        for checkpoint in _entry(file)["checkpoints"]
    ]
    return tuple(sorted(models, key=lambda model: (model.origin, model.name)))


def catalogued_ids() -> tuple[str, ...]:
    """Every hub id of the catalogue, sorted."""
    ids = {each for file in _files() for checkpoint in _entry(file)["checkpoints"] for each in checkpoint["ids"]}
    return tuple(sorted(ids))


def others_of(name: str, weights: tuple[Weights, ...]) -> tuple[str, ...]:
    """The hub ids of the same model whose weights are of these kinds."""
    found = (
        str(known)
        for file in _files()
        for checkpoint in _entry(file)["checkpoints"]
        if checkpoint["weights"] in weights
        for known in checkpoint["ids"]
    )
    return tuple(each for each in found if _short(each).startswith(_short(name).removesuffix("-fp8")))


def from_config(content: bytes, name: str, origin: str) -> Model:
    """The model of a config.json.

    Raises:
        ValueError: It is no config.json of a language model; the message says why.
    """
    try:
        keys = json.loads(content)
    except RecursionError as fault:
        raise ValueError("it is nested too deep") from fault
    except ValueError as fault:
        raise ValueError(f"it is not JSON: {fault}") from fault
    if not isinstance(keys, dict):
        raise ValueError("it is no mapping")  # noqa: TRY004 - a fault of the file, as the others
    model = _of_config(keys, name, origin)
    if model.layers is None and model.heads is None:
        raise ValueError("it says neither num_hidden_layers nor num_attention_heads")
    return model


def with_facts(model: Model, facts: ModelFacts) -> Model:
    """The model with what the spec says about it; what is known of other sizes of it then says nothing."""
    said = {
        "layers": facts.layers,
        "heads": facts.attention_heads,
        "kv_heads": facts.kv_heads,
        "experts": facts.experts,
        "weights": facts.weights,
    }
    told = model._replace(**cast("Any", {name: value for name, value in said.items() if value is not None}))
    same = told == model._replace(weights=told.weights)
    return told if same else told._replace(parts=(), cached=())


def _named(name: str, entry: Mapping[str, Any]) -> Model | None:
    for checkpoint in entry["checkpoints"]:
        for known in checkpoint["ids"]:
            if known.lower() == name.lower() or (name.startswith("/") and _short(known) == _short(name)):
                return _of_checkpoint(entry["file"], known, checkpoint)
    return None


def _short(name: str) -> str:
    """The last part of a hub id or path, in small letters."""
    return name.rstrip("/").rpartition("/")[2].lower()


def _of_checkpoint(file: str, known: str, checkpoint: Mapping[str, Any]) -> Model:
    entry = _entry(file)
    config = {**entry["config"], **checkpoint.get("config", {})}
    config.pop("quantization_config", None)  # the checkpoint says what its weights are
    model = _of_config(config, known, f"the catalogue: schema/models/{file}")
    return model._replace(
        parts=model.parts or _evenly(model, entry["published"]["parameters"]),
        weights=cast("Weights", checkpoint["weights"]),
        cache_bits=checkpoint.get("cache_bits", 16),
        pipeline=entry["pipeline"]["support"],
        sources=(*entry["sources"], entry["pipeline"]["source"]),
    )


def _evenly(model: Model, parameters: int) -> tuple[Part, ...]:
    """The weights of a model of a class without anatomy: what was published, nearly all of it in experts."""
    layers = tuple(range(model.layers or 0))
    return (Part("experts", parameters // len(layers), layers, "experts", quantised=True),) if layers else ()


def _of_config(keys: Mapping[str, object], name: str, origin: str) -> Model:
    config = Config(keys)
    weights = _weights(config.keys)
    parts, cached = anatomy(config)
    classes = keys.get("architectures")
    return Model(
        name=name,
        origin=origin,
        architecture=classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else "",
        layers=config.maybe("num_hidden_layers"),
        heads=config.maybe("num_attention_heads"),
        kv_heads=1 if config.latent else config.maybe("num_key_value_heads", "num_attention_heads"),
        latent=config.latent,
        experts=config.experts_if_known,
        experts_per_token=config.number("num_experts_per_tok"),
        shared_experts=config.number("n_shared_experts"),
        expert_width=expert_width(config),
        dense_width=dense_width(config),
        hidden=config.number("hidden_size"),
        vocabulary=config.number("vocab_size"),
        context=_context(config),
        divided=divided(config),
        weights=weights or "bf16",
        method=_method(config.keys),
        parts=parts if weights else (),
        cached=cached if weights else (),
    )


_MOST_FACTOR = 10_000


def _context(config: Config) -> int | None:
    """The longest sequence, as vLLM derives it: a rope that is stretched (yarn and the like) is so from its original.

    `_get_and_verify_max_len` of https://github.com/vllm-project/vllm/blob/v0.23.0/vllm/config/model.py.
    """
    written = config.maybe("max_position_embeddings")
    rope = config.keys.get("rope_scaling") or config.keys.get("rope_parameters")
    if not written or not isinstance(rope, dict):
        return written
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
    if kind in ("su", "longrope", "llama3") or not isinstance(factor, int | float) or not 0 < factor <= _MOST_FACTOR:
        return written
    original = rope.get("original_max_position_embeddings") if kind == "yarn" else None
    plain = original if isinstance(original, int) and 0 < original <= written * _MOST_FACTOR else written
    return int(plain * factor)


def _weights(keys: Mapping[str, object]) -> Weights | None:
    """What config.json says of its numbers; None for what is not known here.

    `quantize` is ModelSlim's word, `quantization_config` everyone else's; compressed-tensors names the bits.
    """
    slim = keys.get("quantize")
    if isinstance(slim, str) and slim:
        return next((known for known in MODELSLIM if slim.lower().startswith(known)), None)
    quantised = keys.get("quantization_config")
    if not isinstance(quantised, dict) or not quantised:
        return "bf16"
    method = quantised.get("quant_method")
    if method == "compressed-tensors":
        return {8: "w8a8", 4: "w4a16"}.get(_bits(quantised))  # type: ignore[return-value]
    return "fp8" if method == "fp8" else None


def _method(keys: Mapping[str, object]) -> str:
    """`quant_method` of config.json; empty when it has none."""
    quantised = keys.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    return method if isinstance(method, str) else ""


def _bits(quantised: Mapping[str, object]) -> int:
    """The bits of the weights of all groups of layers; 0 when they differ, or are no integers."""
    groups = quantised.get("config_groups")
    all_bits = {_bits_of(each) for each in groups.values()} if isinstance(groups, dict) else set()
    return all_bits.pop() if len(all_bits) == 1 else 0


def _bits_of(group: object) -> int:
    weights = group.get("weights") if isinstance(group, dict) else None
    bits = weights.get("num_bits") if isinstance(weights, dict) and weights.get("type") == "int" else None
    return bits if isinstance(bits, int) else 0


@cache
def _files() -> tuple[str, ...]:
    return tuple(name for name in packaged_names("schema", _FOLDER) if name.endswith(".yaml"))


@cache
def _entry(file: str) -> Mapping[str, Any]:
    entry = mapping(facts_in(f"{_FOLDER}/{file}"))
    return {**{key: _plain(each) for key, each in entry.items()}, "file": file}


def _plain(value: Tree) -> Any:
    """The tree as config.json would have it."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Scalar) else value
