"""A second process does its half as the first would, and never outlives whoever wanted it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from processes import children, until
from small_bundles import expected, names, nodes, seen

from compiler.beside import Turns, beside
from compiler.bundle import Bundle, File, Folder, Parts
from compiler.compile import compile_spec
from compiler.left import MANY
from compiler.render import render
from compiler.source import Source
from compiler.write import WriteRefused, write

Wanted = Callable[[], None]
Steps = Generator[object, str, None]
Task = Callable[[Wanted], Steps]
SPEC = (
    "version: 1\nname: many\naccelerator: atlas-a2\nimage: quay.io/ascend/vllm-ascend:v0.11.0\ncache: /mnt/cache\n"
    "defaults: {interface: eth0}\nserve: {model: /root/.cache/models/large}\nnodes:\n"
)


def test_what_the_task_gives_comes_back() -> None:
    def task(wanted: Wanted) -> Steps:
        wanted()
        yield os.getpid(), b"x" * 1_000_000

    with beside(task) as other:
        process, content = other.heard()
    assert process != os.getpid()
    assert content == b"x" * 1_000_000
    assert str(process) not in children()


def test_the_two_talk_in_turns() -> None:
    def task(_: Wanted) -> Steps:
        first = yield 1
        second = yield f"{first}?"
        yield [first, second]

    with beside(task) as other:
        other.say("said before it is waited for")
        assert other.heard() == 1
        assert other.heard() == "said before it is waited for?"
        other.say("")
        assert other.heard() == ["said before it is waited for", ""]
        other.say("it has nothing more to do")
        with pytest.raises(RuntimeError, match="without a result"):
            other.heard()
        other.say("it is gone, and nobody minds")


@pytest.mark.parametrize("count", [0, 1, 64, 65, 10_000, 65_537, 100_000])
def test_each_number_has_one_turn(count: int) -> None:
    with Turns(count) as turns:
        assert [number for turn in turns for number in turn] == [*range(count)]


def test_a_refusal_is_one_here() -> None:
    def task(_: Wanted) -> Steps:
        yield "so far so good"
        raise WriteRefused("cannot write x: full", "make room")

    with beside(task) as other:
        other.say(f"go on after {other.heard()}")
        with pytest.raises(WriteRefused) as caught:
            other.heard()
    assert (caught.value.message, caught.value.hint) == ("cannot write x: full", "make room")


def breaks(_: Wanted) -> Steps:
    yield 1 // 0


def is_killed(_: Wanted) -> Steps:
    yield os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    def __reduce__(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


def is_killed_while_it_says(_: Wanted) -> Steps:
    yield b"x" * 1_000_000, Deadly()


def sleeps(_: Wanted) -> Steps:
    yield time.sleep(60)


@pytest.mark.parametrize(
    ("task", "says"), [(breaks, "ZeroDivisionError"), (is_killed, ""), (is_killed_while_it_says, "")]
)
def test_any_other_end_is_a_fault(capfd: pytest.CaptureFixture[str], task: Task, says: str) -> None:
    with pytest.raises(RuntimeError, match="without a result"), beside(task) as other:
        other.heard()
    assert says in capfd.readouterr().err


def test_whatever_ends_the_block_ends_the_task() -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt), beside(sleeps):
        raise KeyboardInterrupt
    assert children() == before


def test_ctrl_c_ends_the_one_and_so_the_other() -> None:
    before = children()

    def pressed() -> object:
        (child,) = children() - before
        os.kill(int(child), signal.SIGINT)  # as a terminal does, it is sent to both
        time.sleep(0.2)
        assert child in children()
        return os.kill(os.getpid(), signal.SIGINT)  # type: ignore[func-returns-value]

    with pytest.raises(KeyboardInterrupt), beside(sleeps) as other:
        _ = pressed(), other.heard()
    assert children() == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_where_no_process_can_be_made_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BlockingIOError), beside(sleeps):
        raise AssertionError
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


LOCKED = """
import fcntl, os, sys, time
from compiler.beside import beside
root = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(root, fcntl.LOCK_EX)
def works(wanted):
    print(os.getpid(), flush=True)
    while True:
        wanted()
        time.sleep(0.05)
    yield
def says_much(wanted):
    print(os.getpid(), flush=True)
    yield b"x" * 1_000_000
