"""Makes the one file anew from a cluster in which something is other, and says what became of the line in question."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from compiler.diagnostics import has_errors
from compiler.lower import lower
from compiler.origin_line import change, lines_of
from compiler.render import render_file
from compiler.rules import RULES_FOR, judge
from compiler.said import npus_of
from compiler.subject import subject_of

if TYPE_CHECKING:
    from compiler.origin_line import Change
    from compiler.plan import Plan
    from compiler.subject import Beside, Subject
    from schema.accelerator import Accelerator
    from schema.cluster import Cluster, Node


class Trial:
    """A line of a file, to be looked for in other makes of that file.

    Attributes:
        cluster: What the spec says.
        node: The index of the node that the file is for; None for a file of the whole cluster.
        text: The line.
    """

    def __init__(self, subject: Subject, beside: Beside, plan: Plan, path: str, line: int) -> None:
        folder, _, self._name = path.rpartition("/")
        self.cluster = subject.cluster
        self.node = next((index for index, node in enumerate(plan.nodes) if node.name == folder), None)
        self._beside = cache(beside)
        self._before = self._made(plan)
        self._line = line
        self.text = self._before[line]

    def plan(self, cluster: Cluster, hardware: Accelerator | None = None) -> Plan | None:
        """The plan of another cluster; None when there can be none, since the rules would refuse it."""
        if sum(node.role == "head" for node in cluster.nodes) > 1:
            return None  # `lower` would take the first of them
        subject = subject_of(cluster, self._beside)
        subject = subject._replace(accelerator=hardware or subject.accelerator)
        if subject.accelerator is None or subject.faults:
            return None
        subject = _fitting(subject, subject.accelerator)
        try:
            return lower(subject)
        except Exception:
            if _is_sound(subject):
                raise  # a spec like this would crash: that is ours to mend
            return None

    def is_sound(self, cluster: Cluster) -> bool:
        """Whether the rules find no error in another cluster."""
        return _is_sound(subject_of(cluster, self._beside))

    def change(self, plan: Plan) -> Change | None:
        """What the plan makes of the line, or None when it leaves it as it is."""
        return change(self._before, self._made(plan), self._line)

    def around(self) -> list[str]:
        """The line, and those above it that hold it by their indentation."""
        around = [self.text]
        for line in reversed(self._before[: self._line]):
            if line.strip() and _indent(line) < _indent(around[-1]):
                around.append(line)
        return around

    def _made(self, plan: Plan) -> list[str]:
        """The file as this plan makes it. What the head alone has is looked for where the head is now."""
        folders = ("",) if self.node is None else (f"{plan.nodes[self.node].name}/", f"{plan.head.name}/")
        made = (render_file(plan, folder + self._name) for folder in folders)
        return next(lines_of(file.content) for file in made if file is not None)


def _is_sound(subject: Subject) -> bool:
    return not has_errors(judge(subject, RULES_FOR["render"]))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _fitting(subject: Subject, known: Accelerator) -> Subject:
    """The subject with as many NPU addresses as NPUs: who changes these must change those, or no plan can be made."""
    cluster = subject.cluster
    nodes = [_with_addresses(node, len(npus_of(node, cluster, known))) for node in cluster.nodes]
    return subject._replace(cluster=cluster.but(nodes=nodes))


def _with_addresses(node: Node, count: int) -> Node:
    have = node.npu_addresses
    if not isinstance(have, list) or len(have) == count:
        return node
    last = IPv4Address(have[-1] if have else "10.255.0.0")
    more = [str(last + step) for step in range(1, count - len(have) + 1)]
    return node.but(npu_addresses=[*have, *more][:count])
