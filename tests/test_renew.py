"""A bundle of which little changed is written as any other, only sooner: the same files, the same refusals, as safe."""

import errno
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import children, until
from small_bundles import expected, in_parts, names, nodes, put_foreign, seen

from compiler import renew
from compiler import write as writing
from compiler.bundle import Bundle
from compiler.left import MANY, Left
from compiler.renew import renewing
from compiler.write import WriteRefused, Written, write, write_made

NODES = 6


OLD = dict.fromkeys(range(NODES), "old")
NEW = OLD | {3: "new"}


def left_by(bundle: Bundle, root: Path) -> Left:
    left = write(bundle, root).left
    assert left is not None
    return left


def inodes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_ino for path in root.rglob("*") if not path.is_dir()}


def test_what_stays_is_not_written_again(tmp_path: Path) -> None:
    left = left_by(in_parts(OLD), tmp_path)
    before, made = inodes(tmp_path), []
    written = write(in_parts(NEW, made.append), tmp_path, left=left)
    after = inodes(tmp_path)
    assert made == [3]
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {f"tiny/{path}" for path in ("README.md", "manifest.json", *(f"node-3/{each}" for each in FILES))}
    assert [(change.path, change.kind) for change in written.changes] == sorted(
        (path.removeprefix("tiny/"), "changed") for path in changed
    )
    assert seen(tmp_path / "tiny") == expected(in_parts(NEW))
    assert names(tmp_path) == ["tiny"]
    assert all(path.stat().st_nlink == 1 for path in tmp_path.rglob("*") if path.is_file())


FILES = ("docker-compose.yaml", "node.env", "verify.sh")


def test_what_is_left_then_is_what_another_look_finds(tmp_path: Path) -> None:
    renewed = write(in_parts(NEW), tmp_path, left=left_by(in_parts(OLD), tmp_path)).left
    looked = write(in_parts(NEW), tmp_path)
    assert looked.changes == ()
    assert renewed is not None
    assert looked.left is not None
    assert as_it_was_left(renewed) == as_it_was_left(looked.left)


def as_it_was_left(left: Left) -> list[tuple[object, ...]]:
    return [(each.name, list(each.names), each.key, each.digests, list(each.stamps)) for each in left.folders]


def test_again_and_again(tmp_path: Path) -> None:
    left: Left | None = left_by(in_parts(OLD), tmp_path)
    for round_ in range(5):
        made: list[int] = []
        texts = OLD | {round_: f"new {round_}"}
        left = write(in_parts(texts, made.append), tmp_path, left=left).left
        assert len(made) == (1 if round_ == 0 else 2)
        assert seen(tmp_path / "tiny") == expected(in_parts(texts))


def test_nodes_come_and_go(tmp_path: Path) -> None:
    texts = {node: text for node, text in OLD.items() if node != 2} | {9: "old"}
    written = write(in_parts(texts), tmp_path, left=left_by(in_parts(OLD), tmp_path))
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))
    kinds = {change.path: change.kind for change in written.changes}
    assert {kinds[f"node-2/{name}"] for name in FILES} == {"removed"}
    assert {kinds[f"node-9/{name}"] for name in FILES} == {"added"}
    assert len(kinds) == 8


def test_where_nothing_changes_nothing_is_touched(tmp_path: Path) -> None:
    left = left_by(in_parts(OLD), tmp_path)
    before = inodes(tmp_path), (tmp_path / "tiny").stat()
    written = write(in_parts(OLD), tmp_path, left=left)
    assert written.changes == ()
    assert (inodes(tmp_path), (tmp_path / "tiny").stat()) == before
    made: list[int] = []
    assert write(in_parts(NEW, made.append), tmp_path, left=written.left).changes
    assert made == [3]


