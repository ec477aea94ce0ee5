# memory.sh: 5,000 series for 3 minutes under MemoryMax=96M, with an outage in the middle.
. /harness/lib.sh
. /harness/world.sh
. /harness/bounded.sh

world_targets=5
check "installed, 5,000 series arrive" starts 96M 5 --target.series=1000
check "MemoryMax=96M holds, GOMEMLIMIT follows it" bounded $((96 << 20)) "86.4 MiB"
check "3 minutes with a minute of outage: no restart, nothing lost" survives 180 60
figures
finish
