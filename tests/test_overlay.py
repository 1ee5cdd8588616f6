"""Overlays and ranges: what becomes of several files, and where their faults are told."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from compiler.compile import compile_spec
from compiler.ranges import expand
from compiler.source import Source

BASE = (Path(__file__).parent.parent / "examples" / "qwen3-235b.yaml").read_bytes()


def compiled(*overlays: str):  # noqa: ANN201 - Compiled
    files = [Source("base.yaml", BASE)]
    files += [Source(f"overlay-{index}.yaml", text.encode()) for index, text in enumerate(overlays, start=1)]
    return compile_spec(files)


def test_mappings_merge_deep_and_nodes_by_name() -> None:
    plan = compiled(
        "name: staging\nserve: {args: {seed: 1}}\nnodes: [{name: node-1, interface: bond9}]",
        "ports: {ray: 7000}",
    ).plan
    assert plan is not None
    assert plan.name == "staging"
    assert ("--seed", "1") in plan.serve.lines
    assert ("--max-model-len", "8192") in plan.serve.lines
    assert [node.interface for node in plan.nodes] == ["enp67s0f5", "bond9"]
    assert plan.ports.ray == 7000


def test_a_range_in_an_overlay_reaches_every_node_it_names() -> None:
    plan = compiled('nodes: [{name: "node-[0:1]", interface: bond0}]').plan
    assert plan is not None
    assert {node.interface for node in plan.nodes} == {"bond0"}


def test_an_overlay_reaches_one_node_of_a_range() -> None:
    spec = BASE.replace(
        b"name: node-1\n    address: 192.168.10.11", b'name: "node-[1:3]"\n    address: "192.168.10.[11:13]"'
    )
    spec = spec.replace(b"{first: 10.20.0.20}", b'{first: "10.20.[1:3].10"}')
    plan = compile_spec(
        [Source("base.yaml", spec), Source("over.yaml", b"nodes: [{name: node-2, interface: bond7}]")]
    ).plan
    assert plan is not None
    assert [node.interface for node in plan.nodes] == ["enp67s0f5", "enp67s0f5", "bond7", "enp67s0f5"]


def test_null_takes_a_key_away_and_an_empty_overlay_does_nothing() -> None:
    plan = compiled("serve: {args: {seed: ~, never-there: ~}}", "", "# nothing\n").plan
    assert plan is not None
    assert not [line for line in plan.serve.lines if line[0] in ("--seed", "--never-there")]


def test_a_faulty_range_in_an_overlay_is_told_there() -> None:
    found = compiled('nodes: [{name: node-1}, {name: "node-[5:7]", address: "192.168.10.[5:6]"}]').diagnostics
    assert [(each.code, each.place.file, each.place.line) for each in found] == [("range", "overlay-1.yaml", 1)]


def test_a_fault_between_two_files_points_into_the_overlay_and_names_the_line_of_the_other() -> None:
    _, found = compiled(
        "nodes:\n  - name: node-1\n    address: 192.168.10.10\n"
    ).diagnostics  # the first is of the guide's own command
    assert (found.code, found.place.file, found.place.line) == ("duplicate-address", "overlay-1.yaml", 3)
    assert "of base.yaml" in found.hint


@given(st.integers(0, 500), st.integers(0, 60), st.integers(1, 5), st.integers(1, 4))
def test_ranges_run_as_in_an_inventory(first: int, count: int, step: int, width: int) -> None:
    last = first + count
    text = f"[{str(first).zfill(width)}:{last}:{step}]"
    expanded = expand([{"name": f"n-{text}", "address": f"10.0.0.{text}"}])
    numbers = range(first, last + 1, step)
    padded = len(str(first)) if str(first).startswith("0") else 0
    pad = max(width, len(str(first))) if len(str(first)) < width or str(first).startswith("0") else padded
    assert [node["name"] for node in expanded.nodes] == [f"n-{str(number).zfill(pad)}" for number in numbers]  # type: ignore[index, call-overload]
    assert expanded.entries == [0] * len(numbers)
