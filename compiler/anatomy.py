"""What a model's weights and its KV cache consist of, from its config.json: numbers by layer, and how ranks share them.

The shapes of the layers are those of vLLM's own classes (llama.py, qwen2.py, qwen3.py, qwen3_moe.py, qwen3_5.py,
glm4_moe.py, minimax_m2.py, mixtral.py, deepseek_v2.py): https://github.com/vllm-project/vllm/tree/v0.23.0/vllm/model_executor/models.
A model of another class has no anatomy here: better none than a wrong one. The layers of multi-token prediction are
left out: vLLM loads them for speculative decoding alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from schema.model import Cached, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

Norms = Literal["none", "head", "layer"]


class Family(NamedTuple):
    """What config.json leaves to the code of its class.

    Attributes:
        norms: Whether queries and keys are normed, by each head or over the whole layer.
        bias: Whether queries, keys and values have a bias: a key of config.json, or always, or never.
    """

    norms: Norms = "none"
    bias: str | bool = "attention_bias"


# By `model_type`. Latent attention needs no entry of its own: its keys tell all.
FAMILIES = {
    "llama": Family(),
    "mistral": Family(bias=False),
    "mixtral": Family(bias=False),
    "qwen2": Family(bias=True),
    "qwen3": Family(norms="head"),
    "qwen3_moe": Family(norms="head"),
    "glm4_moe": Family(norms="head"),
    "qwen3_5_moe_text": Family(norms="head"),
    "minimax_m2": Family(norms="layer", bias=False),
    "deepseek_v2": Family(),
    "deepseek_v3": Family(),
    "deepseek_v32": Family(),
    "kimi_k2": Family(),
    "glm_moe_dsa": Family(),
}


# Names that vLLM reads: vllm/transformers_utils/model_arch_config_convertor.py, get_num_experts.
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_MOST, _MOST_LAYERS = 10**8, 10**4  # more than any model has, and few enough to work with


class Config:
    """The keys of a config.json, by all the names that they go by."""

    def __init__(self, keys: Mapping[str, object]) -> None:
        nested = keys.get("text_config")  # models that also see keep what counts here one level deeper
        self.keys = {**keys, **nested} if isinstance(nested, dict) else keys

    def number(self, *names: str) -> int:
        """The first of these keys that is a whole number; 0 when none is."""
        return self.maybe(*names) or 0

    def maybe(self, *names: str) -> int | None:
        """The first of these keys that is a whole number, or None.

        Raises:
            ValueError: It is one that no model has.
        """
        for name in names:
            value = self.keys.get(name)
            if isinstance(value, list) and value:  # ERNIE has one for text and one for pictures
                value = value[0]
            if isinstance(value, int) and not isinstance(value, bool):
                most = _MOST_LAYERS if name == "num_hidden_layers" else _MOST
                if not 0 <= value <= most:
                    raise ValueError(f"{name} is no number that a model has: 0 to {most}")
                return value
        return None

    def text(self, name: str) -> str:
        """A key that is text, or nothing."""
        value = self.keys.get(name)
        return value if isinstance(value, str) else ""

    def true(self, name: str, *, otherwise: bool = False) -> bool:
        """A key that is a boolean."""
        value = self.keys.get(name, otherwise)
        return value if isinstance(value, bool) else otherwise

    @property
    def family(self) -> str:
        """Its `model_type`."""
        return self.text("model_type")

    @property
    def layers(self) -> int:
        """Hidden layers."""
        return self.number("num_hidden_layers")

    @property
    def experts(self) -> int:
        """Routed experts of a layer."""
        return self.number(*_EXPERTS)

    @property
    def experts_if_known(self) -> int | None:
        """The same, or None for a class that may call them otherwise."""
        return self.experts if self.family in FAMILIES else self.maybe(*_EXPERTS)

    @property
    def latent(self) -> bool:
        """True for latent attention."""
        return self.number("kv_lora_rank") > 0


def anatomy(config: Config) -> tuple[tuple[Part, ...], tuple[Cached, ...]]:
    """The parts of the weights and of the cache; both empty for a class that is not known here."""
    if config.family not in FAMILIES or not all(config.number(key) for key in _needed(config)):
        return (), ()
    attention = _latent_attention(config) if config.latent else _grouped_attention(config)
    parts = (*_ends(config), *attention, *_linear_attention(config), *_feed_forward(config), _norms(config))
    return tuple(part for part in parts if part.numbers and part.layers), _cache(config)


def _needed(config: Config) -> tuple[str, ...]:
    """The keys without which the sums would be wrong."""
    needed = ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads"]
    needed += ["qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"] if config.latent else []
    if config.experts and config.family not in _ONE_WIDTH:
        needed.append("moe_intermediate_size")
    return (*needed, *(["intermediate_size"] if _dense_layers(config) or config.family in _ONE_WIDTH else []))


_ONE_WIDTH = ("minimax_m2", "mixtral")  # `intermediate_size` is that of an expert: they have no dense layers


def _ends(config: Config) -> tuple[Part, ...]:
    """Embedding and head, which no quantisation touches; tied ones are one."""
    size = config.number("vocab_size") * config.number("hidden_size")
    tied = config.true("tie_word_embeddings")
    head = Part("output head", 0 if tied else size, "last", "tensor", quantised=False)
    return (
        Part("embedding", size, "first", "tensor", quantised=False),
        head,
        Part("final norm", config.number("hidden_size"), "last", "replicated", quantised=False),
    )


def _grouped_attention(config: Config) -> tuple[Part, ...]:
    every, hidden = _full_layers(config), config.number("hidden_size")
    heads, kv_heads, width = config.number("num_attention_heads"), _kv_heads(config), _head_width(config)
    family = FAMILIES[config.family]
    biased = config.true(family.bias) if isinstance(family.bias, str) else family.bias
    bias = 1 if biased else 0
    normed = {"none": 0, "head": 2 * width, "layer": (heads + kv_heads) * width}[family.norms]
    if config.family == "glm4_moe" and not config.true("use_qk_norm"):
        normed = 0
    gated = 1 if config.true("attn_output_gate") else 0  # as many numbers as the queries
    return (
        Part("queries and output", (2 + gated) * heads * width * hidden, every, "tensor", quantised=True),
        Part("keys and values", 2 * kv_heads * width * hidden, every, "kv", quantised=True),
        Part("attention biases", bias * (heads + 2 * kv_heads) * width, every, "tensor", quantised=False),
        Part("attention norms", normed, every, "replicated", quantised=False),
    )


def _latent_attention(config: Config) -> tuple[Part, ...]:
    """DeepseekV2MLAAttention: what makes the latent vectors is on every rank, what reads them is split by heads."""
    every, hidden = _all_layers(config), config.number("hidden_size")
    heads, kv_rank, q_rank = (config.number(key) for key in ("num_attention_heads", "kv_lora_rank", "q_lora_rank"))
    plain, rotary, value = (config.number(key) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    into = hidden * (q_rank + kv_rank + rotary)
    queries = (q_rank or hidden) * heads * (plain + rotary)
    out_of = kv_rank * heads * (plain + value)
    index_heads, index_width = config.number("index_n_heads"), config.number("index_head_dim")
    indexer = q_rank * index_heads * index_width + hidden * (index_width + index_heads) + 2 * index_width
    return (
        Part("latent projections", into, every, "replicated", quantised=True),
        Part("queries and output", queries + heads * value * hidden, every, "tensor", quantised=True),
        # vllm-ascend keeps what it makes of these beside them (W_UV, W_UK_T), unquantised: mla_v1.py; sfa_v1.py, for
        # sparse attention, does not: https://github.com/vllm-project/vllm-ascend/tree/v0.23.0/vllm_ascend/attention
        Part("keys and values", out_of, every, "tensor", quantised=False, copies=1 if index_heads else 2),
        Part("attention norms", q_rank + kv_rank, every, "replicated", quantised=False),
        Part("sparse indexer", indexer if index_heads else 0, every, "replicated", quantised=False),
    )


def _linear_attention(config: Config) -> tuple[Part, ...]:
    """Qwen3.5's gated delta nets, which keep a state for each sequence and nothing for a token: qwen3_5.py."""
    layers = tuple(sorted(set(_all_layers(config)) - set(_full_layers(config))))
    hidden, keys, values = config.number("hidden_size"), *_linear_widths(config)
    heads, kernel = config.number("linear_num_value_heads"), config.number("linear_conv_kernel_dim")
    projected = hidden * (2 * keys + values) + 2 * hidden * values + 2 * hidden * heads
    small = kernel * (2 * keys + values) + 2 * heads + config.number("linear_value_head_dim")
    return (
        Part("linear attention", projected, layers, "tensor", quantised=True),
        Part("linear attention's convolution", small, layers, "tensor", quantised=False),
    )


