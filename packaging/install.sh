#!/bin/sh
# install.sh: installs opstrace-agent from its archive on a host with systemd and without a package manager.
#   ./install.sh              installs, or upgrades: configuration and backlog stay
#   ./install.sh --uninstall  removes the program; --purge removes configuration, backlog and user as well
# PREFIX (default /usr/local) is where the program goes. Needs root.
set -eu

prefix=${PREFIX:-/usr/local}
units=/etc/systemd/system
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

booted() {
    [ -d /run/systemd/system ]
}

pages="commands.md comparison.md configuration.md containers.md contributing.md delivery.md install.md monitoring.md moving.md proof.md receiving.md security.md several-hosts.md sizing.md specification.md troubleshooting.md upgrading.md"

files="$prefix/bin/opstrace-agent
$units/opstrace-agent.service
/etc/sysusers.d/opstrace-agent.conf
$prefix/share/man/man8/opstrace-agent.8
$prefix/share/bash-completion/completions/opstrace-agent
$prefix/share/zsh/site-functions/_opstrace-agent
$prefix/share/fish/vendor_completions.d/opstrace-agent.fish
$prefix/share/opstrace-agent/configuration.sh
$prefix/share/opstrace-agent/opstrace-agent.yml
$prefix/share/opstrace-agent/opstrace-agent.default
$prefix/share/opstrace-agent/dashboard.json
$prefix/share/opstrace-agent/alerts.yml"

# put FILE DESTINATION MODE: by rename, because a program that runs cannot be written to.
put() {
    mkdir -p "$(dirname "$2")"
    cp "$here/$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}

add_user() {
    if command -v systemd-sysusers > /dev/null; then
        systemd-sysusers opstrace-agent.conf
    elif ! id opstrace-agent > /dev/null 2>&1; then
        useradd --system --user-group --home-dir /var/lib/opstrace-agent --no-create-home --shell /usr/sbin/nologin opstrace-agent
    fi
}

install() {
    "$here/opstrace-agent" version > /dev/null || fail "this archive's program does not run here: is it the one for $(uname -m)?"
    put opstrace-agent "$prefix/bin/opstrace-agent" 755
    put opstrace-agent.sysusers /etc/sysusers.d/opstrace-agent.conf 644
    put opstrace-agent.8 "$prefix/share/man/man8/opstrace-agent.8" 644
    put completions/opstrace-agent.bash "$prefix/share/bash-completion/completions/opstrace-agent" 644
    put completions/opstrace-agent.zsh "$prefix/share/zsh/site-functions/_opstrace-agent" 644
    put completions/opstrace-agent.fish "$prefix/share/fish/vendor_completions.d/opstrace-agent.fish" 644
    put dashboard.json "$prefix/share/opstrace-agent/dashboard.json" 644
    put alerts.yml "$prefix/share/opstrace-agent/alerts.yml" 644
    put configuration.sh "$prefix/share/opstrace-agent/configuration.sh" 755
    put opstrace-agent.yml "$prefix/share/opstrace-agent/opstrace-agent.yml" 644
    put opstrace-agent.default "$prefix/share/opstrace-agent/opstrace-agent.default" 644
    for page in $pages; do
        put "packaging/doc/$page" "$prefix/share/doc/opstrace-agent/$page" 644
    done
    "$prefix/share/opstrace-agent/configuration.sh" first
    add_user
    mkdir -p -m 755 /var/lib/opstrace-agent-textfile # where scripts leave metrics of their own

    put opstrace-agent.service "$units/opstrace-agent.service" 644
    sed -i "s|/usr/bin/opstrace-agent|$prefix/bin/opstrace-agent|" "$units/opstrace-agent.service"
    booted || { echo "installed; systemd is not running here, so nothing was started"; return; }
    systemctl daemon-reload
    systemctl --quiet enable opstrace-agent.service
    systemctl restart opstrace-agent.service
    echo "installed and started: systemctl status opstrace-agent"
}

uninstall() {
    if booted; then
        systemctl --quiet disable --now opstrace-agent.service 2> /dev/null || true
    fi
    echo "$files" | while read -r f; do rm -f "$f"; done
    for page in $pages; do rm -f "$prefix/share/doc/opstrace-agent/$page"; done
    rmdir "$prefix/share/opstrace-agent" "$prefix/share/doc/opstrace-agent" 2> /dev/null || true
    if booted; then
        systemctl daemon-reload
    fi
}

purge() {
    uninstall
    rm -rf /var/lib/opstrace-agent /var/lib/opstrace-agent-textfile /etc/opstrace-agent /etc/default/opstrace-agent
    if id opstrace-agent > /dev/null 2>&1; then
        userdel opstrace-agent
    fi
}

[ "$(id -u)" = 0 ] || fail "needs root"
case ${1:-} in
    "") install ;;
    --uninstall) uninstall ;;
    --purge) purge ;;
    *) fail "usage: install.sh [--uninstall | --purge]" ;;
esac
