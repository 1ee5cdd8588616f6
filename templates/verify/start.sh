# ---- From here on this file is the same on every node ------------------------------------------------

set -uf                        # but not -e: what a tool says is judged, and a failed check must not end the run
export LC_ALL=C                # tools answer in English, and text is bytes
readonly ROOT=${VERIFY_ROOT:-} # /etc, /proc, /sys, /dev ... are read below this folder

readonly CALL_SECONDS=20             # the limit of one call of any tool
readonly BUSY_PAUSES=(0.2 0.5 1 2 4) # seconds between tries while hccn_tool is busy: it serves one at a time
readonly DIES_PER_CARD=2             # NPUs of a card where there are super pods: npu-smi counts cards and dies

usage() {
  cat <<END
Usage: verify.sh [--only ID[,ID...]] [--skip ID[,ID...]] [--json | --list | --facts | -h]
       verify.sh --nonce WORD [...]; verify.sh --forget WORD

Checks that $NODE can be part of the cluster $CLUSTER. Changes nothing. Run it as root on the host.

  --only ID      run these checks alone: a name (link) or an id (link[3])
  --skip ID      leave these checks out
  --json         print one JSON document instead of lines
  --list         print the ids of the checks, run none
  --facts        print what the spec says of this node as the node itself has it: interface, NPU addresses
  --progress     say on stderr which check is run, a line each
  --running      this cluster runs here: what its own container holds is no fault (known by itself where docker is)
  --seconds N    after so long start no further check, and fail
  --nonce WORD   is the cache really shared? On $HEAD this leaves a mark there, on the others it looks for it.
                 The same WORD everywhere, $HEAD first; letters and digits.
  --forget WORD  remove that mark

A check is ok, warn (it may work: read why), FAIL (it will not work) or skip (it could not be looked at).
Exit status: 0 no check failed, 1 a check failed, 2 could not run (usage, no hccn_tool, not this node).
Environment: HCCN_TOOL, NPU_SMI and HCCN_CONF name these when they lie elsewhere; NO_COLOR; VERIFY_ROOT is
where the host's files are seen, when that is not /.
END
}

cannot_run() {
  printf 'verify.sh: %s\n' "$@" >&2
  exit 2
}

# Every check: where it is known from, and the command that shows the same by hand (% is what stands in its
# brackets). What hccn_tool and npu-smi were asked is remembered as it was asked.
declare -A SOURCE=() BY_HAND=()
ASKED=''
