"""Finds the leaves of a cluster that a line depends on: each gets other values, and the line is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.origin_alike import Alike
from compiler.origin_leaf import GONE, Leaf, leaves
from compiler.origin_line import is_key_in, stands_in
from compiler.origin_other import other_hardware, other_values, texts
from compiler.said import head_index
from schema.cluster import NodeFields
from schema.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from compiler.diagnostics import Path
    from compiler.origin_line import Change
    from compiler.origin_trial import Trial
    from schema.accelerator import Accelerator
    from schema.cluster import Cluster


class Hit(NamedTuple):
    """A leaf that the line depends on.

    Attributes:
        leaf: The field or entry.
        direct: Its value, or its key, is to be seen in the line.
        alike: The same field of other nodes counts too.
        breadth: How many lines of the file change with it.
    """

    leaf: Leaf
    direct: bool
    alike: bool
    breadth: int


class Search:
    """Looks at every leaf of the trial's cluster once.

    The leaves of the nodes that the line may be about are looked at one by one. Those of all others are first changed
    together: of thousands of nodes, most have no part in a line.

    Attributes:
        leaves: All of them, by path.
        near: Those that are looked at one by one.
        hits: Those that count.
        untried: Those that no plan can be made with another value of, so that nothing is known of them.
    """

    def __init__(self, trial: Trial) -> None:
        self.leaves = {leaf.path: leaf for leaf in leaves(trial.cluster)}
        self.near: list[Leaf] = []
        self.hits: list[Hit] = []
        self.untried: list[Path] = []
        self._trial = trial
        self._taken = texts(self.leaves.values())
        self._far: dict[Path, dict[int, Leaf]] = {}
        self._divide()
        for leaf in reversed(self.near):  # what is inside goes first, and speaks for what holds it
            self._look_at(leaf)
        for same in reversed(self._far.values()):
            self._look_at_all(same)
        self._look_together()

    def _divide(self) -> None:
        """Tells what is looked at by itself from what other nodes have in common, by its path in the node."""
        close = self._close()
        for leaf in self.leaves.values():
            index, inside = _in_node(leaf.path)
            if index is None:
                self.near.append(leaf)
            elif inside and index in close and (leaf.written or inside[0] not in NodeFields.fields):
                self.near.append(leaf)  # what a node does not write stands in `defaults`, and is looked at there
            elif inside and index not in close and leaf.written:
                self._far.setdefault(inside, {})[index] = leaf

    def _close(self) -> set[int]:
        """The nodes that the line may be about: that of the file, the head, and those that are seen in it."""
        cluster, text = self._trial.cluster, self._trial.text
        seen = (stands_in(node.name, text) or stands_in(node.address, text) for node in cluster.nodes)
        own = () if self._trial.node is None else (self._trial.node,)
        return {head_index(cluster), *own, *(index for index, is_seen in enumerate(seen) if is_seen)}

    def _look_at(self, leaf: Leaf) -> None:
        tried = None
        for value, cluster, hardware in self._others(leaf):
            plan = self._trial.plan(cluster, hardware)
            tried = tried or plan is not None
            if plan is not None and (change := self._trial.change(plan)):
                self._take(leaf, value, change, alike=False)
                return
        if tried is False:
            self.untried.append(leaf.path)

    def _others(self, leaf: Leaf) -> Iterator[tuple[Any, Cluster, Accelerator | None]]:
        """Other values of a leaf, and the cluster and the hardware that have them."""
        cluster, spoken_for = self._trial.cluster, self._is_spoken_for(leaf)
        if leaf.path == ("accelerator",):
            yield from other_hardware(cluster)
        elif not (spoken_for and isinstance(leaf.value, Record)):
            for value, other in other_values(leaf, cluster, self._taken):
                if value is not GONE or not spoken_for:
                    yield value, other, None

    def _is_spoken_for(self, leaf: Leaf) -> bool:
        """Whether something inside of it was found: that the whole counts goes without saying then."""
        return any(hit.leaf.path[: len(leaf.path)] == leaf.path for hit in self.hits)

    def _look_at_all(self, same: Mapping[int, Leaf], *, together: bool = False) -> bool:
        """Looks at one field of many nodes; says whether it could be given another value."""
        spoken_for = any(self._is_spoken_for(leaf) for leaf in same.values())
        alike = Alike(self._trial, same, self._taken, with_gone=not spoken_for)
        if found := alike.together() if together else alike.found():
            self._take(same[found.node], found.value, found.change, alike=found.others)
        if alike.tried is False and not together:
            self.untried += [leaf.path for leaf in same.values()]
        return alike.tried is True

    def _look_together(self) -> None:
        """What one node cannot change alone, as the number of its NPUs, is changed on all that say it."""
        for inside in dict.fromkeys(_in_node(path)[1] for path in self.untried):
            paths = {index: ("nodes", index, *inside) for index in range(len(self._trial.cluster.nodes)) if inside}
            leaves_there = {index: self.leaves[path] for index, path in paths.items() if path in self.leaves}
            written = {index: leaf for index, leaf in leaves_there.items() if leaf.written}
            if written and self._look_at_all(written, together=True):
                self.untried = [path for path in self.untried if _in_node(path)[1] != inside]

    def _take(self, leaf: Leaf, value: Any, change: Change, *, alike: bool) -> None:
        text = self._trial.text
        plain = isinstance(value, bool | int | float | str)
        seen = stands_in(leaf.value, text) and (not plain or any(stands_in(value, after) for after in change.after))
        seen = seen or (leaf.entry and is_key_in(leaf.path[-1], text))
        while leaf.entry and not leaf.written:
            leaf = self.leaves[leaf.path[:-1]]  # no one writes one entry of a default
        self.hits.append(Hit(leaf, seen, alike, change.breadth))


def _in_node(path: Path) -> tuple[int | None, Path]:
    """The index of the node that a path leads to, and the path inside of the node."""
    if len(path) > 1 and path[0] == "nodes" and isinstance(path[1], int):
        return path[1], path[2:]
    return None, ()
