# ---- The host ----------------------------------------------------------------------------------------

readonly MIB=$((1024 * 1024)) GIB=$((1024 * 1024 * 1024))

SOURCE[device]='https://docs.vllm.ai/projects/ascend/en/latest/installation.html'
check_device() {
  printf -v ASKED 'ls -l %q' "$2"
  if [[ -c $ROOT$2 ]]; then
    ok "$1" present
  else
    fail "$1" 'no such device node' 'a character device' \
      'look at the driver with: npu-smi info; and correct npus or devices in the spec'
  fi
}

SOURCE[mount]='https://docs.docker.com/engine/storage/bind-mounts/'
check_mount() {
  printf -v ASKED 'stat -- %q' "$2"
  # stat in a process of its own: a dead NFS server would hang bash itself.
  if bounded stat -- "$ROOT$2"; then
    ok "$1" present
  else
    fail "$1" "$ANSWER" 'it exists: the container mounts it' \
      'install the driver, or correct the path in the spec; Docker would otherwise refuse to start'
  fi
}

# space_of PATH: of the file system that holds it, KIND, FREE_GIB and USED_PERCENT (of what is not kept for root,
# as Ray reckons too); false when it does not say.
KIND='' FREE_GIB=0 USED_PERCENT=0
space_of() {
  local block blocks free
  bounded stat -f -c '%S %b %a %T' -- "$ROOT$1" || return
  read -r block blocks free KIND <<<"$ANSWER"
  [[ $block$blocks$free =~ ^[0-9]+$ ]] || return
  ((block > 0 && block <= GIB && blocks > 0)) || return
  FREE_GIB=$((free / (GIB / block))) # their product may need more than 63 bits
  USED_PERCENT=$(((blocks - free) * 100 / blocks))
}

# The one file that is made, and removed at once: it shows that the cache can be written, and what time it is there.
# AHEAD is the seconds that this host's clock is ahead of the one that stamps files, or empty where it is unknown.
PROBE='' PROBED=no PROBE_FAULT='' PROBE_KIND='' PROBE_GIB='' AHEAD=''
probe_cache() {
  local before after
  [[ $PROBED == no ]] || return 0
  PROBED=yes
  printf -v before '%(%s)T' -1
  if ! bounded mktemp -- "$ROOT$CACHE/.verify.XXXXXXXXXX"; then
    PROBE_FAULT=$ANSWER
    return
  fi
  PROBE=$ANSWER
  printf -v after '%(%s)T' -1
  ! bounded stat -c %Y -- "$PROBE" || compare_clocks "$before" "$ANSWER" "$after"
  remove_probe
  ! space_of "$CACHE" || PROBE_KIND=$KIND PROBE_GIB=$FREE_GIB
}

# compare_clocks BEFORE STAMP AFTER: a stamp between the two differs by nothing, however long it took to get it.
compare_clocks() {
  [[ $2 =~ ^[0-9]+$ ]] || return
  AHEAD=0
  (($2 >= $1)) || AHEAD=$(($1 - $2))
  (($2 <= $3)) || AHEAD=$(($3 - $2))
}

remove_probe() {
  [[ -z $PROBE ]] || bounded rm -f -- "$PROBE"
  PROBE=''
}

