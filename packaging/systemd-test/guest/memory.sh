# memory.sh: 5,000 series for 3 minutes under MemoryMax=96M, with an outage in the middle. Needs the memory controller.
. /harness/lib.sh
. /harness/world.sh
group=/sys/fs/cgroup/system.slice/$unit

starts() {
  drop_in 'MemoryMax=96M'
  dpkg -i /harness/new.deb || return
  echo 'ARGS="--delivery.min-stay=1s --delivery.max-live-lag=10s"' > /etc/default/opstrace-agent
  # What is not kept is counted; the scrapes are enough to see a loss.
  world_targets=5
  world_start --target.series=1000 --keep=scrapes && world_token && world_config | sed 's/scrape_interval: 1s/scrape_interval: 5s/' > $config &&
    systemctl restart $unit && is_active && arrive 10
}

bounded() {
  [ "$(cat $group/memory.max)" = $((96 << 20)) ] || say "memory.max: $(cat $group/memory.max)" || return
  logged 'GOMEMLIMIT="86.4 MiB"' || say "$(journalctl -u $unit | grep GOMEMLIMIT)"
}

survives() {
  local begun=$SECONDS pid
  pid=$(main_pid)
  sleep 60
  control down
  sleep 60
  control up
  complete && sleep $((begun + 180 > SECONDS ? begun + 180 - SECONDS : 0)) && complete || return
  [ "$(main_pid)" = "$pid" ] && [ "$(show NRestarts)" = 0 ] && grep -q '^oom_kill 0$' $group/memory.events || say "restarts: $(show NRestarts), $(tr '\n' ' ' < $group/memory.events)"
}

check "installed, 5,000 series arrive" starts
check "MemoryMax=96M holds, GOMEMLIMIT follows it" bounded
check "3 minutes with a minute of outage: no restart, nothing lost" survives
echo "      resident $(awk '/VmRSS/ { print $2 }' /proc/"$(main_pid)"/status) kB, peak $(awk '/VmHWM/ { print $2 }' /proc/"$(main_pid)"/status) kB, series $(stats | jq .tenants.default.series)"
finish
