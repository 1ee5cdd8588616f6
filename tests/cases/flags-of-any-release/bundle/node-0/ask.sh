#!/usr/bin/env bash
# Asks the served model a question (the first argument, or the guide's own) and prints the answer. Run it on the
# head, node-0: on the host or in the container. Only a real completion succeeds, because /health answers
# 200 with dead workers: https://github.com/vllm-project/vllm/issues/16259
# Generated from the cluster spec; edit the spec and render again.
# shellcheck disable=SC1003,SC1010,SC1097,SC1110,SC1111,SC1112,SC2016,SC2088,SC2100,SC2209 # values are meant literally
set -euo pipefail

prompt=${1-tell me how to sleep well}
model='"example/any-model"' # as JSON
url=http://localhost:8000/v1/completions
limit=300 # seconds; the first request of all may have to wait for a compilation

# What the service says may be shown, but not obeyed by a terminal.
die() {
  local said=${1//[[:cntrl:]]/ }
  echo "ask.sh: ${said:0:2000}" >&2
  exit 1
}

# Any text as a JSON string, byte by byte.
json_string() {
  local LC_ALL=C text=$1 string='' character i=0
  while character=${text:i++:1} && [[ $character ]]; do
    case $character in
      [\"\\]) character="\\$character" ;;
      [[:cntrl:]]) printf -v character '\\u%04x' "'$character" ;;
    esac
    string+=$character
  done
  printf '"%s"' "$string"
}

question=$(json_string "$prompt")
body="{\"model\": $model, \"prompt\": $question, \"max_tokens\": 100, \"temperature\": 0}"

# The key goes to curl as a file: arguments are seen by everyone on this host.
settings='header = "Content-Type: application/json"'
[[ -z ${VLLM_API_KEY:-} ]] || settings+=$'\n'"header = $(json_string "Authorization: Bearer $VLLM_API_KEY")"

status=0
reply=$(printf '%s' "$body" | curl --disable --silent --show-error --noproxy '*' --max-time "$limit" \
  --config <(echo "$settings") --data-binary @- --write-out '\n%{http_code}' "$url") || status=$?
code=${reply##*$'\n'}
reply=${reply%$'\n'*}

case $status:$code in
  0:200) ;;
  0:401 | 0:403) die "the service wants another key (HTTP $code): set VLLM_API_KEY" ;;
  0:404) die "this model is not served (HTTP 404); was it started by the serve.sh beside this file? $reply" ;;
  0:*) die "no completion (HTTP $code); serve.sh's log says why, the engine may have died. $reply" ;;
  7:*) die "nothing listens at $url; loading takes minutes, serve.sh's log says when it is ready" ;;
  28:*) die "no answer within $limit s; look at serve.sh's log, a Ray worker may have died" ;;
  *) die "curl failed with status $status at $url" ;;
esac

if ! command -v python3 >/dev/null; then
  [[ $reply =~ \"text\":\ *\"[^\"] ]] || die "the reply holds no text: $reply"
  echo "${reply//[[:cntrl:]]/ }"
  exit
fi
python3 -c 'import json, sys
try:
    text = json.load(sys.stdin)["choices"][0]["text"].strip()
except (ValueError, LookupError, TypeError, AttributeError):
    text = ""
shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
sys.stdout.buffer.write(shown.encode(errors="replace") + b"\n" * bool(text))
sys.exit(not text)' <<<"$reply" || die "the reply holds no text: $reply"
