# bounded.sh: a service under MemoryMax with an outage in the middle, for memory.sh and memory-long.sh. Needs the memory
# controller, and lib.sh and world.sh.
world_patience=300 # an emulated machine may be slow to catch up
group=/sys/fs/cgroup/system.slice/$unit

# starts MAX SECONDS [FLAG...]: the agent under MemoryMax=MAX scrapes every so many seconds; the flags are the sandbox's.
starts() {
  local max=$1 interval=$2
  shift 2
  drop_in "MemoryMax=$max"
  dpkg -i /harness/new.deb || return
  echo 'ARGS="--delivery.min-stay=1s --delivery.max-live-lag=10s"' > /etc/default/opstrace-agent
  # What is not kept is counted; the scrapes are enough to see a loss.
  world_start --keep=scrapes "$@" && world_token && world_config | sed "s/scrape_interval: 1s/scrape_interval: ${interval}s/" > $config &&
    cold && systemctl start $unit && is_active && arrive "$world_targets"
}

# cold stops the service and empties the page cache, as after a boot: the pages of the binary, which dpkg has brought
# there, would else be charged to dpkg's group, and the limit would be a third of it higher than it says.
cold() { systemctl stop $unit && sync && echo 3 > /proc/sys/vm/drop_caches; }

# ends takes away what starts has made, so that it can be called again.
ends() {
  systemctl stop $unit sandbox && rm -r $world_dir && find $state -mindepth 1 -delete
}

# bounded BYTES LIMIT: the kernel's limit and the one that Go has been told.
bounded() {
  [ "$(cat $group/memory.max)" = "$1" ] || say "memory.max: $(cat $group/memory.max)" || return
  logged "GOMEMLIMIT=\"$2\"" || say "$(journalctl -u $unit | grep GOMEMLIMIT)"
}

# survives SECONDS OUTAGE: a third of the rest is before the outage.
survives() {
  local seconds=$1 outage=$2 begun=$SECONDS pid
  pid=$(main_pid)
  sleep $(((seconds - outage) / 3))
  control down
  sleep "$outage"
  control up
  complete && sleep $((begun + seconds > SECONDS ? begun + seconds - SECONDS : 0)) && complete || return
  [ "$(main_pid)" = "$pid" ] && [ "$(show NRestarts)" = 0 ] && grep -q '^oom_kill 0$' $group/memory.events || say "restarts: $(show NRestarts), $(tr '\n' ' ' < $group/memory.events)"
}

# figures says what it took: VmHWM is of resident pages, memory.peak of all that the group is charged for, page cache too.
figures() {
  local pid
  pid=$(main_pid)
  echo "      resident $(awk '/VmRSS/ { print $2 }' "/proc/$pid/status") kB, peak $(awk '/VmHWM/ { print $2 }' "/proc/$pid/status") kB," \
    "group $(($(cat $group/memory.current) >> 10)) kB, peak $(($(cat $group/memory.peak 2> /dev/null || echo 0) >> 10)) kB," \
    "series $(stats | jq .tenants.default.series)"
  echo "      $(tr '\n' ' ' < $group/memory.events)"
}
