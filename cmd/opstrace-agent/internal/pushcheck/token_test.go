package pushcheck

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestUnreadableToken(t *testing.T) {
	e := open(t, agenttest.Manners{})
	folder := filepath.Join(t.TempDir(), "token")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, file, want string
	}{
		{"missing", filepath.Join(t.TempDir(), "missing"),
			"FAIL token: stat missing: no such file or directory | put the token there, or name the right file in token_file or credentials_file"},
		{"empty", writeFile(t, "\n \n", 0o600),
			"FAIL token: token is empty | write the token into it; it is read again for every request"},
		{"two lines", writeFile(t, "eyJhbGciOi\nJSUzI1NiJ9\n", 0o600),
			"FAIL token: token holds more than a token | it must hold the token alone, on one line"},
		{"folder", folder,
			"FAIL token: read token: it is a directory | name a file that holds the token in token_file or credentials_file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			steps, good := run(t, destination(t, e.URL(), "bearer_token_file: "+tc.file))
			expect(t, steps, good, tc.want)
		})
	}
	if s := e.Snapshot(); len(s.Requests) != 0 {
		t.Errorf("%d requests were sent", len(s.Requests))
	}
}

func TestForbiddenToken(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can read everything")
	}
	file := writeFile(t, "token", 0)
	steps, good := run(t, destination(t, open(t, agenttest.Manners{}).URL(), "bearer_token_file: "+file))
	expect(t, steps, good, "FAIL token: open token: permission denied | let the user that runs the agent read it, and run this check as that user, or, for the installed service, with sudo")
}

func TestTokenNotes(t *testing.T) {
	accepted := []string{connected, inTime, goodAuth, "ok write: an empty write is accepted: HTTP 200 OK"}
	for _, tc := range []struct {
		name, token string
		mode        os.FileMode
		want        []string
	}{
		{"world-readable", newJWT("default", nextYear), 0o644,
			[]string{"note token: token can be read by everybody on this host | chmod o-r token", goodToken}},
		{"expires soon", newJWT("default", time.Now().Add(73*time.Hour)), 0o600,
			[]string{"note token: token, for tenant default, expires in 3 d | make a new token and put it into token; it is read again for every request"}},
		{"another kind", "secret", 0o600,
			[]string{"note token: token, not one of Opstrace's | right for another receiver than Opstrace"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": tc.token}})
			steps, good := run(t, destination(t, e.URL(), "bearer_token_file: "+writeFile(t, tc.token, tc.mode)))
			expect(t, steps, good, append(tc.want, accepted...)...)
		})
	}
}

func TestOtherSecrets(t *testing.T) {
	e := open(t, agenttest.Manners{})
	e.Respond(agenttest.Answer{Status: 204})
	accepted := []string{connected, inTime, "ok write: an empty write is accepted: HTTP 204 No Content"}

	steps, good := run(t, destination(t, e.URL(), "basic_auth: {username: u, password_file: "+writeFile(t, "two words", 0o600)+"}"))
	expect(t, steps, good, append([]string{"ok token: token is readable"}, accepted...)...)

	e.Respond(agenttest.Answer{Status: 401, Body: "no"})
	steps, good = run(t, destination(t, e.URL(), "basic_auth: {username: u, password: p}"))
	expect(t, steps, good, connected, inTime,
		"FAIL auth: HTTP 401 Unauthorized: no | check the user or client and its password or secret")
	e.Respond(agenttest.Answer{Status: 204})
	steps, good = run(t, destination(t, e.URL(), "authorization: {credentials: "+newJWT("default", nextYear)+"}"))
	expect(t, steps, good, "ok token: in the configuration, for tenant default, expires on DATE",
		accepted[0], accepted[1], goodAuth, accepted[2])
}

