"""What is shipped: a wheel that works from any folder, the committed output, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "examples").glob("*.yaml"))


def run(*words: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


def compiler(*words: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "compiler", *words, cwd=cwd, **env)


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_generated_is_what_the_examples_compile_to(spec: Path, tmp_path: Path) -> None:
    done = compiler("render", "--check", "-o", ROOT / "generated", spec, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + "run `make render` and review the diff"


def test_generated_holds_the_examples_and_nothing_else() -> None:
    names = {spec.stem for spec in SPECS}
    assert {path.name for path in (ROOT / "generated").iterdir()} == names


def test_the_committed_schema_is_fresh(tmp_path: Path) -> None:
    assert compiler("schema", cwd=tmp_path).stdout == (ROOT / "schema" / "cluster.schema.json").read_text()


def test_the_starter_compiles_without_a_warning(tmp_path: Path) -> None:
    assert compiler("init", cwd=tmp_path).returncode == 0
    assert compiler("check", "--strict", cwd=tmp_path).returncode == 0
    again = compiler("init", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert "exists already" in again.stderr


def digest(folder: Path) -> str:
    made = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        made.update(f"{file.relative_to(folder)} {file.stat().st_mode:o}\n".encode() + file.read_bytes())
    return made.hexdigest()


def test_the_same_bytes_and_modes_in_any_environment(tmp_path: Path) -> None:
    environments = [
        {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"},
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0", "PYTHONHASHSEED": "4294967295", "COLUMNS": "20"},
        {"LANG": "ja_JP.SJIS", "PYTHONIOENCODING": "ascii", "HOME": "/nowhere", "NO_COLOR": "1"},
    ]
    found = set()
    for index, (env, umask) in enumerate(zip(environments, ("000", "077", "022", "027"), strict=True)):
        folder = tmp_path / f"run {index}"
        folder.mkdir()
        for spec in SPECS:
            words = ("bash", "-c", 'umask "$1"; shift; exec "$@"', "-", umask, sys.executable, "-m", "compiler")
            done = run(*words, "render", "-o", "out", spec, cwd=folder, **env)
            assert done.returncode == 0, done.stderr
        found.add(digest(folder / "out"))
    assert len(found) == 1


def test_exit_codes(tmp_path: Path) -> None:
    spec = SPECS[0]
    assert compiler("--version", cwd=tmp_path).returncode == 0
    assert compiler("-h", cwd=tmp_path).returncode == 0
    assert compiler("check", spec, cwd=tmp_path).returncode == 0
    assert compiler("check", "nowhere.yaml", cwd=tmp_path).returncode == 1
    assert compiler("check", "--no-such-flag", cwd=tmp_path).returncode == 2
    assert compiler(cwd=tmp_path).returncode == 2
    assert compiler("render", "--check", spec, cwd=tmp_path).returncode == 1
    assert not list(tmp_path.iterdir())
    folder = tmp_path / "folder"
    folder.mkdir()
    unreadable = compiler("check", folder, cwd=tmp_path)
    assert unreadable.returncode == 1
    assert "Traceback" not in unreadable.stderr


@pytest.mark.timeout(300)
def test_a_wheel_works_from_any_folder_in_a_fresh_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for folder in ("schema", "templates", "compiler"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = tmp_path / "venv" / "bin" / "python"
    assert run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path).returncode == 0
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    installed = run(*pip, "--python", python, "install", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    for program in ((python, "-m", "compiler"), (python.parent / "compiler",)):
        folder = tmp_path / f"used by {program[-1] if len(program) > 1 else 'script'}"
        folder.mkdir()
        assert run(*program, "init", cwd=folder).returncode == 0
        done = run(*program, "render", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert run(*program, "schema", cwd=folder).stdout == (ROOT / "schema" / "cluster.schema.json").read_text()
        sums = run("sha256sum", "-c", "SHA256SUMS", cwd=folder / "generated" / "my-cluster" / "node-0")
        assert sums.returncode == 0
