#!/bin/bash
# run.sh: the agent on other architectures: it scrapes, delivers, is killed in an outage, starts again, is stopped,
# starts again and catches up. The sandbox around it is native. A line per check; exit code 0 all good, 1 a check
# failed, 3 this host cannot run it (and why).
#   ARCHES   default: 386 (native) armv6 armv7 arm64 riscv64 mipsle, emulated by qemu-user
# qemu-user-static is taken as it is or, where it is not installed, from Debian's package, unpacked into
# OPSTRACE_AGENT_QEMU_USER (default ~/.cache/opstrace-agent-qemu-user): binfmt and the host stay as they are.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. packaging/systemd-test/guest/lib.sh
. packaging/systemd-test/guest/world.sh

arches=${ARCHES:-386 armv6 armv7 arm64 riscv64 mipsle}
qemu_dir=${OPSTRACE_AGENT_QEMU_USER:-$HOME/.cache/opstrace-agent-qemu-user}
work=$(mktemp -d)
agent_pid='' world_pid=''
trap 'kill -9 $agent_pid $world_pid 2> /dev/null; rm -rf "$work"' EXIT

cannot() {
  echo "test-arch cannot run here: $*" >&2
  exit 3
}

# emulator ARCH prints the command that runs its programs here; nothing if this machine runs them itself.
emulator() {
  local name cpu=''
  case $1 in
    386 | amd64) return ;;
    armv6) name=arm cpu='-cpu arm1176' ;;
    armv7) name=arm cpu='-cpu cortex-a7' ;;
    arm64) name=aarch64 ;;
    mipsle) name=mipsel ;;
    *) name=$1 ;;
  esac
  if command -v "qemu-$name-static" > /dev/null; then
    echo "qemu-$name-static $cpu"
  else
    echo "$qemu_dir/x/usr/bin/qemu-$name-static $cpu"
  fi
}

get_emulators() {
  local arch first
  for arch in $arches; do
    first=$(emulator "$arch" | cut -d ' ' -f 1)
    if [ -n "$first" ] && ! command -v "$first" > /dev/null; then
      echo "unpacking qemu-user-static into $qemu_dir"
      mkdir -p "$qemu_dir"
      (cd "$qemu_dir" && apt-get download -q -o APT::Sandbox::User=root qemu-user-static > /dev/null &&
        dpkg -x qemu-user-static_*.deb x) || cannot "no qemu-user-static (apt-get update?)"
      return
    fi
  done
}

start_world() {
  rm -rf "$work/world"
  "$work/opstrace-sandbox" --dir="$work/world" --targets=2 --target.series=400 --keep=scrapes --report-interval=0s > "$work/world.log" 2>&1 &
  world_pid=$!
  await 10 test -e "$work/world/sandbox.json" || return
  world_control=$(sed -n 's/.*"control_url": "\(.*\)".*/\1/p' "$work/world/sandbox.json")
  {
    printf 'global: {scrape_interval: 1s}\nopstrace:\n  cluster: sandbox.invalid\n  tenant: default\n'
    printf '  url: %s\n' "$(sed -n 's/.*"push_url": "\(.*\)".*/\1/p' "$work/world/sandbox.json")"
    printf '  token_file: tenant-api-token-default\n  tls_config: {ca_file: ca.pem}\n'
    cat "$work/world/scrape_configs.yml"
  } > "$work/world/agent.yml"
}

# Small segments and frequent truncations: what was written long ago has to be linked, read again and given up, too.
start_agent() {
  $emulator "$binary" --config.file="$work/world/agent.yml" --storage.agent.path="$work/state" --web.listen-address=127.0.0.1:0 \
    --delivery.min-stay=1s --delivery.max-live-lag=10s --storage.agent.wal-segment-size=128KiB \
    --storage.agent.wal-truncate-frequency=10s >> "$work/agent.log" 2>&1 &
  agent_pid=$!
}

end_agent() { kill "-$1" "$agent_pid" && wait "$agent_pid"; }

delivers() {
  rm -rf "$work/state" "$work/agent.log"
  known_missing=0
  start_world && start_agent && arrive 6 && complete
}

killed_in_an_outage() {
  control down && scraped 30 || return
  end_agent KILL
  start_agent
  scraped 20
}

stopped_in_an_outage() {
  local begun=$SECONDS
  end_agent TERM || [ $? -le 1 ] || say "ended with $?" || return
  [ $((SECONDS - begun)) -le 10 ] || say "took $((SECONDS - begun)) s" || return
  start_agent
  scraped 20
}

catches_up() { control up && complete $world_targets && arrive 6 && complete; }

stops() {
  local rc=0
  end_agent TERM || rc=$?
  kill "$world_pid"
  wait "$world_pid"
  [ $rc = 0 ] || say "ended with $rc: $(tail -n 3 "$work/agent.log")"
}

for tool in go curl jq; do command -v $tool > /dev/null || cannot "$tool is missing"; done
[ "$(uname -m)" = x86_64 ] || cannot "it is made for a host with x86_64"
get_emulators
CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=remove_all_sd,enable_dns_sd" \
  go build -o "$work/opstrace-sandbox" ./cmd/opstrace-sandbox || exit 1
for arch in $arches; do
  ARCHES=$arch DIST=$work/dist make binaries > /dev/null || exit 1
  binary=$work/dist/build/$arch/opstrace-agent
  emulator=$(emulator "$arch")
  printf '\n== %s (%s)\n' "$arch" "$(basename "${emulator:-native}")"
  before=$failures
  check "scrapes and delivers" delivers
  check "killed in an outage, started again" killed_in_an_outage
  check "stopped in the outage, started again" stopped_in_an_outage
  check "catches up: nothing lost" catches_up
  check "stops" stops
  if [ $failures != "$before" ]; then tail -n 15 "$work/agent.log"; fi
  kill -9 $agent_pid $world_pid 2> /dev/null
  wait
done
[ $failures = 0 ]
