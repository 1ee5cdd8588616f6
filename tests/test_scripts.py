"""The scripts that start things, in real bash, with stand-ins for Ray, vLLM, Docker and the service.

The stand-ins record the words and the environment that they get; tests/rig/test_ray.py has the real Ray.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import part
from plans import PORTS
from plans_scripts import cluster, script
from processes import until

from compiler.container import start_script
from compiler.plan import Secret, Timeouts, Variable
from compiler.ray import ray_start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.plan import Plan

VENV = Path(sys.executable).parent
SCRIPTS = ("ray-start.sh", "serve.sh", "ask.sh")
# grep answers whether a process of that name lives, so that Ray on this machine does not matter.
GREP = "#!/bin/bash\nfor word; do [[ -e $STAND_IN/alive-$word ]] && exit 0; done\nexit 1\n"
RECORD = f"""#!{sys.executable}
import json, os, sys, time
name = os.path.basename(sys.argv[0])
folder = os.environ["STAND_IN"]
told = {{"words": sys.argv[1:], "environment": dict(os.environ), "process": os.getpid()}}
with open(f"{{folder}}/{{name}}.json", "a") as file:
    file.write(json.dumps(told) + "\\n")
if name == "ray":
    open(f"{{folder}}/alive-raylet", "w").close()
    open(f"{{folder}}/alive-gcs_server", "w").close()
