"""A write that is disturbed from outside, and what must hold of the disk at whatever point that was."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from small_bundles import Seen, expected, names, put_foreign, seen
from writer import PAIRS

from compiler.write import write

MEMORY = "/dev/shm"  # noqa: S108  # mkdtemp makes a folder of its own there
HERE = Path(__file__).parent
LEFTOVERS = (".tiny.new", ".tiny.old")


class Writers:
    """Processes that write a bundle, one at a time, each waiting until it is let go."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-B", str(HERE / "writer.py")],
            env=os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE.parents[1]}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self, pair: str, root: Path) -> int:
        return int(self._ask(f"{pair} {root}"))

    def go(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write("\n")
        self._server.stdin.flush()

    def outcome(self) -> str:
        """`killed`, `done`, `refused: ...` or `traceback: ...`."""
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def close(self) -> None:
        self._server.communicate()

    def _ask(self, line: str) -> str:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()
        return self.outcome()


@contextmanager
def writers() -> Iterator[Writers]:
    started = Writers()
    try:
        yield started
    finally:
        started.close()


@contextmanager
def prepared(pair: str, *, over_old: bool) -> Iterator[tuple[Path, dict[str, Seen]]]:
    """A root in memory, where a flush costs nothing: empty, or with the old bundle, and foreign files if unknown."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="write-") as folder:
        root = Path(folder)
        foreign: dict[str, Seen] = {}
        if over_old:
            old, _, is_known = PAIRS[pair]
            write(old, root)
            foreign = {} if is_known else put_foreign(root / "tiny")
        yield root, foreign


def judge(pair: str, root: Path, foreign: dict[str, Seen], outcome: str, *, may_be_absent: bool) -> str:
    """Hold every promise against the disk as it is, and after the next run; tells which bundle lay there."""
    left = [name for name in names(root) if name != "tiny"]
    assert all(name.startswith(LEFTOVERS) for name in left), left
    found = published(pair, root, foreign, may_be_absent=may_be_absent)
    if outcome == "done":
        assert (found, left) == ("new", [])
    elif outcome != "killed":
        assert outcome.startswith("refused: "), outcome
        assert all(name in outcome or pattern_of(name) in outcome for name in left), (left, outcome)
    new = PAIRS[pair][1]
    write(new, root)
    assert seen(root / "tiny") == expected(new, foreign)
    assert names(root) == ["tiny"]
    return found


def pattern_of(name: str) -> str:
    """How a leftover is named by a run that cannot even list the folder."""
    return f"{name.partition('-')[0]}-*"


def published(pair: str, root: Path, foreign: dict[str, Seen], *, may_be_absent: bool) -> str:
    if not (root / "tiny").exists():
        assert may_be_absent
        return "none"
    now, (old, new, _) = seen(root / "tiny"), PAIRS[pair]
    if now == expected(new, foreign):
        return "new"
    assert now == expected(old, foreign)
    return "old"
