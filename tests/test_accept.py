"""What the fast way accepts the slow way finds no fault in, and the other way round; and both make the same of it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schema.accept import accept
from schema.cluster import Cluster, NodeFields, Sizes
from schema.explain import faults_of, model_of
from schema.record import Between, Field, Record, field, is_record
from schema.scalar import REFUSED, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]


def whole(kind: Any) -> dict[str, Any]:
    """A value for every field: the last example of each, and all that is inside of a record."""
    return {name: _whole(each) for name, each in kind.fields.items()}


def _whole(each: Field) -> Any:
    value, inner = each.examples[-1], list(records(each.kind))
    if not inner:
        return value
    if isinstance(value, list) and isinstance(value[0], dict):
        return [whole(inner[0])]
    if isinstance(value, dict) and value.keys() <= inner[0].fields.keys():
        return whole(inner[0])
    return value


def records(kind: Any) -> Iterator[type[Record]]:
    """The records in a type."""
    if is_record(kind):
        yield kind
    for part in (*getattr(kind, "__args__", ()), *([kind.__origin__] if hasattr(kind, "__metadata__") else [])):
        yield from records(part)


WHOLE = whole(Cluster)
WHOLE["nodes"].append(
    {"name": "node-9", "address": "10.0.0.9", "npu_addresses": {"first": "10.9.0.1"}, "role": "worker"}
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where something stands in a tree."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in entries:
        yield from places(inner, (*path, step))


PLACES = sorted(places(WHOLE), key=str)
NUMBERS = (-2, -1, 0, 1, 2, 15, 16, 1023, 1024, 65520, 65521, 65535, 65536, 86400, 86401, 2**63 - 1, 2**63, 1.5)
SCALARS = [Scalar(json.dumps(value), value) for value in (*NUMBERS, True, False, None)]
SCALARS += [Scalar("0x10", 16), Scalar("1e3", 1000.0), Scalar("", None)]
WORDS = (  # noqa: SIM905 - words are easier to read
    "a / /a//b /a/../b /a 10.0.0.1 127.0.0.1 10.0.0.256 ::1 16g 0g head worker auto tensor bf16 w8a8 PATH A BASH 9A "
    "ssh://{name} tcp://{x} unix:///a image:tag -O max_model_len max-model-len /dev/a /dev models/ Qwen/Qwen3 eth0"
).split()
WORDS += ["", "x" * 64, "a\nb", "a\0b", "a\r", "\u2028", "e" * 65_536]
SOME: list[Any] = [
    *NUMBERS[:4],
    True,
    *SCALARS,
    *WORDS,
    REFUSED,
    [],
    {},
    [SCALARS[8]],
    SCALARS[8:10],
    SCALARS[7:10],
    ["a"],
]
SOME += [
    {name: value}
    for name in ("first", "tensor", "soft", "from_env", "frist", "max-model-len", "A")
    for value in ("A", SCALARS[4])
]
VALUES = st.recursive(
    st.one_of(st.sampled_from(SOME), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)),
    max_leaves=4,
)
GONE = object()
EDITS = st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(VALUES, st.just(GONE))), max_size=3)


def edited(edits: list[tuple[Path, Any]]) -> Any:
    """The whole tree, something else at some of its places."""
    tree = copy.deepcopy(WHOLE)
    for path, value in edits:
        tree = _with(tree, path, value)
    return tree


def _with(tree: Any, path: Path, value: Any) -> Any:
    if not path:
        return tree if value is GONE else value
    *above, last = path
    owner = tree
    for step in above:
        owner = owner.get(step) if isinstance(owner, dict) else _entry(owner, step)
    if isinstance(owner, dict) or _entry(owner, last) is not None:
        if value is not GONE:
            owner[last] = value
        elif isinstance(owner, list) or last in owner:
            del owner[last]
    return tree


def _entry(owner: Any, step: Any) -> Any:
    return owner[step] if isinstance(owner, list) and isinstance(step, int) and step < len(owner) else None


def test_the_whole_tree_says_every_field() -> None:
    assert not faults_of(Cluster, WHOLE)
    met = {name for path in PLACES for name in path if isinstance(name, str)}
    kinds: set[Any] = {Cluster, *records_below(Cluster)}
    assert not {name for kind in kinds for name in kind.fields} - met


def records_below(kind: Any) -> Iterator[type[Record]]:
    for each in kind.fields.values():
        for inner in records(each.kind):
            yield inner
            yield from records_below(inner)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)) or "whole")
def test_fast_and_slow_agree_on_each_value_at_each_place(path: Path) -> None:
    judged = [agreed(edited([(path, value)])) for value in (*SOME, GONE)]
    assert not all(judged)


@settings(max_examples=500, deadline=None)
@given(edits=EDITS)
def test_fast_and_slow_agree(edits: list[tuple[Path, Any]]) -> None:
    agreed(edited(edits))


def agreed(tree: Any) -> bool:
    """Whether both accept it; they must not differ."""
    faults = faults_of(Cluster, tree)
    try:
        made = accept(Cluster, tree)
    except ValueError:
        assert faults
        return False
    assert not faults
    assert plain(made) == plain(model_of(Cluster).model_validate(tree))
    assert list(vars(made)) == list(Cluster.fields)
    for record in (made, made.serve, made.container, *made.nodes):  # as whoever changes one of its fields has it
        assert accept(type(record), {name: getattr(record, name) for name in record.written}) == record
    return True


def plain(value: Any) -> Any:
    """Records and models as what all their fields have, and which of them were said."""
    if isinstance(value, Record):
        return plain(vars(value)), value.written
    if isinstance(value, BaseModel):
        return plain(dict(value)), value.model_fields_set
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_a_record_is_frozen_and_has_the_fields_of_its_class() -> None:
    sizes = Sizes(tensor=8)
    assert (sizes.tensor, sizes.pipeline, sizes.written) == (8, 1, {"tensor"})
    with pytest.raises(AttributeError, match="frozen"):
        sizes.tensor = 4
    with pytest.raises(TypeError, match="tensor, pipeline"):
        Sizes(tensro=8)
    with pytest.raises(TypeError):
        Sizes()


def test_records_are_equal_by_what_they_say() -> None:
    assert Sizes(tensor=8) == Sizes(tensor=8, pipeline=1)
    assert Sizes(tensor=8) != Sizes(tensor=4)
    assert Sizes(tensor=8) != {"tensor": 8, "pipeline": 1}
    assert len({Sizes(tensor=8), Sizes(tensor=8, pipeline=1)}) == 1
    assert repr(Sizes(tensor=8)) == "Sizes(tensor=8, pipeline=1)"


def test_a_record_with_another_value_says_that_too() -> None:
    fields = NodeFields(interface="eth0")
    other = fields.but(docker="unix:///a")
    assert (other.interface, other.docker, other.written) == ("eth0", "unix:///a", {"interface", "docker"})
    assert fields.docker is None


def test_a_field_that_an_instance_lacks_is_no_mark() -> None:
    class Odd(Record):
        """Odd."""

        one: int = field(examples=[1])

    assert not hasattr(Odd, "one")
    assert Odd.fields["one"].is_required


def test_a_mark_that_nobody_knows_is_a_bug() -> None:
    class Odd(Record):
        """Odd."""

        one: int = field(examples=[1])

    Odd.fields["one"] = Odd.fields["one"]._replace(kind=Annotated[int, "what?"])
    with pytest.raises(TypeError, match="no mark"):
        model_of(Odd)
    assert Between(1).most is None
