"""docs/verification.md names every check, with its real source, and a way to see each known cause before launch."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest
from docs_text import ROOT
from plans import A3, two_nodes
from verify_host import render_verify

from compiler import judge, look
from compiler.checks import known_names
from compiler.engine_look import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose head begins so."""
    rows = DOCUMENT.partition(heading)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@cache
def sources() -> dict[str, str]:
    """The source that verify.sh declares for each check."""
    script = render_verify(two_nodes(A3)).rstrip().removesuffix('main "$@"')
    show = '\nfor name in "${!SOURCE[@]}"; do printf "%s %s\\n" "$name" "${SOURCE[$name]}"; done'
    done = subprocess.run(("bash", "-c", script + show), capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def url(cell: str) -> str:
    return cell.partition("](")[2].removesuffix(")")


def test_each_check_of_the_script_has_its_row_and_its_real_source() -> None:
    rows = table("Made on each node:\n\n")
    assert [row[0].strip("`") for row in rows] == list(known_names())
    assert {row[0].strip("`"): url(row[2]) for row in rows} == sources()
    assert all(source.startswith("https://") for source in sources().values())


def test_each_check_of_engine_and_image_has_its_row_and_its_real_source() -> None:
    rows = table("Made of each node's engine and image, by `compiler verify` alone:\n\n")
    assert {row[0].strip("`") for row in rows} == set(look.OURS) - set(look.BY_US)
    ended = look.look_checks(Outcome(0, "python 3.11\nray 2.48.0\nprogram /bin/vllm\nnpu-smi 0\n", ""))
    found = {check.name: check.source for check in (*ended, look.given_check({}))}
    assert {row[0].strip("`"): url(row[2]) for row in rows} == found


def across() -> Iterator[str]:
    """The ids that comparing nodes can give."""
    yield from (f"{alike.name}[nodes]" for alike in judge.ALIKE)
    text = (ROOT / "compiler" / "judge.py").read_text(encoding="utf-8")
    yield from (name for name in re.findall(r'"([a-z-]+\[[a-z]+\])"', text) if name != "cache[shared]")


def test_each_comparison_has_its_row() -> None:
    rows = table("that of the check that is compared:\n\n")
    assert sorted(name for row in rows for name in re.findall(r"`([^`]+)`", row[0])) == sorted(across())


CAUSES = table("or why nothing can.\n\n")


def test_there_are_thirty_two_causes() -> None:
    assert [row[0] for row in CAUSES] == [str(number) for number in range(1, 33)]
    assert all("](https://" in row[2] for row in CAUSES)


@pytest.mark.parametrize("row", CAUSES, ids=lambda row: row[0])
def test_each_cause_is_told_by_what_there_is_or_says_why_not(row: list[str]) -> None:
    names = {*known_names(), *look.OURS, *across(), "tls[same]", "cache[shared]"}
    told = row[3]
    listed = re.findall(r"checks? ((?:`[^`]+`(?:, )?)+)", told)
    checks = [name for group in listed for name in re.findall(r"`([^`]+)`", group)]
    assert set(checks) <= names
    assert checks or "diagnostics.md#" in told or "not told" in told or "not before launch" in told
