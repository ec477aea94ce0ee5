package configcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// lookAt returns the findings about a configuration, "file:line: message" each,
// with a star in front of the fatal ones. More files come as pairs of name and
// content.
func lookAt(t *testing.T, host, text string, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i+1 < len(more); i += 2 {
		writeFile(t, filepath.Join(dir, more[i]), more[i+1])
	}
	path := filepath.Join(dir, "agent.yml")
	writeFile(t, path, text)
	f, err := scrapeconfig.ReadFile(path, log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	found, err := Missing(f, path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Look(f, path, host)
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, all...)
	var lines []string
	for _, f := range found {
		line := strings.ReplaceAll(f.String(), dir+"/", "")
		if f.Fatal {
			line = "*" + line
		}
		if f.Hint == "" {
			t.Errorf("no hint: %s", line)
		}
		lines = append(lines, line)
	}
	return lines
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

// expect compares the beginnings.
func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	good := len(got) == len(want)
	for i := 0; good && i < len(want); i++ {
		good = strings.HasPrefix(got[i], want[i])
	}
	if !good {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

const (
	tenant = "opstrace: {cluster: c, tenant: t}\n"
	local  = "scrape_configs:\n- job_name: node\n  static_configs: [{targets: ['127.0.0.1:9100']}]\n"
	twins  = "two hosts with this file could not be told apart: both would send the series of "
)

func TestTwins(t *testing.T) {
	t.Setenv("HOSTNAME", "edge-17")
	t.Setenv("CLUSTER", "berlin")
	external := func(labels string) string { return "global: {external_labels: {" + labels + "}}\n" + tenant + local }
	job := func(settings string) string {
		return tenant + "scrape_configs:\n- job_name: node\n" + settings
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"no label":                  {tenant + local, []string{"agent.yml: " + twins + "127.0.0.1:9100 (job node)"}},
		"no destination":            {local, []string{"agent.yml: no destination"}},
		"this host's name":          {external("site: edge-17"), nil},
		"with its domain":           {external("site: edge-17.example.org"), nil},
		"another host's name":       {external("host: kitchen"), []string{`agent.yml:1: external label host is "kitchen", and this host is called "edge-17"`}},
		"a name of another kind":    {external("node: kitchen"), nil},
		"a site only":               {external("site: berlin"), []string{"agent.yml:1: " + twins}},
		"a variable":                {external("x: '${HOSTNAME}'"), nil},
		"a variable of all":         {external("x: '${CLUSTER}'"), []string{"agent.yml:1: " + twins}},
		"instance does not win":     {external("instance: edge-17"), []string{"agent.yml:1: " + twins}},
		"other hosts' targets":      {job("  static_configs: [{targets: ['10.0.0.1:9100', 'db.example.org:9100']}]\n"), nil},
		"localhost":                 {job("  static_configs: [{targets: ['localhost:9100']}]\n"), []string{"agent.yml: " + twins + "localhost:9100"}},
		"IPv6":                      {job("  static_configs: [{targets: ['[::1]:9100']}]\n"), []string{"agent.yml: " + twins + "[::1]:9100"}},
		"a label of the target":     {job("  static_configs: [{targets: ['127.0.0.1:9100'], labels: {host: a}}]\n"), nil},
		"an instance of the target": {job("  static_configs: [{targets: ['127.0.0.1:9100'], labels: {instance: a}}]\n"), nil},
		"relabelled":                {job("  static_configs: [{targets: ['127.0.0.1:9100']}]\n  relabel_configs: [{target_label: instance, replacement: edge-17}]\n"), nil},
		"dropped": {"remote_write:\n- url: http://x/api/v1/push\n  write_relabel_configs: [{source_labels: [job], regex: node, action: drop}]\n" +
			local, nil},
		"set on the way": {"remote_write:\n- url: http://x/api/v1/push\n  write_relabel_configs: [{target_label: host, replacement: edge-17}]\n" +
			local, nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, lookAt(t, "edge-17", tc.text), tc.want...) })
	}
	t.Run("targets in files", func(t *testing.T) {
		expect(t, lookAt(t, "edge-17", job("  file_sd_configs: [{files: [t.yml]}]\n"), "t.yml", "- targets: [localhost:9100]\n"),
			"agent.yml: "+twins+"localhost:9100")
	})
}

func TestTenantLabels(t *testing.T) {
	const far = "- job_name: a\n  static_configs: [{targets: [far]%s}]\n"
	many := ""
	for i := range 27 {
		many += fmt.Sprintf(", l%d: x", i)
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"external":         {"global:\n  external_labels:\n    site-id: berlin-7\n" + tenant + "scrape_configs: []\n", []string{"agent.yml: no scrape job", `*agent.yml:3: "site-id" is not the name of a label`}},
		"UTF-8":            {tenant + "scrape_configs:\n" + fmt.Sprintf(far, ", labels: {größe: x}"), []string{`*agent.yml:4: "größe" is not`}},
		"value too long":   {tenant + "scrape_configs:\n" + fmt.Sprintf(far, ", labels: {a: "+strings.Repeat("x", 2049)+"}"), []string{"*agent.yml:4: the value of label a has 2049 bytes"}},
		"too many":         {"global: {external_labels: {a: x}}\n" + tenant + "scrape_configs:\n" + fmt.Sprintf(far, ", labels: {b: x"+many+"}"), []string{`*agent.yml: series of job "a" have 32 labels`}},
		"just enough":      {tenant + "scrape_configs:\n" + fmt.Sprintf(far, ", labels: {"+many[2:]+"}"), nil},
		"relabelled":       {tenant + "scrape_configs:\n" + fmt.Sprintf(far, "") + "  relabel_configs:\n  - target_label: a-b\n    replacement: x\n", []string{`*agent.yml:6: "a-b" is not`}},
		"metrics":          {tenant + "scrape_configs:\n" + fmt.Sprintf(far, "") + "  metric_relabel_configs:\n  - target_label: a.b\n    replacement: x\n", []string{`*agent.yml:6: "a.b" is not`}},
		"for a time":       {tenant + "scrape_configs:\n" + fmt.Sprintf(far, "") + "  relabel_configs: [{target_label: __tmp-x, replacement: x}]\n", nil},
		"dropped on time":  {"global: {external_labels: {site-id: x}}\nremote_write:\n- url: http://x/api/v1/push\n  write_relabel_configs: [{action: labeldrop, regex: site-id}]\nscrape_configs:\n" + fmt.Sprintf(far, ""), nil},
		"another receiver": {"global: {external_labels: {site-id: x}}\nremote_write: [{url: http://x/api/v1/write}]\nscrape_configs:\n" + fmt.Sprintf(far, ""), nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, lookAt(t, "h", tc.text), tc.want...) })
	}
}

