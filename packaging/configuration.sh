#!/bin/sh
# configuration.sh first | restore [ROOT]: the part of a package's scripts that has to do with /etc. No file there belongs
# to a package, because an upgrade that nobody attends must neither ask about one nor replace it.
#   first    at the first installation: writes what is missing, from the samples beside this script
#   restore  after an upgrade from a version to which the files did belong: brings back what the package manager took
#            away with it, from the FILE.kept that was made before
# ROOT: in place of /, for tests. OPSTRACE_AGENT_FLAGS_FILE: where ARGS is, where that is not /etc/default.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
root=${2:-}
config=$root/etc/opstrace-agent/opstrace-agent.yml
flags=$root${OPSTRACE_AGENT_FLAGS_FILE:-/etc/default/opstrace-agent}

# label prints what tells this host from others. An image that is being made, or a host that has no name yet, must not
# hand one name to all that are cloned from it: they ask for their own at every start.
label() {
    name=$(uname -n | tr -cd 'A-Za-z0-9._-')
    case $name in
        '' | localhost*) name= ;;
    esac
    if [ -d "$root/run/systemd/system" ] || [ -d "$root/run/openrc" ]; then
        echo "${name:-\${HOSTNAME\}}"
    else
        # shellcheck disable=SC2016 # the agent replaces it
        echo '${HOSTNAME}'
    fi
}

# write FILE: standard input becomes FILE, unless there is one. By rename: a full disk must not leave half of it.
write() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        cat > /dev/null
        return
    fi
    mkdir -p "$(dirname "$1")"
    cat > "$1.new"
    chmod 644 "$1.new"
    mv "$1.new" "$1"
}

first() {
    sed -e 's|^  #external_labels:$|  external_labels:|' -e "s|^  #  host: .*|    host: \"$(label)\"|" \
        "$here/opstrace-agent.yml" | write "$config"
    write "$flags" < "$here/opstrace-agent.default"
}

restore() {
    for f in "$config" "$flags"; do
        [ -e "$f.kept" ] || continue
        if [ -e "$f" ]; then rm "$f.kept"; else mv "$f.kept" "$f"; fi
        for saved in "$f.rpmsave" "$f.pacsave"; do
            if cmp -s "$f" "$saved"; then rm "$saved"; fi
        done
    done
}

case ${1:-} in
    first | restore) "$1" ;;
    *) echo "usage: configuration.sh first | restore [ROOT]" >&2; exit 2 ;;
esac
