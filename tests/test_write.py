"""What `write` promises: all or nothing, nobody else's files touched, and a reason for every refusal."""

# A table of small acts is easiest to read as expressions, what they return being nothing.
# mypy: disable-error-code="func-returns-value"

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundles import Seen, bundle, bundle_of, expected, names, nodes, put_foreign, seen

from compiler import exchange, lock
from compiler.bundle import Bundle, file_of
from compiler.write import Change, WriteRefused, compare, write

OLD, NEW = nodes([0, 1, 2], "old"), nodes([0, 1, 2], "new")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")


def refused(bundle: Bundle, root: Path, *, force: bool = False) -> WriteRefused:
    """The refusal of a write; nothing at all may have changed."""
    before = seen(root) if root.is_dir() else None
    with pytest.raises(WriteRefused) as caught:
        write(bundle, root, force=force, lock_timeout=0)
    assert (seen(root) if root.is_dir() else None) == before
    assert "\n" not in caught.value.message
    return caught.value


# What is written


def test_a_first_write_makes_exactly_the_bundle(tmp_path: Path) -> None:
    changes = write(NEW, tmp_path / "deep" / "out").changes
    assert seen(tmp_path / "deep" / "out") == {"tiny": Seen("folder", 0o755, b"")} | {
        f"tiny/{path}": what for path, what in expected(NEW).items()
    }
    assert changes == tuple(Change(file.path, "added") for file in NEW.files)


def test_a_second_write_over_an_old_bundle_leaves_no_trace_of_it(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    changes = write(NEW, tmp_path).changes
    assert seen(tmp_path / "tiny") == expected(NEW)
    assert names(tmp_path) == ["tiny"]
    assert {change.kind for change in changes} == {"changed"}


def test_nothing_is_written_when_nothing_differs(tmp_path: Path) -> None:
    write(NEW, tmp_path)
    before = [path.lstat() for path in [tmp_path, *sorted(tmp_path.rglob("*"))]]
    assert write(NEW, tmp_path).changes == ()
    after = [path.lstat() for path in [tmp_path, *sorted(tmp_path.rglob("*"))]]
    assert [(s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in before] == [
        (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in after
    ]


def test_an_empty_folder_at_the_place_is_fine(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir(mode=0o700)
    write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o027])
def test_modes_are_the_same_under_every_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(OLD, tmp_path)
        write(NEW, tmp_path)
    finally:
        os.umask(before)
    assert seen(tmp_path / "tiny") == expected(NEW)
    assert stat.S_IMODE((tmp_path / "tiny").stat().st_mode) == 0o755


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 6)), st.sets(st.integers(0, 6)))
def test_nodes_that_left_the_spec_leave_the_disk(
    tmp_path_factory: pytest.TempPathFactory, before: set[int], after: set[int]
) -> None:
    root, fresh = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("fresh")
    write(nodes(before), root)
    changes = write(nodes(after), root).changes
    write(nodes(after), fresh)
    assert seen(root) == seen(fresh)
    assert {change.path for change in changes if change.kind == "removed"} == {
        file.path for file in nodes(before - after).files
    } - {"README.md", "manifest.json"}


def test_nested_folders_come_and_go(tmp_path: Path) -> None:
    write(bundle_of({"a/b/c/d": b"1", "a/b-c": b"2", "a.b": b"3"}), tmp_path)
    new = bundle_of({"a/b/x": b"1", "a/b-c/y": b"2", "z/z/z/z": b"3"})
    write(new, tmp_path)
    assert seen(tmp_path / "tiny") == expected(new)


def test_bundles_with_the_same_root_do_not_disturb_each_other(tmp_path: Path) -> None:
    others = [nodes([7], "other", name=name) for name in ("tin", "tiny-2", "tiny.new-1", "x")]
    for each in (*others, OLD, NEW):
        write(each, tmp_path)
    assert names(tmp_path) == sorted(["tiny", *(other.name for other in others)])
    assert all(seen(tmp_path / other.name) == expected(other) for other in others)


