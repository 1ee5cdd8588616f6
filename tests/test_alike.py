"""Entries that are read once for all of a kind say what they say when each is read by itself."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compiler import source
from compiler.alike import folded
from compiler.compile import compile_spec
from compiler.source import Source, parse

HEAD = "version: 1\nname: many\nnodes:\n"
ENTRY = "  - name: {a}\n    address: {b}\n    npu_addresses: {{first: {c}}}\n"
# A name is taken as it is wherever it stands; of the others some are no text, some are refused, one is what we write.
WORDS = (
    *("x", "node-1", "10.0.0.1", "v0.11.0", "a" * 2000, "A.b_c-", "0x1f", "2024-01-01", "1.2.3"),
    *("0", "1", "8000", "1.10", "1e3", "true", "False", "null", "9" * 500),
    *("no", "On", "YES", "007", "1_000", "Hole.of.an.entry.0.0"),
    *("-5", "~", "", ".5", "a b", "a:b", "é", "'q'", '"q"', "*x", "&x y", "!t y", "|", "@", "a,b", "[a]", "{a: b}"),
)
# Lines of an entry, below its bullet; `{a}` and its like are words.
LINES = (
    *(
        "name: {a}",
        "address: {b}",
        "npu_addresses: {{first: {a}}}",
        "env: {{A: {b}, B: {c}}}",
        "labels: {{}}",
        "npus: []",
    ),
    *("npus: [{a}, {b}]", "npus: [k: {a}]", "list:\n{i}- {a}\n{i}- k: {b}", "list:\n{i}- k: {a}\n{i}- k: {b}"),
    *("deep: {{k: {{k: {a}}}}}", 'text: "k: {a}"', "text: 'k: {a}'", "text: |\n{i} k: {a}", "text: >\n{i} k: {a}\n"),
    *('text: "k: {a}\n{i}  k: {b}"', "text: '\n{i}: {a}\n{i}'", "# k: {a}", "k: {a} # k: {b}", "k: {a}\n{i}  k: {b}"),
    *("k: {a}\n{i}  more", "k: {a}, {b}", "k: {a}:", "k:  {a}", "k: {a} ", "k: {a}\r", "{a}: {b}", '"k": {a}'),
    *("? {a}\n{i}: {b}", "? k: {a}\n{i}: {b}", "{{k: {a}}}: {b}", "k: !t {a}", "k: &x {a}", "k: *x", "<<: {a}"),
    *(
        "",
        "   ",
        "\t",
        "k:\t{a}",
        "k: {a}\t",
        "- {a}",
        "k:",
        "k: -",
        "name: x\n{i}name: {a}",
        "\u2028",
        "k: {{",
        "k: ]",
    ),
    *("---", "...", "k: [{a}, {{k: {b}}},\n{i} k: {c}]", "k: {{k: {a},\n{i} l: {b}\n{i}}}", "k: 'it''s: {a}'"),
)
KEYS = (
    "nodes:",
    "nodes: # all",
    "nodes:\n# all",
    "nodes:\r",
    "nodes: ",
    "nodes: |",
    "nodes: [",
    '"nodes":',
    "more:\n  nodes:",
)
BEFORE = ("", "a: x\n", "a: |\n  x\n", 'a: "x\n', "# c\n", "---\n", "nodes: x\n", "%YAML 1.2\n---\n", "- x\n", "a: [\n")
AFTER = (
    "",
    "a: x\n",
    "nodes: x\n",
    "  b: x\n",
    " - x\n",
    '"\n',
    "]\n",
    "other:\n  - name: a\n    address: b\n",
    "...\n",
    "é: [\n",
)


def entries_of(kinds: list[list[str]], said: list[tuple[int, list[str]]], indent: int) -> str:
    inner = " " * (indent + 2)
    written = []
    for kind, words in said:
        lines = f"\n{inner}".join(kinds[kind % len(kinds)])
        written.append(" " * indent + "- " + lines.format(**dict(zip("abc", words, strict=True)), i=inner) + "\n")
    return "".join(written)


WORD = st.sampled_from(WORDS) | st.sampled_from(WORDS[:18])
SAID = st.tuples(st.integers(0, 2), st.lists(WORD, min_size=3, max_size=3))
TEXTS = st.builds(
    lambda before, key, kinds, said, indent, after: f"{before}z: 1\n{key}\n{entries_of(kinds, said, indent)}{after}",
    st.just("") | st.sampled_from(BEFORE),
    st.just("nodes:") | st.sampled_from(KEYS),
    st.lists(
        st.lists(st.sampled_from(LINES[:12]) | st.sampled_from(LINES), min_size=1, max_size=4), min_size=1, max_size=3
    ),
    st.lists(SAID, min_size=3, max_size=16) | st.lists(SAID, min_size=1, max_size=2).map(lambda said: 4 * said),
    st.sampled_from([0, 2, 2, 4]),
    st.just("") | st.sampled_from(AFTER),
)


def read_each(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """What the text says when what is alike is read once, and when it is not."""
    said = []
    for long in (0, source.MAX_BYTES):
        monkeypatch.setattr(source, "LONG", long)
        said.append(repr(parse(Source("s.yaml", text.encode()))))
    once, each = said
    return once, each


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(TEXTS)
@example("a: '\nnodes:\n  - k: x\n  - k: y\n  - k: z\n  - k: x\n'\n")
@example("z: |\n\nnodes:\n  - a: x\n  - a: y\nmore:\n  - a: z\n  - a: w\n  - a: v\n")
@example("z: x\nnodes:\n  - a: x\n    b:\n  - a: y\n    b:\n  - a: z\n    b:\n  - a: z\n    b:\n")
def test_read_once_is_read_each(text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        once, each = read_each(text, monkeypatch)
    assert once == each


def entries(count: int, entry: str = ENTRY) -> str:
    return "".join(entry.format(a=f"n{at}", b=f"10.0.0.{at}", c=f"20.0.{at}.1") for at in range(count))


READ_ONCE = {
    "one kind": HEAD + entries(9),
    "two kinds in turns": HEAD
    + "".join(entries(1) + entries(1, "  - {{name: {a}, role: worker}}\n") for _ in range(4)),
    "the key in between, with a comment": f"{HEAD[:-1]} # all of them\n  # from here\n{entries(9)}cache: /x\n",
    "lines end as on Windows": (HEAD + entries(9)).replace("\n", "\r\n"),
    "comments and empty lines": HEAD + entries(9, ENTRY + "\n    # of rack 7\n"),
    "texts that are the same": HEAD + entries(9, ENTRY + '    env: {{A: "b: c", D: [1, x, {{}}]}}\n    labels: {{}}\n'),
    "lists in it": HEAD + entries(9, "  - name: {a}\n    mounts:\n    - {{source: {b}}}\n    - source: {c}\n"),
}
READ_EACH = {
    "few": HEAD + entries(2),
    "a word in a text": HEAD + entries(9, '  - name: "no: {a}"\n'),
    "a word in a block": HEAD + entries(9, "  - name: |\n      no: {a}\n"),
    "a word in a comment": HEAD + entries(9, "  - name: {a} # no: {b}\n"),
    "a word that goes on": HEAD + entries(9, "  - name: {a}\n      and on\n"),
    "a word that is refused": HEAD + entries(4) + entries(1).replace("n0", "no") + entries(4),
    "a text that has our hole": HEAD + entries(9) + "env: {A: Hole.of.an.entry.}\n",
    "no end": HEAD + entries(9) + "  - [\n",
    "other entries below": HEAD + entries(4) + "other:\n" + entries(4),
}


@pytest.mark.parametrize("text", READ_ONCE.values(), ids=READ_ONCE)
def test_what_is_plainly_alike_is_read_once(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(source, "LONG", 0)
    alike = folded(text)
    assert alike is not None
    assert len(alike.text) < len(text)
    assert source._read_alike("s.yaml", text) is not None  # noqa: SLF001 - that it does what it is for
    once, each = read_each(text, monkeypatch)
    assert once == each


@pytest.mark.parametrize("text", READ_EACH.values(), ids=READ_EACH)
def test_what_is_not_is_read_as_it_stands(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(source, "LONG", 0)
    assert source._read_alike("s.yaml", text) is None  # noqa: SLF001 - as above
    once, each = read_each(text, monkeypatch)
    assert once == each


def test_a_fault_among_many_is_told_at_its_place() -> None:
    text = HEAD + entries(200) + "  - name: x\n    address: yes\n" + entries(200)
    (fault,) = [
        each for each in compile_spec([Source("s.yaml", text.encode())]).diagnostics if each.code == "yaml-surprise"
    ]
    assert fault.place is not None
    assert (fault.place.line, fault.place.column) == (3 + 3 * 200 + 2, 14)
