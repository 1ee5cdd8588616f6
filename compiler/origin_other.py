"""Other values that a leaf could have: valid ones that stand nowhere else, so that their traces are theirs."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any

from compiler.facts import accelerator, accelerator_names
from compiler.origin_leaf import GONE, changed, choices
from schema.accelerator import Accelerator
from schema.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from compiler.origin_leaf import Leaf
    from schema.cluster import Cluster

_LAST_NUMBER = re.compile(r"[0-9]{1,15}(?=[^0-9]*$)")
# So many more nodes cross each bound that is set on their number, as that of who pings whom.
_MANY = 40
# So far is a number in a list from all others: 0 to 7 are each other's neighbours.
_FAR = 1000


def texts(leaves: Iterable[Leaf]) -> set[str]:
    """Every text of a cluster: what another value must not be."""
    return {leaf.value for leaf in leaves if isinstance(leaf.value, str)}


def other_values(leaf: Leaf, model: Record, taken: AbstractSet[str]) -> Iterator[tuple[Any, Any]]:
    """Each other value of a leaf of a model, and the model that has it; every one of them is valid."""
    for candidates in _candidates(leaf, taken):
        for candidate in candidates:
            if candidate == leaf.value:
                continue
            try:
                yield candidate, changed(model, leaf.path, candidate)
                break
            except ValueError:  # the schema refuses it: the next one
                continue


def _candidates(leaf: Leaf, taken: AbstractSet[str]) -> Iterator[list[Any]]:
    """Lists of which the first valid one counts, the most telling list first."""
    value, words = leaf.value, [word for word in choices(leaf.kind) if word != leaf.value]
    if words:
        yield from ([word] for word in words)
    elif isinstance(value, list):
        yield from ([[*value, *more], [*value, more[0]]] for more in [_more(leaf, taken)] if more)
    elif isinstance(value, dict):
        yield from ([{**value, **more}] for more in [_one_more(leaf)])
    elif value is not None and not isinstance(value, Record):
        yield from _other_plain(value, taken, in_list=leaf.entry and isinstance(leaf.path[-1], int))
    for example in leaf.examples:
        if _form(example) is not _form(value):
            yield [example]
            yield [moved(example, taken)]
        elif len(leaf.examples) > 1:  # the schema shows its kinds, as a hub id and a path
            yield [example]
    if leaf.optional and leaf.written:
        yield [GONE]


def _form(value: Any) -> type:
    return next(
        (form for form in (list, dict, str) if isinstance(value, form)), dict if isinstance(value, Record) else object
    )


def _other_plain(value: Any, taken: AbstractSet[str], *, in_list: bool) -> Iterator[list[Any]]:
    if isinstance(value, bool):
        yield [not value]
    elif isinstance(value, int):
        yield [*([value + _FAR] if in_list else []), value + 1, value - 1]
        yield [1]  # what counts only when it is small, as the layers of a model
    elif isinstance(value, float):
        yield [round(value + 0.01, 9)]
    else:
        yield list(_other_texts(value, taken))


def _other_texts(text: str, taken: AbstractSet[str]) -> Iterator[str]:
    """The text with another number in it, else a longer one."""
    for step in (1, len(taken) + 1):
        yield from (other for other in _stepped(text, step) if other not in taken)
    yield from (text + end for end in ("x", "xx", "1") if text + end not in taken)


def _stepped(text: str, step: int) -> Iterator[str]:
    try:
        yield str(IPv4Address(text) + step)
    except AddressValueError:
        if number := _LAST_NUMBER.search(text):
            after = str(int(number.group()) + step).zfill(len(number.group()))
            yield text[: number.start()] + after + text[number.end() :]


def moved(value: Any, taken: AbstractSet[str]) -> Any:
    """A plain value with everything in it changed."""
    if isinstance(value, dict):
        return {key: moved(item, taken) for key, item in value.items()}
    if isinstance(value, list):
        return [item + _FAR if type(item) is int else moved(item, taken) for item in value]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else next(_other_texts(value, taken))


def _more(leaf: Leaf, taken: AbstractSet[str]) -> list[Any]:
    """Entries for the end of a list, like those that it has, or those of the schema's example."""
    have = leaf.value or (leaf.examples[0] if leaf.examples else [])
    return [_another(have[-1], len(taken) + count, taken) for count in range(1, _MANY + 1)] if have else []


def _another(item: Any, step: int, taken: AbstractSet[str]) -> Any:
    """An entry that differs from the item in what makes it another one: its text, or the fields that it must have."""
    if isinstance(item, int):
        return item + step
    if isinstance(item, str):
        return next(_stepped(item, step), item + "x" * step)
    if not isinstance(item, Record):
        return moved(item, taken)
    written = {name: getattr(item, name) for name in item.written}
    must = {name for name, field in item.fields.items() if field.is_required}
    return {name: _another(value, step, taken) if name in must else value for name, value in written.items()}


def _one_more(leaf: Leaf) -> dict[str, Any]:
    """An entry for a mapping, with a key that neither it nor the compiler has."""
    have = leaf.value or (leaf.examples[0] if leaf.examples else {"other": "x"})
    key, value = next(iter(have.items()))
    key += "x"
    while key in leaf.value:
        key += "x"
    return {key: value}


def other_hardware(cluster: Cluster) -> Iterator[tuple[Any, Cluster, Accelerator | None]]:
    """The other accelerators that are known; and one whose every word is another than in the file of this one."""
    for name in accelerator_names():
        if isinstance(accelerator(name), Accelerator) and name != cluster.accelerator:
            yield name, changed(cluster, ("accelerator",), name), None
    own = accelerator(cluster.accelerator)
    if isinstance(own, Accelerator):
        yield GONE, cluster, _unlike(own)


def _unlike(fact: Any) -> Any:
    if isinstance(fact, bool):
        return not fact
    if isinstance(fact, str):
        return fact + "x"
    if isinstance(fact, tuple):
        parts = [_unlike(part) for part in fact]
        return type(fact)(*parts) if hasattr(fact, "_fields") else tuple(parts)
    return fact
