"""What the program in the head's container tells, read as values; what it is asked with; and what is no word of its."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
import scenes
from hostile import ANYTHING
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import inside
from compiler.engine_fault import EngineFault
from compiler.engine_look import Outcome
from compiler.inside import Completion, Joined, RayNode, Ready, Running, View, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from compiler.engine import Engine

PLAN = scenes.plan_of(scenes.spec())
STEADY = settings(deadline=None, derandomize=True, database=None, max_examples=300)


class Told:
    """An engine whose containers answer every command with this.

    Attributes:
        commands: What was run.
        apart: What was started and left to itself.
        files: What was put into a container.
    """

    def __init__(self, out: str, err: Sequence[str] = (), status: int = 0) -> None:
        self.out, self.err, self.status = out, err, status
        self.commands: list[Sequence[str]] = []
        self.files: dict[str, bytes] = {}
        self.apart: Sequence[str] = ()

    def run_apart(self, container: str, command: Sequence[str]) -> None:
        assert container == "c0ffee"
        self.apart = command

    def run(self, container: str, command: Sequence[str], heard: Callable[[str], None]) -> Outcome:
        assert container == "c0ffee"
        self.commands.append(command)
        for line in self.err:
            heard(line)
        return Outcome(self.status, self.out, "".join(f"{line}\n" for line in self.err))

    def put(self, container: str, files: Mapping[str, bytes]) -> None:
        assert container == "c0ffee"
        self.files |= files

    @property
    def settings(self) -> dict[str, Any]:
        """What the last command was asked with."""
        given = self.commands[-1][-1]
        text = self.files[given[1:]].decode() if given.startswith("@") else given
        return cast("dict[str, Any]", json.loads(text))


def engine(told: Told) -> Engine:
    return cast("Engine", told)


def silent(_: object) -> None:
    return


ANSWER = {"status": 500, "text": "", "fault": "HTTP 500: a\x1b[31m\nb", "seconds": 0.5}
NODES = [{"id": "x", "address": "10.0.0.2", "npus": 8, "gpus": 0}, {"address": "10.0.0.1", "npus": 7.5, "gpus": 1}]
SEE = {"service": {"pid": 7, "command": ["vllm", "serve"]}, "answer": ANSWER, "nodes": NODES, "fault": ""}
JOIN = {
    "nodes": NODES,
    "fault": "",
    "inside": {
        "10.0.0.1": {"environment": {"A": "1", "B": None}, "ray": "2.48.0", "python": "3.11.13", "mark": True},
        "10.0.0.2": {"fault": "no\nworker"},
    },
    "group": "not within 60 s",
}
READY = {"ready": True, "ended": False, "answer": {"status": 200, "fault": "", "seconds": 1.5, "text": "a"}}

ASK: dict[str, tuple[Callable[[Told], object], dict[str, Any]]] = {
    "see": (lambda told: inside.see(engine(told), "c0ffee", PLAN, silent), SEE),
    "join": (lambda told: inside.join(engine(told), "c0ffee", PLAN, "m4rk", silent), JOIN),
    "ready": (lambda told: inside.ready(engine(told), "c0ffee", PLAN, silent), READY),
    "stop": (lambda told: inside.stop(engine(told), "c0ffee", PLAN, silent), {"was": 7}),
}
IN_RAY = (RayNode("10.0.0.1", 7.5, 1.0), RayNode("10.0.0.2", 8.0, 0.0))
VALUES = {
    "see": View(Running(7, ("vllm", "serve"), Completion(500, "HTTP 500: a b", 0.5)), IN_RAY, ""),
    "join": Joined(
        IN_RAY,
        "",
        {
            "10.0.0.1": Worker({"A": "1", "B": None}, "2.48.0", "3.11.13", mark=True),
            "10.0.0.2": Worker({}, fault="no worker"),
        },
        "not within 60 s",
    ),
    "ready": Ready(ready=True, ended=False, answer=Completion(200, "", 1.5)),
    "stop": 7,
}


@pytest.mark.parametrize("verb", ASK)
def test_what_it_tells_becomes_a_value(verb: str) -> None:
    ask, document = ASK[verb]
    assert ask(Told(json.dumps(document) + "\n")) == VALUES[verb]


def test_nothing_served_and_nothing_stopped() -> None:
    see, stop = ASK["see"][0], ASK["stop"][0]
    assert see(Told(json.dumps({**SEE, "service": None, "answer": None}))) == View(None, IN_RAY, "")
    assert stop(Told('{"was": null}')) is None


def test_a_service_that_loads_has_no_answer() -> None:
    view = ASK["see"][0](Told(json.dumps({**SEE, "answer": None})))
    assert isinstance(view, View)
    assert view.service == Running(7, ("vllm", "serve"), None)


# ---- What it is asked with ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ASK)
def test_it_is_asked_with_a_limit(verb: str) -> None:
    ask, document = ASK[verb]
    told = Told(json.dumps(document))
    ask(told)
    (command,) = told.commands
    assert command[:2] == ("timeout", "--kill-after=5")
    assert command[3:5] == ("python3", "-c")
    assert command[6] == verb
    within = max((told.settings.get(name, 0) for name in ("seconds", "answer_seconds")), default=0)
    assert int(command[2]) > within


def test_what_is_planned_is_what_it_waits_for() -> None:
    told = Told(json.dumps(JOIN))
    ASK["join"][0](told)
    assert told.settings["gcs"] == ["192.168.10.10", 6379]
    assert told.settings["npus"] == {node.address: 8 for node in PLAN.nodes}
    assert told.settings["bundles"] == 24
    assert "OMP_NUM_THREADS" in told.settings["names"]
    assert "HF_TOKEN" not in told.settings["names"]  # its value is nobody's business
    assert told.settings["mark"] == "/root/.cache/.ascend-cluster-m4rk"


def test_settings_that_are_longer_than_a_word_are_put_into_a_file() -> None:
    """The kernel takes 131,072 bytes a word: execve(2), MAX_ARG_STRLEN."""
    many = scenes.spec(1)
    many["env"] = {f"V{number}_{'X' * 200}": "1" for number in range(1000)}
    told = Told(json.dumps(JOIN))
    inside.join(engine(told), "c0ffee", scenes.plan_of(many), "m4rk", silent)
    assert all(len(word) < 131_072 for word in told.commands[0])
    assert len(told.settings["names"]) > 1000
    subprocess.run(["true", *told.commands[0]], check=True)  # this kernel takes them


def test_news_of_ray_are_heard_and_its_warnings_are_not() -> None:
    heard: list[Mapping[str, Any]] = []
    err = ["2026-11-24 WARNING worker.py: x", '{"nodes": [], "fault": ""}', "", "7", '{"workers": 2}', "[1]"]
    inside.join(engine(Told(json.dumps(JOIN), err)), "c0ffee", PLAN, "m4rk", heard.append)
    assert heard == [{"nodes": [], "fault": ""}, {"workers": 2}]


def test_the_log_is_heard_line_by_line() -> None:
    heard: list[str] = []
    told = Told(json.dumps(READY), ["| INFO loading", "", "| | a table |"])
    inside.ready(engine(told), "c0ffee", PLAN, heard.append)
    assert heard == ["INFO loading", "", "| a table |"]
    assert told.settings["log"] == inside.SERVE_LOG


def test_the_service_is_started_apart_and_the_log_of_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run here for real, but for the paths of a container."""
    script, log = tmp_path / "serve.sh", tmp_path / "log" / "serve.log"
    monkeypatch.setattr(inside, "SERVE", str(script))
    monkeypatch.setattr(inside, "SERVE_LOG", str(log))
    for text in (b'echo one; read -r line; echo "got <$line>"; echo two >&2', b"echo three"):
        told = Told("")
        inside.serve(engine(told), "c0ffee", text)
        assert told.files == {str(script): text}
        script.write_bytes(told.files[str(script)])
        subprocess.run(told.apart, check=True, input=b"a terminal's\n", capture_output=True)
    assert log.read_text() == "three\n"
    assert log.with_name("serve.log.1").read_text() == "one\ngot <>\ntwo\n"


