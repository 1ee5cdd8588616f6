"""Good values to records, fast. It says nothing of a bad one but that it is bad: why, `schema.explain` finds out.

Both read the same classes, and a property holds them together: what one accepts the other does.
"""

from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from schema.record import Between, Length, MappingOr, Read, Record, is_record

Reader = Callable[[Any], Any]
R = TypeVar("R", bound=Record)


class NotAccepted(ValueError):  # noqa: N818 - no fault of ours
    """The value, or something in it, is not what the record takes."""


def accept(kind: type[R], value: object) -> R:
    """The record that a value says.

    Raises:
        ValueError: It is no good value.
    """
    record: Any = kind
    made: R = _of_record(record)(value)
    return made


@cache
def _of_record(kind: Any) -> Reader:
    readers = {name: _of(each.kind) for name, each in kind.fields.items()}
    defaults = {name: each.default for name, each in kind.fields.items()}
    known = readers.keys()
    required = frozenset(name for name, each in kind.fields.items() if each.is_required)

    @cache  # what many records say is one object for all of them
    def written(*names: str) -> frozenset[str]:
        made = frozenset(names)
        if not required <= made <= known:
            raise NotAccepted
        return made

    def read(value: Any) -> Any:
        if type(value) is not dict:
            return _if(isinstance(value, kind), value)
        names = written(*value)
        said = {name: readers[name](each) for name, each in value.items()}
        return kind.of(defaults | said, names)

    return read


def _of(kind: Any) -> Reader:
    """What reads values of an annotated type."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        return _marked(inner, marks)
    if is_record(kind):
        return _of_record(kind)
    if get_origin(kind) is list:
        return _of_list(*get_args(kind))
    if get_origin(kind) is dict:
        return _of_mapping(*get_args(kind))
    (only,) = (each for each in get_args(kind) if each is not NoneType)  # None is what is not said
    return _of(only)


def _marked(kind: Any, marks: list[Any]) -> Reader:
    first, *rest = marks
    if isinstance(first, MappingOr):
        made = _of_alternatives(kind, first)
    elif isinstance(first, Read):  # it knows the type as well
        made = first.read
    else:
        made, rest = _of(kind), marks
    for mark in rest:
        if isinstance(mark, Between):
            made = _then(made, _number_within(mark))
        elif isinstance(mark, Length):
            made = _then(made, _length_within(mark))
    return made


def _of_alternatives(kind: Any, mark: MappingOr) -> Reader:
    (record,) = filter(is_record, get_args(kind))
    (other,) = (_of(each) for each in get_args(kind) if each is not record)
    mapping = _of_record(record)

    def read(value: Any) -> Any:
        return mapping(value) if isinstance(value, dict | record) else other(value)

    return _then(mark.read, read) if mark.read else read


def _of_list(entry: Any) -> Reader:
    read = _of(entry)
    return lambda value: [read(each) for each in _if(isinstance(value, list), value)]


def _of_mapping(key: Any, entry: Any) -> Reader:
    name, read = _of(key), _of(entry)
    return lambda value: {name(each): read(item) for each, item in _if(isinstance(value, dict), value).items()}


def _number_within(bounds: Between) -> Reader:
    least, most = bounds
    return lambda value: _if(least <= value and (most is None or value <= most), value)


def _length_within(bounds: Length) -> Reader:
    least, most = bounds
    return lambda value: _if(least <= len(value) and (most is None or len(value) <= most), value)


def _then(first: Reader, then: Reader) -> Reader:
    return lambda value: then(first(value))


def _if(good: bool, value: Any) -> Any:  # noqa: FBT001 - it is what this is about
    if not good:
        raise NotAccepted
    return value
