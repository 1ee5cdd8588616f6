"""A Docker engine of its own on an emulated Ascend host: NPU device nodes and all that a bundle mounts.

The engine lives in a mount namespace where /dev, /etc, /mnt and /usr/local are not the machine's. So nothing
is left mounted, and a generated docker-compose.yaml is used as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Everything that examples/qwen3-235b.yaml mounts, and eight NPUs: in memory, gone with the engine.
HOST = """
set -e
for folder in /usr/local /mnt; do mount -t tmpfs tmpfs $folder; done
mkdir -p /mnt/etc/upper /mnt/etc/work /mnt/shared/cache /usr/local/{dcmi,bin,Ascend/driver/{tools,lib64}}
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc/upper,workdir=/mnt/etc/work /etc
touch /etc/{hccn.conf,ascend_install.info} /usr/local/bin/npu-smi
touch /usr/local/Ascend/driver/{version.info,tools/hccn_tool}
mkdir /mnt/dev
mount -t tmpfs tmpfs /mnt/dev
cp -a /dev/{null,zero,full,random,urandom,tty,fd,stdin,stdout,stderr} /mnt/dev
mkdir /mnt/dev/{shm,pts,mqueue}
for npu in davinci{0..7} davinci_manager devmm_svm hisi_hdc; do mknod /mnt/dev/$npu c 1 3; done
mount --move /mnt/dev /dev
eval "$PREPARE"
exec dockerd "$@"
"""
# No bridge and no firewall rules: containers get the host's network or none.
OPTIONS = ("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30


class Engine(NamedTuple):
    """A running engine.

    Attributes:
        folder: Where everything of it lies.
        process: The daemon's id.
        socket: What clients connect to.
    """

    folder: Path
    process: int
    socket: Path

    def host(self, path: str) -> Path:
        """A path as the engine's host sees it."""
        return Path(f"/proc/{self.process}/root{path}")

    def run(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        given: bytes = b"",
        check: bool = True,
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a client of this engine to its end."""
        base = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_HOST": f"unix://{self.socket}"}
        done = subprocess.run(
            command,
            env=base | dict(environment or {}),
            cwd=cwd or self.folder,
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, (command[:3], done.stdout[-1000:], done.stderr[-3000:])
        return done

    def docker(self, *words: str | Path) -> str:
        """What a `docker` command printed."""
        return self.run("docker", *words).stdout.decode()

    def import_image(self, tag: str, programs: Mapping[str, str], scripts: Mapping[str, str]) -> None:
        """Makes an image of programs of this machine, by the names they get there, and of scripts."""
        root = self.folder / "image"
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
            (root / folder).mkdir(parents=True)
        for name, program in programs.items():
            found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
            assert found, program
            shutil.copy(found, root / "bin" / name)
            for library in _libraries(found):
                target = root / library.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)
        for name, script in scripts.items():
            (root / "bin" / name).write_text(script, encoding="ascii")
            (root / "bin" / name).chmod(0o755)
        archive = subprocess.run(("tar", "-C", root, "-c", "."), capture_output=True, check=True).stdout
        self.run("docker", "import", "--change", "ENV PATH=/bin:/usr/local/bin", "-", tag, given=archive)
        shutil.rmtree(root)


def _libraries(program: str) -> list[Path]:
    """The shared libraries of a program, its loader among them."""
    told = subprocess.run(("ldd", program), capture_output=True, text=True, check=True).stdout
    return [Path(word) for line in told.splitlines() for word in line.split() if word.startswith("/")]


@contextmanager
def engine(enter: tuple[str, ...] = (), prepare: str = "") -> Iterator[Engine]:
    """A running engine, gone afterwards with all that it held.

    `enter` is a command that leads to where its host is, `prepare` is bash that adds to its host.
    """
    folder = Path(tempfile.mkdtemp(prefix="rig-engine-"))
    socket = folder / "socket"
    where = [f"--{name}={folder / name}" for name in ("data-root", "exec-root", "pidfile")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            (*enter, "unshare", "--mount", "bash", "-c", HOST, "host", *where, *OPTIONS, f"--host=unix://{socket}"),
            env={**os.environ, "PREPARE": prepare, "SOCKET": str(socket)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    running = Engine(folder, daemon.pid, socket)
    try:
        _wait(running, daemon)
        yield running
        _empty(running)
    finally:
        daemon.terminate()
        try:
            daemon.wait(SECONDS_TO_STOP)
        finally:
            daemon.kill()
            daemon.wait()
            shutil.rmtree(folder)


def _wait(running: Engine, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while running.run("docker", "version", check=False).returncode:
        log = (running.folder / "log").read_text(encoding="utf-8", errors="replace")
        assert daemon.poll() is None, log[-3000:]
        assert time.monotonic() < deadline, log[-3000:]
        time.sleep(0.2)


def _empty(running: Engine) -> None:
    """Removes every container: what one holds mounted would keep the engine's folder busy."""
    if containers := running.docker("ps", "--all", "--quiet").split():
        running.docker("rm", "--force", *containers)
