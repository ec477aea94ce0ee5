#!/bin/bash
# release.sh STEP...: builds what a release consists of, into $DIST. Steps, in this order where several are wanted:
#   binaries packages tarballs sbom notes provenance checksums
# The same commit gives the same bytes, in whatever folder: times come from the commit, owners and modes from here.
# It is called by make, which exports the GOTOOLCHAIN that releases are compiled with.
# ARCHES, FORMATS, DIST: see packaging.mk. VERSION: default the newest heading of CHANGELOG.md.
# RELEASE_KEY: the key that signs the checksums, as gpg knows it. Without it they are not signed.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=$(realpath -m "${DIST:-dist}")
arches=${ARCHES:-amd64 arm64 armv7 armv6 386 riscv64 mipsle}
formats=${FORMATS:-deb rpm apk archlinux}
nfpm_version=v2.45.2 # pinned: another version may lay out a package differently
tools=${OPSTRACE_AGENT_TOOLS:-$HOME/.cache/opstrace-agent-tools}
tags=$(make --no-print-directory -s lean-tags)
lean=$PWD/packaging/lean/go.work # says what is left out with remove_cloud_logins

VERSION=${VERSION:-$(awk '/^## [0-9]/ { print $2; exit }' CHANGELOG.md)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || stat -c %Y CHANGELOG.md)}
revision=$(git rev-parse --verify -q HEAD 2> /dev/null || echo unknown)
export VERSION SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

case ${GOTOOLCHAIN:-} in
  go1.*) ;;
  *) echo "release.sh: GOTOOLCHAIN names no version of Go: call make release" >&2; exit 2 ;;
esac

stage=$dist/stage
binary() { echo "$dist/build/$1/opstrace-agent"; }

binaries() {
  local arch settings gcflags pkg=github.com/prometheus/common/version
  local ldflags="-s -w -buildid= -X $pkg.Version=$VERSION -X $pkg.Revision=$revision -X $pkg.Branch=release"
  ldflags+=" -X $pkg.BuildDate=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
  gcflags=$(make --no-print-directory -s gcflags)
  for arch in $arches; do
    mkdir -p "$dist/build/$arch"
    echo "go build $arch"
    settings=$(go_arch "$arch")
    # GOFLAGS is set whole: what a machine has there must not get into a release.
    env CGO_ENABLED=0 GOOS=linux GOWORK="$lean" GOFLAGS="-trimpath -buildvcs=false -tags=$tags" $settings \
      go build $gcflags -ldflags "$ldflags" -o "$(binary "$arch")" ./cmd/opstrace-agent
  done
}

# go_arch prints the environment that makes go build for one of our architecture names.
go_arch() {
  case $1 in
    armv6 | armv7) echo "GOARCH=arm GOARM=${1#armv}" ;;
    mipsle) echo "GOARCH=mipsle GOMIPS=softfloat" ;;
    amd64) echo "GOARCH=amd64 GOAMD64=v1" ;;
    386) echo "GOARCH=386 GO386=sse2" ;;
    arm64 | riscv64) echo "GOARCH=$1" ;;
    *) echo "release.sh: unknown architecture $1" >&2; exit 1 ;;
  esac
}

# Files that are made, for every architecture the same.
generated() {
  mkdir -p "$stage"
  gzip -n -9 -c packaging/opstrace-agent.8 > "$stage/opstrace-agent.8.gz"
  gzip -n -9 -c CHANGELOG.md > "$stage/changelog.gz"
  packaging/changelog.sh debian < CHANGELOG.md | gzip -n -9 > "$stage/changelog.Debian.gz"
  cp packaging/deb/copyright "$stage/copyright"
  # nfpm takes the time of an apk's scripts from their files.
  rm -rf "$stage/source"
  mkdir "$stage/source"
  cp -r packaging systemd "$stage/source/"
  find "$stage/source" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
}

# licences ARCH: the texts of what is linked into that binary. The tool is this machine's, what it lists is not.
licences() {
  local out=$stage/third-party-licenses-$1
  mkdir -p "$stage"
  GOFLAGS="-buildvcs=false" go build -o "$stage/licenses" ./packaging/licenses
  env CGO_ENABLED=0 GOOS=linux GOWORK="$lean" GOFLAGS="-trimpath -buildvcs=false -tags=$tags" $(go_arch "$1") \
    "$stage/licenses" -binary "$(binary "$1")" ./cmd/opstrace-agent > "$out"
  gzip -n -9 -c "$out" > "$out.gz"
}