@pytest.mark.parametrize(
    "paths",
    [
        ["../x"],
        ["/x"],
        ["a//b"],
        ["a/./b"],
        ["a/"],
        [""],
        ["a\0b"],
        ["x", "x"],
        ["a", "a/b"],
    ],
)
def test_a_bundle_that_breaks_its_own_grammar_is_a_bug(tmp_path: Path, paths: list[str]) -> None:
    files = (
        *(file_of(path, b"") for path in paths),
        file_of("manifest.json", b"{}"),
    )
    for function in (write, compare):
        with pytest.raises(ValueError, match="relative, clean and unique"):
            function(bundle("tiny", files), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a\0"])
def test_a_bundle_name_that_is_no_folder_name_is_a_bug(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="relative, clean and unique"):
        write(nodes([0], name=name), tmp_path)
    assert names(tmp_path) == []


# What compare tells


def test_compare_tells_every_change_and_changes_nothing(tmp_path: Path) -> None:
    write(bundle_of({"same": b"1", "other": b"2", "gone": b"3", "x.sh": b"4"}), tmp_path)
    (tmp_path / "tiny" / "x.sh").chmod(0o644)
    before = seen(tmp_path)
    new = bundle_of({"same": b"1", "other": b"two", "x.sh": b"4", "y": b"5"})
    changes = compare(new, tmp_path, contents=True)
    assert [change for change in changes if change.path != "manifest.json"] == [
        Change("gone", "removed", b"3", None),
        Change("other", "changed", b"2", b"two"),
        Change("x.sh", "mode", b"4", b"4"),
        Change("y", "added", None, b"5"),
    ]
    assert seen(tmp_path) == before
    assert write(new, tmp_path).changes == tuple(Change(change.path, change.kind) for change in changes)
    assert compare(new, tmp_path) == ()


def test_compare_makes_no_folder(tmp_path: Path) -> None:
    assert {change.kind for change in compare(NEW, tmp_path / "none")} == {"added"}
    assert names(tmp_path) == []


def test_compare_shows_an_edit_instead_of_refusing_it(tmp_path: Path) -> None:
    write(NEW, tmp_path)
    edited = tmp_path / "tiny" / "node-0" / "node.env"
    edited.write_bytes(b"mine")
    new = next(file.content for file in NEW.files if file.path == "node-0/node.env")
    assert compare(NEW, tmp_path, contents=True) == (Change("node-0/node.env", "changed", b"mine", new),)


@pytest.mark.parametrize(("file_mode", "told"), [(0o664, ()), (0o600, ()), (0o666, ("mode",)), (0o755, ("mode",))])
def test_of_modes_only_those_count_that_git_keeps_or_that_endanger(
    tmp_path: Path, file_mode: int, told: tuple[str, ...]
) -> None:
    write(NEW, tmp_path)
    (tmp_path / "tiny" / "README.md").chmod(file_mode)
    assert tuple(change.kind for change in compare(NEW, tmp_path)) == told


# Foreign files


@pytest.mark.parametrize("after", [NEW, nodes([0], "new"), nodes([], "new")], ids=["all", "one", "none"])
def test_foreign_files_stay_whatever_goes(tmp_path: Path, after: Bundle) -> None:
    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    inode, changed = (
        (tmp_path / "tiny" / "notes.txt").stat().st_ino,
        (tmp_path / "tiny" / "empty").stat().st_mtime_ns,
    )
    write(after, tmp_path)
    assert seen(tmp_path / "tiny") == expected(after, foreign)
    assert names(tmp_path) == ["tiny"]
    assert (tmp_path / "tiny" / "notes.txt").stat().st_ino == inode
    assert (tmp_path / "tiny" / "empty").stat().st_mtime_ns == changed
    assert write(after, tmp_path).changes == ()


def test_foreign_files_are_copied_where_links_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    del foreign["node-1/fifo"]
    (tmp_path / "tiny" / "node-1" / "fifo").unlink()
    os.utime(tmp_path / "tiny" / "notes.txt", ns=(5, 10**18 + 7))
    monkeypatch.setattr(os, "link", no_link)
    write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW, foreign)
    assert (tmp_path / "tiny" / "notes.txt").stat().st_mtime_ns == 10**18 + 7
    assert names(tmp_path) == ["tiny"]


def test_a_special_file_that_cannot_be_linked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    write(OLD, tmp_path)
    put_foreign(tmp_path / "tiny")
    monkeypatch.setattr(os, "link", no_link)
    assert "node-1/fifo" in refused(NEW, tmp_path).message


