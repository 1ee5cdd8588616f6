"""A Cluster as its leaves: each field and entry, written or by default; and a cluster with one of them changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from schema.accept import accept
from schema.described import descriptions
from schema.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from compiler.diagnostics import Path


class Leaf(NamedTuple):
    """One field, or one entry of a list or a mapping.

    Attributes:
        path: Where in the cluster.
        value: What it has there.
        written: Whether a file says so; else it is the default.
        kind: Its type, as the schema has it.
        examples: Values that a person might write.
        optional: Whether it may be left out.
        about: What the schema says about it.
        entry: An entry of a list or a mapping, and no field with a name of its own.
    """

    path: Path
    value: Any
    written: bool
    kind: Any
    examples: tuple[Any, ...]
    optional: bool
    about: str
    entry: bool = False


class _Gone:
    """Stands for the value of a field that is left out."""

    def __repr__(self) -> str:
        return "GONE"


GONE = _Gone()


def leaves(model: Record, path: Path = ()) -> Iterator[Leaf]:
    """Every field of a model and all that is inside of it, in the order of the schema."""
    about = descriptions(type(model).__name__)
    for name, field in model.fields.items():
        leaf = Leaf(
            path=(*path, name),
            value=getattr(model, name),
            written=name in model.written,
            kind=field.kind,
            examples=field.examples,
            optional=not field.is_required,
            about=about.get(name, ""),
        )
        yield leaf
        yield from _inside(leaf)


def _inside(leaf: Leaf) -> Iterator[Leaf]:
    if isinstance(leaf.value, Record):
        yield from leaves(leaf.value, leaf.path)
    for step, value in _entries(leaf.value):
        movable = isinstance(step, int) and not isinstance(value, Record)  # without it all that follow would move up
        optional = leaf.written and not movable
        entry = Leaf((*leaf.path, step), value, leaf.written, _item(leaf.kind), (), optional, "", entry=True)
        yield entry
        yield from _inside(entry)


def _entries(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _item(kind: Any) -> Any:
    """The type of the entries of a list or a mapping; Any where the schema leaves it open."""
    for branch in branches(kind):
        if get_origin(branch) in (list, dict):
            return get_args(branch)[-1]
    return Any


def branches(kind: Any) -> list[Any]:
    """The alternatives of a type, without what is annotated to them."""
    if hasattr(kind, "__metadata__"):
        return branches(kind.__origin__)
    if get_origin(kind) in (list, dict) or not get_args(kind) or _is_choice(kind):
        return [kind]
    return [branch for each in get_args(kind) for branch in branches(each)]


def _is_choice(kind: Any) -> bool:
    return not any(
        isinstance(each, type) or get_origin(each) or hasattr(each, "__metadata__") for each in get_args(kind)
    )


def choices(kind: Any) -> list[Any]:
    """The words that a field of this type may have, where the schema lists them."""
    return [word for branch in branches(kind) if _is_choice(branch) for word in get_args(branch)]


def changed(value: Any, path: Path, new: Any) -> Any:
    """The value with `new` at `path`, or without it when that is GONE.

    Raises:
        ValueError: The schema admits no such value.
    """
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(value, Record):
        fields = {name: getattr(value, name) for name in value.written}
        return accept(type(value), _put(fields, step, changed(getattr(value, str(step)), rest, new)))
    if isinstance(value, dict):
        return _put(dict(value), step, changed(value[step], rest, new))
    items = dict(enumerate(value))
    return list(_put(items, step, changed(value[step], rest, new)).values())


def _put(fields: dict[Any, Any], step: str | int, new: Any) -> dict[Any, Any]:
    if new is GONE:
        fields.pop(step, None)
    else:
        fields[step] = new
    return fields
