"""Which sizes are legal, which are best, and whether they fit: figures worked out by hand, and published ones."""

from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import sizes_table
from docs_text import ROOT, generated_parts, with_part
from hypothesis import given
from hypothesis import strategies as st

from compiler import buffers
from compiler.catalogue import catalogue, catalogued, from_config, with_facts
from compiler.deployment import Deployment, as_loaded, share_of, tokens
from compiler.facts import accelerator
from compiler.memory import GIB, cache_bytes, fit, weight_bytes
from compiler.parallelism import asked, candidate, candidates, least_nodes, legal
from compiler.plain import facts_in, mapping
from compiler.releases import release_of
from compiler.stages import partition_fault, spans, stages
from schema.accelerator import Accelerator, Hbm
from schema.cluster import ModelFacts, Sizes

if TYPE_CHECKING:
    from schema.model import Model

TABLE = ROOT / "docs" / "parallelism.md"


LLAMA_KEYS = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "vocab_size": 64,
}


def known(name: str) -> Model:
    model = catalogued(name)
    assert model is not None, name
    return model


QWEN = known("Qwen/Qwen3-235B-A22B")
DEEPSEEK = known("vllm-ascend/DeepSeek-V3-W8A8")
GLM = known("zai-org/GLM-4.6")
MINIMAX = known("Eco-Tech/MiniMax-M2.5-w8a8-QuaRot")
LLAMA = known("meta-llama/Llama-3.1-405B")


def on_a2(model: Model | None, nodes: int = 2, **more: object) -> Deployment:
    where = Deployment((8,) * nodes, Hbm(65536, 62420), super_pod=False, model=model, length=8192)
    return where._replace(**more)  # type: ignore[arg-type]


def on_a3(model: Model | None, nodes: int = 2, **more: object) -> Deployment:
    where = Deployment((16,) * nodes, Hbm(65536, 62740), super_pod=True, model=model, length=8192)
    return where._replace(**more)  # type: ignore[arg-type]


# ---- The arithmetic, against what was published --------------------------------------------------------


def published() -> dict[str, tuple[int, Fraction]]:
    found = {}
    for file in sorted((ROOT / "schema" / "models").glob("*.yaml")):
        told = mapping(mapping(facts_in(f"models/{file.name}"))["published"])
        found[file.name] = (int(told["parameters"].text), Fraction(told["within"].text))  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("file", published())
def test_the_parameters_are_the_published_ones(file: str) -> None:
    total, within = published()[file]
    of_file = [model for model in catalogue() if model.origin.endswith(file) and model.parts]
    assert of_file
    assert all((not model.cached) == (file in EVENLY) for model in of_file)
    for model in of_file:
        assert abs(model.parameters - total) <= total * within, model.parameters


# Their layers are of classes that have no anatomy here: what was published is taken as spread evenly.
EVENLY = {"deepseek-v4-flash.yaml", "deepseek-v4-pro.yaml"}


# Bytes of a token over the whole model: 2 x layers x KV heads x head width x 2, and 61 x (512 + 64) x 2 for MLA.
@pytest.mark.parametrize(
    ("name", "weights", "cache"),
    [
        ("Qwen/Qwen3-235B-A22B", 437.9, 192_512),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", 894.4, 253_952),
        ("Qwen/Qwen3-30B-A3B", 56.9, 98_304),
        ("Qwen/Qwen3-32B", 61.0, 262_144),
        ("Qwen/Qwen2.5-72B-Instruct", 135.4, 327_680),
        ("meta-llama/Llama-3.1-405B", 756.0, 516_096),
        ("meta-llama/Llama-3.1-70B", 131.4, 327_680),
        ("unsloth/DeepSeek-V3.1-BF16", 1249.9, 70_272),
        ("zai-org/GLM-4.6", 657.1, 376_832),
        # With the keys of the sparse indexer, 128 numbers a layer, beside the latent vector.
        ("zai-org/GLM-5", 1385.6, 78 * (576 + 128) * 2),
    ],
)
def test_the_bytes_are_those_of_the_field(name: str, weights: float, cache: int) -> None:
    model = known(name)
    assert round(weight_bytes(model) / GIB, 1) == weights
    assert cache_bytes(model) == cache


def test_a_cache_of_eight_bits_holds_twice_the_tokens() -> None:
    wide, narrow = known("vllm-ascend/Qwen3-32B-W8A8"), known("Eco-Tech/Qwen3-32B-w8a8c8")
    assert cache_bytes(wide) == 2 * cache_bytes(narrow)