def test_where_most_changes_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by(in_parts(OLD), tmp_path)

    def no_read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("compiler.write.survey", no_read)
    texts = OLD | dict.fromkeys(range(4), "new")
    written = write(in_parts(texts), tmp_path, left=left)
    assert len(written.changes) == 2 + 4 * len(FILES)
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))
    monkeypatch.undo()
    looked = write(in_parts(texts), tmp_path).left
    assert looked is not None
    assert written.left is not None
    assert as_it_was_left(written.left) == as_it_was_left(looked)


def test_where_most_changes_all_is_written(tmp_path: Path) -> None:
    made: list[int] = []
    texts = OLD | dict.fromkeys(range(4), "new")
    write(in_parts(texts, made.append), tmp_path, left=left_by(in_parts(OLD), tmp_path))
    assert made == list(range(NODES))
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))


# ---- Whatever was done to it in between ------------------------------------------------------------------


def edited(folder: Path) -> None:
    file = folder / "node-1" / "node.env"
    before = file.stat()
    time.sleep(0.02)  # the filesystem's clock ticks every few milliseconds
    file.write_bytes(file.read_bytes().swapcase())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(folder: Path) -> None:
    shutil.move(folder / "node-1", folder.parent / "elsewhere")
    (folder / "node-1").symlink_to(folder.parent / "elsewhere")


def replaced(folder: Path) -> None:
    shutil.move(folder, folder.parent / "was")
    shutil.copytree(folder.parent / "was", folder)
    shutil.rmtree(folder.parent / "was")


DISTURBANCES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "edited": edited,
    "edited where it changes": lambda folder: (folder / "node-3" / "node.env").write_bytes(b"mine"),
    "edited above": lambda folder: (folder / "README.md").write_bytes(b"mine"),
    "file removed": lambda folder: (folder / "node-1" / "node.env").unlink(),
    "folder removed": lambda folder: shutil.rmtree(folder / "node-1"),
    "manifest removed": lambda folder: (folder / "manifest.json").unlink(),
    "mode": lambda folder: (folder / "node-1" / "verify.sh").chmod(0o644),
    "open to all": lambda folder: (folder / "node-1" / "node.env").chmod(0o666),
    "foreign": put_foreign,
    "foreign inside": lambda folder: (folder / "node-1" / "notes").write_bytes(b"mine"),
    "foreign above": lambda folder: (folder / "notes").write_bytes(b"mine"),
    "foreign in what goes": lambda folder: (folder / "node-5" / "notes").write_bytes(b"mine"),
    "linked": linked,
    "touched": lambda folder: (folder / "node-1" / "node.env").touch(),
    "replaced": replaced,
    "gone": shutil.rmtree,
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    disturbance=st.sampled_from(sorted(DISTURBANCES)),
    texts=st.dictionaries(st.integers(0, NODES), st.sampled_from(["old", "old", "old", "new"]), min_size=1),
    force=st.booleans(),
)
def test_it_ends_as_a_write_that_knows_nothing(
    tmp_path: Path, disturbance: str, texts: dict[int, str], *, force: bool
) -> None:
    ends = []
    for knows in (True, False):
        root = tmp_path / "root"
        left = left_by(in_parts(OLD), root)
        DISTURBANCES[disturbance](root / "tiny")
        try:
            end: object = write(in_parts(texts), root, left=left if knows else None, force=force).changes
        except WriteRefused as refused:
            end = refused.message, refused.hint
        ends.append((end, seen(root)))
        shutil.rmtree(root)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("disturbance", sorted(DISTURBANCES))
def test_each_disturbance_alone(tmp_path: Path, disturbance: str) -> None:
    for texts in (NEW, OLD, dict.fromkeys(range(NODES - 1), "old")):
        made = test_it_ends_as_a_write_that_knows_nothing.hypothesis.inner_test  # type: ignore[attr-defined]
        made(tmp_path, disturbance, texts, force=False)