time.sleep(float(os.environ.get(f"{{name}}_seconds", "0")))
sys.exit(int(os.environ.get(f"{{name}}_status", "0")))
"""
FAKE_RAY = """
import json, os
is_initialized = lambda: True
nodes = lambda: json.load(open(os.environ["STAND_IN"] + "/nodes.json"))
"""
SECRET = {"HF_TOKEN": "canary-value"}
TOOLS = ("bash", "python3", "timeout", "sleep", "mkdir", "cat", "tail", "env", "dirname", "basename", "curl")
# Each is one way to leave a quoted word, or to be taken for something else.
HOSTILE = (
    "",
    " ",
    "it's",
    "'; touch canary; '",
    "$(touch canary)`touch canary`${HOME}",
    '"$HOME" \\',
    "~/x",
    "*",
    "-n",
    "a\nb",
    "#no comment",
    "{{ 7 * 7 }} {% raw %}",
    "r\xe4y \u2019quoted\u201d \U0001f680",
    "i=$((1+1)) !! a-1",
)
# What a container's environment can hold, but for the newline, which a spec may not have.
TEXT = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=20)


class Told(NamedTuple):
    """What a stand-in was called with."""

    words: list[str]
    environment: dict[str, str]
    process: int

    @property
    def ended(self) -> bool:
        """True when the stand-in does not run any more."""
        return not Path(f"/proc/{self.process}").exists()


class Bench(NamedTuple):
    """A folder to run scripts in, with nothing on PATH but what a node has and the stand-ins."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a script."""
        bench = {"HOME": "home", "STAND_IN": "", "PYTHONPATH": "fake", "PATH": "bin"}
        return {name: str(self.folder / below) for name, below in bench.items()} | {"LANG": "C.UTF-8"}

    def stand_in(self, *names: str, text: str = RECORD) -> None:
        """Put programs on PATH, in place of what is there."""
        for name in names:
            file = self.folder / "bin" / name
            file.unlink(missing_ok=True)
            file.write_text(text, encoding="ascii")
            file.chmod(0o755)

    def without(self, name: str) -> None:
        """Take a program from PATH."""
        (self.folder / "bin" / name).unlink()

    def run(self, text: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script as a file."""
        file = self.folder / "script.sh"
        file.write_text(text, encoding="utf-8")
        return subprocess.run(
            ("bash", file, *words),
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def was_called(self, name: str) -> bool:
        """Whether a stand-in has said how it was called, to the end of the line."""
        file = self.folder / f"{name}.json"
        return file.exists() and file.read_bytes().endswith(b"\n")

    def told(self, name: str) -> list[Told]:
        """How often and with what a stand-in was called; asked again, only what is new."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            return []
        lines = file.read_text(encoding="ascii").splitlines()
        file.unlink()
        return [Told(**json.loads(line)) for line in lines]

    def nodes(self, *nodes: tuple[str, bool, dict[str, float]]) -> None:
        """What Ray says: of each node its address, whether it lives, and its resources."""
        seen = [
            {"NodeManagerAddress": address, "Alive": alive, "Resources": resources}
            for address, alive, resources in nodes
        ]
        (self.folder / "nodes.json").write_text(json.dumps(seen), encoding="ascii")


def prepare(folder: Path) -> Bench:
    bench = Bench(folder)
    for name in ("bin", "fake/ray", "home"):
        (folder / name).mkdir(parents=True)
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is None and tool == "curl":
            continue  # the tests that ask with it say so
        assert found is not None
        (folder / "bin" / tool).symlink_to(sys.executable if tool == "python3" else found)
    (folder / "fake/ray/__init__.py").write_text(FAKE_RAY, encoding="ascii")
    bench.stand_in("ray", "vllm")
    bench.stand_in("grep", text=GREP)
    bench.nodes(*PLANNED)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return prepare(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One bench for all the examples of a property."""
    return prepare(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def gcs() -> Iterator[int]:
    """A port on which something accepts connections, as Ray's GCS does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


PLANNED = (("127.0.0.1", True, {"NPU": 8.0, "CPU": 2.0}), ("192.168.10.11", True, {"NPU": 8.0}))


def here(gcs: int = 0, **changes: object) -> Plan:
    """The cluster with this machine as its head: an address that it owns, devices that exist."""
    plan = cluster(**{"timeouts": Timeouts(5, 0, 10, 10), **changes})  # type: ignore[arg-type]
    nodes = []
    for node, address in zip(plan.nodes, ("127.0.0.1", "192.168.10.11"), strict=True):
        kind = node.shape._replace(npu_devices=("/dev/null", "/dev/zero"))
        nodes.append(node._replace(shape=kind, address=address))
    return plan._replace(nodes=tuple(nodes), ports=PORTS._replace(ray=gcs or PORTS.ray))


def hostile() -> Plan:
    """A cluster in which every free string is hostile."""
    extra = tuple(Variable(f"V{n}", value, "to be hostile") for n, value in enumerate(HOSTILE))
    lines = (("vllm", "serve", HOSTILE[3]), *(("--flag", value) for value in HOSTILE))
    return here(extra=extra, lines=lines, served_name=HOSTILE[4], secrets=(Secret("HF_TOKEN", "HF_TOKEN"),))


def texts(plan: Plan) -> dict[str, str]:
    """Every script of the cluster, by a file name."""
    head, worker = plan.nodes
    node = {name: script(name, plan, head) for name in SCRIPTS}
    node["ray-start.sh on a worker"] = script("ray-start.sh", plan, worker)
    return node | {"start.sh": "#!/usr/bin/env bash\n" + start_script()}


@pytest.mark.parametrize("plan", [here(), hostile()], ids=["plain", "hostile"])
@pytest.mark.parametrize(
    "linter",
    [("bash", "-n"), (VENV / "shellcheck",), (VENV / "shfmt", "-d", "-i", "2", "-ci")],
    ids=["bash", "shellcheck", "shfmt"],
)
def test_every_script_is_clean(plan: Plan, linter: tuple[str, ...], tmp_path: Path) -> None:
    for name, text in texts(plan).items():
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        done = subprocess.run((*linter, file), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), name
        assert text.endswith("\n")


def test_ray_start_names_every_port_and_no_resource() -> None:
    head, worker = ray_start("head", "192.168.10.10", PORTS), ray_start("worker", "192.168.10.10", PORTS)
    assert head[:4] == ("ray", "start", "--head", "--port=6379")
    assert worker[:3] == ("ray", "start", "--address=192.168.10.10:6379")
    shared_flags = set(head) & set(worker) - {"ray", "start"}
    assert {flag.partition("=")[0] for flag in shared_flags} == {
        "--node-manager-port",
        "--object-manager-port",
        "--runtime-env-agent-port",
        "--metrics-export-port",
        "--dashboard-agent-listen-port",
        "--dashboard-agent-grpc-port",
        "--min-worker-port",
        "--max-worker-port",
        "--disable-usage-stats",
    }
    assert "--dashboard-host=127.0.0.1" in head
    assert not any("num-gpus" in word or "resources" in word for word in head + worker)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT, min_size=1, max_size=5))
