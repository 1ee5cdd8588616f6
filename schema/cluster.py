"""The spec: what a user may write, field by field. This is the one definition; the JSON Schema is made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from schema.model import WEIGHTS, Weights
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

Port = Annotated[Whole, Field(ge=1024, le=65535)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]


class Strict(BaseModel):
    """Frozen, and no key is accepted that is not named; the docstring under a field is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _choice(*choices: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, list | dict):
            raise fault("wrong-type", f"should be one word, not {kind(value)}")
        text = as_text(value)
        if text not in choices:
            allowed = " or ".join((", ".join(choices[:-1]), choices[-1]))
            raise fault("not-a-choice", f"should be {allowed}, not {shown(text)}", did_you_mean(text, choices))
        return text

    return BeforeValidator(check)


class FirstAddress(Strict):
    """Consecutive addresses, one per NPU of the node, written by the first of them."""

    first: Address = Field(examples=["10.20.0.10"])
    """The address of the node's first NPU; the next NPU has the next address, and so on."""


class FromEnv(Strict):
    """A value that is taken from the environment of whoever starts the container."""

    from_env: EnvName = Field(examples=["HF_TOKEN"])
    """The variable of the caller's environment that holds the value."""


def _address_form(value: Any) -> str:
    return "\0first" if isinstance(value, dict | FirstAddress) else "\0list"


def _addresses(value: Any) -> Any:
    if not isinstance(value, dict | list | tuple | FirstAddress) and value is not REFUSED:
        hint = f"for consecutive addresses write {{first: {value}}}" if isinstance(value, str) else ""
        raise fault("wrong-type", f"should be a list of addresses or {{first: ADDRESS}}, not {kind(value)}", hint)
    return value


NpuAddresses = Annotated[
    Annotated[list[Address], Tag("\0list")] | Annotated[FirstAddress, Tag("\0first")],
    Discriminator(_address_form),
    BeforeValidator(_addresses),
]


class NodeFields(Strict):
    """What may stand in `defaults` and in each node."""

    interface: Interface | None = Field(None, examples=["enp67s0f5"])
    """The network interface that owns `address`: HCCL, Gloo and TensorPipe are bound to it. `ip addr` shows it."""

    docker: Docker | None = Field(None, examples=["ssh://root@{address}"])
    """How the executor reaches the node's Docker daemon; `{address}` and `{name}` stand for the node's own."""

    npus: list[Whole] | None = Field(None, examples=[[0, 1, 2, 3]])
    """The physical ids of the NPUs to use, when not all: `npu-smi info -m` lists them."""

    env: dict[EnvName, EnvValue] = Field({}, examples=[{"HCCL_OP_EXPANSION_MODE": "AIV"}])
    """Environment variables of the container; the node's win over those of `defaults`, and these over the cluster's."""

    labels: dict[LabelKey, Text] = Field({}, examples=[{"rack": "a-12"}])
    """Labels of the container, beside our own."""


class Node(NodeFields):
    """One server; or many, when its text holds inclusive ranges like `[02:63]`."""

    name: Label = Field(examples=["node-0"])
    """The node's name, a DNS label: its folder in the bundle is called like this."""

    address: Address = Field(examples=["192.168.10.10"])
    """The IPv4 address by which the other nodes reach it. Said once: HCCL, Ray and vLLM all get this one."""

    role: Annotated[Literal["head", "worker"], _choice("head", "worker")] | None = Field(None, examples=["head"])
    """`head` runs Ray's head and the API; without it the first node does."""

    npu_addresses: NpuAddresses | None = Field(None, examples=[{"first": "10.20.0.10"}, ["10.20.0.10", "10.20.0.11"]])
    """The NPUs' own addresses, in the order of their ids: a list, or `{first: ADDRESS}` when they are consecutive."""


class Sizes(Strict):
    """Explicit sizes of tensor and pipeline parallelism."""

    tensor: Annotated[Whole, Field(ge=1)] = Field(examples=[8])
    """How many NPUs share each layer."""

    pipeline: Annotated[Whole, Field(ge=1)] = Field(1, examples=[2])
    """How many stages the layers are cut into."""


def _parallelism_form(value: Any) -> str:
    return "\0sizes" if isinstance(value, dict | Sizes) else "\0word"


_PARALLELISM = ("pipeline", "tensor", "auto")
Parallelism = Annotated[
    Annotated[
        Literal["pipeline", "tensor", "auto"],
        _choice(*_PARALLELISM, "{tensor: N, pipeline: M}"),
        Tag("\0word"),
    ]
    | Annotated[Sizes, Tag("\0sizes")],
    Discriminator(_parallelism_form),
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
    BeforeValidator(_arguments),
    WithJsonSchema({"type": ["string", "number", "boolean", "array", "object"]}),
]


