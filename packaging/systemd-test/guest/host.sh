# host.sh: the metrics of the host, on a fresh one, with nothing but init, and from inside of the service's sandbox.
. /harness/lib.sh
. /harness/world.sh
world_port=443 world_targets=1

# query EXPRESSION: the values that it has at the endpoint, a line each, with their labels before them.
query() { curl -sS --fail -G "$world_control/query" --data-urlencode "query=$1" | jq -r '.[] | (.labels | del(.host, .instance, .job) | tojson) + " " + .value'; }
has() { query "$1" > /tmp/has && grep -q . /tmp/has || say "no data: $1"; }
has_not() { query "$1" > /tmp/has && ! grep . /tmp/has || say "but should not: $1"; }

installs() {
  dpkg -i /harness/new.deb && world_start && world_token && network_name || return
  opstrace-agent init --force --cluster=sandbox.invalid --tenant=default --token-file=$token_file --output=$config &&
    sed -i 's/^  #tls_config:/  tls_config:/; s/^  #  insecure_skip_verify/    insecure_skip_verify/' $config &&
    opstrace-agent check config $config && begun=$SECONDS && systemctl restart $unit && is_active
}

network_name() { echo '127.0.0.1 cortex.default.sandbox.invalid' >> /etc/hosts; }

# The queries of the dashboard "Node Exporter Full", with its variables filled in.
dashboard() {
  local query
  while read -r query; do
    await 100 has "$query" || return
  done <<'QUERIES'
100 * (1 - avg(rate(node_cpu_seconds_total{mode="idle"}[2m])))
scalar(node_load1{job="node"}) * 100 / count(count(node_cpu_seconds_total{job="node"}) by (cpu))
(1 - (node_memory_MemAvailable_bytes{job="node"} / node_memory_MemTotal_bytes{job="node"})) * 100
100 - ((node_filesystem_avail_bytes{mountpoint="/",fstype!="rootfs"} * 100) / node_filesystem_size_bytes{mountpoint="/",fstype!="rootfs"})
node_time_seconds{job="node"} - node_boot_time_seconds{job="node"}
rate(node_network_receive_bytes_total{job="node"}[2m])*8
rate(node_disk_io_time_seconds_total{job="node"}[2m])
node_uname_info{job="node"}
QUERIES
}

first_metrics() { await 60 has 'node_uname_info' && echo "after $((SECONDS - begun)) s"; }

# What is so inside of the sandbox only is not told.
as_outside() {
  has_not 'node_filesystem_readonly{mountpoint="/"} == 1' && has_not 'node_filesystem_size_bytes{mountpoint=~"/home|/root|/var/lib/opstrace-agent|/usr/bin/opstrace-agent|/tmp|/var/tmp|/run/(systemd|credentials).*"}' &&
    has_not 'node_filesystem_size_bytes == 0' && has_not 'count by (device) (node_filesystem_size_bytes{fstype!="tmpfs"}) > 1' || return
  [ "$(query 'node_filesystem_size_bytes{mountpoint="/"}' | sed 's/.* //' | xargs printf '%.0f')" = $(($(stat -f -c '%b * %S' /))) ]
}

textfiles() {
  echo 'backup_last_success_seconds 12' > /var/lib/opstrace-agent-textfile/backup.prom
  await 60 has 'backup_last_success_seconds == 12'
}

collectors() {
  # Without udev there are no properties of disks.
  ! journalctl -u $unit -b --no-pager | grep level=error | grep -v /run/udev/data || say "$(journalctl -u $unit --no-pager | grep level=error | head -n 5)"
}

check "init alone" installs
check "host metrics within a minute" first_metrics
check "the queries of the node dashboard" dashboard
check "file systems as they are outside" as_outside
check "a script's file" textfiles
check "no errors in the log" collectors
echo "      collectors without data: $(query 'node_scrape_collector_success == 0' | grep -o '"collector":"[a-z_]*"' | cut -d'"' -f4 | tr '\n' ' ')"
echo "      $(grep -E 'VmRSS|RssAnon|RssFile' "/proc/$(main_pid)/status" | tr -s '\t \n' ' ')"
query '{__name__=~"node_filesystem_size_bytes|node_filesystem_readonly"}' | sed 's/^/      /'
systemd-analyze security --no-pager $unit | tail -n 1
finish
