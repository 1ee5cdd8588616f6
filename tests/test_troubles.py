"""What is known to fail: each report is told of what it speaks of, and of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compiler.architectures import knows
from compiler.compile import compile_spec
from compiler.deployment import Deployment
from compiler.releases import release_of, releases
from compiler.source import Source
from compiler.troubles import known_bad, troubles
from schema.accelerator import Hbm
from schema.known_bad import When
from schema.model import Model

if TYPE_CHECKING:
    from schema.known_bad import KnownBad

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = [release.name for release in releases()]
EACH = pytest.mark.parametrize("each", known_bad(), ids=lambda each: each.says[:60])


def met_by(when: When) -> tuple[Deployment, int, int]:
    """A deployment, with its sizes, that meets a report with nothing to spare."""
    npus = (8, 8, 8) if when.scattered else (8, 8) if when.several_nodes or when.pipeline else (8,)
    model = Model("a model", "this test", next(iter(when.architectures), ""), latent=when.latent)
    where = Deployment(
        npus,
        Hbm(65536, 62420),
        super_pod=bool(when.super_pod),
        model=model if when.latent or when.architectures else None,
        release=release_of(f"image:{when.releases[0]}") if when.releases else None,
        expert_parallel=when.expert_parallel,
    )
    return (where, 8, len(npus)) if when.pipeline else (where, sum(npus), 1)


@EACH
def test_a_report_is_told_of_what_it_speaks_of(each: KnownBad) -> None:
    assert each in troubles(*met_by(each.when))


@EACH
def test_every_condition_counts(each: KnownBad) -> None:
    when, (where, tensor, pipeline) = each.when, met_by(each.when)
    others: dict[str, tuple[Deployment, int, int]] = {
        "releases": (where._replace(release=None), tensor, pipeline),
        "super_pod": (where._replace(super_pod=not where.super_pod), tensor, pipeline),
        "expert_parallel": (where._replace(expert_parallel=False), tensor, pipeline),
        "pipeline": (where, where.world, 1),
        "tensor_below": (where._replace(npus=(16, 16)), 16, 2),
        "world_least": (where._replace(npus=(4, 4)), 4, 2),
        "several_nodes": (where._replace(npus=(16,)), tensor, pipeline),
        "scattered": (where._replace(npus=(8, 8)), 8, 2),
        "latent": (where._replace(model=Model("another", "this test")), tensor, pipeline),
        "architectures": (where._replace(model=Model("another", "this test")), tensor, pipeline),
        "without": (where._replace(flags=("seed", *when.without)), tensor, pipeline),
    }
    assert set(others) == set(When._fields)
    for condition, (elsewhere, other_tensor, other_pipeline) in others.items():
        if getattr(when, condition) != getattr(When(), condition):
            assert each not in troubles(elsewhere, other_tensor, other_pipeline), condition


@EACH
def test_a_report_names_what_there_is(each: KnownBad) -> None:
    assert set(each.when.releases) <= set(NAMES)
    assert each.when.releases == tuple(name for name in NAMES if name in each.when.releases)
    for name in each.when.releases:
        release = release_of(f"image:{name}")
        assert release is not None
        for architecture in each.when.architectures:
            assert knows(release, architecture) is not False
    advised = re.findall(r"v\d+\.\d+\.\d+", each.instead)
    assert set(advised) <= set(NAMES) - set(each.when.releases)
    assert each.source.startswith("https://github.com/vllm-project/")
    assert not each.instead.endswith(".")


@pytest.mark.parametrize(
    ("npus", "told"), [((16,), False), ((8, 8), False), ((16, 16), True), ((8, 8, 8), True), ((4, 4, 4), True)]
)
def test_ray_keeps_the_order_of_two_nodes_and_sixteen_npus(npus: tuple[int, ...], told: bool) -> None:  # noqa: FBT001
    where = Deployment(npus, Hbm(65536, 62420), super_pod=False, model=None, release=release_of("image:v0.13.0"))
    assert bool(troubles(where, npus[0], len(npus))) == (told and len(npus) > 1)
    assert not troubles(where, sum(npus), 1)


def test_an_unknown_release_has_no_reports_of_a_release() -> None:
    where = Deployment((8, 8), Hbm(65536, 62420), super_pod=False, model=None, expert_parallel=True)
    assert not troubles(where, 8, 2)


@pytest.mark.parametrize(
    ("tag", "args", "path"),
    [
        ("v0.11.0", {"enable-expert-parallel": True}, "serve.args.enable-expert-parallel"),
        ("v0.11.0rc2", {"enable-expert-parallel": True}, "serve.args.enable-expert-parallel"),
        ("v0.9.2rc1", {"enforce-eager": True}, "serve.parallelism"),
        ("v0.10.1rc1", {}, "serve.args"),
        ("v0.10.1rc1", {"enforce-eager": True}, "image"),
    ],
)
def test_the_warning_is_where_the_spec_is_changed(tag: str, args: dict[str, object], path: str) -> None:
    serve = {"parallelism": "pipeline", "args": {"enable-expert-parallel": None} | args}
    overlay = json.dumps({"image": f"quay.io/ascend/vllm-ascend:{tag}", "serve": serve})
    spec = [Source("spec", (EXAMPLES / "qwen3-235b.yaml").read_bytes()), Source("overlay", overlay.encode())]
    found = [each for each in compile_spec(spec).diagnostics if each.code == "known-bad"]
    assert path in [each.path for each in found]
    assert {each.severity for each in found} == {"warning"}
