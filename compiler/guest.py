"""A container that is a guest on a node's host for a while: a node's verify.sh runs in it as if on the host.

It has the node's planned devices and mounts, so that Docker itself says whether it can give them, and
the host's own root, read-only, at `/host`. The script runs there by `chroot`: it is the host's bash,
hccn_tool and libraries that answer. What can be written is the cache, for the check that it can be, and
where hccn_tool itself keeps its lock and its log. The container is removed at the end, and ends by
itself should we be cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.clean import one_line
from compiler.engine_fault import EngineFault
from compiler.engine_guest import SCRIPT, Inside, Wanted
from compiler.plan import LABEL_PREFIX, Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compiler.crew import Done
    from compiler.engine_look import Outcome
    from compiler.plan import NodePlan, Plan

HOST = "/host"
ROLE = "verify"
# hccn_tool takes a lock for TLS in the first and logs in the second; on a read-only root it would fail:
# https://github.com/hicann/driver (src/custom/network/common/ascend910B/network_comm.c, get_tls_config_path;
# src/custom/network/hccn/ascend910B/hccn_tool/log.c)
_OF_HCCN_TOOL = ("/root", "/var/log")
# Open the script where it is, enter the host's root, and run it there by its descriptor.
_ENTER = ("bash", "-c", f'exec 3<{SCRIPT} && exec chroot {HOST} bash /proc/self/fd/3 "$@"', "verify.sh")


def guest(plan: Plan, node: NodePlan, script: bytes, word: str, seconds: int) -> Wanted:
    """The container for one node; `word` sets it apart from those of other runs."""
    return Wanted(
        name=f"{plan.container.name}-{ROLE}-{word}",
        image=plan.container.image,
        seconds=seconds,
        labels={f"{LABEL_PREFIX}name": plan.name, f"{LABEL_PREFIX}node": node.name, f"{LABEL_PREFIX}role": ROLE},
        devices=node.shape.devices,
        mounts=(
            *node.shape.mounts,
            Mount("/", HOST, read_only=True),
            *(Mount(folder, f"{HOST}{folder}", read_only=False) for folder in (plan.cache, *_OF_HCCN_TOOL)),
        ),
        memory=(f"{HOST}/tmp",),  # noqa: S108 - bash keeps its here-documents there
        privileged=plan.container.privileged,
        script=script,
    )


def unread(ended: Outcome, options: str = "") -> EngineFault:
    """What to say when the script ended without the document that it was asked for."""
    said = one_line(ended.err or ended.out) or f"it ended with status {ended.status} and said nothing"
    return EngineFault("run verify.sh", said, f"run it by hand on that node: bash verify.sh{options}")


def ended_by(done: Done[Any], seconds: int) -> tuple[str, str]:
    """Why a node ended without a result, and what to do about it; a bug of ours is raised."""
    if done.error is None:
        fault = f"gave no answer within {seconds} s; it was at: {done.last or 'connect'}"
        return fault, "see how busy it is; or give it longer: --timeout"
    if not isinstance(done.error, EngineFault):
        raise done.error
    return str(done.error), done.error.to_do


def run_script(inside: Inside, words: Sequence[str], tell: Callable[[str], None]) -> Outcome:
    """Runs the script with these options; each line of its stderr is told.

    Raises:
        EngineFault: The engine did not do it.
    """
    return inside.run((*_ENTER, *words), lambda line: tell(one_line(line, 80)))