def test_sparse_attention_gives_up_what_latent_attention_keeps() -> None:
    copies = {
        name: {part.copies for part in known(name).parts} for name in ("zai-org/GLM-5", "unsloth/DeepSeek-V3.1-BF16")
    }
    assert copies == {"zai-org/GLM-5": {1}, "unsloth/DeepSeek-V3.1-BF16": {1, 2}}


def test_a_quantised_checkpoint_keeps_its_ends_in_16_bits() -> None:
    whole, quantised = weight_bytes(QWEN), weight_bytes(QWEN._replace(weights="w8a8"))
    ends = 2 * 151_936 * 4096
    assert whole / 2 + ends <= quantised <= whole / 2 + ends * 1.2
    assert weight_bytes(QWEN._replace(weights="w4a8")) < quantised
    assert 553 < weight_bytes(known("moonshotai/Kimi-K2-Thinking")) / GIB < 554  # 594 GB, as published


# ---- What an NPU holds ---------------------------------------------------------------------------------


def test_the_guides_two_choices_hold_what_was_worked_out_by_hand() -> None:
    # 94 layers: 48,128 bytes a token with one KV head on each of 16 NPUs, half of it with two stages.
    wide, deep = fit(on_a2(QWEN), 16, 1), fit(on_a2(QWEN), 8, 2)
    assert wide is not None
    assert deep is not None
    assert [rank.cache for rank in wide.ranks] == [48_128]
    assert [rank.cache for rank in deep.ranks] == [24_064, 24_064]
    assert deep.tokens > 1.95 * wide.tokens  # the pipeline has a communicator of its own
    # 437.9 GiB over 16 NPUs are 27.4; keys and values of 4 heads lie on 16 NPUs or on 8.
    assert 27.4 < deep.weights / GIB < wide.weights / GIB < 27.7


