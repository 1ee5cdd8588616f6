"""Rows of text with their columns aligned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_GAP = "  "


def aligned(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    """A line for each row; columns in `right` are set to the right, and those empty everywhere are left out."""
    kept = [column for column in range(len(rows[0])) if any(row[column] for row in rows)] if rows else []
    widths = {column: max(len(row[column]) for row in rows) for column in kept}

    def cell(row: Sequence[str], column: int) -> str:
        return row[column].rjust(widths[column]) if column in right else row[column].ljust(widths[column])

    return [_GAP.join(cell(row, column) for column in kept).rstrip() for row in rows]
