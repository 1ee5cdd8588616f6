"""What is remembered spares the work and changes nothing: any difference, and all is done anew."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from compiler import cli, memo

ROOT = Path(__file__).parent.parent
SPEC = (ROOT / "examples" / "qwen3-235b.yaml").read_text(encoding="utf-8")


class Desk:
    """A folder with a spec and its bundle, and whether a run was spared."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.spec = folder / "cluster.yaml"
        self.out = folder / "out"
        self.spec.write_text(SPEC, encoding="utf-8")
        self.compiled = 0

    @property
    def bundle(self) -> Path:
        return self.out / "qwen3-235b"

    def run(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        self.compiled = 0
        code = cli.main([*words, str(self.spec)])
        return code, *self.capsys.readouterr()

    def render(self, *words: str) -> tuple[int, str, str]:
        return self.run("render", "-o", str(self.out), *words)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    import compiler.compile  # noqa: PLC0415 - the program imports it only when it compiles

    monkeypatch.setenv(memo.VARIABLE, str(tmp_path / "cache"))
    made = Desk(tmp_path, capsys)
    real = compiler.compile.judge_spec

    def counted(*arguments: object) -> object:
        made.compiled += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler.compile, "judge_spec", counted)
    return made


@pytest.mark.parametrize("words", [("--format", "text"), ("--format", "json"), ("--format", "github"), ("--strict",)])
@pytest.mark.parametrize("command", ["check", "render"])
def test_what_is_known_is_told_as_the_first_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, command: str, words: tuple[str, ...]
) -> None:
    run = desk.render if command == "render" else partial(desk.run, "check")
    run()
    spared = run(*words)
    assert desk.compiled == 0
    monkeypatch.setenv(memo.VARIABLE, "")
    assert run(*words) == spared
    assert desk.compiled == 1


def test_a_bundle_as_it_was_left_is_not_touched(desk: Desk) -> None:
    assert "15 new" in desk.render()[1]
    before = [path.lstat() for path in sorted(desk.bundle.rglob("*"))]
    for words in ((), ("--check",), ("--diff",), ("--force",)):
        code, out, _ = desk.render(*words)
        assert (code, desk.compiled) == (0, 0)
        assert ("up to date" if words in (("--check",), ("--diff",)) else "15 files, unchanged") in out
    assert [path.lstat() for path in sorted(desk.bundle.rglob("*"))] == before


def node_env(desk: Desk) -> Path:
    return desk.bundle / "node-1" / "node.env"


