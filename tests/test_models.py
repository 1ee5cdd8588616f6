"""The model catalogue: each file of `schema/models/` has the form that the compiler reads; no id has two meanings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compiler.source import Source, parse
from schema.scalar import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.scalar import Tree

FILES = sorted((Path(__file__).parent.parent / "schema" / "models").glob("*.yaml"))

TITLES = {
    "DeepSeek-V3",
    "DeepSeek-V3.2",
    "DeepSeek-V4-Flash",
    "DeepSeek-V4-Pro",
    "GLM-4.5",
    "GLM-5",
    "Kimi-K2",
    "Llama-3.1-405B",
    "Llama-3.1-70B",
    "MiniMax-M2.5",
    "Qwen2.5-72B",
    "Qwen3-235B-A22B",
    "Qwen3-30B-A3B",
    "Qwen3-32B",
    "Qwen3-Coder-480B-A35B",
    "Qwen3.5-397B-A17B",
}
WEIGHTS = {"bf16", "fp8", "fp4", "mxfp8", "mxfp4", "w8a8", "w4a16", "w4a8", "w4a4"}
EVERY_CONFIG_SAYS = {
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
}
EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts")

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def mapping(value: Tree | None) -> dict[str, Tree]:
    assert isinstance(value, dict), value
    return value


def items(value: Tree | None) -> list[Tree]:
    assert isinstance(value, list), value
    return value


def text(value: Tree | None) -> str:
    assert isinstance(value, str), value
    return value


def number(value: Tree | None) -> float:
    assert isinstance(value, Scalar), value
    assert isinstance(value.value, (int, float)), value
    return value.value


def model(file: Path) -> dict[str, Tree]:
    tree, faults = parse(Source(file.name, file.read_bytes()))
    assert not faults
    return mapping(tree)


def checkpoints(file: Path) -> list[dict[str, Tree]]:
    return [mapping(each) for each in items(model(file)["checkpoints"])]


def ids(file: Path) -> list[str]:
    return [text(one) for each in checkpoints(file) for one in items(each["ids"])]


def shape(file: Path) -> dict[str, Tree]:
    """The part of config.json that describes the language model: a model that sees has it one level down."""
    config = mapping(model(file)["config"])
    return mapping(config.get("text_config", config))


def sources(tree: Tree) -> Iterator[str]:
    for key, value in mapping(tree).items():
        if key == "source":
            yield text(value)
        elif key == "sources":
            yield from map(text, items(value))
        elif isinstance(value, dict):
            yield from sources(value)
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    yield from sources(each)


def test_every_model_is_there() -> None:
    assert {text(model(file)["title"]) for file in FILES} == TITLES


@each_file
def test_a_file_is_named_after_its_model(file: Path) -> None:
    assert file.stem == text(model(file)["title"]).lower()


@each_file
def test_a_file_has_these_keys_and_no_other(file: Path) -> None:
    tree = model(file)
    assert set(tree) - {"hardware"} == {"title", "config", "published", "pipeline", "checkpoints", "sources"}
    assert set(mapping(tree["published"])) == {"parameters", "within", "source"}
    assert set(mapping(tree["pipeline"])) == {"support", "source"}
    assert text(mapping(tree["pipeline"])["support"]) in {"listed", "untested", "unlisted"}
    for each in checkpoints(file):
        assert set(each) - {"config", "cache_bits"} == {"ids", "weights"}
    assert all(set(mapping(each)) == {"says", "weights", "source"} for each in items(tree.get("hardware", [])))


@each_file
def test_weights_have_known_names(file: Path) -> None:
    entries = [*checkpoints(file), *map(mapping, items(model(file).get("hardware", [])))]
    assert {text(each["weights"]) for each in entries} <= WEIGHTS


@each_file
def test_hardware_is_told_of_weights_that_exist(file: Path) -> None:
    told = {text(mapping(each)["weights"]) for each in items(model(file).get("hardware", []))}
    assert told <= {text(each["weights"]) for each in checkpoints(file)}


@each_file
def test_every_source_is_a_public_page(file: Path) -> None:
    cited = list(sources(model(file)))
    assert all(re.fullmatch(r"https://(github\.com|huggingface\.co)/[!-~]+", url) for url in cited), cited
    listed = items(model(file)["sources"])
    assert listed
    assert len(listed) == len({text(url) for url in listed})


def test_an_id_stands_once() -> None:
    every = [one.lower() for file in FILES for one in ids(file)]
    assert sorted(every) == sorted(set(every))
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+", one, re.ASCII) for one in every)


def test_the_name_of_a_folder_cannot_mean_two_models() -> None:
    meant: dict[str, set[str]] = {}
    for file in FILES:
        for one in ids(file):
            meant.setdefault(one.partition("/")[2].lower(), set()).add(file.stem)
    assert {name: models for name, models in meant.items() if len(models) > 1} == {}


@each_file
def test_a_checkpoint_differs_only_in_what_the_shape_says(file: Path) -> None:
    for each in checkpoints(file):
        other = mapping(each.get("config", {}))
        assert set(other) <= set(shape(file))
        assert all(other[key] != shape(file)[key] for key in other)


@each_file
def test_heads_and_layers_are_possible(file: Path) -> None:
    config = shape(file)
    assert set(config) >= EVERY_CONFIG_SAYS
    assert all(number(config[key]) > 0 for key in EVERY_CONFIG_SAYS)
    heads = number(config["num_attention_heads"])
    assert heads % number(config["num_key_value_heads"]) == 0
    assert "head_dim" in config or "v_head_dim" in config or number(config["hidden_size"]) % heads == 0
    assert number(config.get("first_k_dense_replace", Scalar("0", 0))) < number(config["num_hidden_layers"])


@each_file
def test_experts_are_possible(file: Path) -> None:
    config = shape(file)
    counts = [number(config[key]) for key in EXPERTS if key in config]
    assert len(counts) == ("num_experts_per_tok" in config)
    assert all(number(config["num_experts_per_tok"]) < count for count in counts)
    width = "moe_intermediate_size" if "moe_intermediate_size" in config else "intermediate_size"
    assert number(config[width]) > 0


@each_file
def test_what_is_published_is_precise_enough_to_find_a_missing_matrix(file: Path) -> None:
    published = mapping(model(file)["published"])
    assert number(published["parameters"]) > 10**10
    assert 0 < number(published["within"]) <= 0.02
