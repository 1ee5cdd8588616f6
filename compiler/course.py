"""What happens while a cluster is changed, as values: whoever shows it decides how."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from compiler.triage import Finding


class Began(NamedTuple):
    """A step has begun; `of` is how many nodes it is about, or 0."""

    step: str
    text: str
    of: int = 0


class Now(NamedTuple):
    """What is being done right now; of interest for a moment only."""

    node: str
    text: str


class Noted(NamedTuple):
    """Something that is worth a line; `node` is empty for what is about all."""

    node: str
    text: str


class Line(NamedTuple):
    """A line of the service's log."""

    text: str


class Ended(NamedTuple):
    """A step is done, after so many seconds."""

    step: str
    seconds: float


class Failure(NamedTuple):
    """What went wrong.

    Attributes:
        node: On which node; empty when on none in particular.
        step: At which step.
        cause: What was said.
        to_do: What to do.
    """

    node: str
    step: str
    cause: str
    to_do: str


class Failed(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """A step failed.

    Attributes:
        failures: On which nodes, and why.
        findings: What their logs say of it, as far as it is known.
        last: The last lines of those logs.
    """

    def __init__(
        self, failures: tuple[Failure, ...], findings: tuple[Finding, ...] = (), last: tuple[str, ...] = ()
    ) -> None:
        super().__init__("; ".join(f"{each.node}: {each.cause}" for each in failures))
        self.failures = failures
        self.findings = findings
        self.last = last


Event = Began | Now | Noted | Line | Ended
