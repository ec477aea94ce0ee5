#!/bin/bash
# trees.sh SUITE...: makes the Debian trees that boot.sh boots, once; later calls find them in the cache.
#   $CACHE/rootfs-SUITE       a minimal Debian with systemd as PID 1 (nspawn boots an overlay over it)
#   $CACHE/rootfs-SUITE.ext4  the same as a disk image for QEMU (with QEMU=1)
#   $CACHE/kernel             Debian's cloud kernel, and an initrd that loads virtio and mounts the image
#   $CACHE/kernel-disks       its full kernel, which has more file systems (with DISKS=1)
# CACHE: $OPSTRACE_AGENT_TREES, default ~/.cache/opstrace-agent-systemd. MIRROR: a Debian mirror, default debootstrap's own.
set -euo pipefail

cache=${OPSTRACE_AGENT_TREES:-$HOME/.cache/opstrace-agent-systemd}
mirror=${MIRROR:-http://deb.debian.org/debian}
include=systemd,systemd-sysv,dbus,ca-certificates,procps,iproute2,curl,man-db,jq,rpm

# Units that only cost boot time, or that would touch a clock and a network which are not the test's.
masked=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer
  console-getty.service serial-getty@ttyS0.service getty@tty1.service systemd-timesyncd.service e2scrub_reap.service)

tree() {
  local suite=$1 root=$cache/rootfs-$1 unit
  [ -e "$root.ok" ] && return
  rm -rf "$root" "$root.ext4"
  echo "debootstrap $suite from $mirror (a few minutes; log: $cache/debootstrap-$suite.log)" >&2
  nice -n 10 debootstrap --variant=minbase --include=$include "$suite" "$root" "$mirror" > "$cache/debootstrap-$suite.log" 2>&1 || {
    tail -n 3 "$cache/debootstrap-$suite.log" >&2
    echo "trees.sh: debootstrap of $suite failed: is the mirror $mirror reachable? (set MIRROR)" >&2
    exit 1
  }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/journal
  systemd-machine-id-setup --root="$root" > /dev/null 2>&1
  for unit in "${masked[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
  printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
  rm -f "$root/etc/resolv.conf"
  : > "$root/etc/resolv.conf"
  echo test > "$root/etc/hostname"
  touch "$root.ok"
}

# kernel DIR PACKAGE
kernel() {
  local dir=$cache/$1 version modules work m
  [ -e "$dir/initrd" ] && return
  rm -rf "$dir"
  mkdir -p "$dir/deb"
  (
    cd "$dir/deb"
    package=$(apt-cache depends "$2" | awk '/Depends: linux-image/ { print $2; exit }')
    apt-get download -q -o APT::Sandbox::User=root "${package:?no $2: run apt-get update}" > /dev/null
    dpkg -x linux-image-*.deb "$dir/x"
  )
  version=$(basename "$dir"/x/boot/vmlinuz-* | sed 's/^vmlinuz-//')
  modules=$(find "$dir/x" -type d -path "*lib/modules/$version" | head -n 1)
  work=$(mktemp -d)
  mkdir -p "$work"/{bin,dev,proc,sys,new,m}
  cp /bin/busybox "$work/bin/"
  for m in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover virtio_net \
    crc16 crc32c_generic libcrc32c mbcache jbd2 ext4; do
    find "$modules" -name "$m.ko" -exec cp {} "$work/m/" \;
  done
  cat > "$work/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in virtio_ring virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover virtio_net \
  crc16 crc32c_generic libcrc32c mbcache jbd2 ext4; do
  [ -e /m/$m.ko ] && $b insmod /m/$m.ko
done
for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; $b sleep 0.3; done
$b mount -t ext4 /dev/vda /new || exec $b sh
[ -b /dev/vdb ] && $b tar -C /new -xf /dev/vdb
$b mount -o move /dev /new/dev; $b umount /proc /sys
exec $b switch_root /new /sbin/init
INIT
  chmod +x "$work/init"
  (cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) > "$dir/initrd.new"
  rm -rf "$work" "$dir/deb"
  mv "$dir/initrd.new" "$dir/initrd"
}

image() {
  local root=$cache/rootfs-$1
  [ -e "$root.ext4" ] && return
  rm -f "$root.ext4.new"
  truncate -s 1500M "$root.ext4.new"
  # With a journal: the power cut is only honest on a file system that hosts really have.
  mkfs.ext4 -q -F -d "$root" "$root.ext4.new"
  mv "$root.ext4.new" "$root.ext4"
}

mkdir -p "$cache"
for suite; do
  tree "$suite"
  if [ -n "${QEMU:-}" ]; then
    kernel kernel linux-image-cloud-amd64
    [ -z "${DISKS:-}" ] || kernel kernel-disks linux-image-amd64
    image "$suite"
  fi
done