def test_every_string_arrives_as_it_is(shared: Bench, gcs: int, values: list[str]) -> None:
    extra = tuple(Variable(f"V{n}", value, "any") for n, value in enumerate(values))
    lines = (("vllm", "serve", values[0]), *((f"--flag-{n}", value) for n, value in enumerate(values)))
    plan = here(gcs, extra=extra, lines=lines)
    before = sorted(path.name for path in shared.folder.iterdir())
    for name, program in (("ray-start.sh", "ray"), ("serve.sh", "vllm")):
        (shared.folder / "alive-raylet").unlink(missing_ok=True)
        done = shared.run(script(name, plan, plan.head))
        assert done.returncode == 0, done.stderr
        [told] = shared.told(program)
        assert {name: told.environment[name] for name, _ in plan.head.shape.variables} == {
            variable.name: variable.value for variable in plan.head.environment
        }
        if program == "vllm":
            assert ("vllm", *told.words) == plan.serve.command
        else:
            assert told.words == [*plan.head.shape.ray_start[1:], "--node-ip-address=127.0.0.1"]
    made = {"script.sh", "alive-raylet", "alive-gcs_server"}
    assert sorted({path.name for path in shared.folder.iterdir()} - made) == sorted(set(before) - made)


def test_hostile_strings_run_nothing(bench: Bench, gcs: int) -> None:
    plan = hostile()._replace(ports=PORTS._replace(ray=gcs))
    assert bench.run(script("ray-start.sh", plan, plan.head), **SECRET).returncode == 0
    assert bench.run(script("serve.sh", plan, plan.head)).returncode == 0
    [told] = bench.told("vllm")
    assert ("vllm", *told.words) == plan.serve.command
    assert not list(bench.folder.rglob("canary"))


def test_ray_start_says_what_comes_next(bench: Bench) -> None:
    plan = here()
    done = bench.run(script("ray-start.sh", plan, plan.head))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "Ray runs on node-0. Next: ray-start.sh on the other nodes; when it has run on all of them,"
        " serve.sh on node-0.\n"
    )


def test_ray_start_twice_is_refused(bench: Bench) -> None:
    plan = here()
    text = script("ray-start.sh", plan, plan.head)
    assert bench.run(text).returncode == 0
    again = bench.run(text)
    assert (again.returncode, len(bench.told("ray"))) == (1, 1)
    assert "Ray runs in this container already" in again.stderr


@pytest.mark.parametrize("given", [{}, {"HF_TOKEN": ""}], ids=["unset", "empty"])
def test_a_missing_secret_is_refused(bench: Bench, given: dict[str, str]) -> None:
    plan = here(secrets=(Secret("HF_TOKEN", "HF_TOKEN"), Secret("OTHER", "OTHER")))
    done = bench.run(script("ray-start.sh", plan, plan.head), OTHER="canary-secret", **given)
    assert (done.returncode, bench.told("ray")) == (1, [])
    assert "HF_TOKEN is not set in this container" in done.stderr


def test_a_secret_reaches_ray_and_no_output(bench: Bench) -> None:
    plan = here(secrets=(Secret("HF_TOKEN", "HF_TOKEN"),))
    text = script("ray-start.sh", plan, plan.head)
    done = bench.run(text, **SECRET)
    [told] = bench.told("ray")
    assert told.environment.items() >= SECRET.items()
    assert SECRET["HF_TOKEN"] not in done.stdout + done.stderr + text + " ".join(told.words)


def test_a_missing_device_is_named(bench: Bench) -> None:
    plan = here()
    kind = plan.head.shape._replace(npu_devices=("/dev/null", "/dev/davinci99"))
    done = bench.run(script("ray-start.sh", plan, plan.head._replace(shape=kind)))
    assert (done.returncode, bench.told("ray")) == (1, [])
    assert "/dev/davinci99 is missing" in done.stderr


def test_a_foreign_address_is_refused(bench: Bench) -> None:
    plan = here()
    done = bench.run(script("ray-start.sh", plan, plan.head._replace(address="192.0.2.1")))
    assert (done.returncode, bench.told("ray")) == (1, [])
    assert "this host does not own 192.0.2.1" in done.stderr


@pytest.mark.parametrize(
    ("stand_in", "status"), [({"ray_status": "3"}, 3), ({"ray_seconds": "60"}, 124)], ids=["fails", "hangs"]
)
def test_ray_that_does_not_start_is_told(bench: Bench, stand_in: dict[str, str], status: int) -> None:
    plan = here(timeouts=Timeouts(1, 1, 1, 1))
    done = bench.run(script("ray-start.sh", plan, plan.head), **stand_in)
    assert done.returncode == 1
    assert f"failed with status {status} (124: not done in 1 s)" in done.stderr
    assert f"does Ray run on node-0 already, and does 127.0.0.1:{PORTS.ray} answer" in done.stderr
    [told] = bench.told("ray")
    until(lambda: told.ended)


