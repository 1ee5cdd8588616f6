"""A host for verify.sh to run on: its files below a folder, its tools in another, its NPUs emulated.

Everything that verify.sh runs is real but hccn_tool and npu-smi (`tests/emulator`), docker, ip and getent,
which say what a test wants them to, and how full a file system is. PATH holds these and coreutils alone.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2
from plans import MODEL, npu_addresses

from compiler.checks import checks

if TYPE_CHECKING:
    from compiler.plan import Plan

HERE = Path(__file__).parent
TEMPLATES = HERE.parent / "templates"
COREUTILS = (
    "bash", "cat", "date", "env", "ls", "mktemp", "readlink", "rm", "sha256sum", "sleep", "sort", "stat", "timeout",
    "tr", "uname",
)  # fmt: skip
EMULATORS_OWN = ("grep", "flock")
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.168.10.0
        /24 link UNICAST
     |-- {address}
        /32 host LOCAL
Local:
     |-- {address}
        /32 host LOCAL
"""
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010AA8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
{interface}\t000AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
TCP = "  sl  local_address rem_address   st\n"
SHARDS = {"model-00001-of-00002.safetensors": 3000, "model-00002-of-00002.safetensors": 1000}
REVISION = "9216db5781bf21249d130ec9da846c4624c16137"
DIGEST = "sha256:" + "3f" * 32
# Free and all blocks of every file system: 50 of 100 GiB.
HALF_FULL = "4096 26214400 13107200 nfs"


class Outcome(NamedTuple):
    """How a run of verify.sh ended."""

    status: int
    out: bytes
    err: str

    @property
    def checks(self) -> dict[str, dict[str, str]]:
        """What `--json` said, by id."""
        return {check["id"]: check for check in json.loads(self.out)["checks"]}

    def ids(self, *statuses: str) -> set[str]:
        """The ids of the checks that ended so."""
        return {name for name, check in self.checks.items() if check["status"] in statuses}


