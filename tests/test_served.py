"""What is told of the model that a spec serves: by the image's release, its weights, its context, its memory."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.anatomy import FAMILIES
from compiler.compile import Compiled, compile_spec
from compiler.deployment import deployment_of
from compiler.explain import explained
from compiler.source import Source

A2 = "quay.io/ascend/vllm-ascend:"


def compiled(served: str, image: str = f"{A2}v0.11.0", nodes: Any = 2, config: bytes = b"", **more: Any) -> Compiled:
    """A spec of Atlas A2 that serves this model; `args` are those of vLLM, the rest the spec's own fields."""
    args, parallelism = more.pop("args", {}), more.pop("parallelism", "pipeline")
    cluster = {
        "version": 1,
        "name": "served",
        "accelerator": more.pop("accelerator", "atlas-a2"),
        "image": image,
        "cache": "/mnt/cache",
        "defaults": {"interface": "eth0"},
        "nodes": [{"name": f"n{node}", "address": f"10.0.0.{node + 1}"} for node in range(nodes)]
        if isinstance(nodes, int)
        else nodes,
        "serve": {"model": served, "parallelism": parallelism, "args": {"max-model-len": 4096, **args}},
        **more,
    }
    return compile_spec([Source("spec.yaml", json.dumps(cluster).encode())], beside=lambda _: config)


def told(*words: Any, **more: Any) -> dict[str, str]:
    """Each code with its severity, but for what is said of every spec of this file."""
    found = compiled(*words, **more).diagnostics
    return {each.code: each.severity for each in found if each.code != "no-npu-addresses"}


def said(code: str, *words: Any, **more: Any) -> str:
    [found] = [each for each in compiled(*words, **more).diagnostics if each.code == code]
    return f"{found.message} / {found.hint}"


# ---- What the hardware runs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "severity"),
    [("v0.11.0", "error"), ("v0.18.0", "error"), ("v0.23.0", "error"), ("v0.24.0rc1", "warning"), ("main", "warning")],
)
def test_fp8_is_refused_where_it_is_known_not_to_run(release: str, severity: str) -> None:
    assert told("Qwen/Qwen3-32B-FP8", f"{A2}{release}")["weights-unsupported"] == severity


def test_fp8_is_refused_in_the_words_of_the_releases_that_have_some() -> None:
    sentence = "fp8 quantization is currently not supported in npu."
    for release, worded in (("v0.11.0", False), ("v0.12.0rc1", True), ("v0.18.0", True), ("v0.23.0", False)):
        assert (sentence in said("weights-unsupported", "Qwen/Qwen3-32B-FP8", f"{A2}{release}")) == worded


def test_the_hint_names_what_runs_instead() -> None:
    assert "vllm-ascend/Qwen3-32B-W8A8" in said("weights-unsupported", "Qwen/Qwen3-32B-FP8")


def test_minimax_is_widened_by_later_releases_and_counts_as_bf16() -> None:
    assert "weights-unsupported" in told("MiniMaxAI/MiniMax-M2", f"{A2}v0.16.0rc1")
    assert told("MiniMaxAI/MiniMax-M2", f"{A2}v0.23.0") == {}
    # 426 GiB over 8 NPUs are 53.3, of which 0.9 of 61.0 has room, and 0.85 has not; FP8 would take half of it.
    tight = {"nodes": 1, "args": {"gpu-memory-utilization": 0.85}}
    assert "model-does-not-fit" in told("MiniMaxAI/MiniMax-M2", f"{A2}v0.23.0", **tight)


@pytest.mark.parametrize(
    ("release", "severity"),
    [("v0.11.0", "error"), ("v0.16.0rc1", "error"), ("v0.17.0rc1", None), ("v0.23.0", None), ("main", "warning")],
)
def test_modelslims_weights_are_told_to_releases_that_do_not_find_them(release: str, severity: str | None) -> None:
    image = f"{A2}{release}"
    assert told("vllm-ascend/Qwen3-32B-W8A8", image).get("quantization-missing") == severity
    assert "quantization-missing" not in told("vllm-ascend/Qwen3-32B-W8A8", image, args={"quantization": "ascend"})


