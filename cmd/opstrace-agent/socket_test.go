package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang/snappy"
)

// TestPickAddress: a running agent is asked through a loopback port, else through any other,
// else through a socket.
func TestPickAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		addresses    []string
		port, socket string
	}{
		{[]string{"127.0.0.1:9095"}, "127.0.0.1:9095", ""},
		{[]string{":9095", "[::1]:9096"}, "[::1]:9096", ""},
		{[]string{":9095"}, "localhost:9095", ""},
		{[]string{"unix:/run/a.sock", "unix:/run/b.sock"}, "", "/run/a.sock"},
		{[]string{"unix:/run/a.sock", "10.0.0.1:9095"}, "10.0.0.1:9095", "/run/a.sock"},
		{[]string{"unix:/run/a.sock", "localhost:9095"}, "localhost:9095", "/run/a.sock"},
	} {
		if port, socket := pickAddress(tc.addresses); port != tc.port || socket != tc.socket {
			t.Errorf("%q: %q, %q", tc.addresses, port, socket)
		}
	}
}

// TestSocketAlone: an agent that listens at a socket only takes samples there, and is asked
// and reloaded there, though a web configuration file guards ports.
func TestSocketAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, config := filepath.Join(dir, "agent.sock"), filepath.Join(dir, "agent.yml")
	write(t, config, "global: {scrape_interval: 5s}\n")
	write(t, filepath.Join(dir, "web.yml"), "basic_auth_users: {a: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}\n")
	flags := []string{"--config.file=" + config, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=unix:" + path,
		"--web.config.file=" + filepath.Join(dir, "web.yml"), "--web.enable-remote-write-receiver"}
	r := &running{t: t, cmd: command(context.Background(), flags...), log: &syncBuffer{}, done: make(chan struct{})}
	r.cmd.Stderr = r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("the agent's log:\n%s", r.log)
		}
	})
	client := socketClient(path)
	defer client.CloseIdleConnections()
	r.eventually("it is ready", func() bool {
		resp, err := client.Get("http://localhost/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	body := snappy.Encode(nil, nil) // a request without series
	resp, err := client.Post("http://localhost/api/v1/write", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("a write: %s", resp.Status)
	}
	out, err := command(t.Context(), "status", "--url=unix:"+path).CombinedOutput()
	if !strings.Contains(string(out), "No destination") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if out, err := command(t.Context(), append([]string{"reload", fmt.Sprintf("--pid=%d", r.cmd.Process.Pid), "--"}, flags...)...).CombinedOutput(); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
}