def _linear_widths(config: Config) -> tuple[int, int]:
    keys = config.number("linear_num_key_heads") * config.number("linear_key_head_dim")
    return keys, config.number("linear_num_value_heads") * config.number("linear_value_head_dim")


def _feed_forward(config: Config) -> tuple[Part, ...]:
    hidden, experts, width = config.number("hidden_size"), config.experts, expert_width(config)
    dense, sparse = _dense_layers(config), _sparse_layers(config)
    shared = config.number("n_shared_experts") * width + config.number("shared_expert_intermediate_size")
    biased = config.text("topk_method") == "noaux_tc" or config.family == "glm4_moe" or config.true("use_routing_bias")
    gate = hidden if config.number("shared_expert_intermediate_size") else 0  # Qwen weighs its shared expert
    router = experts * hidden + gate + (experts if biased else 0)
    return (
        Part("dense feed-forward", 3 * hidden * config.number("intermediate_size"), dense, "tensor", quantised=True),
        Part("experts", 3 * hidden * width * experts, sparse, "experts", quantised=True),
        Part("shared experts", 3 * hidden * shared, sparse, "tensor", quantised=True),
        Part("router", router, sparse, "replicated", quantised=False),
    )


def _norms(config: Config) -> Part:
    return Part("layer norms", 2 * config.number("hidden_size"), _all_layers(config), "replicated", quantised=False)


