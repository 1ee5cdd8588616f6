"""What a spec may not say although each field of it is well formed: one function a rule, all run, in order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compiler.arguments import arguments_are_vllms
from compiler.diagnostics import Diagnostic, counted, error, warning
from compiler.facts import accelerator, accelerator_names
from compiler.images import image_fits, release_is_known
from compiler.plan import AUTOSCALER_METRICS, DASHBOARD_METRICS, LABEL_PREFIX, size_bytes
from compiler.said import docker_of, env_of, interface_of, npu_addresses_of, npus_of
from compiler.served import (
    architecture_is_known,
    context_holds,
    hardware_runs_the_weights,
    model_is_known,
    quantisation_is_the_platforms,
)
from compiler.spread import hbm_is_one, nodes_are_alike, partition_is_one, sizes_multiply_out, spread_is_sound
from compiler.subject import Subject, config_is_one
from compiler.troubles import known_to_fail
from schema.accelerator import Accelerator, Refused
from schema.cluster import FirstAddress, UlimitSpec
from schema.suggest import did_you_mean
from schema.text import MAX_ENV_LINE, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from compiler.diagnostics import Path
    from compiler.subject import Rule
    from schema.cluster import Cluster

# Computed from one field each, so that a spec cannot make them disagree.
COMPUTED_ENV = {
    "HCCL_IF_IP": "it comes from the node's `address`",
    "VLLM_HOST_IP": "it comes from the node's `address`",
    "HCCL_SOCKET_IFNAME": "it comes from the node's `interface`",
    "GLOO_SOCKET_IFNAME": "it comes from the node's `interface`",
    "TP_SOCKET_IFNAME": "it comes from the node's `interface`",
    "ASCEND_RT_VISIBLE_DEVICES": "it comes from the node's `npus`",
    "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES": "it is always 1: without it Ray hides NPUs from vLLM",
    "HCCL_IF_BASE_PORT": "it comes from `ports.hccl_base`",
}
# Compose and Docker read these for themselves when a folder's env file is given to them.
_READERS_OWN_ENV = re.compile(r"(?:COMPOSE|DOCKER|BUILDKIT)_.*")
_SECRET_ENV = re.compile(r".*(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)", re.IGNORECASE)
# CANN's documented ranges: https://www.hiascend.com/document/detail/en/canncommercial/850/maintenref/envvar
_ENV_RANGES = {
    "HCCL_CONNECT_TIMEOUT": (120, 7200),
    "HCCL_BUFFSIZE": (1, 999_999),  # CANN names no most; this is more than any NPU has
    "HCCL_RDMA_SL": (0, 7),
    "HCCL_RDMA_TIMEOUT": (5, 24),
    "HCCL_RDMA_RETRY_CNT": (1, 7),
    "HCCL_RDMA_QPS_PER_CONNECTION": (1, 8),
}
# docker/go-units `ulimit.go`: Docker refuses any other name.
_ULIMIT_NAMES = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
_LEAST_SHM = 10 * 2**30  # Ray's object store takes up to 10 GB and falls back to /tmp below that


def judge(subject: Subject, rules: tuple[Rule, ...]) -> tuple[Diagnostic, ...]:
    """Everything that the rules find, errors and warnings."""
    return tuple(found for rule in rules for found in rule(subject))


def _accelerator_runs_this(subject: Subject) -> Iterator[Diagnostic]:
    name = subject.cluster.accelerator
    known = accelerator(name)
    if known is None:
        names = [each for each in accelerator_names() if isinstance(accelerator(each), Accelerator)]
        hint = did_you_mean(name, accelerator_names()) or f"the accelerators are {', '.join(names)}"
        yield error("unknown-accelerator", ("accelerator",), f"{shown(name)} is no accelerator known here", hint)
    elif isinstance(known, Refused):
        message = f"{known.title} cannot run this: {known.reason}"
        yield error("refused-accelerator", ("accelerator",), message, f"see {known.sources[0]}")


def _names_are_unique(subject: Subject) -> Iterator[Diagnostic]:
    seen: dict[str, int] = {}
    for index, node in enumerate(subject.cluster.nodes):
        first = seen.setdefault(node.name, index)
        if first != index:
            hint = "every node needs its own name; the first one is at {there}"
            path, there = ("nodes", index, "name"), ("nodes", first, "name")
            yield error("duplicate-name", path, f"{node.name} is already the name of a node", hint, related=there)


def _addresses_are_unique(subject: Subject) -> Iterator[Diagnostic]:
    seen: dict[str, int] = {}
    nodes = subject.cluster.nodes
    for index, node in enumerate(nodes):
        first = seen.setdefault(node.address, index)
        if first != index:
            other = nodes[first].name
            hint = f"every node needs its own address; {other} has this one at {{there}}"
            path, there = ("nodes", index, "address"), ("nodes", first, "address")
            message = f"{node.address} is already the address of {other}"
            yield error("duplicate-address", path, message, hint, related=there)


def _interfaces_are_named(subject: Subject) -> Iterator[Diagnostic]:
    for index, node in enumerate(subject.cluster.nodes):
        if interface_of(node, subject.cluster) is None:
            hint = "name it in `defaults`, or here; `ip -4 addr` on the node shows which one owns the address"
            yield error("missing-interface", ("nodes", index), f"{node.name} has no interface", hint)


def _one_head(subject: Subject) -> Iterator[Diagnostic]:
    nodes = subject.cluster.nodes
    heads = [index for index, node in enumerate(nodes) if node.role == "head"]
    for index in heads[1:]:
        path, there = ("nodes", index, "role"), ("nodes", heads[0], "role")
        hint = f"one node is the head; {nodes[heads[0]].name} is it at {{there}}"
        yield error("several-heads", path, f"{nodes[index].name} is a second head", hint, related=there)
    if all(node.role == "worker" for node in nodes):
        yield error("no-head", ("nodes", 0, "role"), "every node is a worker", "give one `role: head`")


def _npus_exist(subject: Subject) -> Iterator[Diagnostic]:
    cluster, known = subject[:2]
    if known is None:
        return
    written = [(("defaults", "npus"), cluster.defaults.npus)]
    written += [(("nodes", index, "npus"), node.npus) for index, node in enumerate(cluster.nodes)]  # type: ignore[misc]
    for path, npus in written:
        if npus is None:
            continue
        if not npus:
            yield error("npus", path, "names no NPU", f"name some of 0 to {known.npus - 1}, or leave it out for all")
        for position, npu in enumerate(npus):
            if not 0 <= npu < known.npus:
                message = f"{npu} is no NPU of {known.name}"
                yield error("npus", (*path, position), message, f"its ids are 0 to {known.npus - 1}")
            elif position and npu <= npus[position - 1]:
                message = f"{npu} follows {npus[position - 1]}"
                yield error(
                    "npus",
                    (*path, position),
                    message,
                    "list each id once, ascending: addresses go by this order",
                )
        unused = sorted(set(range(known.npus)) - set(npus))
        if unused and npus:
            message = f"NPUs {', '.join(map(str, unused))} stay idle"
            yield warning("idle-npus", path, message, "leave `npus` out to use all of them")


def _npu_addresses_fit(subject: Subject) -> Iterator[Diagnostic]:
    cluster, known = subject[:2]
    if known is None:
        return
    for index, node in enumerate(cluster.nodes):
        path: Path = ("nodes", index, "npu_addresses")
        npus = npus_of(node, cluster, known)
        written = node.npu_addresses
        if written is None:
            if len(cluster.nodes) > 1:
                query = " ".join(known.network.address_query)
                hint = f"`compiler discover` writes them in; `hccn_tool -i 0 {query}` on the node prints the first"
                message = f"{node.name} has no npu_addresses, so they cannot be checked nor pinged across nodes"
                yield warning("no-npu-addresses", ("nodes", index), message, hint)
        elif isinstance(written, FirstAddress):
            yield from _consecutive(written, len(npus), known, path)
        elif len(written) != len(npus):
            off = len(npus) - len(written)
            count = f"{counted(len(written), 'address', 'addresses')} for {counted(len(npus), 'NPU')}"
            message = f"{count}: {off} missing" if off > 0 else f"{count}: {-off} too many"
            yield error("npu-address-count", path, message, f"one per NPU, in the order {_listed(npus)}")


def _consecutive(first: FirstAddress, npus: int, known: Accelerator, path: Path) -> Iterator[Diagnostic]:
    last_octet = int(first.first.rpartition(".")[2])
    if last_octet + npus - 1 > 254:  # noqa: PLR2004 - .255 is a broadcast address
        message = f"{npus} addresses from {first.first} on do not fit before .255"
        yield error("npu-address-count", (*path, "first"), message, "list the addresses one by one")
    if known.super_pod:
        message = f"virtual NIC addresses of {known.name} are rarely consecutive: 192.SERVER.(2 + die).(199 - device)"
        hint = f"list what `hccn_tool -i N {' '.join(known.network.address_query)}` prints for each NPU"
        yield warning("consecutive-addresses", (*path, "first"), message, hint)


def _listed(npus: tuple[int, ...]) -> str:
    return ", ".join(map(str, npus))


def _npu_addresses_are_unique(subject: Subject) -> Iterator[Diagnostic]:
    cluster, known = subject[:2]
    if known is None:
        return
    hosts = {node.address: node.name for node in cluster.nodes}
    every = [npu_addresses_of(node, len(npus_of(node, cluster, known))) for node in cluster.nodes]
    if len(set(hosts).union(*every)) == len(hosts) + sum(map(len, every)):
        return  # all differ; to say where two do not takes ten times as long
    seen: dict[str, Path] = {}
    for index, node in enumerate(cluster.nodes):
        path: Path = ("nodes", index, "npu_addresses")
        listed = isinstance(node.npu_addresses, list)
        for position, address in enumerate(every[index]):
            here = (*path, position) if listed else (*path, "first")
            if address in hosts:
                message = f"{address} is the address of {hosts[address]} itself"
                yield error("duplicate-npu-address", here, message, "an NPU has an address of its own")
            there = seen.setdefault(address, here)
            if there is not here:
                hint = f"every NPU needs its own address; {cluster.nodes[_index(there)].name} has this one at {{there}}"
                message = f"{address} is already the address of another NPU"
                yield error("duplicate-npu-address", here, message, hint, related=there)


def _index(path: Path) -> int:
    return int(path[1])


HCCL_PORTS = 16  # HCCL_IF_BASE_PORT and the 15 after it


def _ports_are_distinct(subject: Subject) -> Iterator[Diagnostic]:
    ports = subject.cluster.ports
    first, last = ports.worker_range
    if first >= last:
        message = f"the first port {first} is not below the last {last}"
        yield error("port-range", ("ports", "worker_range"), message, "Ray wants the lower one first")
    taken: list[tuple[int, int, str, Path]] = [(first, last, "ports.worker_range", ("ports", "worker_range"))]
    base = ports.hccl_base
    fixed: list[tuple[int, int, str, Path]] = [
        (getattr(ports, name), getattr(ports, name), f"ports.{name}", ("ports", name))
        for name in ports.fields
        if name not in ("worker_range", "hccl_base")
    ]
    fixed.append((base, base + HCCL_PORTS - 1, "ports.hccl_base", ("ports", "hccl_base")))
    fixed.append((subject.cluster.serve.port, subject.cluster.serve.port, "serve.port", ("serve", "port")))
    taken += [
        (port, port, "a port that Ray's head takes for its metrics", ("ports",))
        for port in (AUTOSCALER_METRICS, DASHBOARD_METRICS)
    ]
    for low, high, owner, path in fixed:
        for other_low, other_high, other, other_path in taken:
            if low <= other_high and other_low <= high:
                yield _port_clash((low, high, owner, path), (other_low, other_high, other, other_path), subject.cluster)
                break
        taken.append((low, high, owner, path))


def _port_clash(this: tuple[int, int, str, Path], other: tuple[int, int, str, Path], cluster: Cluster) -> Diagnostic:
    """The clash, at the end of it that the spec wrote: the other one may be a default."""
    if not _written(this[3], cluster) and _written(other[3], cluster):
        this, other = other, this
    low, high, owner, path = this
    their_low, their_high, other_owner, other_path = other
    here, theirs = _port_text(low, high), _port_text(their_low, their_high)
    if low == high == their_low == their_high:
        message = f"{here} is {other_owner} already"
    elif low == high:
        message = f"{here} lies in {theirs}, which is {other_owner}"
    else:
        message = f"{here}, which is {owner}, overlaps {theirs}, which is {other_owner}"
    where = "is at {there}" if _written(other_path, cluster) else f"is {theirs} unless the spec says otherwise"
    hint = f"every port of a node has one owner; {other_owner} {where}"
    return error("port-clash", path, message, hint, related=other_path)


def _port_text(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _written(path: Path, cluster: Cluster) -> bool:
    room = cluster.ports if path[0] == "ports" else cluster.serve
    return len(path) > 1 and path[1] in room.written


def _env_is_ours_to_give(subject: Subject) -> Iterator[Diagnostic]:
    cluster = subject.cluster
    for path, env in _environments(cluster):
        for name, value in env.items():
            here = (*path, name)
            if name in COMPUTED_ENV:
                yield error("computed-env", here, "is computed", COMPUTED_ENV[name], at_key=True)
            elif _READERS_OWN_ENV.fullmatch(name):
                hint = "Compose and Docker read variables of this name for themselves"
                yield error("reserved-env", here, "cannot be given to the container", hint, at_key=True)
            elif name in cluster.secrets:
                message = f"{name} is a secret and an ordinary variable"
                yield error("computed-env", here, message, "keep it under `secrets` alone", at_key=True)
            elif _SECRET_ENV.fullmatch(name) and value:
                message = "looks like a secret, and this value would stand in the generated files"
                hint = f"pass it through: secrets: {{{name}: {{from_env: {name}}}}}"
                yield error("secret-in-env", here, message, hint, at_key=True, secret=True)
            elif len(f"{name}={value}".encode()) > MAX_ENV_LINE:
                message = f"{name} and its value are longer than the 64 KiB that docker's --env-file reads"
                yield error("env-value", here, message, "put it in a mounted file")
            yield from _env_in_range(here, name, value)
    for name in cluster.secrets:
        if name in COMPUTED_ENV or _READERS_OWN_ENV.fullmatch(name):
            hint = COMPUTED_ENV.get(name, "Compose and Docker read variables of this name for themselves")
            yield error("computed-env", ("secrets", name), f"{name} is no secret", hint, at_key=True)


def _environments(cluster: Cluster) -> Iterator[tuple[Path, dict[str, str]]]:
    yield ("env",), cluster.env
    yield ("defaults", "env"), cluster.defaults.env
    for index, node in enumerate(cluster.nodes):
        if node.env:
            yield ("nodes", index, "env"), node.env


def _env_in_range(path: Path, name: str, value: str) -> Iterator[Diagnostic]:
    if name not in _ENV_RANGES:
        return
    least, most = _ENV_RANGES[name]
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None  # noqa: PLR2004
    if number is None or number < least or (most is not None and number > most):
        wanted = f"{least} to {most}" if most is not None else f"{least} or more"
        yield error("env-range", path, f"is {value!r} and must be a whole number, {wanted}")


def _one_path_inside_a_server(subject: Subject) -> Iterator[Diagnostic]:
    for index, node in enumerate(subject.cluster.nodes):
        env = env_of(node, subject.cluster)
        if env.get("HCCL_INTRA_PCIE_ENABLE") == "1" and env.get("HCCL_INTRA_ROCE_ENABLE") == "1":
            name = "HCCL_INTRA_ROCE_ENABLE"
            path = next(
                (*path, name)
                for path, given in (
                    (("nodes", index, "env"), node.env),
                    (("defaults", "env"), subject.cluster.defaults.env),
                    (("env",), subject.cluster.env),
                )
                if name in given
            )
            hint = "HCCL takes PCIe or RoCE inside a server, not both; set one of them to 0"
            yield error("env-range", path, f"{name} and HCCL_INTRA_PCIE_ENABLE are both 1", hint)
            return


def _mounts_do_not_clash(subject: Subject) -> Iterator[Diagnostic]:
    cluster, known = subject[:2]
    container = cluster.container
    taken: dict[str, Path] = {"/root/.cache": ("cache",)}
    ours = {target for _, target in known.mounts} if known else set()
    ours.add("/usr/local/bin/npu-smi")
    for index, mount in enumerate(container.mounts):
        path: Path = ("container", "mounts", index, "target")
        target = mount.target.rstrip("/")
        if target in ("/dev", "/proc", "/sys") or target.startswith(("/dev/", "/proc/", "/sys/")):
            hint = "it would hide the NPUs, or be refused by Docker; choose another target"
            yield error("mount-clash", path, f"{target} belongs to the kernel", hint)
        elif target in ours:
            yield error(
                "mount-clash",
                path,
                f"{target} is mounted already",
                "every container of this accelerator has it",
            )
        elif target in taken:
            there = taken[target]
            hint = "two mounts cannot share a target; the other one is at {there}"
            yield error("mount-clash", path, f"{target} is mounted already", hint, related=there)
        taken.setdefault(target, path)
    for index, device in enumerate(container.devices):
        if device in container.devices[:index] or _is_npu(device, known):
            path = ("container", "devices", index)
            yield error("device-clash", path, f"{device} is given already", "NPUs are given by `npus`; remove it here")


def _is_npu(device: str, known: Accelerator | None) -> bool:
    return known is not None and (device in known.management_devices or device.startswith(known.device.format(npu="")))


def _ulimits_are_dockers(subject: Subject) -> Iterator[Diagnostic]:
    for name, limit in subject.cluster.container.ulimits.items():
        path = ("container", "ulimits", name)
        if name not in _ULIMIT_NAMES:
            hint = did_you_mean(name, _ULIMIT_NAMES) or f"Docker knows {', '.join(_ULIMIT_NAMES)}"
            yield error("ulimit", path, "is no limit that Docker knows", hint, at_key=True)
        if isinstance(limit, UlimitSpec) and limit.hard != -1 and not 0 <= limit.soft <= limit.hard:
            yield error("ulimit", path, f"the soft limit {limit.soft} exceeds the hard limit {limit.hard}")


def _privileged_numbers_have_no_gaps(subject: Subject) -> Iterator[Diagnostic]:
    cluster, known = subject[:2]
    if not cluster.container.privileged or known is None:
        return
    for index, node in enumerate(cluster.nodes):
        npus = npus_of(node, cluster, known)
        if npus and npus[-1] - npus[0] != len(npus) - 1:
            path = ("nodes", index, "npus") if node.npus is not None else ("defaults", "npus")
            message = f"a privileged container sees all NPUs, and gaps as in {_listed(npus)} were silently dropped"
            hint = "choose neighbours, or leave `privileged` out: github.com/vllm-project/vllm-ascend/pull/10227"
            yield warning("npu-gaps", path, message, hint)


def _nodes_share_a_network(subject: Subject) -> Iterator[Diagnostic]:
    nodes = subject.cluster.nodes
    first = nodes[0].address.split(".")[:2]
    for index, node in enumerate(nodes[1:], start=1):
        if node.address.split(".", 2)[:2] != first:
            message = f"{node.address} is far from {nodes[0].address} of {nodes[0].name}"
            hint = (
                "the guide wants all nodes on one LAN; nodes in different subnets were seen to hang: "
                "github.com/vllm-project/vllm-ascend/issues/5949"
            )
            yield warning("different-networks", ("nodes", index, "address"), message, hint)
            return


def _shm_holds_the_object_store(subject: Subject) -> Iterator[Diagnostic]:
    size = subject.cluster.container.shm_size
    if size_bytes(size) < _LEAST_SHM:
        message = f"{size} is less than Ray's object store takes; it would use /tmp, which is slow"
        yield warning("small-shm", ("container", "shm_size"), message, "16g is the default; 10g is the least")


def _labels_are_not_ours(subject: Subject) -> Iterator[Diagnostic]:
    cluster = subject.cluster
    rooms: list[tuple[Path, Iterable[str]]] = [(("defaults", "labels"), cluster.defaults.labels)]
    rooms += [(("nodes", index, "labels"), node.labels) for index, node in enumerate(cluster.nodes)]
    for path, labels in rooms:
        for name in labels:
            if name.startswith((LABEL_PREFIX, "com.docker.compose.")):
                hint = "the compiler and Compose find their containers by labels of this prefix"
                yield error("reserved-label", (*path, name), "may not be given", hint, at_key=True)


RULES = (
    _accelerator_runs_this,
    image_fits,
    release_is_known,
    _names_are_unique,
    _addresses_are_unique,
    _interfaces_are_named,
    _one_head,
    _npus_exist,
    _npu_addresses_fit,
    _npu_addresses_are_unique,
    config_is_one,
    model_is_known,
    architecture_is_known,
    context_holds,
    hardware_runs_the_weights,
    quantisation_is_the_platforms,
    nodes_are_alike,
    hbm_is_one,
    sizes_multiply_out,
    partition_is_one,
    spread_is_sound,
    known_to_fail,
    _ports_are_distinct,
    _env_is_ours_to_give,
    _one_path_inside_a_server,
    arguments_are_vllms,
    _mounts_do_not_clash,
    _ulimits_are_dockers,
    _privileged_numbers_have_no_gaps,
    _nodes_share_a_network,
    _shm_holds_the_object_store,
    _labels_are_not_ours,
)


def _nodes_can_be_reached(subject: Subject) -> Iterator[Diagnostic]:
    """Only commands that ask nodes need this; a bundle can be copied by hand."""
    for index, node in enumerate(subject.cluster.nodes):
        if not docker_of(node, subject.cluster):
            hint = "under defaults write docker: ssh://root@{address}, or tcp://{address}:2376, or unix:///var/run/docker.sock"
            yield error("no-docker", ("nodes", index), f"{node.name} does not say how its Docker is reached", hint)
            return


# `discover` writes what these would miss, or find wrong.
_DISCOVERED = (_interfaces_are_named, _npu_addresses_fit, _npu_addresses_are_unique)
RULES_FOR = {
    "render": RULES,
    "reach": (*RULES, _nodes_can_be_reached),
    "discover": (*(rule for rule in RULES if rule not in _DISCOVERED), _nodes_can_be_reached),
}

# These judge a part by itself or two parts against each other: what they find in the sound parts of a spec
# holds for the whole. The others judge the whole, and would speak of what is missing only because it was faulty.
RULES_OF_A_PART = tuple(
    rule
    for rule in RULES
    if rule
    not in (
        release_is_known,
        _interfaces_are_named,
        _npu_addresses_fit,
        model_is_known,
        nodes_are_alike,
        sizes_multiply_out,
        spread_is_sound,
        known_to_fail,
    )
)
