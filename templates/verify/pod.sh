# ---- HCCS, which joins the nodes of a super pod ------------------------------------------------------

SOURCE[vnic]=$DOCS/user_guide/feature_guide/large_scale_ep.md
check_vnic() {
  once hccn "$2" -vnic -g
  if value_of 'vnic link status' && [[ $VALUE == UP ]]; then
    ok "$1" UP
  else
    fail "$1" "${VALUE:-$ANSWER}" UP "look at the HCCS links (check hccs) and at the super pod's own switches"
  fi
}

SOURCE[hccs]=$DOCS/user_guide/feature_guide/large_scale_ep.md
BY_HAND[hccs]='npu-smi info -t hccs -i CARD -c DIE'
check_hccs() {
  local line links=0 broken=0
  place "$2"
  npu_smi info -t hccs -i "$CARD" -c "$DIE"
  while IFS= read -r line; do
    [[ $line =~ ^[[:space:]]*hccs\ health\ status\ *:\ *(N?OK) ]] || continue
    ((links += 1))
    [[ ${BASH_REMATCH[1]} == OK ]] || ((broken += 1))
  done <<<"$ANSWER"
  if ((links == 0)); then
    skip "$1" "${ANSWER:-npu-smi says nothing about HCCS}"
  elif ((broken > 0)); then
    fail "$1" "$broken of $links NOK" 'hccs health status OK' \
      'see which lane has the errors in the same answer; then reseat the board, or call the hardware service'
  else
    ok "$1" OK
  fi
}

# npu-smi knows a super pod by card and die: https://github.com/hicann/driver
# (src/custom/dev_prod/user/npucli/src/npu_chip_info_ext.c). 0 is a super pod like any other.
SOURCE['super-pod']=$DOCS/tutorials/features/pd_disaggregation_mooncake_multi_node.md
BY_HAND['super-pod']='npu-smi info -t spod-info -i CARD -c DIE'
check_super_pod() {
  local pod server
  case $2 in
    id)
      pod_facts 'Super Pod ID'
      same "$1" 'Super Pod ID' "$VALUES" \
        'NPUs of two super pods have no HCCS path: have the super pod configured anew'
      ;;
    server)
      pod_facts 'Server Index'
      same "$1" 'Server Index' "$VALUES" 'a replaced part kept its old index: have it configured anew'
      ;;
    sdid) check_sdid "$1" ;;
    *)
      pod_fact 'Super Pod ID' "$2" && pod=$VALUE &&
        pod_fact 'Server Index' "$2" && server=$VALUE &&
        pod_fact SDID "$2"
      if [[ -n $VALUE ]]; then
        ok "$1" "super pod $pod, server $server, SDID $VALUE"
      else
        fail "$1" "$ANSWER" 'Super Pod ID, Server Index and SDID' \
          'look at the driver with: npu-smi info; or set NPU_SMI'
      fi
      ;;
  esac
}

# pod_fact KEY NPU
pod_fact() {
  place "$2"
  once npu_smi info -t spod-info -i "$CARD" -c "$DIE"
  value_of "$1"
}

# pod_facts KEY: its VALUES of all NPUs.
pod_facts() {
  local command="${NPU_SMI:-npu-smi} info -t spod-info -i \$((i / $DIES_PER_CARD)) -c \$((i % $DIES_PER_CARD))"
  of_all_npus "$command" pod_fact "$1"
}

check_sdid() {
  local npu sdid seen=' ' twice=''
  pod_facts SDID
  while read -r npu sdid; do
    [[ ${sdid:--} != - ]] || continue
    [[ $seen != *" $sdid "* ]] || twice+=" $sdid"
    seen+="$sdid "
  done <<<"$VALUES"
  if [[ -n $twice ]]; then
    fail "$1" "twice:$twice" 'every NPU has an SDID of its own' 'have the super pod configured anew'
  elif [[ $seen == ' ' ]]; then
    skip "$1" 'no NPU said it'
  else
    ok "$1" 'every NPU has an SDID of its own'
  fi
}
