package pushcheck

import (
	"fmt"
	"strings"
)

// credentialsDir is where systemd puts what it hands over to services, a folder each.
const credentialsDir = "/run/credentials/"

// credentialOf returns the unit to which systemd has handed over a file; empty for any
// other file.
func credentialOf(file string) (unit string) {
	rest, ok := strings.CutPrefix(file, credentialsDir)
	unit, _, inFolder := strings.Cut(rest, "/")
	if !ok || !inFolder {
		return ""
	}
	return unit
}

// renewal is what is to be done with a new token. A credential is a copy that nobody can
// write to, from the start of the service.
func renewal(file string) string {
	switch unit := credentialOf(file); {
	case file == "":
		return "make a new token and put it into the configuration"
	case unit != "":
		return fmt.Sprintf("make a new token, put it into the file that LoadCredential= of the unit names, and systemctl restart %s", unit)
	}
	return "make a new token and put it into " + file + "; it is read again for every request"
}

// refusal is what is to be done about a token that an endpoint refuses, and that says
// nothing of the reason.
func refusal(file string) string {
	const hint = "check that the token is whole, and of this tenant and cluster; for a tenant made minutes ago, try again"
	if unit := credentialOf(file); unit != "" {
		return hint + fmt.Sprintf("; it is the one from the start of the service, a newer one needs systemctl restart %s", unit)
	}
	return hint
}
