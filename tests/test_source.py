"""What YAML readers disagree about is refused at its line and column; everything else is taken as it was written."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import report
from compiler.compile import compile_spec
from compiler.source import MAX_BYTES, Source, parse
from schema.scalar import REFUSED, Scalar

# Read as written: the document, and the value of its key `a`.
ACCEPTED = [
    ("a: x", "x"),
    ('a: "no"', "no"),
    ("a: 'on'", "on"),
    ("a: n", "n"),
    ("a: Y", "Y"),
    ("a: 0", Scalar("0", 0)),
    ("a: 8000", Scalar("8000", 8000)),
    ("a: -5", Scalar("-5", -5)),
    ("a: +5", Scalar("+5", 5)),
    ("a: 1.10", Scalar("1.10", 1.1)),
    ("a: 1e3", Scalar("1e3", 1000.0)),
    ("a: 0.9", Scalar("0.9", 0.9)),
    ("a: true", Scalar("true", value=True)),
    ("a: False", Scalar("False", value=False)),
    ("a: ~", Scalar("~", None)),
    ("a: null", Scalar("null", None)),
    ("a:", Scalar("", None)),
    ('a: ""', ""),
    ("a: 2024-01-01", "2024-01-01"),
    ("a: 0x1f", "0x1f"),
    ("a: 0o17", "0o17"),
    ("a: .inf", ".inf"),
    ("a: 10.0.0.1", "10.0.0.1"),
    ("a: 10.0.0.1:6379", "10.0.0.1:6379"),
    ("a: v0.11.0", "v0.11.0"),
    ("a: -x", "-x"),
    ("a: 1 2", "1 2"),
    ('a: "x\\ny"', "x\ny"),
    ("a: |\n  x\n  y\n", "x\ny\n"),
    ("a: >-\n  x\n  y\n", "x y"),
    ("a: &anchor x", "x"),
    ("\ufeffa: x", "x"),
    ("a: x\r\n", "x"),
    ("---\na: x\n...\n", "x"),
    ('a: "\\u2028"', "\u2028"),
    ("a: " + "9" * 5000, "9" * 5000),
    ("a: [x, 1]", ["x", Scalar("1", 1)]),
    ("a: {no: 1}", {"no": Scalar("1", 1)}),
]

# Refused: the document, the code, the line and the column.
REFUSALS = [
    ("a: no", "yaml-surprise", 1, 4),
    ("a: No", "yaml-surprise", 1, 4),
    ("a: YES", "yaml-surprise", 1, 4),
    ("a: on", "yaml-surprise", 1, 4),
    ("a: OFF", "yaml-surprise", 1, 4),
    ("b: 1\na: [x, off]", "yaml-surprise", 2, 8),
    ("a: 010", "yaml-surprise", 1, 4),
    ("a: 0777", "yaml-surprise", 1, 4),
    ("a: -012", "yaml-surprise", 1, 4),
    ("a: 1_000", "yaml-surprise", 1, 4),
    ("a: 1:30", "yaml-surprise", 1, 4),
    ("a: 12:34:56", "yaml-surprise", 1, 4),
    ("a: 22:30.5", "yaml-surprise", 1, 4),
    ("a: !!str x", "yaml-surprise", 1, 4),
    ("a: !foo x", "yaml-surprise", 1, 4),
    ("a: !!python/object:os.system {}", "yaml-surprise", 1, 4),
    ("a: ! x", "yaml-surprise", 1, 4),
    ("!!str a: x", "yaml-surprise", 1, 1),
    ("a: &x 1\nb: *x", "yaml-surprise", 2, 4),
    ("a: &x {b: *x}", "yaml-surprise", 1, 11),
    ("a: &x {b: 1}\nc:\n  <<: *x", "yaml-surprise", 3, 3),
    ("? [a]\n: x", "yaml-surprise", 1, 3),
    ("{a: 1}: x", "yaml-surprise", 1, 1),
    ("%YAML 1.1\n---\na: x", "yaml-surprise", 1, 1),
    ("%TAG ! tag:x,2000:\n---\na: x", "yaml-surprise", 1, 1),
    ("a: x\n---\nb: y", "yaml-surprise", 2, 1),
    ("a: x\rb: y", "yaml-surprise", 1, 5),
    ("a: 'x\x85y'", "yaml-surprise", 1, 6),
    ("# \u2028", "yaml-surprise", 1, 3),
    ("a: x\u2029", "yaml-surprise", 1, 5),
    ("a: 1\nb: 2\na: 3", "duplicate-key", 3, 1),
    ("a: {b: 1, b: 2}", "duplicate-key", 1, 11),
    ("a: yes\nb: {c: 1, d: {}, c: 2}", "yaml-surprise", 1, 4),
    ("a: [1", "yaml-syntax", 2, 1),
    ("a: b: c", "yaml-syntax", 1, 5),
    ("\ta: 1", "yaml-syntax", 1, 1),
    ("a:\n\t- b", "yaml-syntax", 2, 1),
    ("a: 'x", "yaml-syntax", 1, 6),
    ('a: "\\q"', "yaml-syntax", 1, 5),
    ("a: @x", "yaml-syntax", 1, 4),
    ("a: `x`", "yaml-syntax", 1, 4),
    ("a: %x", "yaml-syntax", 1, 4),
    ("a: x\n  b: y", "yaml-syntax", 2, 4),
    ("a: \x07", "yaml-syntax", 1, 4),
    ("a: \x00", "yaml-syntax", 1, 4),
    ("a: " + "[" * 100, "too-deep", 1, 67),
    ("{" * 3000, "yaml-surprise", 1, 2),
    ("[" * 5000, "too-deep", 1, 65),
]


@pytest.mark.parametrize(("text", "value"), ACCEPTED, ids=[repr(text)[:40] for text, _ in ACCEPTED])
def test_taken_as_written(text: str, value: object) -> None:
    tree, faults = parse(Source("spec", text.encode()))
    assert (tree, faults) == ({"a": value}, ())
    assert isinstance(tree, dict)
    assert type(tree["a"]) is type(value)
    if isinstance(value, Scalar):
        assert isinstance(tree["a"], Scalar)
        assert (tree["a"].value, type(tree["a"].value)) == (value.value, type(value.value))


def test_of_equal_keys_the_first_stays_and_each_is_told_where_it_is() -> None:
    text = "a: no\nb: {x: 1}\nc: 2\nb: 3\nd: {e: 4, e: {e: 5, e: 6}}\nb: 7\n*x : 8\n"
    tree, faults = parse(Source("spec", text.encode()))
    four, two = Scalar("4", 4), Scalar("2", 2)
    assert tree == {"a": REFUSED, "b": {"x": Scalar("1", 1)}, "c": two, "d": {"e": four}, "": Scalar("8", 8)}
    told = [(fault.code, fault.place and (fault.place.line, fault.place.column)) for fault in faults]
    assert told == [
        ("yaml-surprise", (1, 4)),
        ("duplicate-key", (4, 1)),
        ("duplicate-key", (5, 11)),
        ("duplicate-key", (5, 21)),
        ("duplicate-key", (6, 1)),
        ("yaml-surprise", (7, 1)),
    ]
    firsts = [fault.message.rpartition(" ")[2] for fault in faults if fault.code == "duplicate-key"]
    assert firsts == ["2", "5", "5", "2"]


@pytest.mark.parametrize(("text", "code", "line", "column"), REFUSALS, ids=[repr(text)[:40] for text, *_ in REFUSALS])
def test_refused_at_its_place(text: str, code: str, line: int, column: int) -> None:
    started = time.perf_counter()
    _, [fault, *_] = parse(Source("spec", text.encode()))
    assert fault.place is not None
    assert (fault.code, fault.place.line, fault.place.column) == (code, line, column)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("content", "line", "column", "said"),
    [
        (b"a: \xff", 1, 4, "byte 3 (0xff) is not UTF-8"),
        (b"a: x\nb: \xe9", 2, 4, "byte 8 (0xe9) is not UTF-8"),
        ("a: x".encode("utf-16"), 1, 1, "the file is UTF-16 (byte 0)"),
        ("a: x".encode("utf-16-be"), 1, 1, "control characters are not allowed"),
        (b"a: \xed\xa0\x80", 1, 4, "byte 3 (0xed) is not UTF-8"),
    ],
)
def test_other_encodings_are_refused_with_the_byte(content: bytes, line: int, column: int, said: str) -> None:
    tree, [fault] = parse(Source("spec", content))
    assert tree is REFUSED
    assert fault.place is not None
    assert (fault.place.line, fault.place.column) == (line, column)
    assert said in fault.message


def test_a_huge_file_is_refused_unread() -> None:
    started = time.perf_counter()
    tree, [fault] = parse(Source("spec", b"{" * (MAX_BYTES + 1)))
    assert (tree, fault.code) == (REFUSED, "too-large")
    assert time.perf_counter() - started < 1


SPEC = b"""version: 1
name: demo
accelerator: atlas-a2
image: quay.io/ascend/vllm-ascend:v0.11.0
cache: /mnt/cache
defaults: {interface: eth0}
nodes:
  - {name: "node-[0:1]", address: "192.168.10.[10:11]", npu_addresses: {first: "10.20.[0:1].10"}}
