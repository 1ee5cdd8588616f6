"""A decision as people read it before they say yes, and as programs do."""

from __future__ import annotations

import json
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from compiler.clean import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compiler.decide import Decision, Fault, NodeDecision, Reason
    from compiler.plan import Plan

FORMAT_VERSION = 1
_SIGN = {
    "create": "+",
    "start": "+",
    "replace": "~",
    "restart": "~",
    "remove": "-",
    "stop": "-",
    "leave": "=",
    "unknown": "?",
}
_COLOUR = {"+": "\x1b[32m", "~": "\x1b[33m", "-": "\x1b[31m", "=": "\x1b[2m", "!": "\x1b[1;31m", "?": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_SHOWN = 12  # reasons or nodes that are spelled out
_VALUE = 80  # characters of a value that are shown
_BEFORE = 20  # of them, before the place where two long values begin to differ


def as_text(plan: Plan, decision: Decision, *, colour: bool) -> str:
    """Each node with what is to be done and why, the service, and what that means."""
    lines = [f"{plan.name}: {plan.parallelism.text} on {plan.size_text}", ""]
    for _, alike in groupby(decision.nodes, key=lambda each: (each.verb, each.by_hand, _told(each.reasons))):
        group = list(alike)
        lines += _group(group)
    lines += _entry("service", decision.service.verb, decision.service.reasons)
    for node, found in decision.leftover.items():
        names = _names([each.name for each in found])
        lines.append(f"  - {_line(node)}  remove {names}, left by an apply that was cut off")
    # Where nothing is made none is needed; but on the head, where the lock is made of it.
    pulled = [name for name in decision.missing if name == plan.head.name or decision.of(name).changes]
    if pulled and decision.changes:
        lines.append(f"  ! {_names(pulled)}  {plan.container.image} is not there yet: apply pulls it")
    lines += ["", *_consequences(plan, decision)]
    lines += _faults("in the way", decision.faults)
    lines += _faults("warning", decision.warnings)
    return "".join(_coloured(line, colour=colour) + "\n" for line in lines)


def _group(group: Sequence[NodeDecision]) -> Iterator[str]:
    first = group[0]
    names = _names([each.node for each in group])
    if len(group) > _SHOWN:
        names = _line(f"{group[0].node} to {group[-1].node} ({len(group)} nodes)")
    note = "changed by hand since it was made" if first.by_hand else ""
    yield from _entry(names, first.verb, first.reasons, note)


def _entry(name: str, verb: str, reasons: Sequence[Reason], note: str = "") -> Iterator[str]:
    word = verb if verb != "leave" else "left as it is" if reasons else "as planned"
    yield f"  {_SIGN[verb]} {name}  {word}" + (f": {note}" if note else "")
    for text in _told(reasons)[:_SHOWN]:
        yield f"      {text}"
    if len(reasons) > _SHOWN:
        yield f"      and {len(reasons) - _SHOWN} more"


def _told(reasons: Sequence[Reason]) -> tuple[str, ...]:
    return tuple(map(reason_text, reasons))


def reason_text(reason: Reason) -> str:
    """What differs, with what is there and what is planned."""
    what, old, new = _line(reason.what), reason.old, reason.new
    if old is None and new is None:
        return what
    if reason.hidden:
        how = "new" if old is None else "gone" if new is None else "changed"
        return f"{what}: {how} (hidden)"
    if "\n" in f"{old}{new}":
        return f"{what}: another text"
    begin = _differ_at(old, new) if old is not None and new is not None else 0
    return f"{what}: {_shown(old, begin)} -> {_shown(new, begin)}"


def _differ_at(old: str, new: str) -> int:
    """Where to begin to show two values, so that it is seen what differs."""
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    return max(0, alike - _BEFORE) if max(len(old), len(new)) > _VALUE else 0


def _shown(value: str | None, begin: int) -> str:
    """A value, or its part from `begin` on; in quotes when it holds what would not be seen."""
    if value is None:
        return "(none)"
    part = value[begin : begin + _VALUE]
    shown = part if part.isprintable() and part == part.strip() and part else json.dumps(part)
    return ("..." if begin else "") + shown + ("..." if len(value) > begin + _VALUE else "")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return _line(", ".join(names[:_SHOWN]) + more)


def _line(text: str) -> str:
    return one_line(text, 2000)


def _consequences(plan: Plan, decision: Decision) -> Iterator[str]:
    if decision.faults:
        yield "Nothing is done as long as something is in the way."
    elif not decision.changes:
        yield "Nothing to do."
    else:
        changed = decision.to("create", "replace")
        replaced = decision.to("replace")
        if replaced:
            where = "all nodes" if len(changed) == len(plan.nodes) else _names([each.node for each in changed])
            yield f"Ray restarts on {where}."
        running = decision.service.verb in ("restart", "stop")
        if running:
            yield "The service is down meanwhile." if decision.service.verb == "restart" else "The service ends."
        counts = [(sum(each.verb == verb for each in decision.nodes), verb) for verb in ("create", "replace", "remove")]
        left = sum(map(len, decision.leftover.values()))
        told = [f"{count} to {verb}" for count, verb in (*counts, (left, "clear away")) if count]
        yield f"{', '.join(told) or 'No container changes'}; service: {decision.service.verb}."


def _faults(label: str, faults: Sequence[Fault]) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        alike.setdefault((fault.text, fault.to_do), []).append(fault.node)
    for (text, to_do), nodes in alike.items():
        where = f"{_names(nodes)}: " if any(nodes) else ""
        yield f"  ! {label}: {_line(where + text)}"
        yield f"      = hint: {_line(to_do)}"


def _coloured(line: str, *, colour: bool) -> str:
    sign = line[2:3] if line.startswith("  ") else ""
    return f"{_COLOUR[sign]}{line}{_PLAIN}" if colour and sign in _COLOUR else line


def as_json(plan: Plan, decision: Decision) -> str:
    """One JSON document."""
    document = {
        "format_version": FORMAT_VERSION,
        "cluster": plan.name,
        "changes": decision.changes,
        "nodes": [
            {"name": each.node, "verb": each.verb, "by_hand": each.by_hand, "reasons": _reasons(each.reasons)}
            for each in decision.nodes
        ],
        "service": {"verb": decision.service.verb, "reasons": _reasons(decision.service.reasons)},
        "missing_images": list(decision.missing),
        "leftover": {node: [each.name for each in found] for node, found in decision.leftover.items()},
        "faults": [each._asdict() for each in decision.faults],
        "warnings": [each._asdict() for each in decision.warnings],
    }
    return json.dumps(document, indent=2) + "\n"


def _reasons(reasons: Sequence[Reason]) -> list[dict[str, object]]:
    return [
        {
            "what": each.what,
            "old": None if each.hidden else each.old,
            "new": None if each.hidden else each.new,
            "hidden": each.hidden,
        }
        for each in reasons
    ]
