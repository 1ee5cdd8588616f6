#!/usr/bin/env bash
# Checks this node before anything starts: its NPUs, their network, and the host. Run it as root on the host.
#
# It needs bash 4.2 and coreutils. It changes nothing: tools are only asked, never told, and the one file it
# makes (in the shared cache, to see that it can be written) is removed at once; only --nonce leaves one there
# until --forget. First comes what was planned for this node, then the checks, at the end the list of them.
# `verify.sh -h` says more.
# shellcheck disable=SC1003,SC1010,SC1097,SC1110,SC1111,SC1112,SC2016,SC2054,SC2088,SC2100,SC2209,SC2329 # values are meant literally, and checks are called by name

# ---- What was planned for this node ------------------------------------------------------------------

readonly CLUSTER=demo
readonly NODE=node-1
readonly ADDRESS=192.169.10.11
readonly INTERFACE=eth0
readonly CONTAINER=demo
readonly CACHE=/mnt/cache
readonly SHM_BYTES=17179869184
readonly IMAGE=quay.io/ascend/vllm-ascend:latest
readonly ROLE=worker HEAD=node-0
readonly WORKER_PORTS=10002-19999
readonly HCCL_FIRST=60000 HCCL_LAST=60015

readonly NPUS=(0 1 2 3 4 5 6 7)
readonly NPU_ADDRESSES=()
readonly NPU_DEVICES=(/dev/davinci0 /dev/davinci1 /dev/davinci2 /dev/davinci3 /dev/davinci4 /dev/davinci5 /dev/davinci6 /dev/davinci7)
readonly DEVICES=(/dev/davinci0 /dev/davinci1 /dev/davinci2 /dev/davinci3 /dev/davinci4 /dev/davinci5 /dev/davinci6 /dev/davinci7 /dev/davinci_manager /dev/devmm_svm /dev/hisi_hdc)

# How this generation of NPUs is asked: hccn_tool's words after `-i NPU`.
readonly ADDRESS_QUERY=(-ip -g)
readonly ADDRESS_KEY=ipaddr
readonly PING=(-ping -g address)
readonly SUPER_POD=False

# The model as vLLM is told, where its files lie on this host when that is a path below a mount, and the percentage
# of an NPU's memory that vLLM wants to find free.
readonly MODEL=Qwen/Qwen3-32B
readonly MODEL_FOLDER=''
readonly MEMORY_PERCENT=90
readonly HBM_PLANNED=65536 # MB of one NPU

# The container's limits: name, soft, hard.
readonly LIMITS=(
  memlock -1 -1
  nofile 1048576 1048576
)

# What the container mounts from the host.
readonly MOUNTS=(
  /usr/local/dcmi
  /usr/local/Ascend/driver/tools/hccn_tool
  /usr/local/Ascend/driver/lib64
  /usr/local/Ascend/driver/version.info
  /etc/ascend_install.info
  /etc/hccn.conf
  /usr/local/bin/npu-smi
  /mnt/cache
)

# Who will listen where.
readonly PORTS=(
  6380 'Ray node manager'
  6381 'Ray object manager'
  6382 'Ray runtime environment agent'
  6383 'Ray metrics export'
  6384 'Ray dashboard agent, gRPC'
  52365 'Ray dashboard agent, HTTP'
  10002-19999 'Ray workers'
  60000-60015 'HCCL bootstrap between hosts'
)

# The nodes to reach, with their address, and the ports to try there: one of each kind that peers talk to, and
# on the head the one that all connect to.
readonly HOSTS=(
  node-0 192.168.10.10
)
readonly REACH_PORTS=(6380 6381 10002 60000)
readonly HEAD_PORT=6379

# The NPUs to ping, as node:NPU and address. Each NPU here pings all of them (True), or in each node only
# the one of its own rank (False).
readonly EVERY_PAIR=True
readonly PEERS=(
)

# ---- From here on this file is the same on every node ------------------------------------------------

set -uf                        # but not -e: what a tool says is judged, and a failed check must not end the run
export LC_ALL=C                # tools answer in English, and text is bytes
readonly ROOT=${VERIFY_ROOT:-} # /etc, /proc, /sys, /dev ... are read below this folder

readonly CALL_SECONDS=20             # the limit of one call of any tool
readonly BUSY_PAUSES=(0.2 0.5 1 2 4) # seconds between tries while hccn_tool is busy: it serves one at a time
readonly DIES_PER_CARD=2             # NPUs of a card where there are super pods: npu-smi counts cards and dies

usage() {
  cat <<END
Usage: verify.sh [--only ID[,ID...]] [--skip ID[,ID...]] [--json | --list | --facts | -h]
       verify.sh --nonce WORD [...]; verify.sh --forget WORD

Checks that $NODE can be part of the cluster $CLUSTER. Changes nothing. Run it as root on the host.

  --only ID      run these checks alone: a name (link) or an id (link[3])
  --skip ID      leave these checks out
  --json         print one JSON document instead of lines
  --list         print the ids of the checks, run none
  --facts        print what the spec says of this node as the node itself has it: interface, NPU addresses
  --progress     say on stderr which check is run, a line each
  --running      this cluster runs here: what its own container holds is no fault (known by itself where docker is)
  --seconds N    after so long start no further check, and fail
  --nonce WORD   is the cache really shared? On $HEAD this leaves a mark there, on the others it looks for it.
                 The same WORD everywhere, $HEAD first; letters and digits.
  --forget WORD  remove that mark

A check is ok, warn (it may work: read why), FAIL (it will not work) or skip (it could not be looked at).
Exit status: 0 no check failed, 1 a check failed, 2 could not run (usage, no hccn_tool, not this node).
Environment: HCCN_TOOL, NPU_SMI and HCCN_CONF name these when they lie elsewhere; NO_COLOR; VERIFY_ROOT is
where the host's files are seen, when that is not /.
END
}

cannot_run() {
  printf 'verify.sh: %s\n' "$@" >&2
  exit 2
}

# Every check: where it is known from, and the command that shows the same by hand (% is what stands in its
# brackets). What hccn_tool and npu-smi were asked is remembered as it was asked.
declare -A SOURCE=() BY_HAND=()
ASKED=''

# ---- Reporting ---------------------------------------------------------------------------------------

declare -A COUNT=([ok]=0 [warn]=0 [FAIL]=0 [skip]=0) COLOR=([ok]='' [warn]='' [FAIL]='' [skip]='')
PLAIN=''
RESULTS=()
FAILURES=()
WIDTH=0 # of the longest id; the few that are longer than WIDEST stand out
readonly WIDEST=28

use_color() {
  [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]] || return 0
  COLOR=([ok]=$'\e[32m' [warn]=$'\e[33m' [FAIL]=$'\e[1;31m' [skip]=$'\e[2m')
  PLAIN=$'\e[0m'
}