nfpm() {
  local bin=$tools/nfpm-$nfpm_version
  if [ ! -x "$bin" ]; then
    mkdir -p "$tools/tmp"
    (cd / && GOFLAGS='' GOBIN="$tools/tmp" go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version")
    mv "$tools/tmp/nfpm" "$bin"
  fi
  "$bin" "$@"
}

packages() {
  local arch format ext target
  generated
  for arch in $arches; do
    licences "$arch"
    for format in $formats; do
      ext=$format
      [ "$format" != archlinux ] || ext=pkg.tar.zst
      target=$dist/opstrace-agent_${VERSION}_linux_$arch.$ext
      (cd "$stage/source" && ARCH=${arch/#armv/arm} BINARY=$(binary "$arch") STAGE=$stage \
        LICENCES=$stage/third-party-licenses-$arch.gz \
        nfpm package -f packaging/nfpm.yaml -p "$format" -t "$target" > /dev/null)
      echo "created $target"
    done
  done
}

tarballs() {
  local arch name dir
  for arch in $arches; do
    name=opstrace-agent_${VERSION}_linux_$arch dir=$stage/$name
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$(binary "$arch")" packaging/install.sh packaging/configuration.sh packaging/opstrace-agent.yml packaging/opstrace-agent.default \
      packaging/opstrace-agent.8 packaging/dashboard.json packaging/alerts.yml LICENSE README.md CHANGELOG.md \
      systemd/opstrace-agent.service systemd/opstrace-agent.sysusers systemd/encrypted-token.conf systemd/host-metrics.conf "$dir/"
    cp -r packaging/completions "$dir/completions"
    mkdir "$dir/packaging"
    cp -r packaging/doc "$dir/packaging/doc"
    licences "$arch"
    cp "$stage/third-party-licenses-$arch" "$dir/THIRD-PARTY-LICENSES"
    chmod -R u=rwX,go=rX "$dir"
    chmod 755 "$dir/opstrace-agent" "$dir/install.sh" "$dir/configuration.sh"
    tar -C "$stage" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
      -cf - "$name" | gzip -n -9 > "$dist/$name.tar.gz"
    echo "created $dist/$name.tar.gz"
  done
}

sbom() {
  local arch
  for arch in $arches; do
    go run ./packaging/sbom -version "$VERSION" "$(binary "$arch")" > "$dist/opstrace-agent_${VERSION}_linux_$arch.cdx.json"
  done
}

notes() {
  packaging/changelog.sh notes < CHANGELOG.md > "$dist/RELEASE_NOTES.md"
}

# What is in no commit is said to be: dist/ itself is ignored by git.
provenance() {
  local dirty=()
  [ -z "$(git status --porcelain 2> /dev/null)" ] || dirty=(-dirty)
  GOFLAGS="-buildvcs=false" go run ./packaging/provenance -version "$VERSION" -commit "$revision" "${dirty[@]}" "$dist" > "$dist/provenance.json"
  echo "created $dist/provenance.json"
}

# One signature is enough: the list has the bytes of all the rest.
checksums() {
  rm -f "$dist/sha256sums.txt.asc"
  (cd "$dist" && find . -maxdepth 1 -type f \( -name 'opstrace-agent_*' -o -name provenance.json \) -printf '%f\n' | sort | xargs sha256sum > sha256sums.txt)
  echo "created $dist/sha256sums.txt"
  [ -n "${RELEASE_KEY:-}" ] || return 0
  gpg --batch --yes --quiet --local-user "$RELEASE_KEY" --armor --detach-sign -o "$dist/sha256sums.txt.asc" "$dist/sha256sums.txt"
  echo "created $dist/sha256sums.txt.asc"
}

mkdir -p "$dist"
for step; do
  case $step in
    binaries | packages | tarballs | sbom | notes | provenance | checksums) "$step" ;;
    *) echo "release.sh: unknown step $step" >&2; exit 2 ;;
  esac
done
