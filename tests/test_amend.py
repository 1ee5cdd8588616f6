"""What nodes said gets into the spec, and nothing else of the spec moves by a byte."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from styled import HEAD, NPUS, TAIL, Entry, Written, specs

from compiler.amend import Amended, Found, amend
from compiler.load import load
from compiler.places import locate
from compiler.ranges import expand
from compiler.report import as_text
from compiler.said import interface_of, npu_addresses_of
from compiler.source import Source, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.cluster import Cluster
    from schema.scalar import Tree

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))
EXAMPLES_TRIED = 20_000 if os.environ.get("SOAK") else 300
A = "10.20.0.10"
SPREAD = ("10.20.0.10", "10.20.0.12")
SPREAD_8 = tuple(f"192.4.2.{199 - step}" for step in range(8))


def row(first: str, count: int = 8) -> tuple[str, ...]:
    """`count` addresses from `first` on."""
    head, _, last = first.rpartition(".")
    return tuple(f"{head}.{int(last) + step}" for step in range(count))


def amended(text: str, found: dict[str, Found]) -> Amended:
    result = amend(Source("cluster.yaml", text.encode()), found)
    again = amend(Source("cluster.yaml", result.text), found)
    assert again == result if not result.refused else again.text == result.text
    return result


def one(text: str, interface: str | None = None, addresses: Sequence[str] | None = None) -> str:
    """The text with what the node `a` said."""
    result = amended(text, {"a": Found(interface, None if addresses is None else tuple(addresses))})
    assert not result.refused
    return result.text.decode()


def told(text: str, found: dict[str, Found]) -> str:
    """What the user reads about an entry that was not written; the text must be as it was."""
    source = Source("cluster.yaml", text.encode())
    result = amended(text, found)
    assert result.text == source.content
    return as_text(locate(result.refused, [source], ()), [source], colour=False)


# ---- What is written, and where ------------------------------------------------------------------------

# The interface and the addresses that `a` told, the spec before, the spec after.
WRITTEN = {
    "block": (
        "bond0",
        row(A),
        "nodes:\n- name: a # head\n  address: 10.0.0.1  # one\n  role: head\n",
        (
            "nodes:\n- name: a # head\n  address: 10.0.0.1  # one\n  interface: bond0\n"
            "  npu_addresses: {first: 10.20.0.10}\n  role: head\n"
        ),
    ),
    "block, no final line break": (
        "bond0",
        row(A),
        "nodes:\n    -   name: a\n        address: 10.0.0.1",
        (
            "nodes:\n    -   name: a\n        address: 10.0.0.1\n        interface: bond0\n"
            "        npu_addresses: {first: 10.20.0.10}"
        ),
    ),
    "block, carriage returns": (
        "bond0",
        None,
        "nodes:\r\n- name: a\r\n  address: 10.0.0.1 \r\n  role: head\r\n",
        "nodes:\r\n- name: a\r\n  address: 10.0.0.1 \r\n  interface: bond0\r\n  role: head\r\n",
    ),
    "address first, name last": (
        "bond0",
        SPREAD,
        "nodes:\n- address: 10.0.0.1\n  name: a\n",
        "nodes:\n- address: 10.0.0.1\n  interface: bond0\n  npu_addresses: [10.20.0.10, 10.20.0.12]\n  name: a\n",
    ),
    "behind an interface that stands below": (
        None,
        row(A),
        "nodes:\n- name: a\n  address: 10.0.0.1\n  role: head\n  interface: bond0 # why\n",
        (
            "nodes:\n- name: a\n  address: 10.0.0.1\n  role: head\n  interface: bond0 # why\n"
            "  npu_addresses: {first: 10.20.0.10}\n"
        ),
    ),
    "the overlay has the address": (
        "bond0",
        row(A),
        "nodes:\n- name: a\n",
        "nodes:\n- name: a\n  interface: bond0\n  npu_addresses: {first: 10.20.0.10}\n",
    ),
    "an address on the next line": (
        "bond0",
        None,
        "nodes:\n- name: a\n  address:\n    10.0.0.1\n  role: head\n",
        "nodes:\n- name: a\n  address:\n    10.0.0.1\n  interface: bond0\n  role: head\n",
    ),
    "an address as a block, with empty lines": (
        "bond0",
        None,
        "nodes:\n- name: a\n  address: |- # odd\n    10.0.0.1\n\n  # role\n  role: head\n",
        "nodes:\n- name: a\n  address: |- # odd\n    10.0.0.1\n  interface: bond0\n\n  # role\n  role: head\n",
    ),
    "flow": (
        "bond0",
        row(A),
        "nodes:\n- { name: a, address: 10.0.0.1, role: head } # x\n",
        (
            "nodes:\n- { name: a, address: 10.0.0.1, interface: bond0, role: head, "
            "npu_addresses: {first: 10.20.0.10} } # x\n"
        ),
    ),
    "flow, trailing comma": (
        None,
        row(A),
        "nodes: [{name: a, address: 10.0.0.1,}]",
        "nodes: [{name: a, address: 10.0.0.1, npu_addresses: {first: 10.20.0.10},}]",
    ),
    "flow, a line each": (
        "bond0",
        row(A),
        "nodes:\n- {\n    name: a,\n    address: 10.0.0.1 # last\n  }\n",
        (
            "nodes:\n- {\n    name: a,\n    address: 10.0.0.1, # last\n    interface: bond0,\n"
            "    npu_addresses: {first: 10.20.0.10}\n  }\n"
        ),
    ),
    "flow, a line each, trailing comma": (
        "bond0",
        row(A),
        "nodes:\n- {\n    address: 10.0.0.1, # one\n    name: a,\n  }\n",
        (
            "nodes:\n- {\n    address: 10.0.0.1, # one\n    interface: bond0,\n    name: a,\n"
            "    npu_addresses: {first: 10.20.0.10},\n  }\n"
        ),
    ),
    "flow, several lines": (
        "bond0",
        row(A),
        "nodes:\n- {name: a,\n   address: 10.0.0.1}\n",
        "nodes:\n- {name: a,\n   address: 10.0.0.1, interface: bond0, npu_addresses: {first: 10.20.0.10}}\n",
    ),
    "flow, an empty value last": (
        None,
        row(A),
        "nodes:\n- {name: a, role: }\n- {name: b, role}\n",
        "nodes:\n- {name: a, role: , npu_addresses: {first: 10.20.0.10} }\n- {name: b, role}\n",
    ),
    "JSON": (
        "bond0",
        row(A),
        '{"nodes":[{"name":"a","address":"10.0.0.1"}]}\n',
        (
            '{"nodes":[{"name":"a","address":"10.0.0.1", "interface": "bond0", '
            '"npu_addresses": {"first": "10.20.0.10"}}]}\n'
        ),
    ),
    "a long list": (
        None,
        SPREAD_8,
        "nodes:\n  - name: a\n    address: 10.0.0.1\n",
        (
            "nodes:\n  - name: a\n    address: 10.0.0.1\n"
            "    npu_addresses: [192.4.2.199, 192.4.2.198, 192.4.2.197, 192.4.2.196,\n"
            "                    192.4.2.195, 192.4.2.194, 192.4.2.193, 192.4.2.192]\n"
        ),
    ),
    "a long list in flow": (
        "bond0",
        SPREAD_8,
        "nodes:\r\n  - {name: a, address: 10.0.0.1} # c\r\n",
        (
            "nodes:\r\n  - {name: a, address: 10.0.0.1, interface: bond0,\r\n"
            "     npu_addresses: [192.4.2.199, 192.4.2.198, 192.4.2.197, 192.4.2.196,\r\n"
            "                     192.4.2.195, 192.4.2.194, 192.4.2.193, 192.4.2.192]} # c\r\n"
        ),
    ),
    "a long list instead of one in flow": (
        "bond0",
        SPREAD_8,
        "nodes:\n  - {name: a, address: 10.0.0.1, npu_addresses: {first: 10.0.0.1}, role: head}\n",
        (
            "nodes:\n  - {name: a, address: 10.0.0.1, interface: bond0,\n"
            "     npu_addresses: [192.4.2.199, 192.4.2.198, 192.4.2.197, 192.4.2.196,\n"
            "                     192.4.2.195, 192.4.2.194, 192.4.2.193, 192.4.2.192], role: head}\n"
        ),
    ),
    "a list that is long because of what stands around it": (
        "bond0",
        ("19.4.2.1", "19.4.2.3", "19.4.2.5", "19.4.2.7", "19.4.2.9"),
        "nodes: [{name: a, npu_addresses: [1.1.1.1]}]\n",
        (
            "nodes: [{name: a, interface: bond0,\n"
            "         npu_addresses: [19.4.2.1, 19.4.2.3, 19.4.2.5, 19.4.2.7, 19.4.2.9]}]\n"
        ),
    ),
    "a list that is long because of what stands behind it": (
        None,
        ("19.4.2.1", "19.4.2.3", "19.4.2.5", "19.4.2.7"),
        "nodes: [{name: a, npu_addresses: [1.1.1.1], labels: {x: 123456789012345}}] # c\n",
        (
            "nodes: [{name: a,\n"
            "         npu_addresses: [19.4.2.1, 19.4.2.3, 19.4.2.5, 19.4.2.7], labels: {x: 123456789012345}}] # c\n"
        ),
    ),
    "a list that is long wherever it begins": (
        None,
        ("19.4.2.1", "19.4.2.3", "19.4.2.5", "19.4.2.7"),
        "nodes: [{name: a, npu_addresses: [1.1.1.1], labels: {x: 1234567890123456789012345}}]\n",
        (
            "nodes: [{name: a,\n         npu_addresses: [19.4.2.1, 19.4.2.3,\n"
            "                         19.4.2.5, 19.4.2.7], labels: {x: 1234567890123456789012345}}]\n"
        ),
    ),
    "a list that just fits": (
        None,
        ("19.4.2.1", "19.4.2.3", "19.4.2.5", "19.4.2.7"),
        "nodes: [{name: a, npu_addresses: [1.1.1.1], labels: {x: 1234567890}}] # c\n",
        "nodes: [{name: a, npu_addresses: [19.4.2.1, 19.4.2.3, 19.4.2.5, 19.4.2.7], labels: {x: 1234567890}}] # c\n",
    ),
    "a long list far to the right": (
        None,
        SPREAD_8,
        "{version: 1, name: qwen3-235b, cache: /mnt/shared/cache, nodes: [{name: a}]}\n",
        (
            "{version: 1, name: qwen3-235b, cache: /mnt/shared/cache, nodes: [{name: a,\n"
            "  npu_addresses: [192.4.2.199, 192.4.2.198, 192.4.2.197, 192.4.2.196,\n"
            "                  192.4.2.195, 192.4.2.194, 192.4.2.193, 192.4.2.192]}]}\n"
        ),
    ),
    "keys apart from their colons inside the value": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses:\n    ? first\n    : 10.0.0.1\n  role: head\n",
        "nodes:\n- name: a\n  npu_addresses: {first: 10.20.0.10}\n  role: head\n",
    ),
    "a key without colon and value inside the value": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses:\n    ? first\n# next\n- {name: b}\n",
        "nodes:\n- name: a\n  npu_addresses: {first: 10.20.0.10}\n# next\n- {name: b}\n",
    ),
    "a colon on the next line without a value": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses:\n    ? first\n    :\n- {name: b}\n",
        "nodes:\n- name: a\n  npu_addresses: {first: 10.20.0.10}\n- {name: b}\n",
    ),
    "an interface as a block": (
        "no",
        None,
        "nodes:\n- name: a\n  interface: |- # why\n    eth9\n  role: head\n",
        'nodes:\n- name: a\n  # why\n  interface: "no"\n  role: head\n',
    ),
    "first by first": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses: # c\n    # d\n    first: '10.20.0.9'  # e\n",
        "nodes:\n- name: a\n  npu_addresses: # c\n    # d\n    first: '10.20.0.10'  # e\n",
    ),
    "a list on its line": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses: [10.1.1.1, 10.1.1.2]   # c\n  role: head\n",
        "nodes:\n- name: a\n  npu_addresses: {first: 10.20.0.10}   # c\n  role: head\n",
    ),
    "a list over several lines": (
        None,
        SPREAD,
        "nodes:\n- name: a\n  npu_addresses: [ # one\n    10.1.1.1, # two\n    # three\n    10.1.1.2,\n  ] # four\n",
        "nodes:\n- name: a\n  # one\n  # two\n  # three\n  npu_addresses: [10.20.0.10, 10.20.0.12] # four\n",
    ),
    "a list of lines": (
        None,
        row(A),
        (
            "nodes:\n- name: a\n  # up\n  npu_addresses: # key\n  # one\n  - 10.1.1.1 # two\n\n  - 10.1.1.2 # three\n"
            "  # role\n  role: head\n"
        ),
        (
            "nodes:\n- name: a\n  # up\n  # one\n  # two\n  # three\n  npu_addresses: {first: 10.20.0.10} # key\n"
            "  # role\n  role: head\n"
        ),
    ),
    "a list of lines that comes first": (
        None,
        row(A),
        "nodes:\n- npu_addresses: &x\n    - 10.1.1.1 # c\n    -\n  name: a\n",
        "nodes:\n# c\n- npu_addresses: {first: 10.20.0.10}\n  name: a\n",
    ),
    "a list of lines at the end of the file": (
        None,
        row(A),
        "nodes:\n- name: a\n  npu_addresses:\n    - 10.1.1.1\n    - 10.1.1.2",
        "nodes:\n- name: a\n  npu_addresses: {first: 10.20.0.10}",
    ),
    "a comment goes above what goes over lines": (
        None,
        row(A),
        'nodes:\n- {name: a, labels: {x: "1\n   2"}, npu_addresses: [ # c\n   10.1.1.1]}\n',
        'nodes:\n# c\n- {name: a, labels: {x: "1\n   2"}, npu_addresses: {first: 10.20.0.10}}\n',
    ),
    "null": (
        "bond0",
        row(A),
        "nodes:\n- name: a\n  interface: ~ # i\n  npu_addresses: null # n\n",
        "nodes:\n- name: a\n  interface: bond0 # i\n  npu_addresses: {first: 10.20.0.10} # n\n",
    ),
    "empty": (
        "bond0",
        row(A),
        "nodes:\n- name: a\n  interface: # i\n  npu_addresses:\n  role: head\n",
        "nodes:\n- name: a\n  interface: bond0 # i\n  npu_addresses: {first: 10.20.0.10}\n  role: head\n",
    ),
    "empty in flow": (
        "bond0",
        row(A),
        "nodes:\n- {name: a, interface, npu_addresses: }\n",
        "nodes:\n- {name: a, interface: bond0, npu_addresses: {first: 10.20.0.10} }\n",
    ),
    "another interface": (
        "bond0",
        None,
        "nodes:\n- name: a\n  interface: 'eth0' # c\n",
        "nodes:\n- name: a\n  interface: 'bond0' # c\n",
    ),
    "one address": (None, (A,), "nodes: [{name: a}]", "nodes: [{name: a, npu_addresses: {first: 10.20.0.10}}]"),
    "wide characters before it": (
        "bond0",
        row(A),
        "# \U0001f600 é\nname: '\U0001f600' # я\nnodes: [{labels: {é: \U0001f600}, name: a}] # ж\n",
        (
            "# \U0001f600 é\nname: '\U0001f600' # я\nnodes: [{labels: {é: \U0001f600}, name: a, interface: bond0, "
            "npu_addresses: {first: 10.20.0.10}}] # ж\n"
        ),
    ),
}


@pytest.mark.parametrize("case", WRITTEN.values(), ids=WRITTEN)
def test_it_is_written_as_a_person_would(case: tuple[str | None, tuple[str, ...] | None, str, str]) -> None:
    interface, addresses, before, after = case
    assert one(before, interface, addresses) == after
    assert one("\ufeff" + before, interface, addresses) == "\ufeff" + after


@pytest.mark.parametrize("first", ["10.1.1.1", '"10.1.\\\n 1.1"'], ids=["plain", "over two lines"])
def test_comments_of_entries_that_share_lines_go_above_all_of_them(first: str) -> None:
    text = (
        f"nodes: [{{name: a, npu_addresses: [{first}, # one\n"
        "  10.1.1.2]}, {name: b, npu_addresses: [10.1.1.3, # two\n"
        "  10.1.1.4]}]\n"
    )
    result = amended(text, {"a": Found(None, row(A)), "b": Found(None, row("10.20.1.10"))})
    assert result.text.decode() == (
        "# one\n# two\n"
        "nodes: [{name: a, npu_addresses: {first: 10.20.0.10}}, {name: b, npu_addresses: {first: 10.20.1.10}}]\n"
    )


@pytest.mark.parametrize(
    "same",
    [
        "{first: 10.20.0.10}",
        '{first: "10.20.0.10"} # why',
        "\n    first: 10.20.0.10",
        "[10.20.0.10,10.20.0.11, '10.20.0.12']",
        "\n  - 10.20.0.10\n  # c\n  - 10.20.0.11\n  - 10.20.0.12",
        '{first: "10.20.[0:0].10"}',
    ],
)
def test_what_means_the_same_stays(same: str) -> None:
    text = f"nodes:\n- name: 'a'\n  interface: \"bond0\"\n  npu_addresses: {same}\n"
    if "[0:0]" in same:
        text = text.replace("'a'", '"[a:a]"').replace("interface", 'address: "10.0.0.[1:1]"\n  interface')
    assert one(text, "bond0", row(A, 3)) == text


@pytest.mark.parametrize("name", ["no", "Off", "y", "null", "true", "1e3", "0x1f", "010", "1_0", "12", "2024-01-01"])
def test_an_interface_that_yaml_takes_for_something_else_is_quoted(name: str) -> None:
    assert one("nodes: [{name: a}]", name) == f'nodes: [{{name: a, interface: "{name}"}}]'


@pytest.mark.parametrize("name", ["eth0", "enp67s0f5", "bond0.100", "no-0", "E_x-"])
def test_other_interfaces_are_plain(name: str) -> None:
    assert one("nodes: [{name: a}]", name) == f"nodes: [{{name: a, interface: {name}}}]"


def test_nothing_found_changes_nothing() -> None:
    assert one("nodes: [{name: a}]") == "nodes: [{name: a}]"
    result = amended("nodes: [{name: a}]", {"b": Found(None, None)})
    assert result == Amended(b"nodes: [{name: a}]", ())


# ---- One entry for many nodes --------------------------------------------------------------------------

MANY = 'nodes:\n  - name: "n-[02:05]"\n    address: "10.0.0.[2:5]"\n'


def many(*rows: tuple[str, ...], interfaces: Sequence[str | None] = ()) -> dict[str, Found]:
    named = interfaces or [None] * len(rows)
    return {f"n-{number:02}": Found(named[number - 2], each) for number, each in enumerate(rows, start=2)}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(f"10.20.{figure}.10") for figure in (2, 3, 4, 5)], '{first: "10.20.[2:5].10"}'),
        ([row(f"10.20.0.{figure}") for figure in (0, 8, 16, 24)], '{first: "10.20.0.[0:24:8]"}'),
        ([row(f"10.{figure}.9.{2 * figure}") for figure in (9, 10, 11, 12)], '{first: "10.[9:12].9.[18:24:2]"}'),
        ([row(A)] * 4, "{first: 10.20.0.10}"),
        ([(f"10.{x}.0.3", f"10.{x}.0.1") for x in (1, 2, 3, 4)], '["10.[1:4].0.3", "10.[1:4].0.1"]'),
    ],
)
def test_ranges_say_what_moves_in_step(rows: list[tuple[str, ...]], words: str) -> None:
    result = amended(MANY, many(*rows, interfaces=["bond0"] * 4))
    assert not result.refused
    assert result.text.decode() == f"{MANY}    interface: bond0\n    npu_addresses: {words}\n"
    tree, faults = parse(Source("cluster.yaml", result.text))
    assert not faults
    assert values(tree, 8)[1] == {f"n-{number:02}": each for number, each in enumerate(rows, start=2)}


def test_a_node_out_of_line_is_named_with_the_entry_to_write() -> None:
    rows = [row(f"10.20.{figure}.10") for figure in (2, 9, 4, 5)]
    assert told(MANY, many(*rows)) == (
        "cluster.yaml:2:11: error: nodes[0].npu_addresses: no one text says the NPU addresses of all 4 nodes of this "
        "entry: n-03 differs from the others [range]\n"
        "  |\n"
        '2 |   - name: "n-[02:05]"\n'
        "  |           ^^^^^^^^^^^\n"
        "  = hint: split the range there, and add "
        "- {name: n-03, address: 10.0.0.3, npu_addresses: {first: 10.20.9.10}}\n"
    )


@pytest.mark.parametrize("figures", [(5, 4, 3, 2), (1, 2, 4, 8), (1, 9, 3, 8)])
def test_what_no_range_says_is_refused_for_the_whole_entry(figures: tuple[int, ...]) -> None:
    text = told(MANY, many(*[row(f"10.20.{figure}.10") for figure in figures]))
    assert "addresses of all 4 nodes of this entry [range]" in text
    assert f"like - {{name: n-02, address: 10.0.0.2, npu_addresses: {{first: 10.20.{figures[0]}.10}}}}\n" in text


def test_addresses_of_another_number_are_out_of_line() -> None:
    rows = [row(f"10.20.{figure}.10", 4 if figure == 4 else 8) for figure in (2, 3, 4, 5)]
    assert "n-04 differs from the others" in told(MANY, many(*rows))


def test_interfaces_that_differ_are_refused_and_so_is_the_rest_of_the_entry() -> None:
    text = MANY + "    docker: unix:///d\n"
    rows = [row(f"10.20.{figure}.10") for figure in (2, 3, 4, 5)]
    shown = told(text, many(*rows, interfaces=["bond0", "bond0", "bond0", "eth1"]))
    assert "nodes[0].interface: no one text says the interface of all 4 nodes of this entry: n-05 differs" in shown
    assert (
        "add - {name: n-05, address: 10.0.0.5, interface: eth1, npu_addresses: {first: 10.20.5.10}} with the " in shown
    )


def test_a_part_of_an_entrys_nodes_is_refused_unless_the_spec_says_it_already() -> None:
    some = many(row("10.20.2.10"), row("10.20.3.10"), interfaces=["bond0", "bond0"])
    shown = told(MANY, some)
    assert shown.count("error: ") == 1  # for both fields
    assert "n-02 differs from this entry, but nothing is known of n-04, n-05, for which it stands too" in shown
    assert "add - {name: n-02, address: 10.0.0.2, interface: bond0, npu_addresses: {first: 10.20.2.10}}" in shown
    assert told(f'{MANY}    interface: bond0\n    npu_addresses: {{first: "10.20.[2:5].10"}}\n', some) == ""


def test_other_entries_are_written_all_the_same() -> None:
    text = f"{MANY}  - name: a\n"
    result = amended(text, {**many(row(A)), "a": Found("bond0", None)})
    assert result.text.decode() == f"{text}    interface: bond0\n"
    assert [each.path for each in result.refused] == [("nodes", 0, "npu_addresses")]


# ---- What cannot be written ----------------------------------------------------------------------------


def test_a_node_of_an_overlay_is_refused_with_what_to_write_there() -> None:
    shown = told("nodes: []\n", {"b": Found("bond0", SPREAD), "1e3": Found("no", None)})
    assert shown.startswith("cluster.yaml:1:1: error: nodes: b, 1e3 stand in no entry of this file, but in an overlay ")
    assert (
        "write there: nodes: [{name: b, interface: bond0, npu_addresses: [10.20.0.10, 10.20.0.12]}, "
        '{name: "1e3", interface: "no"}]' in shown
    )


@pytest.mark.parametrize("text", ["", "[]", "nodes: 5", "nodes: {name: a}", "nodes: [a, ~, {name: [a]}]"])
def test_a_spec_without_such_an_entry_is_no_crash(text: str) -> None:
    assert "a stands in no entry of this file" in told(text, {"a": Found("bond0", None)})


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {name: a}\nnodes: [*x]\n",
        "nodes:\n- &x {name: a}\n- {<<: *x, name: b}\n",
        "nodes:\n- {name: a, npu_addresses: !!seq []}\n",
        "nodes:\n- {name: a, name: a}\n",
        "nodes: [{name: a}\n",
        "nodes: [{name: a}]\n---\n",
        'nodes:\n- {name: "x-[1:2]", address: "10.0.0.[1:2]"}\n- {name: "[a:b]", address: "10.0.0.[1:3]"}\n',
    ],
)
def test_what_the_loader_refuses_is_told_in_its_words_and_left_alone(text: str) -> None:
    source = Source("cluster.yaml", text.encode())
    result = amend(source, {"a": Found("bond0", row(A))})
    assert result.text == source.content
    in_its_words = [(each.code, each.message) for each in load([source]).diagnostics]
    assert result.refused
    assert [(each.code, each.message) for each in result.refused] == in_its_words[: len(result.refused)]


def test_the_place_of_a_range_that_misfits_is_its_entry() -> None:
    text = 'nodes:\n- {name: "x-[1:2]", address: "10.0.0.[1:2]"}\n- {name: "[a:b]", address: "10.0.0.[1:3]"}\n'
    assert told(text, {"a": Found("bond0", None)}).startswith("cluster.yaml:3:28: error: nodes[1].address: ")


@pytest.mark.parametrize("text", ["nodes:\n- ? name\n  : a\n", "nodes:\n- name: a\n  ? role\n  : head\n"])
def test_a_key_apart_from_its_colon_is_refused(text: str) -> None:
    assert "write `key: value`, without `?`" in told(text, {"a": Found("bond0", None)})


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Found("eth 0", None), "'eth 0' is no interface name"),
        (Found("a}, {name: b", None), "'a}, {name: b' is no interface name"),
        (Found("eth0\x1b[2J\u2028\ud800", None), "'eth0?[2J??' is no interface name"),
        (Found("eth[0:0]", None), "[0:0] stands for many nodes that would share one name"),
        (Found(None, ("127.0.0.1",)), "127.0.0.1 is a loopback address"),
        (Found("eth0", (A, "")), "'' is no IPv4 address"),
    ],
)
@pytest.mark.parametrize("name", ["a", "n-03", "of-an-overlay"])
def test_what_the_schema_would_refuse_is_not_written(found: Found, why: str, name: str) -> None:
    text = f"{MANY}  - {{name: a}}\n"
    others = many(row("10.20.2.10"), row("10.20.3.10"), row("10.20.4.10"), row("10.20.5.10"))
    assert f"{name} gave what no spec may say: {why}" in told(text, {name: found})
    assert amended(text, {**others, "a": Found("bond0", None), name: found}).text.decode() == one_of_two(text, name)


def one_of_two(text: str, refused: str) -> str:
    """The text when one of its two entries, or none, is refused."""
    ranged = '    npu_addresses: {first: "10.20.[2:5].10"}\n'
    text = text if refused == "n-03" else text.replace("  - {name: a}", f"{ranged}  - {{name: a}}")
    return text if refused == "a" else text.replace("{name: a}", "{name: a, interface: bond0}")


# ---- The examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_changes_in_the_fields_found_alone(example: Path) -> None:
    source = Source(example.name, example.read_bytes())
    before = cluster_of(source.content)
    count = 16 if before.accelerator == "atlas-a3" else 8
    found = {
        node.name: Found(f"bond{count}", row(f"10.9.{index}.16", count)) for index, node in enumerate(before.nodes)
    }
    result = amend(source, found)
    assert not result.refused
    after = cluster_of(result.text)
    assert {node.name: Found(node.interface, npu_addresses_of(node, count)) for node in after.nodes} == found
    assert without_the_fields(after) == without_the_fields(before)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_that_is_right_stays(example: Path) -> None:
    cluster = cluster_of(example.read_bytes())
    count = 16 if cluster.accelerator == "atlas-a3" else 8
    found = {node.name: Found(node.interface, npu_addresses_of(node, count) or None) for node in cluster.nodes}
    assert amend(Source(example.name, example.read_bytes()), found) == (example.read_bytes(), ())


def cluster_of(content: bytes) -> Cluster:
    loaded = load([Source("cluster.yaml", content)])
    assert loaded.cluster is not None, loaded.diagnostics
    return loaded.cluster


def without_the_fields(cluster: Cluster) -> dict[str, object]:
    found = {"interface": None, "npu_addresses": None}
    return vars(cluster.but(nodes=[node.but(**found) for node in cluster.nodes]))


# ---- Any spec, in any style ----------------------------------------------------------------------------


def values(tree: Tree, count: int) -> tuple[dict[str, str | None], dict[str, tuple[str, ...] | None], Tree]:
    """Each node's interface and addresses, and what else the tree says."""
    from compiler.pattern import said, text_of  # noqa: PLC0415

    assert isinstance(tree, dict)
    nodes = tree["nodes"]
    assert isinstance(nodes, list)
    expanded = expand(nodes).nodes
    named = {text_of(node.get("name")) or "": node for node in expanded if isinstance(node, dict)}
    rest: dict[str, Tree] = {
        **tree,
        "nodes": [
            {key: value for key, value in node.items() if key not in ("interface", "npu_addresses")}
            for node in nodes
            if isinstance(node, dict)
        ],
    }
    interfaces = {name: text_of(node.get("interface")) for name, node in named.items()}
    return interfaces, {name: said(node.get("npu_addresses", ""), count) for name, node in named.items()}, rest


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(specs())
def test_any_spec_says_what_was_found_and_keeps_everything_else(spec: Written) -> None:
    source = Source("cluster.yaml", spec.text.encode())
    old_tree, faults = parse(source)
    assert not faults, (faults, spec.text)
    found = {name: each for entry in spec.entries for name, each in entry.found.items()}

    result = amend(source, found)
    after = result.text.decode()
    ends = "\r\n" if "\r\n" in spec.text else "\n"

    new_tree, faults = parse(Source("cluster.yaml", result.text))
    assert not faults, after
    old_interfaces, old_rows, old_rest = values(old_tree, NPUS)
    interfaces, rows, rest = values(new_tree, NPUS)
    assert rest == old_rest
    refused = {each.path[1] for each in result.refused}
    for number, entry in enumerate(spec.entries):
        assert (number in refused) == must_be_refused(entry, old_interfaces, old_rows)
        stays = number in refused or says_it_already(entry, old_interfaces, old_rows)
        assert not stays or spec.written[number].replace("\n", ends) in after
        for name in entry.names:
            facts = entry.found.get(name, Found(None, None)) if number not in refused else Found(None, None)
            assert interfaces[name] == (facts.interface or old_interfaces[name])
            assert rows[name] == (facts.npu_addresses or old_rows[name])

    assert after.count("\n") == after.count(ends)
    assert [line for line in after.split(ends) if line in set(spec.keep)] == [
        line for line in spec.text.split(ends) if line in set(spec.keep)
    ]
    blocks = [HEAD, TAIL, *re.findall(r"\n *# between \d\n\n", spec.text.replace(ends, "\n"))]
    assert all(block.replace("\n", ends).rstrip(" ") in after + ends for block in blocks)
    assert sorted(comments(after)) == sorted(comments(spec.text))
    assert after.split(ends).count("") <= spec.text.split(ends).count("")
    assert after.startswith("\ufeff") == spec.text.startswith("\ufeff")
    assert amend(Source("cluster.yaml", result.text), found).text == result.text