def render_verify(plan: Plan, node: int = 0) -> str:
    """verify.sh of one node, rendered as `render` does it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - shell, not HTML
    )
    environment.filters["sh"] = shlex.quote
    environment.filters["words"] = shlex.join
    template = environment.get_template("node/verify.sh.j2")
    return template.render(plan=plan, node=plan.nodes[node], checks=checks())


def real(tool: str) -> str:
    """Where the tool of this machine is."""
    found = shutil.which(tool)
    assert found, f"this test needs {tool}"
    return found


def lay_out_model(folder: Path) -> None:
    """A small model in two shards, with their index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Qwen3MoeForCausalLM"]}')
    for name, size in SHARDS.items():
        (folder / name).write_bytes(b"\0" * size)
    names = {f"model.layers.{number}.mlp.weight": name for number, name in enumerate(sorted(SHARDS) * 2)}
    index = {"metadata": {"total_size": sum(SHARDS.values()) - 200}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def lay_out_hub(hub: Path) -> None:
    """The same, as Hugging Face lays it out: a snapshot is links to blobs."""
    model = hub / f"models--{MODEL.replace('/', '--')}"
    lay_out_model(model / "blobs")
    snapshot = model / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for blob in (model / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    (model / "refs").mkdir()
    (model / "refs/main").write_text(REVISION)


class Host:
    """A node of a plan, healthy until a test changes `root`, `state`, a tool, or what is below.

    Attributes:
        docker: What `docker version`, `docker image` and so on do, in bash; no docker is there without any.
        containers: A line each, as `docker inspect` prints the script's format.
        file_system: What `stat -f` says of each.
    """

    def __init__(self, folder: Path, plan: Plan, node: int = 0) -> None:
        """Lays the host's files out below `folder`."""
        self.root = folder / "root"
        self.tools = folder / "tools"
        self.script = folder / "verify.sh"
        self.state_file = folder / "state"
        self.state: dict[str, str] = {"npus": str(plan.accelerator.npus)}
        self.environment: dict[str, str] = {}
        self.docker = {
            "version": "echo 20.10.24",
            "info": "echo /var/lib/docker",
            "image": f"echo {DIGEST}",
        }
        self.containers: list[str] = []
        self.file_system = HALF_FULL
        self.script.write_text(render_verify(plan, node))
        self._lay_out(plan, node)
        self.tools.mkdir()
        for name in COREUTILS + EMULATORS_OWN:
            (self.tools / name).symlink_to(real(name))
        self.tool("getent", f'echo "{plan.nodes[node].address} STREAM $2"')

    def _lay_out(self, plan: Plan, number: int) -> None:
        node = plan.nodes[number]
        self.write("proc/net/fib_trie", FIB_TRIE.format(address=node.address))
        self.write("proc/net/route", ROUTE.format(interface=node.interface))
        self.write("proc/net/tcp", TCP)
        self.write("proc/net/tcp6", TCP)
        self.write("proc/meminfo", "MemTotal:       2113929216 kB\nMemFree:  1 kB\nMemAvailable: 1900000000 kB\n")
        self.write("proc/sys/fs/nr_open", "1048576\n")
        self.write("proc/sys/kernel/pid_max", "4194304\n")
        self.write("proc/sys/kernel/threads-max", "16511990\n")
        self.write("proc/sys/net/ipv4/ip_local_reserved_ports", "60000-60015\n")
        self.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
        self.write(f"sys/class/net/{node.interface}/operstate", "up\n")
        self.write(f"sys/class/net/{node.interface}/flags", "0x1003\n")
        self.write("usr/local/dcmi/libdcmi.so", "")
        self.write("usr/local/Ascend/driver/version.info", "Version=24.1.rc2.2\nascendhal_version=7.35.23\n")
        addresses = npu_addresses(plan.accelerator, number)
        self.conf(*(f"address_{npu}={address}" for npu, address in enumerate(addresses)))
        (self.root / "proc/1/fd").mkdir(parents=True)
        (self.root / "proc/1/fd/0").symlink_to("/dev/null")
        (self.root / "var/lib/docker").mkdir(parents=True)
        (self.root / plan.cache[1:]).mkdir(parents=True)
        lay_out_hub(self.root / plan.cache[1:] / "huggingface/hub")
        (self.root / "dev").mkdir()
        for device in node.shape.devices:
            (self.root / device[1:]).symlink_to("/dev/null")
        for tool, path in (("hccn_tool", "Ascend/driver/tools"), ("npu-smi", "bin")):
            place = self.root / "usr/local" / path
            place.mkdir(parents=True, exist_ok=True)
            (place / tool).symlink_to(HERE / "emulator" / tool)

    def write(self, path: str, text: str) -> None:
        """Writes a file of the host."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def conf(self, *lines: str) -> None:
        """Writes /etc/hccn.conf."""
        self.write("etc/hccn.conf", "".join(f"{line}\n" for line in lines))

    def tool(self, name: str, script: str) -> None:
        """Puts a tool on PATH that does `script`; the machine's own, to which a link may be there, stays whole."""
        file = self.tools / name
        file.unlink(missing_ok=True)
        file.write_text(f"#!/usr/bin/env bash\n{script}\n")
        file.chmod(0o755)

    def run(self, *options: str) -> Outcome:
        """Runs verify.sh; the calls of hccn_tool are counted anew."""
        self._put_docker()
        self._put_stat()
        self.state_file.write_text("".join(f"{key}={value}\n" for key, value in self.state.items()))
        self.log.unlink(missing_ok=True)
        done = subprocess.run(
            [shutil.which("bash") or "bash", self.script, *options],
            env=self.variables,
            capture_output=True,
            check=False,
            timeout=120,
            cwd=os.sep,
        )
        return Outcome(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def _put_docker(self) -> None:
        (self.tools / "docker").unlink(missing_ok=True)
        named = [(f"{number:064x}", line) for number, line in enumerate(self.containers)]
        running = [name for name, line in named if line.split()[1] == "true"]
        listed = {
            "ps": "".join(f"{'' if name in running else '[[ $* != *--all* ]] || '}echo {name}\n" for name, _ in named),
            "inspect": "".join(f"[[ $* != *{name}* ]] || echo {shlex.quote(line)}\n" for name, line in named),
        }
        if self.docker:
            cases = "".join(f"{name})\n{script}\n;;\n" for name, script in {**listed, **self.docker}.items())
            self.tool("docker", f"case $1 in\n{cases}esac")

    def _put_stat(self) -> None:
        (self.tools / "stat").unlink()
        self.tool("stat", f'[[ $1 == -f && -e ${{!#}} ]] || exec {real("stat")} "$@"\necho "{self.file_system}"')

    @property
    def variables(self) -> dict[str, str]:
        """The environment of verify.sh."""
        return {
            "PATH": str(self.tools),
            "VERIFY_ROOT": str(self.root),
            "EMULATOR_STATE": str(self.state_file),
            **self.environment,
        }

    @property
    def log(self) -> Path:
        """The calls of hccn_tool, a line each."""
        return self.state_file.with_name("state.log")


def statuses(host: Host, *options: str) -> dict[str, str]:
    """The status of each check of a run, by id."""
    return {name: check["status"] for name, check in host.run("--json", *options).checks.items()}


def verdict(host: Host, check: str, *options: str) -> tuple[str, str]:
    """The status of one check and what it saw."""
    result = host.run("--json", "--only", check, *options).checks[check]
    return result["status"], result["seen"]
