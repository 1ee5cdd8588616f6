"""The images of an emulated Docker engine, by reference, and what pulling one is answered with.

What a registry's refusals become was recorded from Docker 20.10.24 and a registry on the loopback; see
TranslatePullError in https://github.com/moby/moby/blob/20.10/distribution/errors.go
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import engine_shapes as shapes
from engine_answers import Refused, Reply, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from engine_answers import Answer, Question
    from engine_api import Engine
    from engine_shapes import Document


def found(images: Mapping[str, Document], name: str) -> Document | None:
    """The inspection of the image of this reference, id or beginning of an id."""
    short = name.removeprefix("sha256:")
    for reference, image in images.items():
        if reference in (name, _tagged(name)) or name in image.get("RepoDigests", ()):
            return _shown(images, image)
        if len(short) > 3 and str(image["Id"]).removeprefix("sha256:").startswith(short):
            return _shown(images, image)
    return None


def _tagged(name: str) -> str:
    return name if "@" in name or ":" in name.rpartition("/")[2] else f"{name}:latest"


def _shown(images: Mapping[str, Document], image: Document) -> Document:
    alike = {reference: each for reference, each in images.items() if each["Id"] == image["Id"]}
    digests = {digest for each in alike.values() for digest in each.get("RepoDigests", ())}
    return shapes.image(image, [each for each in alike if "@" not in each], sorted(digests))


def inspect(engine: Engine, question: Question) -> Answer:
    """Shows one."""
    (name,) = question.words
    shown = found(engine.images, name)
    if shown is None:
        raise Refused(404, f"no such image: {name}: No such image: {_tagged(name)}")
    return Reply(200, shown)


def listed(engine: Engine, _: Question) -> Answer:
    """Shows all, each once."""
    shown = (found(engine.images, name) for name in ids(engine.images))
    return Reply(200, [shapes.image_entry(each) for each in shown if each is not None])


def ids(images: Mapping[str, Document]) -> list[str]:
    """What images there are."""
    return list(dict.fromkeys(image["Id"] for image in images.values()))


def create(engine: Engine, question: Question) -> Answer:
    """Pulls one, of a registry that a test gave."""
    name, tag = (question.query.get(key, "") for key in ("fromImage", "tag"))
    wanted = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}" if tag else name
    return Stream(pull(engine.images, engine.registry, wanted), "application/json")


def pull(
    images: MutableMapping[str, Document], registry: Mapping[str, Document | str] | None, wanted: str
) -> Iterator[bytes]:
    """The lines of a pull's answer, after which the image is there.

    `registry` has an image, or the words that a pull ends with, by reference; None is a host without a network.

    Raises:
        Refused: There is nothing to pull.
    """
    if registry is None:
        host = wanted.partition("/")[0]
        cause = f'Get "https://{host}/v2/": dial tcp: lookup {host} on 127.0.0.53:53: no such host'
        raise Refused(500, cause)
    if wanted not in registry:
        raise Refused(404, f"manifest for {wanted} not found: manifest unknown: manifest unknown")
    return _lines(images, registry[wanted], wanted)


def _lines(images: MutableMapping[str, Document], given: Document | str, wanted: str) -> Iterator[bytes]:
    repository, _, digest = wanted.partition("@")
    path, _, tag = repository.partition("/")[2].partition(":")
    layer = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    yield _line(status=f"Pulling from {path}", id=wanted if digest else tag)
    if isinstance(given, str):
        yield _line(status="Pulling fs layer", progressDetail={}, id=layer)
        yield _line(errorDetail={"message": given}, error=given)
        return
    here = given["Id"] in {image["Id"] for image in images.values()}
    if not here:
        yield from _layer(layer)
    name = repository.removesuffix(f":{tag}")
    digests = given.get("RepoDigests") or [
        f"{name}@{digest or 'sha256:' + hashlib.sha256(wanted.encode()).hexdigest()}"
    ]
    images[wanted] = {**given, "RepoDigests": digests}
    yield _line(status=f"Digest: {digests[0].partition('@')[2]}")
    yield _line(status=f"Status: {'Image is up to date' if here else 'Downloaded newer image'} for {wanted}")


def _layer(layer: str) -> Iterator[bytes]:
    detail = {"current": 98, "total": 98}
    bar = f"[{'=' * 50}>]      98B/98B"
    yield _line(status="Pulling fs layer", progressDetail={}, id=layer)
    yield _line(status="Downloading", progressDetail=detail, progress=bar, id=layer)
    yield _line(status="Download complete", progressDetail={}, id=layer)
    yield _line(status="Extracting", progressDetail=detail, progress=bar, id=layer)
    yield _line(status="Pull complete", progressDetail={}, id=layer)


def _line(**said: object) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\r\n"
