"""Why these sizes: every way to spread the model over the NPUs, judged, and what each needs of their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.parallelism import asked, candidate, candidates, lost_by, ranked
from compiler.troubles import troubles

if TYPE_CHECKING:
    from compiler.deployment import Deployment
    from compiler.parallelism import Candidate, Choice
    from compiler.places import Located
    from compiler.subject import Subject
    from schema.cluster import Sizes
    from schema.known_bad import KnownBad
    from schema.release import Release


class Verdict(NamedTuple):
    """One choice of sizes and what there is to say of it.

    Attributes:
        sizes: The choice, with why vLLM would refuse it and with what it needs.
        best: True for the one that `auto` takes.
        lost_by: What makes a legal one worse than the best.
        troubles: Reports of others that it failed.
    """

    sizes: Candidate
    best: bool
    lost_by: str
    troubles: tuple[KnownBad, ...]


class Explanation(NamedTuple):
    """All choices of sizes for a deployment.

    Attributes:
        where: What is deployed.
        chosen: The choice that the spec makes.
        reason: Why it is that one.
        verdicts: Every choice that uses all NPUs: the legal ones first, the best on top.
    """

    where: Deployment
    chosen: Verdict
    reason: str
    verdicts: tuple[Verdict, ...]


def explained(written: Choice | Sizes, where: Deployment) -> Explanation:
    """Why the spec's sizes are what they are, and what else there is."""
    tensor, pipeline, reason = asked(written, where)
    all_of_them = candidates(where)
    legal = ranked(where, all_of_them)
    best = legal[0] if legal else None
    refused = tuple(each for each in all_of_them if each.refusals)
    verdicts = tuple(_verdict(where, each, best) for each in (*legal, *refused))
    chosen = next((each for each in verdicts if each.sizes[:2] == (tensor, pipeline)), None)
    return Explanation(where, chosen or _verdict(where, candidate(where, tensor, pipeline), best), reason, verdicts)


def _verdict(where: Deployment, sizes: Candidate, best: Candidate | None) -> Verdict:
    lost = lost_by(where, best, sizes) if best and not sizes.refusals and sizes != best else ""
    return Verdict(sizes, sizes == best, lost, troubles(where, sizes.tensor, sizes.pipeline))


class About(NamedTuple):
    """What stands above an explanation.

    Attributes:
        spec: The spec's name.
        cluster: The cluster's name.
        accelerator: Its title.
        image: The image.
        release: The release in it, or None.
        warnings: What the rules found.
    """

    spec: str
    cluster: str
    accelerator: str
    image: str
    release: Release | None
    warnings: tuple[Located, ...]

    @classmethod
    def of(cls, spec: str, subject: Subject, warnings: tuple[Located, ...]) -> About:
        """What stands above the explanation of this cluster."""
        title = subject.accelerator.title if subject.accelerator else ""
        return cls(spec, subject.cluster.name, title, subject.cluster.image, subject.release, warnings)