def test_an_interrupted_ray_start_leaves_nothing(bench: Bench) -> None:
    plan = here(timeouts=Timeouts(30, 1, 1, 1))
    file = bench.folder / "script.sh"
    file.write_text(script("ray-start.sh", plan, plan.head), encoding="utf-8")
    process = subprocess.Popen(("bash", file), env=bench.environment | {"ray_seconds": "60"})
    until(lambda: bench.was_called("ray"))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - began < 5
    [told] = bench.told("ray")
    until(lambda: told.ended)


class TestServe:
    def test_goes_into_the_container_from_the_host(self, bench: Bench) -> None:
        bench.without("vllm")
        bench.stand_in("docker")
        plan = here()
        done = bench.run(script("serve.sh", plan, plan.head))
        assert done.returncode == 0, done.stderr
        copy, run = bench.told("docker")
        assert copy.words == ["cp", str(bench.folder / "script.sh"), "qwen3:/tmp/serve.sh"]
        assert " ".join(run.words) == "exec -i qwen3 bash /tmp/serve.sh"

    def test_keeps_a_terminal(self, bench: Bench) -> None:
        bench.without("vllm")
        bench.stand_in("docker")
        plan = here()
        file = bench.folder / "script.sh"
        file.write_text(script("serve.sh", plan, plan.head), encoding="utf-8")
        ours, theirs = pty.openpty()
        subprocess.run(("bash", file), env=bench.environment, stdin=theirs, stdout=theirs, check=True, timeout=60)
        os.close(ours)
        os.close(theirs)
        assert bench.told("docker")[1].words[:2] == ["exec", "-it"]

    def test_says_what_to_do_where_no_container_is(self, bench: Bench) -> None:
        bench.without("vllm")
        plan = here()
        nowhere = bench.run(script("serve.sh", plan, plan.head))
        assert (nowhere.returncode, "neither vllm nor docker is here" in nowhere.stderr) == (1, True)
        bench.stand_in("docker")
        down = bench.run(script("serve.sh", plan, plan.head), docker_status="1")
        assert (down.returncode, "docker compose up -d" in down.stderr) == (1, True)
        assert len(bench.told("docker")) == 1

    def test_keeps_the_heads_own_values_from_the_workers(self, bench: Bench, gcs: int) -> None:
        plan = here(gcs)
        for below, says in (
            ("home/.config/vllm", {}),
            ("xdg/vllm", {"XDG_CONFIG_HOME": str(bench.folder / "xdg")}),
            ("root", {"VLLM_CONFIG_ROOT": str(bench.folder / "root")}),
        ):
            done = bench.run(script("serve.sh", plan, plan.head), **says)
            assert done.returncode == 0, done.stderr
            file = bench.folder / below / "ray_non_carry_over_env_vars.json"
            assert json.loads(file.read_text()) == ["HCCL_IF_IP", "VLLM_HOST_IP"]

    @pytest.mark.parametrize(
        ("nodes", "told"),
        [
            (PLANNED[:1], "node-1 (192.168.10.11): Ray has no nodes there"),
            ((*PLANNED, PLANNED[1]), "node-1 (192.168.10.11): Ray has 2 nodes there"),
            ((PLANNED[0], ("192.168.10.11", False, {"NPU": 8})), "node-1 (192.168.10.11): Ray has no nodes"),
            ((PLANNED[0], ("192.168.10.11", True, {})), "Ray counts 0 NPU, planned are 8"),
            ((PLANNED[0], ("192.168.10.11", True, {"NPU": 16})), "Ray counts 16 NPU, planned are 8"),
            ((PLANNED[0], ("192.168.10.11", True, {"NPU": 8, "GPU": 8})), "--num-gpus"),
            ((*PLANNED, ("192.0.2.9", True, {"NPU": 4})), "192.0.2.9 is in Ray with 4 NPU, but not planned"),
        ],
        ids=["missing", "twice", "dead", "none", "more", "gpu", "unplanned"],
    )
    def test_refuses_a_ray_that_is_not_as_planned(
        self, bench: Bench, gcs: int, nodes: tuple[tuple[str, bool, dict[str, float]], ...], told: str
    ) -> None:
        bench.nodes(*nodes)
        plan = here(gcs)
        done = bench.run(script("serve.sh", plan, plan.head))
        assert (done.returncode, bench.told("vllm")) == (1, [])
        assert told in done.stderr
        assert done.stderr.count("serve.sh:   ") == 1

    def test_waits_for_the_last_node(self, bench: Bench, gcs: int) -> None:
        bench.nodes(PLANNED[0])
        threading.Timer(1, bench.nodes, PLANNED).start()
        plan = here(gcs, timeouts=Timeouts(5, 20, 5, 5))
        done = bench.run(script("serve.sh", plan, plan.head))
        assert done.returncode == 0, done.stderr
        assert "node-1 (192.168.10.11): Ray has no nodes there" in done.stderr
        assert "Ray is as planned: 2 nodes, 16 NPU" in done.stderr

    def test_refuses_to_serve_twice(self, bench: Bench, gcs: int) -> None:
        plan = here(gcs)
        file = bench.folder / "serve.sh"
        text = script("serve.sh", plan, plan.head)
        file.write_text(text, encoding="utf-8")
        first = subprocess.Popen(("bash", file), env=bench.environment | {"vllm_seconds": "60"})
        until(lambda: bench.was_called("vllm"))
        second = bench.run(text)
        first.kill()
        first.wait()
        third = bench.run(text)
        assert (second.returncode, third.returncode) == (1, 0)
        assert f"process {first.pid} of this container serves already" in second.stderr


