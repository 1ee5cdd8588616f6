"""Every fault of a bad spec, and the JSON Schema of a good one: by pydantic models of the same records.

Only who has a fault to tell needs it: `schema.accept` takes a good spec without, and pydantic is slow to import.
"""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as FieldOf
from pydantic_core import PydanticCustomError

from schema.record import Between, Length, MappingOr, Pattern, Read, Record, Shown, is_record
from schema.text import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails

_MAPPING, _OTHER = "\0mapping", "\0other"  # no key of a spec begins so


def faults_of(kind: Any, value: object) -> list[ErrorDetails]:
    """Every fault of a value that should be such a record; none when it is good."""
    try:
        model_of(kind).model_validate(value)
    except ValidationError as invalid:
        return invalid.errors(include_url=False)
    return []


@cache
def model_of(kind: Any) -> type[BaseModel]:
    """The record as a pydantic model."""
    fields: dict[str, Any] = {}
    for name, each in kind.fields.items():
        about: dict[str, Any] = {"examples": list(each.examples)}
        if isinstance(each.default, Record):
            about["default_factory"] = lambda made=each.default: made
        elif not each.is_required:
            about["default"] = each.default
        fields[name] = (as_pydantic(each.kind), FieldOf(**about))
    config = ConfigDict(extra="forbid", frozen=True)
    return create_model(kind.__name__, __config__=config, __doc__=kind.__doc__, **fields)


def as_pydantic(kind: Any) -> Any:
    """An annotated type of a field in pydantic's words."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        alternatives = next((mark for mark in marks if isinstance(mark, MappingOr)), None)
        made = _alternatives(inner) if alternatives else as_pydantic(inner)
        return Annotated[(made, *(each for mark in marks for each in _mark(mark)))]
    if is_record(kind):
        return model_of(kind)
    if get_origin(kind) is list:
        return _subscripted(list, as_pydantic(*get_args(kind)))
    if get_origin(kind) is dict:
        key, entry = get_args(kind)
        return _subscripted(dict, (as_pydantic(key), as_pydantic(entry)))
    if NoneType in get_args(kind):
        return _subscripted(Union, tuple(each if each is NoneType else as_pydantic(each) for each in get_args(kind)))
    return kind


def _alternatives(kind: Any) -> Any:
    tagged = (Annotated[as_pydantic(each), Tag(_MAPPING if is_record(each) else _OTHER)] for each in get_args(kind))
    return _subscripted(Union, tuple(tagged))


def _subscripted(kind: Any, arguments: Any) -> Any:
    return kind[arguments]


def _mark(mark: Any) -> list[Any]:
    match mark:
        case Read(read):
            return [BeforeValidator(_telling(read))]
        case Between(least, most):
            return [FieldOf(ge=least, le=most)]
        case Length(least, most):
            return [FieldOf(min_length=least, max_length=most)]
        case Pattern(text):
            return [FieldOf(json_schema_extra={"pattern": text})]
        case Shown():
            return [WithJsonSchema(mark.schema)]
        case MappingOr(read):
            form = Discriminator(lambda value: _MAPPING if isinstance(value, dict | Record) else _OTHER)
            return [form, *([BeforeValidator(_telling(read))] if read else [])]
    raise TypeError(f"{mark!r} is no mark of schema.record")


def _telling(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, its fault as pydantic wants one."""

    def told(value: Any) -> Any:
        try:
            return read(value)
        except Fault as fault:
            if not fault.code:
                raise PydanticCustomError("told", "told already") from None
            about = {"code": fault.code, "message": fault.message, "hint": fault.hint}
            raise PydanticCustomError("spec", "{message}", about) from None

    return told
