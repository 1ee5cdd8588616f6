"""What one release of vllm-ascend is made of: each entry of `releases.yaml` is one of these."""

from __future__ import annotations

from typing import NamedTuple


class Release(NamedTuple):
    """A release of vllm-ascend, as its image tag names it.

    Attributes:
        name: The tag without its hardware and system suffixes: `v0.11.0`.
        vllm: The release of vLLM in it: `0.11.0`. Not always of the same number: v0.14.0rc1 has 0.14.1.
        python: The Python versions that it runs on, as pip writes them: `>=3.9,<3.12`.
        cann: The release of CANN in it: `8.3.RC2`.
        ray_least: The least release of Ray that its image installs: `2.47.1`.
        ray_most: The most, or empty without a bound.
    """

    name: str
    vllm: str
    python: str
    cann: str
    ray_least: str
    ray_most: str
