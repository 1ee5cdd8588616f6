"""Plans built by hand, for tests of what is rendered from a Plan: two nodes of Atlas A2, two of A3."""

from __future__ import annotations

from compiler.plan import Container, Mount, NodePlan, Parallelism, Peer, Plan, Ports, Serve, Shape, Timeouts, Ulimit
from schema.accelerator import Accelerator, Hbm, Network

MANAGEMENT = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
DRIVER = (
    "/usr/local/dcmi",
    "/usr/local/Ascend/driver/tools/hccn_tool",
    "/usr/local/Ascend/driver/version.info",
    "/etc/hccn.conf",
)
CACHE = "/mnt/shared/cache"
IMAGE = "vllm-ascend:v0.11.0"
MODEL = "Qwen/Qwen3-235B-A22B"
ULIMITS = (Ulimit("memlock", -1, -1), Ulimit("nofile", 1_048_576, 1_048_576))

A2 = Accelerator(
    name="atlas-a2",
    title="Atlas A2",
    npus=8,
    image_suffix="",
    device="/dev/davinci{npu}",
    management_devices=MANAGEMENT,
    mounts=tuple((path, path) for path in DRIVER),
    network=Network(("-ip", "-g"), "ipaddr", ("-ping", "-g", "address")),
    hbm=(Hbm(65536, 62420), Hbm(32768, 30197)),
    super_pod=False,
    sources=("https://github.com/vllm-project/vllm-ascend",),
)
A3 = A2._replace(
    name="atlas-a3",
    title="Atlas A3",
    npus=16,
    image_suffix="-a3",
    network=Network(("-vnic", "-g"), "vnic ipaddr", ("-hccs_ping", "-g", "address")),
    hbm=(Hbm(65536, 62740),),
    super_pod=True,
)
PORTS = Ports(
    ray=6379,
    dashboard=8265,
    client=10001,
    dashboard_agent=52365,
    dashboard_agent_grpc=52366,
    node_manager=52367,
    object_manager=52368,
    runtime_env_agent=52369,
    metrics_export=52370,
    worker_first=10002,
    worker_last=19999,
    hccl_first=60000,
    hccl_last=60015,
    serve=8000,
)


def npu_addresses(accelerator: Accelerator, node: int) -> tuple[str, ...]:
    """The invented addresses of the NPUs of node number `node`."""
    return tuple(f"10.20.{node}.{10 + npu}" for npu in range(accelerator.npus))


def shape(accelerator: Accelerator, role: str, *, every_pair: bool = True) -> Shape:
    """What the nodes of one role share."""
    devices = tuple(accelerator.device.format(npu=npu) for npu in range(accelerator.npus))
    head = role == "head"
    return Shape(
        role="head" if head else "worker",
        npus=tuple(range(accelerator.npus)),
        npu_devices=devices,
        devices=(*devices, *accelerator.management_devices),
        mounts=(
            *(Mount(source, target, read_only=True) for source, target in accelerator.mounts),
            Mount(CACHE, "/root/.cache", read_only=False),
        ),
        variables=(("HCCL_IF_IP", "the address of this node"),),
        own_variables=("HCCL_IF_IP",),
        secrets=(),
        label_names=(),
        ports=tuple(port for port in PORTS.listening() if head or not port.head_only),
        ray_start=("ray", "start", "--head" if head else "--address=192.168.10.10:6379", "--block"),
        every_pair=every_pair,
    )


def two_nodes(accelerator: Accelerator, *, every_pair: bool = True) -> Plan:
    """A cluster of two nodes with all their NPUs: node-0 is the head, 192.168.10.10, on eth0.

    Each node reaches the other on the loopback interface, where nobody listens and the kernel refuses.
    """
    addresses = tuple(npu_addresses(accelerator, node) for node in range(2))
    ids = tuple(range(accelerator.npus))
    nodes = tuple(
        NodePlan(
            shape=shape(accelerator, role, every_pair=every_pair),
            name=f"node-{node}",
            address=f"192.168.10.{10 + node}",
            interface="eth0",
            docker="",
            values=(f"192.168.10.{10 + node}",),
            label_values=(),
            npu_addresses=addresses[node],
            peers=(Peer(f"node-{1 - node}", f"127.0.10.{11 - node}", ids, addresses[1 - node]),),
        )
        for node, role in enumerate(("head", "worker"))
    )
    return Plan(
        name="qwen3",
        accelerator=accelerator,
        hbm=accelerator.hbm[0],
        container=Container("qwen3", IMAGE, "16g", init=True, privileged=False, ulimits=ULIMITS),
        cache=CACHE,
        ports=PORTS,
        timeouts=Timeouts(ray_start=120, ray_join=600, serve_ready=3600, stop=60),
        parallelism=Parallelism(accelerator.npus, 2, "one stage for each node"),
        serve=Serve(MODEL, "qwen", (("vllm", "serve", MODEL),), 8000),
        nodes=nodes,
        spec_digest="0" * 64,
    )
