"""templates/container/inside.py as a real program, beside a process that holds serve.lock and a server that answers.

What it asks of Ray, tests/rig has: here is none.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


PROGRAM = Path(__file__).parent.parent / "templates" / "container" / "inside.py"
COMMAND = ["vllm", "serve", "Qwen/Qwen3-32B", "--note", "it's $x"]
COMPLETION = {"choices": [{"text": " a"}]}


# ---- What stands in for the container -------------------------------------------------------------------------


class Box:
    """A home with vLLM's folder, where serve.lock is, and the environment of a container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "vllm" / "serve.lock"
        self.lock.parent.mkdir()
        self.log = folder / "serve.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "VLLM_CONFIG_ROOT": str(self.lock.parent),
            # Whatever a container has of these is not for the head's own address.
            **dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9"),
        }
        self.gcs = ["127.0.0.1", closed_port()]

    def command(self, words: Sequence[str], python: str = sys.executable) -> list[str]:
        return [python, "-c", PROGRAM.read_text(), *words]

    def run(self, verb: str, *, python: str = sys.executable, **settings: Any) -> tuple[Any, list[str]]:
        """What it told, and the lines that it said meanwhile."""
        given = {"gcs": self.gcs, "model": "qwen", "answer_seconds": 5, **settings}
        words = self.command((verb, json.dumps(given)), python)
        ended = subprocess.run(words, capture_output=True, text=True, env=self.environment, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.rpartition("\x1e")[2]), [line for line in ended.stderr.splitlines() if line]

    @contextmanager
    def serving(self, then: str = "exec sleep 1000", *, leader: bool = True) -> Iterator[int]:
        """A process that holds the lock as serve.sh does it, and then does something else."""
        script = f"""
exec 9>>{self.lock}
printf '%s\\n%s\\n' "$$" "$COMMAND" >{self.lock}
{then}
"""
        words = ["bash", "-c", script] if leader else ["bash", "-c", 'bash -c "$1" & exec sleep 1000', "-", script]
        environment = {**self.environment, "COMMAND": json.dumps(COMMAND), "LOG": str(self.log)}
        process = subprocess.Popen(words, env=environment, start_new_session=True)
        try:
            until(lambda: self.lock.exists() and self.lock.read_text().endswith("]\n"))
            yield int(self.lock.read_text().split("\n")[0])
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Asked:
    """A server that answers each question by the next of its replies, the last one again and again.

    Attributes:
        port: Where it listens.
        questions: What it was asked: the path, the headers and the body of each.
    """

    def __init__(self, *replies: Callable[[BaseHTTPRequestHandler], None]) -> None:
        asked = self
        self.questions: list[tuple[str, Mapping[str, str], Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.questions.append((self.path, dict(self.headers), json.loads(body)))
                replies[min(len(asked.questions), len(replies)) - 1](self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - it is called so
                del format, args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def answer(status: int, body: Any, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    """A reply; a longer `length` than the body's promises what does not come."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def say(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Bytes that are no HTTP."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)

    return reply


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing until whoever asked is gone; an engine that is dead below its API does so."""
    handler.connection.settimeout(30)
    handler.connection.recv(1)


# ---- What runs ------------------------------------------------------------------------------------------------


def test_it_is_python_3_9() -> None:
    """The oldest that a vllm-ascend image has had, and nothing beside what comes with it, but for Ray."""
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in named} - {"ray"} <= sys.stdlib_module_names
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Match)]


def test_an_old_python_runs_it(box: Box) -> None:
    """Where there is one: on it a time-out is no TimeoutError yet."""
    python = shutil.which("python3.9") or sys.executable
    if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:  # a shim without its Python
        python = sys.executable
    with box.serving(), Asked(answer(200, COMPLETION), hang) as asked:
        assert box.run("see", port=asked.port, python=python)[0]["answer"]["status"] == 200
        assert box.run("see", port=asked.port, answer_seconds=1, python=python)[0]["answer"]["status"] == -1


def test_settings_may_be_in_a_file(box: Box) -> None:
    file = box.folder / "settings.json"
    file.write_text(json.dumps({"gcs": box.gcs, "port": closed_port()}))
    ended = subprocess.run(box.command(("see", f"@{file}")), capture_output=True, env=box.environment, check=True)
    assert json.loads(ended.stdout.rpartition(b"\x1e")[2])["service"] is None


# ---- see: who serves ------------------------------------------------------------------------------------------


def test_nothing_is_served(box: Box) -> None:
    told, _ = box.run("see", port=closed_port())
    assert told["service"] is None
    assert told["answer"] is None
    assert told["nodes"] == []
    assert told["fault"]  # there is no Ray here


def test_a_service_that_loads(box: Box) -> None:
    with box.serving() as pid:
        told, _ = box.run("see", port=closed_port())
    assert told["service"] == {"pid": pid, "command": COMMAND}
    assert told["answer"] is None


def test_whoever_listens_without_the_lock_is_not_asked(box: Box) -> None:
    """It is somebody else's, on the host's own network."""
    with Asked(answer(200, COMPLETION)) as asked:
        told, _ = box.run("see", port=asked.port)
    assert told["service"] is None
    assert told["answer"] is None
    assert asked.questions == []


def test_a_service_that_has_ended_holds_nothing(box: Box) -> None:
    with box.serving("exit 1"):
        until(lambda: box.run("see", port=closed_port())[0]["service"] is None)


def test_a_process_that_got_the_same_number_is_not_taken_for_it(box: Box) -> None:
    box.lock.write_text(f"{os.getpid()}\n{json.dumps(COMMAND)}\n")
    assert box.run("see", port=closed_port())[0]["service"] is None


@pytest.mark.parametrize("text", ["", "\n", "x\n[]\n", "-1\n[]\n", "0\n[]\n", "99999999\n[]\n", "1e3\n"])
def test_a_lock_that_names_no_process(box: Box, text: str) -> None:
    box.lock.write_text(text)
    assert box.run("see", port=closed_port())[0]["service"] is None


def test_an_older_serve_sh_wrote_its_process_alone(box: Box) -> None:
    with box.serving() as pid:
        box.lock.write_text(f"{pid}\n")
        assert box.run("see", port=closed_port())[0]["service"] == {"pid": pid, "command": []}


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"VLLM_CONFIG_ROOT": "{}/root"}, "root"),
        ({"XDG_CONFIG_HOME": "{}/xdg", "HOME": "{}/no"}, "xdg/vllm"),
        ({"XDG_CONFIG_HOME": "", "VLLM_CONFIG_ROOT": "", "HOME": "{}/home"}, "home/.config/vllm"),
    ],
)
def test_the_lock_is_where_serve_sh_has_it(box: Box, variables: dict[str, str], path: str) -> None:
    """`${VLLM_CONFIG_ROOT:-${XDG_CONFIG_HOME:-~/.config}/vllm}`, in the words of serve.sh."""
    del box.environment["VLLM_CONFIG_ROOT"]
    box.environment |= {name: value.format(box.folder) for name, value in variables.items()}
    box.lock = box.folder / path / "serve.lock"
    box.lock.parent.mkdir(parents=True)
    with box.serving() as pid:
        assert box.run("see", port=closed_port())[0]["service"]["pid"] == pid


