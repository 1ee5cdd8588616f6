"""The spec: what a user may write, field by field. This is the one definition; the JSON Schema is made of it."""

from typing import Annotated, Any, Literal

from schema.model import WEIGHTS, Weights
from schema.record import Between, Length, MappingOr, Read, Record, Shown, field
from schema.scalar import REFUSED, Scalar
from schema.suggest import did_you_mean
from schema.text import (
    AbsolutePath,
    Address,
    ClusterName,
    Device,
    Docker,
    EnvName,
    EnvValue,
    FilePath,
    Flag,
    Image,
    Interface,
    Label,
    LabelKey,
    Model,
    Size,
    Text,
    Truth,
    Whole,
    as_text,
    fault,
    kind,
    shown,
    told,
)

Port = Annotated[Whole, Between(1024, 65535)]
Seconds = Annotated[Whole, Between(1, 86_400)]


def _choice(*choices: str) -> Read:
    def check(value: Any) -> Any:
        if isinstance(value, list | dict):
            raise fault("wrong-type", f"should be one word, not {kind(value)}")
        text = as_text(value)
        if text not in choices:
            allowed = " or ".join((", ".join(choices[:-1]), choices[-1]))
            raise fault("not-a-choice", f"should be {allowed}, not {shown(text)}", did_you_mean(text, choices))
        return text

    return Read(check)


class FirstAddress(Record):
    """Consecutive addresses, one per NPU of the node, written by the first of them."""

    first: Address = field(examples=["10.20.0.10"])
    """The address of the node's first NPU; the next NPU has the next address, and so on."""


class FromEnv(Record):
    """A value that is taken from the environment of whoever starts the container."""

    from_env: EnvName = field(examples=["HF_TOKEN"])
    """The variable of the caller's environment that holds the value."""


def _addresses(value: Any) -> Any:
    if not isinstance(value, dict | list | tuple | FirstAddress) and value is not REFUSED:
        hint = f"for consecutive addresses write {{first: {value}}}" if isinstance(value, str) else ""
        raise fault("wrong-type", f"should be a list of addresses or {{first: ADDRESS}}, not {kind(value)}", hint)
    return value


NpuAddresses = Annotated[list[Address] | FirstAddress, MappingOr(_addresses)]


class NodeFields(Record):
    """What may stand in `defaults` and in each node."""

    interface: Interface | None = field(None, examples=["enp67s0f5"])
    """The network interface that owns `address`: HCCL, Gloo and TensorPipe are bound to it. `ip addr` shows it."""

    docker: Docker | None = field(None, examples=["ssh://root@{address}"])
    """How the executor reaches the node's Docker daemon; `{address}` and `{name}` stand for the node's own."""

    npus: list[Whole] | None = field(None, examples=[[0, 1, 2, 3]])
    """The physical ids of the NPUs to use, when not all: `npu-smi info -m` lists them."""

    env: dict[EnvName, EnvValue] = field({}, examples=[{"HCCL_OP_EXPANSION_MODE": "AIV"}])
    """Environment variables of the container; the node's win over those of `defaults`, and these over the cluster's."""

    labels: dict[LabelKey, Text] = field({}, examples=[{"rack": "a-12"}])
    """Labels of the container, beside our own."""


class Node(NodeFields):
    """One server; or many, when its text holds inclusive ranges like `[02:63]`."""

    name: Label = field(examples=["node-0"])
    """The node's name, a DNS label: its folder in the bundle is called like this."""

    address: Address = field(examples=["192.168.10.10"])
    """The IPv4 address by which the other nodes reach it. Said once: HCCL, Ray and vLLM all get this one."""

    role: Annotated[Literal["head", "worker"], _choice("head", "worker")] | None = field(None, examples=["head"])
    """`head` runs Ray's head and the API; without it the first node does."""

    npu_addresses: NpuAddresses | None = field(None, examples=[{"first": "10.20.0.10"}, ["10.20.0.10", "10.20.0.11"]])
    """The NPUs' own addresses, in the order of their ids: a list, or `{first: ADDRESS}` when they are consecutive."""


class Sizes(Record):
    """Explicit sizes of tensor and pipeline parallelism."""

    tensor: Annotated[Whole, Between(1)] = field(examples=[8])
    """How many NPUs share each layer."""

    pipeline: Annotated[Whole, Between(1)] = field(1, examples=[2])
    """How many stages the layers are cut into."""


_PARALLELISM = ("pipeline", "tensor", "auto")
Parallelism = Annotated[
    Annotated[Literal["pipeline", "tensor", "auto"], _choice(*_PARALLELISM, "{tensor: N, pipeline: M}")] | Sizes,
    MappingOr(),
]


def _arguments(value: Any) -> Any:
    """VLLM's arguments as plain values: numbers and booleans where they were written so."""
    if isinstance(value, Scalar):
        if value.value is None:
            raise fault("no-value", "has no value", "give it one; a flag without a value is `true`")
        return value.value
    if isinstance(value, str):
        return _clean_argument(value)
    if isinstance(value, list):
        return [_arguments(item) for item in value]
    if isinstance(value, dict):
        return {_clean_argument(key): _arguments(item) for key, item in value.items()}
    if value is REFUSED:
        raise told()
    return value


