"""Cluster to Plan: every fact computed, nothing decided later."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from compiler import plan as p
from compiler import said
from compiler.arguments import vllm_release
from compiler.buffers import BUFFER_MB, buffer_mb
from compiler.container import definition
from compiler.deployment import deployment_of
from compiler.flags import flags_of, words
from compiler.holes import symbolic
from compiler.parallelism import asked
from compiler.plan import LABEL_PREFIX
from compiler.ray import ray_start
from compiler.rules import HCCL_PORTS
from schema.cluster import UlimitSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.deployment import Deployment
    from compiler.subject import Subject
    from schema.accelerator import Accelerator
    from schema.cluster import Cluster, Node

# Up to this many pings a node, every NPU pings every NPU of all other nodes: 2 to 5 nodes of 8 NPUs, 2 of 16.
# Above, each NPU pings the one of its rank on PEERS other nodes.
FULL_PINGS = 256
# Steps round the ring of nodes. With 1 among them all nodes are joined; the others find what a ring would miss.
PEERS = (1, 2, 3)

# RLIMIT_MEMLOCK of 64 MiB is inherited even by privileged containers, and NPU memory is pinned; each Ray
# worker and connection holds a file:
# https://docs.ray.io/en/releases-2.48.0/cluster/vms/user-guides/large-cluster-best-practices.html
_ULIMITS = {"memlock": -1, "nofile": 1_048_576}


def lower(subject: Subject) -> p.Plan:
    """The plan of a cluster that the rules found no error in."""
    cluster, accelerator, where = subject.cluster, subject.accelerator, deployment_of(subject)
    assert accelerator is not None, "the rules refuse any other"  # noqa: S101
    assert where is not None, "the rules refuse nodes that are not alike"  # noqa: S101
    head = said.head_index(cluster)
    ports, timeouts = _ports(cluster), p.Timeouts(**vars(cluster.timeouts))
    container = _container(cluster)
    sizes = asked(cluster.serve.parallelism, where)
    defaults = _defaults(cluster, where, sizes.tensor)
    shapes = _Shapes(cluster, accelerator, ports, defaults)
    drafts = [shapes.draft(node, is_head=index == head) for index, node in enumerate(cluster.nodes)]
    hashes = _Hashes(container, timeouts)
    pairs = zip(drafts, _peers(drafts, head), strict=True)
    nodes = tuple([_finished(draft, *met, cluster.name, hashes) for draft, met in pairs])
    return p.Plan(
        name=cluster.name,
        accelerator=accelerator,
        hbm=where.hbm,
        container=container,
        cache=cluster.cache,
        ports=ports,
        timeouts=timeouts,
        parallelism=sizes,
        serve=_serve(subject, sizes, shapes.mounts, where),
        nodes=nodes,
        spec_digest=_spec_digest(subject),
    )


def _spec_digest(subject: Subject) -> str:
    """Of all that the plan comes from: the spec, and the config.json that it names, as far as it counts."""
    written = _in_order(subject.cluster)
    facts = subject.cluster.model
    config = facts if isinstance(facts, str) else facts and facts.config
    return _digest([written, subject.model] if config else written)


def _ports(cluster: Cluster) -> p.Ports:
    written = cluster.ports
    first, last = written.worker_range
    single = {name: port for name, port in vars(written).items() if name not in ("worker_range", "hccl_base")}
    return p.Ports(
        **single,
        worker_first=first,
        worker_last=last,
        hccl_first=written.hccl_base,
        hccl_last=written.hccl_base + HCCL_PORTS - 1,
        serve=cluster.serve.port,
    )


def _container(cluster: Cluster) -> p.Container:
    written = cluster.container
    return p.Container(
        name=cluster.name,
        image=cluster.image,
        shm_size=written.shm_size,
        init=written.init,
        privileged=written.privileged,
        ulimits=tuple(_ulimit(name, limit) for name, limit in {**_ULIMITS, **written.ulimits}.items()),
    )


def _ulimit(name: str, limit: int | UlimitSpec) -> p.Ulimit:
    if isinstance(limit, UlimitSpec):
        return p.Ulimit(name, limit.soft, limit.hard)
    return p.Ulimit(name, limit, limit)


def _serve(subject: Subject, sizes: p.Parallelism, mounts: tuple[p.Mount, ...], where: Deployment) -> p.Serve:
    """The guide's command: computed sizes first, then the spec's flags in the spec's order."""
    written, flags = subject.cluster.serve, flags_of(vllm_release(subject))
    lines = [("vllm", "serve", written.model), ("--distributed-executor-backend", "ray")]
    if sizes.pipeline > 1:
        lines.append(("--pipeline-parallel-size", str(sizes.pipeline)))
    lines.append(("--tensor-parallel-size", str(sizes.tensor)))
    given = (words(name, value, flags.get(name)) for name, value in written.args.items())
    lines += [line for line in given if line]  # a switch that is off by itself needs no word
    if written.port != 8000:  # noqa: PLR2004 - vLLM's own default needs no flag, and the guide has none
        lines.append(("--port", str(written.port)))
    served = written.args.get("served-model-name", written.model)
    return p.Serve(
        model=written.model,
        served_name=str(served[0] if isinstance(served, list) else served),
        lines=tuple(lines),
        port=written.port,
        model_folder=_on_host(written.model, mounts),
        memory_percent=round(100 * where.share),
    )


