"""An image as vllm-ascend's, without what needs NPUs: Debian, its Python, the real Ray and a stand-in for vLLM.

The big part is made once, in a minute, and kept as an archive of 440 MB: RIG_CACHE says where, else `.cache-rig`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import Engine

HERE = Path(__file__).parent
RAY = "ray[default]==2.48.0"
# What the scripts of a bundle run in a container, beyond what Debian always has: `ask.sh` needs curl.
PACKAGES = "python3,curl"
# Nobody reads these in the image.
UNREAD = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/lib/apt/lists")
# What `compiler verify` asks of an image are the versions of these, as pip would have noted them.
VERSIONS = {"vllm": "0.11.0", "vllm_ascend": "0.11.0"}
SECONDS_TO_MAKE = 540


def load(engine: Engine, tag: str) -> None:
    """Gives the engine this image."""
    with archive().open("rb") as file:
        # As vllm-ascend's own: https://github.com/vllm-project/vllm-ascend/blob/main/Dockerfile
        changes = ("--change", 'CMD ["/bin/bash"]', "--change", "WORKDIR /workspace")
        words = ("docker", "--host", f"unix://{engine.socket}", "import", *changes, "-", f"{tag}-without-vllm")
        subprocess.run(words, stdin=file, stdout=subprocess.DEVNULL, check=True)
    made = engine.docker("create", f"{tag}-without-vllm").strip()
    engine.docker("cp", HERE / "vllm_stand_in.py", f"{made}:/usr/local/bin/vllm")
    engine.docker("cp", HERE / "stand_in_engine.py", f"{made}:/usr/local/bin")
    engine.docker("commit", made, tag)
    engine.docker("rm", made)


def archive() -> Path:
    """The root of the image but for the stand-in, as a tar; made when it is not there yet."""
    home = Path(os.environ.get("RIG_CACHE") or HERE.parent.parent / ".cache-rig")
    system = platform.freedesktop_os_release()["VERSION_CODENAME"]
    # It is made anew when what is above changes, or Debian's release.
    recipe = hashlib.sha256(Path(__file__).read_bytes() + system.encode()).hexdigest()[:12]
    made = home / f"ray-image-{recipe}.tar"
    if not made.exists():
        home.mkdir(exist_ok=True)
        for old in home.glob("ray-image-*.tar"):
            old.unlink()
        work = Path(tempfile.mkdtemp(dir=home))
        try:
            _make(work / "root", system)
            subprocess.run(("tar", "-C", work / "root", "-cf", work / "tar", "."), check=True)
            (work / "tar").rename(made)
        finally:
            shutil.rmtree(work)
    return made


def _make(root: Path, system: str) -> None:
    """Debian, and in it Ray with all that it needs, as the Python there would have installed it."""
    _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", system, root)
    (root / "workspace").mkdir()
    version = _inside(root, "python3", "-c", "import platform; print(platform.python_version())").strip()
    packages = root / "usr/local/lib" / f"python{version.rpartition('.')[0]}" / "dist-packages"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:")
    _run(*pip, "--python-version", version, "--target", packages, RAY)
    _ray_program(packages / "bin" / "ray", root / "usr/local/bin/ray")
    for name, number in VERSIONS.items():
        folder = packages / f"{name}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    for folder in UNREAD:
        shutil.rmtree(root / folder)
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    _inside(root, "python3", "-m", "compileall", "-qq", f"/{packages.relative_to(root)}", check=False)


def _ray_program(installed: Path, program: Path) -> None:
    """Ray's program, for the Python of the image and not for the one that installed it."""
    _, _, rest = installed.read_text(encoding="utf-8").partition("\n")
    program.write_text(f"#!/usr/bin/python3\n{rest}", encoding="utf-8")
    program.chmod(0o755)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_MAKE, check=False)
    assert done.returncode == 0, (command[:3], done.stdout[-3000:], done.stderr[-3000:])


def _inside(root: Path, *command: str, check: bool = True) -> str:
    """What a command says that runs in that root; some files of Ray's are templates that do not compile."""
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        ("chroot", root, *command), env=environment, stdout=subprocess.PIPE, text=True, check=check
    ).stdout
