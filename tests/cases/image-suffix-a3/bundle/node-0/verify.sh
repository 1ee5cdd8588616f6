#!/usr/bin/env bash
# Checks this node before anything starts: its NPUs, their network, and the host. Run it as root on the host.
#
# It needs bash 4.2 and coreutils. It changes nothing: tools are only asked, never told, and the one file it
# makes (in the shared cache, to see that it can be written) is removed at once. `verify.sh -h` says more.
# shellcheck disable=SC1003,SC1010,SC1097,SC1110,SC1111,SC1112,SC2016,SC2054,SC2088,SC2100,SC2209 # values are meant literally

# ---- What was planned for this node ------------------------------------------------------------------

readonly CLUSTER=demo
readonly NODE=node-0
readonly ADDRESS=192.168.10.10
readonly INTERFACE=eth0
readonly CONTAINER=demo
readonly CACHE=/mnt/cache
readonly SHM_BYTES=17179869184
readonly WORKER_PORTS=10002-19999
readonly HCCL_FIRST=60000 HCCL_LAST=60015

readonly NPUS=(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
readonly NPU_ADDRESSES=(192.4.2.10 192.4.2.11 192.4.2.12 192.4.2.13 192.4.2.14 192.4.2.15 192.4.2.16 192.4.2.17 192.4.2.18 192.4.2.19 192.4.2.20 192.4.2.21 192.4.2.22 192.4.2.23 192.4.2.24 192.4.2.25)
readonly NPU_DEVICES=(/dev/davinci0 /dev/davinci1 /dev/davinci2 /dev/davinci3 /dev/davinci4 /dev/davinci5 /dev/davinci6 /dev/davinci7 /dev/davinci8 /dev/davinci9 /dev/davinci10 /dev/davinci11 /dev/davinci12 /dev/davinci13 /dev/davinci14 /dev/davinci15)
readonly DEVICES=(/dev/davinci0 /dev/davinci1 /dev/davinci2 /dev/davinci3 /dev/davinci4 /dev/davinci5 /dev/davinci6 /dev/davinci7 /dev/davinci8 /dev/davinci9 /dev/davinci10 /dev/davinci11 /dev/davinci12 /dev/davinci13 /dev/davinci14 /dev/davinci15 /dev/davinci_manager /dev/devmm_svm /dev/hisi_hdc)

# How this generation of NPUs is asked: hccn_tool's words after `-i NPU`.
readonly ADDRESS_QUERY=(-vnic -g)
readonly ADDRESS_KEY='vnic ipaddr'
readonly PING=(-hccs_ping -g address)
readonly SUPER_POD=True

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
  6379 'Ray GCS, which every node connects to'
  8265 'Ray dashboard (listens on 127.0.0.1 of the head)'
  10001 'Ray client server'
  6380 'Ray node manager'
  6381 'Ray object manager'
  6382 'Ray runtime environment agent'
  6383 'Ray metrics export'
  6384 'Ray dashboard agent, gRPC'
  52365 'Ray dashboard agent, HTTP'
  44217 'Ray autoscaler metrics'
  44227 'Ray dashboard metrics'
  10002-19999 'Ray workers'
  60000-60015 'HCCL bootstrap between hosts'
  8000 'vLLM API'
)

# The NPUs to ping, as node:NPU and address. Each NPU here pings all of them (True), or in each node only
# the one of its own rank (False).
readonly EVERY_PAIR=True
readonly PEERS=(
  node-1:0 192.5.2.10
  node-1:1 192.5.2.11
  node-1:2 192.5.2.12
  node-1:3 192.5.2.13
  node-1:4 192.5.2.14
  node-1:5 192.5.2.15
  node-1:6 192.5.2.16
  node-1:7 192.5.2.17
  node-1:8 192.5.2.18
  node-1:9 192.5.2.19
  node-1:10 192.5.2.20
  node-1:11 192.5.2.21
  node-1:12 192.5.2.22
  node-1:13 192.5.2.23
  node-1:14 192.5.2.24
  node-1:15 192.5.2.25
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
Usage: verify.sh [--only ID[,ID...]] [--skip ID[,ID...]] [--json | --list | -h]

Checks that $NODE can be part of the cluster $CLUSTER. Changes nothing. Run it as root on the host.

  --only ID   run these checks alone: a name (link) or an id (link[3])
  --skip ID   leave these checks out
  --json      print one JSON document instead of lines
  --list      print the ids of the checks, run none

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

# ---- Reporting ---------------------------------------------------------------------------------------

declare -A COUNT=([ok]=0 [warn]=0 [FAIL]=0 [skip]=0) COLOR=([ok]='' [warn]='' [FAIL]='' [skip]='')
PLAIN=''
RESULTS=()
FAILURES=()
WIDTH=0 # of the longest id

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
  [[ ! -t 2 ]] || printf '\r\e[K%s' "$1" >&2
}