def _on_host(path: str, mounts: tuple[p.Mount, ...]) -> str:
    """Where the host keeps what the container sees at `path`; empty for what it does not keep."""
    below = [mount for mount in mounts if path.startswith(mount.target.rstrip("/") + "/")]
    if not below:
        return ""
    nearest = max(below, key=lambda mount: len(mount.target))
    return nearest.source.rstrip("/") + path[len(nearest.target.rstrip("/")) :]


class _Shapes:
    """Makes one Shape for all nodes that have it in common."""

    def __init__(
        self, cluster: Cluster, accelerator: Accelerator, ports: p.Ports, defaults: Mapping[str, tuple[str, str]]
    ) -> None:
        self.cluster = cluster
        self.accelerator = accelerator
        self.ports = ports
        self.head_address = cluster.nodes[said.head_index(cluster)].address
        self.mounts = _mounts(cluster, accelerator)
        self.defaults = defaults
        self.secrets = tuple(p.Secret(name, each.from_env) for name, each in cluster.secrets.items())
        self.own_env = dict.fromkeys(name for node in cluster.nodes for name in node.env)
        # What holds for nodes that say nothing of their own: most nodes of a large cluster.
        self.env = said.common_env(cluster)
        self.names = tuple(self.env), tuple(cluster.defaults.labels)
        self.made: dict[object, tuple[p.Shape, tuple[str, ...]]] = {}

    def draft(self, node: Node, *, is_head: bool) -> _Draft:
        """The node, its shape and its own strings."""
        cluster = self.cluster
        env, labels, names = self.env, cluster.defaults.labels, self.names
        if node.env or node.labels:
            env, labels = {**env, **node.env}, {**labels, **node.labels}
            names = tuple(env), tuple(labels)
        npus = said.npus_of(node, cluster, self.accelerator)
        key = (is_head, npus, names)
        if key not in self.made:
            self.made[key] = self._make("head" if is_head else "worker", npus, *names), self._values(npus, env)
        shape, alike = self.made[key]
        interface = said.interface_of(node, cluster) or ""
        address = node.address
        values = (address, f"={interface}", interface, interface, address, *alike, *env.values())
        docker = said.docker_of(node, cluster)
        return _Draft(node, shape, interface, docker, values, labels, said.npu_addresses_of(node, len(npus)))

    def _values(self, npus: tuple[int, ...], env: Mapping[str, str]) -> tuple[str, ...]:
        """Of the computed variables and the defaults, the values that all nodes of a shape have."""
        container, base = self.cluster.container, self.cluster.ports.hccl_base
        unset = (value for name, (value, _) in self.defaults.items() if name not in env)
        return (_visible(npus, privileged=container.privileged), "1", str(base), *unset)

    def _make(self, role: p.Role, npus: tuple[int, ...], env: tuple[str, ...], labels: tuple[str, ...]) -> p.Shape:
        npu_devices = tuple(self.accelerator.device.format(npu=npu) for npu in npus)
        nodes = len(self.cluster.nodes)
        unset = tuple((name, why) for name, (_, why) in self.defaults.items() if name not in env)
        variables = _COMPUTED + unset + tuple((name, _GIVEN) for name in env)
        return p.Shape(
            role=role,
            npus=npus,
            npu_devices=npu_devices,
            devices=(*npu_devices, *self.accelerator.management_devices, *self.cluster.container.devices),
            mounts=self.mounts,
            variables=variables,
            own_variables=(*_OWN, *self.own_env),
            secrets=self.secrets,
            label_names=(*(LABEL_PREFIX + name for name in _LABELS), *labels),
            ports=tuple(port for port in self.ports.listening() if role == "head" or not port.head_only),
            ray_start=ray_start(role, self.head_address, self.ports),
            every_pair=(nodes - 1) * len(npus) * self.accelerator.npus <= FULL_PINGS,
        )


# Every computed variable, and why it is there, in the order of the files.
_COMPUTED = (
    ("HCCL_IF_IP", "the address that HCCL bootstraps over; the same one that Ray knows this node by"),
    ("HCCL_SOCKET_IFNAME", "exactly this interface (=): without the sign eth1 would also match eth10"),
    ("GLOO_SOCKET_IFNAME", "the interface for Gloo; it would take the one that the hostname resolves to"),
    ("TP_SOCKET_IFNAME", "the interface for TensorPipe"),
    ("VLLM_HOST_IP", "vLLM must see this node at the address that Ray has, or it waits for ever for a place"),
    ("ASCEND_RT_VISIBLE_DEVICES", "the NPUs that Ray counts and vLLM uses, by the container's own numbers"),
    (
        "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES",
        "else Ray hides all NPUs but one from each worker: error 107001",
    ),
    ("HCCL_IF_BASE_PORT", "the first of the 16 ports that HCCL listens on, pinned for the firewall"),
)
_OWN = tuple(name for name, _ in _COMPUTED[:6])