# ---- see: what it answers -------------------------------------------------------------------------------------


def asked_once(box: Box, reply: Callable[[BaseHTTPRequestHandler], None], seconds: float = 5) -> Any:
    with box.serving(), Asked(reply) as asked:
        return box.run("see", port=asked.port, answer_seconds=seconds)[0]["answer"]


def test_a_real_completion_is_asked_for(box: Box) -> None:
    with box.serving(), Asked(answer(200, COMPLETION)) as asked:
        told = box.run("see", port=asked.port)[0]["answer"]
    assert (told["status"], told["fault"], told["text"]) == (200, "", " a")
    assert 0 < told["seconds"] < 5
    ((path, headers, body),) = asked.questions
    assert path == "/v1/completions"
    assert body == {"model": "qwen", "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers


@pytest.mark.parametrize(("key", "sent"), [("k-$1", "Bearer k-$1"), ("", None)])
def test_the_key_of_the_api_is_sent(box: Box, key: str, sent: str | None) -> None:
    box.environment["VLLM_API_KEY"] = key
    with box.serving(), Asked(answer(200, COMPLETION)) as asked:
        box.run("see", port=asked.port)
    assert asked.questions[0][1].get("Authorization") == sent


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_an_error_is_told_with_what_was_said(box: Box, status: int) -> None:
    told = asked_once(box, answer(status, {"error": "EngineDeadError"}))
    assert told["status"] == status
    assert told["fault"] == f'HTTP {status}: {{"error": "EngineDeadError"}}'


def test_no_answer_in_time(box: Box) -> None:
    told = asked_once(box, hang, 1)
    assert (told["status"], told["fault"]) == (-1, "no answer within 1 s")
    assert 1 <= told["seconds"] < 10


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (answer(200, b"<html>"), 200),
        (answer(200, {}), 200),
        (answer(200, []), 200),
        (answer(200, None), 200),
        (answer(200, {"choices": []}), 200),
        (answer(200, {"choices": [None]}), 200),
        (answer(200, b'{"choices"', length=1000), 200),
        (answer(500, b"cut off", length=1000), 500),
        (say(b""), 0),
        (say(b"220 smtp.example ESMTP\r\n"), 0),
        (say(b"HTTP/1.1 OK\r\n\r\n"), 0),
        (say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), 0),
        (say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 200),
        (say(b"\x00" * 100_000), 0),
    ],
)
def test_what_is_no_completion(box: Box, reply: Callable[[BaseHTTPRequestHandler], None], status: int) -> None:
    told = asked_once(box, reply)
    assert told["status"] == status
    assert told["fault"]