def listens(wanted):
    yield
    print(os.getpid(), flush=True)
    yield
with beside(globals()[sys.argv[2]]) as other:
    other.say("go on")
    time.sleep(60)
"""


@pytest.mark.parametrize("does", ["works", "says_much", "listens"])
def test_it_ends_when_whoever_wanted_it_is_killed(tmp_path: Path, does: str) -> None:
    """And until then it keeps the lock: nobody else works on what it is still writing."""
    command = (sys.executable, "-c", LOCKED, tmp_path, does)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        root = os.open(tmp_path, os.O_RDONLY)
        os.kill(child, signal.SIGSTOP)
        process.kill()
        process.wait()
        with pytest.raises(BlockingIOError):
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(child, signal.SIGCONT)

        def is_free() -> bool:
            try:
                fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        until(is_free)
        os.close(root)
        assert process.stderr is not None
        assert not process.stderr.read()


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    entries = "".join(
        f"  - {{name: n{at}, address: 10.0.{at // 250}.{at % 250 + 1}, env: {{A: '{at}'}}}}\n" for at in range(301)
    )
    plan = compile_spec([Source("many.yaml", (SPEC + entries).encode())]).plan
    assert plan is not None
    one, two = write(render(plan), tmp_path / "one"), write(render(plan), tmp_path / "two", processes=2)
    assert one.changes == two.changes
    assert seen(tmp_path / "one") == seen(tmp_path / "two")
    listed = json.loads((tmp_path / "two" / "many" / "manifest.json").read_bytes())["files"]
    assert len(listed) == len(one.changes) - 1
    again = write(render(plan), tmp_path / "two", processes=2)
    assert again.changes == ()
    assert one.left is not None
    assert two.left is not None
    assert again.left is not None
    assert [[*each.stamps] for each in again.left.folders] == [[*each.stamps] for each in two.left.folders]
    assert [each._replace(stamps=()) for each in one.left.folders] == [
        each._replace(stamps=()) for each in two.left.folders
    ]


COUNT = 2 * MANY + 1


def fine() -> None:
    pass


def large(text: str, fails: Callable[[], None] = fine) -> Bundle:
    """A bundle in parts, so many that two processes write it; what the second makes first it fails at."""
    first = os.getpid()
    bundle = nodes(range(COUNT), text)
    files = list(bundle.files)
    below = [[file for file in files if file.path.startswith(f"node-{index}/")] for index in range(COUNT)]
    folders = [
        Folder(f"node-{index}", [file.path.partition("/")[2] for file in files], text.encode().ljust(32))
        for index, files in enumerate(below)
    ]

    def part(index: int) -> list[File]:
        if os.getpid() != first:
            fails()
        elif fails is not fine and index == 0:
            time.sleep(0.5)  # so that the second has its turn
        return below[index]

    readme, manifest = ([file for file in files if file.path == name] for name in ("README.md", "manifest.json"))
    above = ["README.md", "manifest.json"]
    parts = Parts(above, lambda: readme, folders, part, lambda index, _: b"%d" % index, lambda _: manifest[0])
    return Bundle("tiny", lambda: iter(sorted(file.path for file in files)), lambda: iter(files), lambda: parts)


def test_parts_are_put_over_an_old_bundle(tmp_path: Path) -> None:
    write(nodes([0, 1, 2], "old"), tmp_path)
    assert len(write(large("new"), tmp_path, processes=2).changes) > 0
    assert seen(tmp_path / "tiny") == expected(large("new"))
    assert names(tmp_path) == ["tiny"]


def refused() -> None:
    raise WriteRefused("cannot write tiny/node-1/x: full")


def broken() -> None:
    raise ZeroDivisionError


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("fails", "fault"), [(refused, WriteRefused), (broken, RuntimeError), (killed, RuntimeError)])
def test_a_fault_in_the_second_process_leaves_the_old_bundle(
    tmp_path: Path, fails: Callable[[], None], fault: type[Exception]
) -> None:
    write(nodes([0, 1], "old"), tmp_path)
    with pytest.raises(fault):
        write(large("new", fails), tmp_path, processes=2)
    assert seen(tmp_path / "tiny") == expected(nodes([0, 1], "old"))
    assert names(tmp_path) == ["tiny"]
    assert children() == set()
