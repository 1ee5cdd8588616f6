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
