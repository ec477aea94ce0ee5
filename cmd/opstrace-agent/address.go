package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	commonconfig "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/agent/web"
)

// addressFlags say where a running agent answers.
type addressFlags struct {
	url            string
	httpConfigFile string
}

func (f *addressFlags) registerAddress(c *cli, clause *kingpin.CmdClause) {
	listen := c.app.GetCommand("run").GetFlag("web.listen-address").Model().Default[0]
	clause.Flag("url", "Where the agent answers, or unix:PATH for a socket. Default: as the flags of the installed service tell, or http://"+listen+".").
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
	if path, isSocket := strings.CutPrefix(f.url, web.SocketPrefix); isSocket {
		if path == "" {
			return nil, nil, &usageError{"--url=" + web.SocketPrefix + " names no socket", socketHint}
		}
		return &url.URL{Scheme: "http", Host: "localhost", Path: "/"}, socketClient(path), nil
	}
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, nil, &usageError{fmt.Sprintf("--url=%s is not an http or https URL", f.url), "write it like http://127.0.0.1:9095, or like unix:/run/opstrace-agent/agent.sock for a socket"}
	}
	client, err := f.client()
	if err != nil {
		return nil, nil, &usageError{"--http.config.file: " + err.Error(), fileHint(err, "its format is that of promtool's --http.config.file")}
	}
	return base, client, nil
}

const socketHint = "write it like unix:/run/opstrace-agent/agent.sock"

// socketClient asks through the socket with a path.
func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
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
// without flags; a socket if that is its only address. With --web.config.file, its scheme is not known, nor a password: these
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
	if t.socket != "" {
		return web.SocketPrefix + t.socket
	}
	return t.base
}

// reloadTarget is what the command line of a running agent says about where to
// ask it.
type reloadTarget struct {
	base       string // its address; empty if the agent does not take a plain request
	client     *http.Client
	socket     string // the path of the socket that the client asks through, if it does
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
	port, socket := pickAddress(run.web.listenAddresses)
	if run.web.configFile != "" && socket == "" {
		return t, nil // TLS, or a password that is not ours to know
	}
	prefix := run.web.routePrefix
	if external, err := url.Parse(run.web.externalURL); err == nil && prefix == "" {
		prefix = external.Path
	}
	if port == "" || run.web.configFile != "" {
		t.base, t.client, t.socket = (&url.URL{Scheme: "http", Host: "localhost", Path: "/"}).JoinPath(prefix).String(), socketClient(socket), socket
		return t, nil
	}
	t.base = (&url.URL{Scheme: "http", Host: port, Path: "/"}).JoinPath(prefix).String()
	// No proxy from the environment: the agent is on this host.
	t.client = &http.Client{Transport: &http.Transport{}}
	return t, nil
}

// pickAddress returns the address of a port, and the path of a socket; empty: there is none.
// It prefers a loopback address: only there a reload needs no flag.
func pickAddress(addresses []string) (port, socket string) {
	for _, a := range addresses {
		if path, isSocket := strings.CutPrefix(a, web.SocketPrefix); isSocket {
			socket = cmp.Or(socket, path)
			continue
		}
		host, _, err := net.SplitHostPort(a)
		if err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback()) {
			return a, socket
		}
		port = cmp.Or(port, a)
	}
	if strings.HasPrefix(port, ":") {
		port = "localhost" + port
	}
	return port, socket
}
