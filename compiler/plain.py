"""A file of facts under `schema/` as plain typed values. A wrong shape there is a bug of ours, so it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.packaged import packaged
from compiler.source import Source, parse
from schema.scalar import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.scalar import Tree


def facts_in(path: str) -> Tree:
    """What the YAML file `schema/{path}` holds.

    Raises:
        FileNotFoundError: There is no such file.
    """
    tree, faults = parse(Source(path, packaged("schema", path)))
    if faults:
        raise ValueError(f"schema/{path} is broken: {faults}")
    return tree


def mapping(value: Tree) -> Mapping[str, Tree]:
    """The value, which must be a mapping."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no mapping")
    return value


def listed(value: Tree) -> list[Tree]:
    """The value, which must be a list."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def text(value: Tree) -> str:
    """The value, which must be text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def texts(value: Tree) -> tuple[str, ...]:
    """The value, which must be a list of texts."""
    return tuple(text(each) for each in listed(value))


def whole(value: Tree) -> int:
    """The value, which must be a whole number or a truth."""
    if not isinstance(value, Scalar) or not isinstance(value.value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value.value


def truth(value: Tree) -> bool:
    """The value, which must be true or false."""
    return whole(value) == 1
