"""Every system call of a write is the one at which the process dies, or the disk fails, once."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from disturbed import Writers, judge, prepared, writers
from writer import PAIRS

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(STRACE is None and not os.environ.get("CI"), reason="needs strace")

CHANGING = (
    "write", "openat", "mkdirat", "renameat", "renameat2", "linkat", "symlinkat", "unlinkat", "fchmod",
    "fchown", "utimensat", "syncfs", "close",
)  # fmt: skip
READING = ("read", "fstat", "newfstatat", "getdents64", "readlinkat", "flock", "fcntl")
SCENARIOS = {
    "first": [],
    "over an old one": [],
    "without exchange": ["-e", "inject=renameat2:error=EINVAL"],
    "amended": [],
    "replaced": [],
}
FAULTS = {"SIGKILL": CHANGING, "EIO": CHANGING + READING, "ENOSPC": CHANGING}


@pytest.fixture(scope="module")
def forks() -> Iterator[Writers]:
    with writers() as started:
        yield started


def points(scenario: str, fault: str) -> list[str]:
    skipped = {"renameat2"} if scenario == "without exchange" else set()
    if fault == "ENOSPC" and not os.environ.get("SOAK"):
        # A quarter of the points. Which error it is decides only the message, and EIO is tried at each.
        skipped |= {"openat", "close"}
    return [call for call in FAULTS[fault] if call not in skipped]


class Point(NamedTuple):
    """One fault at the nth call of one kind."""

    scenario: str
    fault: str
    call: str
    nth: int

    @property
    def injections(self) -> list[str]:
        how = "signal=SIGKILL" if self.fault == "SIGKILL" else f"error={self.fault}"
        return [*SCENARIOS[self.scenario], "-e", f"inject={self.call}:{how}:when={self.nth}"]


@pytest.mark.parametrize(
    ("scenario", "fault", "call"),
    [(scenario, fault, call) for scenario in SCENARIOS for fault in FAULTS for call in points(scenario, fault)],
)
def test_every_call(forks: Writers, tmp_path: Path, scenario: str, fault: str, call: str) -> None:
    log, found = tmp_path / "strace", Counter[str]()
    while found.total() == 0 or was_hit(log, call):
        point = Point(scenario, fault, call, found.total() + 1)
        pair = scenario if scenario in PAIRS else "unknown"
        with prepared(pair, over_old=scenario != "first") as (root, foreign):
            outcome = disturb(forks, pair, root, point, log)
            absent = scenario in {"first", "without exchange"}
            found[judge(pair, root, foreign, outcome, may_be_absent=absent)] += 1
    print(f"{scenario}, {fault} at {call}: {found.total() - 1} points, {dict(found)}")  # noqa: T201  # for -rP


def was_hit(log: Path, call: str) -> bool:
    """Whether there was such a call left to disturb."""
    lines = log.read_text().splitlines()
    return any("SIGKILL" in line or (line.startswith(f"{call}(") and "INJECTED" in line) for line in lines)


def disturb(forks: Writers, pair: str, root: Path, point: Point, log: Path) -> str:
    """Let a process write under strace, attached while it waits: so only calls of the write are counted."""
    traced = ["-o", str(log), "-p", str(forks.ready(pair, root)), "-e", f"trace={point.call},renameat2"]
    strace = subprocess.Popen([STRACE or "strace", *traced, *point.injections], stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline()
    forks.go()
    outcome = forks.outcome()
    strace.communicate()
    return outcome
