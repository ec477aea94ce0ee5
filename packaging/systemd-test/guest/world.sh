# world.sh: the sandbox around the agent (cmd/opstrace-sandbox): an endpoint with Opstrace's manners, and targets that
# count their scrapes. It runs beside the agent, or, where the machine is to lose its power, outside: then
# world_control says where to reach it.

world_dir=/run/sandbox
world_targets=2
world_port=8443
world_patience=90 # seconds for what is kept to arrive
world_control=${world_control:-http://127.0.0.1:8081/control}
token_file=/etc/opstrace-agent/token

# world_start [FLAG...]: on fixed ports, so that it can be started again at the same place.
world_start() {
  systemd-run --quiet --unit=sandbox --collect /harness/opstrace-sandbox --dir=$world_dir --report-interval=0s \
    --endpoint.listen-address=127.0.0.1:$world_port --targets.listen-address=127.0.0.1:8080 \
    --control.listen-address=127.0.0.1:8081 --targets=$world_targets "$@" &&
    await 10 test -e $world_dir/sandbox.json
}

world_config() {
  cat <<CONFIG
global:
  scrape_interval: 1s
opstrace:
  cluster: sandbox.invalid
  tenant: default
  url: https://127.0.0.1:8443/api/v1/push
  token_file: ${1:-token}
  tls_config: {insecure_skip_verify: true}
scrape_configs:
  - job_name: sandbox
    http_sd_configs:
      - url: http://127.0.0.1:8080/sd
        refresh_interval: 1s
CONFIG
}

world_token() { cp $world_dir/tenant-api-token-default $token_file && chown root:opstrace-agent $token_file && chmod 640 $token_file; }

control() { curl -sS --fail -X POST "$world_control/$1"; }
stats() { curl -sS --fail "$world_control/stats"; }

# scrapes WHAT: answered, stored, missing, pending; all targets together.
scrapes() { stats | jq "[.targets[].$1] | add"; }

more_than() { [ "$(scrapes stored)" -ge "$1" ] || say "stored $(scrapes stored), want $1: $(stats | jq -c .)"; }
# arrive N: N more scrapes than now are stored.
arrive() { await 40 more_than $(($(scrapes stored) + $1)); }

answered() { [ "$(scrapes answered)" -ge "$1" ] || say "answered $(scrapes answered), want $1"; }
# scraped N: N more scrapes than now are answered; they need not be delivered.
scraped() { await 60 answered $(($(scrapes answered) + $1)); }

# complete [N]: everything that has been answered by now arrives, in order and nothing refused for good. N: scrapes that
# may have been lost since the last time, because a kill came between a target's answer and the commit.
known_missing=0
complete() {
  local answered missing allowed=$((known_missing + ${1:-0}))
  answered=$(scrapes answered)
  await $world_patience more_than $((answered - allowed)) || return
  missing=$(scrapes missing)
  [ "$missing" -le $allowed ] || say "missing $missing, allowed $allowed: $(stats | jq -c .)" || return
  known_missing=$missing
  stats | jq -e '.in_order and .tenants.default.lost == 0' > /dev/null || say "out of order or lost: $(stats | jq -c .)"
}

# network: the way to the host out of an emulated machine.
network() { ip link set eth0 up && ip address add 10.0.2.15/24 dev eth0; }