def reference(tensor: int, layers: range, *, first: bool, last: bool) -> int:
    """Qwen3-MoE's weights on one NPU in numbers, written down once more from vLLM's classes."""
    hidden, width, heads = 4096, 128, 64
    kv_heads = max(1, 4 // tensor)
    attention = hidden * width * (heads // tensor + 2 * kv_heads) + hidden * width * heads // tensor + 2 * width
    experts = 128 * 3 * hidden * (1536 // tensor) + 128 * hidden
    numbers = len(layers) * (attention + experts + 2 * hidden)
    numbers += first * 151_936 // tensor * hidden
    return 2 * (numbers + last * (151_936 // tensor * hidden + hidden))


@pytest.mark.parametrize("tensor", [1, 2, 4, 8, 16])
def test_the_weights_of_a_rank_are_what_vllms_classes_make(tensor: int) -> None:
    pipeline = 16 // tensor
    need = fit(on_a2(QWEN), tensor, pipeline)
    assert need is not None
    for stage, rank in enumerate(need.ranks):
        ends = {"first": stage == 0, "last": stage == pipeline - 1}
        assert rank.weights == reference(tensor, rank.layers, **ends)


def test_expert_parallelism_keeps_whole_experts_on_a_rank() -> None:
    split, whole = fit(on_a2(GLM, 4), 32, 1), fit(on_a2(GLM, 4, expert_parallel=True), 32, 1)
    assert split is not None
    assert whole is not None
    assert split.weights == whole.weights  # 160 experts divide by 32
    uneven = fit(on_a2(GLM._replace(experts=161), 4, expert_parallel=True), 32, 1)
    assert uneven is not None
    assert uneven.weights > whole.weights  # the first rank has six


@given(st.sampled_from([m for m in catalogue() if m.cached]), st.sampled_from([1, 2, 4, 8]), st.integers(1, 61))
def test_the_ranks_together_hold_at_least_the_whole_model(model: Model, tensor: int, pipeline: int) -> None:
    need = fit(on_a2(model), tensor, min(pipeline, model.layers or 1))
    assert need is not None
    assert sum(tensor * rank.weights for rank in need.ranks) >= weight_bytes(model)
    assert sum(len(rank.layers) for rank in need.ranks) == model.layers
    assert need.tokens % 128 == 0
    for rank in need.ranks:
        assert need.tokens * rank.cache <= need.room(rank)


# Of vllm-ascend's tutorials: "1 Atlas 800 A3 (64G x 16) node or 2 Atlas 800 A2 (64G x 8) nodes".
_DOCUMENTED = re.compile(r"(\d+)\s*\W?\s*Atlas 800I? (A2|A3)(?:\s*\(?(64|32|128)G)?(?!B?, )")


def documented() -> list[tuple[str, str, int, str, int]]:
    """File, weights, nodes, hardware and GB of an NPU of each deployment that a tutorial names."""
    found = []
    for file in sorted((ROOT / "schema" / "models").glob("*.yaml")):
        for told in mapping(facts_in(f"models/{file.name}")).get("hardware", []):  # type: ignore[union-attr]
            says, weights = str(mapping(told)["says"]), str(mapping(told)["weights"])
            if "card" not in says:
                found += [
                    (file.name, weights, int(nodes), kind, 32 if size == "32" else 64)
                    for nodes, kind, size in _DOCUMENTED.findall(says)
                ]
    return found


# 437.9 GiB of BF16 leave nothing of 8 x 61.0 GiB at 0.9, nor of 16 x 29.5: the page lists BF16 and W8A8 in one line.
TOO_TIGHT = {("qwen3-235b-a22b.yaml", "bf16", 1, "A2", 64), ("qwen3-235b-a22b.yaml", "bf16", 2, "A2", 32)}


@pytest.mark.parametrize(("file", "weights", "nodes", "kind", "size"), documented())
def test_what_the_tutorials_deploy_fits(file: str, weights: str, nodes: int, kind: str, size: int) -> None:
    of_file = [m for m in catalogue() if m.origin.endswith(file) and m.weights == weights]
    assert of_file
    model = as_loaded(of_file[0], "0.23.0")
    where = (on_a2 if kind == "A2" else on_a3)(model, nodes)
    where = where if size == 64 else where._replace(hbm=Hbm(32768, 30197))
    fits = any(each.fit and each.fit.holds(8192) for each in legal(where))
    assert fits == ((file, weights, nodes, kind, size) not in TOO_TIGHT)


def test_the_tutorials_name_deployments_of_many_models() -> None:
    assert len(documented()) > 20


def test_what_does_not_fit_holds_nothing() -> None:
    need = fit(on_a2(DEEPSEEK, 1), 8, 1)
    assert need is not None
    assert (need.holds_weights, need.tokens) == (False, 0)


# ---- Stages --------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 64))
def test_stages_are_dealt_as_vllm_does(layers: int, pipeline: int) -> None:
    """`get_pp_indices`, as its docstring says it: the rest from the last stage but one towards the first."""
    sizes = [layers // pipeline] * pipeline
    for step in range(layers % pipeline):
        sizes[pipeline - 2 - step] += 1
    assert stages(layers, pipeline) == tuple(sizes)
    assert [layer for span in spans(tuple(sizes)) for layer in span] == list(range(layers))


def test_the_stages_that_the_documents_show() -> None:
    assert stages(94, 2) == (47, 47)
    assert stages(61, 2) == (31, 30)
    assert stages(61, 4) == (15, 15, 16, 15)
    assert stages(61, 2, "32,29") == (32, 29)


@pytest.mark.parametrize(
    ("partition", "fault"),
    [
        ("32,29", ""),
        ("32, 29", ""),
        ("61", "len(partitions)=1 does not match pp_size=2."),
        ("32,30", "sum(partitions)=62 does not match num_hidden_layers=61."),
        ("a,b", "Invalid partition string: a,b"),
        ("", "Invalid partition string: "),
        ("4\x1b[31m7", "Invalid partition string: '4\\x1b[31m7'"),
        ("62,-1", "a stage of -1 layers is none"),
        ("0,61", "a stage of 0 layers is none"),
    ],
)
def test_a_partition_is_judged_in_vllms_words(partition: str, fault: str) -> None:
    assert partition_fault(partition, 61, 2) == fault


# ---- Legal sizes ---------------------------------------------------------------------------------------


def tensors(where: Deployment) -> set[int]:
    return {each.tensor for each in candidates(where) if not each.refusals}


def test_heads_and_kv_heads_bound_the_tensor_group() -> None:
    # 96 heads and 8 KV heads: 12 divides the heads, but neither divides nor is divided by 8. 24 does both, and does not
    # divide the 151,552 rows of the vocabulary; nor can 92 layers make 96 stages.
    assert tensors(on_a2(GLM, 12)) == {2, 4, 8, 16, 32}
    (of_the_vocabulary,) = candidate(on_a2(GLM, 12), 24, 4).refusals
    assert of_the_vocabulary.says == "151552 is not divisible by 24 (the padded vocabulary)"
    assert tensors(on_a3(MINIMAX, 2)) == {1, 2, 4, 8, 16}  # 48 heads do not divide by 32


def test_a_refusal_has_vllms_words_and_where_they_stand() -> None:
    (first, *_) = candidate(on_a3(MINIMAX, 2), 32, 1).refusals
    assert first.says == "Total number of attention heads (48) must be divisible by tensor parallel size (32)."
    assert first.source.startswith("https://github.com/vllm-project/vllm/")


def test_expert_parallelism_needs_experts() -> None:
    says = [each.says for each in candidate(on_a2(LLAMA, expert_parallel=True), 8, 2).refusals]
    assert says == ["Number of experts in the model must be greater than 0 when expert parallelism is enabled."]


def test_the_width_of_an_expert_counts_without_expert_parallelism_alone() -> None:
    narrow = QWEN._replace(expert_width=1500)
    assert any("1500" in each.says for each in candidate(on_a2(narrow), 8, 2).refusals)
    assert not candidate(on_a2(narrow, expert_parallel=True), 8, 2).refusals


def test_a_class_that_is_no_pipeline_in_a_release_is_not_cut() -> None:
    where = on_a2(QWEN, release=release_of("vllm-ascend:v0.11.0"))
    says = (
        "Pipeline parallelism is not supported for this model. Supported models implement the `SupportsPP` interface."
    )
    table = json.loads((ROOT / "schema" / "architectures.json").read_text())
    column = table["releases"].index("0.11.0")
    uncut = min(name for name, letters in table["vllm"].items() if letters[column] == "k")
    where = where._replace(model=QWEN._replace(architecture=uncut))
    assert [each.says for each in candidate(where, 8, 2).refusals] == [says]
    assert not candidate(where, 16, 1).refusals


def test_as_many_npus_as_experts_are_legal_and_one_more_is_not() -> None:
    few = QWEN._replace(experts=8)
    assert not candidate(on_a2(few, expert_parallel=True), 8, 2).refusals
    (refusal,) = candidate(on_a2(few, expert_parallel=True), 16, 1).refusals
    assert refusal.says == "Tensor parallel size 16 is greater than the number of experts 8."


def test_only_some_classes_count_experts() -> None:
    mixtral = QWEN._replace(experts=8, architecture="MixtralForCausalLM", expert_width=16_384)
    assert not candidate(on_a2(mixtral), 16, 1).refusals


def test_what_else_is_cut_evenly_divides_by_tp() -> None:
    flash, hybrid = known("Eco-Tech/DeepSeek-V4-Flash-w8a8-mtp"), known("Qwen/Qwen3.5-397B-A17B")
    (groups,) = candidate(on_a3(flash, 1), 16, 1).refusals
    assert groups.says == "8 output groups of the attention are not divisible by 16"
    assert best(on_a3(flash, 1)) == (8, 2)
    assert "16 key heads" in candidate(on_a3(hybrid, 2), 32, 1).refusals[0].says
    assert not candidate(on_a3(hybrid, 2), 16, 2).refusals


def test_the_vocabulary_is_padded_before_it_is_cut() -> None:
    assert not candidate(on_a2(QWEN._replace(vocabulary=32_001)), 8, 2).refusals


def test_the_least_nodes_are_more_than_were_asked_for() -> None:
    assert least_nodes(on_a2(DEEPSEEK, 1)) == 2
    assert least_nodes(on_a2(DEEPSEEK, 2), above=2) == 4
    assert least_nodes(on_a2(LLAMA._replace(weights="bf16"), 1)._replace(share=0.01)) == 0


def test_a_sparse_indexer_took_more_room_before_0_15() -> None:
    sparse = known("vllm-ascend/DeepSeek-V3.2-W8A8")
    old, new = (fit(on_a2(sparse, release=release_of(f"vllm-ascend:{tag}")), 8, 2) for tag in ("v0.13.0", "v0.15.0rc1"))
    assert old is not None
    assert new is not None
    assert [rank.cache // len(rank.layers) for rank in (old.ranks[0], new.ranks[0])] == [2304, 1408]


def test_no_stage_is_without_a_layer() -> None:
    assert not candidate(on_a2(DEEPSEEK, 8), 1, 64).fit
    assert candidate(on_a2(DEEPSEEK, 8), 1, 64).refusals


def test_without_facts_all_sizes_are_legal_and_none_is_weighed() -> None:
    assert [each.tensor for each in candidates(on_a2(None))] == [16, 8, 4, 2, 1]
    assert all(not each.refusals and each.fit is None for each in candidates(on_a2(None)))


# ---- The best of them ----------------------------------------------------------------------------------


def best(where: Deployment) -> tuple[int, int]:
    found = legal(where)[0]
    return found.tensor, found.pipeline


def test_auto_keeps_tp_inside_a_node_and_takes_the_fewest_stages() -> None:
    assert best(on_a2(QWEN)) == (8, 2)
    assert best(on_a3(DEEPSEEK)) == (16, 2)
    assert best(on_a2(LLAMA, 4)) == (8, 4)
    assert best(on_a2(known("Qwen/Qwen3-32B"), 1)) == (8, 1)


def test_auto_leaves_what_is_known_to_fail() -> None:
    assert best(on_a2(QWEN, release=release_of("vllm-ascend:v0.11.0"), expert_parallel=True)) == (16, 1)


def test_auto_takes_what_holds_the_length() -> None:
    # One KV head on each of 8 NPUs, all 94 layers; in stages a token needs less of each NPU.
    where = on_a2(known("vllm-ascend/Qwen3-235B-A22B-W8A8"), 1, length=700_000)
    assert best(where) == (4, 2)
    assert best(where._replace(length=8192)) == (8, 1)


def test_the_reason_says_what_decided() -> None:
    assert asked("auto", on_a2(QWEN)).reason == (
        "auto: the best of 5 legal choices: TP stays inside a node, fewest stages"
    )
    assert "known" in asked("auto", on_a2(None)).reason
    assert asked(Sizes(tensor=4, pipeline=4), on_a2(QWEN))[:2] == (4, 4)


def test_every_answer_of_the_table_is_the_committed_one() -> None:
    name, table = "sizes of the catalogue", sizes_table.table() + "\n"
    written = TABLE.read_text(encoding="utf-8")
    if "UPDATE_DOCS" in os.environ:
        TABLE.write_text(with_part(written, name, table), encoding="utf-8")
        written = TABLE.read_text(encoding="utf-8")
    assert generated_parts(written) == {name: table}


def test_the_table_has_every_model_of_the_catalogue() -> None:
    shown = {model.origin for model in sizes_table.shapes()}
    assert shown == {model.origin for model in catalogue()}


# ---- HCCL's buffers ------------------------------------------------------------------------------------


def test_the_formulas_give_the_figures_of_the_reports() -> None:
    small = QWEN._replace(hidden=2048)
    assert buffers.needed_mb(on_a3(small, 1, expert_parallel=True, sequences=512), 1) == 0
    # https://github.com/vllm-project/vllm-ascend/pull/5287: 512 tokens a rank on 2 ranks, 64 experts on each.
    assert buffers._a3_mb(small, 512, 2) == 609  # noqa: SLF001
    # https://github.com/vllm-project/vllm-ascend/issues/4051
    assert buffers._a3_mb(small._replace(experts=512, experts_per_token=10), 64, 4) == 294  # noqa: SLF001
    # https://github.com/vllm-project/vllm-ascend/issues/16835
    assert buffers._a2_hierarchical_mb(QWEN._replace(experts=256, hidden=6144), 64) == 600  # noqa: SLF001


def released(tag: str, where: Deployment, **more: object) -> Deployment:
    return where._replace(release=release_of(f"vllm-ascend:{tag}"), expert_parallel=True, **more)  # type: ignore[arg-type]


def test_the_operators_are_taken_as_the_release_takes_them() -> None:
    many = QWEN._replace(experts=512)
    assert buffers.needed_mb(released("v0.13.0", on_a2(many)), 16) > 0
    assert buffers.needed_mb(released("v0.18.0", on_a2(many)), 16) == 0  # 32 experts a rank are too many
    assert buffers.needed_mb(released("v0.11.0", on_a2(QWEN)), 8) > 0  # all stages count
    assert buffers.needed_mb(released("v0.12.0rc1", on_a2(QWEN)), 8) == 0


def test_the_batch_is_that_of_the_release_and_the_flags() -> None:
    pod = on_a3(DEEPSEEK, 1, sequences=256)
    full = buffers.needed_mb(released("v0.13.0", pod), 16)
    assert full == 240
    assert buffers.needed_mb(released("v0.13.0", pod, flags=("enforce-eager",)), 16) == 120
    few = pod._replace(sequences=16)
    assert buffers.needed_mb(released("v0.18.0", few), 16) == 15
    assert buffers.needed_mb(released("v0.18.0", few, drafts=3), 16) == 60
    assert buffers.needed_mb(released("v0.10.2rc1", pod), 16) > 10 * full  # 512 tokens for each rank


def test_before_0_11_every_group_had_the_same_buffer() -> None:
    new, old = (fit(released(tag, on_a2(QWEN), buffer_mb=1024), 8, 2) for tag in ("v0.13.0", "v0.10.2rc1"))
    assert new is not None
    assert old is not None
    assert (new.buffers >> 20, old.buffers >> 20) == (2 * 2 * 200, 2 * (2 * 1024 + 1024))


def test_experts_that_span_nodes_get_the_documented_buffer_or_a_larger_one() -> None:
    assert buffers.buffer_mb(on_a2(QWEN), 16) == buffers.BUFFER_MB
    assert buffers.buffer_mb(on_a2(QWEN, expert_parallel=True), 16) == 1024
    assert buffers.buffer_mb(on_a3(DEEPSEEK, 1, expert_parallel=True), 16) == 256  # 240 are needed
    assert buffers.buffer_mb(on_a3(known("vllm-ascend/Kimi-K2-Instruct-W8A8"), 1, expert_parallel=True), 1) == 200
    wide = DEEPSEEK._replace(hidden=14_336, experts=512)
    assert buffers.buffer_mb(on_a3(wide, expert_parallel=True, sequences=4096), 4) > 1024


# ---- config.json ---------------------------------------------------------------------------------------


def test_a_config_of_an_unknown_class_has_rules_and_no_memory() -> None:
    model = from_config(
        b'{"architectures": ["NewForCausalLM"], "model_type": "new", "num_hidden_layers": 10,'
        b' "hidden_size": 64, "num_attention_heads": 6, "num_key_value_heads": 2}',
        "new/model",
        "config.json",
    )
    assert (model.layers, model.heads, model.kv_heads, model.parts) == (10, 6, 2, ())
    assert tensors(on_a2(model)) == {2}  # 6 heads; and 10 layers make no 16 stages


@pytest.mark.parametrize("key", ["vocab_size", "num_attention_heads", "intermediate_size", "hidden_size"])
def test_a_key_that_the_sums_need_is_not_made_up(key: str) -> None:
    assert from_config(json.dumps({**LLAMA_KEYS, key: None}).encode(), "m", "config.json").parts == ()


def test_experts_go_by_the_names_that_vllm_reads() -> None:
    ernie = {"num_hidden_layers": 2, "moe_num_experts": [64, 64], "model_type": "ernie4_5_moe"}
    assert from_config(json.dumps(ernie).encode(), "m", "config.json").experts == 64
    other = {"num_hidden_layers": 2, "model_type": "other"}
    assert from_config(json.dumps(other).encode(), "m", "config.json").experts is None
    assert from_config(json.dumps(LLAMA_KEYS).encode(), "m", "config.json").experts == 0
    narrow = {**LLAMA_KEYS, "model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": None}
    assert from_config(json.dumps(narrow).encode(), "m", "config.json").parts == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "it is not JSON"),
        (b"[]", "it is no mapping"),
        (b'{"hidden_size": 1}', "it says neither num_hidden_layers nor num_attention_heads"),
        (b"\xff", "it is not JSON"),
        (b"[" * 200_000, "it is nested too deep"),
        (b'{"num_hidden_layers": 1000000000000}', "num_hidden_layers is no number that a model has"),
        (b'{"num_hidden_layers": 4, "num_attention_heads": -64}', "num_attention_heads is no number"),
        (b'{"num_hidden_layers": 4, "hidden_size": 1' + b"0" * 400 + b"}", "hidden_size is no number"),
    ],
)
def test_what_is_no_config_is_told(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_config(content, "m", "config.json")


def _compressed(bits: int, kind: str = "int") -> str:
    groups = {"group_0": {"weights": {"num_bits": bits, "type": kind}}}
    return json.dumps({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}})


@pytest.mark.parametrize(
    "keys",
    [
        _compressed(8, "float"),
        '{"quantization_config": {"quant_method": "compressed-tensors"}}',
        '{"quantization_config": {"quant_method": "awq"}}',
        '{"quantize": "something"}',
    ],
)
def test_weights_that_are_not_known_are_not_weighed(keys: str) -> None:
    assert from_config(json.dumps(LLAMA_KEYS).encode(), "m", "config.json").parts
    unknown = {**LLAMA_KEYS, **json.loads(keys)}
    assert from_config(json.dumps(unknown).encode(), "m", "config.json").parts == ()


@pytest.mark.parametrize(
    ("keys", "weights"),
    [
        ("{}", "bf16"),
        ('{"quantization_config": {"quant_method": "fp8"}}', "fp8"),
        ('{"quantize": "w8a8_dynamic"}', "w8a8"),
        ('{"quantize": "w4a8_dynamic"}', "w4a8"),
        ('{"quantize": "w4a4_flatquant"}', "w4a4"),
        ('{"quantize": null}', "bf16"),
        ('{"quantization_config": null}', "bf16"),
        (_compressed(8), "w8a8"),
        (_compressed(4), "w4a16"),
    ],
)
def test_a_config_says_what_its_numbers_are(keys: str, weights: str) -> None:
    content = keys[:-1] + (", " if len(keys) > 2 else "") + '"num_hidden_layers": 1}'
    assert from_config(content.encode(), "m", "config.json").weights == weights


def test_facts_of_the_spec_hold_over_those_of_the_catalogue() -> None:
    lighter = with_facts(QWEN, ModelFacts(weights="w8a8", layers=94))
    assert (lighter.weights, lighter.parts) == ("w8a8", QWEN.parts)
    other = with_facts(QWEN, ModelFacts(layers=48))
    assert (other.layers, other.heads, other.parts, other.cached) == (48, 64, (), ())


@pytest.mark.parametrize(
    ("rope", "context"),
    [
        ("null", 32768),
        ('{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}', 131_072),
        ('{"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}', 163_840),
        ('{"rope_type": "linear", "factor": 2.0}', 65_536),
        ('{"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}', 32_768),
        ('{"rope_type": "default", "rope_theta": 1000000}', 32_768),
        ('{"rope_type": "linear", "factor": Infinity}', 32_768),
        ('{"rope_type": "linear", "factor": NaN}', 32_768),
        ('{"rope_type": "linear", "factor": -2}', 32_768),
    ],
)
def test_the_context_is_what_vllm_derives(rope: str, context: int) -> None:
    keys = f'{{"num_hidden_layers": 1, "max_position_embeddings": 32768, "rope_scaling": {rope}}}'
    assert from_config(keys.encode(), "m", "config.json").context == context


def test_a_folder_called_like_a_model_holds_it() -> None:
    assert known("/root/.cache/models/Qwen3-235B-A22B/").name == "Qwen/Qwen3-235B-A22B"
    assert catalogued("/root/.cache/models/Qwen3-235B-A22B-our-own") is None
    hub = "/root/.cache/huggingface/hub/models--Qwen--Qwen3-235B-A22B/snapshots/0123abc"
    assert known(hub).name == "Qwen/Qwen3-235B-A22B"
    assert catalogued("someone/Qwen3-235B-A22B") is None  # a hub id is an id


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (8192, 8192),
        ("8k", 8000),
        ("8K", 8192),
        ("1.e400k", None),
        ("9" * 4300 + "G", None),
        ("\u0663", None),
        ("1.5K", None),
        ("25.6k", 25_600),
        ("auto", None),
        (-1, None),
        (True, None),
        (None, None),
    ],
)
def test_tokens_are_read_as_vllm_reads_them(written: object, number: int | None) -> None:
    assert tokens(written) == number


@pytest.mark.parametrize(
    ("written", "vllm", "share"),
    [
        (None, "0.11.0", 0.9),
        (None, "0.23.0", 0.92),
        (None, "", 0.9),
        (0.5, "0.23.0", 0.5),
        ("x", "", 0.9),
        (9, "", 0.9),
    ],
)
def test_the_share_of_memory_is_vllms_own_unless_it_is_given(written: object, vllm: str, share: float) -> None:
    assert share_of(written, vllm) == share


def test_every_accelerator_says_what_memory_it_has() -> None:
    for name in ("atlas-a2", "atlas-a3"):
        found = accelerator(name)
        assert isinstance(found, Accelerator)
        assert all(hbm.usable_mib < hbm.total_mib for hbm in found.hbm)
