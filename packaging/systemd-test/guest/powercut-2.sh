# powercut-2.sh: after the power cut of powercut-1.sh, on the same disk.
. /harness/lib.sh
. /harness/world.env
. /harness/world.sh

starts() { is_active && journalctl -b -u $unit --no-pager | grep -q 'Backlog opened'; }

# before_cut scrapes were answered so long before the cut that they had been synced; what was answered later may be gone.
delivers() { control up && complete $((at_cut - before_cut)) && arrive 6; }

waits_for_the_clock() {
  local offset=86400
  systemctl stop $unit
  date -s "@$(($(date +%s) - offset))" && systemctl start --no-block $unit && await 20 status_is 'for the clock' || return
  [ "$(show ActiveState)" = activating ] || say "$(show ActiveState)" || return
  date -s "@$(($(date +%s) + offset))" && await 20 is_active && scraped 4 && complete
}

network
check "the service is up after the boot" starts
check "everything that had been synced is delivered" delivers
echo "      answered up to the last sync $before_cut, to the cut $at_cut; missing $(scrapes missing)"
check "a clock that was set back: it waits, and goes on" waits_for_the_clock
finish
