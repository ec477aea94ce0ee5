package main

import (
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// serviceManager receives what a service tells systemd.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t, conn, path}
}

// await reads messages until one matches. None in between may match unwanted.
func (m *serviceManager) await(pattern, unwanted string) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("no message %s: %v", pattern, err)
		}
		msg := string(buf[:n])
		if regexp.MustCompile(pattern).MatchString(msg) {
			return msg
		}
		if unwanted != "" && regexp.MustCompile(unwanted).MatchString(msg) {
			m.t.Fatalf("message %q before %s", msg, pattern)
		}
	}
}

func TestSystemd(t *testing.T) {
	m := newServiceManager(t)
	r, file := startWith(t, []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=3000000"})
	m.await(`^READY=1\nSTATUS=`, `^WATCHDOG`)
	m.await(`^WATCHDOG=1$`, `READY`)

	write(t, file, configWith("second"))
	r.signal(syscall.SIGHUP)
	m.await(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+\n$`, "READY")
	m.await(`(?m)^READY=1$`, "STOPPING")

	// A refused file ends the reloading, too.
	write(t, file, "global: 5\n")
	if code, _ := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError {
		t.Errorf("a bad file: %d", code)
	}
	m.await(`^RELOADING=1\n`, "READY")
	m.await(`(?m)^READY=1$`, "STOPPING")

	r.signal(syscall.SIGTERM)
	m.await(`(?m)^STOPPING=1$`, "READY")
	if code, _ := r.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestStatusLine(t *testing.T) {
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time {
		at := now.Add(-d)
		return &at
	}
	live := delivery.Status{State: delivery.Live}
	behind := func(age time.Duration, bytes int64, eta float64) delivery.Status {
		return delivery.Status{State: delivery.Behind, OldestUnsent: ago(age), BacklogBytes: bytes, ETASeconds: eta}
	}
	well := verdict.Verdict{Level: verdict.Good, Headline: "All is well"}
	for _, tc := range []struct {
		status agent.Status
		want   string
	}{
		{agent.Status{Verdict: verdict.Verdict{Level: verdict.Warn, Headline: "Not scraping yet: for the clock"}}, "Not scraping yet: for the clock"},
		{
			agent.Status{Verdict: verdict.Verdict{Level: verdict.Bad, Headline: "a takes nothing: no (and 1 more)"}, Destinations: []delivery.Status{live, live}},
			"a takes nothing: no (and 1 more)",
		},
		{agent.Status{Verdict: well}, "All is well"},
		{agent.Status{Verdict: well, Destinations: []delivery.Status{live, live}}, "All is well, live: 2"},
		{
			agent.Status{Verdict: well, Destinations: []delivery.Status{live, behind(12*time.Minute, 3250586, 40)}},
			"All is well, live: 1, behind: 1 (12 m, 3.1 MiB, ETA 40 s)",
		},
		{
			agent.Status{Verdict: well, Destinations: []delivery.Status{behind(time.Hour, 1<<30, -1), behind(72*time.Hour, 2048, 7)}},
			"All is well, behind: 2 (3 d, 1 GiB)",
		},
		{
			agent.Status{Verdict: well, Destinations: []delivery.Status{{State: delivery.Behind}, {State: delivery.HandingOver}}},
			"All is well, handing over: 1, behind: 1 (0 B)",
		},
	} {
		if got := statusLine(tc.status, now); got != tc.want {
			t.Errorf("%q instead of %q", got, tc.want)
		}
	}
}
