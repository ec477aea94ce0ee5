#!/bin/bash
# run.sh: installs the packages in booted Debian trees, and tries what can happen to a service there. A line per check.
# Exit code: 0 all good, 1 a check failed, 3 this host cannot run it (and why).
#   SUITES="bookworm trixie"                    Debian releases; bullseye has systemd 247, the oldest that is supported
#   PARTS="package service host memory powercut" what to try; host, memory and powercut boot an emulated machine (QEMU), as does
#                                               memory-long, 25 minutes of the smallest memory limits, and disks, power
#                                               cuts on f2fs and vfat, POWER_CUTS (40) of each
#   OPSTRACE_AGENT_TREES, MIRROR                see trees.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

suites=${SUITES:-bookworm trixie}
parts=${PARTS:-package service host memory powercut}
export OPSTRACE_AGENT_TREES=${OPSTRACE_AGENT_TREES:-$HOME/.cache/opstrace-agent-systemd}
here=packaging/systemd-test
old=0.0.1 new=0.0.2

cannot() {
  echo "test-systemd cannot run here: $*" >&2
  exit 3
}

wants() { [[ " $parts " == *" $1 "* ]]; }

emulated() { wants host || wants memory || wants memory-long || wants powercut || wants disks; }

requirements() {
  local missing=() pair
  [ "$(id -u)" = 0 ] || cannot "it boots a system in a container, which needs root"
  for pair in debootstrap:debootstrap systemd-nspawn:systemd-container unshare:util-linux curl:curl go:golang; do
    command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
  done
  if emulated; then
    for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio mkfs.ext4:e2fsprogs; do
      command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
    done
  fi
  if wants disks; then
    for pair in mkfs.f2fs:f2fs-tools mkfs.vfat:dosfstools; do
      command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
    done
  fi
  [ ${#missing[@]} = 0 ] || cannot "missing: apt-get install ${missing[*]}"
  unshare --mount --net true 2> /dev/null || cannot "no new namespaces are allowed (an unprivileged container?)"
  [ "$(dpkg --print-architecture)" = amd64 ] || cannot "the trees and the emulated machine are made for amd64"
}

trees() {
  local qemu=
  if emulated; then qemu=1; fi
  if wants disks; then export DISKS=1; fi
  # The first suite is the one that QEMU boots.
  set -- $suites
  QEMU=$qemu "$here/trees.sh" "$1" || cannot "no tree for $1"
  shift
  [ $# = 0 ] || "$here/trees.sh" "$@" || cannot "no tree for $*"
}

# Two versions of the packages, so that one can follow the other.
build() {
  local version dist=$work/dist
  echo "building packages $old and $new"
  for version in $old $new; do
    ARCHES=amd64 FORMATS="deb rpm" DIST=$dist VERSION=$version \
      make packages tarballs > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
  done
  payload=$work/payload
  mkdir "$payload"
  for version in old new; do
    cp "$dist/opstrace-agent_${!version}_linux_amd64.deb" "$payload/$version.deb"
    cp "$dist/opstrace-agent_${!version}_linux_amd64.rpm" "$payload/$version.rpm"
  done
  legacy
  repository
  cp "$dist/opstrace-agent_${new}_linux_amd64.tar.gz" "$payload/new.tar.gz"
  echo $new > "$payload/new.version"
  echo $old > "$payload/old.version"
  cp $here/guest/*.sh "$payload/"
  CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=remove_all_sd,enable_dns_sd" \
    go build -o "$payload/opstrace-sandbox" ./cmd/opstrace-sandbox
}

# disks leaves what guest/disks.sh needs in the payload.
disks() {
  local dir=$payload/disks m
  mkdir "$dir"
  CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=remove_all_sd,enable_dns_sd" go test -c -o "$dir/agent.test" ./agent
  cp /bin/busybox "$(command -v mkfs.f2fs)" "$(command -v fsck.f2fs)" "$(command -v mkfs.vfat)" "$(command -v fsck.vfat)" "$dir/"
  for m in crc32_generic xxhash_generic zstd_common zstd_compress lz4_compress lz4hc_compress loop fuse fat nls_cp437 nls_ascii vfat f2fs; do
    find "$OPSTRACE_AGENT_TREES/kernel-disks/x" -name "$m.ko" -exec cp {} "$dir/" \;
  done
}

# legacy makes packages whose samples are not those of the new ones: else nothing would be asked at an upgrade.
legacy() {
  local format
  mkdir "$work/legacy"
  for format in yml default; do
    { cat packaging/opstrace-agent.$format; echo '# of a version of long ago'; } > "$work/legacy/opstrace-agent.$format"
  done
  for format in deb rpm; do
    BINARY=$dist/build/amd64/opstrace-agent LEGACY=$work/legacy \
      "${OPSTRACE_AGENT_TOOLS:-$HOME/.cache/opstrace-agent-tools}"/nfpm-v* package -f $here/legacy.yaml -p $format \
      -t "$payload/legacy.$format" > /dev/null
  done
}

# repository signs with a key of its own, and is read from the guest's own disk.
repository() {
  command -v apt-ftparchive > /dev/null && command -v gpg > /dev/null || return 0
  mkdir -m 700 "$work/gpg"
  export GNUPGHOME=$work/gpg
  gpg --batch --quiet --passphrase '' --quick-generate-key 'Test <test@example.org>'
  rm "$dist"/*.rpm # the guest has no dnf
  make -s repository DIST="$dist" REPOSITORY_KEY=test@example.org REPOSITORY_URL=file:/harness/repository > "$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }
  gpgconf --kill all
  unset GNUPGHOME
  mv "$dist/repository" "$payload/repository"
}

lint() {
  printf '\n== lintian\n'
  if ! command -v lintian > /dev/null; then
    echo "skip  the Debian package: apt-get install lintian"
  elif lintian --allow-root --fail-on error,warning "$payload/new.deb" > "$work/lintian" 2>&1; then
    echo "ok    the Debian package"
  else
    echo "FAIL  the Debian package"
    sed 's/^/        /' "$work/lintian"
    failed+=(lintian)
  fi
}

# run MODE SUITE SCRIPT
run() {
  local rc=0
  printf '\n== %s, %s (%s)\n' "$3" "$2" "$1"
  "$here/boot.sh" "$1" "$2" "$payload" "$3.sh" "$work/out" || rc=$?
  case $rc in
    0) ;;
    1) failed+=("$3 on $2") ;;
    *)
      failed+=("$3 on $2 ($rc)")
      echo "FAIL  the guest did not end as it should ($rc); the end of its console and journal:"
      tail -n 5 "$work/out/console"
      tail -n 20 "$work/out/journal" 2> /dev/null || true
      ;;
  esac
}

requirements
trees
work=$(mktemp -d "$OPSTRACE_AGENT_TREES/test.XXXXXX")
trap 'rm -rf "$work"' EXIT
build
failed=()
if wants package; then lint; fi
for suite in $suites; do
  if wants package; then run nspawn "$suite" package; fi
  if wants service; then run nspawn "$suite" service; fi
done
set -- $suites
if wants host; then run qemu "$1" host; fi
if wants memory; then run qemu "$1" memory; fi
if wants memory-long; then TIMEOUT=2400 run qemu "$1" memory-long; fi
if wants disks; then
  disks
  KERNEL=kernel-disks TIMEOUT=3600 run qemu "$1" disks
fi
if wants powercut; then
  . $here/powercut.sh
  powercut "$1"
fi

printf '\n%d s: ' $SECONDS
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED:'
  printf ' %s;' "${failed[@]}"
  echo
  exit 1
fi
echo "all good"
