"""What a verification found, as people and programs read it: nodes against checks, failures first."""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from compiler.answer import STATUSES
from compiler.judge import Verdict, gathered, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from compiler.answer import Answer
    from compiler.plan import Plan

FORMAT_VERSION = 1
UNASKED = "?"
_LETTER = {"ok": ".", "warn": "w", "FAIL": "F", "skip": "-", UNASKED: "?"}
_COLOUR = {"ok": "\x1b[32m", "warn": "\x1b[33m", "FAIL": "\x1b[1;31m", "skip": "\x1b[2m", UNASKED: "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_SHOWN = 8  # ids or nodes that one entry spells out


class Board(NamedTuple):
    """All that was found.

    Attributes:
        plan: The cluster.
        answers: What each node said, in the order of the plan.
        own: What each node's own checks found.
        across: What comparing them found.
    """

    plan: Plan
    answers: tuple[Answer, ...]
    own: tuple[Verdict, ...]
    across: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """True when every node was asked and nothing failed."""
        verdicts = (*self.own, *self.across)
        return not any(each.fault for each in self.answers) and all(each.check.status != "FAIL" for each in verdicts)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed, each once."""
        verdicts = (*self.across, *self.own)
        names = (each.check.name for each in verdicts if each.check.status == "FAIL" and each.check.name != "time")
        return tuple(dict.fromkeys(names))

    @property
    def warned(self) -> bool:
        """True when a check warns."""
        return any(each.check.status == "warn" for each in (*self.own, *self.across))


def board(plan: Plan, answers: Iterable[Answer], wanted: Callable[[str], bool]) -> Board:
    """The answers judged, in the plan's order; of what comparing nodes finds, the ids that are `wanted`."""
    order = {node.name: index for index, node in enumerate(plan.nodes)}
    ordered = tuple(sorted(answers, key=lambda answer: order[answer.node]))
    across = tuple(each for each in judge(plan, ordered) if wanted(each.check.id))
    return Board(plan, ordered, gathered(ordered), across)


# ---- For programs --------------------------------------------------------------------------------------


def as_json(found: Board) -> str:
    """One JSON document."""
    document = {
        "format_version": FORMAT_VERSION,
        "cluster": found.plan.name,
        "passed": found.passed,
        "nodes": [_node(answer) for answer in found.answers],
        "across": [{**each.check._asdict(), "nodes": list(each.nodes)} for each in found.across],
    }
    return json.dumps(document, indent=2) + "\n"


def _node(answer: Answer) -> dict[str, object]:
    return {
        "name": answer.node,
        "fault": answer.fault,
        "to_do": answer.to_do,
        "seconds": round(answer.seconds, 1),
        "clock_ahead_seconds": None if answer.ahead is None else round(answer.ahead, 3),
        "checks": [check._asdict() for check in answer.checks],
    }


# ---- For people ----------------------------------------------------------------------------------------


def as_text(found: Board, *, width: int, colour: bool) -> str:
    """The table, then each failure and warning with what to do, then one line that sums up."""
    parts = [_table(found, width, colour=colour)]
    parts += [_unasked(answer, colour=colour) for answer in found.answers if answer.fault]
    worse = [each for each in (*found.across, *found.own) if each.check.status in {"FAIL", "warn"}]
    for status in ("FAIL", "warn"):
        parts += [
            _entry(group, colour=colour) for group in _groups(each for each in worse if each.check.status == status)
        ]
    parts += _skipped(found)
    parts.append(_sum(found, colour=colour))
    return "\n".join(part for part in parts if part)


def _table(found: Board, width: int, *, colour: bool) -> str:
    rows = _rows(found)
    names = [answer.node for answer in found.answers]
    bad = {row: cells for row, cells in rows.items() if set(cells.values()) & {"FAIL", "warn", UNASKED}}
    quiet = [row for row, cells in rows.items() if set(cells.values()) == {"ok"}]
    text = ""
    if bad:
        label = max(len(row) for row in bad)
        worst = sorted(bad, key=lambda row: min(_rank(status) for status in bad[row].values()))
        wide = sum(max(len(name), 4) + 2 for name in names) + label + 2 <= width
        write = _columns if wide else _letters
        text = write(names, [(row, bad[row]) for row in worst], label, width, colour=colour)
    if quiet:
        names_ok = dict.fromkeys(row.partition("[")[0] for row in quiet)
        said = f"ok on every node: {', '.join(name for name in names_ok if name not in bad)}"
        text += textwrap.fill(said, width, subsequent_indent="  ", break_on_hyphens=False) + "\n"
    return text.rstrip("\n")


def _rank(status: str) -> int:
    return -1 if status == UNASKED else STATUSES.index(status)


def _rows(found: Board) -> dict[str, dict[str, str]]:
    """For each check, what it came to on each node: the worst, where it looked at several things."""
    rows: dict[str, dict[str, str]] = {}
    for verdict in (*found.own, *found.across):
        row = verdict.check.id if verdict.across else verdict.check.name
        for node in verdict.nodes:
            cells = rows.setdefault(row, {})
            cells[node] = min(cells.get(node, "ok"), verdict.check.status, key=_rank)
    order = {check.name: index for answer in found.answers for index, check in enumerate(answer.checks)}
    ordered = dict(sorted(rows.items(), key=lambda row: (order.get(row[0].partition("[")[0], -1), row[0])))
    asked = {answer.node: UNASKED if answer.fault else "ok" for answer in found.answers}
    return {"asked": asked, **ordered} if UNASKED in asked.values() else ordered


def _columns(
    names: Sequence[str], rows: Sequence[tuple[str, Mapping[str, str]]], label: int, _: int, *, colour: bool
) -> str:
    """A column for each node, under its name."""
    widths = {name: max(len(name), 4) for name in names}
    lines = [" " * label + "".join(f"  {name:{widths[name]}}" for name in names)]
    for row, cells in rows:
        cell = "".join(f"  {_painted(cells.get(name, ''), widths[name], colour=colour)}" for name in names)
        lines.append(f"{row:{label}}{cell}")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _letters(
    names: Sequence[str], rows: Sequence[tuple[str, Mapping[str, str]]], label: int, width: int, *, colour: bool
) -> str:
    """A letter for each node, in blocks that fit the line."""
    text = (
        "  ".join(f"{letter} {status if status != UNASKED else 'not asked'}" for status, letter in _LETTER.items())
        + "\n"
    )
    step = max(10, (width - label - 2) // 10 * 10)
    for begin in range(0, len(names), step):
        block = names[begin : begin + step]
        text += f"{'':{label}}  {block[0]} to {block[-1]}\n"
        for row, cells in rows:
            line = "".join(_letter(cells.get(name, ""), colour=colour) for name in block)
            text += f"{row:{label}}  {line}".rstrip() + "\n"
    return text


def _letter(status: str, *, colour: bool) -> str:
    letter = _LETTER.get(status, " ")
    return f"{_COLOUR[status]}{letter}{_PLAIN}" if colour and status in _COLOUR else letter


def _painted(status: str, width: int, *, colour: bool) -> str:
    return f"{_COLOUR[status]}{status:{width}}{_PLAIN}" if colour and status else f"{status:{width}}"


def _unasked(answer: Answer, *, colour: bool) -> str:
    return _lines([(_painted("FAIL", 4, colour=colour), answer.node, answer.fault), ("", "to do", answer.to_do)])


def _groups(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """Those of one check on the same nodes together: eight NPUs without a link are one entry."""
    groups: dict[tuple[str, tuple[str, ...], bool], list[Verdict]] = defaultdict(list)
    for each in verdicts:
        groups[each.check.name, each.nodes, each.across].append(each)
    return list(groups.values())


def _entry(group: Sequence[Verdict], *, colour: bool) -> str:
    check = group[0].check
    head = (_painted(check.status, 4, colour=colour), f"{check.id} on {_some(group[0].nodes)}", check.seen)
    more = [("", "also", text) for text in _others(group)]
    rest = [("expected", check.expected), ("to do", check.next), ("by hand", check.by_hand), ("source", check.source)]
    return _lines([head, *more, *(("", word, text) for word, text in rest if text)])


def _others(group: Sequence[Verdict]) -> list[str]:
    """What the others of the group saw, those that saw the same together."""
    by_seen: dict[str, list[str]] = defaultdict(list)
    for each in group[1:]:
        by_seen[each.check.seen].append(each.check.id)
    lines = [f"{_some(ids)}: {seen}" for seen, ids in by_seen.items()]
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], "and more: --json has them all"]


def _some(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


def _lines(lines: Sequence[tuple[str, str, str]]) -> str:
    """`FAIL  id  seen`, and below it what to do, the words under each other."""
    status, name, seen = lines[0]
    text = f"\n{status}  {name}: {seen}\n"
    return text + "".join(f"      {word:8}  {said}\n" for _, word, said in lines[1:]).rstrip("\n")


def _skipped(found: Board) -> list[str]:
    skipped = [each for each in (*found.across, *found.own) if each.check.status == "skip"]
    lines = [
        f"skip  {group[0].check.id} on {_some(group[0].nodes)}: {group[0].check.seen}" for group in _groups(skipped)
    ]
    return ["\n" + "\n".join(lines)] if lines else []


def _sum(found: Board, *, colour: bool) -> str:
    counts = dict.fromkeys(STATUSES, 0)
    for answer in found.answers:
        for check in answer.checks:
            counts[check.status] += 1
    for each in found.across:
        counts[each.check.status] += 1
    asked = sum(not answer.fault for answer in found.answers)
    told = ", ".join(f"{count} {status}" for status, count in reversed(counts.items()) if count)
    verdict = _painted("ok" if found.passed else "FAIL", 0, colour=colour)
    return (
        f"\n{verdict}: {found.plan.name}: {asked} of {len(found.answers)} nodes answered{': ' if told else ''}{told}\n"
    )
