"""Files in a container of an emulated Docker engine: put there as a tar, and fetched as one.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/PutContainerArchive
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
from typing import TYPE_CHECKING

from engine_answers import Bytes, Refused, Reply
from engine_container import File

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine_answers import Answer, Question
    from engine_api import Engine

IS_FOLDER = 1 << 31  # https://pkg.go.dev/io/fs#FileMode


def put_archive(engine: Engine, question: Question) -> Answer:
    """Unpacks a tar in a folder."""
    path = _path(question)
    found = engine.find(question.words[0])
    if path in found.files:
        raise Refused(500, "extraction point is not a directory")
    if not found.has_folder(path):
        raise _missing(question, path)
    try:
        with tarfile.open(fileobj=io.BytesIO(question.body)) as archive:
            unpacked = {posixpath.join(path, entry.name): _file(archive, entry) for entry in archive if entry.isfile()}
    except tarfile.TarError:
        cause = "Error processing tar file(exit status 1)"
        raise Refused(500, f"{cause}: archive/tar: invalid tar header") from None
    with engine.world.changed:
        for name, file in unpacked.items():
            found.files.pop(name, None)  # so that the newest one is the last
            found.files[name] = file
    return Reply(200)


def _file(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> File:
    content = archive.extractfile(entry)
    assert content is not None
    return File(content.read(), entry.mode)


def get_archive(engine: Engine, question: Question) -> Answer:
    """A file, or a folder with all that is in it, as a tar."""
    path = _path(question)
    found = engine.find(question.words[0])
    with engine.world.changed:
        inside = {name: file for name, file in found.files.items() if f"{name}/".startswith(f"{path}/")}
    name = posixpath.basename(path)
    if path in found.files:
        size, mode = len(found.files[path].content), found.files[path].mode
    elif found.has_folder(path):
        size, mode = 4096, IS_FOLDER | 0o755
    else:
        raise _missing(question, path)
    about = {"name": name, "size": size, "mode": mode, "mtime": "2025-01-01T00:00:00Z", "linkTarget": ""}
    stat = base64.b64encode(json.dumps(about).encode()).decode()
    kind = {} if question.method == "HEAD" else {"Content-Type": "application/x-tar"}
    return Bytes(_tar(inside, posixpath.dirname(path)), {**kind, "X-Docker-Container-Path-Stat": stat})


def _tar(files: Mapping[str, File], folder: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path, file in files.items():
            entry = tarfile.TarInfo(posixpath.relpath(path, folder))
            entry.size, entry.mode = len(file.content), file.mode
            archive.addfile(entry, io.BytesIO(file.content))
    return made.getvalue()


def _path(question: Question) -> str:
    path = question.query.get("path", "")
    if not path:
        raise Refused(400, "bad parameter: pathcannot be empty")
    return posixpath.join("/", path.rstrip("/"))


def _missing(question: Question, path: str) -> Refused:
    return Refused(404, f"Could not find the file {path} in container {question.words[0]}")
