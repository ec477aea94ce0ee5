package web

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnName(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"": true, "localhost": true, "localhost:9095": true, "LOCALHOST.": true, "agent.localhost": true, "edge-17": true, "edge-17:1": true,
		"127.0.0.1": true, "127.0.0.1:1": true, "[::1]": true, "[::1]:9095": true, "192.0.2.1": true, "agent.example.org": true, "Agent.Example.org:80": true,
		"example.org": false, "evil.example.org": false, "evil.example.org:9095": false, "127.0.0.1.example.org": false, "localhost.example.org.": false,
	} {
		if got := ownName(host, "agent.example.org"); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

// TestRebinding: a page that points its own name at this host reads nothing through a
// loopback address, unless the address asks for a password or the name is the agent's.
func TestRebinding(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "web.yml")
	// The password is test.
	if err := os.WriteFile(users, []byte("basic_auth_users: {op: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := serve(t, Options{ExternalURL: &url.URL{Scheme: "http", Host: "agent.example.org:8080"}})
	closed := serve(t, Options{ConfigFile: users})
	anywhere := serve(t, Options{ListenAddresses: []string{"0.0.0.0:0"}})
	user := http.Header{"Authorization": {"Basic b3A6dGVzdA=="}}
	_, port, err := net.SplitHostPort(anywhere.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/metrics", "/api/v1/status/delivery", "/api/v1/targets", "/api/v1/status/flags", "/debug/pprof/cmdline"} {
		for name, tc := range map[string]struct {
			request
			want bool
		}{
			"this host":                    {request{url: "http://" + open.Addrs()[0].String(), host: "localhost"}, true},
			"a name of others":             {request{url: "http://" + open.Addrs()[0].String(), host: "rebound.example.org"}, false},
			"the proxy's":                  {request{url: "http://" + open.Addrs()[0].String(), host: "agent.example.org"}, path != "/debug/pprof/cmdline"},
			"with a password":              {request{url: "http://" + closed.Addrs()[0].String(), host: "rebound.example.org", header: user}, path != "/debug/pprof/cmdline"},
			"an address of the network's":  {request{url: "http://127.0.0.1:" + port, host: "edge-17.example.org"}, path != "/debug/pprof/cmdline"},
			"without the password it asks": {request{url: "http://" + closed.Addrs()[0].String(), host: "rebound.example.org"}, false},
		} {
			tc.url += path
			code, body, _ := tc.do(t)
			if got := code != http.StatusForbidden && code != http.StatusUnauthorized; got != tc.want {
				t.Errorf("%s, %s: %d %.200s", name, path, code, body)
			}
		}
	}
	if code, body, _ := (request{url: "http://" + open.Addrs()[0].String() + "/-/healthy", host: "probe.example.org"}).do(t); code != 200 {
		t.Errorf("health: %d %s", code, body)
	}
}
