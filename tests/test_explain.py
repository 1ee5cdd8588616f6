"""What `compiler explain` says: in words, as JSON, and side by side."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compiler import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    Explain = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.yaml"))
SAID = Path(__file__).parent / "explanations"
GUIDE = "examples/qwen3-235b.yaml"


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    monkeypatch.chdir(ROOT)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["explain", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def held(name: str, said: str) -> None:
    """What is said is what the file has; with UPDATE_DOCS the file gets it."""
    file = SAID / f"{name}.txt"
    if "UPDATE_DOCS" in os.environ:
        file.parent.mkdir(exist_ok=True)
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_explained(explain: Explain, example: str) -> None:
    code, said, told = explain(f"examples/{example}.yaml")
    assert (code, told) == (0, "")
    held(example, said)


def test_alternatives_stand_side_by_side(explain: Explain) -> None:
    alternatives = (
        "tensor=16",
        "nodes=1,weights=w8a8",
        "hbm_size=32g",
        "max-model-len=40k,gpu-memory-utilization=0.95",
    )
    code, said, told = explain(GUIDE, *(word for each in alternatives for word in ("--what-if", each)))
    assert (code, told) == (0, "")
    held("what-if", said)


def test_a_model_that_is_not_known_is_explained_as_far_as_it_goes(explain: Explain, tmp_path: Path) -> None:
    spec = tmp_path / "cluster.yaml"
    spec.write_text((ROOT / GUIDE).read_text().replace("Qwen/Qwen3-235B-A22B", "/root/.cache/models/ours"))
    code, said, _ = explain(str(spec))
    assert code == 0
    assert "nothing is known about it" in said
    assert "unknown-model" in said
    assert "Memory" not in said


def test_what_is_said_of_a_model_is_told_and_what_is_missing(explain: Explain, tmp_path: Path) -> None:
    spec = tmp_path / "cluster.yaml"
    plain = (ROOT / GUIDE).read_text().replace("Qwen/Qwen3-235B-A22B", "/root/.cache/models/ours")
    spec.write_text(plain + "model: {attention_heads: 64, experts: 128}\n")
    code, said, _ = explain(str(spec))
    assert code == 0
    assert "layers not known, 64 heads, KV heads not known, 128 experts\n" in said
    assert "these were not checked: KV heads, layers, memory" in said


def test_a_config_beside_the_spec_is_read(explain: Explain, tmp_path: Path) -> None:
    spec, config = tmp_path / "cluster.yaml", tmp_path / "models" / "config.json"
    plain = (ROOT / GUIDE).read_text().replace("Qwen/Qwen3-235B-A22B", "/root/.cache/models/ours")
    spec.write_text(plain.replace("    enable-expert-parallel: true\n", "") + "model: models/config.json\n")
    config.parent.mkdir()
    config.write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "num_hidden_layers": 80,
                "hidden_size": 8192,
                "intermediate_size": 28672,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
                "vocab_size": 128256,
                "max_position_embeddings": 131072,
            }
        )
    )
    code, said, told = explain(str(spec))
    assert (code, told) == (0, "")
    assert "/root/.cache/models/ours; 70.6 B parameters, bf16: 131.4 GiB" in said
    assert "from models/config.json" in said


def test_what_is_refused_is_explained_all_the_same(explain: Explain, tmp_path: Path) -> None:
    spec = tmp_path / "cluster.yaml"
    spec.write_text(
        (ROOT / GUIDE).read_text().replace("parallelism: pipeline", "parallelism: {tensor: 1, pipeline: 16}")
    )
    spec.write_text(spec.read_text().replace("Qwen/Qwen3-235B-A22B", "meta-llama/Llama-3.1-70B"))
    code, said, told = explain(str(spec))
    assert code == 1
    assert "parallelism-illegal" in told
    assert "TP 8 x PP 2" in said


def test_a_tool_is_told_why_there_is_nothing_to_explain(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("version: 1\n")
    code, said, _ = explain(str(tmp_path / "cluster.yaml"), "--json")
    found = json.loads(said)
    assert code == 1
    assert (found["format_version"], {each["code"] for each in found["errors"]}) == (1, {"missing-field"})
    (tmp_path / "cluster.yaml").write_text((ROOT / GUIDE).read_text().replace("8192", "81920"))
    code, said, _ = explain(str(tmp_path / "cluster.yaml"), "--json")
    assert (code, [each["code"] for each in json.loads(said)["errors"]]) == (1, ["context-exceeded"])


@pytest.mark.parametrize("words", [("explain", GUIDE), ("explain", GUIDE, "--json"), ("check", GUIDE)])
def test_an_answer_that_cannot_be_written_is_no_bug(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run(
            (sys.executable, "-m", "compiler", *words),
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert "could not be written: No space left on device" in ran.stderr
    closed = without(">&-", *words)
    assert (closed.returncode, "Traceback" in closed.stderr) == (0, False)


def test_warnings_that_nobody_wants_to_read_are_no_bug() -> None:
    said = without("2>&-", "check", GUIDE)
    assert (said.returncode, said.stdout.startswith(GUIDE)) == (0, True)


def without(closed: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The program, one of its streams closed by the shell."""
    program = shlex.join((sys.executable, "-m", "compiler", *words))
    return subprocess.run(("sh", "-c", f"{program} {closed}"), cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_file_that_is_none_is_not_waited_for(explain: Explain, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (2**24 + 1))
    for name, why in (("pipe", "it is no regular file"), ("large", "it is larger than 16 MiB"), (".", "no regular")):
        spec = tmp_path / "cluster.yaml"
        spec.write_text(f"{(ROOT / GUIDE).read_text()}model: {name}\n")
        code, _, told = explain(str(spec))
        assert code == 1
        assert why in told


def test_a_spec_that_cannot_be_read_is_told_and_not_explained(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("version: 1\n")
    code, said, told = explain(str(tmp_path / "cluster.yaml"))
    assert (code, said) == (1, "")
    assert "missing-field" in told


# ---- JSON ----------------------------------------------------------------------------------------------


def document(explain: Explain, *words: str) -> dict[str, Any]:
    code, said, _ = explain(*words, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(said)
    return found


def test_tools_get_the_same_as_people(explain: Explain) -> None:
    found = document(explain, GUIDE, "--what-if", "tensor=16")
    assert found["format_version"] == 1
    assert found["release"]["vllm"] == "0.11.0"
    assert (found["chosen"]["tensor"], found["chosen"]["pipeline"]) == (8, 2)
    assert found["chosen"]["fit"]["estimate"] is True
    assert [stage["layers"] for stage in found["chosen"]["fit"]["stages"]] == [47, 47]
    assert [each["best"] for each in found["choices"]].count(True) == 1
    assert found["warnings"][0]["code"] == "known-bad"
    (other,) = found["what_if"]
    assert (other["asked"], other["chosen"]["tensor"]) == ("tensor=16", 16)
    assert all(refusal["source"].startswith("https://") for each in found["choices"] for refusal in each["refusals"])


# ---- What was asked for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("tensr=16", "did you mean tensor?"),
        ("tensor", "tensor needs a value"),
        ("tensor=", "tensor needs a value"),
        ("tensor=4,tensor=8", "tensor is given twice"),
        ("parallelism=auto,tensor=4", "give the word, or figures"),
        ("tensor=eight", "should be a whole number of at least 1"),
        ("pipeline=0", "should be a whole number of at least 1"),
        ("nodes=²", "should be a whole number of at least 1"),
        ("hbm_size=48g", "atlas-a2 has 64g or 32g"),
        ("weights=int8", "should be one of bf16"),
        ("model=Qwen/Nothing", "the catalogue does not know it"),
        ("max-model-len=long", "should be a whole number, like 32768 or 32k"),
        ("gpu-memory-utilization=1.5", "should be above 0 and at most 1"),
        ("enable-expert-parallel=yes", "should be true or false"),
        ("parallelism=best", "should be pipeline or tensor or auto"),
    ],
)
def test_what_cannot_be_tried_is_told(explain: Explain, asked: str, why: str) -> None:
    code, said, told = explain(GUIDE, "--what-if", asked)
    assert (code, said) == (2, "")
    assert why in told


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("tensor=4", "TP 4 x PP 4"),
        ("pipeline=4", "TP 4 x PP 4"),
        ("tensor=4,pipeline=4", "TP 4 x PP 4"),
        ("nodes=4", "TP 8 x PP 4"),
        ("nodes=1", "TP 8"),
        ("parallelism=tensor", "TP 16"),
        ("parallelism=auto,enable-expert-parallel=false", "TP 8 x PP 2"),
        ("model=meta-llama/Llama-3.1-70B,enable-expert-parallel=false", "TP 8 x PP 2"),
        ("max-num-seqs=64,gpu-memory-utilization=0.8", "TP 8 x PP 2"),
    ],
)
def test_what_can_be_tried(explain: Explain, asked: str, text: str) -> None:
    (other,) = document(explain, GUIDE, "--what-if", asked)["what_if"]
    chosen = other["chosen"]
    sizes = f"TP {chosen['tensor']}" + (f" x PP {chosen['pipeline']}" if chosen["pipeline"] > 1 else "")
    assert sizes == text


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        ("max-model-len=2m", "beyond its context"),
        ("weights=fp8", "weights not run here"),
        ("parallelism=tensor", "legal, fits"),
        ("hbm_size=32g", "does not fit"),
        ("tensor=3", "refused"),
        (
            "model=vllm-ascend/Qwen3-235B-A22B-W8A8,nodes=1,parallelism=tensor,gpu-memory-utilization=0.46",
            "too long for the cache",
        ),
    ],
)
def test_the_verdict_is_what_check_would_say(explain: Explain, asked: str, verdict: str) -> None:
    _, said, _ = explain(GUIDE, "--what-if", asked)
    assert re.search(rf"^  verdict +known to fail +{verdict}$", said, re.MULTILINE)