def edited_with_its_old_date(desk: Desk) -> None:
    before = node_env(desk).stat()
    text = node_env(desk).read_bytes()
    time.sleep(0.02)  # the filesystem's clock ticks every few milliseconds
    node_env(desk).write_bytes(text.swapcase())
    os.utime(node_env(desk), ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_link(desk: Desk) -> None:
    node_env(desk).rename(desk.folder / "elsewhere")
    node_env(desk).symlink_to(desk.folder / "elsewhere")


def folder_replaced_by_a_link(desk: Desk) -> None:
    (desk.bundle / "node-1").rename(desk.folder / "elsewhere")
    (desk.bundle / "node-1").symlink_to(desk.folder / "elsewhere")


def left_by_a_killed_run(desk: Desk) -> None:
    (desk.out / ".qwen3-235b.new").mkdir()


def spec_edited(desk: Desk) -> None:
    desk.spec.write_text(SPEC + "# a comment\n", encoding="utf-8")


DIFFERENCES: dict[str, tuple[Callable[[Desk], object], int, str]] = {
    "edited": (lambda desk: node_env(desk).write_bytes(b"mine"), 1, "not as the compiler left it"),
    "edited with its old date": (edited_with_its_old_date, 1, "not as the compiler left it"),
    "gone": (lambda desk: node_env(desk).unlink(), 0, "1 new"),
    "mode": (lambda desk: node_env(desk).chmod(0o777), 0, "1 with a new mode"),
    "linked": (replaced_by_a_link, 1, "not as the compiler left it"),
    "folder linked": (folder_replaced_by_a_link, 1, "a link where a folder is needed"),
    "bundle gone": (lambda desk: shutil.rmtree(desk.bundle), 0, "15 new"),
    "all gone": (lambda desk: shutil.rmtree(desk.out), 0, "15 new"),
    "killed": (left_by_a_killed_run, 0, "unchanged"),
    "spec": (spec_edited, 0, "unchanged"),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_any_difference_and_all_is_done_anew(desk: Desk, difference: str) -> None:
    desk.render()
    act, code, says = DIFFERENCES[difference]
    act(desk)
    done, out, err = desk.render()
    assert desk.compiled == 1
    assert done == code
    assert says in out + err
    assert not (desk.out / ".qwen3-235b.new").exists()


def test_a_foreign_file_is_no_difference(desk: Desk) -> None:
    desk.render()
    (desk.bundle / "node-0" / "notes").write_text("mine", encoding="utf-8")
    desk.render()
    assert desk.compiled == 0


def test_of_a_changed_spec_only_what_changes_is_written(desk: Desk) -> None:
    nodes = "".join(f"  - {{name: n{at}, address: 10.0.0.{at + 1}, env: {{A: '{at}'}}}}\n" for at in range(9))
    text = f"{SPEC.partition('nodes:')[0]}nodes:\n{nodes}serve: {{model: /large}}\n"
    desk.spec.write_text(text, encoding="utf-8")
    desk.render()
    before = {path.relative_to(desk.bundle): path.stat().st_ino for path in desk.bundle.glob("*/*")}
    desk.spec.write_text(text.replace("A: '4'", "A: 'x'"), encoding="utf-8")
    code, out, _ = desk.render()
    after = {path.relative_to(desk.bundle): path.stat().st_ino for path in desk.bundle.glob("*/*")}
    assert (code, desk.compiled) == (0, 1)
    assert {str(path.parent) for path in before if before[path] != after[path]} == {"n4"}
    assert "50 files, 5 changed" in out  # n4's env, container, start and checksums, and the manifest
    desk.render()
    assert desk.compiled == 0
    assert desk.render("--check")[0] == 0


def test_another_program_remembers_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run("check")
    monkeypatch.setattr(memo, "_program", lambda: 0)
    desk.run("check")
    assert desk.compiled == 1


def test_the_program_is_its_files(tmp_path: Path) -> None:
    for package in ("compiler", "schema", "templates"):
        shutil.copytree(ROOT / package, tmp_path / package)
    ask = (sys.executable, "-c", "from compiler import memo; print(memo._program())")

    def program() -> str:
        return subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    first = program()
    assert program() == first
    time.sleep(0.01)
    for changed in ("templates/node/verify.sh.j2", "schema/accelerators/atlas-a2.yaml", "compiler/lower.py"):
        file = tmp_path / changed
        file.write_bytes(file.read_bytes())
        assert program() != first
        first = program()


def test_a_program_that_lies_in_no_folders_remembers_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in a zip."""
    monkeypatch.setattr(memo, "__file__", str(desk.spec / "compiler" / "memo.py"))
    for _ in range(2):
        assert desk.run("check")[0] == 0
        assert desk.compiled == 1


def test_a_file_that_the_spec_names_is_part_of_it(desk: Desk) -> None:
    config = desk.folder / "config.json"
    shape = {"num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4, "hidden_size": 4096}
    text = json.dumps({"architectures": ["Qwen3MoeForCausalLM"], **shape})
    config.write_text(text, encoding="utf-8")
    desk.spec.write_text(SPEC + "model: config.json\n", encoding="utf-8")
    desk.run("check")
    assert desk.run("check")[0] == 0
    assert desk.compiled == 0
    config.write_text(f"{text} ", encoding="utf-8")
    assert desk.run("check")[0] == 0
    assert desk.compiled == 1
    config.unlink()
    assert desk.run("check")[0] == 1
    assert desk.compiled == 1


def test_of_a_spec_with_faults_nothing_is_kept(desk: Desk) -> None:
    desk.spec.write_text(SPEC.replace("version: 1", "version: 2"), encoding="utf-8")
    first = desk.run("check")
    assert first[0] == 1
    assert desk.run("check") == first
    assert desk.compiled == 1


def test_of_a_spec_with_very_many_warnings_nothing_is_kept(desk: Desk) -> None:
    lines = "".join(f"  - {{name: n{at}, address: 10.0.{at // 250}.{at % 250 + 1}}}\n" for at in range(300))
    desk.spec.write_text(f"{SPEC.partition('nodes:')[0]}nodes:\n{lines}serve: {{model: /large}}\n", encoding="utf-8")
    first = desk.run("check")
    assert (first[0], desk.compiled) == (0, 1)
    assert first[2].count("[no-npu-addresses]") == 300
    assert desk.run("check") == first
    assert desk.compiled == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"key": 1}', b"\xff"])
def test_a_memo_that_cannot_be_read_is_none(desk: Desk, content: bytes) -> None:
    first = desk.render()
    for file in (desk.folder / "cache").iterdir():
        file.write_bytes(content)
    again = desk.render()
    assert desk.compiled == 1
    assert (again[0], again[2]) == (first[0], first[2])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_part_of_a_memo_is_none(desk: Desk, part: float) -> None:
    first = desk.render()
    (file,) = (desk.folder / "cache").iterdir()
    content = file.read_bytes()
    for rest in (content[: int(part * len(content))], content[:-1]):
        file.write_bytes(rest)
        again = desk.render()
        assert desk.compiled == 1
        assert (again[0], again[2]) == (first[0], first[2])
        assert desk.render()[0] == 0
        assert desk.compiled == 0


@pytest.mark.parametrize("folder", ["", "relative", "/proc/none"])
def test_without_a_folder_for_it_nothing_is_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv(memo.VARIABLE, folder)
    for _ in range(2):
        assert desk.render()[0] == 0
        assert desk.compiled == 1
    assert not Path("relative").exists()


def test_a_folder_that_others_may_write_to_is_not_believed(desk: Desk) -> None:
    desk.run("check")
    (desk.folder / "cache").chmod(0o777)
    desk.run("check")
    assert desk.compiled == 1


def test_the_oldest_memos_go(desk: Desk) -> None:
    cache = desk.folder / "cache"
    cache.mkdir(mode=0o700)
    for number in range(300):
        (cache / f"{number}.json").write_text("{}", encoding="utf-8")
        os.utime(cache / f"{number}.json", (number, number))
    desk.run("check")
    assert len(list(cache.iterdir())) == 200
    assert not (cache / "0.json").exists()
    desk.run("check")
    assert desk.compiled == 0


def test_the_oldest_go_when_they_are_large(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = desk.folder / "cache"
    cache.mkdir(mode=0o700)
    for number in range(5):
        (cache / f"{number}.json").write_bytes(b" " * 1000)
        os.utime(cache / f"{number}.json", (number, number))
    desk.run("check")
    own = sum(file.stat().st_size for file in cache.iterdir()) - 5000
    monkeypatch.setattr(memo, "_LARGEST", own + 2500)
    desk.spec.write_text(f"{SPEC}\n", encoding="utf-8")
    desk.run("check")
    assert {file.name for file in cache.iterdir()} >= {"3.json", "4.json"}
    assert not {file.name for file in cache.iterdir()} & {"0.json", "1.json", "2.json"}
    monkeypatch.setattr(memo, "_LARGEST", 1)
    desk.spec.write_text(f"{SPEC}\n\n", encoding="utf-8")
    desk.run("check")
    assert len(list(cache.iterdir())) == 1
    desk.run("check")
    assert desk.compiled == 0


def test_a_memo_is_readable_by_its_user_alone(desk: Desk) -> None:
    desk.run("check")
    assert (desk.folder / "cache").stat().st_mode & 0o777 == 0o700
