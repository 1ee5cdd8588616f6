"""Reads the facts of hardware: one accelerator is one file in `schema/accelerators/`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from compiler.packaged import packaged_names
from compiler.plain import facts_in, listed, mapping, text, texts, truth, whole
from schema.accelerator import Accelerator, Hbm, Network, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.scalar import Tree

_FOLDER = "accelerators"


@cache
def accelerator(name: str) -> Accelerator | Refused | None:
    """The accelerator of this name, or None when there is no such file."""
    if name not in accelerator_names():
        return None
    tree = mapping(facts_in(f"{_FOLDER}/{name}.yaml"))
    return _refused(tree) if "refused" in tree else _accelerator(tree)


@cache
def accelerator_names() -> tuple[str, ...]:
    """What a spec may call an accelerator, sorted."""
    names = packaged_names("schema", _FOLDER)
    return tuple(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _accelerator(tree: Mapping[str, Tree]) -> Accelerator:
    network, devices = mapping(tree["network"]), mapping(tree["devices"])
    return Accelerator(
        name=text(tree["name"]),
        title=text(tree["title"]),
        npus=whole(tree["npus"]),
        image_suffix=text(tree["image_suffix"]),
        device=text(devices["each"]),
        management_devices=texts(devices["shared"]),
        mounts=tuple(_mount(each) for each in listed(tree["mounts"])),
        network=Network(
            address_query=texts(network["address_query"]),
            address_key=text(network["address_key"]),
            ping=texts(network["ping"]),
        ),
        hbm=tuple(_hbm(mapping(each)) for each in listed(tree["hbm"])),
        super_pod=truth(tree["super_pod"]),
        sources=texts(tree["sources"]),
    )


def _hbm(tree: Mapping[str, Tree]) -> Hbm:
    return Hbm(whole(tree["total_mib"]), whole(tree["usable_mib"]))


def _refused(tree: Mapping[str, Tree]) -> Refused:
    refused = mapping(tree["refused"])
    return Refused(text(tree["name"]), text(tree["title"]), text(refused["reason"]), texts(refused["sources"]))


def _mount(value: Tree) -> tuple[str, str]:
    if isinstance(value, str):
        return value, value
    both = mapping(value)
    return text(both["source"]), text(both["target"])
