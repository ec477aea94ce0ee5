package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	commonconfig "github.com/prometheus/common/config"
)

// addressFlags say where a running agent answers.
type addressFlags struct {
	url            string
	httpConfigFile string
}

func (f *addressFlags) registerAddress(c *cli, clause *kingpin.CmdClause) {
	listen := c.app.GetCommand("run").GetFlag("web.listen-address").Model().Default[0]
	clause.Flag("url", "Where the agent answers. Default: as the flags of the installed service tell, or http://"+listen+".").
		PlaceHolder("URL").StringVar(&f.url)
	clause.Flag("http.config.file", "File with password or TLS settings for that address, in promtool's format.").
		PlaceHolder("FILE").StringVar(&f.httpConfigFile)
}

// open returns the address that is given, or the one of the service that is installed
// below installRoot, and a client for it. Errors are a *usageError.
func (f *addressFlags) open() (*url.URL, *http.Client, error) {
	if f.url == "" {
		f.url = serviceAddress(installRoot)
	}
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, nil, &usageError{fmt.Sprintf("--url=%s is not an http or https URL", f.url), "write it like http://127.0.0.1:9095"}
	}
	client, err := f.client()
	if err != nil {
		return nil, nil, &usageError{"--http.config.file: " + err.Error(), fileHint(err, "its format is that of promtool's --http.config.file")}
	}
	return base, client, nil
}

// client asks without a proxy, unless the file says so: most often the agent is
// on this host.
func (f *addressFlags) client() (*http.Client, error) {
	settings := &commonconfig.DefaultHTTPClientConfig
	if f.httpConfigFile != "" {
		var err error
		if settings, _, err = commonconfig.LoadHTTPConfigFile(f.httpConfigFile); err != nil {
			return nil, err
		}
	}
	return commonconfig.NewClientFromConfig(*settings, "status")
}

// serviceAddress is where the service that is installed below root answers, or an agent
// without flags. With --web.config.file, its scheme is not known, nor a password: these
// are given by --url and --http.config.file.
func serviceAddress(root string) string {
	var args []string
	if isInstalled(root) {
		args = serviceArgs(root)
	}
	t, err := parseReloadTarget(args, &addressFlags{})
	if err != nil || t.base == "" {
		t, _ = parseReloadTarget(nil, &addressFlags{})
	}
	return t.base
}

// reloadTarget is what the command line of a running agent says about where to
// ask it.
type reloadTarget struct {
	base       string // its address; empty if the agent does not take a plain request
	client     *http.Client
	configFile string
}

// parseReloadTarget takes the address that is given, or the one that flags of run
// tell. Errors are a *usageError.
func parseReloadTarget(flags []string, address *addressFlags) (reloadTarget, error) {
	run, err := parseRunFlags(flags)
	if err != nil {
		return reloadTarget{}, err
	}
	t := reloadTarget{configFile: run.configFile}
	if address.url != "" {
		base, client, err := address.open()
		if err != nil {
			return reloadTarget{}, err
		}
		t.base, t.client = base.String(), client
		return t, nil
	}
	if run.web.configFile != "" {
		return t, nil // TLS, or a password that is not ours to know
	}
	prefix := run.web.routePrefix
	if external, err := url.Parse(run.web.externalURL); err == nil && prefix == "" {
		prefix = external.Path
	}
	t.base = (&url.URL{Scheme: "http", Host: pickAddress(run.web.listenAddresses), Path: "/"}).
		JoinPath(prefix).String()
	// No proxy from the environment: the agent is on this host.
	t.client = &http.Client{Transport: &http.Transport{}}
	return t, nil
}

// pickAddress prefers a loopback address: only there a reload needs no flag.
func pickAddress(addresses []string) string {
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback()) {
			return a
		}
	}
	if strings.HasPrefix(addresses[0], ":") {
		return "localhost" + addresses[0]
	}
	return addresses[0]
}
