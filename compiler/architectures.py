"""Which model architectures a release knows, and which can be a pipeline: `schema/architectures.json`.

`tests/rig/vllm_models.py` makes that file of vLLM's and vllm-ascend's own sources.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from compiler.packaged import packaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.release import Release

_PIPELINE, _UNKNOWN = "p", "-"


class _Known(NamedTuple):
    """Behind each name of vLLM's one letter for each of its releases; and what vllm-ascend registers itself."""

    releases: tuple[str, ...]
    vllm: Mapping[str, str]
    vllm_ascend: Mapping[str, Mapping[str, str]]


def knows(release: Release, architecture: str) -> bool | None:
    """True when vLLM itself lists this architecture in the release; None when that is not known here.

    One that it does not list may still run, through the Transformers library.
    """
    letter = _letter(release, architecture)
    return None if letter is None else letter != _UNKNOWN


def supports_pipeline(release: Release, architecture: str) -> bool | None:
    """True when the architecture can be a pipeline in this release; None when that is not known here."""
    letter = _letter(release, architecture)
    return None if letter in (None, _UNKNOWN) else letter == _PIPELINE


def first_with(architecture: str) -> str:
    """The first release of vLLM that lists it; empty when none known here does."""
    known = _known()
    row = known.vllm.get(architecture, "")
    return next((release for release, letter in zip(known.releases, row, strict=False) if letter != _UNKNOWN), "")


def _letter(release: Release, architecture: str) -> str | None:
    known = _known()
    own = known.vllm_ascend.get(release.name, {}).get(architecture)
    if own is not None:  # it takes the place of vLLM's
        return own
    if release.vllm not in known.releases:
        return None
    row = known.vllm.get(architecture)
    return row[known.releases.index(release.vllm)] if row else _UNKNOWN


@cache
def _known() -> _Known:
    content = json.loads(packaged("schema", "architectures.json"))
    return _Known(tuple(content["releases"]), content["vllm"], content["vllm_ascend"])
