"""The completion scripts, through the shell that reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

VENV = Path(sys.executable).parent


def printed(shell: str) -> str:
    command = (sys.executable, "-m", "compiler", "completion", shell)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def completed(words: tuple[str, ...], folder: Path) -> set[str]:
    line = " ".join(f"'{word}'" for word in words)
    program = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _compiler; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ("bash", "-c", printed("bash") + program), capture_output=True, text=True, check=True, cwd=folder
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("compiler", "re"), {"render"}),
        (("compiler", "che"), {"check"}),
        (("compiler", "render", "--di"), {"--diff"}),
        (("compiler", "check", "--st"), {"--strict"}),
        (("compiler", "check", "clu"), {"cluster.yaml"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], wanted: set[str], tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").touch()
    assert completed(words, tmp_path) == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_there(shell: str) -> None:
    text = printed(shell)
    assert all(name in text for name in ("init", "check", "render", "schema", "completion", "overlay"))


def test_the_script_is_clean(tmp_path: Path) -> None:
    (tmp_path / "completion.bash").write_text(printed("bash"))
    subprocess.run((VENV / "shellcheck", "--shell=bash", tmp_path / "completion.bash"), check=True)