def test_one_release_finds_modelslims_weights_in_a_folder_alone() -> None:
    folder = "/root/.cache/models/Qwen3-32B-W8A8"
    for release, missing in (("v0.14.0rc1", True), ("v0.15.0rc1", False), ("v0.16.0rc1", True), ("v0.17.0rc1", False)):
        assert ("quantization-missing" in told(folder, f"{A2}{release}")) == missing
    assert "quantization-missing" in told("vllm-ascend/Qwen3-32B-W8A8", f"{A2}v0.15.0rc1")


def test_what_the_spec_says_is_quantised_is_not_weighed_as_bf16() -> None:
    keys = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 80, "hidden_size": 8192}
    keys |= {"num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256}
    given = {"config": json.dumps(keys).encode(), "model": "config.json", "hbm_size": "32g", "nodes": 1}
    share = {"gpu-memory-utilization": 0.5}
    assert "model-does-not-fit" in told("example/any", **given, args=share)
    quantised = told("example/any", **given, args={**share, "quantization": "ascend"})
    assert quantised == {"unknown-model": "warning"}


@pytest.mark.parametrize(
    ("release", "length", "warned"), [("v0.18.0", -1, False), ("v0.18.0", "auto", False), ("v0.18.0", 262_144, True)]
)
def test_a_length_that_vllm_fits_by_itself_is_not_warned_of(release: str, length: object, warned: bool) -> None:  # noqa: FBT001
    args = {"max-model-len": length, "gpu-memory-utilization": 0.16}
    found = told("Qwen/Qwen3-30B-A3B-Instruct-2507", f"{A2}{release}", nodes=1, args=args)
    assert ("length-does-not-fit" in found) == warned


def test_a_method_of_config_json_is_one_that_the_platform_takes() -> None:
    keys = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 4}
    for method, refused in (("awq", True), ("modelopt", True), ("compressed-tensors", False), ("fp8", False)):
        config = json.dumps({**keys, "quantization_config": {"quant_method": method}}).encode()
        assert ("quantization" in told("example/any", f"{A2}v0.18.0", config=config, model="c.json")) == refused
    nested = {"text_config": {**keys, "quantization_config": {"quant_method": "awq"}}}
    assert "quantization" in told("example/any", f"{A2}v0.18.0", config=json.dumps(nested).encode(), model="c.json")


def test_no_lighter_checkpoint_is_offered_that_does_not_fit_either() -> None:
    assert "half the weights" not in said("model-does-not-fit", "Modelers_Park/DeepSeek-V3.2-Exp-BF16", nodes=1)


def test_the_length_in_the_hint_is_one_that_the_model_has() -> None:
    args = {"max-model-len": "8192k"}
    assert "max-model-len: 40960 would" in said("length-does-not-fit", "Qwen/Qwen3-235B-A22B", args=args)


def test_what_is_legal_is_told_beside_what_else_is_wrong() -> None:
    hint = said("parallelism-size", "Qwen/Qwen3-32B", args={"enable-expert-parallel": True}, parallelism={"tensor": 3})
    assert "legal are {tensor: 8, pipeline: 2}" in hint


def test_auto_takes_what_is_legal_for_a_model_that_is_not_known() -> None:
    args = {"speculative-config": '{"method": "mtp", "num_speculative_tokens": 1}'}
    plan = compiled("example/any", f"{A2}v0.23.0", parallelism="auto", args=args).plan
    assert plan is not None
    assert plan.parallelism[:2] == (16, 1)


@pytest.mark.parametrize("value", ["9" * 5000, "99999999999", "0", "-1", "\u0663"])
def test_a_buffer_that_is_none_is_refused(value: str) -> None:
    assert told("Qwen/Qwen3-32B", env={"HCCL_BUFFSIZE": value})["env-range"] == "error"


def test_with_the_size_of_the_cache_given_the_share_does_not_count() -> None:
    args: dict[str, Any] = {"gpu-memory-utilization": 0.3}
    assert "model-does-not-fit" in told("Qwen/Qwen3-235B-A22B", f"{A2}v0.18.0", args=args)
    args["kv-cache-memory-bytes"] = "4G"
    assert "model-does-not-fit" not in told("Qwen/Qwen3-235B-A22B", f"{A2}v0.18.0", args=args)


@pytest.mark.parametrize(
    ("release", "method", "taken"),
    [
        ("v0.11.0", "compressed-tensors", False),
        ("v0.12.0rc1", "compressed-tensors", True),
        ("v0.18.0", "fp8", False),
        ("v0.21.0rc1", "fp8", True),
        ("v0.11.0", "ascend", True),
        ("v0.23.0", "gptq", False),
        ("main", "gptq", True),
    ],
)
def test_quantization_is_what_the_platform_takes(release: str, method: str, taken: bool) -> None:  # noqa: FBT001
    found = told("example/any", f"{A2}{release}", args={"quantization": method})
    assert ("quantization" not in found) == taken


