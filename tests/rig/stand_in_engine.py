"""The stand-in's engine: workers that hold NPUs of the real Ray, asked for as vLLM's Ray executor asks.

What is done, in which order and in which words, is from
https://github.com/vllm-project/vllm/blob/v0.11.0/vllm/executor/ray_utils.py (initialize_ray_cluster) and
https://github.com/vllm-project/vllm/blob/v0.11.0/vllm/executor/ray_distributed_executor.py (_init_workers_ray).

FAULTS, a file in the storage that all nodes share, says what goes wrong, a line each, now or later:
  slow-load=5         loading takes so many seconds
  die-at-load=EI0006  a rank waits in vain for another one's link while loading; the text is HCCL's
  die-at-load=TEXT    any other failure of the engine while loading
  engine-dead         a completion finds that the engine is dead
  ends-when-dead      the program ends after such an answer, as vLLM 0.11.0 does when nothing keeps it
                      (terminate_if_errored of launcher.py); else it goes on, with /health at 200, as in
                      https://github.com/vllm-project/vllm/issues/16259
  hang-completion     a completion gets no answer for as long as this stands here
  empty-completion    a completion is one without a text
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

if TYPE_CHECKING:
    import argparse

FAULTS = Path("/root/.cache/faults")
SECONDS_FOR_PLACEMENT = 1800  # PG_WAIT_TIMEOUT
SECONDS_FOR_ANSWER = 300  # RAY_CGRAPH_get_timeout
NPU = "NPU"
# What vLLM and Ray raise when an engine does not come up.
FAILURES = (RuntimeError, ValueError, OSError, ray.exceptions.RayError)
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
# https://github.com/vllm-project/vllm-ascend/issues/3162 has the shape, and
# https://github.com/vllm-project/vllm-ascend/issues/5461 the reason.
NO_LINK = """\
[rank0]: EI0006: [PID: {pid}] Getting socket times out. Reason: 1. The remote does not initiate a connect request.
[rank0]:         Solution: 1. Check the rank service processes with other errors or no errors in the cluster."""


class EngineDead(Exception):  # noqa: N818 - as vLLM's EngineDeadError says it
    def __init__(self) -> None:
        super().__init__(DEAD)


def fault(name: str) -> str | None:
    """What /root/.cache/faults says after `name=`; empty for the name alone, None when it is not there."""
    try:
        lines = FAULTS.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return None
    return next((line.partition("=")[2] for line in lines if line.partition("=")[0] == name), None)


def say(process: str, level: str, where: str, text: str) -> None:
    """A line, or several, of vLLM's log."""
    stamp = time.strftime("%m-%d %H:%M:%S")
    write(*(f"({process} pid={os.getpid()}) {level} {stamp} [{where}] {line}" for line in text.splitlines()))


def write(*lines: str) -> None:
    """What vLLM says goes to its stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def engine_says(text: str) -> None:
    say("EngineCore_DP0", "INFO", "ray_utils.py:345", text)


class RayWorkerWrapper:
    """What holds one NPU."""

    def node_address(self) -> str:
        return own_address()

    def execute_model(self, _: str) -> str:
        return own_address()


def own_address() -> str:
    """vLLM's get_ip()."""
    if told := os.environ.get("VLLM_HOST_IP"):
        return told
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.connect(("8.8.8.8", 80))  # sends nothing
        return str(datagram.getsockname()[0])


