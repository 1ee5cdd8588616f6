"""Emulated clusters for the commands that reach nodes: an engine for each node, and what the nodes answer."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_api import LOOK, Answer, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = "vllm-ascend:v0.11.0"
DIGEST = "sha256:" + "ab" * 32


class Node:
    """One emulated node: `checks` is what its verify.sh finds, by id; an entry changes what is healthy."""

    def __init__(self, index: int, socket: Path) -> None:
        self.name = f"node-{index}"
        self.address = f"192.168.{index // 250}.{index % 250 + 1}"
        self.look = LOOK
        self.said: dict[str, dict[str, str]] = {
            f"link[{npu}]": {"seen": "UP", "by_hand": f"hccn_tool -i {npu} -link -g"} for npu in range(8)
        }
        self.said |= {f"npu-address[{npu}]": {"seen": f"10.{index // 250}.{index % 250}.{npu + 1}"} for npu in range(8)}
        self.said |= {f"tls[{npu}]": {"seen": "switch 0 (disabled)"} for npu in range(8)}
        self.said |= {f"mtu[{npu}]": {"seen": "4200"} for npu in range(8)}
        self.said |= {"driver": {"seen": "25.2.0"}, "firmware": {"seen": "7.7.0"}, "cache": {"seen": "is writable"}}
        self.before: Callable[[list[str]], None] = lambda _: None
        self.commands: list[list[str]] = []
        self.engine = Engine(socket, self.run, {IMAGE: {"Id": DIGEST, "RepoDigests": [f"vllm-ascend@{DIGEST}"]}})

    def run(self, command: list[str], script: str) -> Answer:
        """What a command in its container is answered with."""
        self.commands.append(command)
        if "verify.sh" not in command:
            return 0, self.look, ""
        assert "readonly NODE=" in script
        words = command[command.index("verify.sh") + 1 :]
        self.before(words)
        if "--forget" in words:
            return 0, "", ""
        if "--facts" in words:
            addresses = [self.said[f"npu-address[{npu}]"]["seen"] for npu in range(8)]
            return 0, json.dumps({"format_version": 1, "interface": "eth0", "npu_addresses": addresses}), ""
        said = dict(self.said)
        if any(word.startswith("--nonce") for word in words):
            said.setdefault("cache[shared]", {"seen": "the mark of node-0 is here"})
        checks = [{"id": name, "status": "ok", **check} for name, check in said.items()]
        failed = any(check["status"] == "FAIL" for check in checks)
        return int(failed), json.dumps({"format_version": 1, "node": self.name, "checks": checks}), "1/9 link[0]\n"


@contextmanager
def cluster(count: int) -> Iterator[tuple[list[Node], bytes]]:
    """Nodes that answer, and the spec that names them."""
    folder = Path(tempfile.mkdtemp(prefix="engines-"))  # short: a socket's path has 107 bytes at most
    try:
        with ExitStack() as stack:
            nodes = [Node(index, folder / str(index)) for index in range(count)]
            for node in nodes:
                stack.enter_context(node.engine)
            yield nodes, spec(nodes)
    finally:
        shutil.rmtree(folder)


def spec(nodes: list[Node], **more: Any) -> bytes:
    """A spec of these nodes; JSON is YAML."""
    document = {
        "version": 1,
        "name": "emulated",
        "accelerator": "atlas-a2",
        "image": IMAGE,
        "cache": "/mnt/shared/cache",
        "defaults": {"interface": "eth0"},
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "docker": node.engine.url,
                "npu_addresses": [node.said[f"npu-address[{npu}]"]["seen"] for npu in range(8)],
            }
            for node in nodes
        ],
        "serve": {"model": "Qwen/Qwen3-32B", "parallelism": "pipeline"},
        **more,
    }
    return json.dumps(document, indent=1).encode()