# ---- What is no word of its -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ASK)
@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (Told("", ["Traceback", "ModuleNotFoundError: No module named 'json'"], 1), "ModuleNotFoundError: No module"),
        (Told("", status=124), "it ended with status 124"),
        (Told("bash: python3: command not found", status=127), "python3: command not found"),
        (Told("", ["\x1b[31mred\x1b[0m\r"]), "red"),
        (Told("[]"), "[]"),
        (Told("null"), "null"),
        (Told("{}"), "{}"),
        (Told('{"service": 1, "inside": 1, "ready": 1, "was": []}'), '{"service": 1'),
    ],
    ids=["traceback", "time-out", "no python", "colours", "list", "null", "empty", "odd"],
)
def test_anything_else_is_a_fault(verb: str, told: Told, cause: str) -> None:
    with pytest.raises(EngineFault) as caught:
        ASK[verb][0](told)
    assert cause in caught.value.cause
    assert caught.value.to_do == "see what runs there: docker logs c0ffee"


JSON: st.SearchStrategy[Any] = st.sampled_from((None, 1e999, float("nan"), [], {}, "x", -1)) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=4,
)


@STEADY
@given(st.sampled_from(sorted(ASK)), st.data())
def test_whatever_it_tells_is_a_value_or_a_fault(verb: str, data: st.DataObject) -> None:
    ask, document = ASK[verb]
    other = json.loads(json.dumps(document))
    room = data.draw(st.sampled_from([other, *(each for each in other.values() if isinstance(each, dict) and each)]))
    room[data.draw(st.sampled_from(sorted(room)))] = data.draw(JSON)
    with suppress(EngineFault):
        ask(Told(json.dumps(other)))


def test_a_document_that_is_too_deep_is_a_fault() -> None:
    with pytest.raises(EngineFault):
        ASK["see"][0](Told("[" * 100_000))