class Serve(Strict):
    """The one vLLM service of the cluster."""

    model: Model = Field(examples=["Qwen/Qwen3-235B-A22B", "/root/.cache/models/qwen3"])
    """A hub id, or a path inside the container; the same on every node."""

    parallelism: Parallelism = Field("pipeline", examples=["pipeline", {"tensor": 8, "pipeline": 2}])
    """`pipeline`: TP = NPUs per node, PP = nodes. `tensor`: TP = all NPUs. `auto`: the best legal. Or both sizes."""

    port: Annotated[Whole, Field(ge=1, le=65535)] = Field(8000, examples=[8000])
    """Where the OpenAI-compatible API listens on the head."""

    args: dict[Flag, Argument] = Field({}, examples=[{"max-model-len": 8192, "trust-remote-code": True}])
    """vLLM's own flags without the dashes, as vLLM of the image has them: their names, types and ranges are checked."""


class PortsSpec(Strict):
    """Every port that Ray and HCCL use, all pinned; Ray alone would pick most of them at random."""

    ray: Port = Field(6379, examples=[6379])
    """Ray's GCS on the head; every node connects to it."""

    dashboard: Port = Field(8265, examples=[8265])
    """Ray's dashboard, on 127.0.0.1 of the head alone."""

    client: Port = Field(10001, examples=[10001])
    """Ray's client server on the head."""

    dashboard_agent: Port = Field(52365, examples=[52365])
    """The dashboard agent's HTTP port, on every node."""

    dashboard_agent_grpc: Port = Field(6384, examples=[6384])
    """The dashboard agent's gRPC port, on every node."""

    node_manager: Port = Field(6380, examples=[6380])
    """The raylet, on every node."""

    object_manager: Port = Field(6381, examples=[6381])
    """The object store's transfers, on every node."""

    runtime_env_agent: Port = Field(6382, examples=[6382])
    """The runtime environment agent, on every node."""

    metrics_export: Port = Field(6383, examples=[6383])
    """Metrics for Prometheus, on every node."""

    worker_range: list[Port] = Field([10002, 19999], min_length=2, max_length=2, examples=[[10002, 19999]])
    """First and last port of Ray's workers, on every node; no other port may lie between."""

    hccl_base: Annotated[Whole, Field(ge=1024, le=65520)] = Field(60000, examples=[60000])
    """The first of the 16 ports that HCCL uses between hosts."""


class MountSpec(Strict):
    """One more bind mount of the container."""

    source: AbsolutePath = Field(examples=["/data/models"])
    """A file or folder of the host; it must exist, and is never created."""

    target: AbsolutePath = Field(examples=["/models"])
    """Where the container sees it."""

    read_only: Truth = Field(default=True, examples=[True])
    """False lets the container write."""


class UlimitSpec(Strict):
    """A limit of the container's processes; -1 is unlimited."""

    soft: Annotated[Whole, Field(ge=-1, le=2**63 - 1)] = Field(examples=[65536])
    """The limit in force."""

    hard: Annotated[Whole, Field(ge=-1, le=2**63 - 1)] = Field(examples=[65536])
    """How far a process may raise it."""


def _ulimit_form(value: Any) -> str:
    return "\0both" if isinstance(value, dict | UlimitSpec) else "\0one"


Ulimit = Annotated[
    Annotated[Whole, Field(ge=-1, le=2**63 - 1), Tag("\0one")] | Annotated[UlimitSpec, Tag("\0both")],
    Discriminator(_ulimit_form),
]


class ContainerSpec(Strict):
    """What the containers get beside the devices and mounts that the accelerator needs."""

    shm_size: Size = Field("16g", examples=["16g"])
    """Size of /dev/shm. Ray's object store lives there; below about 10g Ray falls back to /tmp, which is slow."""

    npu_smi: AbsolutePath = Field("/usr/local/bin/npu-smi", examples=["/usr/local/sbin/npu-smi"])
    """Where the host has npu-smi; `command -v npu-smi` shows it."""

    devices: list[Device] = Field([], examples=[["/dev/infiniband"]])
    """More device nodes."""

    mounts: list[MountSpec] = Field([], examples=[[{"source": "/data/models", "target": "/models"}]])
    """More bind mounts."""

    ulimits: dict[Label, Ulimit] = Field({}, examples=[{"nofile": 65536, "core": {"soft": 0, "hard": 0}}])
    """More limits, or other values for ours (memlock, nofile)."""

    privileged: Truth = Field(default=False, examples=[False])
    """Gives the container every device and capability of the host. Rarely needed: it defeats the device list."""

    init: Truth = Field(default=True, examples=[True])
    """Runs an init as process 1, which reaps what dead workers leave; without it they keep the NPUs' memory."""


class TimeoutsSpec(Strict):
    """Limits in seconds; nothing waits for ever."""

    ray_start: Seconds = Field(120, examples=[120])
    """How long one `ray start` may take; with an address that the host does not own it would hang for ever."""

    ray_join: Seconds = Field(600, examples=[600])
    """How long to wait until all nodes with all NPUs are in Ray."""

    serve_ready: Seconds = Field(3600, examples=[3600])
    """How long loading the model may take."""

    stop: Seconds = Field(30, examples=[30])
    """How long a container may take to end before it is killed."""


