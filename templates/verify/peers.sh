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
