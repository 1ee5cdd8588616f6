"""One entry of `nodes` may stand for many: `[02:63]` is expanded as in an Ansible inventory, ends included.

https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html#adding-ranges-of-hosts
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from compiler.diagnostics import Diagnostic, error
from schema.scalar import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.diagnostics import Path
    from schema.scalar import Tree

MAX_NODES = 100_000
_RANGE = re.compile(r"\[(?:(\d{1,9}):(\d{1,9})|([a-z]):([a-z]))(?::(\d{1,9}))?\]", re.ASCII)
_FIELDS = ("name", "address", "interface", "docker", "npu_addresses")


class Expanded(NamedTuple):
    """The nodes that entries stand for, and the index of the entry that each came from."""

    nodes: list[Tree]
    entries: list[int]
    faults: tuple[Diagnostic, ...]


def expand(entries: list[Tree], *, overlay: bool = False) -> Expanded:
    """Every node, in order. An entry whose ranges do not fit together is told and stays REFUSED.

    The nodes of an overlay have their addresses already.
    """
    nodes: list[Tree] = []
    origins: list[int] = []
    faults: list[Diagnostic] = []
    for index, entry in enumerate(entries):
        ranges = _ranges_of(entry, ("nodes", len(nodes)))
        if not ranges:
            made: list[Tree] = [entry]
        elif fault := _misfit(ranges, overlay=overlay) or _too_many(ranges, len(nodes)):
            faults.append(fault)
            made = [REFUSED]
        else:
            made = [_filled(entry, step) for step in range(len(ranges[0].values))]
        nodes.extend(made)
        origins.extend([index] * len(made))
    return Expanded(nodes, origins, tuple(faults))


class _Range(NamedTuple):
    path: Path
    text: str
    values: tuple[str, ...] | range


def _ranges_of(entry: Tree, path: Path) -> list[_Range]:
    found: list[_Range] = []
    if isinstance(entry, dict):
        for field in _FIELDS:
            value = entry.get(field)
            if value is not None and (type(value) is not str or "[" in value):
                _collect(value, (*path, field), found)
    return found


def _collect(value: Tree, path: Path, found: list[_Range]) -> None:
    if isinstance(value, str):
        if "[" in value:
            found.extend(_Range(path, match.group(), _values(match)) for match in _RANGE.finditer(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, (*path, key), found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, (*path, index), found)


def _values(match: re.Match[str]) -> tuple[str, ...] | range:
    """What a range stands for; a range object while it is only counted would do, but text is what is used."""
    return _listed(*match.groups())


@lru_cache(maxsize=256)  # each node of an entry asks for all of them anew
def _listed(
    first: str, last: str, first_letter: str | None, last_letter: str | None, step_text: str | None
) -> tuple[str, ...] | range:
    step = max(1, int(step_text or 1))
    if first_letter and last_letter:
        return tuple(chr(code) for code in range(ord(first_letter), ord(last_letter) + 1, step))
    numbers = range(int(first), int(last) + 1, step)
    if len(numbers) > MAX_NODES:
        return numbers
    width = len(first) if first.startswith("0") else 0
    return tuple(str(number).zfill(width) for number in numbers)


def _misfit(ranges: list[_Range], *, overlay: bool) -> Diagnostic | None:
    names = [each for each in ranges if each.path[2] == "name"]
    first = names[0] if names else ranges[0]
    if not names:
        hint = 'give the name a range too, like "node-[02:63]"'
        return error("range", first.path, f"{first.text} stands for many nodes that would share one name", hint)
    for each in ranges:
        if not each.values:
            return error("range", each.path, f"{each.text} is empty", "the first end must not exceed the last")
        if len(each.values) != len(first.values):
            message = f"{each.text} stands for {len(each.values)} nodes, {first.text} for {len(first.values)}"
            return error("range", each.path, message, "all ranges of one entry run in step")
    if not overlay and len(first.values) > 1 and not any(each.path[2] == "address" for each in ranges):
        hint = 'give the address a range too, like "192.168.10.[12:73]"'
        return error("range", first.path, f"{first.text} stands for many nodes that would share one address", hint)
    return None


def _too_many(ranges: list[_Range], already: int) -> Diagnostic | None:
    if already + len(ranges[0].values) <= MAX_NODES:
        return None
    message = f"{ranges[0].text} makes more than {MAX_NODES} nodes"
    return error("range", ranges[0].path, message, "that is more than this compiler is tested for")


def _filled(entry: Tree, step: int) -> Tree:
    """The entry with each range replaced by its `step`-th value."""

    def fill(match: re.Match[str]) -> str:
        return str(_values(match)[step])

    assert isinstance(entry, dict)  # noqa: S101 - only a mapping has ranges
    return {key: _substitute(value, fill) if key in _FIELDS else value for key, value in entry.items()}


def _substitute(value: Tree, fill: Callable[[re.Match[str]], str]) -> Tree:
    if isinstance(value, str):
        return _RANGE.sub(fill, value) if "[" in value else value
    if isinstance(value, dict):
        return {key: _substitute(item, fill) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, fill) for item in value]
    return value
