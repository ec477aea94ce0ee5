# powercut-1.sh: an outage, and in it the power goes. The sandbox is outside of the machine, see powercut.sh.
. /harness/lib.sh
. /harness/world.env
. /harness/world.sh

starts() {
  dpkg -i /harness/new.deb || return
  echo "ARGS=\"--delivery.min-stay=1s --delivery.max-live-lag=10s --storage.sync-interval=${sync_interval}s\"" > /etc/default/opstrace-agent
  cp /harness/world.yml $config && cp /harness/token $token_file && chgrp opstrace-agent $token_file && chmod 640 $token_file &&
    systemctl restart $unit && is_active && arrive 6
}

outage() { control down && scraped 40; }

network
check "installed, samples arrive" starts
check "outage" outage
sync -f / # what is written from here on is the agent's own to bring to the disk
scraped 20 > /dev/null
before=$(scrapes answered)
sleep $((2 * sync_interval))
echo "cut: $before"
echo b > /proc/sysrq-trigger
sleep 60