def test_an_error_whose_end_does_not_come_is_an_error(box: Box) -> None:
    def stuck(handler: BaseHTTPRequestHandler) -> None:
        answer(500, b"Internal", length=1000)(handler)
        hang(handler)

    told = asked_once(box, stuck, 1)
    assert told["status"] == 500
    assert told["fault"].startswith("HTTP 500: ")


def test_of_a_reply_without_end_a_part_is_read(box: Box) -> None:
    told = asked_once(box, answer(200, b"[" + b"1," * (2 << 20)))
    assert told["fault"].startswith("JSONDecodeError")


# ---- ready ----------------------------------------------------------------------------------------------------

READY = {"seconds": 20, "start_seconds": 1, "failures": 3}


def ready(box: Box, port: int, **settings: Any) -> tuple[Any, list[str]]:
    told, said = box.run("ready", **{**READY, "port": port, "log": str(box.log), **settings})
    return told, said


def test_ready_once_a_completion_came(box: Box) -> None:
    box.log.write_text("one\ntwo\nthree is not at its en")
    with box.serving(), Asked(answer(200, COMPLETION)) as asked:
        told, said = ready(box, asked.port)
    assert told["ready"]
    assert not told["ended"]
    assert told["answer"]["status"] == 200
    assert said == ["| one", "| two"]


def test_it_is_waited_for_until_it_listens(box: Box) -> None:
    """Meanwhile its log is told, as it comes."""
    with Asked(answer(200, COMPLETION)) as asked:
        port = closed_port()
        write = "for n in 1 2 3; do echo line $n >>$LOG; sleep 0.4; done; echo Application startup complete. >>$LOG"
        relay = f"exec python3 -c '{RELAY}' {port} {asked.port}"
        with box.serving(f"{write}; {relay}"):
            told, said = ready(box, port)
    assert told["ready"]
    assert said == ["| line 1", "| line 2", "| line 3", "| Application startup complete."]


# Listens late: hands what it gets to a server that was there before.
RELAY = """
import socket, sys
here = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    ours, _ = here.accept()
    asked = b""
    while b"temperature" not in asked:
        part = ours.recv(65536)
        if not part:
            break
        asked += part
    else:
        there = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        there.sendall(asked)
        while part := there.recv(65536):
            ours.sendall(part)
    ours.close()
"""


def test_some_errors_at_first_are_borne(box: Box) -> None:
    with box.serving(), Asked(answer(503, "busy"), answer(500, "dead"), answer(200, COMPLETION)) as asked:
        assert ready(box, asked.port)[0]["ready"]
    assert len(asked.questions) == 3


def test_after_some_errors_it_is_given_up(box: Box) -> None:
    with box.serving(), Asked(answer(500, "EngineDeadError")) as asked:
        told, _ = ready(box, asked.port)
    assert (told["ready"], told["ended"]) == (False, False)
    assert told["answer"]["fault"] == 'HTTP 500: "EngineDeadError"'
    assert len(asked.questions) == 3


def test_what_is_no_completion_is_not_ready(box: Box) -> None:
    with box.serving(), Asked(answer(200, {"choices": []})) as asked:
        told, _ = ready(box, asked.port)
    assert (told["ready"], told["ended"]) == (False, False)


def test_one_that_hangs_is_given_up_when_the_time_is_over(box: Box) -> None:
    began = time.monotonic()
    with box.serving(), Asked(hang) as asked:
        told, _ = ready(box, asked.port, seconds=2, answer_seconds=300)
    assert (told["ready"], told["ended"], told["answer"]["status"]) == (False, False, -1)
    assert time.monotonic() - began < 15


def test_one_that_never_listens_is_given_up_when_the_time_is_over(box: Box) -> None:
    with box.serving():
        told, _ = ready(box, closed_port(), seconds=2)
    assert told == {"ready": False, "ended": False, "answer": None}


def test_one_that_ends_is_told_with_its_last_words(box: Box) -> None:
    with box.serving("echo loading >>$LOG; sleep 1; printf 'ValueError: no\\nKilled' >>$LOG; exit 1"):
        told, said = ready(box, closed_port())
    assert told == {"ready": False, "ended": True, "answer": None}
    assert said == ["| loading", "| ValueError: no", "| Killed"]


def test_one_that_never_began_is_told_with_its_last_words(box: Box) -> None:
    box.log.write_text("serve.sh: python3: command not found\n")
    told, said = ready(box, closed_port())
    assert told == {"ready": False, "ended": True, "answer": None}
    assert said == ["| serve.sh: python3: command not found"]


