"""The `ray start` command of a node, from its role and the cluster's ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.plan import Ports, Role


def ray_start(role: Role, head_address: str, ports: Ports) -> tuple[str, ...]:
    """`ray start` and its flags, a word each, but for `--node-ip-address`, which each node adds itself.

    Ray 2.48 takes random ports for all but four of its listeners
    (https://docs.ray.io/en/latest/ray-core/configure.html): every one that has a flag is pinned here, so
    that a firewall can name it. Two of the head have none and are always 44217 and 44227, for metrics of
    the autoscaler and of the dashboard.

    NPUs are counted by Ray, never told to it. `--num-gpus` makes Ray register GPUs instead of NPUs
    (https://github.com/vllm-project/vllm-ascend/issues/3114). `--resources` would be believed without a
    look at the devices: a node with seven working NPUs would then report eight, and the count that
    serve.sh and the executor wait for would prove nothing. Uncounted NPUs are refused there, by number.

    Args:
        role: The head starts the cluster, a worker joins it.
        head_address: The IPv4 address of the head.
        ports: The ports of the cluster.

    Returns:
        The words; none of them differs between two workers.
    """
    flags = {
        "--node-manager-port": ports.node_manager,
        "--object-manager-port": ports.object_manager,
        "--runtime-env-agent-port": ports.runtime_env_agent,
        "--metrics-export-port": ports.metrics_export,
        "--dashboard-agent-listen-port": ports.dashboard_agent,
        "--dashboard-agent-grpc-port": ports.dashboard_agent_grpc,
        "--min-worker-port": ports.worker_first,
        "--max-worker-port": ports.worker_last,
    }
    return (
        "ray",
        "start",
        *_joining(role, head_address, ports),
        *(f"{flag}={port}" for flag, port in flags.items()),
        "--disable-usage-stats",
    )


def _joining(role: Role, head_address: str, ports: Ports) -> tuple[str, ...]:
    if role == "worker":
        return (f"--address={head_address}:{ports.ray}",)
    return (
        "--head",
        f"--port={ports.ray}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports.dashboard}",
        f"--ray-client-server-port={ports.client}",
    )
