"""Finds the release of vllm-ascend that an image's tag names: each entry of `schema/releases.yaml` is one."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from compiler.plain import facts_in, listed, mapping, text
from schema.release import Release

if TYPE_CHECKING:
    from collections.abc import Mapping

# The published tags are a release, then the hardware, then the system:
# https://github.com/vllm-project/vllm-ascend/blob/v0.23.0/docs/source/installation.md#set-up-using-docker
# `-a5` is what the build calls `-950dt`; processors, and systems with a version, are in the tags of mirrors.
_TAG = re.compile(
    r"(?P<release>v[0-9]+\.[0-9]+\.[0-9]+(?:rc[0-9]+)?(?:\.post[0-9]+)?)"
    r"(?:-(?:a3|a5|310p|950dt|(?:openeuler|ubuntu)[0-9.]*|arm64|aarch64|amd64|x86_64))*",
    re.ASCII,
)


def tag_of(image: str) -> str:
    """The tag of an image reference, with or without a digest behind it; empty when there is none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def release_of(image: str) -> Release | None:
    """The release in this image, by its tag alone, or None when the tag names none that is known here."""
    named = _TAG.fullmatch(tag_of(image))
    return _by_name().get(named["release"]) if named else None


def releases() -> tuple[Release, ...]:
    """Every release known here, the oldest line of them first."""
    return tuple(_by_name().values())


@cache
def _by_name() -> Mapping[str, Release]:
    rows = (mapping(row) for row in listed(facts_in("releases.yaml")))
    made = (Release(*(text(row[field]) for field in Release._fields)) for row in rows)
    return {release.name: release for release in made}


def at_least(vllm: str, least: str) -> bool:
    """True when a release of vLLM is this one or a later one; its candidates count as the release."""
    return _numbers(vllm) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version.partition("rc")[0]))