# ---- What vLLM knows -----------------------------------------------------------------------------------


def test_a_class_that_vllm_does_not_list_is_refused_when_nothing_else_can_run_it() -> None:
    ours = ("/root/.cache/models/ours", f"{A2}v0.18.0")
    keys: dict[str, Any] = {"architectures": ["OurOwnForCausalLM"], "num_hidden_layers": 4, "num_attention_heads": 8}
    dense = told(*ours, config=json.dumps(keys).encode(), model="config.json")
    assert dense["unsupported-model"] == "warning"  # the Transformers library may run it
    sparse = told(*ours, config=json.dumps({**keys, "num_experts": 8}).encode(), model="config.json")
    assert sparse["unsupported-model"] == "error"
    assert "no release known here has it" in said(
        "unsupported-model", *ours, config=json.dumps(keys).encode(), model="config.json"
    )


def test_a_class_that_a_later_vllm_lists_names_it() -> None:
    minimax = said("unsupported-model", "Eco-Tech/MiniMax-M2.5-w8a8-QuaRot", args={"quantization": "ascend"})
    assert "vLLM 0.12.0 and later know it" in minimax


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ({}, True),
        ({"args": {"max-model-len": 40960}}, False),
        ({"args": {"max-model-len": "41k"}}, True),
        ({"args": {"max-model-len": 65536, "hf-overrides": {"rope_scaling": {}}}}, False),
        ({"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}}, False),
        ({"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "0"}}, True),
    ],
)
def test_the_context_bounds_the_length_unless_it_is_stretched(more: dict[str, Any], refused: bool) -> None:  # noqa: FBT001
    given = {"args": {"max-model-len": 65536}, **more}
    assert ("context-exceeded" in told("Qwen/Qwen3-32B", **given)) == refused


# ---- What the spec says of it --------------------------------------------------------------------------


def test_a_mistyped_hub_id_is_told_with_the_nearest() -> None:
    assert "did you mean Qwen/Qwen3-32B?" in said("unknown-model", "Qwen/Qwen3-32b-")


def test_facts_that_say_all_that_the_rules_need_leave_memory_alone_unjudged() -> None:
    facts = {"layers": 80, "attention_heads": 64, "kv_heads": 8, "experts": 0}
    assert "so these were not checked: memory /" in said("unknown-model", "example/any", model=facts)


def test_what_config_json_says_is_part_of_the_digest() -> None:
    keys = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4, "num_attention_heads": 8}
    plans = [
        compiled("example/any", config=json.dumps({**keys, "hidden_size": size}).encode(), model="config.json").plan
        for size in (64, 128)
    ]
    assert plans[0] is not None
    assert plans[1] is not None
    assert plans[0].spec_digest != plans[1].spec_digest


ODD = st.one_of(
    st.sampled_from([None, 0, 1, -1, 2, 64, 64.0, 0.5, True, "", "64", [], [8], [None], {}, 10**9, 10**400, math.nan]),
    st.integers(0, 300),
)
ODD_KEYS = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
    "intermediate_size", "moe_intermediate_size", "num_experts", "n_routed_experts", "num_experts_per_tok",
    "n_shared_experts", "first_k_dense_replace", "moe_layer_freq", "decoder_sparse_step", "kv_lora_rank", "q_lora_rank",
    "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "index_n_heads", "index_head_dim", "full_attention_interval",
    "linear_num_key_heads", "o_groups", "max_position_embeddings", "architectures", "quantization_config", "quantize",
    "rope_scaling", "text_config", "tie_word_embeddings", "mlp_only_layers",
)  # fmt: skip
FAMILY = st.sampled_from([*FAMILIES, "another", None])


@given(FAMILY, st.dictionaries(st.sampled_from(ODD_KEYS), ODD, min_size=8))
def test_no_config_ends_in_a_traceback_or_below_nothing(family: str | None, keys: dict[str, Any]) -> None:
    config = json.dumps({"model_type": family, **keys}).encode()
    made = compiled("example/any", config=config, model="config.json", parallelism="auto")
    where = deployment_of(made.subject) if made.subject else None
    if where is None or where.model is None:
        assert made.plan is None
        return
    for verdict in explained("auto", where).verdicts:
        need = verdict.sizes.fit
        if need is not None:
            assert need.tokens >= 0
            assert all(rank.weights >= 0 and rank.cache >= 0 for rank in need.ranks)