serve: {model: Qwen/Qwen3-32B, args: {seed: 1}}
"""
EXAMPLES = 200_000 if os.environ.get("SOAK") else 1_500
MUTATION = st.tuples(st.integers(0, len(SPEC)), st.integers(0, 12), st.binary(max_size=12))


def survives(content: bytes) -> None:
    sources = [Source("spec.yaml", content)]
    compiled = compile_spec(sources)
    lines = content.decode("utf-8", "replace").count("\n") + 2
    assert all(1 <= each.place.line <= lines and each.place.column >= 1 for each in compiled.diagnostics)
    assert (compiled.plan is None) == any(each.severity == "error" for each in compiled.diagnostics)
    told = report.as_text(compiled.diagnostics, sources, colour=False)
    assert all(char.isprintable() or char == "\n" for char in told)


def test_a_mapping_as_a_key_is_told_with_all_that_stands_before_it() -> None:
    survives(SPEC.replace(b"args: {seed", b"{seed").replace(b"version: 1", b"version: 2"))


@pytest.mark.parametrize("key", ["<version", "<list>", "[key]", "[", "", " ", ".", "0", "nodes[0]"])
def test_keys_that_look_like_marks_are_unknown_keys(key: str) -> None:
    for spec in (SPEC + f'"{key}": 1\n'.encode(), SPEC.replace(b"seed: 1", f'"{key}": ~'.encode())):
        survives(spec)
        assert compile_spec([Source("spec.yaml", spec)]).plan is None


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(MUTATION, min_size=1, max_size=3))
def test_no_mutation_of_a_spec_ends_in_a_traceback(mutations: list[tuple[int, int, bytes]]) -> None:
    content = SPEC
    for start, length, new in mutations:
        content = content[:start] + new + content[start + length :]
    survives(content)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.text(alphabet="ab:- \n\t[]{},&*!|>'\"%@`#?~01", max_size=60).map(str.encode))
)
def test_no_bytes_end_in_a_traceback(content: bytes) -> None:
    survives(content)
