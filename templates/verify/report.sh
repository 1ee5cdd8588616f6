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
