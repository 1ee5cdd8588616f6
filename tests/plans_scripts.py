"""The two-node plan as the scripts need it, and single scripts of its bundle."""

from __future__ import annotations

from plans import A2, PORTS, two_nodes

from compiler.plan import NodePlan, Plan, Secret, Serve, Timeouts, Variable
from compiler.ray import ray_start
from compiler.render import render

GUIDE = (
    ("vllm", "serve", "Qwen/Qwen3-235B-A22B"),
    ("--distributed-executor-backend", "ray"),
    ("--pipeline-parallel-size", "2"),
    ("--tensor-parallel-size", "8"),
    ("--enable-expert-parallel",),
    ("--served-model-name", "qwen"),
)


def environment(address: str) -> tuple[Variable, ...]:
    """The variables that the guide sets before `ray start`, and vLLM's own address."""
    return (
        Variable("HCCL_IF_IP", address, "HCCL meets the other nodes from this address"),
        Variable("HCCL_SOCKET_IFNAME", "=eth0", "exactly this interface"),
        Variable("VLLM_HOST_IP", address, "vLLM must call this node as Ray does"),
        Variable("RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES", "1", "vLLM picks the NPU, not Ray"),
        Variable("ASCEND_RT_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7", "the NPUs used"),
    )


def cluster(
    *,
    extra: tuple[Variable, ...] = (),
    secrets: tuple[Secret, ...] = (),
    lines: tuple[tuple[str, ...], ...] = GUIDE,
    served_name: str = "qwen",
    timeouts: Timeouts | None = None,
) -> Plan:
    """Two nodes of Atlas A2 with the guide's environment and more."""
    plan = two_nodes(A2)
    nodes = (_node(node, plan.head.address, extra, secrets) for node in plan.nodes)
    return plan._replace(
        nodes=tuple(nodes),
        serve=Serve(lines[0][-1], served_name, lines, PORTS.serve),
        timeouts=timeouts or Timeouts(ray_start=60, ray_join=60, serve_ready=1800, stop=10),
    )


def _node(node: NodePlan, head: str, extra: tuple[Variable, ...], secrets: tuple[Secret, ...]) -> NodePlan:
    variables = (*environment(node.address), *extra)
    kind = node.shape._replace(
        variables=tuple((variable.name, variable.why) for variable in variables),
        own_variables=("HCCL_IF_IP", "VLLM_HOST_IP"),
        secrets=secrets,
        ray_start=ray_start(node.shape.role, head, PORTS),
    )
    return node._replace(shape=kind, values=tuple(variable.value for variable in variables))


def script(name: str, plan: Plan, node: NodePlan) -> str:
    """The text of one file of one node, which stands in for the plan's node of its name."""
    nodes = tuple(node if other.name == node.name else other for other in plan.nodes)
    files = {file.path: file.content for file in render(plan._replace(nodes=nodes)).files}
    return files[f"{node.name}/{name}"].decode()