def _clean_argument(text: str) -> str:
    if "\0" in text:
        raise fault("control-character", "holds a NUL, which no command line can carry", "remove it")
    return text


Argument = Annotated[
    Any,
    Read(_arguments),
    Shown({"type": ["string", "number", "boolean", "array", "object"]}),
]


class Serve(Record):
    """The one vLLM service of the cluster."""

    model: Model = field(examples=["Qwen/Qwen3-235B-A22B", "/root/.cache/models/qwen3"])
    """A hub id, or a path inside the container; the same on every node."""

    parallelism: Parallelism = field("pipeline", examples=["pipeline", {"tensor": 8, "pipeline": 2}])
    """`pipeline`: TP = NPUs per node, PP = nodes. `tensor`: TP = all NPUs. `auto`: the best legal. Or both sizes."""

    port: Annotated[Whole, Between(1, 65535)] = field(8000, examples=[8000])
    """Where the OpenAI-compatible API listens on the head."""

    args: dict[Flag, Argument] = field({}, examples=[{"max-model-len": 8192, "trust-remote-code": True}])
    """vLLM's own flags without the dashes, as vLLM of the image has them: their names, types and ranges are checked."""


class PortsSpec(Record):
    """Every port that Ray and HCCL use, all pinned; Ray alone would pick most of them at random."""

    ray: Port = field(6379, examples=[6379])
    """Ray's GCS on the head; every node connects to it."""

    dashboard: Port = field(8265, examples=[8265])
    """Ray's dashboard, on 127.0.0.1 of the head alone."""

    client: Port = field(10001, examples=[10001])
    """Ray's client server on the head."""

    dashboard_agent: Port = field(52365, examples=[52365])
    """The dashboard agent's HTTP port, on every node."""

    dashboard_agent_grpc: Port = field(6384, examples=[6384])
    """The dashboard agent's gRPC port, on every node."""

    node_manager: Port = field(6380, examples=[6380])
    """The raylet, on every node."""

    object_manager: Port = field(6381, examples=[6381])
    """The object store's transfers, on every node."""

    runtime_env_agent: Port = field(6382, examples=[6382])
    """The runtime environment agent, on every node."""

    metrics_export: Port = field(6383, examples=[6383])
    """Metrics for Prometheus, on every node."""

    worker_range: Annotated[list[Port], Length(2, 2)] = field([10002, 19999], examples=[[10002, 19999]])
    """First and last port of Ray's workers, on every node; no other port may lie between."""

    hccl_base: Annotated[Whole, Between(1024, 65520)] = field(60000, examples=[60000])
    """The first of the 16 ports that HCCL uses between hosts."""


class MountSpec(Record):
    """One more bind mount of the container."""

    source: AbsolutePath = field(examples=["/data/models"])
    """A file or folder of the host; it must exist, and is never created."""

    target: AbsolutePath = field(examples=["/models"])
    """Where the container sees it."""

    read_only: Truth = field(default=True, examples=[True])
    """False lets the container write."""


class UlimitSpec(Record):
    """A limit of the container's processes; -1 is unlimited."""

    soft: Annotated[Whole, Between(-1, 2**63 - 1)] = field(examples=[65536])
    """The limit in force."""

    hard: Annotated[Whole, Between(-1, 2**63 - 1)] = field(examples=[65536])
    """How far a process may raise it."""


Ulimit = Annotated[Annotated[Whole, Between(-1, 2**63 - 1)] | UlimitSpec, MappingOr()]


class ContainerSpec(Record):
    """What the containers get beside the devices and mounts that the accelerator needs."""

    shm_size: Size = field("16g", examples=["16g"])
    """Size of /dev/shm. Ray's object store lives there; below about 10g Ray falls back to /tmp, which is slow."""

    npu_smi: AbsolutePath = field("/usr/local/bin/npu-smi", examples=["/usr/local/sbin/npu-smi"])
    """Where the host has npu-smi; `command -v npu-smi` shows it."""

    devices: list[Device] = field([], examples=[["/dev/infiniband"]])
    """More device nodes."""

    mounts: list[MountSpec] = field([], examples=[[{"source": "/data/models", "target": "/models"}]])
    """More bind mounts."""

    ulimits: dict[Label, Ulimit] = field({}, examples=[{"nofile": 65536, "core": {"soft": 0, "hard": 0}}])
    """More limits, or other values for ours (memlock, nofile)."""

    privileged: Truth = field(default=False, examples=[False])
    """Gives the container every device and capability of the host. Rarely needed: it defeats the device list."""

    init: Truth = field(default=True, examples=[True])
    """Runs an init as process 1, which reaps what dead workers leave; without it they keep the NPUs' memory."""