def _cache(config: Config) -> tuple[Cached, ...]:
    """VLLM keeps one latent vector a token for all heads, on every rank; else keys and values of each KV head."""
    every = _full_layers(config)
    if not config.latent:
        return (Cached(2 * _kv_heads(config) * _head_width(config), every, "kv"),)
    latent = Cached(config.number("kv_lora_rank") + config.number("qk_rope_head_dim"), every, "replicated")
    index = Cached(config.number("index_head_dim"), every, "replicated")
    return (latent, index) if index.numbers else (latent,)


def divided(config: Config) -> tuple[tuple[str, int], ...]:
    """What of a model's attention is cut evenly beside heads: an uneven one ends in a traceback while it is built.

    https://github.com/vllm-project/vllm/blob/v0.23.0/vllm/model_executor/layers/mamba/gdn/qwen_gdn_linear_attn.py,
    https://github.com/vllm-project/vllm-ascend/blob/v0.23.0/vllm_ascend/models/deepseek_v4.py.
    """
    named = {
        "key heads of the linear attention": config.number("linear_num_key_heads"),
        "value heads of the linear attention": config.number("linear_num_value_heads"),
        "output groups of the attention": config.number("o_groups"),
    }
    return tuple((name, number) for name, number in named.items() if number)


def _all_layers(config: Config) -> tuple[int, ...]:
    return tuple(range(config.layers))


def _full_layers(config: Config) -> tuple[int, ...]:
    """The layers whose attention looks at every token: all, or one in `full_attention_interval`."""
    every = config.number("full_attention_interval") or 1
    return tuple(layer for layer in range(config.layers) if (layer + 1) % every == 0)


def _sparse_layers(config: Config) -> tuple[int, ...]:
    """The layers with experts: `first_k_dense_replace` and `moe_layer_freq` of DeepSeek, Qwen's own keys."""
    if not config.experts:
        return ()
    first, step = config.number("first_k_dense_replace"), config.number("moe_layer_freq") or 1
    every, only = config.number("decoder_sparse_step") or 1, config.keys.get("mlp_only_layers")
    dense = only if isinstance(only, list) else []
    return tuple(
        layer
        for layer in range(first, config.layers)
        if layer % step == 0 and (layer + 1) % every == 0 and layer not in dense
    )


def _dense_layers(config: Config) -> tuple[int, ...]:
    return tuple(sorted(set(range(config.layers)) - set(_sparse_layers(config))))


def expert_width(config: Config) -> int:
    """The width of one expert; 0 where it is not told."""
    if not config.experts:
        return 0
    return config.number("intermediate_size" if config.family in _ONE_WIDTH else "moe_intermediate_size")


def dense_width(config: Config) -> int:
    """The width of the feed-forward of layers without experts; 0 when there are none."""
    return config.number("intermediate_size") if _dense_layers(config) else 0


def _kv_heads(config: Config) -> int:
    return config.number("num_key_value_heads", "num_attention_heads")


def _head_width(config: Config) -> int:
    heads = config.number("num_attention_heads")
    return config.number("head_dim") or (config.number("hidden_size") // heads if heads else 0)
