#!/bin/bash
# changelog.sh FORM < CHANGELOG.md: the changelog in another form.
#   debian   the changelog of a Debian package; an entry without a date gets SOURCE_DATE_EPOCH
#   notes    the release notes: the newest version's part, and how to check and install what is attached to it
set -euo pipefail

debian() {
  awk -v epoch="${SOURCE_DATE_EPOCH:-0}" '
    function finish() { if (version != "") printf "\n -- Opstrace <hello@opstrace.com>  %s\n\n", stamp }
    /^## [0-9]/ {
      finish()
      version = $2
      # "unreleased" is as old as the commit.
      ($4 ~ /^[0-9]+-[0-9]+-[0-9]+$/ ? "date -u -R -d " $4 : "date -u -R -d @" epoch) | getline stamp
      printf "opstrace-agent (%s-1) stable; urgency=medium\n\n", version
      next
    }
    /^\* / && version != "" { line = "  " $0; while (length(line) > 78) {
        cut = 78; while (cut > 20 && substr(line, cut, 1) != " ") cut--
        if (cut == 20) break
        print substr(line, 1, cut - 1); line = "    " substr(line, cut + 1)
      }; print line }
    END { finish() }'
}

notes() {
  local part version
  part=$(awk '/^## [0-9]/ { if (seen++) exit } seen { print }')
  version=$(awk '{ print $2; exit }' <<< "$part")
  printf '%s\n' "$part"
  # Not opstrace-agent_*: with an older file beside it, apt asks, and may take that one.
  sed "s/VERSION/$version/g" <<'NOTES'

### Install

| host | file | command |
|---|---|---|
| Debian, Ubuntu, Raspberry Pi OS | `.deb` | `sudo apt install ./opstrace-agent_VERSION_linux_arm64.deb` |
| Fedora, RHEL, openSUSE | `.rpm` | `sudo dnf install ./opstrace-agent_VERSION_linux_amd64.rpm` |
| Alpine | `.apk` | `sudo apk add --allow-untrusted ./opstrace-agent_VERSION_linux_armv7.apk` |
| Arch | `.pkg.tar.zst` | `sudo pacman -U ./opstrace-agent_VERSION_linux_amd64.pkg.tar.zst` |
| anything else with Linux | `.tar.gz` | `tar xf opstrace-agent_VERSION_linux_mipsle.tar.gz && cd opstrace-agent_VERSION_linux_mipsle && sudo ./install.sh` |

`armv6` is for the Raspberry Pi 1 and Zero, `armv7` for the later ones with a 32-bit system, `arm64` for those with a
64-bit one; `mipsle` is for routers (soft float).

Check what you downloaded: `sha256sum --check --ignore-missing sha256sums.txt`. What is inside a binary:
`opstrace-agent_*.cdx.json` (CycloneDX), or `go version -m opstrace-agent`. Anyone can build the same bytes from this
commit: `make release`.
NOTES
}

case ${1:-} in
  debian | notes) "$1" ;;
  *) echo "usage: changelog.sh debian|notes < CHANGELOG.md" >&2; exit 2 ;;
esac