def says_it_already(entry: Entry, interfaces: dict[str, str | None], rows: dict[str, tuple[str, ...] | None]) -> bool:
    """True when nothing that was found differs from the spec."""
    return all(
        facts.interface in (None, interfaces[name]) and facts.npu_addresses == rows[name]
        for name, facts in entry.found.items()
    )


def must_be_refused(entry: Entry, interfaces: dict[str, str | None], rows: dict[str, tuple[str, ...] | None]) -> bool:
    """True when a field has to change and one text cannot stand for all nodes of the entry."""
    named = {name: facts.interface for name, facts in entry.found.items() if facts.interface}
    one_name = len(named) == len(entry.names) and len(set(named.values())) == 1
    all_rows = len(entry.found) == len(entry.names) and entry.sayable
    return (any(interfaces[name] != fact for name, fact in named.items()) and not one_name) or (
        any(rows[name] != facts.npu_addresses for name, facts in entry.found.items()) and not all_rows
    )


def comments(text: str) -> list[str]:
    return re.findall(r"(?<![^\s\[])# ?\w+(?:-\w+)?", text)


@settings(max_examples=EXAMPLES_TRIED // 4, deadline=None)
@given(specs())
def test_what_is_sound_stays_sound(spec: Written) -> None:
    found = {name: each for entry in spec.entries for name, each in entry.found.items()}
    before = load([Source("cluster.yaml", spec.text.encode())]).cluster
    if before is None:
        return
    result = amend(Source("cluster.yaml", spec.text.encode()), found)
    after = cluster_of(result.text)
    assert without_the_fields(after) == without_the_fields(before)
    if not result.refused:
        for node in after.nodes:
            facts = found.get(node.name, Found(None, None))
            assert facts.interface in (None, interface_of(node, after))
            assert facts.npu_addresses in (None, npu_addresses_of(node, NPUS))
