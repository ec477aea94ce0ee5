# memory-long.sh: the smallest limits that are promised, for ten minutes each, of which an outage takes five; more than a
# tenth of the series are others by then.
. /harness/lib.sh
. /harness/world.sh
. /harness/bounded.sh

# trial MIB LIMIT SERIES TARGETS: every target has a new series in every scrape.
trial() {
  local mib=$1 limit=$2 series=$3
  world_targets=$4
  check "installed, $series series arrive" starts "${mib}M" 15 --target.series=$((series / world_targets)) --target.churn=1
  check "MemoryMax=${mib}M holds, GOMEMLIMIT follows it" bounded $((mib << 20)) "$limit"
  check "10 minutes with 5 of outage: no restart, nothing lost" survives 600 300
  figures
  ends > /dev/null
}

trial 64 "57.6 MiB" 3000 10
trial 48 "43.2 MiB" 1000 3
finish