def _defaults(cluster: Cluster, where: Deployment, tensor: int) -> dict[str, tuple[str, str]]:
    """Variables that are set unless the spec sets them: the value, and why."""
    defaults = {
        "HCCL_CONNECT_TIMEOUT": (
            "1200",
            "seconds; ranks load for minutes apart, and after 120 HCCL gives up with EI0006",
        ),
        "VLLM_ENGINE_READY_TIMEOUT_S": (
            str(cluster.timeouts.serve_ready),
            "seconds; large weights load longer than the 600 that vLLM waits by itself",
        ),
    }
    needed = buffer_mb(where, tensor)
    if needed != BUFFER_MB:
        defaults["HCCL_BUFFSIZE"] = (str(needed), f"MB; expert parallelism needs more than HCCL's own {BUFFER_MB}")
    return defaults


_GIVEN = "from the spec"


_LABELS = ("name", "node", "role", "config-hash")


def _mounts(cluster: Cluster, accelerator: Accelerator) -> tuple[p.Mount, ...]:
    ours = [p.Mount(source, target, read_only=True) for source, target in accelerator.mounts]
    npu_smi = p.Mount(cluster.container.npu_smi, "/usr/local/bin/npu-smi", read_only=True)
    cache = p.Mount(cluster.cache, "/root/.cache", read_only=False)
    extra = (p.Mount(each.source, each.target, each.read_only) for each in cluster.container.mounts)
    return (*ours, npu_smi, cache, *extra)


class _Draft(NamedTuple):
    """A node before it is known whom it pings."""

    node: Node
    shape: p.Shape
    interface: str
    docker: str
    values: tuple[str, ...]
    labels: Mapping[str, str]
    npu_addresses: tuple[str, ...]


def _visible(npus: tuple[int, ...], *, privileged: bool) -> str:
    """The NPUs as the container numbers them: those given to it, from 0 on; a privileged one sees all.

    github.com/vllm-project/vllm-ascend/pull/16256: host devices 3 to 7 are 0 to 4 in their container.
    """
    return ",".join(str(npu) for npu in (npus if privileged else range(len(npus))))


def _peers(drafts: list[_Draft], head: int) -> Iterator[tuple[tuple[p.Peer, ...], tuple[str, ...]]]:
    """For each node whom it pings, all others of a small cluster or the next few; and the head, if not among them."""
    count = len(drafts)
    if all(draft.shape.every_pair for draft in drafts):
        steps: Sequence[int] = range(1, count)
    else:
        steps = [step for step in PEERS if step < count]
    pinged = [_peer(each, pinged=True) for each in drafts]
    whole = all(draft.npu_addresses for draft in drafts)
    reached = pinged if whole else [_peer(each, pinged=False) for each in drafts]
    knowing = {head, *((head - step) % count for step in steps)}
    told = (drafts[head].node.name, drafts[head].node.address)
    for index, draft in enumerate(drafts):
        peers = pinged if draft.npu_addresses else reached
        yield tuple([peers[(index + step) % count] for step in steps]), () if index in knowing else told


def _peer(draft: _Draft, *, pinged: bool) -> p.Peer:
    addresses = draft.npu_addresses if pinged else ()
    return p.Peer(draft.node.name, draft.node.address, draft.shape.npus if addresses else (), addresses)


class _Hashes:
    """The hash of what a container is started from: equal hash, nothing to do.

    The part that nodes of a shape share is hashed once, with holes for what is their own.
    """

    def __init__(self, container: p.Container, timeouts: p.Timeouts) -> None:
        self.container = container
        self.timeouts = timeouts
        self.shared: dict[int, str] = {}

    def of(self, shape: p.Shape, own: Sequence[str], unhashed: Callable[[], p.NodePlan]) -> str:
        """The hash, in hex, of a node of this shape; the node itself, with no hash yet, is wanted once a shape."""
        shared = self.shared.get(id(shape))
        if shared is None:
            shared = _digest(definition(self.container, self.timeouts, symbolic(unhashed())))
            self.shared[id(shape)] = shared
        # None of them holds a NUL, and of which there are how many, the shared part tells.
        return hashlib.sha256("\0".join((shared, *own)).encode()).hexdigest()


def _finished(
    draft: _Draft, peers: tuple[p.Peer, ...], head: tuple[str, ...], cluster: str, hashes: _Hashes
) -> p.NodePlan:
    node, shape, interface, docker, values, labels, npu_addresses = draft
    name, address, given = node.name, node.address, labels.values()

    def finished(config_hash: str) -> p.NodePlan:
        own_labels = (cluster, name, shape.role, config_hash, *given)
        return p.NodePlan(shape, name, address, interface, docker, values, own_labels, npu_addresses, peers, head)

    own = (name, address, *values, cluster, name, shape.role, "", *given)
    return finished(hashes.of(shape, own, lambda: finished("")))


def _digest(value: object) -> str:
    """sha256 of the value as JSON, in hex."""
    return hashlib.sha256(_compact(value).encode()).hexdigest()


_compact = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
_in_order = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=vars).encode  # records as mappings
