# ---- The model's files -------------------------------------------------------------------------------
# Every node reads them by itself, so each looks at its own; what it says of them must be the same everywhere.

# For a bash of its own: prints the first folder below CACHE that holds the model HUGGINGFACE, or MODELSCOPE or NAME.
# A snapshot is of one revision; refs/main names the one that is taken.
readonly FIND_MODEL='
exec 2>/dev/null
cd -- "$1" || exit
snapshots=huggingface/hub/models--$2/snapshots
read -r main <"huggingface/hub/models--$2/refs/main"
for folder in "$snapshots/$main" "$snapshots"/* modelscope/hub/{models/,}{"$3","$4"}; do
  [[ ! -e $folder/config.json ]] || { printf "%s" "$folder" && exit; }
done
exit 1'

# find_model: VALUE becomes the folder on this host that has the model, or nothing.
find_model() {
  local name=${MODEL##*/} masked
  VALUE=$MODEL_FOLDER
  [[ -z $VALUE ]] || return 0
  masked=${MODEL%"$name"}${name//./___} # as ModelScope writes it
  bounded "$BASH" -c "$FIND_MODEL" model "$ROOT$CACHE" "${MODEL//\//--}" "$masked" "$MODEL" || return 0
  VALUE=$CACHE/$ANSWER
}

# For a bash of its own: prints the digest of FOLDER's config.json, how the weights are quantised when it says so, and
# size and name of each file that has weights or is an index of them. Links are followed: Hugging Face keeps the
# files themselves elsewhere.
readonly READ_MODEL='
cd -- "$1" && sha256sum <config.json || exit
method="\"quant_method\"[[:space:]]*:[[:space:]]*\"([a-z0-9_-]+)\""
[[ ! $(<config.json) =~ $method ]] || echo "quantised ${BASH_REMATCH[1]}"
exec stat -L -c "%s %n" -- *.safetensors *.bin *.safetensors.index.json'

# read_model FOLDER: CONFIG, QUANTISED, SIZES, WEIGHTS and INDEX become what it has; false without a config.json.
CONFIG='' QUANTISED='' INDEX='' WEIGHTS=()
declare -A SIZES=()
read_model() {
  local size name
  bounded "$BASH" -c "$READ_MODEL" model "$ROOT$1"
  [[ $ANSWER =~ ^([0-9a-f]{12})[0-9a-f]{52}\  ]] || return
  CONFIG=${BASH_REMATCH[1]}
  while read -r size name; do
    [[ $size != quantised ]] || QUANTISED=$name
    [[ $size =~ ^[0-9]+$ && -n $name ]] || continue
    SIZES[$name]=$size
    if [[ $name != *.index.json ]]; then
      ((size == 0)) || WEIGHTS+=("$name")
    elif [[ -z $INDEX || $name == model.* ]]; then
      INDEX=$name
    fi
  done <<<"$ANSWER"
}

# For a bash of its own: cuts an index, which may be one line of megabytes, at its commas and braces, so that there
# is a line `"tensor": "file"` for each tensor; and prints one for each file.
readonly READ_INDEX='tr "\n\r\t,{}" "   \n\n\n" <"$1" | sort -t : -k 2 -u'

# read_index FILE: SHARDS becomes the files that it names, and TOTAL their size, or 0 when it does not say.
SHARDS=() TOTAL=0
read_index() {
  local line shard='": *"([^"]+\.(safetensors|bin))" *$' total='"total_size" *: *([0-9]+)'
  local -A seen=()
  bounded "$BASH" -c "$READ_INDEX" model "$ROOT$1"
  while IFS= read -r line; do
    if [[ $line =~ $shard && -z ${seen[${BASH_REMATCH[1]}]:-} ]]; then
      SHARDS+=("${BASH_REMATCH[1]}")
      seen[${BASH_REMATCH[1]}]=yes
    elif [[ $line =~ $total ]]; then
      TOTAL=$((10#${BASH_REMATCH[1]}))
    fi
  done <<<"$ANSWER"
}

SOURCE[model]='https://github.com/vllm-project/vllm/issues/10886'
check_model() {
  local folder
  printf -v ASKED 'ls -d %q/{huggingface,modelscope}/hub/*' "$CACHE"
  if [[ -z $MODEL_FOLDER && $MODEL == /* ]]; then
    skip "$1" "$MODEL lies inside the image"
    return
  fi
  find_model
  folder=$VALUE
  if [[ -z $folder ]]; then
    warn "$1" "$MODEL is not in $CACHE" 'config.json and the weights, where Hugging Face or ModelScope keep them' \
      'download it into the cache before: else vLLM does, on every node at its start, and needs the internet for it'
    return
  fi
  printf -v ASKED 'ls -lL %q' "$folder"
  if ! read_model "$folder"; then
    fail "$1" "${ANSWER#*: line *: }" "config.json and the weights in $folder" \
      'download the model there; or mount what holds it, or correct the path in the spec'
    return
  fi
  if [[ $QUANTISED == fp8 ]]; then
    # https://github.com/vllm-project/vllm-ascend/issues/2077
    fail "$1" 'weights in fp8' 'weights in bf16, or quantised for Ascend' \
      'take another variant of the model: these NPUs have no fp8'
    return
  fi
  if [[ -n $INDEX ]]; then
    read_index "$folder/$INDEX"
  elif ((${#WEIGHTS[@]} > 0)); then
    SHARDS=("${WEIGHTS[@]}")
  fi
  judge_shards "$1"
}

# judge_shards ID: none is missing, and none was cut off.
judge_shards() {
  local shard absent=() sum=0 size seen next='download the model again, until it is whole'
  if ((${#SHARDS[@]} == 0)); then
    fail "$1" "${INDEX:+$INDEX names }no weights" '*.safetensors or *.bin' "$next"
    return
  fi
  for shard in "${SHARDS[@]}"; do
    ((${SIZES[$shard]:-0} > 0)) || absent+=("$shard")
    ((sum += ${SIZES[$shard]:-0}))
  done
  if ((${#absent[@]} > 0)); then
    seen="${#absent[@]} of ${#SHARDS[@]} are missing or empty: ${absent[*]:0:3}"
    ((${#absent[@]} <= 3)) || seen+=' ...'
    fail "$1" "$seen" "every file that $INDEX names" "$next"
  elif ((sum < TOTAL)); then
    fail "$1" "the weights have $sum bytes" "$TOTAL bytes at least, as $INDEX says" \
      "$next; where they are pointers of git-lfs: git lfs pull"
  else
    size="$((sum / GIB)) GiB"
    ((sum >= GIB)) || size="$((sum / MIB)) MiB"
    ok "$1" "${#SHARDS[@]} shards, $size, config.json sha256 $CONFIG"
  fi
}
