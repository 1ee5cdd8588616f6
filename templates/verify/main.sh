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
