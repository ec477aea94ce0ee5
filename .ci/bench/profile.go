package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profileOf returns where the CPU profile of a program in a scenario goes.
func profileOf(dir string, s scenario, p peer) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(p.name+" "+s.name))
	return filepath.Join(dir, name+".pprof")
}

// takeProfile has the program take a CPU profile of itself for the window, as
// Prometheus' programs do at /debug/pprof, and writes it to its file. It costs the program a little: the
// figures of such a run are not fair.
func (t *trial) takeProfile(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.listen, int(t.window.Seconds())), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no profile: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer is %s", answer.Status)
	}
	if err != nil {
		return fmt.Errorf("no profile: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(t.profile), 0o750); err != nil {
		return err
	}
	return os.WriteFile(t.profile, body, 0o640)
}
