"""What only a node's engine and image can tell, judged: Docker, the image, who holds NPUs, what is installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compiler.answer import Check
from compiler.guest import ROLE
from compiler.packaged import packaged
from compiler.plan import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from compiler.engine_look import Outcome
    from compiler.plan import NodePlan, Plan
    from compiler.seen import Image, Seen

# Checks of verify.sh that the engine itself answers better than a docker command on its host.
BY_US = ("docker", "image", "containers")
# Those, and the checks that verify.sh cannot make.
OURS = (*BY_US, "container", "python", "ray", "vllm", "npu-smi")

_DOCKER_DOCS = "https://docs.docker.com/reference/cli/dockerd/"
_HELD = "https://github.com/vllm-project/vllm-ascend/issues/2698"
_RAY_PIN = "https://github.com/vllm-project/vllm-ascend/pull/3660"
_SAME_PYTHON = "https://github.com/ray-project/ray/issues/50511"
_INSTALLED = "https://docs.vllm.ai/projects/ascend/en/latest/installation.html"
_RAY_OLDEST, _RAY_NEWEST = (2, 47, 1), (2, 48, 0)


def engine_check(version: str) -> Check:
    """Docker answers."""
    return Check("docker", "ok", version, by_hand="docker version", source=_DOCKER_DOCS)


def image_check(image: Image | None, plan: Plan) -> Check:
    """The image is there."""
    reference = plan.container.image
    by_hand = f"docker image inspect {reference}"
    if image is None:
        to_do = f"docker pull {reference}; where there is no internet, docker save it elsewhere and docker load it here"
        return Check("image", "FAIL", "not there", reference, to_do, by_hand, _INSTALLED)
    # The id, not the digest: it is the same for an image that was pulled and one that was loaded from a file.
    return Check("image", "ok", image.id, by_hand=by_hand, source=_INSTALLED)


def ours(holder: Seen, plan: Plan) -> bool:
    """True for the container that this cluster has on a node."""
    return holder.name == plan.container.name and holder.labels.get(f"{LABEL_PREFIX}name") == plan.name


def containers_check(holders: Iterable[Seen], plan: Plan, node: NodePlan) -> Check:
    """No other container has these NPUs, or our name."""
    by_hand = "docker ps --all; docker inspect --format '{{.Name}} {{.HostConfig.Devices}}' CONTAINER"
    name = plan.container.name
    others = [
        holder for holder in holders if not ours(holder, plan) and holder.labels.get(f"{LABEL_PREFIX}role") != ROLE
    ]
    clash = [holder for holder in others if holder.name == name]
    if clash:
        to_do = "remove or rename that container, or give this cluster another name: it was not made by this program"
        return Check(
            "containers", "FAIL", f"another container is called {name}", "nobody has this name", to_do, by_hand, _HELD
        )
    wanted = set(node.shape.npu_devices)
    held = [
        f"{device} by {each.name}" for each in others if each.running for device in each.devices if device in wanted
    ]
    if held:
        expected = "no other running container has these NPUs"
        to_do = "stop that container, or leave its NPUs out with npus in the spec"
        return Check("containers", "FAIL", f"held: {', '.join(held)}", expected, to_do, by_hand, _HELD)
    return Check("containers", "ok", "no other running container has these NPUs", by_hand=by_hand, source=_HELD)


def given_check(refused: Mapping[str, str]) -> Check:
    """Docker gives a container all planned devices and mounts."""
    by_hand = "docker compose up, in this node's folder of the bundle"
    if not refused:
        seen = "Docker gives it every planned device and mount"
        return Check("container", "ok", seen, by_hand=by_hand, source=_DOCKER_DOCS)
    seen = "; ".join(f"{path}: {said}" for path, said in sorted(refused.items()))
    to_do = "see the checks mount and device of these paths; correct the spec, or install the driver"
    return Check("container", "FAIL", seen, "every planned device and mount", to_do, by_hand, _DOCKER_DOCS)


def look_inside() -> str:
    """The bash that tells what there is in the image."""
    return packaged("templates", "container/look.sh").decode()


def look_checks(ended: Outcome) -> tuple[Check, ...]:
    """What it told, judged."""
    head, _, rest = ended.out.partition("\nnpu-smi ")
    facts = dict(line.partition(" ")[::2] for line in head.splitlines())
    status, _, said = rest.partition("\n")
    return (_python(facts), _ray(facts), _vllm(facts), _npu_smi(status, said))


def _python(facts: Mapping[str, str]) -> Check:
    version, by_hand = facts.get("python", ""), "docker exec CONTAINER python3 --version"
    if not version:
        return Check(
            "python", "FAIL", "no python3 in the image", "the image's own", _WRONG_IMAGE, by_hand, _SAME_PYTHON
        )
    return Check("python", "ok", version, by_hand=by_hand, source=_SAME_PYTHON)


def _ray(facts: Mapping[str, str]) -> Check:
    version, by_hand = facts.get("ray", ""), "docker exec CONTAINER ray --version"
    expected = "2.47.1 to 2.48.0"
    if not version:
        return Check("ray", "FAIL", "no Ray in the image", expected, _WRONG_IMAGE, by_hand, _RAY_PIN)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers > _RAY_NEWEST:
        to_do = "take an image with Ray 2.48.0: later ones count NPUs wrongly"
        return Check("ray", "FAIL", version, expected, to_do, by_hand, _RAY_PIN)
    if numbers < _RAY_OLDEST:
        to_do = "take an image with Ray 2.47.1 or 2.48.0, the ones that vllm-ascend pins"
        return Check("ray", "warn", version, expected, to_do, by_hand, _RAY_PIN)
    return Check("ray", "ok", version, by_hand=by_hand, source=_RAY_PIN)


def _vllm(facts: Mapping[str, str]) -> Check:
    by_hand = "docker exec CONTAINER vllm --version"
    if not facts.get("program"):
        return Check("vllm", "FAIL", "no program vllm in the image", "vllm", _WRONG_IMAGE, by_hand, _INSTALLED)
    versions = [f"{name} {facts[name]}" for name in ("vllm", "vllm-ascend") if facts.get(name)]
    return Check("vllm", "ok", ", ".join(versions) or "of unknown version", by_hand=by_hand, source=_INSTALLED)


def _npu_smi(status: str, said: str) -> Check:
    by_hand = "docker exec CONTAINER npu-smi info"
    if status == "0" and "-8005" not in said:
        version = re.search(r"npu-smi\s+(\S+)", said)
        seen = f"answers in the container{f', {version[1]}' if version else ''}"
        return Check("npu-smi", "ok", seen, by_hand=by_hand, source=_HELD)
    lines = [line for line in said.splitlines() if line.strip()]
    seen = "; ".join(lines[-2:]) or f"status {status or '?'}, and no word"
    to_do = "-8005: another container holds the NPUs, see the check containers; else look at the driver"
    return Check("npu-smi", "FAIL", seen, "it answers in the container", to_do, by_hand, _HELD)


_WRONG_IMAGE = "choose a vllm-ascend image in the spec"
