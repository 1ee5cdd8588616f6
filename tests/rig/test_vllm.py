"""The serve lines of specs, judged by the parser of vLLM itself, and the table of flags, by what this parser says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import hostile
import pytest
from random_args import parsed, right, wrong
from vllm_home import RELEASES, installed, python
from vllm_table import TABLE, merged, text

from compiler.arguments import COMPUTED_ARGS
from compiler.compile import compile_spec
from compiler.flag_values import faults
from compiler.flags import flags_of, words
from compiler.source import Source

if TYPE_CHECKING:
    from compiler.plan import Plan
    from schema.vllm_flag import VllmFlag

pytestmark = pytest.mark.rig

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SPECS = 300
DOCUMENTED = {
    "kv_connector": "MooncakeConnectorV1",
    "kv_role": "kv_producer",
    "kv_port": "30000",
    "engine_id": "0",
    "kv_connector_extra_config": {"prefill": {"dp_size": 2, "tp_size": 8}, "decode": {"dp_size": 2, "tp_size": 8}},
}  # vllm-ascend's documents have this text where a number is meant
# Kinds that vLLM's parser reads from any word, whatever was meant: why a value that it would take is refused here.
STRICTER = {
    "text": "a boolean, a number with a fraction and a mapping are no text; vLLM would take the words that they make",
    "text-or-mapping": "the same; and text in braces that is no JSON is a mapping that was mistyped",
    "truth": "bool() of any word is true, of `false` as well",
    "list": "the parser takes any JSON, and the server fails with what is no list",
    "mapping": "the parser takes any JSON, or any text, and the engine fails with what is no mapping",
}
# Judged by rules of their own: what vllm-ascend takes of all that vLLM knows, and what is a secret.
JUDGED_APART = {"quantization": "ascend", "hf-token": True}


class Asked(NamedTuple):
    """A command, and the flags that it gives."""

    command: tuple[str, ...]
    args: dict[str, Any]


class Judged(NamedTuple):
    """What vLLM's parser knows, and for each command what it made of it."""

    release: str
    told: dict[str, Any]
    asked: dict[str, list[Asked]]
    verdicts: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=RELEASES)
