"""A Docker engine of its own on an emulated Ascend host: NPU device nodes and all that a bundle mounts.

The engine lives in a mount namespace where /dev, /etc, /mnt and /usr/local are not the machine's. So nothing
is left mounted, and a generated docker-compose.yaml is used as it is.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hosts import Host, child, host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Everything that examples/qwen3-235b.yaml mounts, and eight NPUs: in memory, gone with the engine.
SETUP = """
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
"""
# No bridge and no firewall rules: containers get the host's network or none.
OPTIONS = ("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30
# What an engine keeps its images in; the files in there are never written again.
STORE = ("image", "overlay2")


class Engine:
    """An engine that runs, or is about to again.

    Attributes:
        on: The host that it is on.
        folder: Where everything of it lies.
        socket: What clients connect to.
        process: The id of its daemon.
    """

    def __init__(self, on: Host, folder: Path, options: tuple[str, ...]) -> None:
        self.on = on
        self.folder = folder
        self.socket = folder / "socket"
        self._options = options
        self.start()

    def start(self, *options: str) -> None:
        """Starts the daemon, on all that an earlier one has left here; with other options, when there are some."""
        kept = (f"--{name}={self.folder / name}" for name in ("data-root", "exec-root", "pidfile"))
        # The kernel keeps a folder of each control group, which is removed with this one.
        groups = (f"--cgroup-parent=/{self.folder.name}", "--exec-opt=native.cgroupdriver=cgroupfs")
        words = ("dockerd", *kept, *groups, *OPTIONS, f"--host=unix://{self.socket}", *(options or self._options))
        self._started = self.on.start(self.folder / "log", *words)
        self.process = child(self._started.pid)
        self._wait()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the daemon by a signal; after SIGKILL the containers run on until the next one starts."""
        os.kill(self.process, how)
        self._started.wait(SECONDS_TO_STOP)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there and does nothing."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def freeze(self) -> None:
        """Stops the daemon where it is; it still holds all that it has open."""
        os.kill(self.process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the daemon go on; and nsenter, which stops with what it started."""
        os.kill(self.process, signal.SIGCONT)
        self._started.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """True while its daemon is there."""
        return self._started.poll() is None

    def host(self, path: str) -> Path:
        """A path as the engine's host sees it."""
        return self.on.path(path)

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

    def empty(self) -> None:
        """Removes every container: what one holds mounted would keep the engine's folder busy."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)

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

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while self.run("docker", "version", check=False).returncode:
            log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
            assert self._started.poll() is None, log[-3000:]
            assert time.monotonic() < deadline, log[-3000:]
            time.sleep(0.2)


def _libraries(program: str) -> list[Path]:
    """The shared libraries of a program, its loader among them."""
    told = subprocess.run(("ldd", program), capture_output=True, text=True, check=True).stdout
    return [Path(word) for line in told.splitlines() for word in line.split() if word.startswith("/")]


@contextmanager
def engine(
    prepare: str = "", *, network: str = "", name: str = "", options: tuple[str, ...] = (), images: Engine | None = None
) -> Iterator[Engine]:
    """A running engine, gone afterwards with all that it held.

    `prepare` is bash that adds to its host, which is on `network` and called `name`; $SOCKET is the engine's.
    `images` is an engine whose images it has, too: the same files, by links.
    """
    folder = Path(tempfile.mkdtemp(prefix="rig-engine-"))
    with ExitStack() as stack:
        stack.callback(_remove, folder)
        environment = {**os.environ, "SOCKET": str(folder / "socket")}
        on = stack.enter_context(host(SETUP + prepare, network=network, name=name, environment=environment))
        if images:
            (folder / "data-root").mkdir()
            store = (images.folder / "data-root" / each for each in STORE)
            subprocess.run(("cp", "--archive", "--link", *store, folder / "data-root"), check=True)
        running = Engine(on, folder, options)
        yield running
        running.empty()
        running.stop()


def _remove(folder: Path) -> None:
    """Removes an engine's folder, and its control groups: a cut off container leaves its own."""
    for parent in Path("/sys/fs/cgroup").glob(f"**/{folder.name}"):
        for group in sorted((each for each in parent.rglob("*") if each.is_dir()), reverse=True):
            group.rmdir()
        parent.rmdir()
    shutil.rmtree(folder)


def compose() -> Path:
    """Compose v2: the binary, since the package's wrapper swallows exit codes."""
    package = importlib.util.find_spec("compose")
    assert package is not None
    return Path(str(package.origin)).parent / "docker-compose"


def allowed_ulimits() -> dict[str, int]:
    """What must be lower here than in a bundle: raising a hard limit needs CAP_SYS_RESOURCE."""
    raised = ("prlimit", "--memlock=unlimited", "--nofile=1048576", "true")
    if not subprocess.run(raised, stderr=subprocess.DEVNULL, check=False).returncode:
        return {}
    limits = {"memlock": resource.RLIMIT_MEMLOCK, "nofile": resource.RLIMIT_NOFILE}
    return {name: resource.getrlimit(limit)[1] for name, limit in limits.items()}
