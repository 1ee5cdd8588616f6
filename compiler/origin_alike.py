"""One field of many nodes: whether a line depends on it, and on whose, without a look at each."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.origin_leaf import GONE
from compiler.origin_other import other_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from compiler.origin_leaf import Leaf
    from compiler.origin_line import Change
    from compiler.origin_trial import Trial
    from schema.cluster import Cluster, Node


class Found(NamedTuple):
    """A node whose field counts.

    Attributes:
        node: Its index.
        value: The other value that its field was given.
        change: What became of the line.
        others: Whether the field of other nodes counts too.
    """

    node: int
    value: Any
    change: Change
    others: bool


class Alike:
    """The same field of several nodes.

    Attributes:
        tried: Whether a plan could be made with other values; None when there are none.
    """

    def __init__(self, trial: Trial, leaves: Mapping[int, Leaf], taken: AbstractSet[str], *, with_gone: bool) -> None:
        self.tried: bool | None = None
        self._trial = trial
        self._leaves = leaves
        self._taken = taken
        self._with_gone = with_gone

    def found(self) -> Found | None:
        """The first node whose field counts."""
        for values, nodes, change in self._changes():
            index = self._first(nodes)
            others = {other: node for other, node in nodes.items() if other != index}
            return Found(index, values[index], change, others=self._change(others) is not None)
        return None

    def together(self) -> Found | None:
        """The node that the file is for, if all of them count together."""
        for values, nodes, change in self._changes():
            own = self._trial.node
            index = own if own is not None and own in nodes else min(nodes)
            return Found(index, values[index], change, others=len(nodes) > 1)
        return None

    def _changes(self) -> Iterator[tuple[dict[int, Any], dict[int, Node], Change]]:
        """The rounds of other values that change the line."""
        for values, nodes in self._rounds():
            self.tried = self.tried or False
            if change := self._change(nodes):
                yield values, nodes, change

    def _rounds(self) -> Iterator[tuple[dict[int, Any], dict[int, Node]]]:
        """The first other value of each node's field, and the nodes that have it; then the second, and so on."""
        others = []
        for index, leaf in self._leaves.items():
            node = self._trial.cluster.nodes[index]
            own = other_values(leaf._replace(path=leaf.path[2:]), node, self._taken)
            others.append([(index, *each) for each in own if each[0] is not GONE or self._with_gone])
        for several in zip_longest(*others):
            made = [each for each in several if each is not None]
            yield {index: value for index, value, _ in made}, {index: node for index, _, node in made}

    def _with(self, nodes: Mapping[int, Node]) -> Cluster:
        cluster = self._trial.cluster
        have = [nodes.get(index, node) for index, node in enumerate(cluster.nodes)]
        return cluster.but(nodes=have)

    def _change(self, nodes: Mapping[int, Node]) -> Change | None:
        """What becomes of the line; of what not all may say at once, as that they are the head, one says it."""
        plan = self._trial.plan(self._with(nodes)) if nodes else None
        if plan is None and len(nodes) > 1:
            return self._change({min(nodes): nodes[min(nodes)]})
        self.tried = self.tried or plan is not None
        return self._trial.change(plan) if plan else None

    def _first(self, nodes: Mapping[int, Node]) -> int:
        """One of the nodes that count: it is in the half that does."""
        some = sorted(nodes)
        while len(some) > 1:
            half = some[: len(some) // 2]
            some = half if self._change({index: nodes[index] for index in half}) else some[len(half) :]
        return some[0]
