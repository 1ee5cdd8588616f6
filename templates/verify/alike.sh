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
