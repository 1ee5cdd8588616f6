"""Emulated Ascend nodes with a real Docker engine each, and a laptop from which the program reaches them.

The engines stay for all tests of a run; `clear` takes away what a test left on them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import ascend
import ray_image
from certificates import Authority
from engine import allowed_ulimits
from network import plugged, switch
from node import IMAGE, TCP, Node, Place
from sshd import keys, laptop
from terminal import Terminal, terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parent.parent.parent
LAPTOP = 99  # its port, and the last part of its address
# This machine's own disk and memory are not what is tested.
MACHINE = ("--skip", "disk,memory")
NODES = """
import json, ray
ray.init(address="10.77.0.1:6379", log_to_driver=False, logging_level="ERROR")
print(json.dumps({each["NodeManagerAddress"]: each["Resources"] for each in ray.nodes() if each["Alive"]}))
"""


class Reply(NamedTuple):
    """What the service answered: the status of HTTP, 0 when nobody did, and the text."""

    status: int
    text: str


class Rig:
    """All of it.

    Attributes:
        folder: Where what is shared lies; `desk` in it is where the program runs, `keys` has those of ssh.
        shared: What every node has as /mnt/shared/cache.
        nodes: Those that there are, in order: `node` makes more.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix="rig-"))
        stack.callback(shutil.rmtree, self.folder)
        self.shared, self.desk, self.keys = (self.folder / name for name in ("shared", "desk", "keys"))
        for each in (self.shared, self.desk, self.keys):
            each.mkdir()
        ascend.model(self.shared / "tiny")
        keys(self.keys, *(f"10.77.0.{index + 1}" for index in range(9)))
        where = stack.enter_context(switch())
        own = stack.enter_context(plugged(where, LAPTOP, f"10.77.0.{LAPTOP}"))
        self._laptop = stack.enter_context(laptop(own, self.keys))
        self._place = Place(where, self.shared, self.keys)
        self.nodes: list[Node] = []
        ray_image.load(self.node(0).engine, IMAGE)
        self.node(1)

    def node(self, index: int) -> Node:
        """A node, made when it is not there yet."""
        while len(self.nodes) <= index:
            made = Node(self._stack, self._place, len(self.nodes), self.nodes[0] if self.nodes else None)
            (self.folder / f"{made.name}.sock").symlink_to(made.engine.socket)
            self.nodes.append(made)
        return self.nodes[index]

    def clear(self) -> None:
        """Takes away what a test left."""
        for node in self.nodes:
            node.clear()
        for each in (*self.desk.iterdir(), self.shared / "faults"):
            shutil.rmtree(each) if each.is_dir() else each.unlink(missing_ok=True)

    # ---- The spec and its bundle

    @property
    def unix(self) -> str:
        """How a spec names the nodes' own sockets."""
        return f"unix://{self.folder}/{{name}}.sock"

    def spec(
        self, *, nodes: int = 2, npus: int = 8, docker: str = TCP, file: str = "spec.yaml", **more: object
    ) -> Path:
        """A spec of the first nodes with so many NPUs of each; `more` are fields that it has besides, or instead."""
        document = {
            "version": 1,
            "name": "rig",
            "accelerator": "atlas-a2",
            "image": IMAGE,
            "cache": "/mnt/shared/cache",
            "defaults": {"interface": "eth0", "docker": docker, "npus": list(range(npus))},
            "nodes": [
                {
                    "name": node.name,
                    "address": node.address,
                    "npu_addresses": [f"10.20.{index}.{10 + npu}" for npu in range(npus)],
                }
                for index, node in enumerate(self.node(index) for index in range(nodes))
            ],
            "serve": {"model": "/root/.cache/tiny", "parallelism": "pipeline", "args": {"served-model-name": "tiny"}},
            "model": f"{self.shared}/tiny/config.json",
            "container": {"ulimits": allowed_ulimits()},
            "timeouts": {"ray_start": 120, "ray_join": 180, "serve_ready": 180, "stop": 5},
            **more,
        }
        path = self.desk / file
        path.write_text(json.dumps(document, indent=1))
        return path

    def bundle(self, spec: Path) -> Path:
        """The bundle of a spec, on disk."""
        done = self.compiler("render", spec, "--output", "generated")
        assert done.returncode == 0, done.stderr
        return self.desk / "generated" / "rig"

    # ---- The program

    def command(self, *words: str | Path) -> tuple[str | Path, ...]:
        """The command that runs a command on the laptop, at the desk: its process is the command's own."""
        return (*self._laptop.enter, "env", f"--chdir={self.desk}", *words)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a command on the laptop has as its environment."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.desk), "LANG": "C.UTF-8", **(more or {})}

    def compiler(
        self,
        *words: str | Path,
        environment: Mapping[str, str] | None = None,
        given: str | None = None,
        seconds: float = 400,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `compiler` on the laptop to its end."""
        return subprocess.run(
            self.command(sys.executable, "-m", "compiler", *words),
            env=self.environment(environment),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    @contextmanager
    def spawned(
        self, *words: str | Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Starts `compiler` on the laptop, whose id is the process's own; it is killed if it has not ended by then."""
        with subprocess.Popen(
            self.command(sys.executable, "-m", "compiler", *words),
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def at_terminal(self, *words: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Terminal]:
        """Starts `compiler` on the laptop, on a terminal."""
        command = self.command(sys.executable, "-m", "compiler", *words)
        with terminal(command, self.environment(environment)) as shown:
            yield shown

    def authority(self, folder: str = "tls") -> tuple[Authority, dict[str, str]]:
        """An authority at the desk, and the environment of a client that it vouches for."""
        (self.desk / folder).mkdir()
        made = Authority(self.desk / folder)
        made.issue("")
        return made, {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.desk / folder)}

    # ---- What runs on the nodes

    def faults(self, *lines: str) -> None:
        """What goes wrong with the stand-in for vLLM from now on: stand_in_engine.py has the list."""
        (self.shared / "faults").write_text("\n".join(lines))

    def ray(self, container: str = "rig") -> dict[str, dict[str, float]]:
        """What Ray counts on each of its nodes, by address."""
        said = self.nodes[0].docker("exec", container, "python3", "-c", NODES)
        found: dict[str, dict[str, float]] = json.loads(said.splitlines()[-1])
        return found

    def get(self, path: str, *words: str, seconds: float = 60) -> Reply:
        """What the service on the head answers to the laptop; `words` are curl's."""
        asked = ("curl", "--silent", "--max-time", str(seconds), "--write-out", "\n%{http_code}", *words)
        done = subprocess.run(
            self.command(*asked, f"http://{self.nodes[0].address}:8000{path}"),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        text, _, status = done.stdout.rpartition("\n")
        return Reply(int(status), text)

    def complete(self, model: str = "tiny", *words: str) -> Reply:
        """What the service answers to a question."""
        body = json.dumps({"model": model, "prompt": "How do I sleep well?", "max_tokens": 100})
        return self.get("/v1/completions", "--json", body, *words)


def until(seen: Callable[[], object], seconds: float) -> None:
    """Waits for something; fails after that time."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not seen in {seconds} s"
        time.sleep(0.2)


@contextmanager
def rig() -> Iterator[Rig]:
    """A laptop and two nodes."""
    with ExitStack() as stack:
        yield Rig(stack)
