# Starts Ray on this node and stays while Ray lives, so that the container's state is Ray's state.
# Parameters: this node's address, seconds that `ray start` may take, seconds that the head may be awaited, then
# the `ray start` command.
set -euo pipefail
address=$1
limit=$2
patience=$3
shift 3

# Ray stays in the process group that `timeout` makes for it below, so the group is exactly what was started
# here. A bare `ray stop` would end every Ray that it can see. A worker takes leave of its head at once; on
# the head some of Ray waits for what has ended already, so nobody gets more than three seconds.
group=
finish() {
  trap - TERM INT
  if [[ $group ]] && kill -TERM -- "-$group" 2>/dev/null; then
    for _ in {1..30}; do
      kill -0 -- "-$group" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
  fi
  exit "$1"
}
fail() {
  echo "ray-start: $1" >&2
  finish 1
}
trap 'echo "ray-start: told to stop, ending Ray" >&2; finish 0' TERM INT

# A signal interrupts `wait`, but not a command in the foreground.
pause() {
  sleep "$1" &
  wait "$!"
}

# On an address that is not this host's own, Ray retries for ever. The kernel reaches an own address from
# that very address; connecting a datagram socket sends nothing.
python3 -c 'import socket, sys
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.connect((sys.argv[1], 9))
sys.exit(datagram.getsockname()[0] != sys.argv[1])' "$address" 2>/dev/null ||
  fail "this host does not own $address: compare the spec's address with 'ip addr' on this host"

# The containers of a cluster may be started in any order: a worker waits for Ray on its head.
for word in "$@"; do
  [[ $word == --address=* ]] || continue
  head=${word#--address=}
  until python3 -c 'import socket, sys
socket.create_connection(sys.argv[1].split(":"), 5)' "$head" 2>/dev/null; do
    ((SECONDS < patience)) || fail "nothing answers at $head after $patience s: is the head up, is the port open?"
    pause 1
  done
done

# Ray itself gives a busy host ten seconds to register:
# https://github.com/ray-project/ray/blob/ray-2.48.0/src/ray/common/ray_config_def.h
RAY_raylet_start_wait_time_s=$limit timeout --kill-after=10 "$limit" "$@" </dev/null &
group=$!
wait "$group" || fail "ray start failed with status $? (124: not done in $limit s); see the lines above"
echo "ray-start: Ray runs on $address" >&2

# `ray start` leaves its processes on their own. The image may lack pgrep; /proc is always there.
vital=(raylet)
[[ " $* " != *" --head "* ]] || vital+=(gcs_server)
while pause 2; do
  for name in "${vital[@]}"; do
    grep -qsx "$name" /proc/[0-9]*/comm && continue
    tail -n 20 "/tmp/ray/session_latest/logs/$name".{out,err} >&2 || true
    fail "Ray's $name has died; what it said last is above"
  done
done
