"""Words of a line that could be keys of the spec: what the compiler sets by itself may be set there by that name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from compiler.origin_leaf import Leaf, changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compiler.origin_line import Change
    from compiler.origin_trial import Trial
    from schema.cluster import Cluster

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def settable(trial: Trial, leaves: Sequence[Leaf]) -> Iterator[tuple[Leaf, Change]]:
    """Each key that would change the line, told as the entry that it would be."""
    words = list(dict.fromkeys(word for line in trial.around() for word in _WORD.findall(line)))
    mappings = [leaf for leaf in leaves if isinstance(leaf.value, dict) and leaf.examples]
    for leaf in sorted(mappings, key=lambda each: len(each.path)):  # `env` before `defaults.env`
        values = _values(leaf, trial.text)
        keys = [key for key in words if key not in leaf.value and _given(trial, leaf, {key: values[0]})]
        if not keys or not _became(trial, leaf, dict.fromkeys(keys, values[0])):
            continue
        for key in keys:
            if change := next((it for value in values if (it := _soundly(trial, leaf, {key: value}))), None):
                words.remove(key)
                yield _entry(leaf, key), change


def _entry(leaf: Leaf, key: str) -> Leaf:
    """The entry that the key would be; it has no value, since no one writes it."""
    return leaf._replace(path=(*leaf.path, key), value=None, written=False, kind=Any, examples=(), entry=True)


def _values(leaf: Leaf, line: str) -> list[Any]:
    """What a key could say: as in the schema's example; or the line's own number and one, which may have bounds."""
    example = next(iter(leaf.examples[0].values()))
    numbers = re.findall(r"[0-9]{1,15}", line)
    return [example, *(str(int(number) + 1) for number in numbers[-1:] if isinstance(example, str))]


def _soundly(trial: Trial, leaf: Leaf, keys: dict[str, Any]) -> Change | None:
    """What becomes of the line with more keys, if the rules have nothing against them."""
    cluster = _given(trial, leaf, keys)
    return _became(trial, leaf, keys) if cluster and trial.is_sound(cluster) else None


def _became(trial: Trial, leaf: Leaf, keys: dict[str, Any]) -> Change | None:
    cluster = _given(trial, leaf, keys)
    plan = trial.plan(cluster) if cluster else None
    return trial.change(plan) if plan else None


def _given(trial: Trial, leaf: Leaf, keys: dict[str, Any]) -> Cluster | None:
    """The cluster with more keys in a mapping, or None when they can be none there."""
    try:
        given: Cluster = changed(trial.cluster, leaf.path, {**leaf.value, **keys})
    except ValueError:
        return None
    return given