def at_the_exchange(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let somebody else act at the last moment before the new bundle takes its place."""

    def act_first(folder: int, one: str, other: str) -> None:
        if not acted:
            acted.append(act())
        real(folder, one, other)

    real, acted = exchange.exchange, list[object]()
    monkeypatch.setattr("compiler.write.exchange", act_first)


def test_what_appears_during_the_write_is_moved_across(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(OLD, tmp_path)
    late = {}
    at_the_exchange(monkeypatch, lambda: late.update(put_foreign(tmp_path / "tiny")))
    write(nodes([0], "new"), tmp_path)
    assert seen(tmp_path / "tiny") == expected(nodes([0], "new"), late)
    assert names(tmp_path) == ["tiny"]


def test_what_appears_where_the_new_bundle_has_something_gets_a_free_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(OLD, tmp_path)
    (tmp_path / "tiny" / "notes").write_bytes(b"first")

    def act() -> None:
        (tmp_path / "tiny" / "node-5").mkdir()
        (tmp_path / "tiny" / "node-5" / "verify.sh").write_bytes(b"mine")
        (tmp_path / "tiny" / "notes").unlink()
        (tmp_path / "tiny" / "notes").write_bytes(b"second")

    at_the_exchange(monkeypatch, act)
    new = nodes([5], "new")
    write(new, tmp_path)
    kept = {
        "notes": Seen("file", 0o644, b"first"),
        "notes.kept": Seen("file", 0o644, b"second"),
        "node-5/verify.sh.kept": Seen("file", 0o644, b"mine"),
    }
    assert seen(tmp_path / "tiny") == expected(new, kept)


def test_another_folder_put_at_the_place_during_the_write_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(OLD, tmp_path)

    def act() -> None:
        (tmp_path / "tiny").rename(tmp_path / "moved")
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "precious").write_bytes(b"!")

    at_the_exchange(monkeypatch, act)
    with pytest.raises(WriteRefused, match="was replaced while"):
        write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == {"precious": Seen("file", 0o644, b"!")}
    assert names(tmp_path) == ["moved", "tiny"]


# What is refused


def make_link(path: Path, to: Path) -> None:
    path.unlink()
    path.symlink_to(to)


EDITS: dict[str, Callable[[Path, Path], object]] = {
    "edited": lambda path, _: path.write_bytes(b"mine"),
    "emptied": lambda path, _: path.write_bytes(b""),
    "link": make_link,
    "dangling": lambda path, _: (path.unlink(), path.symlink_to("nowhere")),
    "fifo": lambda path, _: (path.unlink(), os.mkfifo(path)),
    "hard link": lambda path, victim: (path.unlink(), path.hardlink_to(victim)),
}


@pytest.mark.parametrize("after", [NEW, nodes([0], "new")], ids=["stays", "goes"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_is_refused_and_replaced_only_by_force(tmp_path: Path, edit: str, after: Bundle) -> None:
    victim, root = tmp_path / "victim", tmp_path / "root"
    victim.write_bytes(b"precious")
    write(OLD, root)
    for name in ("node.env", "verify.sh"):
        EDITS[edit](root / "tiny" / "node-1" / name, victim)
    refusal = refused(after, root)
    assert "node-1/node.env, node-1/verify.sh" in refusal.message
    assert "--force" in (refusal.hint or "")
    write(after, root, force=True)
    assert seen(root / "tiny") == expected(after)
    assert victim.read_bytes() == b"precious"


def test_an_edit_that_is_what_the_new_bundle_says_is_no_edit(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    new = next(file.content for file in NEW.files if file.path == "node-0/node.env")
    (tmp_path / "tiny" / "node-0" / "node.env").write_bytes(new)
    write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW)


def test_a_file_that_was_removed_by_hand_comes_back(tmp_path: Path) -> None:
    write(NEW, tmp_path)
    (tmp_path / "tiny" / "node-0" / "node.env").unlink()
    assert [change.kind for change in write(NEW, tmp_path).changes] == ["added"]
    assert seen(tmp_path / "tiny") == expected(NEW)


def test_a_foreign_file_where_a_new_one_belongs_is_refused(tmp_path: Path) -> None:
    write(nodes([0]), tmp_path)
    (tmp_path / "tiny" / "node-1").mkdir()
    (tmp_path / "tiny" / "node-1" / "verify.sh").write_bytes(b"mine")
    assert "node-1/verify.sh" in refused(nodes([0, 1]), tmp_path).message
    write(nodes([0, 1]), tmp_path, force=True)
    assert seen(tmp_path / "tiny") == expected(nodes([0, 1]))


def test_many_edits_are_counted(tmp_path: Path) -> None:
    many = nodes(range(20))
    write(many, tmp_path)
    for path in (tmp_path / "tiny").glob("node-*/*"):
        path.write_bytes(b"mine")
    assert refused(nodes(range(20), "new"), tmp_path).message.endswith("and 40 more")


def test_a_folder_where_a_file_belongs_is_refused_even_by_force(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    path = tmp_path / "tiny" / "node-0" / "node.env"
    path.unlink()
    path.mkdir()
    (path / "precious").write_bytes(b"!")
    for force in (False, True):
        assert "node-0/node.env is a folder" in refused(NEW, tmp_path, force=force).message


def test_a_folder_at_the_place_of_a_file_that_goes_is_foreign(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    path = tmp_path / "tiny" / "node-1" / "node.env"
    path.unlink()
    path.mkdir()
    (path / "precious").write_bytes(b"!")
    write(nodes([0], "new"), tmp_path)
    kept = {
        "node-1/node.env": Seen("folder", 0o755, b""),
        "node-1/node.env/precious": Seen("file", 0o644, b"!"),
    }
    assert seen(tmp_path / "tiny") == expected(nodes([0], "new"), kept)


def not_a_folder(path: Path) -> None:
    path.write_bytes(b"")


PLACES: dict[str, Callable[[Path], object]] = {
    "somebody's folder": lambda place: (place.mkdir(), (place / "precious").write_bytes(b"!")),
    "a hidden file alone": lambda place: (place.mkdir(), (place / ".keep").write_bytes(b"")),
    "an empty folder alone": lambda place: (place / "x").mkdir(parents=True),
    "manifest a folder": lambda place: (place / "manifest.json").mkdir(parents=True),
    "manifest a link": lambda place: (place.mkdir(), (place / "manifest.json").symlink_to("/etc/hostname")),
    "manifest a fifo": lambda place: (place.mkdir(), os.mkfifo(place / "manifest.json")),
    "a file": not_a_folder,
    "a fifo": os.mkfifo,
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("what", PLACES)
def test_a_place_that_holds_no_bundle_is_refused_even_by_force(tmp_path: Path, what: str, *, force: bool) -> None:
    PLACES[what](tmp_path / "tiny")
    assert str(tmp_path / "tiny") in refused(NEW, tmp_path, force=force).message
    with pytest.raises(WriteRefused):
        compare(NEW, tmp_path)


GOOD = {"sha256": "0" * 64, "mode": "0644"}


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'"files"',
        b'{"files": []}',
        b'{"files": {"a": []}}',
        b"[" * 100_000,
        b'{"files": {"a": ' + b"1" * 5000 + b"}}",
        json.dumps({"files": {"a": {"sha256": "0" * 63, "mode": "0644"}}}).encode(),
        json.dumps({"files": {"a": {"sha256": "0" * 64, "mode": "644"}}}).encode(),
        json.dumps({"files": {"a": {"sha256": 5, "mode": "0644"}}}).encode(),
        json.dumps({"files": {"a": GOOD, "a/b": GOOD}}).encode(),
        *(
            json.dumps({"files": {path: GOOD}}).encode()
            for path in (
                "../victim",
                "/etc/passwd",
                "a/../../victim",
                "",
                "a//b",
                ".",
                "a/",
                "a\0",
                "\ud800",
                "manifest.json",
            )
        ),
    ],
)
def test_a_manifest_that_the_compiler_cannot_have_written_is_none(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "victim").write_bytes(b"!")
    (tmp_path / "root" / "tiny").mkdir(parents=True)
    (tmp_path / "root" / "tiny" / "manifest.json").write_bytes(manifest)
    assert "is not a bundle" in refused(NEW, tmp_path / "root", force=True).message
    assert (tmp_path / "victim").read_bytes() == b"!"


def swap_for_link(path: Path, victim: Path) -> None:
    """Move what is at `path` to the victim's folder, and leave a link to it."""
    path.rename(victim / path.name)
    path.symlink_to(victim / path.name)


LINKS: dict[str, Callable[[Path, Path], object]] = {
    "root": swap_for_link,
    "root, to nothing": lambda root, victim: (root.rename(victim / "x"), root.symlink_to(victim / "none")),
    "place": lambda root, victim: swap_for_link(root / "tiny", victim),
    "place, to nothing": lambda root, victim: (
        (root / "tiny").rename(victim / "x"),
        (root / "tiny").symlink_to(victim / "none"),
    ),
    "place, to a folder": lambda root, victim: (
        (root / "tiny").rename(victim / "x"),
        (root / "tiny").symlink_to(victim),
    ),
    "node": lambda root, victim: swap_for_link(root / "tiny" / "node-0", victim),
    "node that goes": lambda root, victim: swap_for_link(root / "tiny" / "node-2", victim),
    "node, to the other": lambda root, victim: (
        (root / "tiny" / "node-1").rename(victim / "node-1"),
        (root / "tiny" / "node-1").symlink_to("node-0"),
    ),
    "file": lambda root, victim: swap_for_link(root / "tiny" / "node-0" / "verify.sh", victim),
    "manifest": lambda root, victim: swap_for_link(root / "tiny" / "manifest.json", victim),
    "staged name": lambda root, victim: (root / ".tiny.new").symlink_to(victim),
    "old name": lambda root, victim: (root / ".tiny.old-1").symlink_to(victim),
}


@pytest.mark.parametrize("layout", LINKS)
def test_no_link_leads_a_write_outside(tmp_path: Path, layout: str) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"!")
    write(OLD, root)
    LINKS[layout](root, victim)
    before = seen(tmp_path)
    with pytest.raises(WriteRefused) as caught:
        write(nodes([0, 1], "new"), root)
    assert seen(tmp_path) == before
    if layout in {"root", "place", "node", "node that goes"}:
        assert str(victim.resolve()) in (caught.value.hint or "")


