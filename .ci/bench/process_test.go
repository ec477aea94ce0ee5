package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestProcessThatEnds: the reason is in the error, and not a timeout.
func TestProcessThatEnds(t *testing.T) {
	p, err := startProcess("/bin/sh", []string{"-c", "echo this is why; exit 7"}, filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	err = p.awaitReady(t.Context(), "http://127.0.0.1:0/")
	require.ErrorContains(t, err, "exit status 7")
	require.ErrorContains(t, err, "this is why")
	_, err = p.stop(t.Context())
	require.EqualError(t, err, "it had ended by itself: exit status 7")
	p.kill() // does nothing
}

func TestProcessStops(t *testing.T) {
	answer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer answer.Close()
	p, err := startProcess("/bin/sleep", []string{"600"}, filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	require.NoError(t, p.awaitReady(t.Context(), answer.URL))
	took, err := p.stop(t.Context())
	require.NoError(t, err)
	require.Positive(t, took)
	require.ErrorContains(t, p.sleep(t.Context(), time.Hour), "signal: terminated")
}