func TestUnauthorized(t *testing.T) {
	known := newJWT("default", nextYear)
	old := newJWT("default", time.Now().Add(-72*time.Hour))
	for _, tc := range []struct {
		name, token string
		want        []string
	}{
		{"foreign", newJWT("default", nextYear.Add(time.Hour)), []string{
			goodToken, connected, inTime,
			"FAIL auth: HTTP 401 Unauthorized: bad authentication token | check that the token is whole, and of this tenant and cluster; for a tenant made minutes ago, try again"}},
		{"expired", old, []string{
			"note token: token, for tenant default, expired on DATE | make a new token and put it into token; it is read again for every request",
			connected, inTime,
			"FAIL auth: HTTP 401 Unauthorized: bad authentication token | the token expired on DATE: make a new token and put it into token; it is read again for every request"}},
		{"none", "", []string{
			noToken, connected, inTime,
			"FAIL auth: HTTP 401 Unauthorized: Authorization header missing | the endpoint asks for a token: set token_file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": known}})
			var settings []string
			if tc.token != "" {
				settings = []string{"bearer_token_file: " + writeFile(t, tc.token, 0o600)}
			}
			steps, good := run(t, destination(t, e.URL(), settings...))
			expect(t, steps, good, tc.want...)
		})
	}
}

// TestWrongTenant goes through a name server that knows the endpoint's name.
func TestWrongTenant(t *testing.T) {
	names := newNameServer(t)
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": newJWT("default", nextYear)}})
	names.add("cortex.default.testcluster.opstrace.io")
	const noTLS = "note tls: none: the token can be read on the way | write https:// in the url"

	url := "http://cortex.default.testcluster.opstrace.io:" + port(t, e.URL()) + agenttest.PushPath
	steps, good := run(t, destination(t, url, "bearer_token_file: "+writeFile(t, newJWT("system", nextYear), 0o600)))
	expect(t, steps, good,
		"ok token: token, for tenant system, expires on DATE",
		"note tenant: the token is that of tenant system, and the url that of tenant default | take the token of that tenant, or change the url",
		noTLS,
		"ok dns: cortex.default.testcluster.opstrace.io is 127.0.0.1",
		connected, inTime,
		`FAIL tenant: HTTP 401 Unauthorized: bad authentication token | the token is that of tenant "system", and the url that of tenant "default": change one of them`)

	steps, good = run(t, destination(t, url, "bearer_token_file: "+writeFile(t, "half.token", 0o600)))
	expect(t, steps, good,
		"note token: token, not one of Opstrace's | a token of Opstrace begins with eyJ and has two dots: check that this is the right one, and whole",
		noTLS,
		"ok dns: cortex.default.testcluster.opstrace.io is 127.0.0.1",
		connected, inTime,
		"FAIL auth: HTTP 401 Unauthorized: bad authentication token | check that the token is whole, and of this tenant and cluster; for a tenant made minutes ago, try again")

	steps, good = run(t, destination(t, url, "bearer_token_file: "+writeFile(t, newJWT("default", nextYear), 0o600)))
	expect(t, steps, good, goodToken, noTLS,
		"ok dns: cortex.default.testcluster.opstrace.io is 127.0.0.1",
		connected, inTime, goodAuth,
		"ok tenant: default is there",
		"ok write: an empty write is accepted: HTTP 200 OK")
}

