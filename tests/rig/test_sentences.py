"""What is refused here in under a second, vLLM itself refuses, with the same sentence; and it takes what is taken here.

vLLM's own code is asked (`vllm_says.py`), without weights and without NPUs: its model config, its way of dealing out
layers, its check of the KV cache. The assertions that it makes while a model is built are not reached in this way.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from vllm_home import RELEASES, installed, python

from compiler.architectures import knows
from compiler.catalogue import _entry, catalogue
from compiler.compile import compile_spec
from compiler.deployment import Deployment
from compiler.memory import fit, kv_heads_of_a_rank
from compiler.parallelism import candidate
from compiler.releases import release_of
from compiler.source import Source
from compiler.spread import cache_says
from compiler.stages import partition_fault, stages
from schema.accelerator import Hbm

if TYPE_CHECKING:
    from schema.model import Model
    from schema.release import Release

pytestmark = pytest.mark.rig

HERE = Path(__file__).parent
# What vLLM's configs judge; its other rules are assertions while the model is built.
SENTENCES = (
    "Total number of attention heads",
    "Number of experts in the model",
    "Pipeline parallelism is not supported",
)
SIZES = ((1, 1), (2, 8), (3, 1), (5, 2), (8, 2), (12, 1), (16, 1), (24, 2), (32, 1), (64, 1))
LENGTH = 1024


class Asked(NamedTuple):
    """A model with sizes, as vLLM is asked about it."""

    model: Model
    tensor: int
    pipeline: int
    expert_parallel: bool


class Said(NamedTuple):
    """What one release of vLLM said."""

    release: Release
    sizes: list[tuple[Asked, str]]
    lengths: list[tuple[Model, str]]
    dealt: list[tuple[tuple[int, int, str], Any]]
    caches: list[tuple[tuple[Model, int, int, int], str]]


def config_of(model: Model) -> dict[str, Any]:
    entry = _entry(model.origin.rpartition("/")[2])
    kept = {key: value for key, value in entry["config"].items() if key != "quantization_config"}
    return {**kept, "max_position_embeddings": model.context}


def models(release: Release) -> list[Model]:
    """One of each class that this vLLM lists: to inspect a class takes it ten seconds."""
    plain = (model for model in catalogue() if model.cache_bits == 16)  # vLLM is asked about no other cache
    classes = {model.architecture: model for model in plain if knows(release, model.architecture)}
    return list(classes.values())


def where(model: Model, release: Release, tensor: int, pipeline: int, *, experts: bool = False) -> Deployment:
    return Deployment(
        (tensor * pipeline,), Hbm(65536, 62420), super_pod=False, model=model, release=release, expert_parallel=experts
    )


@pytest.fixture(scope="module", params=RELEASES)
def said(request: pytest.FixtureRequest) -> Said:
    """All questions in one process: to import vLLM takes ten seconds."""
    release = release_of(f"vllm-ascend:{RELEASES[request.param]}")
    assert release is not None
    known = models(release)
    sizes = [Asked(model, *size, experts) for model in known for size in SIZES for experts in (False, True)]
    dealt, caches = deals(), cached(known, release)
    questions: list[dict[str, Any]] = [question(each, LENGTH) for each in sizes]
    questions += [question(Asked(model, 1, 1, False), 2 * (model.context or 0)) for model in known]  # noqa: FBT003
    questions += [{"layers": layers, "pipeline": pipeline, "partition": part} for layers, pipeline, part in dealt]
    questions += [{"cache": cache_question(each, release)} for each in caches]
    ran = subprocess.run(
        (python(), HERE / "vllm_says.py"),
        input=json.dumps(questions),
        env={**installed(request.param), "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    answers = iter(json.loads(ran.stdout.splitlines()[-1]))
    return Said(
        release,
        [(each, next(answers)) for each in sizes],
        [(each, next(answers)) for each in known],
        [(each, next(answers)) for each in dealt],
        [(each, next(answers)) for each in caches],
    )


def question(asked: Asked, length: int) -> dict[str, Any]:
    words = {"tensor": asked.tensor, "pipeline": asked.pipeline, "expert_parallel": asked.expert_parallel}
    return {"config": config_of(asked.model), "length": length, **words}


def deals() -> list[tuple[int, int, str]]:
    rng = Random("layers")  # noqa: S311 - the same on every run
    plain = [(rng.randint(1, 130), rng.randint(1, 64), "") for _ in range(200)]
    parts = [(61, 2, "31,30"), (61, 2, "32,30"), (61, 2, "61"), (61, 2, "a,b"), (61, 4, "15,15,16,15"), (94, 2, "")]
    return [each for each in plain if each[1] <= each[0]] + parts


def cached(known: list[Model], release: Release) -> list[tuple[Model, int, int, int]]:
    """Models with sizes and a length that their cache does not hold."""
    found = []
    for model in known:
        for tensor, pipeline in ((16, 1), (8, 2), (4, 4)):
            need = fit(where(model, release, tensor, pipeline), tensor, pipeline)
            if need and need.holds_weights and not model.latent and len(model.cached) == 1 and need.tokens:
                found.append((model, tensor, pipeline, need.tokens * 3 // 2))
    assert found
    return found


def cache_question(each: tuple[Model, int, int, int], release: Release) -> dict[str, int]:
    model, tensor, pipeline, length = each
    need = fit(where(model, release, tensor, pipeline), tensor, pipeline)
    assert need is not None
    rank, heads = need.tightest, kv_heads_of_a_rank(model, tensor)
    layers = sum(layer in rank.layers for layer in model.cached[0].layers)
    width = model.cached[0].numbers // (2 * (model.kv_heads or 1))
    return {"kv_heads": heads, "width": width, "layers": layers, "length": length, "available": need.room(rank)}


def test_sizes_are_refused_with_vllms_own_sentence_and_taken_where_it_takes_them(said: Said) -> None:
    loads = {asked.model.name for asked, says in said.sizes if asked[1:] == (1, 1, False) and not says}
    assert len(loads) >= 4, [(asked.model.name, says) for asked, says in said.sizes if asked[1:] == (1, 1, False)]
    refused = 0
    for asked, says in said.sizes:
        if asked.model.name not in loads:
            continue  # a class that this Transformers does not know: its config cannot be read at all
        deployment = where(asked.model, said.release, asked.tensor, asked.pipeline, experts=asked.expert_parallel)
        ours = [each.says for each in candidate(deployment, asked.tensor, asked.pipeline).refusals]
        if says:
            assert says in ours, asked
            refused += 1
        else:
            assert not [each for each in ours if each.startswith(SENTENCES)], asked
    assert refused > len(loads)


def test_a_length_beyond_the_context_is_refused_with_vllms_own_sentence(said: Said) -> None:
    judged = 0
    for model, says in said.lengths:
        if "User-specified max_model_len" not in says:
            continue
        spec = Source("spec.yaml", SPEC.format(model=model.name, length=2 * (model.context or 0)).encode())
        ours = [each.message for each in compile_spec([spec]).diagnostics if each.code == "context-exceeded"]
        assert len(ours) == 1
        assert ours[0] in says.replace(".0 or model_max", " or model_max")
        judged += 1
    assert judged >= 4


SPEC = """
version: 1
name: one
accelerator: atlas-a3
image: vllm-ascend:v0.23.0-a3
cache: /mnt/cache
nodes: [{{name: node-0, address: 192.168.10.10, interface: eth0}}]
serve: {{model: {model}, args: {{max-model-len: {length}}}}}
"""


def test_layers_are_dealt_out_as_vllm_deals_them(said: Said) -> None:
    for (layers, pipeline, partition), answer in said.dealt:
        if isinstance(answer, str):
            assert partition_fault(partition, layers, pipeline) == answer
        else:
            assert list(stages(layers, pipeline, partition)) == answer


def alike(says: str) -> str:
    """Releases differ in whether they write 46.1 or 46.10."""
    return re.sub(r"([\d.]+) GiB", lambda found: f"{float(found[1]):.2f} GiB", says)


def test_a_cache_that_is_too_small_is_told_in_vllms_own_sentence(said: Said) -> None:
    for (model, tensor, pipeline, length), says in said.caches:
        deployment = where(model, said.release, tensor, pipeline)
        need = fit(deployment, tensor, pipeline)
        assert need is not None
        assert alike(says).startswith(alike(cache_says(need, length, deployment))), (model.name, says)
        (estimate,) = re.findall(r"estimated maximum model length is (\d+)", says)
        assert int(estimate) == need.tokens, (model.name, tensor, pipeline)
