"""What is known to fail while it runs: the entries of `schema/failures.yaml`, read when a log has to be judged."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from compiler.plain import facts_in, listed, mapping, text, texts
from schema.failure import RANKS, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.scalar import Tree


@cache
def failures() -> tuple[Failure, ...]:
    """Every entry, in the order of the file."""
    return tuple(_failure(mapping(each)) for each in listed(facts_in("failures.yaml")))


@cache
def signs(failure: Failure) -> re.Pattern[str]:
    """What finds the entry in a log."""
    return re.compile(failure.pattern)


def _failure(tree: Mapping[str, Tree]) -> Failure:
    return Failure(
        code=text(tree["code"]),
        rank=next(rank for rank in RANKS if rank == text(tree["rank"])),
        says=texts(tree["says"]),
        cause=text(tree["cause"]),
        to_do=text(tree["to_do"]),
        checks=texts(tree.get("checks", [])),
        diagnostics=texts(tree.get("diagnostics", [])),
        source=text(tree["source"]),
        role=text(tree.get("role", "")),
    )
