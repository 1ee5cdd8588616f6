"""The Plan: every fact about the cluster, computed and frozen; the only thing that templates see.

A template that lacks a fact shows that a field is missing here. What nodes have in common is one
shared `Shape`; what differs is a string in `NodePlan`. So the text around those strings is rendered
once for each shape, however many nodes there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from schema.accelerator import Accelerator, Hbm

Role = Literal["head", "worker"]
# Every label of ours begins so; a spec cannot set one.
LABEL_PREFIX = "ascend-cluster."


class Parallelism(NamedTuple):
    """How vLLM spreads the model: `tensor` x `pipeline` NPUs, and why so."""

    tensor: int
    pipeline: int
    reason: str

    @property
    def text(self) -> str:
        """The sizes as people write them: `TP 8 x PP 2`."""
        return f"TP {self.tensor} x PP {self.pipeline}" if self.pipeline > 1 else f"TP {self.tensor}"


class Mount(NamedTuple):
    """A bind mount: the host's `source` is seen at `target` in the container."""

    source: str
    target: str
    read_only: bool


class Variable(NamedTuple):
    """An environment variable of the container, its value as the exact bytes, and why it is set."""

    name: str
    value: str
    why: str


class Secret(NamedTuple):
    """A variable of the container whose value comes from the caller's environment at start."""

    name: str
    from_env: str


class Peer(NamedTuple):
    """Another node that this node verifies its paths to: its name and address, its NPUs' ids and their addresses.

    Without the addresses of its NPUs, or of this node's, there are none to ping and both are empty.
    """

    name: str
    address: str
    npus: tuple[int, ...]
    addresses: tuple[str, ...]

    @property
    def targets(self) -> tuple[tuple[int, str], ...]:
        """Each NPU's id with its address."""
        return tuple(zip(self.npus, self.addresses, strict=True))


class Port(NamedTuple):
    """A port, or an inclusive range of them, that a node must have free, and who listens there."""

    first: int
    last: int
    owner: str
    head_only: bool

    @property
    def text(self) -> str:
        """The port, or `first-last`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def where(self) -> str:
        """On which nodes: `the head` or `every node`."""
        return "the head" if self.head_only else "every node"


AUTOSCALER_METRICS, DASHBOARD_METRICS = 44217, 44227


class Ulimit(NamedTuple):
    """A limit of the container's processes; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Ports(NamedTuple):
    """Every port of the cluster: all pinned, so that a firewall can name them."""

    ray: int
    dashboard: int
    client: int
    dashboard_agent: int
    dashboard_agent_grpc: int
    node_manager: int
    object_manager: int
    runtime_env_agent: int
    metrics_export: int
    worker_first: int
    worker_last: int
    hccl_first: int
    hccl_last: int
    serve: int

    @property
    def peer_words(self) -> tuple[str, ...]:
        """One port of each kind that any node connects to on any other, as words of a command."""
        return tuple(str(port) for port in (self.node_manager, self.object_manager, self.worker_first, self.hccl_first))

    def listening(self) -> tuple[Port, ...]:
        """Who listens where, in the order of a firewall list."""
        single = (
            ("ray", "Ray GCS, which every node connects to", True),
            ("dashboard", "Ray dashboard (listens on 127.0.0.1 of the head)", True),
            ("client", "Ray client server", True),
            ("node_manager", "Ray node manager", False),
            ("object_manager", "Ray object manager", False),
            ("runtime_env_agent", "Ray runtime environment agent", False),
            ("metrics_export", "Ray metrics export", False),
            ("dashboard_agent_grpc", "Ray dashboard agent, gRPC", False),
            ("dashboard_agent", "Ray dashboard agent, HTTP", False),
        )
        fixed = tuple(Port(getattr(self, name), getattr(self, name), owner, head) for name, owner, head in single)
        return (
            *fixed,
            # Not to be chosen by a flag of `ray start`: ray 2.48 dashboard/consts.py, autoscaler/_private/constants.py
            Port(AUTOSCALER_METRICS, AUTOSCALER_METRICS, "Ray autoscaler metrics", head_only=True),
            Port(DASHBOARD_METRICS, DASHBOARD_METRICS, "Ray dashboard metrics", head_only=True),
            Port(self.worker_first, self.worker_last, "Ray workers", head_only=False),
            Port(self.hccl_first, self.hccl_last, "HCCL bootstrap between hosts", head_only=False),
            Port(self.serve, self.serve, "vLLM API", head_only=True),
        )


class Timeouts(NamedTuple):
    """Limits, in seconds; nothing waits for ever."""

    ray_start: int
    ray_join: int
    serve_ready: int
    stop: int