// TestMissingFiles: each file that is missing is told by what it has to hold and by the
// setting that names it.
func TestMissingFiles(t *testing.T) {
	e := open(t, agenttest.Manners{})
	const oauth2 = "oauth2: {client_id: me, token_url: 'https://127.0.0.1:1/', "
	for _, tc := range []struct{ settings, what, key string }{
		{"bearer_token_file: MISSING", "the token", "token_file or credentials_file"},
		{"authorization: {credentials_file: MISSING}", "the token", "token_file or credentials_file"},
		{"authorization: {type: Key, credentials_file: MISSING}", "the credentials", "authorization.credentials_file"},
		{"basic_auth: {username: u, password_file: MISSING}", "the password", "basic_auth.password_file"},
		{"basic_auth: {username_file: MISSING, password: p}", "the user's name", "basic_auth.username_file"},
		{oauth2 + "client_secret_file: MISSING}", "the client's secret", "oauth2.client_secret_file"},
		{oauth2 + "grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_certificate_key_file: MISSING}", "the client's key", "oauth2.client_certificate_key_file"},
		{oauth2 + "client_secret: s, tls_config: {ca_file: MISSING}}", "the certificate of the authority", "oauth2.tls_config.ca_file"},
		{"tls_config: {cert_file: MISSING, key_file: MISSING2}", "the client's certificate", "tls_config.cert_file"},
		{"tls_config: {cert_file: THERE, key_file: MISSING}", "the client's key", "tls_config.key_file"},
	} {
		there := writeFile(t, "something", 0o600)
		settings := strings.NewReplacer("MISSING", filepath.Join(t.TempDir(), "missing"), "THERE", there).Replace(tc.settings)
		steps, good := run(t, destination(t, e.URL(), settings))
		last := steps[len(steps)-1]
		_, hint, _ := strings.Cut(last, " | ")
		hint, _, _ = strings.Cut(hint, "; until then ")
		if want := "put " + tc.what + " there, or name the right file in " + tc.key; good || hint != want || !strings.Contains(last, "missing: no such file or directory") {
			t.Errorf("%s: %s", tc.settings, last)
		}
	}
	steps, good := run(t, destination(t, e.URL(), "basic_auth: {username: u, password_file: "+writeFile(t, "", 0o600)+"}"))
	expect(t, steps, good, "FAIL token: token is empty | write the password into it; it is read again for every request")
	if s := e.Snapshot(); len(s.Requests) != 0 {
		t.Errorf("%d requests were sent", len(s.Requests))
	}
}

// TestRequestThatCannotBeSent has what the client reads only when it sends.
func TestRequestThatCannotBeSent(t *testing.T) {
	e := open(t, agenttest.Manners{})
	steps, good := run(t, destination(t, e.URL(), "http_headers: {X-Token: {files: ["+filepath.Join(t.TempDir(), "missing")+"]}}"))
	expect(t, steps, good, noToken,
		"FAIL token: unable to read headers file missing: open missing: no such file or directory | put the header's value there, or name the right file in http_headers.X-Token.files")

	steps, good = run(t, destination(t, e.URL(), "oauth2: {client_id: me, client_secret: secret, token_url: '"+e.URL()+"'}"))
	expect(t, steps, good,
		`FAIL token: unable to use the token endpoint: oauth2: cannot fetch token: 400 Bad Request Response: snappy: corrupt input | the server at token_url refuses client_id and client_secret, does not answer, or is not there`)

	steps, good = run(t, destination(t, e.URL(), "tls_config: {ca_file: "+filepath.Join(t.TempDir(), "missing")+"}"))
	expect(t, steps, good, noToken,
		"FAIL write: cannot use its certificates or credentials: unable to read CA cert: unable to read file missing: open missing: no such file or directory | put the certificate of the authority there, or name the right file in tls_config.ca_file; until then the agent would refuse a reload with this configuration; at a start it waits for the file")
}

// TestSilentTokenEndpoint: the check ends although the token endpoint does not answer.
func TestSilentTokenEndpoint(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and nothing else
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	rw := destination(t, open(t, agenttest.Manners{}).URL(), "oauth2: {client_id: me, client_secret: secret, token_url: 'http://"+silent.Addr().String()+"'}")
	rw.RemoteTimeout = model.Duration(time.Second)
	steps, good := run(t, rw)
	if last := steps[len(steps)-1]; good || !strings.HasPrefix(last, "FAIL token: unable to use the token endpoint: ") || !strings.HasSuffix(last, "does not answer, or is not there") {
		t.Errorf("%q", steps)
	}
}

// TestFutureToken: a token that was made by a host whose clock is ahead.
func TestFutureToken(t *testing.T) {
	for _, claim := range []string{"iat", "nbf"} {
		token := newToken(map[string]any{"sub": "tenant-default", "exp": nextYear.Unix(), claim: time.Now().Add(time.Hour).Unix()})
		e := newEndpoint(t, agenttest.Options{PlainHTTP: true})
		steps, good := run(t, destination(t, e.URL(), "bearer_token_file: "+writeFile(t, token, 0o600)))
		expect(t, steps, good,
			"note token: token, issued in the future: DATE | set the clock of this host, which says DATE, or of the one where the token was made",
			goodToken, connected, inTime,
			"FAIL auth: HTTP 401 Unauthorized: bad authentication token | the token is good from DATE on: set the clock of this host, or of the one where it was made")
	}
}
