package pushcheck

import (
	"strings"
	"testing"
)

// TestCredential: nobody can write a token into what systemd has handed over, and it is
// not read again.
func TestCredential(t *testing.T) {
	const restart = "systemctl restart opstrace-agent.service"
	for file, credential := range map[string]bool{
		"/run/credentials/opstrace-agent.service/token": true,
		"/run/credentials/token":                        false,
		"/etc/opstrace-agent/token":                     false,
		"token":                                         false,
		"":                                              false,
	} {
		if got := strings.Contains(refusal(file), restart); got != credential {
			t.Errorf("%q is refused: %q", file, refusal(file))
		}
		if got := strings.Contains(renewal(file), restart); got != credential {
			t.Errorf("%q is to be renewed: %q", file, renewal(file))
		}
		if credential && (strings.Contains(renewal(file), "put it into "+file) || strings.Contains(renewal(file), "read again")) {
			t.Errorf("%q is to be written to: %q", file, renewal(file))
		}
	}
}