class Shape(NamedTuple):
    """What nodes of one kind have in common: one object shared by all of them.

    Attributes:
        role: `head` or `worker`.
        npus: Physical ids of the NPUs used, ascending.
        npu_devices: The device node of each NPU, in the order of `npus`.
        devices: Every device node that the container gets: NPUs, management devices, extra ones.
        mounts: Bind mounts of the container; a missing source is an error, never created.
        variables: Name and reason of each environment variable, in order; the values are the node's.
        own_variables: Names of those whose value is the node's own: the head's must never reach a worker.
        secrets: Variables passed through from the caller's environment.
        label_names: Names of the container's labels, in order; the values are the node's.
        ports: The ports that listen on a node of this role.
        ray_start: `ray start` and its flags, a word each, but for `--node-ip-address`: that is the node's.
        every_pair: True when each NPU pings every NPU of the peers, False when only the one of its rank.
    """

    role: Role
    npus: tuple[int, ...]
    npu_devices: tuple[str, ...]
    devices: tuple[str, ...]
    mounts: tuple[Mount, ...]
    variables: tuple[tuple[str, str], ...]
    own_variables: tuple[str, ...]
    secrets: tuple[Secret, ...]
    label_names: tuple[str, ...]
    ports: tuple[Port, ...]
    ray_start: tuple[str, ...]
    every_pair: bool

    @property
    def mount_sources(self) -> tuple[str, ...]:
        """What of the host is mounted, each once."""
        return tuple(dict.fromkeys(mount.source for mount in self.mounts))

    @property
    def passed_secrets(self) -> tuple[Secret, ...]:
        """The secrets that have the same name in the caller's environment."""
        return tuple(secret for secret in self.secrets if secret.name == secret.from_env)

    @property
    def renamed_secrets(self) -> tuple[Secret, ...]:
        """The secrets that have another name in the caller's environment."""
        return tuple(secret for secret in self.secrets if secret.name != secret.from_env)

    @property
    def npus_text(self) -> str:
        """`0-7` when they are consecutive, else each id."""
        first, last = self.npus[0], self.npus[-1]
        if last - first == len(self.npus) - 1 and first != last:
            return f"{first}-{last}"
        return ", ".join(str(npu) for npu in self.npus)

    @property
    def npu_words(self) -> tuple[str, ...]:
        """`npus` as words of a command."""
        return tuple(str(npu) for npu in self.npus)


class NodePlan(NamedTuple):
    """One node: its shape, and the strings that are its own.

    Attributes:
        shape: What it shares with its kind.
        name: A DNS label; the folder of its files.
        address: The IPv4 address that Ray, HCCL and vLLM use.
        interface: The network interface that owns `address`.
        docker: How the executor reaches the node's Docker daemon, or the empty string.
        values: One value per `shape.variables`.
        label_values: One value per `shape.label_names`.
        npu_addresses: One per `shape.npus`, in that order.
        peers: The nodes that this node's verification tries to reach, and whose NPUs it pings.
        head: Name and address of the head when it is neither this node nor a peer, else nothing.
    """

    shape: Shape
    name: str
    address: str
    interface: str
    docker: str
    values: tuple[str, ...]
    label_values: tuple[str, ...]
    npu_addresses: tuple[str, ...]
    peers: tuple[Peer, ...]
    head: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[tuple[str, str], ...]:
        """Name and address of each node to reach: the peers, and the head in any case."""
        head = ((self.head[0], self.head[1]),) if self.head else ()
        return (*((peer.name, peer.address) for peer in self.peers), *head)

    @property
    def environment(self) -> tuple[Variable, ...]:
        """The container's environment, but for the secrets."""
        return tuple(
            Variable(name, value, why) for (name, why), value in zip(self.shape.variables, self.values, strict=True)
        )

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """The container's labels."""
        return tuple(zip(self.shape.label_names, self.label_values, strict=True))

    @property
    def is_head(self) -> bool:
        """True for the one node that runs Ray's head and the service."""
        return self.shape.role == "head"


class Serve(NamedTuple):
    """The one `vllm serve` of the cluster.

    Attributes:
        model: A hub id, or a path inside the container.
        served_name: The name that a request gives as `model`.
        lines: The command as people read it: `vllm serve MODEL` first, then each flag with its values.
        port: Where the API listens on the head.
        model_folder: Where the model's files lie on the host; empty for a hub id, or a path below no mount.
        memory_percent: Part of an NPU's memory that vLLM claims, in percent: `gpu-memory-utilization`.
    """

    model: str
    served_name: str
    lines: tuple[tuple[str, ...], ...]
    port: int
    model_folder: str = ""
    memory_percent: int = 90

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command, a word each."""
        return tuple(word for line in self.lines for word in line)


def size_bytes(size: str) -> int:
    """The bytes of a size like 16g, as Docker reads it."""
    text = size.lower().removesuffix("b")
    unit = {"k": 10, "m": 20, "g": 30}.get(text[-1:], 0)
    return int(text.rstrip("kmg")) << unit


class Container(NamedTuple):
    """What all containers of the cluster have in common."""

    name: str
    image: str
    shm_size: str
    init: bool
    privileged: bool
    ulimits: tuple[Ulimit, ...]

    @property
    def shm_bytes(self) -> int:
        """`shm_size` in bytes."""
        return size_bytes(self.shm_size)


class Plan(NamedTuple):
    """The whole cluster, ready to be printed: a pure function of the spec."""

    name: str
    accelerator: Accelerator
    hbm: Hbm
    container: Container
    cache: str
    ports: Ports
    timeouts: Timeouts
    parallelism: Parallelism
    serve: Serve
    nodes: tuple[NodePlan, ...]
    spec_digest: str

    @property
    def head(self) -> NodePlan:
        """The node that runs Ray's head and the service."""
        return next(node for node in self.nodes if node.is_head)

    @property
    def workers(self) -> tuple[NodePlan, ...]:
        """All nodes but the head."""
        return tuple(node for node in self.nodes if not node.is_head)

    @property
    def npus(self) -> int:
        """NPUs of the whole cluster."""
        return sum(len(node.shape.npus) for node in self.nodes)

    @property
    def size_text(self) -> str:
        """`2 nodes with 16 NPUs`."""
        nodes = "1 node" if len(self.nodes) == 1 else f"{len(self.nodes)} nodes"
        return f"{nodes} with {self.npus} NPU{'' if self.npus == 1 else 's'}"
