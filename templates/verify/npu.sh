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
