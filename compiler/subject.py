"""What the rules judge: the cluster, and what is known about its hardware, its image and its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from compiler.catalogue import catalogued, from_config, with_facts
from compiler.diagnostics import error
from compiler.facts import accelerator
from compiler.releases import release_of
from schema.accelerator import Accelerator
from schema.cluster import ModelFacts
from schema.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.diagnostics import Diagnostic, Path
    from schema.cluster import Cluster
    from schema.release import Release

# Reads a file that a spec names, by its path as written there; raises OSError.
Beside = Callable[[str], bytes]


class Subject(NamedTuple):
    """A cluster with the facts that its words stand for.

    Attributes:
        cluster: What the spec says.
        accelerator: Its hardware, or None when the spec names none that can run this.
        release: The vllm-ascend release of its image, or None when the tag names none that is known here.
        model: The model that it serves, or None when nothing is known about it.
        faults: What is wrong with the config.json that the spec names.
    """

    cluster: Cluster
    accelerator: Accelerator | None
    release: Release | None = None
    model: Model | None = None
    faults: tuple[Diagnostic, ...] = ()


Rule = Callable[[Subject], "Iterator[Diagnostic]"]


def subject_of(cluster: Cluster, beside: Beside) -> Subject:
    """The cluster with all that is known about it."""
    known = accelerator(cluster.accelerator)
    model, faults = _model(cluster, beside)
    hardware = known if isinstance(known, Accelerator) else None
    return Subject(cluster, hardware, release_of(cluster.image), model, faults)


def _model(cluster: Cluster, beside: Beside) -> tuple[Model | None, tuple[Diagnostic, ...]]:
    """What the spec says of its model goes before its config.json, and that before the catalogue."""
    written, name = cluster.model, cluster.serve.model
    facts = ModelFacts(config=written) if isinstance(written, str) else written
    if facts is None:
        return catalogued(name), ()
    model = catalogued(name) or Model(name, "the spec's own facts")
    if facts.config:
        path: Path = ("model",) if isinstance(written, str) else ("model", "config")
        try:
            model = from_config(beside(facts.config), name, facts.config)
            if model.weights == "bf16" and "quantization" in cluster.serve.args:
                model = model._replace(parts=(), cached=())  # what they are is said beside it, as ModelSlim does
        except OSError as fault:
            return None, (_unusable(path, facts.config, f"cannot be read: {fault.strerror or fault}"),)
        except ValueError as fault:
            return None, (_unusable(path, facts.config, f"is no model's config.json: {fault}"),)
    return with_facts(model, facts), ()


def _unusable(path: Path, file: str, why: str) -> Diagnostic:
    hint = "it lies beside the model's weights; the path is relative to the spec"
    return error("model-config", path, f"{file} {why}", hint)


def config_is_one(subject: Subject) -> Iterator[Diagnostic]:
    """Tells what is wrong with the config.json that the spec names."""
    yield from subject.faults
