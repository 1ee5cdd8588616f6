"""What only shows across nodes, judged: what must be alike, what must be each one's own, and whether clocks agree.

Each rule takes the plan and what the nodes answered, and gives verdicts. A node that could not be asked
has no say: that it could not is a failure of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from compiler.answer import STATUSES, Answer, Check, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from compiler.plan import Plan


class Verdict(NamedTuple):
    """A check, and the nodes that it is so on.

    Attributes:
        check: What was seen, expected, and so on.
        nodes: Names, in the order of the plan.
        across: True when it compares nodes; False when each of them is so by itself.
    """

    check: Check
    nodes: tuple[str, ...]
    across: bool


def judge(plan: Plan, answers: Sequence[Answer]) -> tuple[Verdict, ...]:
    """What comparing the nodes shows; nothing where fewer than two of them said it."""
    return tuple(verdict for rule in RULES for verdict in rule(plan, answers))


def gathered(answers: Iterable[Answer]) -> tuple[Verdict, ...]:
    """The nodes' own checks, those that are the same on several nodes as one; the worst first."""
    nodes: dict[Check, list[str]] = {}
    for answer in answers:
        for check in answer.checks:
            nodes.setdefault(check, []).append(answer.node)
    verdicts = [Verdict(check, tuple(names), across=False) for check, names in nodes.items()]
    return tuple(sorted(verdicts, key=lambda verdict: STATUSES.index(verdict.check.status)))


# ---- What must be alike --------------------------------------------------------------------------------


class _Alike(NamedTuple):
    """A check whose value all nodes, and all NPUs, must have in common."""

    name: str
    what: str
    next: str
    status: Status = "FAIL"


_ONE_IMAGE = "give every node the same image: pull by digest, or docker save it on one and docker load it on the others"
ALIKE = (
    _Alike("tls", "TLS switch", "make them alike with: hccn_tool -i NPU -tls -s enable 0 (or 1); then restart"),
    _Alike("driver", "driver", "install the same driver everywhere"),
    _Alike("firmware", "firmware", "install the same firmware everywhere"),
    _Alike("image", "image", _ONE_IMAGE),
    _Alike("python", "Python", f"Ray refuses a node of another Python: {_ONE_IMAGE}"),
    _Alike("ray", "Ray", f"Ray refuses a node of another Ray: {_ONE_IMAGE}"),
    _Alike("vllm", "vLLM", _ONE_IMAGE),
    _Alike("mtu", "MTU", "set one MTU on all NPUs, and let the switches carry it: hccn_tool -i NPU -mtu -s size N"),
    _Alike("speed", "link speed", "look at the cables, modules and switch ports of those that differ"),
    _Alike("fec", "FEC mode", "set the same FEC on both ends: hccn_tool -i NPU -fec -s mode ..."),
    _Alike("model", "model files", "copy the model anew where it differs, or mount the same storage everywhere"),
    _Alike("docker", "Docker", "nothing, while containers start; one version everywhere is easier to mend", "warn"),
)


