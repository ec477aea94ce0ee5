package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

func TestAsInFile(t *testing.T) {
	t.Parallel()
	const program = "/usr/bin/opstrace-agent"
	part := func(header, anonymous string) string {
		return header + "\nSize:                 24 kB\nRss:                  24 kB\nAnonymous:   " + anonymous + "\nTHPeligible:           0\nVmFlags: rd ex mr mw me \n"
	}
	for name, tc := range map[string]struct {
		smaps string
		want  []extent
	}{
		"nothing": {"", nil},
		"code and constants": {
			part("00400000-0168d000 r-xp 00000000 fe:00 11223698                           "+program, "         0 kB") +
				part("0168d000-02ac9000 r--p 0128d000 fe:00 11223698                           "+program, "         0 kB") +
				part("02ac9000-02b6b000 rw-p 026c9000 fe:00 11223698                           "+program, "       532 kB"),
			[]extent{{0x400000, 0x168d000}, {0x168d000, 0x2ac9000}},
		},
		"a page that a linker wrote to": {part("559385443000-559385445000 r--p 00000000 fe:00 247278 "+program, "4 kB"), nil},
		"may be written to":             {part("02ac9000-02b6b000 rw-p 026c9000 fe:00 1 "+program, "0 kB"), nil},
		"shared":                        {part("02ac9000-02b6b000 r--s 026c9000 fe:00 1 "+program, "0 kB"), nil},
		"another file":                  {part("7f0000000000-7f0000001000 r-xp 00000000 fe:00 1 /mnt"+program, "0 kB"), nil},
		"no file":                       {part("c000000000-c000400000 rw-p 00000000 00:00 0 ", "0 kB") + part("7ffd0000-7ffd2000 r-xp 00000000 00:00 0   [vdso]", "0 kB"), nil},
		"the file was replaced":         {part("00400000-0168d000 r-xp 00000000 fe:00 1 "+program+" (deleted)", "0 kB"), nil},
		"not as it should be":           {part("here-there r-xp 00000000 fe:00 1 "+program, "0 kB"), nil},
	} {
		if got := asInFile(tc.smaps, program); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %x, want %x", name, got, tc.want)
		}
	}
}

// TestUnmapProgram: what a process has of its program leaves it, and it goes on.
func TestUnmapProgram(t *testing.T) {
	t.Parallel()
	r, _ := startWith(t, nil, "--log.level=debug")
	before := r.filePages()
	const left = `msg="Pages of the start left to the page cache"`
	r.within(4*startOver, "its start is over", func() bool { return strings.Contains(r.log.String(), left) })
	if after := r.filePages(); after > before*3/4 {
		t.Errorf("%d bytes of files were resident, and %d are after the start", before, after)
	}
	r.eventually("it works", func() bool { return r.hasPool("first") && r.metric("go_goroutines") != "" })
}

// filePages is how many bytes of files are resident.
func (r *running) filePages() uint64 {
	r.t.Helper()
	p, err := procfs.NewProc(r.cmd.Process.Pid)
	if err != nil {
		r.t.Fatal(err)
	}
	status, err := p.NewStatus()
	if err != nil {
		r.t.Fatal(err)
	}
	return status.RssFile
}
