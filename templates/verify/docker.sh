# ---- Docker ------------------------------------------------------------------------------------------

# ask_docker: DOCKER becomes yes when the daemon answers, and DOCKER_SAID its version; else no, and why not.
DOCKER=unasked DOCKER_SAID=''
ask_docker() {
  [[ $DOCKER == unasked ]] || return 0
  DOCKER=no DOCKER_SAID='no docker here'
  type -P docker >/dev/null || return 0
  ! bounded docker version --format '{{.Server.Version}}' || DOCKER=yes
  # Warnings, of a broken configuration for one, come before what was asked for.
  if [[ $DOCKER == yes ]]; then DOCKER_SAID=${ANSWER##*$'\n'}; else DOCKER_SAID=$ANSWER; fi
}

SOURCE[docker]='https://docs.docker.com/reference/cli/docker/version/'
BY_HAND[docker]='docker version'
check_docker() {
  ask_docker
  if [[ $DOCKER == yes ]]; then
    ok "$1" "$DOCKER_SAID"
  else
    fail "$1" "$DOCKER_SAID" 'the version of the Docker daemon' \
      'install Docker, or see why its daemon does not answer: systemctl status docker'
  fi
}

# docker_folder: VALUE becomes where Docker keeps its images and containers, or nothing.
docker_folder() {
  VALUE=''
  ask_docker
  [[ $DOCKER == yes ]] && bounded docker info --format '{{.DockerRootDir}}' || return 0
  VALUE=${ANSWER##*$'\n'}
}

readonly NO_DOCKER='docker does not answer here'

SOURCE[image]='https://docs.vllm.ai/projects/ascend/en/latest/installation.html'
check_image() {
  printf -v ASKED 'docker image inspect %q' "$IMAGE"
  ask_docker
  if [[ $DOCKER == no ]]; then
    skip "$1" "$NO_DOCKER"
  elif bounded docker image inspect --format '{{.Id}}' "$IMAGE"; then
    ok "$1" "${ANSWER##*$'\n'}" # the same for an image that was pulled and one that was loaded from a file
  else
    fail "$1" "$ANSWER" "$IMAGE" \
      "docker pull $IMAGE; where there is no internet, docker save it elsewhere and docker load it here"
  fi
}

# What is known of each container, a line each: name, whether it runs, two of our labels, and its devices.
readonly CONTAINER_FORMAT='{{.Name}} {{.State.Running}} {{with .Config.Labels}}
{{- printf "%q %q" (index . "ascend-cluster.name") (index . "ascend-cluster.role")}}
{{- else}}"" ""{{end}} {{range .HostConfig.Devices}}{{.PathOnHost}} {{end}}'

# read_docker: HOLDER of each device that a running container has; OURS_RUNS when this cluster's own container
# does; CLASH when another has its name. Where that is not known, CONTAINERS_FAULT says why.
DOCKER_READ=no CONTAINERS_FAULT='' CLASH=no OURS_RUNS=no
declare -A HOLDER=()
read_docker() {
  local id ids=() name runs cluster role devices
  [[ $DOCKER_READ == no ]] || return 0
  DOCKER_READ=yes
  ask_docker
  if [[ $DOCKER == no ]]; then
    CONTAINERS_FAULT=$NO_DOCKER
  elif ! bounded docker ps --all --quiet --no-trunc; then
    CONTAINERS_FAULT=$ANSWER
  fi
  [[ -z $CONTAINERS_FAULT ]] || return 0
  while read -r id; do
    [[ ! $id =~ ^[0-9a-f]{64}$ ]] || ids+=("$id")
  done <<<"$ANSWER"
  ((${#ids[@]} > 0)) || return 0
  # It fails for a container that was removed since, and still tells the others.
  bounded docker inspect --format "$CONTAINER_FORMAT" "${ids[@]}"
  [[ $ANSWER == /* || $ANSWER == *$'\n/'* ]] || CONTAINERS_FAULT=$ANSWER
  while read -r name runs cluster role devices; do
    note_container "${name#/}" "$runs" "$cluster" "$role" "$devices"
  done <<<"$ANSWER"
}

# note_container NAME RUNS CLUSTER ROLE DEVICES
note_container() {
  local device
  [[ $4 != '"verify"' ]] || return 0 # such a one is there only while `compiler verify` asks
  if [[ $1 == "$CONTAINER" && $3 == "\"$CLUSTER\"" ]]; then
    [[ $2 != true ]] || OURS_RUNS=yes
    return
  fi
  [[ $1 != "$CONTAINER" ]] || CLASH=yes
  [[ $2 == true ]] || return
  for device in $5; do HOLDER[$device]=$1; done
}

# ours_runs: true while this cluster's own container runs here.
ours_runs() {
  [[ $OURS_RUNS == yes ]] || read_docker
  [[ $OURS_RUNS == yes ]]
}

# An NPU that another container has is lost for this one.
SOURCE[containers]='https://github.com/vllm-project/vllm-ascend/issues/2698'
BY_HAND[containers]="docker ps --all; docker inspect --format '{{.Name}} {{.HostConfig.Devices}}' CONTAINER"
check_containers() {
  local device held='' free='no other running container has these NPUs'
  read_docker
  for device in "${NPU_DEVICES[@]}"; do
    [[ -z ${HOLDER[$device]:-} ]] || held+="${held:+, }$device by ${HOLDER[$device]}"
  done
  if [[ -n $CONTAINERS_FAULT ]]; then
    skip "$1" "who holds the NPUs is unknown: $CONTAINERS_FAULT"
  elif [[ $CLASH == yes ]]; then
    fail "$1" "another container is called $CONTAINER" 'nobody has this name' \
      'remove or rename that container, or give this cluster another name: it was not made by this program'
  elif [[ -n $held ]]; then
    fail "$1" "held: $held" "$free" 'stop that container, or leave its NPUs out with npus in the spec'
  else
    ok "$1" "$free"
  fi
}
