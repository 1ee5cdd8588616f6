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
