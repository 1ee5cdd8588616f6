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