def test_a_slip_in_a_tag_is_told_with_the_tag_of_this_hardware() -> None:
    slip = ("Qwen/Qwen3-32B", f"{A2}v0.11.0-A3")
    assert told(*slip, accelerator="atlas-a3") == {"unknown-release": "warning"}
    assert "did you mean v0.11.0-a3?" in said("unknown-release", *slip, accelerator="atlas-a3")


# ---- Sizes and memory ----------------------------------------------------------------------------------


def test_between_the_servers_of_a_super_pod_tp_may_span_nodes() -> None:
    assert "tensor-across-nodes" in told("Qwen/Qwen3-32B", parallelism="tensor")
    pod = told("Qwen/Qwen3-32B", f"{A2}v0.11.0-a3", accelerator="atlas-a3", parallelism="tensor")
    assert "tensor-across-nodes" not in pod


def test_the_hint_offers_what_makes_room() -> None:
    full = said("model-does-not-fit", "Qwen/Qwen3-235B-A22B", nodes=1)
    assert "0.9 of 61.0 GiB" in full
    assert "gpu-memory-utilization: 0.92" in full
    assert "vllm-ascend/Qwen3-235B-A22B-W8A8 (half the weights), or 2 nodes" in full
    hopeless = said("model-does-not-fit", "unsloth/DeepSeek-V3.1-BF16", nodes=1)
    assert "gpu-memory-utilization" not in hopeless
    assert "4 nodes" in hopeless
    share = said("model-does-not-fit", "Qwen/Qwen3-235B-A22B", nodes=1, args={"gpu-memory-utilization": 0.875})
    assert "0.875 of 61.0 GiB" in share


def test_a_partition_is_the_same_on_every_node() -> None:
    env = {"VLLM_PP_LAYER_PARTITION": "32,32"}
    assert told("Qwen/Qwen3-32B", env=env) == {}
    uneven = {"VLLM_PP_LAYER_PARTITION": "40,30"}
    assert "sum(partitions)=70 does not match num_hidden_layers=64." in said(
        "parallelism-illegal", "Qwen/Qwen3-32B", env=uneven
    )
    nodes = [
        {"name": "n0", "address": "10.0.0.1"},
        {"name": "n1", "address": "10.0.0.2", "env": {"VLLM_PP_LAYER_PARTITION": "30,34"}},
    ]
    assert "'30,34' here and 32,32 on n0" in said("env-range", "Qwen/Qwen3-32B", env=env, nodes=nodes)


@pytest.mark.parametrize(
    ("release", "more", "refused"),
    [
        ("v0.23.0", {}, True),
        ("v0.22.1rc1", {}, True),
        ("v0.18.0", {}, False),
        ("v0.24.0rc1", {}, False),
        ("v0.23.0", {"kv-transfer-config": {"kv_role": "kv_producer", "kv_connector": "MooncakeConnectorV1"}}, False),
    ],
)
def test_drafts_in_stages_are_refused_where_vllm_ascend_does(release: str, more: dict[str, Any], refused: bool) -> None:  # noqa: FBT001
    args = {"speculative-config": {"method": "mtp", "num_speculative_tokens": 1}, **more}
    found = told("Qwen/Qwen3-32B", f"{A2}{release}", args=args)
    assert ("parallelism-illegal" in found) == refused
    dotted = {"speculative-config.method": "mtp", "speculative-config.num_speculative_tokens": 1, **more}
    assert ("parallelism-illegal" in told("Qwen/Qwen3-32B", f"{A2}{release}", args=dotted)) == refused


def test_two_reports_at_one_place_are_both_told() -> None:
    keys = {"architectures": ["Qwen3NextForCausalLM"], "num_hidden_layers": 48, "num_experts": 512}
    found = compiled(
        "example/next",
        f"{A2}v0.10.2rc1",
        args={"enable-expert-parallel": True},
        config=json.dumps(keys).encode(),
        model="config.json",
    ).diagnostics
    places = [each.place for each in found if each.code == "known-bad" and each.path.endswith("enable-expert-parallel")]
    assert len(places) == 2
    assert places[0] == places[1]
