package scrapeconfig

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
)

// entries have one login each, in their second line.
var entries = map[string]string{
	"sigv4":      "{region: eu-west-1, access_key: a, secret_key: s}",
	"azuread":    "{managed_identity: {client_id: 00000000-0000-0000-0000-000000000001}}",
	"google_iam": "{credentials_file: google.json}",
}

func TestLogins(t *testing.T) {
	const hint = "use the full build, opstrace-agent-full, which has the logins of AWS, Azure and Google Cloud: `make full` in the sources builds it"
	for field, value := range entries {
		for name, text := range map[string]string{
			"remote_write": "remote_write:\n- url: http://a/\n- url: http://b/\n  " + field + ": " + value + "\n",
			"block":        "scrape_configs: []\nopstrace:\n- {cluster: c, tenant: t}\n- cluster: c\n  tenant: u\n  " + field + ": " + value + "\n",
		} {
			text += "# end\n"
			// These tests have the real modules.
			cfg, err := Load([]byte(text), "a.yml", log.NewNopLogger())
			if err != nil || len(cfg.RemoteWriteConfigs) != 2 || cloudLogin(cfg.RemoteWriteConfigs[1]) != field {
				t.Fatalf("%s, %s: %v", field, name, err)
			}
			src, err := parse([]byte(text), "a.yml")
			if err != nil {
				t.Fatal(err)
			}
			own := 2
			if name == "block" {
				own = 0
			}
			if err := src.refuseLogins(cfg.RemoteWriteConfigs, own, MissingLogin); err != nil {
				t.Errorf("%s, %s: refused by the full build: %v", field, name, err)
			}
			e, ok := errors.AsType[*Error](src.refuseLogins(cfg.RemoteWriteConfigs, own, missingLogin))
			if !ok || e.File != "a.yml" || e.Line != strings.Count(text, "\n")-1 || e.Msg != field+": this build has no login of "+clouds[field] || e.Hint != hint {
				t.Errorf("%s, %s: %+v", field, name, e)
			}
		}
	}
}

// A login of upstream's that is not among clouds would be linked into every build.
func TestEveryLoginIsKnown(t *testing.T) {
	var pointers []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.RemoteWriteConfig]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.Type.Kind() == reflect.Pointer && key != "url" {
			pointers = append(pointers, key)
		}
	}
	slices.Sort(pointers)
	if known := slices.Sorted(maps.Keys(clouds)); !slices.Equal(pointers, known) {
		t.Errorf("Prometheus has the logins %q, this agent knows %q", pointers, known)
	}
}