func TestVariables(t *testing.T) {
	for _, name := range []string{"CLUSTER_NAME", "NOT_SET", "POD_NAME", "TOKEN", "IP", "NODE"} {
		t.Setenv(name, "")
	}
	t.Setenv("SET", "x")
	text := `global:
  external_labels:
    cluster: "$CLUSTER_NAME"
    replica: "$(POD_NAME)"
    host: "a-${NOT_SET}"
    good: "$SET"
    price: "$$5"
remote_write:
- url: http://u:p$word@cortex.$SET.example.org/push
  authorization: {credentials: "$TOKEN"}
  headers: {x: "a$secret"}
scrape_configs:
- job_name: charon
  static_configs:
  - targets: ["$IP:9100", "${NODE}:9100"]
  relabel_configs:
  - {source_labels: [a], regex: "(.*)$x", target_label: b, replacement: "${1}$$b"}
`
	got := lookAt(t, "", text)
	expect(t, got,
		"agent.yml:3: external label cluster: $CLUSTER_NAME is not set here",
		"agent.yml:4: external label replica: $(POD_NAME) is taken as it stands",
		"agent.yml:5: external label host: $NOT_SET is not set here",
		"agent.yml:9: url: $SET is taken as it stands",
		"agent.yml:10: credentials: $TOKEN is taken as it stands",
		"agent.yml:15: targets: $IP is taken as it stands",
		"agent.yml:15: targets: ${NODE} is taken as it stands",
	)
	if all := strings.Join(got, "\n"); strings.Contains(all, "word") || strings.Contains(all, "secret") {
		t.Errorf("a secret is shown: %s", all)
	}
}

