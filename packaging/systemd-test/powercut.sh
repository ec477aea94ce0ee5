# powercut.sh: for run.sh. Boots an emulated machine twice on one disk, with a reset in between that nobody is told of.
# The sandbox is on this host: it has to remember, across the cut, what was scraped.

world_pid=

start_world() {
  local dir=$work/world
  "$payload/opstrace-sandbox" --dir="$dir" --targets=2 --report-interval=0s > "$work/world.log" 2>&1 &
  world_pid=$!
  for _ in $(seq 100); do
    [ ! -e "$dir/sandbox.json" ] || break
    sleep 0.1
  done
  cp "$dir/tenant-api-token-default" "$payload/token"
  # The host's loopback is 10.0.2.2 for the machine.
  {
    printf 'global: {scrape_interval: 1s}\nopstrace:\n  cluster: sandbox.invalid\n  tenant: default\n'
    printf '  url: %s\n' "$(world push_url)"
    printf '  token_file: token\n  tls_config: {insecure_skip_verify: true}\n'
    cat "$dir/scrape_configs.yml"
  } | sed 's/127\.0\.0\.1/10.0.2.2/' > "$payload/world.yml"
}

world() { sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" "$work/world/sandbox.json"; }

# world_env LINE...: what the guest's scripts know beforehand.
world_env() {
  {
    echo "world_control=$(world control_url | sed 's/127\.0\.0\.1/10.0.2.2/')"
    echo 'sync_interval=5'
    printf '%s\n' "$@"
  } > "$payload/world.env"
}

powercut() {
  local before at_cut
  start_world
  trap 'kill $world_pid; rm -rf "$work"' EXIT
  export DISK=$work/disk
  world_env
  printf '\n== powercut, %s (qemu)\n' "$1"
  "$here/boot.sh" qemu "$1" "$payload" powercut-1.sh "$work/out" || true
  before=$(tr -d '\r' < "$work/out/out" | sed -n 's/^cut: //p')
  if [ -z "$before" ] || grep -q ^FAIL "$work/out/out"; then
    failed+=("powercut on $1")
    return
  fi
  at_cut=$(curl -sS "$(world control_url)/stats" | tr -d ' ,' | awk -F: '/"answered"/ { n += $2 } END { print n }')
  world_env "before_cut=$before" "at_cut=$at_cut"
  run qemu "$1" powercut-2
  unset DISK
}
