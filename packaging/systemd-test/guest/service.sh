# service.sh: what can happen to a running service: reloads, crashes, hangs, new tokens, outages, upgrades.
. /harness/lib.sh
. /harness/world.sh
starts() {
  echo 'ARGS="--delivery.min-stay=1s --delivery.max-live-lag=10s"' > /tmp/args
  dpkg -i /harness/old.deb && status_is 'No destination' || return
  cp /tmp/args /etc/default/opstrace-agent
  world_start && world_token && world_config > $config &&
    opstrace-agent check config $config && systemctl restart $unit && is_active && arrive 6
}

status_line() { await 20 status_is '^All is well, live: 1$'; }

# The journal's own priority; and no time inside the line, which the journal has anyway.
journal_lines() {
  journalctl -u $unit -b -o json --no-pager | jq -r 'select(._COMM == "opstrace-agent") | .PRIORITY + " " + .MESSAGE' > /tmp/lines
  grep -q '^6 .*level=info' /tmp/lines || say "no info at priority 6: $(head -n 3 /tmp/lines)" || return
  ! grep '^6 .*level=error' /tmp/lines || say "errors at priority 6" || return
  ! grep ' ts=' /tmp/lines | head -n 3 | grep . || say "times are doubled"
}

own_metrics() {
  local metrics
  metrics=$(curl -sS --fail http://127.0.0.1:9095/metrics) &&
    grep -q '^process_start_time_seconds ' <<< "$metrics" && grep -q '^process_resident_memory_bytes ' <<< "$metrics"
}

# job NAME: there are targets of this job. What discovery finds waits up to 5 s in it and up to 5 s more before scraping
# looks, so that ten seconds are not enough.
job() {
  await 40 sh -c "curl -sS http://127.0.0.1:9095/api/v1/targets | jq -e '.data.activeTargets[] | select(.scrapePool == \"$1\")'"
}

reloads() {
  local pid
  pid=$(main_pid)
  sed -i 's/job_name: sandbox/job_name: renamed/' $config
  systemctl reload $unit && [ "$(main_pid)" = "$pid" ] && is_active || return
  job renamed && complete
}

reloads_by_signal() {
  local pid
  pid=$(main_pid)
  sed -i 's/job_name: renamed/job_name: sandbox/' $config
  systemctl kill -s HUP $unit && job sandbox && [ "$(main_pid)" = "$pid" ] && complete
}

refuses_a_bad_file() {
  local pid
  pid=$(main_pid)
  cp $config /tmp/good.yml
  echo 'scrape_configz: []' >> $config
  ! systemctl reload $unit || say "systemctl reload says that all is well" || return
  await 5 logged 'scrape_configz' || say "the journal does not name the mistake" || return
  is_active && [ "$(main_pid)" = "$pid" ] && arrive 4 || return
  cp /tmp/good.yml $config && systemctl reload $unit && complete
}

behind_a_password() {
  # htpasswd of "x", cost 4.
  printf 'basic_auth_users:\n  admin: $2y$04$KuVzvcZ1eHdeCJNmBa4lGuL4DHfuSQUIUXRBYVR2CwmWxSgc0DnUm\n' > /etc/opstrace-agent/web.yml
  sed -i 's|"$| --web.config.file=/etc/opstrace-agent/web.yml"|' /etc/default/opstrace-agent
  systemctl restart $unit && systemctl reload $unit && await 10 logged 'source=SIGHUP' || return
  echo 'scrape_configz: []' >> $config
  ! systemctl reload $unit || say "a bad file is not noticed" || return
  cp /tmp/good.yml $config && cp /tmp/args /etc/default/opstrace-agent && rm /etc/opstrace-agent/web.yml && systemctl restart $unit && complete
}

stops_and_starts() { systemctl restart $unit && scraped 4 && complete; }

killed() {
  local pid
  pid=$(main_pid)
  kill -9 "$pid"
  await 15 other_process "$pid" && scraped 4 && complete $world_targets
}

panics() {
  # SIGABRT ends a Go program as a panic does: with status 2.
  local pid
  pid=$(main_pid)
  kill -ABRT "$pid"
  await 15 other_process "$pid" && scraped 4 && complete $world_targets
}

hangs() {
  local pid
  drop_in 'WatchdogSec=6'
  systemctl restart $unit && scraped 4
  pid=$(main_pid)
  sleep 12
  [ "$(main_pid)" = "$pid" ] || say "ended without a reason" || return
  kill -STOP "$pid"
  await 40 other_process "$pid" && logged 'Watchdog timeout' && no_drop_in && systemctl restart $unit && scraped 4 && complete $world_targets
}

bad_configuration_at_start() {
  echo 'scrape_configz: []' >> $config
  ! systemctl restart $unit || say "it started" || return
  await 20 sh -c "[ \$(systemctl show --value -p NRestarts $unit) -ge 2 ]" || return
  cp /tmp/good.yml $config
  # Mended, and nobody has to do anything.
  await 30 is_active && scraped 4 && complete
}

taken_port() {
  # The sandbox's targets have this one.
  echo 'ARGS="--web.listen-address=127.0.0.1:8080"' > /etc/default/opstrace-agent
  ! systemctl restart $unit || say "it started" || return
  await 20 status_is 'cannot listen: listen tcp 127.0.0.1:8080: bind: address already in use' || return
  await 10 logged 'hint: another process has this port' -p err || say "the journal does not tell what to do" || return
  cp /tmp/args /etc/default/opstrace-agent
  await 40 is_active && scraped 4 && complete
}

token_as_a_file() {
  local pid
  pid=$(main_pid)
  control 'token?token=second' && scraped 4 && await 30 status_is "takes nothing" || return
  world_token && [ "$(main_pid)" = "$pid" ] && complete && arrive 4
}

token_as_a_credential() {
  chmod 600 $token_file && chown root:root $token_file
  world_config /run/credentials/opstrace-agent.service/token > $config
  opstrace-agent check config $config
  systemctl restart $unit && scraped 4 && complete || return
  ! runuser -u opstrace-agent -- cat $token_file 2> /dev/null || say "the file is not root's alone" || return
  ! runuser -u nobody -- cat /run/credentials/opstrace-agent.service/token 2> /dev/null || say "everybody reads the credential" || return
  control 'token?token=third' && scraped 4 && cp $world_dir/tenant-api-token-default $token_file && systemctl restart $unit && scraped 4 && complete
}

# By the drop-in of the package. This machine has no TPM, so by a key of its own; the unit is let at a TPM all the same.
token_encrypted() {
  systemd-creds encrypt --with-key=host --name=token $token_file /etc/opstrace-agent/token.cred && rm $token_file || return
  mkdir -p /etc/systemd/system/$unit.d
  cp /usr/share/doc/opstrace-agent/examples/encrypted-token.conf /etc/systemd/system/$unit.d/ && systemctl daemon-reload &&
    systemctl restart $unit && scraped 4 && complete || return
  show DeviceAllow | grep -q tpm || say "no TPM for it: $(show DeviceAllow)" || return
  ! grep -rF "$(cat $world_dir/tenant-api-token-default)" /etc/opstrace-agent || say "the token is there in clear" || return
  no_drop_in
  rm /etc/opstrace-agent/token.cred
  cp $world_dir/tenant-api-token-default $token_file && chmod 600 $token_file
}

no_token_at_all() {
  # SetCredential= stands in for the missing file, and nothing is lost before there is one.
  rm $token_file
  systemctl restart $unit && is_active && scraped 6 || return
  cp $world_dir/tenant-api-token-default $token_file && systemctl restart $unit && complete || return
  cp /tmp/good.yml $config && world_token && systemctl restart $unit && complete
}

restarts_during_an_outage() {
  local begun
  control down && scraped 10 && await 40 status_is "takes nothing" || return
  begun=$SECONDS
  systemctl restart $unit
  [ $((SECONDS - begun)) -le 8 ] || say "took $((SECONDS - begun)) s" || return
  scraped 10 && control up && complete
}

upgrades_during_an_outage() {
  local pid
  pid=$(main_pid)
  control down && scraped 10 || return
  dpkg -i /harness/new.deb && other_process "$pid" && cmp $config /tmp/good.yml && scraped 10 && control up && complete
}

purges() {
  systemctl stop sandbox
  dpkg -P opstrace-agent && [ ! -e $state ] && [ ! -e /etc/opstrace-agent ]
}

check "installed, configured, samples arrive" starts
check "systemctl status says: All is well, live: 1" status_line
check "journal: priorities, no doubled times" journal_lines
check "the agent's own metrics, /proc in the sandbox" own_metrics
check "reload: new configuration, same process" reloads
check "reload by SIGHUP" reloads_by_signal
check "a bad file: reload fails, the old one goes on" refuses_a_bad_file
check "reload where the address has a password" behind_a_password
check "restart: nothing lost" stops_and_starts
check "kill -9: restarted, nothing lost" killed
check "crash with status 2: restarted, nothing lost" panics
check "a hung process is ended by the watchdog, nothing lost" hangs
check "a configuration that cannot work is tried again until it is mended" bad_configuration_at_start
check "a port that is taken: status and journal tell, and it is tried again" taken_port
check "a new token in a plain file: at once, without a restart, nothing lost" token_as_a_file
check "a new token as a credential: by a restart, nothing lost" token_as_a_credential
if command -v systemd-creds > /dev/null; then
  check "an encrypted token: delivered with, and not in clear on the disk" token_encrypted
else
  skip "an encrypted token" "this systemd has no systemd-creds"
fi
check "no token at all: starts, keeps, delivers later" no_token_at_all
check "restart during an outage: nothing lost" restarts_during_an_outage
check "upgrade during an outage: configuration and backlog kept" upgrades_during_an_outage
check "removed and purged" purges
finish
