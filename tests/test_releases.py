"""Which release of vllm-ascend an image's tag names, and what the table says of it."""

from __future__ import annotations

import re

import pytest

from compiler.releases import release_of, releases


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("quay.io/ascend/vllm-ascend:v0.11.0", "v0.11.0"),
        ("quay.io/ascend/vllm-ascend:v0.11.0-openeuler", "v0.11.0"),
        ("quay.io/ascend/vllm-ascend:v0.23.0-a3-openeuler", "v0.23.0"),
        ("quay.io/ascend/vllm-ascend:v0.23.0.post1-950dt", "v0.23.0.post1"),
        ("quay.io/ascend/vllm-ascend:v0.13.0rc3-310p", "v0.13.0rc3"),
        ("registry.example:5000/mirror/any-name:v0.14.0rc1-ubuntu22.04-arm64", "v0.14.0rc1"),
        ("vllm-ascend:v0.11.0@sha256:" + "0" * 64, "v0.11.0"),
        ("quay.io/ascend/vllm-ascend@sha256:" + "0" * 64, None),
        ("registry.example:5000/vllm-ascend", None),
        ("registry.example:5000/v0.11.0", None),
        ("quay.io/ascend/vllm-ascend:main", None),
        ("quay.io/ascend/vllm-ascend:latest", None),
        ("quay.io/ascend/vllm-ascend:nightly-releases-v0.18.0-a3", None),
        ("quay.io/ascend/vllm-ascend:v0.11.0-ours", None),
        ("quay.io/ascend/vllm-ascend:v0.11.00", None),
        ("quay.io/ascend/vllm-ascend:v0.11", None),
        ("quay.io/ascend/vllm-ascend:0.11.0", None),
        ("quay.io/ascend/vllm-ascend:v0.11.0\n", None),
    ],
)
def test_the_tag_alone_names_the_release(image: str, name: str | None) -> None:
    found = release_of(image)
    assert (found and found.name) == name


def test_a_release_may_hold_a_vllm_of_another_number() -> None:
    held = {each.name: each.vllm for each in releases()}
    assert held["v0.14.0rc1"] == "0.14.1"
    assert held["v0.11.0rc0"] == "0.11.0rc3"
    assert held["v0.10.1rc1"] == "0.10.1.1"
    assert held["v0.23.0.post1"] == "0.23.0"


def test_every_row_is_well_formed() -> None:
    assert len({each.name for each in releases()}) == len(releases())
    version = r"[0-9]+(\.[0-9]+)+"
    for each in releases():
        assert re.fullmatch(rf"v{version}(rc[0-9]+)?(\.post[0-9]+)?", each.name)
        assert re.fullmatch(rf"{version}(rc[0-9]+)?", each.vllm)
        assert re.fullmatch(r">=3\.(9|10),<3\.1[23]", each.python)
        assert re.fullmatch(r"[89]\.[0-9]\.([0-9]|RC[0-9])", each.cann)
        assert re.fullmatch(rf"({version})?", each.ray_least)
        assert re.fullmatch(rf"({version})?", each.ray_most)


def test_ray_is_bounded_since_its_newer_releases_count_npus_wrong() -> None:
    unbound = {each.name for each in releases() if not each.ray_most}
    assert {"v0.9.1", "v0.10.2rc1", "v0.11.0rc0", "v0.11.0rc2"} <= unbound
    assert not unbound & {"v0.11.0rc3", "v0.11.0", "v0.13.0", "v0.23.0"}