# report STATUS ID SEEN [EXPECTED NEXT]
report() {
  local status=$1 id seen expected next
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
    json_member next "$next"
    RESULTS+=("$JSON}")
    return
  fi
  printf '%s%-4s%s  %-*s  %s\n' "${COLOR[$status]}" "$status" "$PLAIN" "$WIDTH" "$id" "$seen"
  [[ -z $expected ]] || printf '%*s  %s\n' $((WIDTH + 6)) expected "$expected"
  [[ -z $next ]] || printf '%*s  %s\n' $((WIDTH + 6)) 'to do' "$next"
}

ok() { report ok "$@"; }
warn() { report warn "$@"; }
fail() { report FAIL "$@"; }
skip() { report skip "$@"; }

# ---- Asking ------------------------------------------------------------------------------------------

# bounded COMMAND...: runs it within CALL_SECONDS; what it printed on both streams is left in ANSWER. It is read
# and not captured with $( ), so that Ctrl-C ends this script at once and not with the command.
bounded() {
  local part status
  ANSWER=''
  while IFS= read -r -d '' part; do ANSWER+=$part; done < <(
    timeout -k 5 "$CALL_SECONDS" "$@" 2>&1 </dev/null
    printf '\n%d' $?
  )
  ANSWER+=$part
  status=${ANSWER##*$'\n'}
  ANSWER=${ANSWER%$'\n'*}
  while [[ $ANSWER == *$'\n' ]]; do ANSWER=${ANSWER%$'\n'}; done
  ((status != 124 && status != 137)) || ANSWER="no answer within $CALL_SECONDS s"
  return "$status"
}

# hccn NPU WORD...: asks hccn_tool, again while it is busy. Its exit status means little: -link -g exits 0
# for a link that is down. So the answer is judged, whichever stream it came on.
hccn() {
  local npu=$1 pause
  shift
  for pause in "${BUSY_PAUSES[@]}" ''; do
    bounded "$HCCN_TOOL" -i "$npu" "$@"
    [[ $ANSWER == *'hccn_tool is busy'* && -n $pause ]] || break
    sleep "$pause"
  done
  [[ -n $ANSWER ]] || ANSWER='no answer'
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

# Which containers run, and which of them hold an NPU: known only where docker answers.
DOCKER=unasked
declare -A HOLDER=()
OURS_RUNS=no
read_docker() {
  local ids name devices device
  [[ $DOCKER == unasked ]] || return 0
  DOCKER=no
  [[ -n $(type -P docker) ]] && bounded docker ps -q || return 0
  DOCKER=yes
  [[ -n $ANSWER ]] || return 0
  read -r -d '' -a ids <<<"$ANSWER"
  bounded docker inspect --format '{{.Name}} {{range .HostConfig.Devices}}{{.PathOnHost}} {{end}}' "${ids[@]}"
  while read -r name devices; do
    [[ $name != "/$CONTAINER" ]] || OURS_RUNS=yes
    for device in $devices; do
      [[ $name == "/$CONTAINER" ]] || HOLDER[$device]=${name#/}
    done
  done <<<"$ANSWER"
}

# ---- The host ----------------------------------------------------------------------------------------

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
  read_docker
  if [[ $OURS_RUNS == yes ]]; then
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
# https://github.com/vllm-project/vllm-ascend/issues/405
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

check_device() {
  if [[ -c $ROOT$2 ]]; then
    ok "$1" present
  else
    fail "$1" 'no such device node' 'a character device' \
      'look at the driver with: npu-smi info; and correct npus or devices in the spec'
  fi
}

# An NPU that another container has is lost for this one: https://github.com/vllm-project/vllm-ascend/issues/2698
check_containers() {
  local device held=''
  read_docker
  for device in "${NPU_DEVICES[@]}"; do
    [[ -z ${HOLDER[$device]:-} ]] || held+="${held:+, }$device by ${HOLDER[$device]}"
  done
  if [[ $DOCKER == no ]]; then
    skip "$1" 'docker does not answer here: who holds the NPUs is unknown'
  elif [[ -n $held ]]; then
    fail "$1" "held: $held" 'no other running container has these NPUs' \
      'stop that container, or leave its NPUs out with npus in the spec'
  else
    ok "$1" 'no other running container has these NPUs'
  fi
}

check_mount() {
  # stat in a process of its own: a dead NFS server would hang bash itself.
  if bounded stat -- "$ROOT$2"; then
    ok "$1" present
  else
    fail "$1" "$ANSWER" 'it exists: the container mounts it' \
      'install the driver, or correct the path in the spec; Docker would otherwise refuse to start'
  fi
}

check_cache() {
  local kind
  if ! bounded mktemp -- "$ROOT$CACHE/.verify.XXXXXXXXXX"; then
    fail "$1" "$ANSWER" "$CACHE is there and root can write in it" \
      "mount the shared storage at $CACHE; with NFS, root_squash is what keeps root from writing"
    return
  fi
  PROBE=$ANSWER
  bounded stat -f -c %T -- "$PROBE"
  kind=$ANSWER
  remove_probe
  ok "$1" "$CACHE is writable, on $kind"
}

PROBE=''
remove_probe() {
  [[ -z $PROBE ]] || bounded rm -f -- "$PROBE"
  PROBE=''
}

check_memory() {
  local key total=0 gib=$((1024 * 1024 * 1024))
  while read -r key total _; do
    [[ $key != MemTotal: ]] || break
  done <"$ROOT/proc/meminfo"
  if ((total * 1024 < SHM_BYTES)); then
    warn "$1" "$((total / 1024 / 1024)) GiB of memory" "more than the container's /dev/shm, $((SHM_BYTES / gib)) GiB" \
      'lower container.shm_size in the spec: filling it would get processes killed'
  else
    ok "$1" "$((total / 1024 / 1024)) GiB of memory for $((SHM_BYTES / gib)) GiB of /dev/shm"
  fi
}

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

# ---- The NPUs' own network ---------------------------------------------------------------------------
# What hccn_tool prints is in its source: https://github.com/hicann/driver (src/custom/network/hccn).

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

check_link() {
  hccn "$2" -link -g
  if value_of 'link status' && [[ $VALUE == UP ]]; then
    ok "$1" UP
  else
    fail "$1" "${VALUE:-$ANSWER}" UP \
      "look at cable, optical module ($HCCN_TOOL -i $2 -optical -g) and switch port; both ends need the same speed and FEC"
  fi
}

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

check_npu_address() {
  local planned=${PLANNED[$2]}
  hccn "$2" "${ADDRESS_QUERY[@]}"
  value_of "$ADDRESS_KEY"
  if [[ $VALUE != "$planned" ]]; then
    fail "$1" "${VALUE:-$ANSWER}" "$planned" \
      "correct npu_addresses in the spec ('compiler discover' reads them), or set the NPU's address"
  elif [[ $ANSWER == *'link status: DOWN'* ]]; then
    fail "$1" "$VALUE, but its link is DOWN" "$planned, link UP" 'look at the HCCS links with: npu-smi info -t hccs'
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
  if [[ $CONF_READ == yes ]]; then
    ok "$1" "$HCCN_CONF has ${#CONF[@]} addresses"
  else
    fail "$1" "cannot read $HCCN_CONF" 'the addresses of the NPUs' \
      'run as root; if there is none, give the NPUs their addresses (hccn_tool -s), which writes it'
  fi
}

check_hccn_conf() {
  local npu=$2 line value device
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
  hccn "$npu" -ip -g
  value_of ipaddr
  device=$VALUE
  if ((${CONF_LINES[$npu]:-0} > 1)); then
    fail "$1" "${CONF_LINES[$npu]} lines address_$npu=" 'one line' "keep the right one in $HCCN_CONF"
  elif [[ $line == *[[:space:]]* ]]; then
    fail "$1" "blanks in: $line" "address_$npu=$device" \
      "take the blanks out of $HCCN_CONF: hccn_tool reads the key up to the = exactly, and does not find this one"
  elif [[ $value != "$device" ]]; then
    # A stale line breaks the whole cluster: https://github.com/vllm-project/vllm-ascend/pull/16847
    fail "$1" "address_$npu=${value:-, not there}" "${device:-$ANSWER}, as the device says" \
      "make $HCCN_CONF and the device agree: the file is what the device gets after a restart"
  elif [[ ${ADDRESS_QUERY[0]} == -ip && $value != "${PLANNED[$npu]}" ]]; then
    fail "$1" "address_$npu=$value" "${PLANNED[$npu]}" 'correct npu_addresses in the spec, or the file and the device'
  else
    ok "$1" "${line:-no RoCE address, in the file or on the device}"
  fi
}

# ---- What all NPUs of this node must share -----------------------------------------------------------

# same ID WHAT VALUES NEXT: one check that all NPUs have one value; VALUES are `NPU value`, a line each. What
# could not be read (-) has failed its own check already.
same() {
  local id=$1 what=$2 npu value kinds=() seen=''
  local -A who=()
  while read -r npu value; do
    [[ ${value:--} != - ]] || continue
    [[ -n ${who[$value]:-} ]] || kinds+=("$value")
    who[$value]+=" $npu"
  done <<<"$3"
  if ((${#kinds[@]} == 0)); then
    skip "$id" 'no NPU said it'
    return
  fi
  for value in "${kinds[@]}"; do
    seen+="${seen:+; }$value on NPU${who[$value]}"
  done
  if ((${#kinds[@]} == 1)); then
    ok "$id" "$seen"
  else
    fail "$id" "$seen" "the same $what on all NPUs" "$4"
  fi
}

# HCCL connects only NPUs whose TLS switches agree: https://github.com/vllm-project/vllm-ascend/issues/10224
declare -A TLS=()
read_tls() {
  local pattern='tls switch\[([0-9]+)\]'
  hccn "$1" -tls -g
  TLS[$1]=-
  [[ ! $ANSWER =~ $pattern ]] || TLS[$1]=${BASH_REMATCH[1]}
}

check_tls() {
  local npu values='' words=([0]=' (disabled)' [1]=' (enabled)')
  if [[ $2 == same ]]; then
    for npu in "${NPUS[@]}"; do
      [[ -n ${TLS[$npu]:-} ]] || read_tls "$npu"
      values+="$npu ${TLS[$npu]}"$'\n'
    done
    same "$1" 'TLS switch' "$values" "make them alike, on every node: $HCCN_TOOL -i NPU -tls -s enable 0 (or 1)"
    return
  fi
  read_tls "$2"
  if [[ ${TLS[$2]} != - ]]; then
    ok "$1" "switch ${TLS[$2]}${words[${TLS[$2]}]:-}"
  elif [[ $ANSWER == *'No certificate found'* ]]; then
    warn "$1" "$ANSWER" 'the TLS switch' 'nothing, if no NPU of the cluster has certificates: TLS is off then'
  else
    fail "$1" "$ANSWER" 'the TLS switch' "run as root; ask by hand: $HCCN_TOOL -i $2 -tls -g"
  fi
}

# npu-smi knows a super pod by card and die: https://github.com/hicann/driver
# (src/custom/dev_prod/user/npucli/src/npu_chip_info_ext.c). 0 is a super pod like any other.
declare -A POD=() SDID=() SERVER=()
read_super_pod() {
  POD[$1]=- SDID[$1]=- SERVER[$1]=-
  if [[ -z $NPU_SMI ]]; then
    ANSWER='no npu-smi here'
    return
  fi
  bounded "$NPU_SMI" info -t spod-info -i "$(($1 / DIES_PER_CARD))" -c "$(($1 % DIES_PER_CARD))"
  value_of 'Super Pod ID' && POD[$1]=$VALUE
  value_of 'Server Index' && SERVER[$1]=$VALUE
  value_of 'SDID' && SDID[$1]=$VALUE
}

check_super_pod() {
  case $2 in
    id | server | sdid) check_super_pod_whole "$1" "$2" ;;
    *)
      read_super_pod "$2"
      if [[ " ${POD[$2]} ${SERVER[$2]} ${SDID[$2]} " == *' - '* ]]; then
        fail "$1" "$ANSWER" 'Super Pod ID, Server Index and SDID' 'look at the driver with: npu-smi info; or set NPU_SMI'
      else
        ok "$1" "super pod ${POD[$2]}, server ${SERVER[$2]}, SDID ${SDID[$2]}"
      fi
      ;;
  esac
}

check_super_pod_whole() {
  local npu pods='' servers='' seen=' ' twice=''
  for npu in "${NPUS[@]}"; do
    [[ -n ${POD[$npu]:-} ]] || read_super_pod "$npu"
    pods+="$npu ${POD[$npu]}"$'\n'
    servers+="$npu ${SERVER[$npu]}"$'\n'
    [[ $seen != *" ${SDID[$npu]} "* || ${SDID[$npu]} == - ]] || twice+=" ${SDID[$npu]}"
    seen+="${SDID[$npu]} "
  done
  case $2 in
    id) same "$1" 'Super Pod ID' "$pods" 'NPUs of two super pods have no HCCS path: have the super pod configured anew' ;;
    server) same "$1" 'Server Index' "$servers" 'a replaced part kept its old index: have it configured anew' ;;
    sdid)
      if [[ -n $twice ]]; then
        fail "$1" "twice:$twice" 'every NPU has an SDID of its own' 'have the super pod configured anew'
      else
        ok "$1" 'every NPU has an SDID of its own'
      fi
      ;;
  esac
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

check_ping() {
  local npu=${2%%>*} target=${2#*>} first
  hccn "$npu" "${PING[@]}" "${PEER_ADDRESS[$target]}"
  if judge_ping; then
    ok "$1" "$VALUE"
    return
  fi
  first=$VALUE
  # The first packets may be lost while addresses are resolved: only what is lost twice is lost.
  hccn "$npu" "${PING[@]}" "${PEER_ADDRESS[$target]}"
  if judge_ping; then
    ok "$1" "$VALUE (the first time: $first)"
  else
    fail "$1" "$VALUE" "0% packet loss to ${PEER_ADDRESS[$target]}" \
      "see link, address and TLS of NPU ${target#*:} on ${target%:*}; then VLAN, MTU and routes between the two"
  fi
}

# ---- Which checks there are, and running them --------------------------------------------------------

declare -A PLANNED=() OWNER=() PEER_ADDRESS=()
IDS=()

list_checks() {
  local i j path npu name
  IDS+=(interface address hostname memory driver cache)
  for path in "${MOUNTS[@]}"; do IDS+=("mount[$path]"); done
  for path in "${DEVICES[@]}"; do IDS+=("device[$path]"); done
  IDS+=(containers)
  for ((i = 0; i < ${#PORTS[@]}; i += 2)); do
    OWNER[${PORTS[i]}]=${PORTS[i + 1]}
    IDS+=("port[${PORTS[i]}]")
  done
  IDS+=(reserved-ports)
  for name in lldp link net_health netdetect gateway hccn.conf npu-address tls; do
    [[ $name != hccn.conf ]] || IDS+=('hccn.conf[file]')
    for npu in "${NPUS[@]}"; do IDS+=("${name}[$npu]"); done
  done
  IDS+=('tls[same]')
  if [[ $SUPER_POD == True ]]; then
    for npu in "${NPUS[@]}" id server sdid; do IDS+=("super-pod[$npu]"); done
  fi
  for i in "${!NPUS[@]}"; do PLANNED[${NPUS[i]}]=${NPU_ADDRESSES[i]}; done
  for ((j = 0; j < ${#PEERS[@]}; j += 2)); do PEER_ADDRESS[${PEERS[j]}]=${PEERS[j + 1]}; done
  for i in "${!NPUS[@]}"; do list_pings "$i"; done
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

run_check() {
  local argument=${1#*\[}
  argument=${argument%\]}
  case ${1%%\[*} in
    interface) check_interface "$1" ;;
    address) check_address "$1" ;;
    hostname) check_hostname "$1" ;;
    memory) check_memory "$1" ;;
    driver) check_driver "$1" ;;
    cache) check_cache "$1" ;;
    mount) check_mount "$1" "$argument" ;;
    device) check_device "$1" "$argument" ;;
    containers) check_containers "$1" ;;
    port) check_port "$1" "$argument" ;;
    reserved-ports) check_reserved_ports "$1" ;;
    lldp) check_lldp "$1" "$argument" ;;
    link) check_link "$1" "$argument" ;;
    net_health) check_net_health "$1" "$argument" ;;
    netdetect) check_netdetect "$1" "$argument" ;;
    gateway) check_gateway "$1" "$argument" ;;
    hccn.conf) check_hccn_conf "$1" "$argument" ;;
    npu-address) check_npu_address "$1" "$argument" ;;
    tls) check_tls "$1" "$argument" ;;
    super-pod) check_super_pod "$1" "$argument" ;;
    ping) check_ping "$1" "$argument" ;;
  esac
}

