#!/bin/bash
# repository.sh: an apt and a dnf repository of the packages in DIST, as static files in DIST/repository, for any web
# server. Both are signed: what a host installs follows from the key that it was given, not from the server.
#   REPOSITORY_KEY  the key to sign with, as gpg knows it: fingerprint, ID or address
#   REPOSITORY_URL  where the files will be served, like https://packages.example.org
#   DIST            default dist
set -euo pipefail
cd "$(dirname "$0")/.."

dist=${DIST:-dist}
out=$dist/repository

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

requirements() {
  local pair missing=()
  [ -n "${REPOSITORY_KEY:-}" ] || fail "no key to sign with" "make repository REPOSITORY_KEY=FINGERPRINT REPOSITORY_URL=URL; 'gpg --list-secret-keys' lists keys, 'gpg --quick-generate-key NAME' makes one"
  case ${REPOSITORY_URL:-} in
    http://* | https://* | file:/*) ;;
    *) fail "REPOSITORY_URL=${REPOSITORY_URL:-} is no URL" "name the place where $out will be served, like REPOSITORY_URL=https://packages.example.org" ;;
  esac
  REPOSITORY_URL=${REPOSITORY_URL%/}
  shopt -s nullglob
  debs=("$dist"/opstrace-agent_*.deb) rpms=("$dist"/opstrace-agent_*.rpm)
  [ ${#debs[@]} -gt 0 ] || [ ${#rpms[@]} -gt 0 ] || fail "no packages in $dist" "make packages"
  for pair in gpg:gnupg apt-ftparchive:apt-utils dpkg-deb:dpkg createrepo_c:createrepo-c; do
    case ${pair%:*} in
      apt-ftparchive | dpkg-deb) [ ${#debs[@]} -gt 0 ] || continue ;;
      createrepo_c) [ ${#rpms[@]} -gt 0 ] || continue ;;
    esac
    command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} = 0 ] || fail "tools are missing to make it" "apt-get install ${missing[*]}"
  gpg --batch --list-secret-keys "$REPOSITORY_KEY" > /dev/null 2>&1 ||
    fail "gpg has no secret key $REPOSITORY_KEY" "'gpg --list-secret-keys' lists those it has; 'gpg --import FILE' brings one in"
}

sign() { gpg --batch --yes --quiet --local-user "$REPOSITORY_KEY" "$@"; }

# pool copies the packages, under names that tell dpkg's architectures apart.
pool() {
  local deb arch
  mkdir -p "$new/apt/pool"
  for deb in "${debs[@]}"; do
    # dpkg calls both armhf. A repository has one of them, and armv6 runs on either.
    case $deb in
      *_armv7.deb) [ ! -e "${deb%_armv7.deb}_armv6.deb" ] || continue ;;
    esac
    arch=$(dpkg-deb -f "$deb" Architecture)
    cp "$deb" "$new/apt/pool/opstrace-agent_$(dpkg-deb -f "$deb" Version)_$arch.deb"
    arches[$arch]=1
  done
}

apt_repository() {
  local arch dir
  local -A arches=()
  pool
  cd "$new/apt"
  for arch in "${!arches[@]}"; do
    dir=dists/stable/main/binary-$arch
    mkdir -p "$dir"
    apt-ftparchive --arch "$arch" packages pool > "$dir/Packages"
    gzip -n -9 -k "$dir/Packages"
  done
  apt-ftparchive -o APT::FTPArchive::Release::Origin=Opstrace -o APT::FTPArchive::Release::Label=opstrace-agent \
    -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
    -o APT::FTPArchive::Release::Components=main \
    -o APT::FTPArchive::Release::Architectures="$(printf '%s\n' "${!arches[@]}" | sort | xargs)" \
    release dists/stable > Release
  mv Release dists/stable/Release
  sign --clearsign -o dists/stable/InRelease dists/stable/Release
  sign --armor --detach-sign -o dists/stable/Release.gpg dists/stable/Release
  cat > opstrace-agent.sources <<SOURCES
Types: deb
URIs: $REPOSITORY_URL/apt
Suites: stable
Components: main
Signed-By: /usr/share/keyrings/opstrace-agent.gpg
SOURCES
  cd - > /dev/null
}

rpm_repository() {
  mkdir -p "$new/rpm"
  cp "${rpms[@]}" "$new/rpm/"
  createrepo_c --quiet "$new/rpm"
  sign --armor --detach-sign -o "$new/rpm/repodata/repomd.xml.asc" "$new/rpm/repodata/repomd.xml"
  # The signed list has the checksum of each package.
  cat > "$new/rpm/opstrace-agent.repo" <<REPO
[opstrace-agent]
name=opstrace-agent
baseurl=$REPOSITORY_URL/rpm
enabled=1
repo_gpgcheck=1
gpgcheck=0
gpgkey=$REPOSITORY_URL/opstrace-agent.asc
REPO
}

requirements
new=$(realpath -m "$out.new")
rm -rf "$new"
mkdir -p "$new"
gpg --batch --quiet --export "$REPOSITORY_KEY" > "$new/opstrace-agent.gpg"
gpg --batch --quiet --armor --export "$REPOSITORY_KEY" > "$new/opstrace-agent.asc"
[ ${#debs[@]} = 0 ] || apt_repository
[ ${#rpms[@]} = 0 ] || rpm_repository
chmod -R u=rwX,go=rX "$new"
rm -rf "$out"
mv "$new" "$out"
echo "created $out: serve it at $REPOSITORY_URL"