def test_the_order_of_what_is_asked_counts_for_nothing(explain: Explain) -> None:
    one, other = (
        document(explain, GUIDE, "--what-if", asked)["what_if"][0]["chosen"]
        for asked in (
            "weights=w8a8,model=Qwen/Qwen3-32B,enable-expert-parallel=false",
            "model=Qwen/Qwen3-32B,weights=w8a8,enable-expert-parallel=false",
        )
    )
    assert one == other


def test_figures_of_the_spec_are_for_its_own_nodes(explain: Explain) -> None:
    (other,) = document(explain, "examples/sixteen-nodes.yaml", "--what-if", "nodes=4")["what_if"]
    assert (other["chosen"]["tensor"], other["chosen"]["pipeline"]) == (8, 4)


def test_sizes_that_do_not_use_all_npus_are_said_to_be_refused(explain: Explain) -> None:
    _, said, _ = explain(GUIDE, "--what-if", "tensor=5,pipeline=2")
    assert "refused" in said
    assert "5 x 2 is 10, but the 2 nodes bring 16 NPUs" in said


def test_a_line_without_its_spec_asks_for_the_spec(
    explain: Explain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, told = explain("node-0/node.env:3")
    assert (code, said) == (1, "")
    assert "compiler explain node-0/node.env:3 SPEC" in told


def test_a_line_is_explained_by_its_spec(explain: Explain) -> None:
    code, said, told = explain("generated/qwen3-235b/node-0/node.env:3", GUIDE)
    assert (code, told) == (0, "")
    assert f"{GUIDE}:15:14: nodes[0].address: 192.168.10.10" in said
    assert explain("node-0/node.env:3", GUIDE, "--what-if", "tensor=8")[0] == 2


def test_two_specs_are_one_too_many(explain: Explain) -> None:
    code, _, told = explain(GUIDE, "examples/single-node.yaml")
    assert code == 2
    assert "explain takes one spec" in told
