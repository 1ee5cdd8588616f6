"""Records: what a spec says, as frozen objects; and the marks by which a field says what it takes.

A class of fields is the one definition. Two rooms read it: `schema.accept` makes a record of good values and knows
nothing else, `schema.explain` makes pydantic models of the same classes, which find and tell every fault.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self


class _Required:
    """Stands for the default of a field that must be said."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


class Read(NamedTuple):
    """The value is what this makes of the one that stands in the spec; a `schema.text.Fault` refuses it."""

    read: Callable[[Any], Any]


class Between(NamedTuple):
    """The number is within these bounds."""

    least: int
    most: int | None = None


class Length(NamedTuple):
    """The list has so many entries."""

    least: int
    most: int | None = None


class MappingOr(NamedTuple):
    """Of the two kinds of an alternative, a mapping is meant for the record and anything else for the other one.

    Attributes:
        read: Looks at the value before; or None.
    """

    read: Callable[[Any], Any] | None = None


class Pattern(NamedTuple):
    """A regular expression for the JSON Schema, as ECMA 262 has it."""

    text: str


class Shown:
    """What the JSON Schema says in place of what it would say by itself."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema


class Field(NamedTuple):
    """A field of a record.

    Attributes:
        kind: Its type, with the marks.
        default: What it has when nothing is said, or REQUIRED.
        examples: What a person might write.
    """

    kind: Any
    default: Any
    examples: tuple[Any, ...]

    @property
    def is_required(self) -> bool:
        """Whether it must be said."""
        return self.default is REQUIRED


def is_record(kind: Any) -> bool:
    """Whether a type is a record's."""
    return isinstance(kind, type) and issubclass(kind, Record)


def field(default: Any = REQUIRED, *, examples: list[Any]) -> Any:
    """A field of the type that is annotated."""
    return Field(None, default, tuple(examples))


class Record:
    """Frozen, and no field is accepted that is not named; the docstring under a field is its description.

    Attributes:
        fields: By name, in the order of the class, those that are inherited first.
        written: Names of the fields that were said; the others have their defaults.
    """

    __slots__ = ("__dict__", "written")
    fields: ClassVar[dict[str, Field]] = {}
    written: frozenset[str]

    def __init_subclass__(cls) -> None:
        own = cls.__annotations__
        cls.fields = cls.fields | {name: getattr(cls, name)._replace(kind=kind) for name, kind in own.items()}
        for name in own:
            delattr(cls, name)  # an instance that lacks it shall not find this

    def __init__(self, **said: Any) -> None:
        """A record of values that are good already.

        Raises:
            TypeError: A field has no value, or there is none of that name.
        """
        values = {name: each.default for name, each in self.fields.items()} | said
        if values.keys() != self.fields.keys() or REQUIRED in values.values():
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self.fields)}, and got {', '.join(said)}")
        object.__setattr__(self, "__dict__", values)
        object.__setattr__(self, "written", frozenset(said))

    @classmethod
    def of(cls, values: dict[str, Any], written: frozenset[str]) -> Self:
        """A record of a good value for each field, which it takes as its own."""
        made = object.__new__(cls)
        object.__setattr__(made, "__dict__", values)
        object.__setattr__(made, "written", written)
        return made

    def but(self, **said: Any) -> Self:
        """The same with other values, which are good already."""
        return self.of(vars(self) | said, self.written | said.keys())

    def said(self) -> dict[str, Any]:
        """The fields that were said, in the order of the class, as plain values all the way down."""
        return {name: plain(value) for name, value in vars(self).items() if name in self.written}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def plain(value: Any) -> Any:
    """A value as JSON has it: of a record, what was said."""
    if isinstance(value, Record):
        return value.said()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
