# disks.sh: power cuts of file systems that many hosts' kernels do not have, f2fs and vfat among them.
cd /harness/disks || exit 1
for m in crc32_generic xxhash_generic zstd_common zstd_compress lz4_compress lz4hc_compress loop fuse fat nls_cp437 nls_ascii vfat f2fs; do
  [ ! -e $m.ko ] || ./busybox insmod $m.ko
done
cp mkfs.* fsck.* /usr/sbin/
OPSTRACE_AGENT_POWER_CUTS=${POWER_CUTS:-40} ./agent.test -test.v -test.timeout=60m -test.run='^TestPowerCuts$' > /tmp/log 2>&1
rc=$?
grep -E 'powercut_linux_test|^ *---' /tmp/log
[ $rc = 0 ] || tail -n 40 /tmp/log
grep -q -- '--- SKIP' /tmp/log && { echo "FAIL  a file system could not be tried"; exit 1; }
[ $rc = 0 ] && echo "ok    power cuts on all file systems" || echo "FAIL  power cuts"
exit $rc
