"""What comes before anything is changed: the nodes verified, and the image on all of them."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from compiler.course import Failed, Failure, Noted, Now
from compiler.engine_fault import EngineFault
from compiler.steps import on_all, timed
from compiler.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.board import Board
    from compiler.course import Event
    from compiler.engine import Engine
    from compiler.fleet import Fleet
    from compiler.plan import Plan
    from compiler.seen import Image
    from compiler.verify import Options

PULL_SECONDS = 7200  # for 20 GB over a slow line


def verified(fleet: Fleet[Engine], plan: Plan, scripts: Mapping[str, bytes], options: Options) -> Iterator[Event]:
    """verify.sh on each node of `scripts`, judged across the nodes.

    Raises:
        Failed: A check failed, or a node could not be asked.
    """
    from compiler.board import board  # noqa: PLC0415 - not for those who skip it

    with timed(fleet, "verify", "run each node's verify.sh", len(scripts)) as step:
        yield step.began
        answers = []
        reach = verify(plan, scripts, options, lambda node: nullcontext(fleet.engine(node.name)))
        with closing(reach):  # or what it has left on the nodes would stay for a while when no more shall begin
            for news in reach:
                yield Now(news.node, news.text)
                if news.answer:
                    answers.append(news.answer)
                    if news.answer.fault:  # perhaps it is in use still, by a thread that was given up
                        fleet.abandon(news.node)
                    yield Noted(news.node, news.answer.summary)
                fleet.go_on()
        failures = tuple(_failures(board(plan, answers, options.wants)))
        if failures:
            raise Failed(failures)
        yield step.ended


def _failures(found: Board) -> Iterator[Failure]:
    for answer in found.answers:
        if answer.fault:
            yield Failure(answer.node, "verify", answer.fault, answer.to_do)
    for verdict in (*found.own, *found.across):
        check = verdict.check
        if check.status == "FAIL":
            expected = f", expected {check.expected}" if check.expected else ""
            yield Failure(", ".join(verdict.nodes), "verify", f"{check.id}: {check.seen}{expected}", check.next)


def pulled(fleet: Fleet[Engine], plan: Plan, names: Sequence[str]) -> Iterator[Event]:
    """The image, on the nodes that lack it.

    Raises:
        Failed: It could not be had somewhere.
    """
    reference = plan.container.image
    with timed(fleet, "image", f"pull {reference}", len(names)) as step:
        yield step.began

        def pull(_: str, engine: Engine, tell: Callable[[str], None]) -> str:
            try:
                engine.pull(reference, tell)
            except EngineFault as fault:
                to_do = f"docker pull {reference} there; without internet, docker save it elsewhere and docker load it"
                raise EngineFault("its image is missing, and pulling it failed", fault.cause, to_do) from fault
            return "the image is pulled"

        yield from on_all(fleet, "image", names, pull, seconds=PULL_SECONDS, note=True)
        yield step.ended


def images_are_one(fleet: Fleet[Engine], plan: Plan, names: Sequence[str]) -> Iterator[Event]:
    """The image has the same content on all of these nodes.

    An id is made of the content, but differently by Docker's two stores of images; where both pulled it, the digests
    tell: https://github.com/eugr/spark-vllm-docker/issues/327 .

    Raises:
        Failed: It has not.
    """
    reference = plan.container.image

    def ask(_: str, engine: Engine, tell: Callable[[str], None]) -> Image:
        tell("look at the image")
        found = engine.image(reference)
        if found is None:
            raise EngineFault("inspect the image", f"there is no {reference}", f"docker pull {reference}")
        return found

    there = yield from on_all(fleet, "image", names, ask)
    first = there[names[0]]
    to_do = f"docker save {reference} on {names[0]}, docker load it there; or write it with its digest in the spec"
    failures = [
        Failure(name, "image", f"{reference} is another image there than on {names[0]}", to_do)
        for name, image in there.items()
        if image.id != first.id and not set(image.digests) & set(first.digests)
    ]
    if failures:
        raise Failed(tuple(failures))
