"""What is shown on stderr while a cluster is changed: in a log a line for each thing, on a terminal one that moves."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from compiler import cli_course
from compiler.cli_course import Screen
from compiler.course import Began, Ended, Failed, Failure, Line, Noted, Now
from compiler.triage import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compiler.course import Event

WIPE = "\r\x1b[K"


def course(nodes: int) -> list[Event]:
    """A step on so many nodes, with all that may happen in it."""
    names = [f"node-{index}" for index in range(nodes)]
    return [
        Began("make", "make the containers, not started yet", nodes),
        *(Now(name, "create a container") for name in names),
        *(Noted(name, "made") for name in names),
        Noted("", "the same image on all"),
        Ended("make", 1.25),
        Began("serve", "wait for a completion, up to 3600 s"),
        Line("INFO loading shard 1 of 8"),
        Now("node-0", "wait for the service"),
        Ended("serve", 61.04),
    ]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(cli_course, "_MOVES_SECONDS", 0.0)  # each move is shown, however fast they come


# ---- In a log -------------------------------------------------------------------------------------------------


def logged(capsys: pytest.CaptureFixture[str], events: Sequence[Event], *, quiet: bool = False) -> str:
    with Screen(quiet=quiet) as screen:
        for event in events:
            screen.show(event)
    out, err = capsys.readouterr()
    assert out == ""  # results are on stdout, and this is none
    return err


def test_a_log_gets_a_line_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert logged(capsys, course(2)) == (
        "make      make the containers, not started yet (2 nodes)\n"
        "          [1/2] node-0: made\n"
        "          [2/2] node-1: made\n"
        "          the same image on all\n"
        "          done in 1.2 s\n"
        "serve     wait for a completion, up to 3600 s\n"
        "          | INFO loading shard 1 of 8\n"
        "          done in 61.0 s\n"
    )


def test_one_node_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    shown = logged(capsys, course(1))
    assert "make      make the containers, not started yet\n          node-0: made\n" in shown


@pytest.mark.parametrize(("nodes", "each"), [(16, True), (17, False), (1000, False)])
def test_many_nodes_are_not_a_line_each(capsys: pytest.CaptureFixture[str], nodes: int, *, each: bool) -> None:
    lines = logged(capsys, course(nodes)).splitlines()
    assert len(lines) == 6 + (nodes if each else 0)
    assert f"make      make the containers, not started yet ({nodes} nodes)" in lines
    assert "          the same image on all" in lines


def test_each_step_counts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = [Began("a", "x", 2), Noted("node-0", "y"), Began("b", "x", 2), Noted("node-1", "y")]
    assert logged(capsys, events).count("[1/2]") == 2


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert logged(capsys, course(3), quiet=True) == ""


def test_a_log_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    ugly = "\x1b[31mred\r\n\x1b[2Jgone\x07\u202e"
    events: list[Event] = [
        Began("a", "x"),
        Line(ugly),
        Noted("node-0", ugly),
        Noted("", ugly),
        Now("node-0", ugly),
        Ended("a", 1),
    ]
    shown = logged(capsys, events)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    assert len(shown.splitlines()) == 5


def test_a_long_line_of_a_log_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert max(map(len, logged(capsys, [Line("x" * 100_000), Noted("node-0", "y" * 100_000)]).splitlines())) < 2100


def test_the_seconds_of_each_step_are_kept() -> None:
    screen = Screen(quiet=True)
    for event in (*course(2), Ended("make", 2.0)):
        screen.show(event)
    assert screen.seconds == {"make": 3.25, "serve": 61.04}
    assert list(screen.seconds) == ["make", "serve"]


# ---- On a terminal --------------------------------------------------------------------------------------------


class Shown:
    """What a terminal was sent."""

    text = ""


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Iterator[Shown]:
    """stderr is a terminal that is so wide; 0 for one that does not say. What it was sent is there at the end."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    attributes = termios.tcgetattr(its)
    attributes[1] &= ~termios.OPOST  # a newline stays one
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    shown = Shown()
    with io.TextIOWrapper(io.FileIO(its, "w"), encoding="utf-8", write_through=True) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield shown
        monkeypatch.undo()
        os.set_blocking(ours, False)
        shown.text = _all_of(ours)
    os.close(ours)


def _all_of(ours: int) -> str:
    parts = b""
    while True:
        try:
            parts += os.read(ours, 65536)
        except BlockingIOError:
            return parts.decode()


def moved(monkeypatch: pytest.MonkeyPatch, events: Sequence[Event], columns: int = 80, *, quiet: bool = False) -> str:
    with terminal(monkeypatch, columns) as shown, Screen(quiet=quiet) as screen:
        for event in events:
            screen.show(event)
    return shown.text