class TimeoutsSpec(Record):
    """Limits in seconds; nothing waits for ever."""

    ray_start: Seconds = field(120, examples=[120])
    """How long one `ray start` may take; with an address that the host does not own it would hang for ever."""

    ray_join: Seconds = field(600, examples=[600])
    """How long to wait until all nodes with all NPUs are in Ray."""

    serve_ready: Seconds = field(3600, examples=[3600])
    """How long loading the model may take."""

    stop: Seconds = field(30, examples=[30])
    """How long a container may take to end before it is killed."""


class ModelFacts(Record):
    """Facts about the model; what they do not say, the catalogue or the config.json may."""

    config: FilePath | None = field(None, examples=["models/qwen3/config.json"])
    """The model's config.json, on the machine that compiles; relative to the spec."""

    weights: Annotated[Weights, _choice(*WEIGHTS)] | None = field(None, examples=["w8a8"])
    """What the checkpoint's numbers are: `w8a8` and `w4a8` are ModelSlim's, which need `quantization: ascend`."""

    layers: Annotated[Whole, Between(1)] | None = field(None, examples=[94])
    """num_hidden_layers"""

    attention_heads: Annotated[Whole, Between(1)] | None = field(None, examples=[64])
    """num_attention_heads"""

    kv_heads: Annotated[Whole, Between(1)] | None = field(None, examples=[4])
    """num_key_value_heads"""

    experts: Annotated[Whole, Between(0)] | None = field(None, examples=[128])
    """num_experts or n_routed_experts; 0 for a dense model"""


def _about_the_model(value: Any) -> Any:
    if not isinstance(value, dict | str | ModelFacts) and value is not REFUSED:
        message = f"should be the path of a config.json, or facts like {{layers: 94}}, not {kind(value)}"
        raise fault("wrong-type", message)
    return value


AboutTheModel = Annotated[FilePath | ModelFacts, MappingOr(_about_the_model)]


def _version(value: Any) -> int:
    number = value.value if isinstance(value, Scalar) else value
    if value is REFUSED:
        raise told()
    if number != 1 or type(number) is not int:
        text = value.text if isinstance(value, Scalar) else value
        what = shown(text) if isinstance(text, str) else kind(value)
        raise fault("version", f"{what} is no version of the spec that this compiler knows", "write `version: 1`")
    return 1


class Cluster(Record):
    """A cluster of Ascend servers that serves one model with vLLM over Ray."""

    version: Annotated[Literal[1], Read(_version)] = field(examples=[1])
    """The version of this format."""

    name: ClusterName = field(examples=["qwen3-235b"])
    """The cluster's name, a DNS label: names the bundle, the containers and their labels."""

    accelerator: Text = field(examples=["atlas-a2"])
    """The generation of the servers: `atlas-a2` (8 NPUs) or `atlas-a3` (16 NPUs)."""

    hbm_size: Size | None = field(None, examples=["32g"])
    """Memory of one NPU, as `npu-smi info` shows it: `64g`, or `32g` on Atlas A2 servers with 910B4."""

    image: Image = field(examples=["quay.io/ascend/vllm-ascend:v0.11.0"])
    """The vllm-ascend image, the same on every node; for atlas-a3 its tag ends in `-a3`."""

    cache: AbsolutePath = field(examples=["/mnt/shared/cache"])
    """A folder of shared storage, the same on every node; the container sees it as /root/.cache."""

    defaults: NodeFields = field(NodeFields(), examples=[{"interface": "enp67s0f5"}])
    """Fields for every node; a node may override each."""

    nodes: Annotated[list[Node], Length(1)] = field(examples=[[{"name": "node-0", "address": "192.168.10.10"}]])
    """The servers. One entry may stand for many: `{name: "node-[02:63]", address: "192.168.10.[12:73]"}`."""

    serve: Serve = field(examples=[{"model": "Qwen/Qwen3-235B-A22B"}])
    """What is served, and how."""

    env: dict[EnvName, EnvValue] = field({}, examples=[{"VLLM_USE_MODELSCOPE": "True"}])
    """Environment variables of every container."""

    secrets: dict[EnvName, FromEnv] = field({}, examples=[{"HF_TOKEN": {"from_env": "HF_TOKEN"}}])
    """Variables whose values are passed through at start and never stand in a generated file."""

    ports: PortsSpec = field(PortsSpec(), examples=[{"ray": 6379}])
    """The ports of Ray and HCCL."""

    container: ContainerSpec = field(ContainerSpec(), examples=[{"shm_size": "32g"}])
    """The containers, beyond what the accelerator needs."""

    timeouts: TimeoutsSpec = field(TimeoutsSpec(), examples=[{"ray_join": 900}])
    """Limits of everything that waits."""

    model: AboutTheModel | None = field(
        None, examples=["models/qwen3/config.json", {"layers": 94, "attention_heads": 64, "kv_heads": 4}]
    )
    """For a model that the catalogue does not know: the path of its config.json, or facts."""
