# package.sh: what the packages do to a host: install, upgrade, removal, purge, by dpkg, rpm and install.sh.
. /harness/lib.sh
installs() {
  dpkg -i /harness/old.deb || return
  is_active && [ "$(systemctl is-enabled $unit)" = enabled ] && id opstrace-agent
}

systemd=$(systemctl --version | awk '{ print $2; exit }')
systemd=${systemd%%.*}

# What this systemd does not know must be what the unit says that it does not know, and nothing else may be amiss.
verifies() {
  local ignored=''
  [ "$systemd" -ge 248 ] || ignored+='ExecPaths NoExecPaths PrivateIPC '
  [ "$systemd" -ge 254 ] || ignored+='RestartMaxDelaySec RestartSteps '
  systemd-analyze verify $unit > /tmp/verify 2>&1
  ! grep -v 'Unknown key' /tmp/verify || return
  [ "$(grep -o "'[A-Z][A-Za-z]*'" /tmp/verify | tr -d "'" | grep -v '^Service$' | sort | tr '\n' ' ')" = "$ignored" ] || say "$(cat /tmp/verify)"
}

exposure() {
  systemd-analyze security --offline=true --no-pager --threshold=12 /usr/lib/systemd/system/$unit > /tmp/exposure || { cat /tmp/exposure; return 1; }
  tail -n 1 /tmp/exposure
}

manual() { man 8 opstrace-agent | col -b | grep -q 'THE SERVICE'; }

# The host's own name, and a file that is nobody's: dpkg neither asks about it nor takes it away.
first_configuration() {
  grep -q "^    host: \"$(uname -n)\"$" $config && [ -e /etc/default/opstrace-agent ] || say "$(head -n 20 $config)" || return
  ! dpkg -S $config /etc/default/opstrace-agent || say "they belong to the package" || return
  [ ! -e /etc/opstrace-agent/.first-installation ]
}

modes() {
  local f
  [ "$(stat -c '%U:%G %a' $state)" = 'opstrace-agent:opstrace-agent 750' ] || say "state: $(stat -c '%U:%G %a' $state)" || return
  [ "$(stat -c '%U:%G %a' $config)" = 'root:root 644' ] || say "config: $(stat -c '%U:%G %a' $config)" || return
  for f in $(dpkg -L opstrace-agent); do [ "$(stat -c %U:%G "$f")" = root:root ] || say "$f" || return; done
}

sees_only_itself() {
  local pid
  pid=$(main_pid)
  # From inside: nobody else's processes, no home, nothing to execute, nothing to write to but the state.
  nsenter -t "$pid" -m sh -c 'ls /home /root' 2> /tmp/seen | grep . && say "homes are visible" && return 1
  ! nsenter -t "$pid" -m touch /etc/x /usr/x /tmp/../x 2> /dev/null || say "may write outside of its state"
}

upgrades() {
  local pid
  pid=$(main_pid)
  echo '# mine' >> $config
  echo 'ARGS="--log.level=debug"' > /etc/default/opstrace-agent
  echo kept > $state/marker
  dpkg -i /harness/new.deb || return
  other_process "$pid" || say "not restarted" || return
  grep -q '# mine' $config && grep -q log.level=debug /etc/default/opstrace-agent && [ "$(cat $state/marker)" = kept ] || say "something was replaced" || return
  ! find /etc -name '*.dpkg-*' | grep . || say "dpkg asked" || return
  dpkg -s opstrace-agent | grep -q "^Version: $(cat /harness/new.version)-1"
}

# From the version whose package had them, with a changed sample, changed files, and nobody to answer a question.
upgrades_from_legacy() {
  local pid
  dpkg -P opstrace-agent && dpkg -i /harness/legacy.deb && is_active || return
  pid=$(main_pid)
  sed -i 's/scrape_interval: .*/scrape_interval: 17s/' $config
  echo 'ARGS="--log.level=debug"' > /etc/default/opstrace-agent
  cp $config /tmp/mine.yml
  dpkg -i /harness/new.deb < /dev/null || say "dpkg ended with $?" || return
  other_process "$pid" || return
  cmp $config /tmp/mine.yml && grep -q log.level=debug /etc/default/opstrace-agent || say "something was replaced" || return
  ! find /etc -name '*.dpkg-*' | grep . || say "dpkg asked" || return
  # Again, now that the files are nobody's.
  dpkg -i /harness/old.deb < /dev/null && dpkg -i /harness/new.deb < /dev/null && cmp $config /tmp/mine.yml && is_active
}

# What was deleted on purpose does not come back by an upgrade, but by an installation.
deleted_stays_deleted() {
  rm /etc/default/opstrace-agent
  dpkg -i /harness/old.deb && [ ! -e /etc/default/opstrace-agent ] || say "an upgrade brought it back" || return
  dpkg -r opstrace-agent && rm -r /etc/opstrace-agent && dpkg -i /harness/new.deb && is_active && first_configuration
}

# dpkg calls no prerm for it.
purged_half_way_stops() {
  dpkg --unpack /harness/old.deb && is_active || return
  dpkg -P opstrace-agent || return
  ! pgrep -x opstrace-agent || say "it runs on" || return
  [ -z "$(leftovers)" ] || say "$(leftovers)" || return
  dpkg -i /harness/new.deb && is_active
}

disabled_stays_disabled() {
  systemctl disable --now $unit && dpkg -i /harness/old.deb && [ "$(systemctl is-enabled $unit)" = disabled ] && [ "$(show ActiveState)" = inactive ] || return
  systemctl mask $unit && dpkg -i /harness/new.deb && [ "$(systemctl is-enabled $unit)" = masked ] && [ "$(show ActiveState)" = inactive ] || return
  systemctl unmask $unit && systemctl enable --now $unit && is_active
}

removal_stops() {
  echo '# mine' >> $config
  dpkg -r opstrace-agent && [ "$(show ActiveState)" = inactive ] && [ -e $config ] && [ -d $state ] && ! pgrep -x opstrace-agent
}

reinstall_starts() { dpkg -i /harness/new.deb && is_active && grep -q '# mine' $config; }

leftovers() {
  # Not the journal, and not what man(1) has kept of a page it showed.
  find / -xdev \( -path /harness -o -path /proc -o -path /sys -o -path /var/log -o -path /var/cache/man \) -prune -o -name '*opstrace*' -print
  getent passwd opstrace-agent
  getent group opstrace-agent
  systemctl list-unit-files --no-legend '*opstrace*'
}

purge_leaves_nothing() {
  echo secret > /etc/opstrace-agent/token
  dpkg -P opstrace-agent || return
  [ -z "$(leftovers)" ] || say "$(leftovers)"
}

rpm_installs() {
  mkdir -p /etc/systemd/system-preset
  echo "enable $unit" > /etc/systemd/system-preset/00-test.preset
  # Debian's rpm knows nothing of what dpkg has installed.
  rpm -i --nodeps /harness/old.rpm || return
  grep -q "^    host: \"$(uname -n)\"$" $config || say "$(head -n 20 $config)" || return
  [ "$(systemctl is-enabled $unit)" = enabled ] && id opstrace-agent && systemctl start $unit && is_active
}

rpm_upgrades() {
  local pid
  pid=$(main_pid)
  echo '# mine' >> $config
  rpm -U --nodeps /harness/new.rpm && other_process "$pid" && grep -q '# mine' $config && rpm -V --nodeps opstrace-agent &&
    [ "$(rpm -q --qf '%{VERSION}' opstrace-agent)" = "$(cat /harness/new.version)" ]
}

# rpm takes along, with the old version, what belonged to it: what was changed by renaming it, the rest for good.
rpm_upgrades_from_legacy() {
  rpm -e --nodeps opstrace-agent && rm -rf /etc/opstrace-agent /etc/default/opstrace-agent &&
    rpm -i --nodeps /harness/legacy.rpm && systemctl start $unit || return
  echo '# mine' >> $config
  cp $config /tmp/mine.yml
  cp /etc/default/opstrace-agent /tmp/default
  rpm -U --nodeps /harness/new.rpm && is_active && cmp $config /tmp/mine.yml && cmp /etc/default/opstrace-agent /tmp/default || return
  ! find /etc -name '*.rpm*' -o -name '*.kept' | grep opstrace || say "something was left"
}

rpm_removes() {
  rpm -e --nodeps opstrace-agent && [ "$(show ActiveState)" = inactive ] && [ ! -e /usr/bin/opstrace-agent ] && [ -e $config ] && [ -d $state ] || return
  rm -rf $state /etc/opstrace-agent /etc/default/opstrace-agent* /etc/systemd/system-preset/00-test.preset
  userdel opstrace-agent
  [ -z "$(leftovers | grep -v rpm)" ] || say "$(leftovers)"
}

archive_installs() {
  mkdir /tmp/archive && tar -C /tmp/archive --strip-components=1 -xf /harness/new.tar.gz && /tmp/archive/install.sh && is_active || return
  grep -q "^    host: \"$(uname -n)\"$" $config && [ "$(readlink "/proc/$(main_pid)/exe")" = /usr/local/bin/opstrace-agent ] && systemctl reload $unit
}

archive_upgrades() {
  local pid
  pid=$(main_pid)
  echo '# mine' >> $config
  /tmp/archive/install.sh && other_process "$pid" && grep -q '# mine' $config
}

archive_purges() {
  /tmp/archive/install.sh --purge && rm -rf /tmp/archive && [ -z "$(leftovers)" ] || say "$(leftovers)"
}

# As the README says, but for the download; and without the distribution's own repository, because there is no network.
apt_installs() {
  rm -f /etc/apt/sources.list
  cp /harness/repository/opstrace-agent.gpg /usr/share/keyrings/ &&
    cp /harness/repository/apt/opstrace-agent.sources /etc/apt/sources.list.d/ && apt-get update -o APT::Update::Error-Mode=any &&
    apt-get install -y "opstrace-agent=$(cat /harness/old.version)-1" < /dev/null && is_active
}

apt_upgrades() {
  local pid
  pid=$(main_pid)
  echo '# mine' >> $config
  apt-get upgrade -y < /dev/null && other_process "$pid" && grep -q '# mine' $config &&
    dpkg -s opstrace-agent | grep -q "^Version: $(cat /harness/new.version)-1"
}

apt_purges() {
  apt-get purge -y opstrace-agent < /dev/null && rm /usr/share/keyrings/opstrace-agent.gpg /etc/apt/sources.list.d/opstrace-agent.sources || return
  [ -z "$(leftovers)" ] || say "$(leftovers)"
}

check "dpkg installs, enables and starts" installs
check "systemd-analyze verify is clean (systemd $systemd)" verifies
if [ "$systemd" -ge 250 ]; then
  check "systemd-analyze security at 1.2 or less" exposure
else
  skip "systemd-analyze security at 1.2 or less" "systemd $systemd cannot tell offline"
fi
check "the manual page can be read" manual
check "owners and modes" modes
check "the first configuration names the host" first_configuration
check "the sandbox holds" sees_only_itself
check "an upgrade restarts, and keeps configuration and state" upgrades
check "an upgrade from a version that owned the configuration does not ask" upgrades_from_legacy
check "what was deleted comes back by an installation only" deleted_stays_deleted
check "purged while it is half-way configured, it stops" purged_half_way_stops
check "disabled stays disabled, masked stays masked" disabled_stays_disabled
check "removal stops, and keeps configuration and state" removal_stops
check "installed again, it starts with the old configuration" reinstall_starts
check "purge leaves nothing" purge_leaves_nothing
if command -v rpm > /dev/null; then
  check "rpm installs and follows the preset" rpm_installs
  check "rpm upgrades: restart, configuration kept" rpm_upgrades
  check "rpm upgrades from a version that owned the configuration" rpm_upgrades_from_legacy
  check "rpm removes" rpm_removes
fi
check "install.sh installs and starts" archive_installs
check "install.sh upgrades: restart, configuration kept" archive_upgrades
check "install.sh --purge leaves nothing" archive_purges
if [ -e /harness/repository ]; then
  check "apt installs from the signed repository" apt_installs
  check "apt upgrades from it, unattended" apt_upgrades
  check "apt purges" apt_purges
else
  skip "apt installs from the signed repository" "the host has no apt-utils or gnupg"
fi
finish
