"""Reads the facts that are data: one accelerator is one file in `schema/accelerators/`; what is known to fail."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from compiler.packaged import packaged
from compiler.source import Source, parse
from schema.accelerator import Accelerator, Network, Refused
from schema.known_bad import KnownBad
from schema.scalar import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.scalar import Tree

_FOLDER = "accelerators"


@cache
def accelerator(name: str) -> Accelerator | Refused | None:
    """The accelerator of this name, or None when there is no such file."""
    if not name.replace("-", "").isalnum():
        return None
    try:
        content = packaged("schema", f"{_FOLDER}/{name}.yaml")
    except FileNotFoundError:
        return None
    tree, faults = parse(Source(f"{name}.yaml", content))
    if faults or not isinstance(tree, dict):
        raise ValueError(f"schema/{_FOLDER}/{name}.yaml is broken: {faults}")
    return _refused(tree) if "refused" in tree else _accelerator(tree)


def accelerator_names() -> tuple[str, ...]:
    """What a spec may call an accelerator, sorted."""
    from importlib.resources import files  # noqa: PLC0415 - only a fault needs the list

    names = (file.name for file in files("schema").joinpath(_FOLDER).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def known_bad() -> tuple[KnownBad, ...]:
    """Every combination that is known to fail."""
    tree, faults = parse(Source("known_bad.yaml", packaged("schema", "known_bad.yaml")))
    if faults:
        raise ValueError(f"schema/known_bad.yaml is broken: {faults}")
    return tuple(_bad(_mapping(each)) for each in _list(tree))


def _bad(tree: Mapping[str, Tree]) -> KnownBad:
    when = _mapping(tree["when"])

    def holds(condition: str) -> bool:
        return condition in when and _truth(when[condition])

    return KnownBad(
        releases=_texts(when.get("releases", [])),
        expert_parallel=holds("expert_parallel"),
        pipeline=holds("pipeline"),
        several_nodes=holds("several_nodes"),
        says=_text(tree["says"]),
        instead=_text(tree["instead"]),
        source=_text(tree["source"]),
    )


def _accelerator(tree: Mapping[str, Tree]) -> Accelerator:
    network, devices = _mapping(tree["network"]), _mapping(tree["devices"])
    return Accelerator(
        name=_text(tree["name"]),
        title=_text(tree["title"]),
        npus=_whole(tree["npus"]),
        image_suffix=_text(tree["image_suffix"]),
        device=_text(devices["each"]),
        management_devices=_texts(devices["shared"]),
        mounts=tuple(_mount(each) for each in _list(tree["mounts"])),
        network=Network(
            address_query=_texts(network["address_query"]),
            address_key=_text(network["address_key"]),
            ping=_texts(network["ping"]),
        ),
        super_pod=_truth(tree["super_pod"]),
        sources=_texts(tree["sources"]),
    )


def _refused(tree: Mapping[str, Tree]) -> Refused:
    refused = _mapping(tree["refused"])
    return Refused(_text(tree["name"]), _text(tree["title"]), _text(refused["reason"]), _texts(refused["sources"]))


def _mount(value: Tree) -> tuple[str, str]:
    if isinstance(value, str):
        return value, value
    both = _mapping(value)
    return _text(both["source"]), _text(both["target"])


def _mapping(value: Tree) -> Mapping[str, Tree]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no mapping")
    return value


def _list(value: Tree) -> list[Tree]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _text(value: Tree) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: Tree) -> tuple[str, ...]:
    return tuple(_text(each) for each in _list(value))


def _whole(value: Tree) -> int:
    if not isinstance(value, Scalar) or not isinstance(value.value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value.value


def _truth(value: Tree) -> bool:
    return _whole(value) == 1