class Service(ThreadingHTTPServer):
    """Answers every request with one reply, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 200
        self.reply = b""
        self.delay = 0.0
        self.asked: list[tuple[str, str | None, bytes]] = []


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.reply)))
        self.end_headers()
        self.wfile.write(self.server.reply)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    part("curl")
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestAsk:
    def ask(
        self, bench: Bench, port: int, *words: str, limit: int = 300, served_name: str = "qwen", **given: str
    ) -> subprocess.CompletedProcess[str]:
        plan = here(served_name=served_name)
        plan = plan._replace(serve=plan.serve._replace(port=port))
        text = script("ask.sh", plan, plan.head)
        assert text.count("limit=300 ") == 1
        return bench.run(text.replace("limit=300 ", f"limit={limit} "), *words, **given)

    def completion(self, text: str) -> bytes:
        return json.dumps({"choices": [{"index": 0, "text": text}], "usage": {}}).encode()

    def test_prints_the_answer_to_the_guides_question(self, bench: Bench, service: Service) -> None:
        service.reply = self.completion(" by going to bed\nearly \x1b[2J\u00e4 ")
        done = self.ask(bench, service.server_port)
        assert (done.returncode, done.stdout, done.stderr) == (0, "by going to bed\nearly ?[2J\u00e4\n", "")
        [(path, key, body)] = service.asked
        assert (path, key) == ("/v1/completions", None)
        assert json.loads(body) == {
            "model": "qwen",
            "prompt": "tell me how to sleep well",
            "max_tokens": 100,
            "temperature": 0,
        }

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        prompt=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        served_name=TEXT,
    )
    def test_asks_any_question(self, shared: Bench, prompt: str, served_name: str) -> None:
        part("curl")
        with Service() as service:
            service.reply = self.completion("yes")
            thread = threading.Thread(target=service.handle_request)
            thread.start()
            done = self.ask(shared, service.server_port, prompt, served_name=served_name)
            thread.join()
            assert done.returncode == 0, done.stderr
            asked = json.loads(service.asked[0][2])
            assert (asked["prompt"], asked["model"]) == (prompt, served_name)

    def test_keeps_the_key_from_the_arguments(self, bench: Bench, service: Service) -> None:
        curl = part("curl")
        bench.stand_in("curl", text=f'#!/bin/bash\nprintf "%s\\n" "$@" >"$STAND_IN/words"\nexec {curl} "$@"\n')
        service.reply = self.completion("yes")
        key = 'canary "quoted" \\ key'
        done = self.ask(bench, service.server_port, VLLM_API_KEY=key)
        assert done.returncode == 0, done.stderr
        assert service.asked[0][1] == f"Bearer {key}"
        assert "canary" not in (bench.folder / "words").read_text()

    def test_goes_past_proxies_and_curlrc(self, bench: Bench, service: Service) -> None:
        (bench.folder / "home/.curlrc").write_text("include\nfail\n")
        service.reply = self.completion("yes")
        nowhere = "http://127.0.0.1:9"
        done = self.ask(bench, service.server_port, http_proxy=nowhere, ALL_PROXY=nowhere)
        assert (done.returncode, done.stdout) == (0, "yes\n")

    def test_works_without_python(self, bench: Bench, service: Service) -> None:
        bench.without("python3")
        service.reply = self.completion("yes")
        good = self.ask(bench, service.server_port)
        assert (good.returncode, good.stdout) == (0, service.reply.decode() + "\n")
        service.reply = self.completion("")
        assert self.ask(bench, service.server_port).returncode == 1

    @pytest.mark.parametrize(
        ("status", "reply", "told"),
        [
            (200, b'{"choices": [{"text": "  "}]}', "the reply holds no text"),
            (200, b'{"choices": []}', "the reply holds no text"),
            (200, b'{"choices": [{"text": null}]}', "the reply holds no text"),
            (200, b"<html>\x1b[2J</html>", "the reply holds no text: <html> [2J</html>"),
            (200, b"[]", "the reply holds no text"),
            (401, b"{}", "set VLLM_API_KEY"),
            (404, b'{"message": "The model `x` does not exist."}', "this model is not served (HTTP 404)"),
            (500, b"EngineDeadError", "the engine may have died. EngineDeadError"),
        ],
    )
    def test_takes_nothing_else_for_an_answer(
        self, bench: Bench, service: Service, status: int, reply: bytes, told: str
    ) -> None:
        service.status, service.reply = status, reply
        done = self.ask(bench, service.server_port)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert "\x1b" not in done.stderr

    def test_says_that_nothing_serves_yet(self, bench: Bench) -> None:
        part("curl")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        done = self.ask(bench, port)
        assert done.returncode == 1
        assert f"nothing listens at http://localhost:{port}/v1/completions; loading takes minutes" in done.stderr

    def test_does_not_wait_for_ever(self, bench: Bench, service: Service) -> None:
        service.delay = 3
        done = self.ask(bench, service.server_port, limit=1)
        assert done.returncode == 1
        assert "no answer within 1 s" in done.stderr


class TestContainer:
    """The container's own command."""

    def start(
        self, bench: Bench, *words: str, address: str = "127.0.0.1", limit: int = 5, **given: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ("bash", "-c", start_script(), "ray-start", address, str(limit), str(limit), *words),
            env=bench.environment | given,
            cwd=bench.folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    @pytest.mark.parametrize("name", ["raylet", "gcs_server"])
    def test_starts_ray_with_the_words_given_and_lives_with_it(self, bench: Bench, name: str) -> None:
        words = ("ray", "start", "--head", *HOSTILE)
        process = self.start(bench, *words)
        until((bench.folder / "alive-gcs_server").exists)
        time.sleep(2.5)
        assert process.poll() is None
        (bench.folder / f"alive-{name}").unlink()
        _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert f"Ray's {name} has died" in said
        [told] = bench.told("ray")
        assert ("ray", *told.words) == words

    def test_a_worker_does_not_look_for_a_gcs_of_its_own(self, bench: Bench, gcs: int) -> None:
        process = self.start(bench, "ray", "start", f"--address=127.0.0.1:{gcs}")
        until((bench.folder / "alive-gcs_server").exists)
        (bench.folder / "alive-gcs_server").unlink()
        time.sleep(2.5)
        assert process.poll() is None
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert (process.returncode, "told to stop" in said) == (0, True)

    def test_a_worker_gives_up_on_a_head_that_does_not_come(self, bench: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = self.start(bench, "ray", "start", f"--address=127.0.0.1:{port}", limit=1)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, bench.told("ray")) == (1, [])
        assert f"nothing answers at 127.0.0.1:{port} after 1 s" in said

    def test_a_foreign_address_is_refused(self, bench: Bench) -> None:
        process = self.start(bench, "ray", "start", "--head", address="192.0.2.1")
        _, said = process.communicate(timeout=20)
        assert (process.returncode, bench.told("ray")) == (1, [])
        assert "this host does not own 192.0.2.1" in said

    @pytest.mark.parametrize(
        ("stand_in", "status"),
        [({"ray_status": "3"}, 3), ({"ray_seconds": "60"}, 124)],
        ids=["fails", "hangs"],
    )
    def test_ends_when_ray_does_not_start(self, bench: Bench, stand_in: dict[str, str], status: int) -> None:
        process = self.start(bench, "ray", "start", "--head", limit=1, **stand_in)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert f"ray start failed with status {status}" in said

    def test_stops_while_ray_starts(self, bench: Bench) -> None:
        process = self.start(bench, "ray", "start", "--head", limit=30, ray_seconds="30")
        until(lambda: bench.was_called("ray"))
        process.terminate()
        process.communicate(timeout=5)
        assert process.returncode == 0
        [told] = bench.told("ray")
        until(lambda: told.ended)
