"""Small bundles as the renderer makes them, and exact pictures of folders, for the tests of `write`."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from compiler.bundle import Bundle, File, Folder, Parts, digests_of, file_of

NODE_FILES = {"verify.sh": True, "docker-compose.yaml": False, "node.env": False}


class Seen(NamedTuple):
    kind: str
    mode: int
    content: bytes


def bundle_of(files: Mapping[str, bytes], *, name: str = "tiny") -> Bundle:
    made = [file_of(path, content, executable=path.endswith(".sh")) for path, content in files.items()]
    return bundle(name, sorted([*made, manifest_of(made)]))


def manifest_of(files: Iterable[File]) -> File:
    """The manifest of these files."""
    listed = {file.path: {"sha256": file.sha256, "mode": f"{file.mode:04o}"} for file in files}
    return file_of("manifest.json", json.dumps({"format_version": 1, "files": listed}, indent=1).encode())


def bundle(name: str, files: Iterable[File]) -> Bundle:
    """A bundle of exactly these files."""
    held = tuple(files)
    return Bundle(name, lambda: (file.path for file in held), lambda: iter(held))


def nodes(which: Iterable[int], text: str = "old", *, name: str = "tiny") -> Bundle:
    """A bundle with a folder for each number in `which`, every file of which tells `text`."""
    files = {f"node-{node}/{file}": f"{text} {node} {file}\n".encode() for node in which for file in NODE_FILES}
    return bundle_of({"README.md": text.encode(), **files}, name=name)


def in_parts(texts: Mapping[int, str], asked: Callable[[int], None] = lambda _: None) -> Bundle:
    """A bundle in parts: the files of each node tell its text, the README all of them; `asked` is told what is made."""
    made = {node: [file for file in nodes([node], text).files if "/" in file.path] for node, text in texts.items()}
    readme = [file_of("README.md", repr(texts).encode())]
    files = [*readme, *(file for each in made.values() for file in each)]
    manifest = manifest_of(files)
    order = list(made)
    folders = [
        Folder(f"node-{node}", [file.path.partition("/")[2] for file in made[node]], texts[node].encode().ljust(32))
        for node in order
    ]

    def part(index: int) -> list[File]:
        asked(order[index])
        return made[order[index]]

    def last(listed: object) -> File:
        assert listed == [b"%d " % node + digests_of(made[node]) for node in order]
        return manifest

    above = ["README.md", "manifest.json"]
    parts = Parts(above, lambda: readme, folders, part, lambda index, own: b"%d " % order[index] + own, last)
    every = [*files, manifest]
    return Bundle("tiny", lambda: (file.path for file in every), lambda: iter(every), lambda: parts)


def seen(folder: Path) -> dict[str, Seen]:
    """Everything below `folder`: kind, mode and content (a link's target) by path; nothing is followed."""
    found = {}
    for entry in os.scandir(folder):
        path = Path(entry.path)
        mode = entry.stat(follow_symlinks=False).st_mode & 0o7777
        if entry.is_symlink():
            found[entry.name] = Seen("link", 0, str(path.readlink()).encode())
        elif entry.is_dir():
            found[entry.name] = Seen("folder", mode, b"")
            found |= {f"{entry.name}/{below}": what for below, what in seen(path).items()}
        else:
            found[entry.name] = Seen("file" if entry.is_file() else "special", mode, content_of(entry))
    return found


def names(folder: Path) -> list[str]:
    """What a folder holds, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def content_of(entry: "os.DirEntry[str]") -> bytes:
    return Path(entry.path).read_bytes() if entry.is_file() else b""


def expected(bundle: Bundle, foreign: Mapping[str, Seen] | None = None) -> dict[str, Seen]:
    """What the bundle's folder must hold, to the bit, with these foreign files in it."""
    files = {file.path: Seen("file", file.mode, file.content) for file in bundle.files}
    paths = [*files, *(foreign or {})]
    folders = {str(above) for path in paths for above in Path(path).parents} - {"."}
    return {folder: Seen("folder", 0o755, b"") for folder in folders} | files | dict(foreign or {})


def put_foreign(folder: Path) -> dict[str, Seen]:
    """Everything that a person may leave in a bundle's folder."""
    (folder / "node-1").mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_bytes(b"mine\n")
    (folder / "node-1" / "ping.log").write_bytes(b"seen")
    (folder / "node-1" / "ping.log").chmod(0o640)
    (folder / "cache" / "deep" / "er").mkdir(parents=True)
    (folder / "cache" / "deep" / "blob").write_bytes(b"\0" * 5000)
    (folder / "empty").mkdir()
    (folder / "empty").chmod(0o700)
    (folder / "node-1" / "nothing").mkdir()
    (folder / "dangling").symlink_to("/nowhere/at/all")
    (folder / "node-1" / "up").symlink_to("..")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_bytes(b"ref")
    os.mkfifo(folder / "node-1" / "fifo", 0o600)
    return {
        "notes.txt": Seen("file", 0o644, b"mine\n"),
        "node-1/ping.log": Seen("file", 0o640, b"seen"),
        "cache": Seen("folder", 0o755, b""),
        "cache/deep": Seen("folder", 0o755, b""),
        "cache/deep/er": Seen("folder", 0o755, b""),
        "cache/deep/blob": Seen("file", 0o644, b"\0" * 5000),
        "empty": Seen("folder", 0o700, b""),
        "node-1/nothing": Seen("folder", 0o755, b""),
        "dangling": Seen("link", 0, b"/nowhere/at/all"),
        "node-1/up": Seen("link", 0, b".."),
        ".git": Seen("folder", 0o755, b""),
        ".git/HEAD": Seen("file", 0o644, b"ref"),
        "node-1/fifo": Seen("special", 0o600, b""),
    }
