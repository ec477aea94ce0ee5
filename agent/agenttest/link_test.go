package agenttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestLink: it passes all, or cuts requests and answers, and ends what hangs.
func TestLink(t *testing.T) {
	t.Parallel()
	var got []int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, len(b))
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	}))
	defer server.Close()
	l, err := NewLink(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	send := func() error {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Post("http://"+l.Addr(), "text/plain", strings.NewReader(strings.Repeat("x", 10_000)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	if err := send(); err != nil || len(got) != 1 || got[0] != 10_000 {
		t.Fatal(err, got)
	}
	for name, w := range map[string]Wire{"request": {Request: 1000}, "answer": {Answer: 1000}} {
		l.SetWire(w)
		if err := send(); err == nil {
			t.Errorf("%s is not cut", name)
		}
	}
	l.SetWire(Wire{})
	if err := send(); err != nil {
		t.Error(err)
	}
	server.Close()
	if send() == nil {
		t.Error("what it leads to is gone, and it answers")
	}
}