class ModelFacts(Strict):
    """Facts about the model; what they do not say, the catalogue or the config.json may."""

    config: FilePath | None = Field(None, examples=["models/qwen3/config.json"])
    """The model's config.json, on the machine that compiles; relative to the spec."""

    weights: Annotated[Weights, _choice(*WEIGHTS)] | None = Field(None, examples=["w8a8"])
    """What the checkpoint's numbers are: `w8a8` and `w4a8` are ModelSlim's, which need `quantization: ascend`."""

    layers: Annotated[Whole, Field(ge=1)] | None = Field(None, examples=[94])
    """num_hidden_layers"""

    attention_heads: Annotated[Whole, Field(ge=1)] | None = Field(None, examples=[64])
    """num_attention_heads"""

    kv_heads: Annotated[Whole, Field(ge=1)] | None = Field(None, examples=[4])
    """num_key_value_heads"""

    experts: Annotated[Whole, Field(ge=0)] | None = Field(None, examples=[128])
    """num_experts or n_routed_experts; 0 for a dense model"""


def _model_form(value: Any) -> str:
    return "\0facts" if isinstance(value, dict | ModelFacts) else "\0path"


def _about_the_model(value: Any) -> Any:
    if not isinstance(value, dict | str | ModelFacts) and value is not REFUSED:
        message = f"should be the path of a config.json, or facts like {{layers: 94}}, not {kind(value)}"
        raise fault("wrong-type", message)
    return value


AboutTheModel = Annotated[
    Annotated[FilePath, Tag("\0path")] | Annotated[ModelFacts, Tag("\0facts")],
    Discriminator(_model_form),
    BeforeValidator(_about_the_model),
]


def _version(value: Any) -> int:
    number = value.value if isinstance(value, Scalar) else value
    if value is REFUSED:
        raise told()
    if number != 1 or type(number) is not int:
        text = value.text if isinstance(value, Scalar) else value
        what = shown(text) if isinstance(text, str) else kind(value)
        raise fault("version", f"{what} is no version of the spec that this compiler knows", "write `version: 1`")
    return 1


class Cluster(Strict):
    """A cluster of Ascend servers that serves one model with vLLM over Ray."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(examples=[1])
    """The version of this format."""

    name: ClusterName = Field(examples=["qwen3-235b"])
    """The cluster's name, a DNS label: names the bundle, the containers and their labels."""

    accelerator: Text = Field(examples=["atlas-a2"])
    """The generation of the servers: `atlas-a2` (8 NPUs) or `atlas-a3` (16 NPUs)."""

    hbm_size: Size | None = Field(None, examples=["32g"])
    """Memory of one NPU, as `npu-smi info` shows it: `64g`, or `32g` on Atlas A2 servers with 910B4."""

    image: Image = Field(examples=["quay.io/ascend/vllm-ascend:v0.11.0"])
    """The vllm-ascend image, the same on every node; for atlas-a3 its tag ends in `-a3`."""

    cache: AbsolutePath = Field(examples=["/mnt/shared/cache"])
    """A folder of shared storage, the same on every node; the container sees it as /root/.cache."""

    defaults: NodeFields = Field(default_factory=lambda: NodeFields(), examples=[{"interface": "enp67s0f5"}])  # noqa: PLW0108
    """Fields for every node; a node may override each."""

    nodes: list[Node] = Field(min_length=1, examples=[[{"name": "node-0", "address": "192.168.10.10"}]])
    """The servers. One entry may stand for many: `{name: "node-[02:63]", address: "192.168.10.[12:73]"}`."""

    serve: Serve = Field(examples=[{"model": "Qwen/Qwen3-235B-A22B"}])
    """What is served, and how."""

    env: dict[EnvName, EnvValue] = Field({}, examples=[{"VLLM_USE_MODELSCOPE": "True"}])
    """Environment variables of every container."""

    secrets: dict[EnvName, FromEnv] = Field({}, examples=[{"HF_TOKEN": {"from_env": "HF_TOKEN"}}])
    """Variables whose values are passed through at start and never stand in a generated file."""

    ports: PortsSpec = Field(default_factory=lambda: PortsSpec(), examples=[{"ray": 6379}])  # noqa: PLW0108
    """The ports of Ray and HCCL."""

    container: ContainerSpec = Field(default_factory=lambda: ContainerSpec(), examples=[{"shm_size": "32g"}])  # noqa: PLW0108
    """The containers, beyond what the accelerator needs."""

    timeouts: TimeoutsSpec = Field(default_factory=lambda: TimeoutsSpec(), examples=[{"ray_join": 900}])  # noqa: PLW0108
    """Limits of everything that waits."""

    model: AboutTheModel | None = Field(
        None, examples=["models/qwen3/config.json", {"layers": 94, "attention_heads": 64, "kv_heads": 4}]
    )
    """For a model that the catalogue does not know: the path of its config.json, or facts."""