// TestVariableDefaults: upstream takes all between braces for a name, so that what a
// shell would do leaves an empty label, and hosts that cannot be told apart.
func TestVariableDefaults(t *testing.T) {
	t.Setenv("HOSTNAME", "edge-17")
	for raw, said := range map[string]string{
		"${HOSTNAME:-x}": "agent.yml:1: external label host: ${HOSTNAME:-x} is no variable: the label is empty",
		"$(HOSTNAME)":    "agent.yml:1: external label host: $(HOSTNAME) is taken as it stands",
	} {
		expect(t, lookAt(t, "edge-17", "global: {external_labels: {host: '"+raw+"'}}\n"+tenant+local), said, "agent.yml:1: "+twins)
	}
}

// TestTemplates: what a rule names and its regex has not becomes nothing.
func TestTemplates(t *testing.T) {
	rules := func(list string) string {
		return tenant + "scrape_configs:\n- job_name: a\n  static_configs: [{targets: [far]}]\n  relabel_configs:\n" + list
	}
	for name, tc := range map[string]struct {
		rules string
		want  []string
	}{
		"groups":     {"  - {source_labels: [x], regex: '(.*)-(?P<n>.*)', target_label: b, replacement: '$1 ${2} $n $0 $$z'}\n", nil},
		"default":    {"  - {source_labels: [x], target_label: b, replacement: '$1'}\n", nil},
		"variable":   {"  - {target_label: host, replacement: '${HOSTNAME}'}\n", []string{"agent.yml:6: replacement: $HOSTNAME is no group of regex"}},
		"too many":   {"  - {source_labels: [x], regex: 'a(.*)', target_label: b, replacement: '$2'}\n", []string{"agent.yml:6: replacement: $2 is no group"}},
		"run in one": {"  - {source_labels: [x], target_label: b, replacement: '$1_y'}\n", []string{"agent.yml:6: replacement: $1_y is no group"}},
		"label":      {"  - {source_labels: [x], target_label: 'l_${ROLE}', replacement: y}\n", []string{"agent.yml:6: target_label: $ROLE is no group"}},
		"map":        {"  - {action: labelmap, regex: '__meta_(.+)', replacement: 'm_$1'}\n", nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, lookAt(t, "h", rules(tc.rules)), tc.want...) })
	}
	if h := groupHint("1_y"); h != "write ${1}_y" {
		t.Error(h)
	}
}

func TestEmpty(t *testing.T) {
	for _, text := range []string{"", "\n# nothing\n", "---\n"} {
		expect(t, lookAt(t, "h", text), "*agent.yml: the file is empty: nothing is scraped, and nothing is sent")
	}
	expect(t, lookAt(t, "h", "global: {}\n"), "agent.yml: no destination", "agent.yml: no scrape job")
}

func TestTargetFiles(t *testing.T) {
	text := tenant + "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: ['t.*']}]\n"
	text = strings.Replace(text, "'t.*'", "t.yml, t.json", 1)
	for name, tc := range map[string]struct {
		yml, json string
		want      []string
	}{
		"good":        {"- targets: [a]\n  labels: {b: c}\n", `[{"targets": ["a"]}]`, nil},
		"empty":       {"", "[]", nil},
		"no list":     {"targets: [a]\n", "[]", []string{"*t.yml: not a list of targets: "}},
		"unknown key": {"- target: [a]\n", "[]", []string{"*t.yml: not a list of targets: "}},
		"cut":         {"", `[{"targets": ["a"`, []string{"*t.json: not a list of targets: unexpected end of JSON input"}},
		"empty item":  {"-\n", "[]", []string{"*t.yml: not a list of targets: an item is empty"}},
		"bad label":   {"- targets: [a]\n  labels: {b-c: d}\n", "[]", []string{`*t.yml:2: "b-c" is not the name of a label`}},
		"variables": {"- targets: ['$IP:9100']\n", `[{"targets": ["a"], "labels": {"rack": "${RACK}"}}]`,
			[]string{"t.yml:1: targets: $IP is taken as it stands", "t.json:1: rack: ${RACK} is taken as it stands"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, lookAt(t, "h", text, "t.yml", tc.yml, "t.json", tc.json), tc.want...) })
	}
}
