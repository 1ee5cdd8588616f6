#!/usr/bin/env bash
# Starts Ray on node-06, in a container that was started by hand; run it inside that container, on the head
# first. The containers of docker-compose.yaml start Ray by themselves and do not need it.
# Generated from the cluster spec; edit the spec and render again.
# shellcheck disable=SC1003,SC1010,SC1097,SC1110,SC1111,SC1112,SC2016,SC2088,SC2100,SC2209 # values are meant literally
set -euo pipefail

node=node-06
address=10.1.0.16
head=node-00
gcs=10.1.0.10:6379
limit=120 # seconds for `ray start`

die() {
  echo "ray-start.sh: $1" >&2
  exit 1
}

# Ray reads the environment once, when it starts: a change of these needs a new container.
# the address that HCCL bootstraps over; the same one that Ray knows this node by
export HCCL_IF_IP=10.1.0.16
# exactly this interface (=): without the sign eth1 would also match eth10
export HCCL_SOCKET_IFNAME==bond0
# the interface for Gloo; it would take the one that the hostname resolves to
export GLOO_SOCKET_IFNAME=bond0
# the interface for TensorPipe
export TP_SOCKET_IFNAME=bond0
# vLLM must see this node at the address that Ray has, or it waits for ever for a place
export VLLM_HOST_IP=10.1.0.16
# the NPUs that Ray counts and vLLM uses, by the container's own numbers
export ASCEND_RT_VISIBLE_DEVICES=0,1,2,3,4,5,6,7
# else Ray hides all NPUs but one from each worker: error 107001
export RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES=1
# the first of the 16 ports that HCCL listens on, pinned for the firewall
export HCCL_IF_BASE_PORT=60000
# seconds; ranks load for minutes apart, and after 120 HCCL gives up with EI0006
export HCCL_CONNECT_TIMEOUT=1200
# seconds; large weights load longer than the 600 that vLLM waits by itself
export VLLM_ENGINE_READY_TIMEOUT_S=3600

[[ -v HF_TOKEN && -n $HF_TOKEN ]] ||
  die 'HF_TOKEN is not set in this container: pass it to `docker run` with --env HF_TOKEN'

if grep -qsx raylet /proc/[0-9]*/comm; then
  die "Ray runs in this container already; to start it anew, start a new container"
fi

# Without its device node an NPU is silently not counted by Ray.
devices=(/dev/davinci0 /dev/davinci1 /dev/davinci2 /dev/davinci3 /dev/davinci4 /dev/davinci5 /dev/davinci6 /dev/davinci7)
for device in "${devices[@]}"; do
  [[ -e $device ]] || die "$device is missing in this container: \`docker run\` needs --device $device"
done

# On an address that is not this host's own, Ray retries for ever. The kernel reaches an own address from
# that very address; connecting a datagram socket sends nothing.
python3 -c 'import socket, sys
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.connect((sys.argv[1], 9))
sys.exit(datagram.getsockname()[0] != sys.argv[1])' "$address" 2>/dev/null ||
  die "this host does not own $address: is it the right node, has the container --net=host? See \`ip addr\`"

# `timeout` makes a process group and Ray stays in it: if Ray does not come up in time, none of it is left.
# Ray itself gives a busy host ten seconds to register:
# https://github.com/ray-project/ray/blob/ray-2.48.0/src/ray/common/ray_config_def.h
RAY_raylet_start_wait_time_s=$limit timeout --kill-after=10 "$limit" \
  ray \
  start \
  --address=10.1.0.10:6379 \
  --node-manager-port=6380 \
  --object-manager-port=6381 \
  --runtime-env-agent-port=6382 \
  --metrics-export-port=6383 \
  --dashboard-agent-listen-port=52365 \
  --dashboard-agent-grpc-port=6384 \
  --min-worker-port=10002 \
  --max-worker-port=19999 \
  --disable-usage-stats \
  --node-ip-address="$address" </dev/null &
group=$!
trap 'kill -TERM -- "-$group" 2>/dev/null; exit 130' INT TERM
wait "$group" || {
  status=$?
  kill -KILL -- "-$group" 2>/dev/null || true
  echo "ray-start.sh: on a worker: does Ray run on $head already, and does $gcs answer from here?" >&2
  die "\`ray start\` failed with status $status (124: not done in $limit s); what it said is above"
}

echo "Ray runs on $node. Next: ray-start.sh on the other nodes; when it has run on all of them, serve.sh on $head."