class Engine:
    """The workers that hold the NPUs, and whether the engine can still use them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dead = False
        self.lock = threading.Lock()
        ray.init(address=None, log_to_driver=True)
        group = placed(options.tensor_parallel_size * options.pipeline_parallel_size)
        self.workers = [worker(group, index) for index in range(len(group.bundle_specs))]
        addresses = ray.get([each.node_address.remote() for each in self.workers])
        check_addresses(group, {*addresses, own_address()})
        self.load(options.model)

    def load(self, model: str) -> None:
        began = time.monotonic()
        say("EngineCore_DP0", "INFO", "gpu_model_runner.py:2602", f"Starting to load model {model}...")
        time.sleep(float(fault("slow-load") or 0))
        if (code := fault("die-at-load")) is not None:
            raise RuntimeError(NO_LINK.format(pid=os.getpid()) if code == "EI0006" else code)
        took = time.monotonic() - began
        told = f"Model loading took 0.0000 GiB and {took:.6f} seconds"
        say("EngineCore_DP0", "INFO", "gpu_model_runner.py:2653", told)

    def complete(self, prompt: str) -> str:
        """Asks every worker; the text says where they are."""
        while fault("hang-completion") is not None:
            time.sleep(0.2)
        with self.lock:
            if self.dead or fault("engine-dead") is not None:
                self.dead = True
                raise EngineDead
            try:
                asked = [each.execute_model.remote(prompt) for each in self.workers]
                addresses = ray.get(asked, timeout=SECONDS_FOR_ANSWER)
            except ray.exceptions.RayError as error:
                say("EngineCore_DP0", "ERROR", "core.py:710", "EngineCore encountered a fatal error.")
                say("EngineCore_DP0", "ERROR", "core.py:710", "".join(traceback.format_exception(error)))
                self.dead = True
                raise EngineDead from error
        if fault("empty-completion") is not None:
            return ""
        return f" {len(addresses)} NPUs on {', '.join(sorted(set(addresses)))}"


def placed(count: int) -> Any:
    """A placement group of so many NPUs, one of them here."""
    engine_says("No current placement group found. Creating a new placement group.")
    if count > ray.cluster_resources().get(NPU, 0):
        text = f"The number of required {NPU}s exceeds the total number of available {NPU}s in the placement group."
        say("EngineCore_DP0", "WARNING", "ray_utils.py:330", text)
    specs = [{NPU: 1.0} for _ in range(count)]
    current_ip = own_address()
    current_node_id = ray.get_runtime_context().get_node_id()
    current_node_resource = available_resources_per_node()[current_node_id]
    if current_node_resource.get(NPU, 0) < 1:
        raise ValueError(
            f"Current node has no {NPU} available. {current_node_resource=}. vLLM engine cannot start without {NPU}. "
            f"Make sure you have at least 1 {NPU} available in a node {current_node_id=} {current_ip=}."
        )
    specs[0][f"node:{current_ip}"] = 0.001
    group = ray.util.placement_group(specs, strategy="PACK")
    wait_until_placed(group, specs)
    return group


def wait_until_placed(group: Any, placement_group_specs: list[dict[str, float]]) -> None:
    began, pause, ready = time.monotonic(), 10, group.ready()
    while not ray.wait([ready], timeout=pause)[0]:
        pause *= 2
        waited = time.monotonic() - began
        if waited > SECONDS_FOR_PLACEMENT:
            raise ValueError(
                f"Cannot provide a placement group of {placement_group_specs=} within {SECONDS_FOR_PLACEMENT} seconds. "
                "See `ray status` and `ray list nodes` to make sure the cluster has enough resources."
            )
        engine_says(
            f"Waiting for creating a placement group of specs for {int(waited)} seconds. "
            f"specs={placement_group_specs}. "
            "Check `ray status` and `ray list nodes` to see if you have enough resources, and make sure the IP "
            "addresses used by ray cluster are the same as VLLM_HOST_IP environment variable specified in each node "
            "if you are running on a multi-node."
        )


def worker(group: Any, index: int) -> Any:
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_capture_child_tasks=True, placement_group_bundle_index=index
    )
    held = ray.remote(num_cpus=0, num_gpus=0, resources={NPU: 1}, scheduling_strategy=strategy)
    return held(RayWorkerWrapper).remote()


def check_addresses(group: Any, all_ips: set[str]) -> None:
    nodes = set(ray.util.placement_group_table(group)["bundles_to_node_id"].values())
    if len(nodes) != len(all_ips):
        raise RuntimeError(
            f"Every node should have a unique IP address. Got {len(nodes)} nodes with node ids {sorted(nodes)} and "
            f"{len(all_ips)} unique IP addresses {all_ips}. Please check your network configuration. If you set "
            "`VLLM_HOST_IP` environment variable, make sure it is unique for each node."
        )
