package switching

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	config_util "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestSwitchIsSeen(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		read []string
		want bool
	}{
		{"at once", []string{"HTTP/1.1 101 Switching Protocols\r\n"}, true},
		{"of the old version", []string{"HTTP/1.0 101\r\n"}, true},
		{"in pieces", []string{"HT", "TP/1.1", " 1", "", "01 x"}, true},
		{"with many blanks", []string{"HTTP/1.1" + strings.Repeat(" ", 4000), strings.Repeat(" ", 4000) + "101\r\n"}, true},
		{"too little yet", []string{"HTTP/1.1 10"}, false},
		{"a usual answer", []string{"HTTP/1.1 200 OK\r\n"}, false},
		{"later in it", []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n"}, false},
		{"behind others", []string{"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100\r\n\r\nHTTP/1.1 101 x\r\n"}, true},
		{"behind others, in pieces and without returns", []string{"HTTP/1.1 10", "2 x", "\n", "A: b", "\n", "\n", "HTTP/1.1 1", "01"}, true},
		{"in the header of another", []string{"HTTP/1.1 103 x\r\nHTTP/1.1 101 x\r\n"}, false},
		{"a usual answer behind others", []string{"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 x\r\n"}, false},
		{"TLS", []string{"\x17\x03\x03HTTP/1.1 101"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var begin begin
			for _, piece := range tc.read {
				begin.look([]byte(piece))
			}
			if begin.switches != tc.want {
				t.Errorf("%v after %q", begin.switches, tc.read)
			}
		})
	}
}

// switcher answers 101 on a path, and keeps the connection.
func switcher(t *testing.T) http.Handler {
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	mux := http.NewServeMux()
	mux.HandleFunc("/usual", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("usual")) })
	mux.HandleFunc("/switch", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		if err := agenttest.SwitchProtocols(w, func(net.Conn) { <-done }); err != nil {
			t.Error(err)
		}
	})
	return mux
}

// ask reads an answer as upstream does: to its end.
func ask(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestSwitchEnds: the answer of a target that switches protocols ends, encrypted or not,
// and a connection that was idle for longer than an answer may take costs nothing.
func TestSwitchEnds(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		most := time.Minute
		server := httptest.NewUnstartedServer(switcher(t))
		if encrypted {
			most = time.Second
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.CloseClientConnections)
		cfg := config_util.HTTPClientConfig{TLSConfig: config_util.TLSConfig{InsecureSkipVerify: true}, FollowRedirects: true}
		client, err := config_util.NewClientFromConfig(cfg, "test", config_util.WithDialContextFunc(Dialer(new(net.Dialer), func() time.Duration { return most })))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.CloseIdleConnections)
		for range 2 { // the second time by a connection that was used
			if got, err := ask(client, server.URL+"/usual"); err != nil || got != "usual" {
				t.Fatalf("%q, %v", got, err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := ask(client, server.URL+"/switch")
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil || encrypted == strings.Contains(err.Error(), ErrSwitched.Error()) {
					t.Errorf("encrypted %v: it ended with %v", encrypted, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("encrypted %v: the answer does not end", encrypted)
			}
		}
	}
}

// TestTokenEndpointEnds: who needs a token from an endpoint that switches protocols, or
// does not answer, does not wait for ever: upstream asks for tokens by the same Dialer.
func TestTokenEndpointEnds(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(switcher(t))
	t.Cleanup(server.CloseClientConnections)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and nothing else
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for address, most := range map[string]time.Duration{server.URL + "/switch": time.Minute, "http://" + silent.Addr().String(): time.Second} {
		cfg := config_util.DefaultHTTPClientConfig
		cfg.OAuth2 = &config_util.OAuth2{ClientID: "i", ClientSecret: "s", TokenURL: address}
		client, err := config_util.NewClientFromConfig(cfg, "test", config_util.WithDialContextFunc(Dialer(new(net.Dialer), func() time.Duration { return most })))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := ask(client, server.URL+"/usual")
			ended <- err
		}()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s gave a token", address)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: it waits", address)
		}
	}
}

// TestIdleConnection: a connection that has been idle for longer than an answer may take
// is replaced, unseen by who asks.
func TestIdleConnection(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 8)
	server := httptest.NewUnstartedServer(switcher(t))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	most := time.Second
	client, err := config_util.NewClientFromConfig(config_util.DefaultHTTPClientConfig, "test", config_util.WithDialContextFunc(Dialer(new(net.Dialer), func() time.Duration { return most })))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := ask(client, server.URL+"/usual"); err != nil || got != "usual" {
			t.Fatalf("%q, %v", got, err)
		}
		select {
		case <-closed:
		case <-time.After(30 * time.Second):
			t.Fatal("the idle connection is kept")
		}
	}
}