# What a tool printed may hold any byte: keep whole UTF-8 characters, make one line of it, drop the rest.
readonly ASCII=$'[ -~]'
readonly UTF8_2=$'\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]'
readonly UTF8_3=$'\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]'
readonly UTF8_4=$'\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}'
readonly WHOLE="^($ASCII|$UTF8_2|$UTF8_3|$UTF8_4)+"
printable() {
  local rest=${1//$'\n'/; }
  PRINTABLE=''
  while [[ -n $rest ]]; do
    if [[ $rest =~ $WHOLE ]]; then
      PRINTABLE+=${BASH_REMATCH[0]}
      rest=${rest:${#BASH_REMATCH[0]}}
    else
      PRINTABLE+='?'
      rest=${rest:1}
    fi
  done
}

json_member() {
  local value=${2//\\/\\\\}
  JSON+="\"$1\": \"${value//\"/\\\"}\""
}

progress() {
  if [[ $PROGRESS == yes ]]; then
    [[ -z $1 ]] || printf '%s\n' "$1" >&2
  elif [[ -t 2 ]]; then
    printf '\r\e[K%s' "$1" >&2
  fi
}

# by_hand ID: VALUE becomes the command that shows what this check looked at.
by_hand() {
  local argument=${1#*\[}
  VALUE=${ASKED:-${BY_HAND[${1%%\[*}]:-}}
  [[ -n $ASKED || $VALUE != *%* ]] || printf -v VALUE '%s%q%s' "${VALUE%%\%*}" "${argument%\]}" "${VALUE#*\%}"
}

# report STATUS ID SEEN [EXPECTED NEXT]
report() {
  local status=$1 id seen expected next command source=${SOURCE[${2%%\[*}]:-}
  by_hand "$2"
  printable "$VALUE" && command=$PRINTABLE
  printable "$2" && id=$PRINTABLE
  printable "${3:0:300}" && seen=$PRINTABLE
  printable "${4:-}" && expected=$PRINTABLE
  printable "${5:-}" && next=$PRINTABLE
  ((COUNT[$status] += 1))
  [[ $status != FAIL ]] || FAILURES+=("$id")
  progress ''
  if [[ $FORMAT == json ]]; then
    JSON='    {'
    json_member id "$id" && JSON+=', '
    json_member status "$status" && JSON+=', '
    json_member seen "$seen" && JSON+=', '
    json_member expected "$expected" && JSON+=', '
    json_member next "$next" && JSON+=', '
    json_member by_hand "$command" && JSON+=', '
    json_member source "$source"
    RESULTS+=("$JSON}")
    return
  fi
  printf '%s%-4s%s  %-*s  %s\n' "${COLOR[$status]}" "$status" "$PLAIN" "$WIDTH" "$id" "$seen"
  [[ $status == warn || $status == FAIL ]] || return 0
  detail expected "$expected"
  detail 'to do' "$next"
  detail 'by hand' "$command"
  detail source "$source"
}

# detail WORD TEXT: a line below that of a check.
detail() {
  [[ -z $2 ]] || printf '%*s  %s\n' $((WIDTH + 6)) "$1" "$2"
}

ok() { report ok "$@"; }
warn() { report warn "$@"; }
fail() { report FAIL "$@"; }
skip() { report skip "$@"; }

# ---- Asking ------------------------------------------------------------------------------------------

# within SECONDS COMMAND...: runs it no longer than that; what it printed on both streams is left in ANSWER. It is
# read and not captured with $( ), so that Ctrl-C ends this script at once and not with the command.
within() {
  local part status seconds=$1
  shift
  ANSWER=''
  while IFS= read -r -d '' part; do ANSWER+=$part; done < <(
    timeout -k 5 "$seconds" "$@" 2>&1 </dev/null
    printf '\n%d' $?
  )
  ANSWER+=$part
  status=${ANSWER##*$'\n'}
  ANSWER=${ANSWER%$'\n'*}
  while [[ $ANSWER == *$'\n' ]]; do ANSWER=${ANSWER%$'\n'}; done
  return "$status"
}

# bounded COMMAND...: runs it within CALL_SECONDS; one that takes longer has given no answer.
bounded() {
  local status
  within "$CALL_SECONDS" "$@" && return
  status=$?
  ((status != 124 && status != 137)) || ANSWER="no answer within $CALL_SECONDS s"
  return "$status"
}

# hccn NPU WORD...: asks hccn_tool, again while it is busy. Its exit status means little: -link -g exits 0
# for a link that is down. So the answer is judged, whichever stream it came on.
hccn() {
  local npu=$1 pause
  shift
  ASKED="$HCCN_TOOL -i $npu $*"
  for pause in "${BUSY_PAUSES[@]}" ''; do
    bounded "$HCCN_TOOL" -i "$npu" "$@"
    [[ $ANSWER == *'hccn_tool is busy'* && -n $pause ]] || break
    sleep "$pause"
  done
  [[ -n $ANSWER ]] || ANSWER='no answer'
}

# npu_smi WORD...: asks npu-smi; false when there is none.
npu_smi() {
  ANSWER='no npu-smi here'
  [[ -n $NPU_SMI ]] || return 1
  ASKED="$NPU_SMI $*"
  bounded "$NPU_SMI" "$@"
}

# value_of KEY: VALUE becomes what stands after `KEY:` in ANSWER, spaced or not, up to a comma.
value_of() {
  local line pattern="^[[:space:]]*$1[[:space:]]*:[[:space:]]*([^,]*[^,[:space:]])"
  VALUE=''
  while IFS= read -r line; do
    [[ $line =~ $pattern ]] || continue
    VALUE=${BASH_REMATCH[1]}
    return 0
  done <<<"$ANSWER"
  return 1
}

# first_line FILE: VALUE becomes its first line, or nothing.
first_line() {
  VALUE=''
  [[ ! -r $1 ]] || read -r VALUE <"$1"
}

find_tools() {
  local path
  HCCN_CONF=${HCCN_CONF:-$ROOT/etc/hccn.conf}
  HCCN_TOOL=${HCCN_TOOL:-}
  for path in "$ROOT/usr/local/Ascend/driver/tools/hccn_tool" "$(type -P hccn_tool)"; do
    [[ -n $HCCN_TOOL || ! -x $path ]] || HCCN_TOOL=$path
  done
  NPU_SMI=${NPU_SMI:-}
  for path in "$ROOT"/usr/local/{bin,sbin}/npu-smi "$(type -P npu-smi)"; do
    [[ -n $NPU_SMI || ! -x $path ]] || NPU_SMI=$path
  done
  [[ -n $(type -P "$HCCN_TOOL") ]] || cannot_run \
    "no hccn_tool${HCCN_TOOL:+ at $HCCN_TOOL}: install the NPU driver, or name it: HCCN_TOOL=/path/to/hccn_tool"
}

# Every IPv4 address of this host and its interface: from `ip`, or else from what the kernel shows.
HOST_ADDRESSES=()
HOST_INTERFACES=()
read_addresses() {
  local interface address rest line
  if [[ -n $(type -P ip) ]] && bounded ip -o -4 addr show; then
    while read -r _ interface _ address rest; do
      [[ -n $address ]] || continue
      HOST_INTERFACES+=("${interface%%@*}")
      HOST_ADDRESSES+=("${address%%/*}")
    done <<<"$ANSWER"
    return
  fi
  [[ -r $ROOT/proc/net/fib_trie ]] || return 0
  while read -r line; do
    case $line in
      *'|-- '*) address=${line##*|-- } ;;
      */32\ host\ LOCAL*)
        [[ " ${HOST_ADDRESSES[*]-} " != *" $address "* ]] || continue
        HOST_ADDRESSES+=("$address")
        routed_by "$address"
        HOST_INTERFACES+=("$VALUE")
        ;;
    esac
  done <"$ROOT/proc/net/fib_trie"
}

# routed_by ADDRESS: VALUE becomes the interface whose own subnet holds it, or `?`.
routed_by() {
  local a b c d host interface destination gateway mask
  IFS=. read -r a b c d <<<"$1"
  host=$((a | b << 8 | c << 16 | d << 24)) # the kernel prints them in this byte order
  VALUE='?'
  while read -r interface destination gateway _ _ _ _ mask _; do
    [[ $gateway == 00000000 && $mask != 00000000 ]] || continue
    ((16#$destination == (host & 16#$mask))) || continue
    VALUE=$interface
    return
  done <"$ROOT/proc/net/route"
}

must_be_this_node() {
  [[ " ${HOST_ADDRESSES[*]-} " != *" $ADDRESS "* ]] || return 0
  cannot_run "no interface of this host owns $ADDRESS, the address of $NODE; it has: ${HOST_ADDRESSES[*]-none}" \
    "either this is not $NODE (each node has its own folder), or the address in the spec is wrong"
}

# ---- The host's network ------------------------------------------------------------------------------

SOURCE[interface]='https://github.com/vllm-project/vllm/issues/5094'
BY_HAND[interface]='ip link show'
check_interface() {
  local folder=$ROOT/sys/class/net/$INTERFACE state
  if [[ ! -e $folder ]]; then
    fail "$1" "$INTERFACE does not exist" "$INTERFACE exists and is up" \
      'find the name with: ip addr; then correct the interface in the spec'
    return
  fi
  first_line "$folder/operstate"
  state=$VALUE
  first_line "$folder/flags"
  # Some drivers never say more than `unknown`; then the flag IFF_UP has to do.
  if [[ $state == up || ($state == unknown && $((VALUE & 1)) == 1) ]]; then
    ok "$1" "$INTERFACE is $state"
  else
    fail "$1" "$INTERFACE is $state" "$INTERFACE is up" "ip link set $INTERFACE up; then look at cable and switch"
  fi
}

SOURCE[address]='https://github.com/vllm-project/vllm/issues/6329'
BY_HAND[address]='ip -4 addr show'
check_address() {
  local i owners='' others=''
  for i in "${!HOST_ADDRESSES[@]}"; do
    if [[ ${HOST_ADDRESSES[i]} == "$ADDRESS" ]]; then
      owners+=" ${HOST_INTERFACES[i]}"
    elif [[ ${HOST_INTERFACES[i]} == "$INTERFACE" ]]; then
      others+=" ${HOST_ADDRESSES[i]}"
    fi
  done
  if [[ $owners == ' ?' ]]; then
    warn "$1" "$ADDRESS is here, but not visible on which interface" "$INTERFACE owns it" "compare with: ip addr"
  elif [[ $owners != " $INTERFACE" ]]; then
    fail "$1" "$ADDRESS is on$owners" "$INTERFACE owns $ADDRESS, and no other interface does" \
      'correct interface or address in the spec: Gloo and HCCL would use the wrong network and hang'
  elif [[ -n $others ]]; then
    warn "$1" "$INTERFACE has $ADDRESS and also$others" "$ADDRESS alone" \
      'Gloo takes the first address of an interface: remove the others, or make sure that peers reach them'
  else
    ok "$1" "$ADDRESS is on $INTERFACE alone"
  fi
}

SOURCE[hostname]='https://github.com/vllm-project/vllm/issues/7074'
BY_HAND[hostname]='getent ahosts "$(uname -n)"'
check_hostname() {
  local name
  name=$(uname -n)
  if [[ -z $(type -P getent) ]]; then
    skip "$1" 'no getent here to resolve with'
    return
  fi
  bounded getent ahosts "$name"
  if [[ $'\n'$ANSWER =~ $'\n'(127\.[0-9.]+|::1)[[:space:]] ]]; then
    # Debian's default, and harmless while every address is given, as this cluster's files do.
    warn "$1" "$name resolves to ${BASH_REMATCH[1]}" "$ADDRESS, or nothing" \
      "in /etc/hosts let $name be $ADDRESS: software that asks for its own name would tell peers a loopback address"
  else
    ok "$1" "$name does not resolve to loopback"
  fi
}

readonly REACH_SECONDS=3

# For a bash of its own: tries all PORTS of ADDRESS at the same time, and prints a line `port what the system said`
# for each; those that say nothing until the time is up have none.
readonly TRY_PORTS='
for port in "${@:2}"; do
  {
    said=$({ : 3<>"/dev/tcp/$1/$port"; } 2>&1) && said=connected
    printf "%s %s\n" "$port" "${said##*: }"
  } &
done
wait'

# Nobody listens before Ray starts, so a refusal is what an open way looks like. A firewall that refuses looks the
# same; one that drops, the usual kind, does not. Where nothing at all is heard, the node may just be down: only
# `compiler verify`, which asks that node too, knows better.
SOURCE[reach]='https://github.com/ray-project/ray/issues/55137'
check_reach() {
  local address=${HOST_ADDRESS[$2]} ports=("${REACH_PORTS[@]}") port words reason reasons=() seen='' heard=no
  local -A said=() blocked=()
  [[ $2 != "$HEAD" ]] || ports+=("$HEAD_PORT")
  ASKED="timeout $REACH_SECONDS bash -c '</dev/tcp/$address/${ports[0]}'"
  within "$REACH_SECONDS" "$BASH" -c "$TRY_PORTS" reach "$address" "${ports[@]}"
  while read -r port words; do said[${port:--}]=$words; done <<<"$ANSWER"
  for port in "${ports[@]}"; do
    reason=${said[$port]:-no answer within $REACH_SECONDS s}
    [[ $reason == 'no answer'* || $reason == 'No route to host' ]] || heard=yes
    [[ $reason != connected && $reason != 'Connection refused' ]] || continue
    [[ -n ${blocked[$reason]:-} ]] || reasons+=("$reason")
    blocked[$reason]+=" $port"
  done
  if ((${#reasons[@]} == 0)); then
    ok "$1" "$address answers on ${ports[*]}"
  elif [[ ${reasons[0]} == 'No such file or directory' ]]; then
    skip "$1" 'this bash cannot connect: it was built without /dev/tcp'
  else
    for reason in "${reasons[@]}"; do seen+="${seen:+; }$reason:${blocked[$reason]}"; done
    if [[ $heard == no ]]; then
      warn "$1" "$address is silent: $seen" "$address answers on ${ports[*]}" \
        'when it is up, run this again; if it is, a firewall drops everything, or the route is wrong'
      return
    fi
    fail "$1" "$seen" "$address answers on ${ports[*]}" \
      "is it up, is this its address, and the route right: ip route get $address? Then let firewalls pass these ports"
  fi
}

LISTENING=() # by port, so that they come in order
read_listening() {
  local file address state
  ((${#LISTENING[@]} == 0)) || return 0
  LISTENING[0]=1
  for file in "$ROOT"/proc/net/tcp{,6}; do
    [[ -r $file ]] || continue
    while read -r _ address _ state _; do
      [[ $state != 0A ]] || LISTENING[16#${address##*:}]=1
    done <"$file"
  done
}

SOURCE[port]='https://github.com/vllm-project/vllm-ascend/issues/16237'
BY_HAND[port]='ss -ltnp # port %'
check_port() {
  local range=$2 port taken=''
  read_listening
  for port in "${!LISTENING[@]}"; do
    ((port < ${range%-*} || port > ${range#*-})) || taken+=" $port"
  done
  if [[ -z $taken ]]; then
    ok "$1" "free for ${OWNER[$range]}"
    return
  fi
  if ours_runs; then
    skip "$1" "in use:$taken, while this cluster's own container $CONTAINER runs"
  elif [[ $range == "$WORKER_PORTS" ]]; then
    # Ray tries each port of this range and takes the free ones (src/ray/raylet/worker_pool.cc, GetNextFreePort).
    warn "$1" "in use:$taken" "free for ${OWNER[$range]}" \
      'nothing: Ray takes the others of this range; whatever listens there must stay within its own ports'
  else
    fail "$1" "in use:$taken" "free for ${OWNER[$range]}" \
      "see who listens with: ss -ltnp; stop it, or choose another port under ports in the spec"
  fi
}

# The kernel gives ports out of ip_local_port_range to any outgoing connection; HCCL then cannot bind them.
SOURCE['reserved-ports']='https://github.com/vllm-project/vllm-ascend/issues/405'
BY_HAND['reserved-ports']='sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports'
check_reserved_ports() {
  local reserved first last port range missing=0 wanted="$HCCL_FIRST-$HCCL_LAST"
  first_line "$ROOT/proc/sys/net/ipv4/ip_local_port_range"
  read -r first last <<<"${VALUE:-32768 60999}"
  first_line "$ROOT/proc/sys/net/ipv4/ip_local_reserved_ports"
  reserved=$VALUE
  for ((port = HCCL_FIRST; port <= HCCL_LAST; port++)); do
    ((port >= first && port <= last)) || continue
    for range in ${reserved//,/ } 0; do
      ((port < ${range%-*} || port > ${range#*-})) || continue 2
    done
    ((missing += 1))
  done
  if ((missing == 0)); then
    ok "$1" "the kernel gives $wanted to no one else"
  else
    warn "$1" "${reserved:-nothing} is reserved, and the kernel gives out $first-$last" \
      "HCCL's $wanted is reserved" "sysctl -w net.ipv4.ip_local_reserved_ports=${reserved:+$reserved,}$wanted"
  fi
}

# ---- The host ----------------------------------------------------------------------------------------

readonly MIB=$((1024 * 1024)) GIB=$((1024 * 1024 * 1024))

SOURCE[device]='https://docs.vllm.ai/projects/ascend/en/latest/installation.html'
check_device() {
  printf -v ASKED 'ls -l %q' "$2"
  if [[ -c $ROOT$2 ]]; then
    ok "$1" present
  else
    fail "$1" 'no such device node' 'a character device' \
      'look at the driver with: npu-smi info; and correct npus or devices in the spec'
  fi
}

SOURCE[mount]='https://docs.docker.com/engine/storage/bind-mounts/'
check_mount() {
  printf -v ASKED 'stat -- %q' "$2"
  # stat in a process of its own: a dead NFS server would hang bash itself.
  if bounded stat -- "$ROOT$2"; then
    ok "$1" present
  else
    fail "$1" "$ANSWER" 'it exists: the container mounts it' \
      'install the driver, or correct the path in the spec; Docker would otherwise refuse to start'
  fi
}

# space_of PATH: of the file system that holds it, KIND, FREE_GIB and USED_PERCENT (of what is not kept for root,
# as Ray reckons too); false when it does not say.
KIND='' FREE_GIB=0 USED_PERCENT=0
space_of() {
  local block blocks free
  bounded stat -f -c '%S %b %a %T' -- "$ROOT$1" || return
  read -r block blocks free KIND <<<"$ANSWER"
  [[ $block$blocks$free =~ ^[0-9]+$ ]] || return
  ((block > 0 && block <= GIB && blocks > 0)) || return
  FREE_GIB=$((free / (GIB / block))) # their product may need more than 63 bits
  USED_PERCENT=$(((blocks - free) * 100 / blocks))
}

# The one file that is made, and removed at once: it shows that the cache can be written, and what time it is there.
# AHEAD is the seconds that this host's clock is ahead of the one that stamps files, or empty where it is unknown.
PROBE='' PROBED=no PROBE_FAULT='' PROBE_KIND='' PROBE_GIB='' AHEAD=''
probe_cache() {
  local before after
  [[ $PROBED == no ]] || return 0
  PROBED=yes
  printf -v before '%(%s)T' -1
  if ! bounded mktemp -- "$ROOT$CACHE/.verify.XXXXXXXXXX"; then
    PROBE_FAULT=$ANSWER
    return
  fi
  PROBE=$ANSWER
  printf -v after '%(%s)T' -1
  ! bounded stat -c %Y -- "$PROBE" || compare_clocks "$before" "$ANSWER" "$after"
  remove_probe
  ! space_of "$CACHE" || PROBE_KIND=$KIND PROBE_GIB=$FREE_GIB
}

# compare_clocks BEFORE STAMP AFTER: a stamp between the two differs by nothing, however long it took to get it.
compare_clocks() {
  [[ $2 =~ ^[0-9]+$ ]] || return
  AHEAD=0
  (($2 >= $1)) || AHEAD=$(($1 - $2))
  (($2 <= $3)) || AHEAD=$(($3 - $2))
}

remove_probe() {
  [[ -z $PROBE ]] || bounded rm -f -- "$PROBE"
  PROBE=''
}

# Ranks that are minutes apart give up on each other as if the network were broken, with EI0006.
readonly CLOCK_SECONDS=5 CLOCK_SECONDS_MOST=120
SOURCE[clock]='https://github.com/vllm-project/vllm-ascend/issues/5461'
check_clock() {
  local seen way=from apart
  local next='let chrony or ntpd set the clock, of all nodes and of the storage, from one source'
  printf -v ASKED 'file=$(mktemp -p %q) && date && stat -c %%y "$file" && rm "$file"' "$CACHE"
  probe_cache
  if [[ -z $AHEAD ]]; then
    skip "$1" "no file could be made in $CACHE to see what time it is there"
    return
  fi
  apart=${AHEAD#-}
  ((AHEAD <= 0)) || way='ahead of'
  ((AHEAD >= 0)) || way=behind
  seen="this host is $apart s $way the clock that stamps files in $CACHE (${PROBE_KIND:-of unknown type})"
  if ((apart <= CLOCK_SECONDS)); then
    ok "$1" "$seen"
  elif ((apart <= CLOCK_SECONDS_MOST)); then
    warn "$1" "$seen" "$CLOCK_SECONDS s at most" "$next"
  else
    fail "$1" "$seen" "$CLOCK_SECONDS s at most" "$next"
  fi
}

SOURCE[cache]='https://github.com/vllm-project/vllm/issues/2289'
check_cache() {
  if [[ $2 == shared ]]; then
    check_shared_cache "$1"
    return
  fi
  printf -v ASKED 'ls -ld %q; df -hT %q' "$CACHE" "$CACHE"
  probe_cache
  if [[ -n $PROBE_FAULT ]]; then
    fail "$1" "$PROBE_FAULT" "$CACHE is there and root can write in it" \
      "mount the shared storage at $CACHE; with NFS, root_squash is what keeps root from writing"
  else
    ok "$1" "$CACHE is writable, on ${PROBE_KIND:-storage of unknown type}${PROBE_GIB:+, $PROBE_GIB GiB free}"
  fi
}

# The head's mark, which holds its name. It stays until --forget: the other nodes are yet to look for it.
readonly MARK_PAUSES=(0.2 0.4 0.8 1.6) # between tries: with NFS a new file may show up late
name_mark() {
  MARK=$CACHE/.verify-$CLUSTER-$NONCE
  printf -v ASKED 'cat %q' "$MARK"
}

# forget_old_marks: of runs that were killed before they could take theirs away.
readonly MARK_SECONDS=3600
readonly LIST_MARKS='cd -- "$1" && exec stat -c "%Y %n" -- ".verify-$2-"*'
forget_old_marks() {
  local now time name
  printf -v now '%(%s)T' -1
  bounded "$BASH" -c "$LIST_MARKS" marks "$ROOT$CACHE" "$CLUSTER" || return 0
  while read -r time name; do
    # A name may hold a line break, and then what looks like another line: only what we would write is removed.
    [[ $time =~ ^[0-9]+$ && $name =~ ^\.verify-$CLUSTER-[A-Za-z0-9]+$ ]] || continue
    ((now - time > MARK_SECONDS)) || continue
    bounded rm -f -- "$ROOT$CACHE/$name"
  done <<<"$ANSWER"
}

check_shared_cache() {
  local said
  name_mark
  if [[ $ROLE != head ]]; then
    look_for_mark "$1"
    return
  fi
  forget_old_marks
  # -C: what is there already is not written over; it may be ours, from before.
  if bounded "$BASH" -C -c 'printf "%s\n" "$1" >"$2"' mark "$NODE" "$ROOT$MARK"; then
    ok "$1" 'left a mark for the others'
  else
    said=${ANSWER#*: line *: }
    if bounded cat -- "$ROOT$MARK" && [[ $ANSWER == "$NODE" ]]; then
      ok "$1" 'left a mark for the others'
    else
      fail "$1" "$said" "a mark for the others can be left in $CACHE" \
        'see the check cache; if a file of this name is there already, take another --nonce'
    fi
  fi
}

look_for_mark() {
  local pause
  for pause in "${MARK_PAUSES[@]}" ''; do
    if bounded cat -- "$ROOT$MARK" && [[ $ANSWER == "$HEAD" ]]; then
      ok "$1" "the mark of $HEAD is here"
      return
    fi
    [[ -n $pause && $ANSWER != 'no answer'* ]] || break
    sleep "$pause"
  done
  fail "$1" "no mark of $HEAD: $ANSWER" "the file that $HEAD left" \
    "mount at $CACHE the storage that $HEAD has there; or run verify.sh with this --nonce on $HEAD first"
}

forget_mark() {
  name_mark
  bounded stat -- "$ROOT$CACHE" || cannot_run "the mark cannot be removed: $ANSWER"
  bounded rm -f -- "$ROOT$MARK" || cannot_run "the mark cannot be removed: $ANSWER"
}

SOURCE[memory]='https://github.com/vllm-project/vllm-ascend/pull/3645'
BY_HAND[memory]='head -3 /proc/meminfo'
check_memory() {
  local key amount total=0 available='' shm="$((SHM_BYTES / GIB)) GiB"
  while read -r key amount _; do
    case $key in
      MemTotal:) total=$amount ;;
      MemAvailable:) available=$amount ;; # Linux 3.14 and later
    esac
  done <"$ROOT/proc/meminfo"
  if ((total * 1024 < SHM_BYTES)); then
    warn "$1" "$((total / MIB)) GiB of memory" "more than the container's /dev/shm, $shm" \
      'lower container.shm_size in the spec: filling it would get processes killed'
  elif ((${available:-total} * 1024 < SHM_BYTES)) && ! ours_runs; then
    warn "$1" "$((available / MIB)) of $((total / MIB)) GiB of memory are available" \
      "more than the container's /dev/shm, $shm" \
      'see who has it: ps -eo rss,args --sort=-rss; stop that, or lower container.shm_size in the spec'
  else
    ok "$1" "$((total / MIB)) GiB of memory for $shm of /dev/shm"
  fi
}

# Not even root may set the hard limit of open files above nr_open. The other limits bind nobody who is root, as
# Docker is; but one for processes has no effect above what the host has numbers for.
SOURCE[ulimits]='https://man7.org/linux/man-pages/man2/setrlimit.2.html'
BY_HAND[ulimits]='cd /proc/sys && head fs/nr_open kernel/pid_max kernel/threads-max'
check_ulimits() {
  local i name hard seen='' open='' processes='' files most
  first_line "$ROOT/proc/sys/fs/nr_open"
  files=$VALUE
  most_processes
  most=$VALUE
  for ((i = 0; i < ${#LIMITS[@]}; i += 3)); do
    name=${LIMITS[i]} hard=${LIMITS[i + 2]}
    seen+="${seen:+, }$name ${hard/#-1/unlimited}"
    case $name in
      nofile) [[ -z $files ]] || ((hard >= 0 && hard <= files)) || open=$hard ;;
      nproc) [[ -z $most ]] || ((hard <= most)) || processes=$hard ;;
    esac
  done
  if [[ -n $open ]]; then
    fail "$1" "nofile ${open/#-1/unlimited}" "$files at most, the host's fs.nr_open" \
      'lower container.ulimits.nofile in the spec, or raise fs.nr_open with sysctl: the container would not start'
  elif [[ -n $processes ]]; then
    warn "$1" "nproc $processes" "$most at most, the host's kernel.pid_max and kernel.threads-max" \
      'raise these two with sysctl, or lower container.ulimits.nproc in the spec'
  else
    ok "$1" "${seen:-none is set}"
  fi
}

# most_processes: VALUE becomes how many there can be on this host, or nothing where that is not told.
most_processes() {
  local name most=''
  for name in pid_max threads-max; do
    first_line "$ROOT/proc/sys/kernel/$name"
    [[ -z $VALUE ]] || ((VALUE >= ${most:-VALUE + 1})) || most=$VALUE
  done
  VALUE=$most
}

# Ray keeps its session and what it spills in the container's layer, so below Docker's folder. When that file system
# is 95 % full (local_fs_capacity_threshold), Ray makes no more objects.
readonly DISK_PERCENT=90 DISK_PERCENT_MOST=95 DISK_GIB=20
SOURCE[disk]='https://docs.ray.io/en/releases-2.48.0/ray-core/objects/object-spilling.html'
BY_HAND[disk]="df -h \"\$(docker info --format '{{.DockerRootDir}}')\""
check_disk() {
  local folder seen expected="less than $DISK_PERCENT % used and $DISK_GIB GiB free"
  local next='make room there: docker system df tells what images and stopped containers take'
  docker_folder
  for folder in "${VALUE:-/var/lib/docker}" /var/lib/docker / ''; do
    [[ -z $folder ]] || ! space_of "$folder" || break
  done
  seen="$FREE_GIB GiB free, $USED_PERCENT % used at $folder"
  if [[ -z $folder ]]; then
    skip "$1" "no file system says how full it is: $ANSWER"
  elif ((USED_PERCENT >= DISK_PERCENT_MOST)); then
    fail "$1" "$seen" "$expected" "$next"
  elif ((USED_PERCENT >= DISK_PERCENT || FREE_GIB < DISK_GIB)); then
    warn "$1" "$seen" "$expected" "$next"
  else
    ok "$1" "$seen"
  fi
}

SOURCE[driver]='https://github.com/vllm-project/vllm-ascend/issues/5468'
BY_HAND[driver]='cat /usr/local/Ascend/driver/version.info'
check_driver() {
  local file=$ROOT/usr/local/Ascend/driver/version.info line package='' version=''
  if [[ -r $file ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      # Newer drivers keep the release in package_version, and something else in Version.
      case $line in
        package_version=*) package=${line#*=} ;;
        Version=*) version=${line#*=} ;;
      esac
    done <"$file"
  fi
  if [[ -n $package$version ]]; then
    ok "$1" "${package:-$version}"
  else
    fail "$1" "no version in $file" 'the version of the NPU driver' 'install the NPU driver'
  fi
}

# ---- The model's files -------------------------------------------------------------------------------
# Every node reads them by itself, so each looks at its own; what it says of them must be the same everywhere.

# For a bash of its own: prints the first folder below CACHE that holds the model HUGGINGFACE, or MODELSCOPE or NAME.
# A snapshot is of one revision; refs/main names the one that is taken.
readonly FIND_MODEL='
exec 2>/dev/null
cd -- "$1" || exit
snapshots=huggingface/hub/models--$2/snapshots
read -r main <"huggingface/hub/models--$2/refs/main"
for folder in "$snapshots/$main" "$snapshots"/* modelscope/hub/{models/,}{"$3","$4"}; do
  [[ ! -e $folder/config.json ]] || { printf "%s" "$folder" && exit; }
done
exit 1'

# find_model: VALUE becomes the folder on this host that has the model, or nothing.
find_model() {
  local name=${MODEL##*/} masked
  VALUE=$MODEL_FOLDER
  [[ -z $VALUE ]] || return 0
  masked=${MODEL%"$name"}${name//./___} # as ModelScope writes it
  bounded "$BASH" -c "$FIND_MODEL" model "$ROOT$CACHE" "${MODEL//\//--}" "$masked" "$MODEL" || return 0
  VALUE=$CACHE/$ANSWER
}

# For a bash of its own: prints the digest of FOLDER's config.json, how the weights are quantised when it says so, and
# size and name of each file that has weights or is an index of them. Links are followed: Hugging Face keeps the
# files themselves elsewhere.
readonly READ_MODEL='
cd -- "$1" && sha256sum <config.json || exit
method="\"quant_method\"[[:space:]]*:[[:space:]]*\"([a-z0-9_-]+)\""
[[ ! $(<config.json) =~ $method ]] || echo "quantised ${BASH_REMATCH[1]}"
exec stat -L -c "%s %n" -- *.safetensors *.bin *.safetensors.index.json'

# read_model FOLDER: CONFIG, QUANTISED, SIZES, WEIGHTS and INDEX become what it has; false without a config.json.
CONFIG='' QUANTISED='' INDEX='' WEIGHTS=()
declare -A SIZES=()
read_model() {
  local size name
  bounded "$BASH" -c "$READ_MODEL" model "$ROOT$1"
  [[ $ANSWER =~ ^([0-9a-f]{12})[0-9a-f]{52}\  ]] || return
  CONFIG=${BASH_REMATCH[1]}
  while read -r size name; do
    [[ $size != quantised ]] || QUANTISED=$name
    [[ $size =~ ^[0-9]+$ && -n $name ]] || continue
    SIZES[$name]=$size
    if [[ $name != *.index.json ]]; then
      ((size == 0)) || WEIGHTS+=("$name")
    elif [[ -z $INDEX || $name == model.* ]]; then
      INDEX=$name
    fi
  done <<<"$ANSWER"
}

# For a bash of its own: cuts an index, which may be one line of megabytes, at its commas and braces, so that there
# is a line `"tensor": "file"` for each tensor; and prints one for each file.
readonly READ_INDEX='tr "\n\r\t,{}" "   \n\n\n" <"$1" | sort -t : -k 2 -u'

# read_index FILE: SHARDS becomes the files that it names, and TOTAL their size, or 0 when it does not say.
SHARDS=() TOTAL=0
read_index() {
  local line shard='": *"([^"]+\.(safetensors|bin))" *$' total='"total_size" *: *([0-9]+)'
  local -A seen=()
  bounded "$BASH" -c "$READ_INDEX" model "$ROOT$1"
  while IFS= read -r line; do
    if [[ $line =~ $shard && -z ${seen[${BASH_REMATCH[1]}]:-} ]]; then
      SHARDS+=("${BASH_REMATCH[1]}")
      seen[${BASH_REMATCH[1]}]=yes
    elif [[ $line =~ $total ]]; then
      TOTAL=$((10#${BASH_REMATCH[1]}))
    fi
  done <<<"$ANSWER"
}

SOURCE[model]='https://github.com/vllm-project/vllm/issues/10886'
check_model() {
  local folder
  printf -v ASKED 'ls -d %q/{huggingface,modelscope}/hub/*' "$CACHE"
  if [[ -z $MODEL_FOLDER && $MODEL == /* ]]; then
    skip "$1" "$MODEL lies inside the image"
    return
  fi
  find_model
  folder=$VALUE
  if [[ -z $folder ]]; then
    warn "$1" "$MODEL is not in $CACHE" 'config.json and the weights, where Hugging Face or ModelScope keep them' \
      'download it into the cache before: else vLLM does, on every node at its start, and needs the internet for it'
    return
  fi
  printf -v ASKED 'ls -lL %q' "$folder"
  if ! read_model "$folder"; then
    fail "$1" "${ANSWER#*: line *: }" "config.json and the weights in $folder" \
      'download the model there; or mount what holds it, or correct the path in the spec'
    return
  fi
  if [[ $QUANTISED == fp8 ]]; then
    # https://github.com/vllm-project/vllm-ascend/issues/2077
    fail "$1" 'weights in fp8' 'weights in bf16, or quantised for Ascend' \
      'take another variant of the model: these NPUs have no fp8'
    return
  fi
  if [[ -n $INDEX ]]; then
    read_index "$folder/$INDEX"
  elif ((${#WEIGHTS[@]} > 0)); then
    SHARDS=("${WEIGHTS[@]}")
  fi
  judge_shards "$1"
}

# judge_shards ID: none is missing, and none was cut off.
judge_shards() {
  local shard absent=() sum=0 size seen next='download the model again, until it is whole'
  if ((${#SHARDS[@]} == 0)); then
    fail "$1" "${INDEX:+$INDEX names }no weights" '*.safetensors or *.bin' "$next"
    return
  fi
  for shard in "${SHARDS[@]}"; do
    ((${SIZES[$shard]:-0} > 0)) || absent+=("$shard")
    ((sum += ${SIZES[$shard]:-0}))
  done
  if ((${#absent[@]} > 0)); then
    seen="${#absent[@]} of ${#SHARDS[@]} are missing or empty: ${absent[*]:0:3}"
    ((${#absent[@]} <= 3)) || seen+=' ...'
    fail "$1" "$seen" "every file that $INDEX names" "$next"
  elif ((sum < TOTAL)); then
    fail "$1" "the weights have $sum bytes" "$TOTAL bytes at least, as $INDEX says" \
      "$next; where they are pointers of git-lfs: git lfs pull"
  else
    size="$((sum / GIB)) GiB"
    ((sum >= GIB)) || size="$((sum / MIB)) MiB"
    ok "$1" "${#SHARDS[@]} shards, $size, config.json sha256 $CONFIG"
  fi
}

# ---- Docker ------------------------------------------------------------------------------------------

# ask_docker: DOCKER becomes yes when the daemon answers, and DOCKER_SAID its version; else no, and why not.
DOCKER=unasked DOCKER_SAID=''
ask_docker() {
  [[ $DOCKER == unasked ]] || return 0
  DOCKER=no DOCKER_SAID='no docker here'
  type -P docker >/dev/null || return 0
  ! bounded docker version --format '{{.Server.Version}}' || DOCKER=yes
  # Warnings, of a broken configuration for one, come before what was asked for.
  if [[ $DOCKER == yes ]]; then DOCKER_SAID=${ANSWER##*$'\n'}; else DOCKER_SAID=$ANSWER; fi
}

SOURCE[docker]='https://docs.docker.com/reference/cli/docker/version/'
BY_HAND[docker]='docker version'
check_docker() {
  ask_docker
  if [[ $DOCKER == yes ]]; then
    ok "$1" "$DOCKER_SAID"
  else
    fail "$1" "$DOCKER_SAID" 'the version of the Docker daemon' \
      'install Docker, or see why its daemon does not answer: systemctl status docker'
  fi
}

# docker_folder: VALUE becomes where Docker keeps its images and containers, or nothing.
docker_folder() {
  VALUE=''
  ask_docker
  [[ $DOCKER == yes ]] && bounded docker info --format '{{.DockerRootDir}}' || return 0
  VALUE=${ANSWER##*$'\n'}
}

readonly NO_DOCKER='docker does not answer here'

SOURCE[image]='https://docs.vllm.ai/projects/ascend/en/latest/installation.html'
check_image() {
  printf -v ASKED 'docker image inspect %q' "$IMAGE"
  ask_docker
  if [[ $DOCKER == no ]]; then
    skip "$1" "$NO_DOCKER"
  elif bounded docker image inspect --format '{{.Id}}' "$IMAGE"; then
    ok "$1" "${ANSWER##*$'\n'}" # the same for an image that was pulled and one that was loaded from a file
  else
    fail "$1" "$ANSWER" "$IMAGE" \
      "docker pull $IMAGE; where there is no internet, docker save it elsewhere and docker load it here"
  fi
}

# What is known of each container, a line each: name, whether it runs, two of our labels, and its devices.
readonly CONTAINER_FORMAT='{{.Name}} {{.State.Running}} {{with .Config.Labels}}
{{- printf "%q %q" (index . "ascend-cluster.name") (index . "ascend-cluster.role")}}
{{- else}}"" ""{{end}} {{range .HostConfig.Devices}}{{.PathOnHost}} {{end}}'

# read_docker: HOLDER of each device that a running container has; OURS_RUNS when this cluster's own container
# does; CLASH when another has its name. Where that is not known, CONTAINERS_FAULT says why.
DOCKER_READ=no CONTAINERS_FAULT='' CLASH=no OURS_RUNS=no
declare -A HOLDER=()
read_docker() {
  local id ids=() name runs cluster role devices
  [[ $DOCKER_READ == no ]] || return 0
  DOCKER_READ=yes
  ask_docker
  if [[ $DOCKER == no ]]; then
    CONTAINERS_FAULT=$NO_DOCKER
  elif ! bounded docker ps --all --quiet --no-trunc; then
    CONTAINERS_FAULT=$ANSWER
  fi
  [[ -z $CONTAINERS_FAULT ]] || return 0
  while read -r id; do
    [[ ! $id =~ ^[0-9a-f]{64}$ ]] || ids+=("$id")
  done <<<"$ANSWER"
  ((${#ids[@]} > 0)) || return 0
  # It fails for a container that was removed since, and still tells the others.
  bounded docker inspect --format "$CONTAINER_FORMAT" "${ids[@]}"
  [[ $ANSWER == /* || $ANSWER == *$'\n/'* ]] || CONTAINERS_FAULT=$ANSWER
  while read -r name runs cluster role devices; do
    note_container "${name#/}" "$runs" "$cluster" "$role" "$devices"
  done <<<"$ANSWER"
}

# note_container NAME RUNS CLUSTER ROLE DEVICES
note_container() {
  local device
  [[ $4 != '"verify"' ]] || return 0 # such a one is there only while `compiler verify` asks
  if [[ $1 == "$CONTAINER" && $3 == "\"$CLUSTER\"" ]]; then
    [[ $2 != true ]] || OURS_RUNS=yes
    return
  fi
  [[ $1 != "$CONTAINER" ]] || CLASH=yes
  [[ $2 == true ]] || return
  for device in $5; do HOLDER[$device]=$1; done
}

# ours_runs: true while this cluster's own container runs here.
ours_runs() {
  [[ $OURS_RUNS == yes ]] || read_docker
  [[ $OURS_RUNS == yes ]]
}

# An NPU that another container has is lost for this one.
SOURCE[containers]='https://github.com/vllm-project/vllm-ascend/issues/2698'
BY_HAND[containers]="docker ps --all; docker inspect --format '{{.Name}} {{.HostConfig.Devices}}' CONTAINER"
check_containers() {
  local device held='' free='no other running container has these NPUs'
  read_docker
  for device in "${NPU_DEVICES[@]}"; do
    [[ -z ${HOLDER[$device]:-} ]] || held+="${held:+, }$device by ${HOLDER[$device]}"
  done
  if [[ -n $CONTAINERS_FAULT ]]; then
    skip "$1" "who holds the NPUs is unknown: $CONTAINERS_FAULT"
  elif [[ $CLASH == yes ]]; then
    fail "$1" "another container is called $CONTAINER" 'nobody has this name' \
      'remove or rename that container, or give this cluster another name: it was not made by this program'
  elif [[ -n $held ]]; then
    fail "$1" "held: $held" "$free" 'stop that container, or leave its NPUs out with npus in the spec'
  else
    ok "$1" "$free"
  fi
}

# ---- What npu-smi says of the cards ------------------------------------------------------------------
# What npu-smi prints is in its source: https://github.com/hicann/driver (src/custom/dev_prod/user/npucli/src).

readonly DOCS=https://github.com/vllm-project/vllm-ascend/blob/main/docs/source

# once ASK...: asks, or remembers the answer to the same question: one answer serves several checks.
declare -A SAID=() HOW=()
once() {
  local question=$*
  if [[ -z ${SAID[$question]+said} ]]; then
    "$@"
    SAID[$question]=$ANSWER HOW[$question]=$ASKED
  fi
  ANSWER=${SAID[$question]} ASKED=${HOW[$question]}
}

# place NPU: its CARD and DIE, as npu-smi counts them.
place() {
  CARD=$1 DIE=0
  [[ $SUPER_POD == False ]] || CARD=$(($1 / DIES_PER_CARD)) DIE=$(($1 % DIES_PER_CARD))
}

# group WHAT VALUES: KINDS become the different values, and SEEN says who has which. VALUES are `number value`, a
# line each; what could not be read is `-`, and left out.
group() {
  local what=$1 number value
  local -A who=()
  KINDS=() SEEN=''
  while read -r number value; do
    [[ ${value:--} != - ]] || continue
    [[ -n ${who[$value]:-} ]] || KINDS+=("$value")
    who[$value]+=" $number"
  done <<<"$2"
  for value in ${KINDS[@]+"${KINDS[@]}"}; do SEEN+="${SEEN:+; }$value on $what${who[$value]}"; done
}

SOURCE[firmware]=$DOCS/installation.md
BY_HAND[firmware]='npu-smi info -t board -i 0'
check_firmware() {
  local npu cards='' values='' silent=''
  if [[ -z $NPU_SMI ]]; then
    skip "$1" 'no npu-smi here'
    return
  fi
  for npu in "${NPUS[@]}"; do
    place "$npu"
    [[ "$cards " != *" $CARD "* ]] || continue
    cards+=" $CARD"
    npu_smi info -t board -i "$CARD"
    value_of 'Firmware Version' || silent+=" $CARD"
    values+="$CARD ${VALUE:--}"$'\n'
  done
  ASKED="for i in$cards; do $NPU_SMI info -t board -i \$i; done"
  group card "$values"
  if ((${#KINDS[@]} > 1)); then
    fail "$1" "$SEEN" 'the same firmware on all cards' \
      'bring all cards to one version: the packages of driver and firmware belong together'
  elif [[ -n $silent ]]; then
    warn "$1" "${SEEN:+$SEEN; }not readable on card$silent" 'the firmware version of every card' \
      'run as root, and look at the driver with: npu-smi info'
  else
    ok "$1" "${KINDS[0]}"
  fi
}

# The table of `npu-smi info`, by NPU. Each NPU has two rows, then come the processes:
#   | 0     910B3               | OK            | 85.0        36                0    / 0             |
#   | 0                         | 0000:C1:00.0  | 0           0    / 0          3402 / 65536         |
#   | 0       0                 | 582939        | python3                  | 19502                   |
# Where a card has several NPUs, the second row also says which this is: `| 1     7 |` is NPU 7.
readonly NPU_ROW='^\| *([0-9]+) +[^| ][^|]*\| *([A-Za-z]+) *\|'
readonly CHIP_ROW='^\| *([0-9]+) +([0-9]+)? *\|[^|]*\|.*[^0-9]([0-9]+) */ *([0-9]+) *\|'
readonly PROCESS_ROW='^\| *([0-9]+) +([0-9]+) *\| *([0-9]+) *\|(.*)\| *[0-9]+ *\|'
declare -A HEALTH=() HBM_USED=() HBM_TOTAL=()
TABLE_PROCESSES='' # `NPU pid name`, a line each
read_table() {
  local line npu card='' health=''
  local -A npu_at=()
  once npu_smi info
  ((${#HEALTH[@]} == 0)) || return 0
  while IFS= read -r line; do
    if [[ $line =~ $PROCESS_ROW ]]; then
      npu=${npu_at["${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"]:-${BASH_REMATCH[1]}}
      TABLE_PROCESSES+="$npu ${BASH_REMATCH[3]} ${BASH_REMATCH[4]}"$'\n'
    elif [[ $line =~ $NPU_ROW ]]; then
      card=${BASH_REMATCH[1]} health=${BASH_REMATCH[2]}
    elif [[ -n $card && $line =~ $CHIP_ROW ]]; then
      npu=${BASH_REMATCH[2]:-$card}
      npu_at["$card ${BASH_REMATCH[1]}"]=$npu
      HEALTH[$npu]=$health HBM_USED[$npu]=${BASH_REMATCH[3]} HBM_TOTAL[$npu]=${BASH_REMATCH[4]}
    fi
  done <<<"$ANSWER"
}

SOURCE[health]=$DOCS/installation.md
BY_HAND[health]='npu-smi info'
check_health() {
  local health
  if [[ -z $NPU_SMI ]]; then
    skip "$1" 'no npu-smi here'
    return
  fi
  read_table
  place "$2"
  health=${HEALTH[$2]:-}
  case $health in
    OK) ok "$1" OK ;;
    Warning) warn "$1" Warning OK "see what it complains of: npu-smi info -t health -i $CARD" ;;
    '')
      ((${#HEALTH[@]} == 0)) || ANSWER="npu-smi does not show NPU $2"
      fail "$1" "$ANSWER" OK 'look for the NPU with: lspci, dmesg; a lost card needs a restart, or the hardware service'
      ;;
    *) fail "$1" "$health" OK "see what is broken: npu-smi info -t health -i $CARD; then reset or replace the NPU" ;;
  esac
}

# vLLM wants its percentage of what programs can have, which is less than what npu-smi calls total: of 65536 MB the
# system keeps about 3 GB, and vLLM counts 60.96 GiB. The same 3 GB are what an idle NPU shows as used.
readonly HBM_SYSTEM=3072
readonly HBM_IDLE=5120 # more than any idle NPU uses
SOURCE[hbm]='https://github.com/vllm-project/vllm-ascend/issues/8621'
BY_HAND[hbm]='npu-smi info'
check_hbm() {
  local used total free wanted
  read_docker
  if [[ $OURS_RUNS == yes ]]; then
    skip "$1" "while this cluster's own container $CONTAINER runs"
    return
  fi
  [[ -z $NPU_SMI ]] || read_table
  if [[ -z ${HBM_TOTAL[$2]:-} ]]; then
    skip "$1" "npu-smi does not show NPU $2"
    return
  fi
  used=${HBM_USED[$2]} total=${HBM_TOTAL[$2]}
  free=$((total - used)) wanted=$(((total - HBM_SYSTEM) * MEMORY_PERCENT / 100))
  if ((total < HBM_PLANNED * 9 / 10)); then
    fail "$1" "an NPU of $total MB" "one of $HBM_PLANNED MB, for which the spec was planned" \
      "write hbm_size: $(((total + 512) / 1024))g in the spec, and see whether the model still fits"
  elif ((free < wanted)); then
    fail "$1" "$used of $total MB used, $free MB free" \
      "$wanted MB free, $MEMORY_PERCENT% of what programs can have: vLLM refuses to start with less" \
      'see who holds it (check processes); or lower gpu-memory-utilization under serve.args in the spec'
  elif ((used > HBM_IDLE)); then
    warn "$1" "$used of $total MB used" "$HBM_IDLE MB at most, as on an idle NPU" \
      'something else uses this NPU, or left memory behind: see the check processes'
  else
    ok "$1" "$used of $total MB used"
  fi
}

# Who has one of these files open ($2...): `pid file`, a line each, out of the folder /proc ($1). It says `all` when it
# could look into the first process, and so into everyone's. ls lists all in one go, and goes on when a process ends
# meanwhile. This runs in a shell of its own, which may expand file names, and within the limit of time.
IFS= read -r -d '' LIST_OPEN <<'END'
cd "$1" || exit
shift
declare -A wanted=()
first=''
for file; do wanted[$file]=yes; done
list=$(ls -lnU -- /dev/null [0-9]*/fd 2>/dev/null)
set -f
IFS=$'\n'
for line in $list; do
  case $line in
    [0-9]*/fd:) pid=${line%/fd:} ;;
    *' -> '*)
      file=${line##* -> }
      [[ -z ${wanted[$file]:-} ]] || echo "$pid $file"
      [[ $pid != 1 ]] || first=seen
      ;;
  esac
done
[[ -z $first ]] || echo all
END

# A process that is left over keeps its HBM, and HCCL cannot start beside it (EJ0001).
SOURCE[processes]='https://github.com/vllm-project/vllm-ascend/issues/3008'
BY_HAND[processes]='npu-smi info; ls -l /proc/[0-9]*/fd | grep -e : -e davinci[0-9]'
check_processes() {
  local i npu pid name file looked=''
  local -A npu_of=()
  read_docker
  if [[ $OURS_RUNS == yes ]]; then
    skip "$1" "while this cluster's own container $CONTAINER runs"
    return
  fi
  [[ -z $NPU_SMI ]] || read_table
  ((${#HEALTH[@]} == 0)) || looked=yes
  while read -r npu pid name; do
    [[ -z $npu || " ${NPUS[*]} " != *" $npu "* ]] || add_user "$npu" "$pid" "$name"
  done <<<"$TABLE_PROCESSES"
  for i in "${!NPUS[@]}"; do npu_of[${NPU_DEVICES[i]}]=${NPUS[i]}; done
  bounded "$BASH" -c "$LIST_OPEN" list-open "$ROOT/proc" "${NPU_DEVICES[@]}"
  while read -r pid file; do
    [[ $pid != all ]] || looked=yes
    [[ -z ${npu_of[${file:-none}]:-} ]] || add_user "${npu_of[$file]}" "$pid" ''
  done <<<"$ANSWER"
  ASKED=''
  if [[ -n $USERS ]]; then
    fail "$1" "$USERS" 'no process uses the NPUs of this node' \
      'stop them: vLLM lacks what they hold; what is left of a container that is gone has to be killed: kill PID'
  elif [[ -z $looked ]]; then
    skip "$1" "neither npu-smi nor $ROOT/proc can be looked at: run as root"
  else
    ok "$1" 'no process uses the NPUs of this node'
  fi
}

# add_user NPU PID NAME: adds a process to USERS, once; without NAME, with the one that the kernel knows.
USERS=''
add_user() {
  local name=${3%"${3##*[! ]}"}
  [[ -n $name ]] || { first_line "$ROOT/proc/$2/comm" && name=$VALUE; } 2>/dev/null
  [[ "; $USERS" == *"; NPU $1: process $2 "* ]] || USERS+="${USERS:+; }NPU $1: process $2 (${name:-no name})"
}

# ---- The NPUs' own network ---------------------------------------------------------------------------
# What hccn_tool prints is in its source: https://github.com/hicann/driver (src/custom/network/hccn).

# unsupported: true when this NPU, or this hccn_tool, does not know what it was asked.
unsupported() {
  [[ $ANSWER == *'not supported on this'* || $ANSWER == *'does not support'* || $ANSWER == *'invalid major cmd'* ]]
}

SOURCE[lldp]=$DOCS/installation.md
check_lldp() {
  hccn "$2" -lldp -g
  if value_of Ifname; then
    ok "$1" "switch port $VALUE"
  elif [[ $ANSWER == *AscendNPU* ]]; then
    warn "$1" 'no switch port: an NPU is at the other end of the fibre' 'the Ifname of a switch port' \
      'nothing, if these NPUs are cabled to each other directly; else look at the cabling'
  else
    fail "$1" "$ANSWER" 'the Ifname of a switch port' \
      'look at the cable and at LLDP on the switch; where the switch has LLDP off: --skip lldp'
  fi
}

# HCCL stops at once where a link is down (EJ0002).
SOURCE[link]='https://github.com/vllm-project/vllm-ascend/issues/1815'
check_link() {
  hccn "$2" -link -g
  if value_of 'link status' && [[ $VALUE == UP ]]; then
    ok "$1" UP
  else
    fail "$1" "${VALUE:-$ANSWER}" UP \
      'look at cable, optical module (check optical) and switch port; both ends need the same speed and FEC'
  fi
}

SOURCE[net_health]=$DOCS/installation.md
check_net_health() {
  local health
  hccn "$2" -net_health -g
  value_of 'net health status'
  health=$VALUE
  if [[ $health == Success ]]; then
    ok "$1" Success
  elif [[ $health == Init ]]; then
    # Init is no fault: nothing was measured, as on NPUs that are cabled to each other.
    hccn "$2" -netdetect -g
    if detect_address; then
      warn "$1" "Init: $VALUE was not probed yet" Success 'wait a minute and run this again'
    else
      ok "$1" 'Init: there is no address to probe'
    fi
  else
    fail "$1" "${health:-$ANSWER}" Success \
      "the NPU cannot reach its detect address: look at gateway, VLAN and switch; then $HCCN_TOOL -i $2 -netdetect -g"
  fi
}

# The source spells it `addr`, tools in the field `address`. 0.0.0.0 is none. VALUE is the address.
detect_address() {
  { value_of 'netdetect addr' || value_of 'netdetect address'; } && [[ $VALUE != 0.0.0.0 ]]
}

SOURCE[netdetect]=$DOCS/installation.md
check_netdetect() {
  hccn "$2" -netdetect -g
  if detect_address; then
    ok "$1" "$VALUE"
  elif [[ $VALUE == 0.0.0.0 ]]; then
    warn "$1" 'none (0.0.0.0)' 'an address that the NPU probes' \
      'nothing, if NPUs are cabled to each other; else set it to the gateway, or the NPU cannot tell its health'
  else
    fail "$1" "$ANSWER" 'an address that the NPU probes' "ask again by hand: $HCCN_TOOL -i $2 -netdetect -g"
  fi
}

SOURCE[gateway]=$DOCS/installation.md
check_gateway() {
  hccn "$2" -gateway -g
  if value_of 'default gateway'; then
    ok "$1" "$VALUE"
  elif [[ $ANSWER == *'no gateway was preset'* ]]; then
    warn "$1" none 'a gateway, or all NPUs of the cluster in one subnet' \
      'nothing, if the NPUs of all nodes share one subnet; else set a gateway'
  else
    fail "$1" "$ANSWER" 'a gateway, or none preset' "ask again by hand: $HCCN_TOOL -i $2 -gateway -g"
  fi
}

SOURCE['npu-address']=$DOCS/tutorials/features/ray.md
check_npu_address() {
  local planned=${PLANNED[$2]:-}
  once hccn "$2" "${ADDRESS_QUERY[@]}"
  if ! value_of "$ADDRESS_KEY"; then
    fail "$1" "$ANSWER" "${planned:-an address}" 'give the NPU its address (hccn_tool -s), which also writes hccn.conf'
  elif [[ -z $planned ]]; then
    warn "$1" "$VALUE" 'npu_addresses in the spec: without them no NPU of another node is pinged' \
      'write it into the spec: compiler discover'
  elif [[ $VALUE != "$planned" ]]; then
    fail "$1" "$VALUE" "$planned" \
      "correct npu_addresses in the spec ('compiler discover' reads them), or set the NPU's address"
  else
    ok "$1" "$VALUE"
  fi
}

# hccn.conf by NPU: every address line, as it is written. Unknown keys and any order are fine.
declare -A CONF=() CONF_LINES=()
CONF_READ=no
read_conf() {
  local line
  [[ $CONF_READ == no && -r $HCCN_CONF ]] || return 0
  CONF_READ=yes
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[[:space:]]*address_([0-9]+)[[:space:]]*= ]] || continue
    CONF[${BASH_REMATCH[1]}]=$line
    ((CONF_LINES[${BASH_REMATCH[1]}] += 1))
  done <"$HCCN_CONF"
}

check_conf_file() {
  ASKED="cat $HCCN_CONF"
  if [[ $CONF_READ == yes ]]; then
    ok "$1" "$HCCN_CONF has ${#CONF[@]} addresses"
  else
    fail "$1" "cannot read $HCCN_CONF" 'the addresses of the NPUs' \
      'run as root; if there is none, give the NPUs their addresses (hccn_tool -s), which writes it'
  fi
}

# A line that the device does not agree with breaks the whole cluster.
SOURCE['hccn.conf']='https://github.com/vllm-project/vllm-ascend/pull/16847'
BY_HAND['hccn.conf']='cat /etc/hccn.conf'
check_hccn_conf() {
  local npu=$2 line value device planned=${PLANNED[$2]:-}
  read_conf
  if [[ $npu == file ]]; then
    check_conf_file "$1"
    return
  elif [[ $CONF_READ == no ]]; then
    skip "$1" "cannot read $HCCN_CONF"
    return
  fi
  line=${CONF[$npu]:-}
  value=${line#*=}
  # The tool keeps the RoCE address here, also where nodes are joined by HCCS and the plan has another.
  once hccn "$npu" -ip -g
  ASKED+="; cat $HCCN_CONF"
  value_of ipaddr
  device=$VALUE
  if ((${CONF_LINES[$npu]:-0} > 1)); then
    fail "$1" "${CONF_LINES[$npu]} lines address_$npu=" 'one line' "keep the right one in $HCCN_CONF"
  elif [[ $line == *[[:space:]]* ]]; then
    fail "$1" "blanks in: $line" "address_$npu=$device" \
      "take the blanks out of $HCCN_CONF: hccn_tool reads the key up to the = exactly, and does not find this one"
  elif [[ $value != "$device" ]]; then
    fail "$1" "address_$npu=${value:-, not there}" "${device:-$ANSWER}, as the device says" \
      "make $HCCN_CONF and the device agree: the file is what the device gets after a restart"
  elif [[ ${ADDRESS_QUERY[0]} == -ip && $value != "${planned:-$value}" ]]; then
    fail "$1" "address_$npu=$value" "$planned" 'correct npu_addresses in the spec, or the file and the device'
  else
    ok "$1" "${line:-no RoCE address, in the file or on the device}"
  fi
}

# ---- What the NPUs' ports tell of cable and optical module -------------------------------------------

# seconds_of TIME: VALUE becomes a time (Wed Aug  2 03:09:26 2022) in seconds, good for differences alone.
readonly TIME='^[A-Z][a-z]+ +([A-Z][a-z]+) +([0-9]+) ([0-9]+):([0-9]+):([0-9]+) ([0-9]+)$'
seconds_of() {
  local months=JanFebMarAprMayJunJulAugSepOctNovDec before month year days
  VALUE=''
  [[ $1 =~ $TIME && $months == *"${BASH_REMATCH[1]}"* ]] || return 1
  before=${months%%"${BASH_REMATCH[1]}"*}
  month=$((${#before} / 3)) year=$((10#${BASH_REMATCH[6]}))
  # Days are counted in years that begin with March, so that a leap day is the last of its year.
  ((month > 1)) || ((year -= 1, month += 12))
  days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 2) + 2) / 5 + 10#${BASH_REMATCH[2]}))
  VALUE=$((((days * 24 + 10#${BASH_REMATCH[3]}) * 60 + 10#${BASH_REMATCH[4]}) * 60 + 10#${BASH_REMATCH[5]}))
}

# read_changes: from ANSWER, DOWNS becomes how often the link went down in the day before the NPU's own `current time`,
# and LAST the newest change. The lines are `[devid 0]    Tue Aug  1 14:43:40 2022    LINK DOWN`, or `[device 0]...`.
readonly CHANGE='^\[dev[a-z]* ?[0-9]+\] +([A-Z].*[0-9]) +LINK (UP|DOWN)'
readonly DAY=$((24 * 60 * 60))
read_changes() {
  local line now time state newest=0
  DOWNS=0 LAST=''
  value_of '\[dev[^]]*\]current time' && seconds_of "$VALUE" || return 1
  now=$VALUE
  while IFS= read -r line; do
    [[ $line =~ $CHANGE ]] || continue
    time=${BASH_REMATCH[1]} state=${BASH_REMATCH[2]}
    seconds_of "$time" || continue
    [[ $state != DOWN ]] || ((VALUE > now || now - VALUE > DAY)) || ((DOWNS += 1))
    ((VALUE <= newest)) || newest=$VALUE LAST=$time
  done <<<"$ANSWER"
}

SOURCE[flaps]='https://github.com/vllm-project/vllm-ascend/issues/1815'
check_flaps() {
  local seen
  once hccn "$2" -link_stat -g
  if unsupported; then
    skip "$1" "$ANSWER"
    return
  elif ! read_changes; then
    warn "$1" "$ANSWER" 'the changes of the link' "ask again by hand: $HCCN_TOOL -i $2 -link_stat -g"
    return
  fi
  value_of '\[dev[^]]*\]link up count' && seen="$VALUE up"
  value_of '\[dev[^]]*\]link down count' && seen="${seen:-? up}, $VALUE down"
  seen+=${LAST:+, last change $LAST}
  case $DOWNS in
    0) ok "$1" "$seen" ;;
    1 | 2)
      warn "$1" "$DOWNS down in the last 24 hours; $seen" 'a link that stays up' \
        'nothing, if someone restarted the switch or pulled the cable; else look at cable and optical module'
      ;;
    *)
      fail "$1" "$DOWNS down in the last 24 hours; $seen" 'a link that stays up' \
        'the link is unstable: look at optical module, cable and switch port; both ends need the same speed and FEC'
      ;;
  esac
}

# lowest_power: VALUE becomes the lowest of the `Rx Power0 : 0.8123 mW`, all with four decimals.
lowest_power() {
  local line pattern='^Rx Power[0-9] *: *([0-9]+)\.([0-9]+) mW'
  VALUE=''
  while IFS= read -r line; do
    [[ $line =~ $pattern ]] || continue
    line=${BASH_REMATCH[1]}.${BASH_REMATCH[2]}
    [[ -n $VALUE ]] && ((10#${line/./} >= 10#${VALUE/./})) || VALUE=$line
  done <<<"$ANSWER"
}

SOURCE[optical]='https://github.com/vllm-project/vllm-ascend/issues/1815'
check_optical() {
  local present flag lost='' seen
  hccn "$2" -optical -g
  value_of present
  present=$VALUE
  if unsupported; then
    skip "$1" "$ANSWER"
    return
  elif [[ $present != present ]]; then
    without_module "$1" "$2"
    return
  fi
  for flag in 'Tx Los Flag' 'Rx Los Flag'; do
    ! value_of "$flag" || [[ $VALUE =~ ^0x0+$ ]] || lost+="${lost:+, }$flag $VALUE"
  done
  if [[ -n $lost ]]; then
    fail "$1" "$lost" 'Tx and Rx Los Flag 0x0' \
      'no light where there should be: clean and reseat the fibre at both ends; look at the module at the other end'
    return
  fi
  value_of temperature
  seen="present, $VALUE"
  lowest_power
  ok "$1" "$seen${VALUE:+, Rx $VALUE mW at least}"
}

# without_module ID NPU: copper cables have no optical module; whether it matters, the link says.
without_module() {
  local answer=${ANSWER%.} asked=$ASKED
  value_of present && answer="module $VALUE"
  once hccn "$2" -link -g
  ASKED=$asked
  if value_of 'link status' && [[ $VALUE == UP ]]; then
    warn "$1" "$answer, but the link is UP" 'an optical module' 'nothing, where the cables are copper'
  else
    fail "$1" "$answer" 'an optical module, or a link that is UP' 'plug in the optical module, or reseat it'
  fi
}

# ---- What all NPUs of this node must share -----------------------------------------------------------

# same ID WHAT VALUES NEXT: one check that all NPUs have one value; VALUES are as for `group`. What could not be read
# has been reported by its own check.
same() {
  group NPU "$3"
  if ((${#KINDS[@]} == 0)); then
    skip "$1" 'no NPU said it'
  elif ((${#KINDS[@]} == 1)); then
    ok "$1" "$SEEN"
  else
    fail "$1" "$SEEN" "the same $2 on all NPUs" "$4"
  fi
}

# of_all_npus COMMAND READ...: VALUES becomes what `READ... NPU` leaves in VALUE for each NPU, for `same`; COMMAND shows
# it by hand for the NPU $i.
of_all_npus() {
  local npu command=$1
  shift
  VALUES=''
  for npu in "${NPUS[@]}"; do
    "$@" "$npu"
    VALUES+="$npu ${VALUE:--}"$'\n'
  done
  ASKED="for i in ${NPUS[*]}; do $command; done"
}

# HCCL connects only NPUs whose TLS switches agree.
SOURCE[tls]='https://github.com/vllm-project/vllm-ascend/issues/10224'
check_tls() {
  local words=([0]=' (disabled)' [1]=' (enabled)')
  if [[ $2 == same ]]; then
    of_all_npus "$HCCN_TOOL -i \$i -tls -g" read_tls
    same "$1" 'TLS switch' "$VALUES" "make them alike, on every node: $HCCN_TOOL -i NPU -tls -s enable 0 (or 1)"
    return
  fi
  read_tls "$2"
  if [[ -n $VALUE ]]; then
    ok "$1" "switch $VALUE${words[$VALUE]:-}"
  elif [[ $ANSWER == *'No certificate found'* ]]; then
    warn "$1" "$ANSWER" 'the TLS switch' 'nothing, if no NPU of the cluster has certificates: TLS is off then'
  else
    fail "$1" "$ANSWER" 'the TLS switch' "run as root; ask by hand: $HCCN_TOOL -i $2 -tls -g"
  fi
}

read_tls() {
  once hccn "$1" -tls -g
  VALUE=''
  [[ ! $ANSWER =~ tls\ switch\[([0-9]+)\] ]] || VALUE=${BASH_REMATCH[1]}
}

# Where these differ, connections are refused or hang (EI0009, EI0007).
SOURCE[mtu]='https://github.com/vllm-project/vllm-ascend/issues/2754'
check_mtu() {
  setting "$1" "$2" -mtu mtu "make them alike, on every node and the switch: $HCCN_TOOL -i NPU -mtu -s size BYTES"
}

SOURCE[speed]='https://github.com/vllm-project/vllm-ascend/issues/2754'
check_speed() {
  setting "$1" "$2" -speed Speed 'look at optical module, cable and switch port of the NPUs that differ'
}

SOURCE[fec]='https://github.com/vllm-project/vllm-ascend/issues/2754'
check_fec() {
  setting "$1" "$2" -fec 'fec mode' 'make them alike, at both ends of every cable: the switch port has its own setting'
}

# setting ID NPU WORD KEY NEXT: what the port of one NPU is set to, or (NPU is `same`) that it is the same on all.
setting() {
  if [[ $2 == same ]]; then
    of_all_npus "$HCCN_TOOL -i \$i $3 -g" read_setting "$3" "$4"
    same "$1" "$4" "$VALUES" "$5"
    return
  fi
  read_setting "$3" "$4" "$2"
  if [[ -n $VALUE ]]; then
    ok "$1" "$VALUE"
  elif unsupported; then
    skip "$1" "$ANSWER"
  elif [[ $ANSWER == *Unknown* ]]; then
    warn "$1" "$ANSWER" "a known $4" 'nothing, if the link is down (see the check link); else look at the driver'
  else
    fail "$1" "$ANSWER" "$4: VALUE" "run as root; ask by hand: $HCCN_TOOL -i $2 $3 -g"
  fi
}

# read_setting WORD KEY NPU
read_setting() {
  once hccn "$3" "$1" -g
  value_of "$2"
  [[ $VALUE != Unknown* ]] || VALUE=''
}

# ---- HCCS, which joins the nodes of a super pod ------------------------------------------------------

SOURCE[vnic]=$DOCS/user_guide/feature_guide/large_scale_ep.md
check_vnic() {
  once hccn "$2" -vnic -g
  if value_of 'vnic link status' && [[ $VALUE == UP ]]; then
    ok "$1" UP
  else
    fail "$1" "${VALUE:-$ANSWER}" UP "look at the HCCS links (check hccs) and at the super pod's own switches"
  fi
}

SOURCE[hccs]=$DOCS/user_guide/feature_guide/large_scale_ep.md
BY_HAND[hccs]='npu-smi info -t hccs -i CARD -c DIE'
check_hccs() {
  local line links=0 broken=0
  place "$2"
  npu_smi info -t hccs -i "$CARD" -c "$DIE"
  while IFS= read -r line; do
    [[ $line =~ ^[[:space:]]*hccs\ health\ status\ *:\ *(N?OK) ]] || continue
    ((links += 1))
    [[ ${BASH_REMATCH[1]} == OK ]] || ((broken += 1))
  done <<<"$ANSWER"
  if ((links == 0)); then
    skip "$1" "${ANSWER:-npu-smi says nothing about HCCS}"
  elif ((broken > 0)); then
    fail "$1" "$broken of $links NOK" 'hccs health status OK' \
      'see which lane has the errors in the same answer; then reseat the board, or call the hardware service'
  else
    ok "$1" OK
  fi
}

# npu-smi knows a super pod by card and die: https://github.com/hicann/driver
# (src/custom/dev_prod/user/npucli/src/npu_chip_info_ext.c). 0 is a super pod like any other.
SOURCE['super-pod']=$DOCS/tutorials/features/pd_disaggregation_mooncake_multi_node.md
BY_HAND['super-pod']='npu-smi info -t spod-info -i CARD -c DIE'
check_super_pod() {
  local pod server
  case $2 in
    id)
      pod_facts 'Super Pod ID'
      same "$1" 'Super Pod ID' "$VALUES" \
        'NPUs of two super pods have no HCCS path: have the super pod configured anew'
      ;;
    server)
      pod_facts 'Server Index'
      same "$1" 'Server Index' "$VALUES" 'a replaced part kept its old index: have it configured anew'
      ;;
    sdid) check_sdid "$1" ;;
    *)
      pod_fact 'Super Pod ID' "$2" && pod=$VALUE &&
        pod_fact 'Server Index' "$2" && server=$VALUE &&
        pod_fact SDID "$2"
      if [[ -n $VALUE ]]; then
        ok "$1" "super pod $pod, server $server, SDID $VALUE"
      else
        fail "$1" "$ANSWER" 'Super Pod ID, Server Index and SDID' \
          'look at the driver with: npu-smi info; or set NPU_SMI'
      fi
      ;;
  esac
}

# pod_fact KEY NPU
pod_fact() {
  place "$2"
  once npu_smi info -t spod-info -i "$CARD" -c "$DIE"
  value_of "$1"
}

# pod_facts KEY: its VALUES of all NPUs.
pod_facts() {
  local command="${NPU_SMI:-npu-smi} info -t spod-info -i \$((i / $DIES_PER_CARD)) -c \$((i % $DIES_PER_CARD))"
  of_all_npus "$command" pod_fact "$1"
}

check_sdid() {
  local npu sdid seen=' ' twice=''
  pod_facts SDID
  while read -r npu sdid; do
    [[ ${sdid:--} != - ]] || continue
    [[ $seen != *" $sdid "* ]] || twice+=" $sdid"
    seen+="$sdid "
  done <<<"$VALUES"
  if [[ -n $twice ]]; then
    fail "$1" "twice:$twice" 'every NPU has an SDID of its own' 'have the super pod configured anew'
  elif [[ $seen == ' ' ]]; then
    skip "$1" 'no NPU said it'
  else
    ok "$1" 'every NPU has an SDID of its own'
  fi
}

# ---- From NPU to NPU, across nodes -------------------------------------------------------------------

# judge_ping: VALUE becomes what was lost; true when nothing was.
judge_ping() {
  local loss='([0-9]+) packets transmitted, ([0-9]+) received, ([0-9.]+%) packets? loss'
  if [[ ! $ANSWER =~ $loss ]]; then
    VALUE=$ANSWER
    return 1
  fi
  VALUE="${BASH_REMATCH[3]} packet loss"
  # hccs_ping also judges the plane that a packet took: any result but 0x0 is a fault of that plane.
  [[ ! $ANSWER =~ 'plane check result = '(0x0*[1-9a-fA-F][0-9a-fA-F]*) ]] || VALUE+=", plane check ${BASH_REMATCH[1]}"
  [[ $ANSWER =~ $loss ]] && ((BASH_REMATCH[1] > 0 && BASH_REMATCH[1] == BASH_REMATCH[2])) && [[ $VALUE != *plane* ]]
}

# A node that answers none of so many pings in a row is not pinged any more: each that is lost takes its time.
readonly PINGS_LOST=8
declare -A LOST=()

SOURCE[ping]='https://github.com/vllm-project/vllm-ascend/issues/5461'
check_ping() {
  local npu=${2%%>*} target=${2#*>} node first
  node=${target%:*}
  if ((${LOST[$node]:-0} >= PINGS_LOST)); then
    skip "$1" "not tried: $node answered none of $PINGS_LOST pings before"
    return
  fi
  hccn "$npu" "${PING[@]}" "${PEER_ADDRESS[$target]}"
  if judge_ping; then
    LOST[$node]=0
    ok "$1" "$VALUE"
    return
  fi
  first=$VALUE
  # The first packets may be lost while addresses are resolved: only what is lost twice is lost.
  hccn "$npu" "${PING[@]}" "${PEER_ADDRESS[$target]}"
  if judge_ping; then
    LOST[$node]=0
    ok "$1" "$VALUE (the first time: $first)"
    return
  fi
  ((LOST[$node] += 1))
  fail "$1" "$VALUE" "0% packet loss to ${PEER_ADDRESS[$target]}" \
    "see link, address and TLS of NPU ${target#*:} on $node; then VLAN, MTU and routes between the two"
}

# ---- Which checks there are, and running them --------------------------------------------------------

declare -A PLANNED=() OWNER=() PEER_ADDRESS=() HOST_ADDRESS=()
IDS=()

list_checks() {
  local i path name
  IDS+=(interface address hostname)
  for ((i = 0; i < ${#HOSTS[@]}; i += 2)); do
    HOST_ADDRESS[${HOSTS[i]}]=${HOSTS[i + 1]}
    IDS+=("reach[${HOSTS[i]}]")
  done
  for ((i = 0; i < ${#PORTS[@]}; i += 2)); do
    OWNER[${PORTS[i]}]=${PORTS[i + 1]}
    IDS+=("port[${PORTS[i]}]")
  done
  IDS+=(reserved-ports memory ulimits disk clock cache)
  [[ -z $NONCE ]] || IDS+=('cache[shared]')
  for path in "${MOUNTS[@]}"; do IDS+=("mount[$path]"); done
  for path in "${DEVICES[@]}"; do IDS+=("device[$path]"); done
  IDS+=(model docker image containers driver firmware processes)
  for_each_npu health hbm
  for_each_npu lldp link flaps optical net_health netdetect gateway
  IDS+=('hccn.conf[file]')
  for_each_npu hccn.conf npu-address
  for name in tls mtu speed fec; do
    for_each_npu "$name"
    IDS+=("${name}[same]")
  done
  if [[ $SUPER_POD == True ]]; then
    for_each_npu vnic hccs super-pod
    IDS+=('super-pod[id]' 'super-pod[server]' 'super-pod[sdid]')
  fi
  for ((i = 0; i < ${#NPU_ADDRESSES[@]}; i++)); do PLANNED[${NPUS[i]}]=${NPU_ADDRESSES[i]}; done
  for ((i = 0; i < ${#PEERS[@]}; i += 2)); do PEER_ADDRESS[${PEERS[i]}]=${PEERS[i + 1]}; done
  for i in "${!NPUS[@]}"; do list_pings "$i"; done
}

for_each_npu() {
  local name npu
  for name in "$@"; do
    for npu in "${NPUS[@]}"; do IDS+=("${name}[$npu]"); done
  done
}

# list_pings RANK: the pings of the NPU that is number RANK of this node.
list_pings() {
  local j node='' rank=0
  for ((j = 0; j < ${#PEERS[@]}; j += 2)); do
    if [[ ${PEERS[j]%:*} == "$node" ]]; then
      ((rank += 1))
    else
      node=${PEERS[j]%:*} rank=0
    fi
    [[ $EVERY_PAIR == True || $rank == "$1" ]] || continue
    IDS+=("ping[${NPUS[$1]}>${PEERS[j]}]")
  done
}

# run_check ID: link[3] is run as: check_link 'link[3]' 3
run_check() {
  local name=${1%%\[*} argument=''
  [[ $1 != *\[* ]] || argument=${1#*\[}
  ASKED=''
  "check_${name//[-.]/_}" "$1" "${argument%\]}"
}

out_of_time() {
  fail time "$1 of ${#IDS[@]} checks were made in $LIMIT s" 'all of them' \
    'see what was slow; then give it longer, or --skip what is slow'
}

# selected LIST ID: true when the comma-separated LIST names this id, or its check.
selected() {
  [[ ",$1," == *",$2,"* || ",$1," == *",${2%%\[*},"* ]]
}

select_checks() {
  local id name names kept=() all=',reach,ping,vnic,hccs,super-pod,' # known also where there are none
  for id in "${IDS[@]}"; do all+="$id,${id%%\[*},"; done
  IFS=, read -r -a names <<<"$ONLY$SKIP"
  for name in "${names[@]-}"; do
    [[ -z $name || $all == *",$name,"* ]] || cannot_run "there is no check $name: see verify.sh --list"
  done
  for id in "${IDS[@]}"; do
    [[ -z $ONLY ]] || selected "$ONLY" "$id" || continue
    [[ -z $SKIP ]] || ! selected "$SKIP" "$id" || continue
    kept+=("$id")
  done
  ((${#kept[@]} > 0)) || cannot_run 'no check is left to run'
  IDS=("${kept[@]}")
  for id in "${IDS[@]}"; do ((${#id} <= WIDTH || ${#id} > WIDEST)) || WIDTH=${#id}; done
}

print_json() {
  local last=$((${#RESULTS[@]} - 1))
  printf '{\n  "format_version": 1,\n  "node": "%s",\n  "cluster": "%s",\n  "checks": [\n' "$NODE" "$CLUSTER"
  ((last == 0)) || printf '%s,\n' "${RESULTS[@]:0:last}"
  printf '%s\n  ],\n  "summary": {"ok": %d, "warn": %d, "FAIL": %d, "skip": %d}\n}\n' "${RESULTS[last]}" \
    "${COUNT[ok]}" "${COUNT[warn]}" "${COUNT[FAIL]}" "${COUNT[skip]}"
}

# What `compiler discover` writes into the spec: an NPU that does not say its address has none here.
print_facts() {
  local i npu addresses=''
  for i in "${!HOST_ADDRESSES[@]}"; do
    [[ ${HOST_ADDRESSES[i]} != "$ADDRESS" ]] || printable "${HOST_INTERFACES[i]}"
  done
  for npu in "${NPUS[@]}"; do
    hccn "$npu" "${ADDRESS_QUERY[@]}"
    value_of "$ADDRESS_KEY"
    [[ $VALUE =~ ^[0-9.]*$ ]] || VALUE=''
    addresses+="${addresses:+, }\"$VALUE\""
  done
  JSON=''
  json_member interface "$PRINTABLE"
  printf '{"format_version": 1, "node": "%s", "cluster": "%s", %s, "npu_addresses": [%s]}\n' \
    "$NODE" "$CLUSTER" "$JSON" "$addresses"
}

print_summary() {
  local id
  if ((COUNT[FAIL] > 0)); then
    printf '\n%sfailed%s\n' "${COLOR[FAIL]}" "$PLAIN"
    printf '  %s\n' "${FAILURES[@]}"
  fi
  printf '\n%s: %d ok, %d warn, %d FAIL, %d skip in %d s\n' "$NODE" \
    "${COUNT[ok]}" "${COUNT[warn]}" "${COUNT[FAIL]}" "${COUNT[skip]}" "$SECONDS"
}

read_options() {
  while (($# > 0)); do
    case $1 in
      -h | --help) usage && exit 0 ;;
      --json) FORMAT=json ;;
      --list) FORMAT=list ;;
      --facts) FORMAT=facts ;;
      --progress) PROGRESS=yes ;;
      --running) OURS_RUNS=yes ;;
      --only | --skip)
        (($# > 1)) && [[ -n $2 ]] || cannot_run "$1 needs the name of a check"
        if [[ $1 == --only ]]; then ONLY+=,$2; else SKIP+=,$2; fi
        shift
        ;;
      --seconds)
        [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || cannot_run '--seconds needs a number'
        LIMIT=$2
        shift
        ;;
      --nonce | --forget)
        [[ ${2:-} =~ ^[A-Za-z0-9]{1,64}$ ]] || cannot_run "$1 needs a word of letters and digits, 64 at most"
        NONCE=$2
        [[ $1 == --nonce ]] || FORMAT=forget
        shift
        ;;
      --only=?* | --skip=?* | --nonce=?* | --forget=?* | --seconds=?*) set -- dummy "${1%%=*}" "${1#*=}" "${@:2}" ;;
      *) cannot_run "unknown option $1" 'verify.sh -h says what there is' ;;
    esac
    shift
  done
}

main() {
  local id number=0
  FORMAT=text ONLY='' SKIP='' NONCE='' PROGRESS=no LIMIT=''
  read_options "$@"
  list_checks
  select_checks
  if [[ $FORMAT == list ]]; then
    printf '%s\n' "${IDS[@]}"
    exit 0
  fi
  if [[ $FORMAT == forget ]]; then
    forget_mark
    exit 0
  fi
  find_tools
  read_addresses
  must_be_this_node
  if [[ $FORMAT == facts ]]; then
    print_facts
    exit 0
  fi
  ((EUID == 0)) || printf 'verify.sh: not run as root: some answers will be refused\n' >&2
  use_color
  trap remove_probe EXIT
  for id in "${IDS[@]}"; do
    ((number += 1))
    progress "$number/${#IDS[@]} $id"
    if [[ -n $LIMIT ]] && ((SECONDS >= LIMIT)); then
      out_of_time $((number - 1))
      break
    fi
    run_check "$id"
  done
  if [[ $FORMAT == json ]]; then print_json; else print_summary; fi
  ((COUNT[FAIL] == 0))
}

main "$@"