# Ranks that are minutes apart give up on each other as if the network were broken, with EI0006.
readonly CLOCK_SECONDS=5 CLOCK_SECONDS_MOST=120
SOURCE[clock]='https://github.com/vllm-project/vllm-ascend/issues/5461'
check_clock() {
  local seen way=from apart
  local next='let chrony or ntpd set the clock, of all nodes and of the storage, from one source'
  printf -v ASKED 'file=$(mktemp -p %q) && date && stat -c %%y "$file" && rm "$file"' "$CACHE"
  probe_cache
  if [[ -z $AHEAD ]]; then
    skip "$1" "no file could be made in $CACHE to see what time it is there"
    return
  fi
  apart=${AHEAD#-}
  ((AHEAD <= 0)) || way='ahead of'
  ((AHEAD >= 0)) || way=behind
  seen="this host is $apart s $way the clock that stamps files in $CACHE (${PROBE_KIND:-of unknown type})"
  if ((apart <= CLOCK_SECONDS)); then
    ok "$1" "$seen"
  elif ((apart <= CLOCK_SECONDS_MOST)); then
    warn "$1" "$seen" "$CLOCK_SECONDS s at most" "$next"
  else
    fail "$1" "$seen" "$CLOCK_SECONDS s at most" "$next"
  fi
}

SOURCE[cache]='https://github.com/vllm-project/vllm/issues/2289'
check_cache() {
  if [[ $2 == shared ]]; then
    check_shared_cache "$1"
    return
  fi
  printf -v ASKED 'ls -ld %q; df -hT %q' "$CACHE" "$CACHE"
  probe_cache
  if [[ -n $PROBE_FAULT ]]; then
    fail "$1" "$PROBE_FAULT" "$CACHE is there and root can write in it" \
      "mount the shared storage at $CACHE; with NFS, root_squash is what keeps root from writing"
  else
    ok "$1" "$CACHE is writable, on ${PROBE_KIND:-storage of unknown type}${PROBE_GIB:+, $PROBE_GIB GiB free}"
  fi
}

# The head's mark, which holds its name. It stays until --forget: the other nodes are yet to look for it.
readonly MARK_PAUSES=(0.2 0.4 0.8 1.6) # between tries: with NFS a new file may show up late
name_mark() {
  MARK=$CACHE/.verify-$CLUSTER-$NONCE
  printf -v ASKED 'cat %q' "$MARK"
}

# forget_old_marks: of runs that were killed before they could take theirs away.
readonly MARK_SECONDS=3600
readonly LIST_MARKS='cd -- "$1" && exec stat -c "%Y %n" -- ".verify-$2-"*'
forget_old_marks() {
  local now time name
  printf -v now '%(%s)T' -1
  bounded "$BASH" -c "$LIST_MARKS" marks "$ROOT$CACHE" "$CLUSTER" || return 0
  while read -r time name; do
    # A name may hold a line break, and then what looks like another line: only what we would write is removed.
    [[ $time =~ ^[0-9]+$ && $name =~ ^\.verify-$CLUSTER-[A-Za-z0-9]+$ ]] || continue
    ((now - time > MARK_SECONDS)) || continue
    bounded rm -f -- "$ROOT$CACHE/$name"
  done <<<"$ANSWER"
}

check_shared_cache() {
  local said
  name_mark
  if [[ $ROLE != head ]]; then
    look_for_mark "$1"
    return
  fi
  forget_old_marks
  # -C: what is there already is not written over; it may be ours, from before.
  if bounded "$BASH" -C -c 'printf "%s\n" "$1" >"$2"' mark "$NODE" "$ROOT$MARK"; then
    ok "$1" 'left a mark for the others'
  else
    said=${ANSWER#*: line *: }
    if bounded cat -- "$ROOT$MARK" && [[ $ANSWER == "$NODE" ]]; then
      ok "$1" 'left a mark for the others'
    else
      fail "$1" "$said" "a mark for the others can be left in $CACHE" \
        'see the check cache; if a file of this name is there already, take another --nonce'
    fi
  fi
}

look_for_mark() {
  local pause
  for pause in "${MARK_PAUSES[@]}" ''; do
    if bounded cat -- "$ROOT$MARK" && [[ $ANSWER == "$HEAD" ]]; then
      ok "$1" "the mark of $HEAD is here"
      return
    fi
    [[ -n $pause && $ANSWER != 'no answer'* ]] || break
    sleep "$pause"
  done
  fail "$1" "no mark of $HEAD: $ANSWER" "the file that $HEAD left" \
    "mount at $CACHE the storage that $HEAD has there; or run verify.sh with this --nonce on $HEAD first"
}

forget_mark() {
  name_mark
  bounded stat -- "$ROOT$CACHE" || cannot_run "the mark cannot be removed: $ANSWER"
  bounded rm -f -- "$ROOT$MARK" || cannot_run "the mark cannot be removed: $ANSWER"
}

SOURCE[memory]='https://github.com/vllm-project/vllm-ascend/pull/3645'
BY_HAND[memory]='head -3 /proc/meminfo'
check_memory() {
  local key amount total=0 available='' shm="$((SHM_BYTES / GIB)) GiB"
  while read -r key amount _; do
    case $key in
      MemTotal:) total=$amount ;;
      MemAvailable:) available=$amount ;; # Linux 3.14 and later
    esac
  done <"$ROOT/proc/meminfo"
  if ((total * 1024 < SHM_BYTES)); then
    warn "$1" "$((total / MIB)) GiB of memory" "more than the container's /dev/shm, $shm" \
      'lower container.shm_size in the spec: filling it would get processes killed'
  elif ((${available:-total} * 1024 < SHM_BYTES)) && ! ours_runs; then
    warn "$1" "$((available / MIB)) of $((total / MIB)) GiB of memory are available" \
      "more than the container's /dev/shm, $shm" \
      'see who has it: ps -eo rss,args --sort=-rss; stop that, or lower container.shm_size in the spec'
  else
    ok "$1" "$((total / MIB)) GiB of memory for $shm of /dev/shm"
  fi
}

