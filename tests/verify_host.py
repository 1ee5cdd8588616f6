"""A host for verify.sh to run on: its files below a folder, its tools in another, its NPUs emulated.

Everything that verify.sh runs is real but hccn_tool and npu-smi (`tests/emulator`), docker and ip, which
say what a test wants them to; PATH holds these and coreutils alone.
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
from plans import npu_addresses

if TYPE_CHECKING:
    from compiler.plan import Plan

HERE = Path(__file__).parent
TEMPLATES = HERE.parent / "templates"
COREUTILS = ("bash", "env", "timeout", "sleep", "mktemp", "rm", "stat", "uname", "cat")
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
    return template.render(plan=plan, node=plan.nodes[node])


class Host:
    """Node-0 of a plan, healthy until a test changes `root`, `state` or a tool."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Lays the host's files out below `folder`."""
        self.root = folder / "root"
        self.tools = folder / "tools"
        self.script = folder / "verify.sh"
        self.state_file = folder / "state"
        self.state: dict[str, str] = {"npus": str(plan.accelerator.npus)}
        self.environment: dict[str, str] = {}
        self.script.write_text(render_verify(plan))
        self._lay_out(plan)
        self.tools.mkdir()
        for name in COREUTILS + EMULATORS_OWN:
            found = shutil.which(name)
            assert found, f"this test needs {name}"
            (self.tools / name).symlink_to(found)
        self.tool("getent", 'echo "192.168.10.10 STREAM $2"')

    def _lay_out(self, plan: Plan) -> None:
        node = plan.nodes[0]
        self.write("proc/net/fib_trie", FIB_TRIE.format(address=node.address))
        self.write("proc/net/route", ROUTE.format(interface=node.interface))
        self.write("proc/net/tcp", TCP)
        self.write("proc/net/tcp6", TCP)
        self.write("proc/meminfo", "MemTotal:       2113929216 kB\nMemFree:  1 kB\n")
        self.write("proc/sys/net/ipv4/ip_local_reserved_ports", "60000-60015\n")
        self.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
        self.write(f"sys/class/net/{node.interface}/operstate", "up\n")
        self.write(f"sys/class/net/{node.interface}/flags", "0x1003\n")
        self.write("usr/local/dcmi/libdcmi.so", "")
        self.write("usr/local/Ascend/driver/version.info", "Version=24.1.rc2.2\nascendhal_version=7.35.23\n")
        addresses = npu_addresses(plan.accelerator, 0)
        self.conf(*(f"address_{npu}={address}" for npu, address in enumerate(addresses)))
        (self.root / plan.cache[1:]).mkdir(parents=True)
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
        """Puts a tool on PATH that does `script`."""
        file = self.tools / name
        file.write_text(f"#!/usr/bin/env bash\n{script}\n")
        file.chmod(0o755)

    def run(self, *options: str) -> Outcome:
        """Runs verify.sh; the calls of hccn_tool are counted anew."""
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
