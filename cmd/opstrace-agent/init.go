package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/newconfig"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/tenantlabel"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

type initFlags struct {
	options   newconfig.Options
	labels    []string
	hostLabel bool
	from      string
	output    string
	force     bool
}

func (c *cli) addInit() {
	clause := c.app.Command("init", "Write a configuration for a tenant, from nothing or from one of Prometheus, Grafana Agent or vmagent.")
	flags := &initFlags{}
	clause.Flag("cluster", "Name of the cluster, or its domain if that is not below opstrace.io.").
		Required().PlaceHolder("NAME").StringVar(&flags.options.Cluster)
	clause.Flag("tenant", "Name of the tenant.").
		Required().PlaceHolder("NAME").StringVar(&flags.options.Tenant)
	clause.Flag("token-file", "File with the tenant's token. Not needed if the instance runs without authentication.").
		PlaceHolder("FILE").StringVar(&flags.options.TokenFile)
	clause.Flag("label", "External label, put on everything that leaves this host. Can be repeated.").
		PlaceHolder("NAME=VALUE").StringsVar(&flags.labels)
	clause.Flag("host-label", "Write the external label host with this host's name: two hosts without one overwrite each other.").
		Default("true").BoolVar(&flags.hostLabel)
	clause.Flag("from", "Configuration to start from: of Prometheus, Grafana Agent (static mode) or vmagent. What an agent cannot use is left out and listed.").
		PlaceHolder("FILE").StringVar(&flags.from)
	clause.Flag("output", "Where to write. Default: standard output.").
		Short('o').PlaceHolder("FILE").StringVar(&flags.output)
	clause.Flag("force", "Overwrite a file that exists.").BoolVar(&flags.force)
	c.command(clause, func() error { return c.writeInitial(flags) })
}

func (c *cli) writeInitial(flags *initFlags) error {
	if flags.options.TokenFile != "" {
		// What is given is relative to here, what is written to the file's folder.
		path, err := filepath.Abs(flags.options.TokenFile)
		if err != nil {
			return err
		}
		flags.options.TokenFile = path
	}
	notes, err := flags.setLabels(os.Hostname)
	if err != nil {
		return err
	}
	r, err := flags.generate()
	if err != nil {
		return err
	}
	if flags.output == "" {
		_, err = c.stdout.Write(r.Text)
	} else {
		var told []string
		told, err = flags.writeConfig(r.Text, installRoot)
		notes = append(notes, told...)
	}
	if err != nil {
		return err
	}
	for _, line := range r.LeftOut {
		fmt.Fprintf(c.stderr, "left out: %s\n", line)
	}
	for _, line := range slices.Concat(r.Notes, notes) {
		fmt.Fprintf(c.stderr, "note: %s\n", line)
	}
	switch _, err := os.Stat(flags.options.TokenFile); {
	case flags.options.TokenFile == "":
		fmt.Fprintln(c.stderr, "note: no --token-file: only an instance without authentication takes samples so")
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(c.stderr, "note: %s does not exist yet: write the tenant's token into it\n", flags.options.TokenFile)
	}
	if flags.output != "" {
		sudo := ""
		if os.Geteuid() == 0 && closed(flags.output, flags.options.TokenFile) {
			sudo = "sudo "
		}
		fmt.Fprintf(c.stderr, "written: %s; now try '%s%s check push %[1]s'\n", flags.output, sudo, appName)
	}
	return nil
}

// closed reports whether one of the files that there are is closed to other users.
func closed(files ...string) bool {
	return slices.ContainsFunc(files, func(file string) bool {
		info, err := os.Stat(file)
		return err == nil && info.Mode()&0o004 == 0
	})
}

// hostLabel is the external label by which init tells hosts apart.
const hostLabel = "host"

// setLabels makes external labels of the flags. It returns notes about them.
func (f *initFlags) setLabels(hostname func() (string, error)) (notes []string, err error) {
	for _, given := range f.labels {
		name, value, _ := strings.Cut(given, "=")
		if problem := tenantlabel.Problem(name, value); problem != "" {
			return nil, &usageError{"--label=" + given + ": " + problem, "write it like --label=site=berlin"}
		}
		f.options.Labels = append(f.options.Labels, newconfig.Label{Name: name, Value: value})
	}
	named := slices.ContainsFunc(f.options.Labels, func(l newconfig.Label) bool { return l.Name == hostLabel })
	if !f.hostLabel || named {
		return nil, nil
	}
	name, err := hostname()
	if err != nil || name == "" {
		return []string{fmt.Sprintf("the name of this host is not known (%v): give one with --label=host=NAME, or others may overwrite its samples", err)}, nil
	}
	if name == "localhost" || strings.HasPrefix(name, "localhost.") {
		notes = []string{"this host is called " + name + ", as others may be: give a name of its own with --label=host=NAME"}
	}
	// A $ would be taken for a variable.
	host := newconfig.Label{Name: hostLabel, Value: strings.ReplaceAll(name, "$", "$$"), Weak: true}
	f.options.Labels = append([]newconfig.Label{host}, f.options.Labels...)
	return notes, nil
}

func (f *initFlags) generate() (*newconfig.Result, error) {
	if f.from == "" {
		return newconfig.New(f.options)
	}
	content, err := os.ReadFile(f.from)
	if err != nil {
		return nil, &scrapeconfig.Error{Msg: "cannot read the configuration: " + err.Error(), Hint: "name a file that can be read with --from", Err: err}
	}
	moved, err := f.moved()
	if err != nil {
		return nil, err
	}
	f.options.Hostname, _ = os.Hostname() // without it, only loopback is this host
	return newconfig.From(f.options, newconfig.Source{Content: content, Path: f.from, Moved: moved})
}

// moved reports whether relative paths in the source would change their meaning.
func (f *initFlags) moved() (bool, error) {
	if f.output == "" {
		return true, nil
	}
	from, err := filepath.Abs(filepath.Dir(f.from))
	if err != nil {
		return false, err
	}
	to, err := filepath.Abs(filepath.Dir(f.output))
	return from != to, err
}