def seen(text: str) -> list[str]:
    """The lines that stand there at the end: a wiped one is gone."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line.rpartition(WIPE)[2]) for line in text.split("\n")]


def test_on_a_terminal_one_line_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = moved(monkeypatch, course(2))
    assert shown.count("create a container") == 2
    assert f"{WIPE}make      [0/2] 0 s   node-1: create a container{WIPE}" in shown
    assert seen(shown) == [
        "make      make the containers, not started yet (2 nodes)",
        "          [1/2] node-0: made",
        "          [2/2] node-1: made",
        "          the same image on all",
        "          done in 1.2 s",
        "serve     wait for a completion, up to 3600 s",
        "          | INFO loading shard 1 of 8",
        "          done in 61.0 s",
        "",
    ]


def test_the_moving_line_counts_what_is_done_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [
        Began("make", "x", 100),
        *(Noted(f"node-{index}", "made") for index in range(42)),
        Now("node-42", "make"),
    ]
    assert "[42/100] 0 s   node-42: make" in moved(monkeypatch, events)


def test_moves_that_come_too_fast_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_course, "_MOVES_SECONDS", 3600.0)
    assert moved(monkeypatch, [Began("a", "x", 9), *(Now("node-0", "y") for _ in range(1000))]).count("node-0") <= 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_moving_line_never_wraps(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """What wraps could not be wiped. It is stderr's terminal that counts: stdout may be a file, COLUMNS a lie."""
    monkeypatch.setenv("COLUMNS", "500")
    shown = moved(monkeypatch, [Began("make", "x", 20), Now("node-0", "pull " * 100)], columns)
    (line,) = [part for part in shown.split(WIPE) if "pull" in part]
    assert len(line) == columns - 1


def test_a_terminal_that_does_not_say_how_wide_it_is_has_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = moved(monkeypatch, [Now("node-0", "pull " * 100)], 0)
    (line,) = [part for part in shown.split(WIPE) if "pull" in part]
    assert len(line) == 79


def test_nothing_is_left_of_the_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(moved(monkeypatch, [Now("node-0", "look")])) == [""]


def test_it_is_wiped_when_what_runs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        with Screen(quiet=False) as screen:
            screen.show(Now("node-0", "look"))
            raise KeyboardInterrupt

    with terminal(monkeypatch) as shown, pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen(shown.text) == [""]


def test_colours_on_a_terminal_end_where_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = moved(monkeypatch, course(2))
    assert "\x1b[1mmake" in shown
    for line in shown.split("\n"):
        assert len(re.findall(r"\x1b\[[0-9;]*m", line)) in (0, 2)
        assert not re.search(r"\x1b\[[0-9;]*m", line) or line.endswith("\x1b[0m")


def test_no_color_moves_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = moved(monkeypatch, course(2))
    assert not re.search(r"\x1b\[[0-9;]*m", shown)
    assert "create a container" in shown


def test_a_dumb_terminal_gets_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    shown = moved(monkeypatch, course(2))
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "create a container" not in shown


def test_quiet_sends_a_terminal_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moved(monkeypatch, course(2), quiet=True) == ""


# ---- What went wrong ------------------------------------------------------------------------------------------


def failed(count: int = 1, findings: tuple[Finding, ...] = (), last: tuple[str, ...] = ()) -> Failed:
    failures = (
        Failure(f"node-{index}", "make", "no space left", "df -h; compiler logs SPEC") for index in range(count)
    )
    return Failed(tuple(failures), findings, last)


FINDING = Finding(
    code="EI0006",
    nodes=("node-0",),
    cause="ranks waited for each other in vain",
    details=("rank 3 heard nothing of rank 5",),
    evidence=("node-0 ray: EI0006",),
    to_do="compare TLS on all NPUs",
    checks=("tls[0]",),
    diagnostics=(),
    source="https://docs.example/EI0006",
)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[Failed], str]:
    def tell(what: Failed) -> str:
        with Screen(quiet=True) as screen:  # errors are told all the same
            screen.failed(what, "my spec.yaml")
        return capsys.readouterr().err

    return tell


def test_a_failure_says_where_what_and_what_to_do(told: Callable[[Failed], str]) -> None:
    assert told(failed()) == ("error: make: node-0: no space left\n  = hint: df -h; compiler logs 'my spec.yaml'\n")


def test_a_failure_of_no_node_in_particular(told: Callable[[Failed], str]) -> None:
    assert told(Failed((Failure("", "plan", "it changed", "look"),))) == "error: plan: it changed\n  = hint: look\n"


def test_of_many_failures_some_are_told(told: Callable[[Failed], str]) -> None:
    shown = told(failed(40))
    assert shown.count("error: ") == 16
    assert shown.endswith("and 24 more\n")


def test_what_the_logs_say_is_told(told: Callable[[Failed], str]) -> None:
    shown = told(failed(findings=(FINDING,), last=("not shown",)))
    assert "\nWhat the logs say:\n" in shown
    assert FINDING.cause in shown
    assert "not shown" not in shown


def test_when_the_logs_say_nothing_known_their_end_is_shown(told: Callable[[Failed], str]) -> None:
    shown = told(failed(last=("one", "\x1b[31mtwo")))
    assert shown.endswith("The logs show nothing that is known here; they end with:\n  one\n  two\n")


def test_a_failure_is_one_line_whatever_a_daemon_says(told: Callable[[Failed], str]) -> None:
    shown = told(Failed((Failure("node-0", "make", "a\nerror: \x1b[2Jb", "c\rd"),)))
    assert shown == "error: make: node-0: a error:  [2Jb\n  = hint: c d\n"


def test_a_failure_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as shown, Screen(quiet=False) as screen:
        screen.show(Now("node-0", "look"))
        screen.failed(failed(), "SPEC")
    assert f"{WIPE}\x1b[1;31merror: make: node-0: no space left\x1b[0m\n" in shown.text