# Not even root may set the hard limit of open files above nr_open. The other limits bind nobody who is root, as
# Docker is; but one for processes has no effect above what the host has numbers for.
SOURCE[ulimits]='https://man7.org/linux/man-pages/man2/setrlimit.2.html'
BY_HAND[ulimits]='cd /proc/sys && head fs/nr_open kernel/pid_max kernel/threads-max'
check_ulimits() {
  local i name hard seen='' open='' processes='' files most
  first_line "$ROOT/proc/sys/fs/nr_open"
  files=$VALUE
  most_processes
  most=$VALUE
  for ((i = 0; i < ${#LIMITS[@]}; i += 3)); do
    name=${LIMITS[i]} hard=${LIMITS[i + 2]}
    seen+="${seen:+, }$name ${hard/#-1/unlimited}"
    case $name in
      nofile) [[ -z $files ]] || ((hard >= 0 && hard <= files)) || open=$hard ;;
      nproc) [[ -z $most ]] || ((hard <= most)) || processes=$hard ;;
    esac
  done
  if [[ -n $open ]]; then
    fail "$1" "nofile ${open/#-1/unlimited}" "$files at most, the host's fs.nr_open" \
      'lower container.ulimits.nofile in the spec, or raise fs.nr_open with sysctl: the container would not start'
  elif [[ -n $processes ]]; then
    warn "$1" "nproc $processes" "$most at most, the host's kernel.pid_max and kernel.threads-max" \
      'raise these two with sysctl, or lower container.ulimits.nproc in the spec'
  else
    ok "$1" "${seen:-none is set}"
  fi
}

# most_processes: VALUE becomes how many there can be on this host, or nothing where that is not told.
most_processes() {
  local name most=''
  for name in pid_max threads-max; do
    first_line "$ROOT/proc/sys/kernel/$name"
    [[ -z $VALUE ]] || ((VALUE >= ${most:-VALUE + 1})) || most=$VALUE
  done
  VALUE=$most
}

# Ray keeps its session and what it spills in the container's layer, so below Docker's folder. When that file system
# is 95 % full (local_fs_capacity_threshold), Ray makes no more objects.
readonly DISK_PERCENT=90 DISK_PERCENT_MOST=95 DISK_GIB=20
SOURCE[disk]='https://docs.ray.io/en/releases-2.48.0/ray-core/objects/object-spilling.html'
BY_HAND[disk]="df -h \"\$(docker info --format '{{.DockerRootDir}}')\""
check_disk() {
  local folder seen expected="less than $DISK_PERCENT % used and $DISK_GIB GiB free"
  local next='make room there: docker system df tells what images and stopped containers take'
  docker_folder
  for folder in "${VALUE:-/var/lib/docker}" /var/lib/docker / ''; do
    [[ -z $folder ]] || ! space_of "$folder" || break
  done
  seen="$FREE_GIB GiB free, $USED_PERCENT % used at $folder"
  if [[ -z $folder ]]; then
    skip "$1" "no file system says how full it is: $ANSWER"
  elif ((USED_PERCENT >= DISK_PERCENT_MOST)); then
    fail "$1" "$seen" "$expected" "$next"
  elif ((USED_PERCENT >= DISK_PERCENT || FREE_GIB < DISK_GIB)); then
    warn "$1" "$seen" "$expected" "$next"
  else
    ok "$1" "$seen"
  fi
}

SOURCE[driver]='https://github.com/vllm-project/vllm-ascend/issues/5468'
BY_HAND[driver]='cat /usr/local/Ascend/driver/version.info'
check_driver() {
  local file=$ROOT/usr/local/Ascend/driver/version.info line package='' version=''
  if [[ -r $file ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      # Newer drivers keep the release in package_version, and something else in Version.
      case $line in
        package_version=*) package=${line#*=} ;;
        Version=*) version=${line#*=} ;;
      esac
    done <"$file"
  fi
  if [[ -n $package$version ]]; then
    ok "$1" "${package:-$version}"
  else
    fail "$1" "no version in $file" 'the version of the NPU driver' 'install the NPU driver'
  fi
}
