# available.sh: what a program takes from a small machine (.ci/bench -guest). What it scrapes, and where it sends, is outside.
# Prints a line for each figure: "figure PHASE NAME KIB", the mean over the phase; phases are before, rest and pressure.
# Only what bash has built in is used while something is measured: every command would need memory of its own.
#   /harness/program, /harness/arguments (one a line), /harness/config.yml
. /harness/lib.sh
. /harness/world.sh
unit=measured.service
group=/sys/fs/cgroup/system.slice/$unit
hog=/run/hog

exec {never}<> <(:)
pause() { read -r -t "$1" -u $never; }

# field FILE NAME: the number after NAME, and a colon where there is one.
field() {
  local name value
  while read -r name value _; do
    if [ "${name%:}" = "$2" ]; then
      echo "$value"
      return
    fi
  done < "$1"
}

# take: adds a look at everything to sums.
declare -A sums
take() {
  local name value pid
  while read -r name value _; do
    case $name in
      MemAvailable: | MemFree: | Cached: | AnonPages: | Slab: | PageTables: | KernelStack:) sums[${name%:}]=$((${sums[${name%:}]:-0} + value)) ;;
    esac
  done < /proc/meminfo
  [ -e $group ] || return 0
  read -r pid < $group/cgroup.procs
  while read -r name value _; do
    case $name in
      VmRSS: | RssAnon: | RssFile:) sums[${name%:}]=$((${sums[${name%:}]:-0} + value)) ;;
    esac
  done < "/proc/$pid/status"
  read -r value < $group/memory.current
  sums[group]=$((${sums[group]:-0} + value / 1024))
}

# measure PHASE LOOKS: one every five seconds.
measure() {
  local phase=$1 looks=$2 i name
  sums=()
  for ((i = 0; i < looks; i++)); do
    take
    pause 5
  done
  for name in "${!sums[@]}"; do echo "figure $phase $name $((sums[$name] / looks))"; done
}

# grow MIB: somebody takes so much more, which nothing can take back: there is no swap.
grow() { head -c "$1M" /dev/zero >> $hog/taken; }

# press SECONDS: takes memory by the MiB, each for so long, until what is left of the page cache has to be read again
# and again: more than half a MiB of it a second, or less than 10 MiB available, below which this machine stands still
# or kills. Sets room: the MiB up to then. It begins low enough for the first MiB to be free.
press() {
  local seconds=$1 before after
  room=$((($(field /proc/meminfo MemAvailable) >> 10) - 30))
  [ $room -gt 0 ] || room=1
  grow $room
  pause "$seconds"
  while :; do
    before=$(field /proc/vmstat workingset_refault_file)
    grow 1 || break
    pause "$seconds"
    after=$(field /proc/vmstat workingset_refault_file)
    echo "pressed: $((room + 1)) MiB, available $(field /proc/meminfo MemAvailable) KiB, cached $(field /proc/meminfo Cached) KiB, read again $(((after - before) * 4)) KiB"
    [ $(((after - before) * 4)) -lt $((seconds * 512)) ] && [ "$(field /proc/meminfo MemAvailable)" -ge 10240 ] || break
    room=$((room + 1))
  done
}

starts() {
  local arguments
  mapfile -t arguments < /harness/arguments
  mkdir -p /var/lib/measured
  systemd-run --quiet --unit=$unit --property=MemoryAccounting=yes /harness/program "${arguments[@]}" && await 30 is_active
}

same() { is_active && [ "$(main_pid)" = "$1" ] || say "another process than $1: $(main_pid); $(journalctl -u $unit --no-pager | tail -n 5)"; }

network
mkdir $hog && mount -t tmpfs -o size=100% hog $hog
# Also brings all guests to the same state: nothing of the boot is left in the page cache.
press 5
rm $hog/taken
echo "figure before room $((room << 10))"
pause 15
measure before 6
check "the program starts" starts
pid=$(main_pid)
pause 120
measure rest 12
press 15
echo "figure pressure room $((room << 10))"
rm $hog/taken
grow $room
measure pressure 6
check "it is still the same process" same "$pid"
rm $hog/taken
pause 30
check "it stops" systemctl stop $unit
finish