@pytest.mark.parametrize("layout", ["file"])
def test_force_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path, layout: str) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.mkdir()
    write(OLD, root)
    LINKS[layout](root, victim)
    before = seen(victim)
    write(NEW, root, force=True)
    assert (seen(victim), seen(root / "tiny")) == (before, expected(NEW))


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    assert f"{tmp_path}/out: File exists" in refused(NEW, tmp_path / "out").message


def test_a_refusal_is_one_printable_line_whatever_the_names(tmp_path: Path) -> None:
    root = tmp_path / "a\n\x1b[31m\udcff"
    write(OLD, root)
    (root / "tiny" / "node-0" / "node.env").write_bytes(b"mine")
    assert refused(NEW, root).message.isprintable()


def test_a_foreign_file_keeps_its_folder_from_becoming_a_file(tmp_path: Path) -> None:
    write(bundle_of({"a/b": b"1"}), tmp_path)
    write(bundle_of({"a": b"1"}), tmp_path)
    write(bundle_of({"a/b": b"1"}), tmp_path)
    (tmp_path / "tiny" / "a" / "mine").write_bytes(b"!")
    assert "a/mine is in a folder where a file is needed" in refused(bundle_of({"a": b"1"}), tmp_path).message


# Faults of the system


def test_a_name_too_long_is_named(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    long = bundle_of({f"node-0/{'n' * 256}": b""})
    assert refused(long, tmp_path).message.endswith(f"{'n' * 256}: File name too long")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_two_renames_serve_where_there_is_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(exchange, "_rename", unsupported)
    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW, foreign)
    assert names(tmp_path) == ["tiny"]