def test_what_was_foreign_before_is_carried_over_as_ever(tmp_path: Path) -> None:
    write(in_parts(OLD), tmp_path)
    (tmp_path / "tiny" / "node-1" / "notes").write_bytes(b"mine")
    left = left_by(in_parts(OLD | {2: "between"}), tmp_path)
    written = write(in_parts(NEW), tmp_path, left=left)
    assert (tmp_path / "tiny" / "node-1" / "notes").read_bytes() == b"mine"
    assert written.left is not None  # so none of it was in the way at the end


def test_another_bundle_is_not_taken_for_this_one(tmp_path: Path) -> None:
    left = left_by(in_parts(OLD), tmp_path)
    shutil.rmtree(tmp_path / "tiny")
    write(nodes([0, 1]), tmp_path)
    assert write(in_parts(NEW), tmp_path, left=left).changes
    assert seen(tmp_path / "tiny") == expected(in_parts(NEW))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSPC])
def test_where_files_cannot_have_second_names_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    left = left_by(in_parts(OLD), tmp_path)

    def no_link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_link)
    made: list[int] = []
    write(in_parts(NEW, made.append), tmp_path, left=left)
    assert len(made) > 1
    assert seen(tmp_path / "tiny") == expected(in_parts(NEW))
    assert names(tmp_path) == ["tiny"]


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o027])
def test_modes_are_the_same_under_every_umask(tmp_path: Path, mask: int) -> None:
    left = left_by(in_parts(OLD), tmp_path)
    before = os.umask(mask)
    try:
        write(in_parts(NEW), tmp_path, left=left)
    finally:
        os.umask(before)
    assert seen(tmp_path / "tiny") == expected(in_parts(NEW))


