"""Judges the image: pinned, made for this hardware, and of a release that is known here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compiler.diagnostics import warning
from compiler.releases import releases, tag_of
from schema.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.diagnostics import Diagnostic
    from compiler.subject import Subject


def image_fits(subject: Subject) -> Iterator[Diagnostic]:
    """Every node gets the same image, and it is made for the nodes' hardware."""
    tag = tag_of(subject.cluster.image)
    if _may_differ(subject.cluster.image):
        message = "without a tag each node may pull another image" if not tag else "`latest` may differ between nodes"
        yield warning("image-not-pinned", ("image",), message, "name a release, like :v0.11.0, or a digest")
    if subject.accelerator is None or not tag:
        return
    wanted, found = subject.accelerator.image_suffix, _suffix(tag.lower())
    if wanted != found:
        made_for = f"has the suffix {found}" if found else "has no suffix, so the image is made for Atlas A2"
        ending = wanted or "the version itself"
        hint = f"the images for {subject.accelerator.name} end in {ending}: :{_retagged(tag, found, wanted)}"
        yield warning("image-suffix", ("image",), f"the tag {tag} {made_for}", hint)


def release_is_known(subject: Subject) -> Iterator[Diagnostic]:
    """What is known of one release can be told; an image that is not pinned was told that already."""
    image = subject.cluster.image
    if subject.release is not None or _may_differ(image):
        return
    tag = tag_of(image)
    names = [release.name for release in releases()]
    suffix = subject.accelerator.image_suffix if subject.accelerator else ""
    tags = [name + suffix for name in names]
    hint = "write the release, too: NAME:v0.11.0@sha256:... has both" if not tag else did_you_mean(tag.lower(), tags)
    final = ", ".join(name for name in names if "rc" not in name)
    what = f"the tag {tag} names no release known here" if tag else "a digest alone names no release"
    message = f"{what}: a flag of any release is taken, and the faults of one release are not told"
    yield warning("unknown-release", ("image",), message, hint or f"the final releases known here: {final}")


def _may_differ(image: str) -> bool:
    return "@" not in image and tag_of(image) in ("", "latest")


def _suffix(tag: str) -> str:
    match = re.fullmatch(r".*?(-a3|-310p|-950dt)?(?:-openeuler)?", tag)
    return (match and match[1]) or ""


def _retagged(tag: str, found: str, wanted: str) -> str:
    base = tag.removesuffix("-openeuler")
    system = tag[len(base) :]
    return base.removesuffix(found) + wanted + system
