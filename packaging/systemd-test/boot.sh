#!/bin/bash
# boot.sh nspawn|qemu SUITE PAYLOAD SCRIPT OUT: boots a throw-away copy of a tree of trees.sh, with systemd as PID 1.
#   PAYLOAD  a folder, /harness in the guest        SCRIPT  a file in it, run by bash as root once the system is up
#   OUT      a folder for out (what SCRIPT printed), journal and console
# Prints what SCRIPT prints, and exits with its code; 125: the boot itself failed, 124: it ran past TIMEOUT seconds.
#   nspawn   about a second; loopback only; no memory controller where the host still has cgroup v1
#   qemu     emulated: slow, and complete. The host's loopback is 10.0.2.2. DISK names a copy of the image that survives
#            the boot; without it, changes are thrown away. KERNEL names another one of trees.sh. A SCRIPT that ends by cutting the power gives 125.
set -uo pipefail

mode=$1 suite=$2 payload=$3 script=$4 out=$5
cache=${OPSTRACE_AGENT_TREES:-$HOME/.cache/opstrace-agent-systemd}
tree=$cache/rootfs-$suite
timeout=${TIMEOUT:-600}
work=$(mktemp -d "$cache/run.XXXXXX")
mkdir -p "$out"
rm -f "$out"/{out,journal,console,rc}

# Files that every guest gets: the unit that runs SCRIPT.
overlay() {
  mkdir -p "$1/harness" "$1/etc/systemd/system/multi-user.target.wants"
  cp -a "$payload/." "$1/harness/"
  cat > "$1/harness/run" <<RUN
#!/bin/bash
cd /
export HOME=/root LANG=C.UTF-8 SYSTEMD_PAGER= SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive
if [ -e /dev/ttyS1 ]; then stty -F /dev/ttyS1 -opost 2> /dev/null; exec > /dev/ttyS1 2>&1; else exec > /harness/out 2>&1; fi
timeout 120 systemctl is-system-running --wait > /dev/null
bash /harness/\$(cat /harness/script)
rc=\$?
if [ -e /dev/ttyS2 ]; then stty -F /dev/ttyS2 -opost; journalctl -b --no-pager > /dev/ttyS2; else journalctl -b --no-pager > /harness/journal; fi
if [ -e /dev/ttyS3 ]; then echo \$rc > /dev/ttyS3; else echo \$rc > /harness/rc; fi
sync
systemctl poweroff --no-block
RUN
  echo "$script" > "$1/harness/script"
  printf '[Unit]\nDescription=harness\n[Service]\nExecStart=/bin/bash /harness/run\nTimeoutStopSec=5\n' \
    > "$1/etc/systemd/system/harness.service"
  ln -sf ../harness.service "$1/etc/systemd/system/multi-user.target.wants/harness.service"
}

boot_nspawn() {
  local name=oa$$ group groups rc
  mkdir -p "$work"/{upper,work,root}
  overlay "$work/upper"
  # Own cgroups: two boots at once would else share /payload.
  groups="/sys/fs/cgroup/systemd/$name /sys/fs/cgroup/unified/$name"
  [ ! -e /sys/fs/cgroup/cgroup.procs ] || groups=/sys/fs/cgroup/$name
  mkdir -p $groups
  (
    for group in $groups; do echo "$BASHPID" > "$group/cgroup.procs"; done
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec unshare --mount --net --propagation private bash -c "
      mount -t overlay overlay -o lowerdir='$tree',upperdir='$work/upper',workdir='$work/work' '$work/root' || exit 125
      exec timeout -k 10 $timeout systemd-nspawn -q -D '$work/root' -M $name --boot --private-network --register=no \
        --keep-unit --settings=no --link-journal=no --resolv-conf=off --timezone=off --console=read-only \
        --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN --system-call-filter=bpf"
  ) > "$out/console" 2>&1 < /dev/null
  rc=$?
  for group in $groups; do find "$group" -depth -type d -exec rmdir {} + 2> /dev/null; done
  rm -rf "/run/systemd/nspawn/propagate/$name"
  cp "$work"/upper/harness/{out,journal,rc} "$out/" 2> /dev/null
  return $rc
}

boot_qemu() {
  local kernel image=$tree.ext4 snapshot=on
  local from=$cache/${KERNEL:-kernel}
  kernel=$(ls "$from"/x/boot/vmlinuz-*)
  if [ -n "${DISK:-}" ]; then
    [ -e "$DISK" ] || cp --sparse=always "$image" "$DISK"
    image=$DISK snapshot=off
  fi
  mkdir "$work/in"
  overlay "$work/in"
  tar -C "$work/in" -cf "$work/in.tar" .
  nice -n 10 timeout --foreground -k 10 "$timeout" qemu-system-x86_64 -M q35 -accel "${QEMU_ACCEL:-tcg,thread=multi,tb-size=512}" \
    -cpu max -smp 2 -m "${QEMU_MEM:-1024}" -nodefaults -no-user-config -display none -no-reboot \
    -serial "file:$out/console" -serial "file:$out/out" -serial "file:$out/journal" -serial "file:$out/rc" \
    -nic user,model=virtio-net-pci \
    -drive "file=$image,format=raw,if=virtio,snapshot=$snapshot" \
    -drive "file=$work/in.tar,format=raw,if=virtio,readonly=on" \
    -kernel "$kernel" -initrd "$from/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 systemd.show_status=no tsc=reliable no_timer_check net.ifnames=0" \
    > "$out/qemu.log" 2>&1 < /dev/null
}

trap 'rm -rf "$work"' EXIT
"boot_$mode"
rc=$?
[ -e "$out/out" ] && cat "$out/out"
if [ -s "$out/rc" ]; then
  exit "$(tr -d '\r\n' < "$out/rc")"
fi
[ $rc != 124 ] || exit 124
exit 125