def test_the_old_bundle_returns_when_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_exchange(*_: object) -> None:
        raise OSError(errno.EINVAL, "no exchange")

    def no_rename(*_: object) -> None:
        raise OSError(errno.EIO, "no rename")

    write(OLD, tmp_path)
    monkeypatch.setattr("compiler.write.exchange", no_exchange)
    monkeypatch.setattr("compiler.write.rename_to_free", no_rename)
    assert refused(NEW, tmp_path).message.endswith("tiny: Input/output error")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["carry", "Writer", "flush", "exchange"])
def test_an_interruption_leaves_the_old_bundle_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: type[BaseException]
) -> None:
    def interrupt(*_: object) -> None:
        raise error

    write(OLD, tmp_path)
    put_foreign(tmp_path / "tiny")
    before = seen(tmp_path)
    monkeypatch.setattr(f"compiler.write.{where}", interrupt)
    with pytest.raises(error):
        write(NEW, tmp_path)
    assert seen(tmp_path) == before


def test_an_interruption_after_the_exchange_still_ends_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange_and_interrupt(folder: int, one: str, other: str) -> None:
        real(folder, one, other)
        raise KeyboardInterrupt

    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    real = exchange.exchange
    monkeypatch.setattr("compiler.write.exchange", exchange_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW, foreign)
    assert names(tmp_path) == ["tiny"]


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A memory filesystem with the given limits, unmounted at the end."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@ROOT_ONLY
@pytest.mark.parametrize("options", ["size=2m", "nr_inodes=60"])
def test_a_full_disk_is_named_and_the_old_bundle_whole(tmp_path: Path, options: str) -> None:
    large = {f"node-{node}/verify.sh": b"x" * 100_000 for node in range(30)}
    with small_disk(tmp_path / "disk", options) as disk:
        write(OLD, disk)
        put_foreign(disk / "tiny")
        refusal = refused(bundle_of(large), disk)
    assert f"cannot write {disk}/tiny/node-" in refusal.message
    assert refusal.message.endswith(": No space left on device")


