"""How failures show in a log: each entry of `failures.yaml` is one of these."""

from __future__ import annotations

from typing import Literal, NamedTuple

# How near an entry is to the cause of a failure, the nearest first:
#   machine    the host, its driver or the image: nothing that is told after it can work
#   spec       what was asked for is refused, or does not fit
#   here       one process, port or link of the node whose log says it
#   elsewhere  something was waited for in vain: the cause may be on another node
#   follows    something else failed before; told only where nothing nearer is known
#   harm       nothing failed, but it does harm
Rank = Literal["machine", "spec", "here", "elsewhere", "follows", "harm"]
RANKS: tuple[Rank, ...] = ("machine", "spec", "here", "elsewhere", "follows", "harm")


class Failure(NamedTuple):
    """Something that fails, by what the logs of Ray, vLLM or HCCL say of it.

    Attributes:
        code: A name that stays: HCCL's or CANN's own code where there is one.
        rank: How near it is to the cause.
        says: Regular expressions; a line that one of them is found in tells it. None repeats without a bound.
        cause: What it is, for people.
        to_do: What the one who can mend it would do.
        checks: Checks of `compiler verify` that would have told it before launch, by name or id.
        diagnostics: Codes of `compiler check` that would have.
        source: Where these words, or what they mean, can be read.
        role: Only in logs of nodes of this role, `head` or `worker`; empty for all.
    """

    code: str
    rank: Rank
    says: tuple[str, ...]
    cause: str
    to_do: str
    checks: tuple[str, ...]
    diagnostics: tuple[str, ...]
    source: str
    role: str = ""

    @property
    def pattern(self) -> str:
        """One regular expression for all that it says."""
        return "|".join(self.says)