def judged(request: pytest.FixtureRequest) -> Judged:
    """All questions in one process: to import vLLM takes ten seconds."""
    release: str = request.param
    documented = {"kv-transfer-config": DOCUMENTED, "enable-prefix-caching": False}
    asked = {
        "examples": examples(),
        "documented": [Asked(plan_of(spec(release, documented)).serve.command, documented)],
        "valid": valid(release),
        "wrong": mistaken(release),
    }
    commands = [{"words": each.command, "names": list(each.args)} for some in asked.values() for each in some]
    ran = subprocess.run(
        (python(), HERE / "vllm_judge.py"),
        input=json.dumps(commands),
        env=installed(release),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    told = json.loads(ran.stdout)
    verdicts = iter(told["verdicts"])
    return Judged(release, told["told"], asked, {name: [next(verdicts) for _ in some] for name, some in asked.items()})


def plan_of(source: Source) -> Plan:
    compiled = compile_spec([source], beside=lambda path: (ROOT / "examples" / path).read_bytes())
    assert compiled.plan is not None, compiled.diagnostics
    return compiled.plan


def examples() -> list[Asked]:
    """The serve line of every example, whichever release its image has."""
    sources = [Source(file.name, file.read_bytes()) for file in sorted((ROOT / "examples").glob("*.yaml"))]
    assert sources
    return [Asked(plan_of(source).serve.command, {}) for source in sources]


def valid(release: str) -> list[Asked]:
    """Whole specs, each with some flags; every flag is in one of them at least."""
    rng = Random(f"valid {release}")  # noqa: S311 - the same on every run
    flags = {name: flag for name, flag in flags_of(release).items() if name not in COMPUTED_ARGS}
    deck: list[str] = []
    specs = []
    for _ in range(SPECS):
        deck = deck if len(deck) >= 6 else [*deck, *rng.sample(sorted(flags), len(flags))]
        count = rng.randint(1, 6)
        names, deck = dict.fromkeys(deck[:count]), deck[count:]
        args = {name: JUDGED_APART.get(name) or right(flags[name], release, rng) for name in names}
        specs.append(Asked(plan_of(spec(release, args)).serve.command, args))
    return specs


def spec(release: str, args: dict[str, Any]) -> Source:
    """A spec is YAML, and JSON is."""
    cluster = {
        "version": 1,
        "name": "demo",
        "accelerator": "atlas-a2",
        "image": f"quay.io/ascend/vllm-ascend:{RELEASES[release]}",
        "cache": "/mnt/cache",
        "nodes": [{"name": "node-0", "address": "192.168.10.10", "interface": "eth0"}],
        "serve": {"model": "example/any-model", "args": args},
    }
    return Source("spec.yaml", hostile.yaml(cluster).encode())


def mistaken(release: str) -> list[Asked]:
    """Single flags with values that are refused here."""
    rng = Random(f"wrong {release}")  # noqa: S311 - the same on every run
    flags = [flag for name, flag in flags_of(release).items() if name not in COMPUTED_ARGS and flag.kind != "json"]
    values = [(flag, wrong(flag, rng)) for flag in (rng.choice(flags) for _ in range(SPECS))]
    assert not [pair for pair in values if not list(faults(pair[0], pair[1], (), release))]
    return [
        Asked(("vllm", "serve", "a-model", *words(flag.name, value, flag)), {flag.name: value})
        for flag, value in values
    ]


def test_the_table_is_what_the_parser_says(judged: Judged) -> None:
    committed = TABLE.read_text(encoding="utf-8")
    assert text(merged(committed, [judged.told])) == committed


def test_every_example_is_accepted(judged: Judged) -> None:
    assert [verdict for verdict in judged.verdicts["examples"] if "refused" in verdict] == []


def test_what_the_documents_of_vllm_ascend_write_is_accepted(judged: Judged) -> None:
    (verdict,) = judged.verdicts["documented"]
    read = verdict["values"]["kv-transfer-config"]
    assert of_what_was_given(read, DOCUMENTED) == {**DOCUMENTED, "kv_port": 30000}
    assert verdict["values"]["enable-prefix-caching"] is False


def test_every_valid_spec_is_accepted_and_means_what_it_says(judged: Judged) -> None:
    flags = flags_of(judged.release)
    for asked, verdict in zip(judged.asked["valid"], judged.verdicts["valid"], strict=True):
        assert "refused" not in verdict, (asked, verdict)
        assert verdict["model"] == "example/any-model"
        for name, value in asked.args.items():
            meant = parsed(flags[name], value)
            assert of_what_was_given(verdict["values"][name], meant) == meant, (asked, name)
    assert flags.keys() - COMPUTED_ARGS.keys() == {name for each in judged.asked["valid"] for name in each.args}


def of_what_was_given(read: Any, meant: Any) -> Any:
    """A config has a value for every field; these are the ones that were given."""
    if isinstance(read, dict) and isinstance(meant, dict):
        return {key: value for key, value in read.items() if key in meant}
    if isinstance(read, list) and isinstance(meant, list) and len(read) == len(meant):
        return [of_what_was_given(*pair) for pair in zip(read, meant, strict=True)]
    return read


def test_what_is_refused_here_vllm_refuses_too(judged: Judged) -> None:
    flags = flags_of(judged.release)
    taken = [
        asked.args
        for asked, verdict in zip(judged.asked["wrong"], judged.verdicts["wrong"], strict=True)
        if "refused" not in verdict and not stricter(flags[next(iter(asked.args))])
    ]
    assert taken == []


def stricter(flag: VllmFlag) -> bool:
    """Refused on purpose, though vLLM's parser would take it; a choice, a number or a config it checks itself."""
    later = flag.keys in ("", "SpeculativeConfig")  # which the engine makes, of more than this one flag
    return flag.kind in STRICTER and not flag.choices and later