def test_of_one_that_ends_all_is_told_however_much(box: Box) -> None:
    box.log.write_text("".join(f"{number} {'x' * 1000}\n" for number in range(5000)))
    told, said = ready(box, closed_port())
    assert told["ended"]
    assert len(said) == 5000


def test_the_log_of_the_one_before_is_not_told(box: Box) -> None:
    """It lies there until the new one has begun: serve.sh's starter moves it away."""
    box.log.write_text("the one before\n" * 100)
    begin = 'mv "$LOG" "$LOG.1"; echo the new one >"$LOG"'
    starts = f'sleep 0.7; {begin}; exec 9>>{box.lock}; printf "%s\\n[]\\n" "$$" >{box.lock}; exec sleep 1000'
    environment = {**box.environment, "LOG": str(box.log)}
    process = subprocess.Popen(["bash", "-c", starts], env=environment, start_new_session=True)
    try:
        with Asked(answer(200, COMPLETION)) as asked:
            told, said = ready(box, asked.port, start_seconds=10)
    finally:
        process.kill()
        process.wait()
    assert told["ready"]
    assert said == ["| the new one"]


@pytest.mark.parametrize("swap", ['echo new >"$LOG.new"; mv "$LOG.new" "$LOG"', 'echo new >"$LOG"'])
def test_a_log_that_takes_the_place_of_another_is_read_from_its_beginning(box: Box, swap: str) -> None:
    box.log.write_text("a long line of before\n" * 50)
    with box.serving(f"sleep 1; {swap}; sleep 1; exit 1"):
        _, said = ready(box, closed_port())
    assert said == ["| a long line of before"] * 50 + ["| new"]


def test_whatever_is_in_the_log_is_told_as_lines(box: Box) -> None:
    box.log.write_bytes(b"\xff\xfe\x00 \x1b[31m\n" + b"y" * 100_000 + b"\n\n")
    _, said = ready(box, closed_port())
    assert len(said) == 3
    assert max(map(len, said)) == 2002


def test_whoever_listens_hears_that_it_is_alive(box: Box) -> None:
    words = box.command(("ready", json.dumps({**READY, "port": closed_port(), "log": str(box.log), "seconds": 3})))
    with box.serving():
        ended = subprocess.run(words, capture_output=True, text=True, env=box.environment, check=True)
    assert ended.stderr.count("\n") >= 4


# ---- stop -----------------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    """Runs, and is not only kept for whoever started it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_to_stop(box: Box) -> None:
    assert box.run("stop", seconds=5)[0] == {"was": None}


def test_stopped_in_peace(box: Box) -> None:
    done = box.folder / "done"
    with box.serving(f"trap 'echo clean >{done}; exit 0' TERM; while :; do sleep 0.05; done") as pid:
        assert box.run("stop", seconds=20)[0] == {"was": pid}
        assert not alive(pid)
    assert done.read_text() == "clean\n"


def test_one_that_ignores_it_is_killed_when_its_time_is_over(box: Box) -> None:
    with box.serving("trap '' TERM; while :; do sleep 0.05; done") as pid:
        began = time.monotonic()
        assert box.run("stop", seconds=1)[0] == {"was": pid}
        assert 1 <= time.monotonic() - began < 10
        assert not alive(pid)


def test_what_it_started_ends_with_it(box: Box) -> None:
    """An engine that outlives its API server keeps the NPUs."""
    child = box.folder / "child"
    with box.serving(f"bash -c 'trap \"\" TERM; echo $$ >{child}; while :; do sleep 0.05; done' 9>&- & wait"):
        until(lambda: child.exists() and child.read_text().endswith("\n"))
        engine = int(child.read_text())
        assert alive(engine)
        box.run("stop", seconds=1)
        assert not alive(engine)


def test_of_a_group_that_it_does_not_lead_it_alone_is_ended(box: Box) -> None:
    """Such a one was started by hand in somebody's shell, which must not end with it."""
    with box.serving(leader=False) as pid:
        group = os.getpgid(pid)
        assert group != pid
        assert box.run("stop", seconds=10)[0] == {"was": pid}
        assert not alive(pid)
        assert alive(group)


def test_another_one_that_begins_meanwhile_is_left_alone(box: Box) -> None:
    told_to_end = box.folder / "told"
    with box.serving(f"trap ': >{told_to_end}; sleep 1; exit 0' TERM; while :; do sleep 0.05; done") as pid:
        words = box.command(("stop", json.dumps({"seconds": 20})))
        with subprocess.Popen(words, env=box.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stop:
            until(told_to_end.exists)
            box.lock.unlink()
            with box.serving() as other:
                assert json.loads(stop.communicate(timeout=30)[0].rpartition(b"\x1e")[2]) == {"was": pid}
                assert not alive(pid)
                assert alive(other)
