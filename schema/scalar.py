"""A plain YAML scalar that is not text keeps what was written, so that the schema decides what it is.

`OMP_NUM_THREADS: 1` is the text `1`, `port: 8000` the number 8000: the same kind of scalar, read by
the type of the field it stands in.
"""

from __future__ import annotations


class Scalar:
    """A number, a boolean or a null, as written. No tuple: a validator must not take it for a list.

    Attributes:
        text: What stands in the file.
        value: What YAML 1.2's core schema makes of it.
    """

    __slots__ = ("text", "value")

    def __init__(self, text: str, value: float | bool | None) -> None:  # noqa: FBT001 - it is the value
        self.text = text
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Scalar({self.text!r})"


class Refused:
    """Stands where the source was refused and that was told already; no second fault is told of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REFUSED"


REFUSED = Refused()

Tree = dict[str, "Tree"] | list["Tree"] | str | Scalar | Refused