def test_what_appears_during_the_write_is_moved_across(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by(in_parts(OLD), tmp_path)
    real = writing.flush

    def put(stage: int) -> None:
        real(stage)
        (tmp_path / "tiny" / "node-1" / "notes").write_bytes(b"mine")
        (tmp_path / "tiny" / "notes").write_bytes(b"mine too")

    monkeypatch.setattr(writing, "flush", put)
    written = write(in_parts(NEW), tmp_path, left=left)
    assert (tmp_path / "tiny" / "node-1" / "notes").read_bytes() == b"mine"
    assert (tmp_path / "tiny" / "notes").read_bytes() == b"mine too"
    assert names(tmp_path) == ["tiny"]
    assert written.left is None


# ---- Whatever ends it ------------------------------------------------------------------------------------

CALLS = ("link", "mkdir", "unlink", "rmdir", "rename", "open", "write")


class Ended(BaseException):
    """The run was ended here."""


def ending_at(count: int, monkeypatch: pytest.MonkeyPatch, end: Callable[[], object]) -> Callable[[], int]:
    """Lets the call of this number be the last; gives how many there were."""
    calls = 0
    for name in CALLS:
        real = getattr(os, name)

        def counted(*words: object, real: Callable[..., object] = real, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls == count:
                end()
            return real(*words, **more)

        monkeypatch.setattr(os, name, counted)
    return lambda: calls


def test_an_interruption_at_any_call_leaves_one_of_the_two_whole(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    count, left = 0, None
    while True:
        root = tmp_path / str(count)
        left = left_by(in_parts(OLD), root)
        count += 1
        with pytest.MonkeyPatch.context() as patch:
            calls = ending_at(count, patch, interrupt)
            try:
                write(in_parts(NEW), root, left=left)
            except KeyboardInterrupt:
                assert seen(root / "tiny") in (expected(in_parts(OLD)), expected(in_parts(NEW)))
                assert names(root) == ["tiny"]
            if calls() < count:
                break
        shutil.rmtree(root)
    assert count > 40
    assert seen(root / "tiny") == expected(in_parts(NEW))


def test_a_kill_at_any_call_leaves_one_of_the_two_whole_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    count, ends = 0, set()
    while True:
        root = tmp_path / str(count)
        left = left_by(in_parts(OLD), root)
        count += 1
        child = os.fork()
        if child == 0:
            ending_at(count, pytest.MonkeyPatch(), lambda: os.kill(os.getpid(), signal.SIGKILL))
            write(in_parts(NEW), root, left=left)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        is_old = seen(root / "tiny") == expected(in_parts(OLD))
        assert is_old or seen(root / "tiny") == expected(in_parts(NEW))
        ends.add((is_old, len(names(root))))
        write(in_parts(NEW), root, left=left)
        assert seen(root / "tiny") == expected(in_parts(NEW))
        assert names(root) == ["tiny"]
        shutil.rmtree(root)
    assert ends == {(True, 1), (True, 2), (False, 2)}


# ---- Two processes ---------------------------------------------------------------------------------------

MANY_OLD = dict.fromkeys(range(2 * MANY + 2), "old")
LAST = len(MANY_OLD) - 1


@pytest.mark.parametrize("changed", [0, 1, LAST - 1, LAST])
def test_two_processes_renew_what_one_does(tmp_path: Path, changed: int) -> None:
    texts = MANY_OLD | {changed: "new"}
    ends: list[Written] = []
    for processes in (1, 2):
        root = tmp_path / str(processes)
        ends.append(write(in_parts(texts), root, left=left_by(in_parts(MANY_OLD), root), processes=processes))
        assert seen(root / "tiny") == expected(in_parts(texts))
        looked = write(in_parts(texts), root).left
        assert looked is not None
        assert ends[-1].left is not None
        assert as_it_was_left(ends[-1].left) == as_it_was_left(looked)
    assert ends[0].changes == ends[1].changes


@pytest.mark.parametrize("node", [0, LAST])
def test_a_difference_that_either_process_meets_is_found(tmp_path: Path, node: int) -> None:
    left = left_by(in_parts(MANY_OLD), tmp_path)
    (tmp_path / "tiny" / f"node-{node}" / "notes").write_bytes(b"mine")
    write(in_parts(MANY_OLD | {5: "new"}), tmp_path, left=left, processes=2)
    assert (tmp_path / "tiny" / f"node-{node}" / "notes").read_bytes() == b"mine"
    (tmp_path / "tiny" / f"node-{node}" / "notes").unlink()
    assert seen(tmp_path / "tiny") == expected(in_parts(MANY_OLD | {5: "new"}))


@pytest.mark.parametrize("node", [0, LAST])
def test_what_is_in_the_way_of_either_process_at_the_end_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: int
) -> None:
    left = left_by(in_parts(MANY_OLD), tmp_path)
    real = writing.flush

    def put(stage: int) -> None:
        real(stage)
        (tmp_path / "tiny" / f"node-{node}" / "notes").write_bytes(b"mine")

    monkeypatch.setattr(writing, "flush", put)
    written = write(in_parts(MANY_OLD | {5: "new"}), tmp_path, left=left, processes=2)
    assert written.left is None
    assert len(written.changes) == 5
    assert (tmp_path / "tiny" / f"node-{node}" / "notes").read_bytes() == b"mine"
    assert names(tmp_path) == ["tiny"]


@pytest.mark.parametrize("node", [0, LAST])
def test_two_processes_write_what_is_known_to_be_there_anew(tmp_path: Path, node: int) -> None:
    left = left_by(in_parts(MANY_OLD), tmp_path)
    texts = dict.fromkeys(MANY_OLD, "new") | {node: "old"}
    written = write(in_parts(texts), tmp_path, left=left, processes=2)
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))
    assert names(tmp_path) == ["tiny"]
    assert len(written.changes) == 2 + LAST * len(FILES)
    made: list[int] = []
    write(in_parts(texts | {7: "newest"}, made.append), tmp_path, left=written.left, processes=2)
    assert made == [7]