def _alike(_: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    for alike in ALIKE:
        yield from _judged_alike(alike, answers)


def _judged_alike(alike: _Alike, answers: Sequence[Answer]) -> Iterator[Verdict]:
    said: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # value, node, subjects
    some = None
    for answer in answers:
        for check in answer.named(alike.name):
            if check.status in {"ok", "warn"} and check.subject != "same":
                said[_meaning(check)][answer.node].append(check.subject)
                some = check
    nodes = {node for by_node in said.values() for node in by_node}
    if some is None or len(nodes) < 2:  # noqa: PLR2004 - one alone is like itself
        return
    found = Check(f"{alike.name}[nodes]", "ok", "", by_hand=some.by_hand, source=some.source)
    common = max(said, key=lambda value: sum(len(subjects) for subjects in said[value].values()))
    if len(said) == 1:
        yield Verdict(found._replace(seen=common), _in_order(nodes, answers), across=True)
        return
    rest = nodes - {node for value, by_node in said.items() if value != common for node in by_node}
    yield Verdict(found._replace(seen=common), _in_order(rest, answers), across=True)
    for value, by_node in said.items():
        if value != common:
            worse = found._replace(
                status=alike.status,
                seen=f"{value}{_where(by_node)}",
                expected=f"the {alike.what} of the others: {common}",
                next=alike.next,
            )
            yield Verdict(worse, _in_order(by_node, answers), across=True)


def _meaning(check: Check) -> str:
    """What it amounts to: an NPU without certificates has TLS off."""
    return "switch 0 (disabled)" if check.name == "tls" and check.status == "warn" else check.seen


def _where(by_node: Mapping[str, Sequence[str]]) -> str:
    """Which NPUs, when it is the same few on each node."""
    kinds = {tuple(subjects) for subjects in by_node.values()}
    if len(kinds) != 1 or kinds == {("",)}:
        return ""
    subjects = kinds.pop()
    return f" on NPU {', '.join(subjects)}"


def _in_order(nodes: Iterable[str], answers: Sequence[Answer]) -> tuple[str, ...]:
    wanted = set(nodes)
    return tuple(answer.node for answer in answers if answer.node in wanted)


# ---- What must be each one's own -----------------------------------------------------------------------


def _addresses_are_unique(_: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    owners: dict[str, list[tuple[str, Check]]] = defaultdict(list)
    for answer in answers:
        for check in answer.named("npu-address"):
            if re.fullmatch(r"[\d.]+", check.seen):
                owners[check.seen].append((answer.node, check))
    yield from _each_its_own("npu-address[nodes]", owners, "every NPU has an address of its own", _TWICE, answers)


def _each_its_own(
    name: str,
    owners: Mapping[str, Sequence[tuple[str, Check]]],
    expected: str,
    to_do: str,
    answers: Sequence[Answer],
) -> Iterator[Verdict]:
    """A failure for each value that several have, or one success."""
    if len({node for pairs in owners.values() for node, _ in pairs}) < 2:  # noqa: PLR2004 - one alone is unique
        return
    some = next(check for pairs in owners.values() for _, check in pairs)
    found = Check(name, "ok", expected, by_hand=some.by_hand, source=some.source)
    twice = {value: pairs for value, pairs in owners.items() if len(pairs) > 1}
    if not twice:
        yield Verdict(found, _in_order((node for pairs in owners.values() for node, _ in pairs), answers), across=True)
    for value, pairs in twice.items():
        where = ", ".join(f"NPU {check.subject} of {node}" for node, check in pairs)
        check = found._replace(status="FAIL", seen=f"{value} on {where}", expected=expected, next=to_do)
        yield Verdict(check, _in_order((node for node, _ in pairs), answers), across=True)


_TWICE = "give one of them another address: with hccn_tool -i NPU -ip -s, in /etc/hccn.conf and in the spec"
_POD = re.compile(r"super pod (\S+), server (\S+), SDID (\S+)")
_NEW_POD = "have the super pod configured anew: a replaced part kept its old numbers"


def _super_pod(plan: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    """One super pod, a server index for each node, an SDID for each NPU: else HCCS has no path."""
    if not plan.accelerator.super_pod:
        return
    pods: dict[str, list[str]] = defaultdict(list)
    servers: dict[str, list[tuple[str, Check]]] = defaultdict(list)
    ids: dict[str, list[tuple[str, Check]]] = defaultdict(list)
    for answer in answers:
        for check in answer.named("super-pod"):
            if told := _POD.fullmatch(check.seen):
                pods[told[1]].append(answer.node)
                ids[f"SDID {told[3]}"].append((answer.node, check))
                if answer.node not in {node for node, _ in servers[told[2]]}:
                    servers[told[2]].append((answer.node, check))
    if len(pods) > 1:
        yield from _several_pods(pods, answers)
    by_server = {f"server index {index}": pairs for index, pairs in servers.items()}
    yield from _each_its_own(
        "super-pod[servers]", by_server, "every node has a server index of its own", _NEW_POD, answers
    )
    yield from _each_its_own("super-pod[nodes]", ids, "every NPU has an SDID of its own", _NEW_POD, answers)


def _several_pods(pods: Mapping[str, Sequence[str]], answers: Sequence[Answer]) -> Iterator[Verdict]:
    common = max(pods, key=lambda pod: len(pods[pod]))
    some = next(check for answer in answers for check in answer.named("super-pod"))
    for number, nodes in pods.items():
        if number != common:
            check = Check(
                "super-pod[pods]",
                "FAIL",
                f"super pod {number}",
                f"the super pod of the others: {common}",
                "take nodes of one super pod: between two of them there is no HCCS",
                some.by_hand,
                some.source,
            )
            yield Verdict(check, _in_order(nodes, answers), across=True)


# ---- Ways between the hosts ----------------------------------------------------------------------------


def _ways_are_open(_: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    """A node that another finds silent, though it answered us: it is up, and the way is blocked."""
    up = {answer.node for answer in answers if answer.checks}
    silent: dict[str, list[tuple[str, Check]]] = defaultdict(list)
    for answer in answers:
        for check in answer.named("reach"):
            if check.status == "warn" and check.subject in up:
                silent[check.subject].append((answer.node, check))
    for node, pairs in silent.items():
        check = pairs[0][1]._replace(
            id="reach[nodes]",
            status="FAIL",
            seen=f"{node} is up, and silent to these: {pairs[0][1].seen}",
            next="let both firewalls pass the ports of the bundle's README; look at the route: ip route get ADDRESS",
        )
        yield Verdict(check, _in_order((name for name, _ in pairs), answers), across=True)


# ---- Storage, clocks, versions -------------------------------------------------------------------------

_CACHE_SOURCE = "https://docs.vllm.ai/en/latest/serving/parallelism_scaling.html"


def _cache_is_shared(plan: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    """Says so when nobody could look: the nodes' own checks tell the rest."""
    asked = [answer for answer in answers if answer.named("cache")]
    if len(asked) > 1 and not any(check.subject == "shared" for answer in asked for check in answer.named("cache")):
        check = Check(
            "cache[shared]",
            "skip",
            f"{plan.head.name} left no mark in {plan.cache}, so nobody could look for it",
            by_hand="bash verify.sh --nonce WORD, with one WORD, on the head and then on the others",
            source=_CACHE_SOURCE,
        )
        yield Verdict(check, tuple(answer.node for answer in asked), across=True)


# Logs of nodes are put side by side by their time; ranks that are two minutes apart give up on each other.
CLOCK_WARN, CLOCK_FAIL = 2.0, 120.0  # seconds
_NTP = "let chrony or systemd-timesyncd follow one server everywhere"
_CLOCK_SOURCE = "https://github.com/vllm-project/vllm-ascend/issues/5461"


def _clocks_agree(_: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    told = sorted((answer.ahead, answer) for answer in answers if answer.ahead is not None)
    if len(told) < 2:  # noqa: PLR2004 - one alone agrees with itself
        return
    middle = told[len(told) // 2][0]
    off = [(ahead - middle, answer) for ahead, answer in told]
    found = Check("clock[nodes]", "ok", "", by_hand="date -u, on each node at once", source=_CLOCK_SOURCE)
    wrong = [(by, answer) for by, answer in off if abs(by) - answer.uncertainty > CLOCK_WARN]
    fine = [(by, answer) for by, answer in off if (by, answer) not in wrong]
    widest = max(abs(by) for by, _ in fine)
    nodes = _in_order((answer.node for _, answer in fine), answers)
    yield Verdict(found._replace(seen=f"within {max(widest, 0.1):.1f} s of each other"), nodes, across=True)
    for by, answer in wrong:
        check = found._replace(
            status="FAIL" if abs(by) > CLOCK_FAIL else "warn",
            seen=f"{abs(by):.0f} s {'ahead of' if by > 0 else 'behind'} the others",
            expected=f"at most {CLOCK_WARN:g} s off",
            next=_NTP,
        )
        yield Verdict(check, (answer.node,), across=True)


# github.com/vllm-project/vllm-ascend docs/source/community/versioning_policy.md: v0.11.0 is the first on CANN 8.3,
# which drivers of 24.1 are too old for: https://github.com/vllm-project/vllm-ascend/issues/5468
_CANN_83, _DRIVER_FOR_83 = (0, 11, 0), 25
_DRIVER_SOURCE = "https://github.com/vllm-project/vllm-ascend/issues/5468"


def _driver_fits_image(_: Plan, answers: Sequence[Answer]) -> Iterator[Verdict]:
    old: dict[tuple[str, str], list[str]] = defaultdict(list)
    for answer in answers:
        driver = next((check.seen for check in answer.named("driver") if check.status == "ok"), "")
        vllm = next((check.seen for check in answer.named("vllm")), "")
        release = re.search(r"vllm-ascend (\d+)\.(\d+)\.(\d+)", vllm)
        major = re.match(r"(\d+)\.", driver)
        if release and major and tuple(map(int, release.groups())) >= _CANN_83 and int(major[1]) < _DRIVER_FOR_83:
            old[driver, release[0]].append(answer.node)
    for (version, under), nodes in old.items():
        check = Check(
            "driver[image]",
            "warn",
            f"driver {version} under {under}",
            "driver 25.0 or newer: the image has CANN 8.3 or newer",
            "update the driver, or take an older image: with this pair HCCL was seen to fail at its start",
            "cat /usr/local/Ascend/driver/version.info",
            _DRIVER_SOURCE,
        )
        yield Verdict(check, _in_order(nodes, answers), across=True)


RULES = (_alike, _addresses_are_unique, _super_pod, _ways_are_open, _cache_is_shared, _clocks_agree, _driver_fits_image)
