#!/usr/bin/env bash
# Serves the model once Ray has exactly the planned nodes and NPUs. Run it on the head, node-0, alone:
# in the container, or on the host, from where it goes into the running container by itself.
# Generated from the cluster spec; edit the spec and render again.
# shellcheck disable=SC1003,SC1010,SC1097,SC1110,SC1111,SC1112,SC2016,SC2088,SC2100,SC2209 # values are meant literally
set -euo pipefail

head=node-0
container=qwen3-235b-tensor

die() {
  echo "serve.sh: $1" >&2
  exit 1
}

if ! command -v vllm >/dev/null; then
  command -v docker >/dev/null || die "neither vllm nor docker is here: run this on $head"
  docker cp "$(cd "$(dirname "$0")" && pwd)/$(basename "$0")" "$container:/tmp/serve.sh" ||
    die "docker cannot reach the container $container here; is it up? (\`docker compose up -d\`)"
  attach=-i
  [[ ! -t 0 || ! -t 1 ]] || attach=-it
  exec docker exec "$attach" "$container" bash /tmp/serve.sh
fi

# What ray-start.sh exported for Ray, `docker exec` does not see.
export HCCL_IF_IP=192.168.10.10
export HCCL_SOCKET_IFNAME==enp67s0f5
export GLOO_SOCKET_IFNAME=enp67s0f5
export TP_SOCKET_IFNAME=enp67s0f5
export VLLM_HOST_IP=192.168.10.10
export ASCEND_RT_VISIBLE_DEVICES=0,1,2,3,4,5,6,7
export RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES=1
export HCCL_IF_BASE_PORT=60000
export HCCL_CONNECT_TIMEOUT=1200
export VLLM_ENGINE_READY_TIMEOUT_S=3600
export HCCL_BUFFSIZE=1024

# The lock belongs to the open file: vllm inherits it by `exec`, and it ends with vllm, however that ends.
config=${VLLM_CONFIG_ROOT:-${XDG_CONFIG_HOME:-~/.config}/vllm}
mkdir -p "$config"
exec 9>>"$config/serve.lock"
python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || {
  read -r process <"$config/serve.lock" || true
  die "process $process of this container serves already, or waits to; end it first, with \`kill\`"
}
# Whoever asks what is served reads it here: the process, and its command as JSON.
printf '%s\n%s\n' "$$" '["vllm", "serve", "Qwen/Qwen3-235B-A22B", "--distributed-executor-backend", "ray", "--tensor-parallel-size", "16", "--enable-expert-parallel", "--seed", "1024", "--max-model-len", "8192", "--max-num-seqs", "25", "--served-model-name", "qwen", "--trust-remote-code", "--gpu-memory-utilization", "0.9"]' >"$config/serve.lock"

# vLLM 0.23 copies the head's environment to all workers, but for the names in this file (vllm/ray/ray_env.py):
# these are the nodes' own.
echo '["HCCL_IF_IP", "HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "VLLM_HOST_IP", "ASCEND_RT_VISIBLE_DEVICES"]' >"$config/ray_non_carry_over_env_vars.json"

# ray.nodes() is what vLLM itself goes by. Unlike `ray list nodes` it needs no dashboard, and one process asks again
# and again. `timeout` is for a Ray that accepts a connection and then says nothing.
limit=600 # seconds for all nodes to join
timeout --foreground --kill-after=10 "$((limit + 60))" python3 - "$limit" <<'PYTHON' ||
import logging
import socket
import sys
import time

import ray

GCS = ("192.168.10.10", 6379)
PLANNED = {  # address: (name, how many NPUs)
    "192.168.10.10": ("node-0", 8),
    "192.168.10.11": ("node-1", 8),
}


def say(text):
    print("serve.sh:", text, file=sys.stderr, flush=True)


def connect():
    """Join Ray as a driver; without the first line ray.init() would take half a minute to see a dead head."""
    socket.create_connection(GCS, 5).close()
    if not ray.is_initialized():
        ray.init(address="%s:%d" % GCS, log_to_driver=False, logging_level=logging.ERROR)


def faults():
    """One sentence for each difference between Ray and the plan."""
    seen = {}
    for node in ray.nodes():
        if node["Alive"]:
            seen.setdefault(node["NodeManagerAddress"], []).append(node["Resources"])
    for address, (name, npus) in PLANNED.items():
        nodes = seen.pop(address, [])
        if len(nodes) != 1:
            yield f"{name} ({address}): Ray has {len(nodes) or 'no'} nodes there, planned is one"
        for resources in nodes:
            if resources.get("NPU", 0) != npus:
                yield f"{name} ({address}): Ray counts {resources.get('NPU', 0):g} NPU, planned are {npus}"
            if resources.get("GPU"):
                yield f"{name} ({address}): Ray counts GPU; it was started with --num-gpus, which hides NPUs"
    for address, nodes in seen.items():
        yield f"{address} is in Ray with {nodes[0].get('NPU', 0):g} NPU, but not planned"


def look():
    try:
        connect()
        return list(faults())
    except Exception as error:  # whatever it is: it is told, and tried again until the limit
        return [f"Ray does not answer at {GCS[0]}:{GCS[1]}: {error}"]


limit = int(sys.argv[1])
deadline = time.monotonic() + limit
told = None
while found := look():
    if found != told:
        say(f"Ray is not as planned yet, waiting up to {limit} s:")
        for fault in found[:20]:
            say(f"  {fault}")
        if len(found) > 20:
            say(f"  and {len(found) - 20} more")
        told = found
    if time.monotonic() > deadline:
        sys.exit(1)
    time.sleep(2)
say(f"Ray is as planned: {len(PLANNED)} nodes, {sum(npus for _, npus in PLANNED.values())} NPU")
PYTHON
  die "not served: within $limit s Ray was not as planned; see above, and look at the containers of those nodes"

exec \
  vllm serve Qwen/Qwen3-235B-A22B \
  --distributed-executor-backend ray \
  --tensor-parallel-size 16 \
  --enable-expert-parallel \
  --seed 1024 \
  --max-model-len 8192 \
  --max-num-seqs 25 \
  --served-model-name qwen \
  --trust-remote-code \
  --gpu-memory-utilization 0.9
