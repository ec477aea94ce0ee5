package scrapeconfig

import (
	"fmt"

	"github.com/prometheus/prometheus/config"
)

// clouds are where the logins of remote_write, which need a library each, log in.
var clouds = map[string]string{
	"sigv4":      "AWS",
	"azuread":    "Azure",
	"google_iam": "Google Cloud",
}

// MissingLogin explains a field of remote_write that is the login of a cloud left out
// of this build. It returns "" for any other field.
func MissingLogin(field string) (msg, hint string) {
	if cloudLogins {
		return "", ""
	}
	return missingLogin(field)
}

func missingLogin(field string) (msg, hint string) {
	cloud, ok := clouds[field]
	if !ok {
		return "", ""
	}
	return fmt.Sprintf("%s: this build has no login of %s", field, cloud),
		"use the full build, " + fullBuild + ", which has the logins of AWS, Azure and Google Cloud: `make full` in the sources builds it"
}

// refuseLogins refuses what would fail at the first request. The first own entries
// stand in remote_write, the others in the block.
func (s *source) refuseLogins(rws []*config.RemoteWriteConfig, own int, missing func(field string) (msg, hint string)) error {
	for i, rw := range rws {
		field := cloudLogin(rw)
		if msg, hint := missing(field); msg != "" {
			return s.fail(s.entryLine(i, own, field), msg, hint)
		}
	}
	return nil
}

// cloudLogin is the field of an entry that logs in to a cloud, "" if none does. Upstream
// takes no more than one.
func cloudLogin(rw *config.RemoteWriteConfig) string {
	switch {
	case rw.SigV4Config != nil:
		return "sigv4"
	case rw.AzureADConfig != nil:
		return "azuread"
	case rw.GoogleIAMConfig != nil:
		return "google_iam"
	}
	return ""
}
