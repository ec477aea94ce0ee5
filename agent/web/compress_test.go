package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestTakesGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "identity": false, "gzip": true, "GZIP": true, "deflate, gzip;q=1.0, *;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0, *": false,
		"*": true, "*;q=0": false, "br": false, "gzip;q=x": false, "deflate;q=0.5,x-gzip;q=0.1": true, "*;q=0, gzip": true,
	} {
		if got := takesGzip([]string{header}); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// The page and the API are compressed for who asks for it, and say the same.
func TestCompressedAnswers(t *testing.T) {
	flags := map[string]string{}
	for i := range 100 {
		flags[fmt.Sprintf("flag-%d", i)] = "the same value"
	}
	s, err := New(Options{Agent: startAgent(t, ""), Gatherer: prometheus.NewRegistry(), Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code != 200 || rec.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %d %v", path, rec.Code, rec.Header())
		}
		return rec
	}
	for path, word := range map[string]string{"/": "</html>", "/api/v1/status/flags": `"flag-99":"the same value"`} {
		plain := ask(path, "identity")
		if plain.Header().Get("Content-Encoding") != "" || !strings.Contains(plain.Body.String(), word) {
			t.Errorf("%s: %v %s", path, plain.Header(), plain.Body)
		}
		for range 2 { // the second time with what the first one left
			packed := ask(path, "gzip")
			if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() > plain.Body.Len()/2 {
				t.Errorf("%s: %v, %d of %d bytes", path, packed.Header(), packed.Body.Len(), plain.Body.Len())
			}
			z, err := gzip.NewReader(packed.Body)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(z)
			if err != nil || !bytes.Contains(text, []byte(word)) {
				t.Errorf("%s: %v %s", path, err, text)
			}
		}
	}
	if small := ask("/api/v1/status/buildinfo", "gzip"); small.Header().Get("Content-Encoding") != "" {
		t.Error("a small answer is compressed")
	}
}
