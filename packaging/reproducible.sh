#!/bin/bash
# reproducible.sh: releases the last commit twice, in folders and surroundings that differ, and compares the bytes.
#   ARCHES   default amd64
set -euo pipefail
cd "$(dirname "$0")/.."

git rev-parse --verify -q HEAD > /dev/null || { echo "reproducible.sh: there is no commit yet" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# release FOLDER SETTING...: what an inattentive builder may have set must not matter.
release() {
  local folder=$work/$1
  shift
  git clone -q . "$folder"
  (cd "$folder" && env "$@" ARCHES="${ARCHES:-amd64}" DIST=dist make release > "$work/log" 2>&1) || {
    cat "$work/log" >&2
    exit 1
  }
}

release a TZ=UTC
(umask 077 && release another/folder/with/a/long/name TZ=Asia/Tokyo LANG=de_DE.UTF-8 GOFLAGS=-v USER=somebody)
if ! cmp "$work/a/dist/sha256sums.txt" "$work/another/folder/with/a/long/name/dist/sha256sums.txt"; then
  diff "$work/a/dist/sha256sums.txt" "$work/another/folder/with/a/long/name/dist/sha256sums.txt" || true
  exit 1
fi
echo "the same bytes, $(wc -l < "$work/a/dist/sha256sums.txt") files"
