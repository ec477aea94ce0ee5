package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestServiceArgs: the flags of the service are those of its unit and drop-ins, as
// systemd puts them together, with ARGS in its place.
func TestServiceArgs(t *testing.T) {
	packaged, err := os.ReadFile("../../systemd/opstrace-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	const (
		etc      = "/etc/systemd/system/opstrace-agent.service"
		override = etc + ".d/override.conf"
		runtime  = "/run/systemd/system/opstrace-agent.service.d/"
		start    = "[Service]\nExecStart=\nExecStart=/usr/bin/opstrace-agent "
		args     = "--limits.labels=5 --web.listen-address=127.0.0.1:1"
		usual    = "--config.file=" + serviceConfig + " --storage.agent.path=/var/lib/opstrace-agent " + args
	)
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"packaged":         {nil, usual},
		"other settings":   {map[string]string{override: "[Service]\nMemoryMax=100M\n"}, usual},
		"another build":    {map[string]string{override: "[Service]\nExecStart=\nExecStart=-/usr/local/bin/opstrace-agent-full --config.file=/b.yml \\\n  ${ARGS} --agent\n"}, "--config.file=/b.yml " + args + " --agent"},
		"a copied unit":    {map[string]string{etc: "[Service]\n# ExecStart=/no\nExecStart=/usr/bin/opstrace-agent run --config.file /b.yml\n"}, "run --config.file /b.yml"},
		"the last by name": {map[string]string{override: start + "--log.format=json\n", runtime + "z.conf": start + "--log.level=warn\n"}, "--log.level=warn"},
		"the same name":    {map[string]string{override: start + "--log.format=json\n", runtime + "override.conf": start + "--log.level=warn\n"}, "--log.format=json"},
		"not its own":      {map[string]string{override: "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exec opstrace-agent'\n"}, "--config.file=ROOT" + serviceConfig + " " + args},
	} {
		root := t.TempDir()
		write(t, filepath.Join(root, serviceUnits[0]), string(packaged))
		write(t, filepath.Join(root, serviceFlags), "ARGS=\""+args+"\"\n")
		for file, content := range tc.files {
			write(t, filepath.Join(root, file), content)
		}
		if got := serviceArgs(root); !slices.Equal(got, strings.Fields(strings.Replace(tc.want, "ROOT", root, 1))) {
			t.Errorf("%s: %q", name, got)
		}
		if name == "another build" {
			if j, err := judgeOf("/b.yml", &runFlags{}, root); err != nil || !j.service || j.limits.Labels != 5 {
				t.Errorf("check targets judges by %+v, %v", j, err)
			}
		}
	}
}
