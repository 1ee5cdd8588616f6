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
