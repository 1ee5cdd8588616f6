"""Specs as people write them: any layout, any comments, any line break; and what their nodes may say."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import strategies as st

from compiler.amend import Found

Row = tuple[str, ...]

HEAD = "version: 1\nname: qwen  # é \U0001f600\naccelerator: atlas-a2\nimage: 'a/b:1'\ncache:   /mnt/x # c\n"
TAIL = 'serve:\n    model: Qwen/Qwen3 # m\n    args: {seed: 1,\n           note: "two\n             lines"}\n'
NPUS = 8


class Entry(NamedTuple):
    """One entry as it is written, the nodes that it stands for, and what they say.

    Attributes:
        lines: The lines; `-` and indentation are added with the style of the whole list.
        names: Its nodes.
        found: What was found on them; empty when nobody asked.
        own: For each line, whether no one but the user may change it.
        sayable: Whether a range says all of their addresses.
    """

    lines: list[str]
    names: list[str]
    found: dict[str, Found]
    own: list[bool]
    sayable: bool


# Values of npu_addresses as they may stand in a block, without the first line's indentation; {i} is the entry.
OLD = (
    "{first: 10.7.{i}.8}",
    "{first: '10.7.{i}.8'} # t{i}",
    "\n  first: 10.7.{i}.8 # t{i}",
    " # k{i}\n# u{i}\n- 10.8.{i}.1 # v{i}\n\n- 10.8.{i}.2   # w{i}",
    "\n  - 10.8.{i}.1\n  # v{i}\n  - '10.8.{i}.2'",
    "[10.8.{i}.1, 10.8.{i}.2]   # t{i}",
    "[ # u{i}\n  10.8.{i}.1, 10.8.{i}.2, # v{i}\n  # w{i}\n] # t{i}",
    "\n  [10.8.{i}.1,\n   10.8.{i}.2] # t{i}",
    "&x{i} [10.8.{i}.1]",
    "~ # t{i}",
    "null",
    "",
    " # t{i}",
)
MORE = (
    'labels: {x: "a # no comment\n    b"} # l{i}',
    "env:\n  X: |\n    # text{i}\n\n    more\n\n# e{i}",
    "role: worker",
    'docker: "ssh://root@{address}"\t',
    "labels:\n    # l{i}\n    é: \U0001f600",
)


@st.composite
def entries(draw: st.DrawFn, number: int) -> Entry:
    count = draw(st.sampled_from([1, 1, 1, 2, 5]))
    names = [f"n{number}"] if count == 1 else [f"n{number}-{member}" for member in range(1, count + 1)]
    rows, sayable = draw(rows_of(count, number))
    found = {
        name: Found(interface, addresses)
        for name, interface, addresses in zip(names, draw(interfaces_of(count)), rows, strict=True)
    }
    match draw(st.integers(0, 9)):
        case 0 | 1:
            found = {}
        case 2 if count > 1:
            del found[draw(st.sampled_from(names))]
    fields = draw(fields_of(count))
    if draw(st.booleans()) and not any("\n" in text for text, _ in fields):
        lines = draw(lines_in_flow([text for text, _ in fields]))
        own = [False] * len(lines)
    else:
        lines, own = draw(lines_in_block(fields))
    return Entry([line.replace("{i}", str(number)) for line in lines], names, found, own, sayable)


@st.composite
def interfaces_of(draw: st.DrawFn, count: int) -> list[str | None]:
    """What each node says: nothing, the same, or something that differs."""
    name = draw(st.sampled_from(["eth0", "bond0.1", "no", "1e3"]))
    other: str | None = draw(st.sampled_from([name, name, None, "other"]))
    return [None] * count if draw(st.integers(0, 3)) == 0 else [name, *[other] * (count - 1)]


@st.composite
def rows_of(draw: st.DrawFn, count: int, number: int) -> tuple[list[Row], bool]:
    """What the nodes of one entry say of their addresses, and whether ranges can say it."""
    gap = draw(st.sampled_from([1, 1, 3]))
    rows = [tuple(f"10.{20 + number}.{member}.{8 + gap * npu}" for npu in range(NPUS)) for member in range(count)]
    if count > 2 and draw(st.integers(0, 3)) == 0:
        rows[draw(st.integers(0, count - 1))] = tuple(f"10.99.99.{8 + npu}" for npu in range(NPUS))
        return rows, False
    return rows, True


@st.composite
def fields_of(draw: st.DrawFn, count: int) -> list[tuple[str, bool]]:
    """The pairs of an entry, and whether no one but the user may change them."""
    many = count > 1
    name, address = (f'"n{{i}}-[1:{count}]"', f'"10.0.{{i}}.[1:{count}]"') if many else ("n{i}", "10.0.{i}.1")
    fields = [(f"name: {name}", True), (f"address: {address}{draw(st.sampled_from(['', '  # a{i}']))}", True)]
    if draw(st.booleans()):
        fields.append(
            (f"interface: {draw(st.sampled_from(['eth9 # i{i}', '~', '', chr(34) + 'eth0' + chr(34)]))}", False)
        )
    if draw(st.booleans()):
        right = f'{{first: "10.2{{i}}.[0:{count - 1}].8"}} # r{{i}}' if many else "{first: 10.2{i}.0.8} # r{i}"
        fields.append((f"npu_addresses: {draw(st.sampled_from([*OLD, right, right]))}", False))
    fields += [(each, True) for each in draw(st.lists(st.sampled_from(MORE), max_size=2, unique_by=lambda x: x[:3]))]
    return draw(st.permutations(fields))


@st.composite
def lines_in_block(draw: st.DrawFn, fields: list[tuple[str, bool]]) -> tuple[list[str], list[bool]]:
    lines: list[str] = []
    own: list[bool] = []
    for text, users in fields:
        above = ["# above{i}"] if lines and draw(st.integers(0, 3)) == 0 else []
        lines += [*above, *text.split("\n")]
        own += [True] * len(above) + [users] * (text.count("\n") + 1)
    return lines, own


@st.composite
def lines_in_flow(draw: st.DrawFn, fields: list[str]) -> list[str]:
    """On one line, on a line each, or on some lines."""
    texts = [re.sub(r"\s*#.*", "", text) for text in fields]
    texts = [f"{text} " if text.endswith(":") else text for text in texts]  # `a:,` is no YAML
    comma = draw(st.sampled_from(["", ","]))
    match draw(st.integers(0, 2)):
        case 0:
            return [f"{{ {', '.join(texts)} {comma}}} # f{{i}}"]
        case 1:
            commas = [*[","] * (len(texts) - 1), comma]
            return ["{", *(f"  {text}{each} # {text[:3]}" for text, each in zip(texts, commas, strict=True)), "}"]
        case _:
            return [f"{{{texts[0]},", *(f" {text}," for text in texts[1:-1]), f" {texts[-1]} {comma}}} # f{{i}}"]


class Written(NamedTuple):
    """A spec, its entries, the text of each, and the lines that must stay as they are."""

    text: str
    entries: list[Entry]
    written: list[str]
    keep: list[str]


@st.composite
def specs(draw: st.DrawFn) -> Written:
    made = [draw(entries(number)) for number in range(1, draw(st.integers(1, 4)) + 1)]
    texts = []
    indent = " " * draw(st.integers(0, 3))
    dash = "-" + " " * draw(st.integers(1, 3))
    lines = ["nodes: # n"]
    keep = [True]
    for number, entry in enumerate(made):
        inner = indent + " " * len(dash)
        own = [(f"{indent}{dash}" if at == 0 else inner if line else "") + line for at, line in enumerate(entry.lines)]
        lines += own
        texts.append("\n".join(own))
        keep += entry.own
        if draw(st.booleans()):
            lines += [f"{indent}# between {number}", ""]
            keep += [True, False]
    text = HEAD + "\n".join(lines) + "\n"
    text = text + TAIL if draw(st.booleans()) else (TAIL + text)[: -1 if draw(st.booleans()) else None]
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    kept = [line for line, users in zip(lines, keep, strict=True) if users and line]
    return Written(draw(st.sampled_from(["", "\ufeff"])) + text, made, texts, kept)
