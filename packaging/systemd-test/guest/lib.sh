# lib.sh: what the guest's scripts share. A check is a line "ok" or "FAIL", and a script fails when one of its checks did.

unit=opstrace-agent.service
config=/etc/opstrace-agent/opstrace-agent.yml
state=/var/lib/opstrace-agent
failures=0

# check NAME COMMAND...: runs COMMAND in this shell, so that what it remembers is there for the next.
check() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" > /tmp/check.out 2>&1; then
    printf 'ok    %s (%d s)\n' "$name" $((SECONDS - begun))
  else
    printf 'FAIL  %s (%d s)\n' "$name" $((SECONDS - begun))
    tail -n 25 /tmp/check.out | sed 's/^/        /'
    failures=$((failures + 1))
  fi
}

skip() { printf 'skip  %s: %s\n' "$1" "$2"; }

finish() { exit $((failures > 0)); }

# await SECONDS COMMAND...: until COMMAND succeeds.
await() {
  local until=$((SECONDS + $1))
  shift
  while ! "$@" > /tmp/await.out 2>&1; do
    if [ $SECONDS -ge $until ]; then
      echo "waited in vain for: $*"
      cat /tmp/await.out
      return 1
    fi
    sleep 0.2
  done
}

say() { echo "$*"; return 1; } # for: condition || say "what is wrong"

show() { systemctl show --value -p "$1" $unit; }
main_pid() { show MainPID; }
is_active() { [ "$(show ActiveState)/$(show SubState)" = active/running ] || say "$(show ActiveState)/$(show SubState)"; }
status_is() { show StatusText | grep -q -- "$1" || say "status: $(show StatusText)"; }
logged() { journalctl -u $unit -b --no-pager "${@:2}" | grep -q -- "$1"; }

# other_process PID: the unit runs, and not as PID any more.
other_process() { is_active && [ "$(main_pid)" != "$1" ]; }

drop_in() { mkdir -p /etc/systemd/system/$unit.d; printf '[Service]\n%s\n' "$1" > /etc/systemd/system/$unit.d/test.conf; systemctl daemon-reload; }
no_drop_in() { rm -rf /etc/systemd/system/$unit.d; systemctl daemon-reload; }
