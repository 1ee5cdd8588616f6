"""vLLM's flags: the table, the words that a flag and its value become, and what the rules say of both."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import hostile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_args import parsed, right, wrong

from compiler.arguments import COMPUTED_ARGS, MAX_WORD, arguments_are_vllms
from compiler.compile import compile_spec, nothing_beside
from compiler.flag_values import faults
from compiler.flags import flags_of, keys_of, readable, releases, releases_with, words
from compiler.load import load
from compiler.releases import releases as releases_of_images
from compiler.source import Source
from compiler.subject import subject_of
from schema.vllm_flag import Kind

if TYPE_CHECKING:
    from compiler.diagnostics import Diagnostic
    from schema.vllm_flag import VllmFlag

KNOWN = "quay.io/ascend/vllm-ascend:v0.11.0"
NEWER = "quay.io/ascend/vllm-ascend:v0.23.0"
UNKNOWN = "registry.example/our-vllm:blue"


def source(args: dict[str, Any], image: str = KNOWN) -> Source:
    spec = {
        "version": 1,
        "name": "demo",
        "accelerator": "atlas-a2",
        "image": image,
        "cache": "/mnt/cache",
        "nodes": [{"name": "node-0", "address": "192.168.10.10", "interface": "eth0"}],
        "serve": {"model": "example/any-model", "args": args},
    }
    return Source("spec.yaml", hostile.yaml(spec).encode())


def told(args: dict[str, Any], image: str = KNOWN) -> list[Diagnostic]:
    loaded = load([source(args, image)])
    assert loaded.cluster is not None, loaded.diagnostics
    return list(arguments_are_vllms(subject_of(loaded.cluster, nothing_beside)))


def line(args: dict[str, Any], image: str = KNOWN) -> tuple[str, ...]:
    """The words of the flags, as the serve line has them."""
    plan = compile_spec([source(args, image)]).plan
    assert plan is not None
    command = plan.serve.command
    return command[command.index("--tensor-parallel-size") + 2 :]


# ---- The table -------------------------------------------------------------------------------------------


def test_every_release_with_an_image_has_a_table_but_for_candidates_of_vllm() -> None:
    assert {release.vllm for release in releases_of_images()} - set(releases()) <= {"0.11.0rc3"}


def test_a_release_has_its_own_flags() -> None:
    assert flags_of("0.11.0")["task"].deprecated
    assert "task" not in flags_of("0.23.0")
    assert releases_with("nnodes")[0] == "0.12.0"
    assert flags_of("0.11.0")["gpu-memory-utilization"].default == 0.9
    assert flags_of("0.23.0")["gpu-memory-utilization"].default == 0.92
    assert flags_of("0.9.1")["quantization"].choices.index("ascend") >= 0
    assert keys_of("0.11.0", "CompilationConfig")["level"].kind == "whole"


def test_a_release_that_is_not_known_has_the_flags_of_all() -> None:
    every = {name for release in releases() for name in flags_of(release)}
    assert flags_of(None).keys() == flags_of("99.0").keys() == every
    assert set(flags_of(None)["block-size"].choices) == set()  # later releases have no list of them
    assert {"ipex", "fp8"} & set(flags_of(None)["dtype"].choices) == set()
    assert set(flags_of("0.9.1")["dtype"].choices) <= set(flags_of(None)["dtype"].choices)
    assert flags_of(None)["gpu-memory-utilization"].le is None


@pytest.mark.parametrize("release", releases())
def test_each_entry_of_the_table_can_be_read(release: str) -> None:
    assert len(flags_of(release)) > 150
    for flag in flags_of(release).values():
        assert flag.kind in get_args(Kind)
        assert not flag.keys or keys_of(release, flag.keys)
        assert not {each.lstrip("-") for each in flag.aliases} & flags_of(release).keys()


def test_neither_version_nor_a_spec_without_flags_reads_the_table() -> None:
    script = (
        "import sys; from compiler import cli, flags\n"
        "sys.argv = ['compiler', '--version']\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "print(flags._table.cache_info().misses)"
    )
    ran = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == "0"


# ---- Words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"enforce-eager": True}, ("--enforce-eager",)),
        ({"enforce-eager": False}, ("--no-enforce-eager",)),
        ({"disable-log-stats": True}, ("--disable-log-stats",)),
        ({"disable-log-stats": False}, ()),  # no --no- form; it is off by itself
        ({"guided-decoding-disable-fallback": True}, ("--guided-decoding-disable-fallback", "True")),
        ({"guided-decoding-disable-fallback": False}, ("--guided-decoding-disable-fallback=",)),
        ({"served-model-name": ["a", "b"]}, ("--served-model-name", "a", "b")),
        ({"served-model-name": ["-a"]}, ("--served-model-name=-a",)),
        ({"allowed-origins": ["*", "b"]}, ("--allowed-origins", '["*", "b"]')),
        ({"middleware": ["a.b", "-c"]}, ("--middleware", "a.b", "--middleware=-c")),
        ({"cuda-graph-sizes": [1, 2]}, ("--cuda-graph-sizes", "1", "2")),
        ({"compilation-config": {"level": 3}}, ("--compilation-config", '{"level": 3}')),
        ({"compilation-config": '{"level": 3}'}, ("--compilation-config", '{"level": 3}')),
        ({"compilation-config.level": 3}, ("--compilation-config.level", "3")),
        ({"compilation-config.use_inductor": False}, ("--compilation-config.use_inductor", "false")),
        ({"additional-config.a": "8k"}, ("--additional-config.a", '"8k"')),  # else it is 8000
        ({"additional-config.a": "plain"}, ("--additional-config.a", "plain")),
        ({"additional-config.a": "-1"}, ("--additional-config.a", '"-1"')),
        ({"additional-config.a": -1}, ("--additional-config.a=-1",)),
        ({"lora-modules": [{"name": "a", "path": "/"}, "b=c"]},
         ("--lora-modules", '{"name": "a", "path": "/"}', "b=c")),
        ({"max-model-len": "8k"}, ("--max-model-len", "8k")),
        ({"seed": -1}, ("--seed=-1",)),
        ({"chat-template": ""}, ("--chat-template", "")),
        ({"hf-token": True}, ("--hf-token",)),
        ({"hf-token": False}, ()),
        ({"revision": 7}, ("--revision", "7")),
    ],
)  # fmt: skip
def test_words(args: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert line(args) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, ("--x",)), (False, ("--no-x",)), ([1, "a"], ("--x", "1", "a")), ({"a": 1}, ("--x", '{"a": 1}'))],
)
def test_a_flag_that_no_vllm_known_here_has_is_passed_as_it_looks(value: object, expected: tuple[str, ...]) -> None:
    assert words("x", value, None) == expected
    assert line({"x": value}, UNKNOWN) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [("8k", 8000), ("8K", 8192), ("1.5m", 1_500_000), ("2G", 2**31), ("0.25g", 250_000_000), ("8", None),
     ("1.5K", None), ("8x", None), ("k", None), ("8 k", None), ("8kk", None), ("٨k", None), ("", None)],
)  # fmt: skip
def test_numbers_that_people_read(text: str, number: int | None) -> None:
    assert readable(text) == number


# ---- Values ----------------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 2**32)


def every_flag(release: str) -> list[VllmFlag]:
    return [flag for name, flag in flags_of(release).items() if name not in COMPUTED_ARGS]


@pytest.mark.parametrize("release", releases())
@settings(max_examples=10)
@given(number=NUMBERS)
def test_what_a_flag_takes_is_accepted(release: str, number: int) -> None:
    rng = Random(number)  # noqa: S311 - hypothesis chooses the seed
    for flag in every_flag(release):
        value = right(flag, release, rng)
        assert list(faults(flag, value, (), release)) == [], (flag, value)


@pytest.mark.parametrize("release", releases())
@settings(max_examples=10)
@given(number=NUMBERS)
def test_what_a_flag_does_not_take_is_refused(release: str, number: int) -> None:
    rng = Random(number)  # noqa: S311 - as above
    for flag in every_flag(release):
        if flag.kind != "json":
            value = wrong(flag, rng)
            assert list(faults(flag, value, (), release)), (flag, value)


@settings(max_examples=50)
@given(number=NUMBERS)
def test_every_word_holds_the_value_and_none_could_be_taken_for_a_flag(number: int) -> None:
    rng = Random(number)  # noqa: S311 - as above
    for flag in every_flag("0.23.0"):
        value = right(flag, "0.23.0", rng)
        first, *rest = words(flag.name, value, flag) or ("--none",)
        assert first.startswith(f"--{flag.name}") or first in (f"--no-{flag.name}", "--none")
        assert not [word for word in rest if word.startswith("-") and not word.startswith(f"--{flag.name}")]
        if isinstance(value, str):
            assert (rest or [first.partition("=")[2]]) == [value]
        if isinstance(value, dict) and not flag.several:
            assert json.loads(rest[0]) == value == parsed(flag, value)


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        ({"max-num-seqs": "many"}, "should be a whole number, not the text 'many'", ""),
        ({"max-num-seqs": "25"}, "should be a whole number, not the text '25'", "write it without quotes"),
        ({"max-num-seqs": 8192.0}, "should be a whole number, not 8192.0", "write 8192"),
        ({"max-num-seqs": True}, "should be a whole number, not true", "it needs a value"),
        ({"max-num-seqs": [1]}, "should be a whole number, not a list", "it takes one value"),
        ({"max-num-seqs": 0}, "should be at least 1, not 0", ""),
        ({"max-model-len": "8x"}, "should be a whole number, or text like 8k, not the text '8x'", ""),
        (
            {"max-model-len": "1.5K"},
            "should be a whole number, or text like 8k, not the text '1.5K'",
            "no fraction goes before a capital letter; 1.5k is 1500",
        ),
        ({"gpu-memory-utilization": 90}, "should be at most 1, not 90", ""),
        ({"gpu-memory-utilization": "90%"}, "should be a number, not the text '90%'", ""),
        ({"dtype": "bfloat_16"}, "the text 'bfloat_16' is none of its values", "did you mean bfloat16?"),
        ({"block-size": 7}, "7 is none of its values", "they are 1, 8, 16, 32, 64, 128"),
        ({"trust-remote-code": "true"}, "should be true or false, not the text 'true'", "write true without quotes"),
        ({"tokenizer": {"a": 1}}, "should be text, not a mapping", ""),
        ({"revision": 1.5}, "should be text, not 1.5", "put it in quotes, so that each digit stays"),
        ({"additional-config": "many"}, "should be a mapping, not the text 'many'", ""),
        ({"allowed-origins": "*"}, "should be a list, not the text '*'", ""),
        ({"lora-modules": "sql"}, "should be text like name=path, or a mapping, not the text 'sql'", ""),
        (
            {"lora-modules": {"name": "sql"}},
            "needs a name and a path",
            "like {name: sql, path: /root/.cache/sql-lora}",
        ),
    ],
)
def test_what_is_said_of_a_value(args: dict[str, Any], message: str, hint: str) -> None:
    (found,) = told(args)
    assert found[:5] == ("error", "flag-type", message, ("serve", "args", *args), hint)


def test_a_fault_in_a_list_or_a_mapping_is_told_at_its_place() -> None:
    (found,) = told({"cuda-graph-sizes": [1, "two"]})
    assert found.path == ("serve", "args", "cuda-graph-sizes", 1)
    (found,) = told({"compilation-config": {"pass_config": {"enable_fusoin": True}}})
    assert (found.code, found.hint) == ("unknown-flag", "did you mean enable_fusion?")
    assert found.path == ("serve", "args", "compilation-config", "pass_config", "enable_fusoin")
    (found,) = told({"compilation-config": '{"level": "three"}'})  # within text there are no places
    assert (found.code, found.path) == ("flag-type", ("serve", "args", "compilation-config"))
    (found,) = told({"compilation-config.level": "three"})
    assert (found.code, found.path) == ("flag-type", ("serve", "args", "compilation-config.level"))


@pytest.mark.parametrize(
    ("config", "accepted"),
    [
        ({"kv_port": "30000", "kv_buffer_size": "1e9"}, True),  # vllm-ascend's documents write ports so
        ({"kv_port": " +7 ", "kv_buffer_size": 1}, True),
        ({"kv_port": 7.0}, True),
        ({"kv_port": 7.5}, False),
        ({"kv_port": "7k"}, False),
        ({"kv_port": True}, False),
        ({"kv_ip": 7}, False),
        ({"kv_connector_extra_config": "{}"}, False),
        ({"kv_connector_extra_config": {"any": ["thing", 1]}}, True),
    ],
)
def test_inside_a_mapping_pydantic_reads(config: dict[str, Any], accepted: bool) -> None:  # noqa: FBT001 - a column
    assert (told({"kv-transfer-config": config}) == []) is accepted


@pytest.mark.parametrize(
    ("value", "accepted"),
    [("False", True), ("off", True), (1, True), ("0", True), ("maybe", False), (2, False), (0.5, False)],
)
def test_a_truth_inside_a_mapping_has_many_words(value: object, accepted: bool) -> None:  # noqa: FBT001 - a column
    assert (told({"speculative-config": {"disable_padded_drafter_batch": value}}) == []) is accepted


# ---- Names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "message", "hint"),
    [
        ("max-number-seqs", "unknown-flag", "vLLM 0.11.0 has no flag --max-number-seqs", "did you mean max-num-seqs?"),
        ("attention-config", "unknown-flag", "vLLM 0.11.0 has no flag --attention-config", "0.13.0 and later have it"),
        ("num-scheduler-steps", "unknown-flag", "vLLM 0.11.0 has no flag --num-scheduler-steps",
         "0.9.1 to 0.10.0 have it"),
        ("zzz", "unknown-flag", "vLLM 0.11.0 has no flag --zzz",
         "`vllm serve --help=all` in the image lists its flags"),
        ("dcp", "vllm-flag", "dcp is another name of decode-context-parallel-size",
         "write decode-context-parallel-size, so that it has one name"),
        ("no-enable-prefix-caching", "vllm-flag", "no-enable-prefix-caching is another name of enable-prefix-caching",
         "write enable-prefix-caching: false, so that it has one name"),
        ("seed.x", "unknown-flag", "--seed takes no mapping, so x is no key of it", ""),
        ("compilation-config.levl", "unknown-flag", "vLLM 0.11.0 has no key 'levl' here", "did you mean level?"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_name(name: str, code: str, message: str, hint: str) -> None:
    (found,) = told({name: 1})
    assert found[:5] == ("error", code, message, ("serve", "args", name), hint)
    assert found.at_key


def test_a_vllm_that_is_not_known_may_know_better() -> None:
    assert told({"attention-config": {}, "task": "embed", "max-model-len": "auto"}, UNKNOWN) == []
    found = told({"max-num-sequences": 1, "max-num-seqs": "many", "attention-config": {"nope": 1}}, UNKNOWN)
    assert [each.severity for each in found] == ["warning"] * 3
    assert found[0].message == "no vLLM known here has a flag --max-num-sequences"
    assert found[2].message == "no vLLM known here has a key 'nope' here"


def test_what_goes_away_is_told_with_what_vllm_says() -> None:
    (found,) = told({"override-pooler-config": {}})
    assert (found.severity, found.code, found.at_key) == ("warning", "deprecated-flag", True)
    assert found.message == "is deprecated in vLLM 0.11.0, and 0.12.0 has it no more"
    assert found.hint.startswith("vLLM says: Use `pooler_config` instead.")
    assert told({"override-pooler-config": {}}, UNKNOWN) == []


def test_a_mapping_is_given_in_one_way() -> None:
    (found,) = told({"compilation-config": {"level": 3}, "compilation-config.use_inductor": True})
    assert found.code == "vllm-flag"
    assert found.related == ("serve", "args", "compilation-config")
    assert told({"compilation-config.level": 3, "compilation-config.use_inductor": True}) == []


@pytest.mark.parametrize("name", sorted(COMPUTED_ARGS))
def test_a_computed_flag_stays_computed(name: str) -> None:
    (found,) = told({name: "x"}, NEWER)
    assert (found.code, found.hint) == ("computed-arg", COMPUTED_ARGS[name])


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"served-model-name": ["a", "-b"]}, ("served-model-name", 1)),
        ({"numa-bind-nodes": [1, -1]}, ("numa-bind-nodes", 1)),
        ({"chat-template": "--"}, ("chat-template",)),
        ({"served-model-name": ["--"]}, ("served-model-name",)),
        ({"chat-template": "x" * (MAX_WORD + 1)}, ("chat-template",)),
        ({"additional-config": {"a": "é" * (MAX_WORD // 2)}}, ("additional-config",)),
    ],
)
def test_what_no_command_line_can_carry(args: dict[str, Any], path: tuple[str | int, ...]) -> None:
    (found,) = told(args, NEWER)
    assert (found.code, found.path) == ("vllm-value", ("serve", "args", *path))


def test_a_number_that_is_too_large_to_be_one_is_none() -> None:
    spec = source({"gpu-memory-utilization": "?"}).content.replace(b'"?"', b"9e999")
    (found,) = [each for each in compile_spec([Source("spec.yaml", spec)]).diagnostics if each.severity == "error"]
    assert (found.code, found.message) == ("flag-type", "should be a number, not inf")