# selected LIST ID: true when the comma-separated LIST names this id, or its check.
selected() {
  [[ ",$1," == *",$2,"* || ",$1," == *",${2%%\[*},"* ]]
}

select_checks() {
  local id name names kept=() all=',super-pod,ping,' # names that are known where there are none, too
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
  for id in "${IDS[@]}"; do ((${#id} <= WIDTH)) || WIDTH=${#id}; done
}

print_json() {
  local last=$((${#RESULTS[@]} - 1))
  printf '{\n  "format_version": 1,\n  "node": "%s",\n  "cluster": "%s",\n  "checks": [\n' "$NODE" "$CLUSTER"
  ((last == 0)) || printf '%s,\n' "${RESULTS[@]:0:last}"
  printf '%s\n  ],\n  "summary": {"ok": %d, "warn": %d, "FAIL": %d, "skip": %d}\n}\n' "${RESULTS[last]}" \
    "${COUNT[ok]}" "${COUNT[warn]}" "${COUNT[FAIL]}" "${COUNT[skip]}"
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
      --only | --skip)
        (($# > 1)) && [[ -n $2 ]] || cannot_run "$1 needs the name of a check"
        if [[ $1 == --only ]]; then ONLY+=,$2; else SKIP+=,$2; fi
        shift
        ;;
      --only=?* | --skip=?*) set -- dummy "${1%%=*}" "${1#*=}" "${@:2}" ;;
      *) cannot_run "unknown option $1" 'verify.sh -h says what there is' ;;
    esac
    shift
  done
}

main() {
  local id number=0
  FORMAT=text ONLY='' SKIP=''
  read_options "$@"
  list_checks
  select_checks
  if [[ $FORMAT == list ]]; then
    printf '%s\n' "${IDS[@]}"
    exit 0
  fi
  find_tools
  read_addresses
  must_be_this_node
  ((EUID == 0)) || printf 'verify.sh: not run as root: some answers will be refused\n' >&2
  use_color
  trap remove_probe EXIT
  for id in "${IDS[@]}"; do
    ((number += 1))
    progress "$number/${#IDS[@]} $id"
    run_check "$id"
  done
  if [[ $FORMAT == json ]]; then print_json; else print_summary; fi
  ((COUNT[FAIL] == 0))
}

main "$@"