def test_what_cannot_be_made_changes_nothing(tmp_path: Path) -> None:
    left = left_by(in_parts(MANY_OLD), tmp_path)

    def make() -> Bundle:
        until(lambda: any(each.startswith(".tiny") and os.listdir(tmp_path / each) for each in os.listdir(tmp_path)))
        raise ZeroDivisionError

    before = children()
    with renewing(str(tmp_path), "tiny", left, 2) as renewal, pytest.raises(ZeroDivisionError):
        write_made("tiny", make, tmp_path, renewal, force=False, lock_timeout=1, processes=2)
    assert children() == before
    assert seen(tmp_path / "tiny") == expected(in_parts(MANY_OLD))
    assert names(tmp_path) == ["tiny"]


def test_a_spec_with_a_fault_only_has_it_looked_at(tmp_path: Path) -> None:
    left, before = left_by(in_parts(MANY_OLD), tmp_path), children()
    with renewing(str(tmp_path), "tiny", left, 2) as renewal:
        assert renewal is not None
        assert renewal.is_as_left
        time.sleep(0.05)
        assert names(tmp_path) == ["tiny"]
    assert children() == before


@pytest.mark.parametrize("when", ["_is_as_left", "_named", "_remove"])
def test_the_second_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    left, first = left_by(in_parts(MANY_OLD), tmp_path), os.getpid()
    real = getattr(renew, when)

    def killed(*words: object) -> object:
        if os.getpid() != first:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)

    monkeypatch.setattr(renew, when, killed)
    texts = MANY_OLD | {5: "new"}
    if when == "_named":
        with pytest.raises(RuntimeError):
            write(in_parts(texts), tmp_path, left=left, processes=2)
        texts = MANY_OLD
    else:  # nothing is known then, or there is somewhat more to do
        write(in_parts(texts), tmp_path, left=left, processes=2)
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))
    assert names(tmp_path) == ["tiny"]


def test_where_no_process_can_be_made_one_does_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, made = left_by(in_parts(MANY_OLD), tmp_path), []

    def no_fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    written = write(in_parts(MANY_OLD | {5: "new"}, made.append), tmp_path, left=left, processes=2)
    assert made == [5]
    assert len(written.changes) == 2 + len(FILES)
    assert seen(tmp_path / "tiny") == expected(in_parts(MANY_OLD | {5: "new"}))
    assert names(tmp_path) == ["tiny"]


def test_the_first_process_is_killed_at_any_moment(in_memory: Path) -> None:
    """What the second one still does then is nothing that the next run could meet: that has to wait for its end."""
    texts, ends, moments = MANY_OLD | {5: "new"}, set(), random.Random(6)  # noqa: S311 - no secret depends on it
    for _ in range(40):
        left = left_by(in_parts(MANY_OLD), in_memory)
        child = os.fork()
        if child == 0:
            write(in_parts(texts), in_memory, left=left, processes=2)
            os._exit(0)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ends.add(len(names(in_memory)))
        write(in_parts(texts), in_memory, processes=2)
        assert seen(in_memory / "tiny") == expected(in_parts(texts))
        assert names(in_memory) == ["tiny"]
    assert ends == {1, 2}


def test_while_the_second_process_is_at_work_nobody_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, texts = left_by(in_parts(MANY_OLD), tmp_path), MANY_OLD | {5: "new"}
    real, (heard, say) = renew._named, os.pipe()  # noqa: SLF001 - where it stops

    def stopped(*words: object) -> object:
        os.write(say, f"{os.getpid()}\n".encode())
        os.kill(os.getpid(), signal.SIGSTOP)
        return real(*words)  # type: ignore[arg-type]

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(renew, "_named", stopped)
        write(in_parts(texts), tmp_path, left=left, processes=2)
        os._exit(1)
    second = int(os.read(heard, 100))
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with pytest.raises(WriteRefused, match="is being written by"):
            write(in_parts(texts), tmp_path, lock_timeout=0.1)
    finally:
        os.kill(second, signal.SIGCONT)
    write(in_parts(texts), tmp_path)
    assert seen(tmp_path / "tiny") == expected(in_parts(texts))
    assert names(tmp_path) == ["tiny"]


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: two hundred folders are made forty times."""
    memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder of its own there
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)
