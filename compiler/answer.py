"""What a node answered: its checks, and what is known of it beside them."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

Status = Literal["ok", "warn", "FAIL", "skip"]
STATUSES: tuple[Status, ...] = ("FAIL", "warn", "skip", "ok")  # the worst first


class Check(NamedTuple):
    """One check of one node, as verify.sh prints it.

    Attributes:
        id: Its stable name, with what it looked at in brackets: `link[3]`.
        status: `ok`, `warn` (it may work), `FAIL` (it will not) or `skip` (it could not be looked at).
        seen: What is there.
        expected: What should be there.
        next: What to do.
        by_hand: The command that shows the same.
        source: The page that says why it is checked.
    """

    id: str
    status: Status
    seen: str
    expected: str = ""
    next: str = ""
    by_hand: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The id without its brackets."""
        return self.id.partition("[")[0]

    @property
    def subject(self) -> str:
        """What stands in the brackets, or nothing."""
        return self.id.partition("[")[2].removesuffix("]")


class Answer(NamedTuple):
    """All that one node said.

    Attributes:
        node: Its name.
        checks: In the order in which they were made.
        fault: Why it could not be asked, or not to the end; empty when it was.
        to_do: What to do about that.
        ahead: Seconds that its clock is ahead of ours, or None.
        uncertainty: Seconds by which `ahead` may be wrong.
        seconds: How long it took.
    """

    node: str
    checks: tuple[Check, ...] = ()
    fault: str = ""
    to_do: str = ""
    ahead: float | None = None
    uncertainty: float = 0.0
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """How it went, in a few words: `70 ok, 3 skip in 4 s`, or why it could not be asked."""
        if self.fault:
            return self.fault
        counts = {
            status: sum(check.status == status for check in self.checks) for status in ("ok", "warn", "FAIL", "skip")
        }
        return f"{', '.join(f'{count} {status}' for status, count in counts.items() if count)} in {self.seconds:.0f} s"

    def named(self, name: str) -> tuple[Check, ...]:
        """Its checks of this name."""
        return tuple(check for check in self.checks if check.name == name)


def read_checks(text: str) -> tuple[Check, ...]:
    """The checks in what `verify.sh --json` printed.

    Raises:
        ValueError: It is something else.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format_version") != 1:
        raise ValueError("no report of verify.sh")
    return tuple(_check(each) for each in document["checks"])


def _check(told: dict[str, str]) -> Check:
    check = Check(*(str(told.get(field, "")) for field in Check._fields))  # type: ignore[arg-type]
    if check.status not in STATUSES:
        raise ValueError(f"{check.id} is {check.status}")
    return check