@ROOT_ONLY
def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        write(OLD, disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert refused(NEW, disk).message == f"cannot write {disk}/tiny: Read-only file system"
        assert write(OLD, disk).changes == ()


@ROOT_ONLY
def test_a_mount_in_the_bundle_is_refused(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    with small_disk(tmp_path / "tiny" / "data", "size=1m") as data:
        (data / "precious").write_bytes(b"!")
        assert "tiny/data is a mount point" in refused(NEW, tmp_path).message


WRITER = """
import os, sys, time
sys.path[:0] = {paths}
from pathlib import Path
from small_bundles import nodes
from compiler.write import WriteRefused, write
"""


def writer(code: str) -> "subprocess.Popen[str]":
    """A process of its own that knows `write`, `nodes` and `Path`."""
    here = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    program = WRITER.format(paths=here) + code
    return subprocess.Popen(
        [sys.executable, "-B", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@ROOT_ONLY
@pytest.mark.parametrize("denied", ["root", "place", "node", "file", "foreign"])
def test_what_one_may_not_touch_is_named(denied: str) -> None:
    base = Path(tempfile.mkdtemp())  # tmp_path lies where only its owner may look
    base.chmod(0o755)
    root = base / "root"
    write(OLD, root)
    (root / "tiny" / "theirs").mkdir()
    (root / "tiny" / "theirs" / "data").write_bytes(b"!")
    subprocess.run(["chown", "-R", "65534:65534", base], check=True)
    path = {
        "root": root,
        "place": root / "tiny",
        "node": root / "tiny" / "node-0",
        "file": root / "tiny" / "node-0" / "verify.sh",
        "foreign": root / "tiny" / "theirs",
    }[denied]
    os.chown(path, 0, 0)
    path.chmod(0o755 if denied == "foreign" else 0o500)
    before = seen(base)
    # The interpreter may lie where only root reads: so all is imported first.
    code = f"""
import ctypes
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    write(nodes([0, 1, 2], "new"), Path({str(root)!r}))
except WriteRefused as refusal:
    print(refusal.message)
"""
    try:
        process = writer(code)
        said = process.communicate()[0]
        assert (process.returncode, said.count("\n")) == (0, 1), said
        assert said.endswith(": Permission denied\n")
        assert seen(base) == before
    finally:
        subprocess.run(["rm", "-rf", base], check=True)


# Two at a time


def test_concurrent_writers_end_as_exactly_one_of_the_two(tmp_path: Path) -> None:
    bundles = {"one": nodes(range(5), "one"), "two": nodes(range(3, 9), "two")}
    code = """
while not Path({go!r}).exists():
    time.sleep(0.001)
for _ in range(6):
    write(nodes(range({first}, {last}), {text!r}), Path({root!r}), lock_timeout=60)
"""
    foreign = None
    write(bundles["one"], tmp_path / "root")
    foreign = put_foreign(tmp_path / "root" / "tiny")
    arguments = [{"first": 0, "last": 5, "text": "one"}, {"first": 3, "last": 9, "text": "two"}] * 4
    go, root = str(tmp_path / "go"), str(tmp_path / "root")
    processes = [writer(code.format(go=go, root=root, **given)) for given in arguments]
    Path(go).touch()
    assert [process.communicate()[0] for process in processes] == [""] * 8
    assert seen(tmp_path / "root" / "tiny") in [expected(bundle, foreign) for bundle in bundles.values()]
    assert names(tmp_path / "root") == ["tiny"]


HOLD = """
import compiler.write
def slow(*arguments):
    print("holding", flush=True)
    time.sleep(60)
compiler.write.Writer = slow
write(nodes([0]), Path({root!r}))
"""


def test_who_holds_the_folder_is_named_and_its_end_frees_it(tmp_path: Path) -> None:
    process = writer(HOLD.format(root=str(tmp_path)))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        with pytest.raises(WriteRefused) as caught:
            write(NEW, tmp_path, lock_timeout=0.1)
        who = f"process {process.pid}" if sys.platform == "linux" else "another process"
        assert caught.value.message == f"{tmp_path} is being written by {who}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    began = time.monotonic()
    write(NEW, tmp_path, lock_timeout=0)
    assert time.monotonic() - began < 1
    assert seen(tmp_path / "tiny") == expected(NEW)
    assert names(tmp_path) == ["tiny"]


def without_folder_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that locks files alone, as NFS does."""

    def flock(handle: int, kind: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(handle, kind)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_file_serves_where_folders_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_folder_locks(monkeypatch)
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with (
            lock.locked(root, "out", timeout=0),
            pytest.raises(WriteRefused, match="out is being written by "),
            lock.locked(root, "out", timeout=0.05),
        ):
            pytest.fail("both hold it")
    finally:
        os.close(root)
    assert names(tmp_path) == []
    write(NEW, tmp_path)
    assert compare(NEW, tmp_path) == ()
    assert names(tmp_path) == ["tiny"]


def test_a_lock_file_that_was_removed_meanwhile_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_folder_locks(monkeypatch)
    flock, removed = fcntl.flock, list[Path]()

    def lock_after_removal(handle: int, kind: int) -> None:
        flock(handle, kind)
        if not removed:
            removed.append(tmp_path / ".compiler.lock")
            removed[0].unlink()

    monkeypatch.setattr(fcntl, "flock", lock_after_removal)
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with lock.locked(root, "out", timeout=0):
            assert names(tmp_path) == [".compiler.lock"]
    finally:
        os.close(root)
    assert names(tmp_path) == []


# Leftovers


def killed_while_staging(root: Path) -> None:
    process = writer(HOLD.format(root=str(root)))
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    process.kill()
    process.communicate()


def test_a_staged_folder_of_a_killed_run_is_removed_even_when_nothing_changes(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    killed_while_staging(tmp_path)
    assert len(names(tmp_path)) == 2
    assert write(OLD, tmp_path).changes == ()
    assert seen(tmp_path / "tiny") == expected(OLD, foreign)
    assert names(tmp_path) == ["tiny"]


@pytest.mark.parametrize("hidden", [".tiny.new-1", ".tiny.old-1"])
def test_an_old_bundle_returns_when_its_place_is_empty(tmp_path: Path, hidden: str) -> None:
    write(OLD, tmp_path)
    foreign = put_foreign(tmp_path / "tiny")
    (tmp_path / "tiny").rename(tmp_path / hidden)
    write(NEW, tmp_path)
    assert seen(tmp_path / "tiny") == expected(NEW, foreign)
    assert names(tmp_path) == ["tiny"]


@pytest.mark.parametrize("hidden", [".tiny.new-1", ".tiny.old-1"])
def test_an_old_bundle_is_never_retired_into_what_is_no_bundle(tmp_path: Path, hidden: str) -> None:
    write(OLD, tmp_path)
    (tmp_path / "tiny").rename(tmp_path / hidden)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "other").write_bytes(b"")
    refusal = refused(NEW, tmp_path)
    assert hidden in (refusal.hint or "")


def test_a_hidden_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    for name in (".tiny.new-1x", ".tiny.new-", ".other.new-5", ".tiny"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
    write(NEW, tmp_path)
    assert len(names(tmp_path)) == 5


def test_imports_stay_cheap() -> None:
    code = "import sys, compiler.write; print(*sorted(sys.modules))"
    root = Path(__file__).parent.parent
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    heavy = {"subprocess", "tempfile", "shutil", "logging", "ctypes", "pathlib", "asyncio", "socket"}
    assert heavy.isdisjoint(loaded.stdout.split())
