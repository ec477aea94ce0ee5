package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"
)

// tenant is one entry of the opstrace: block.
type tenant struct {
	Cluster   string `yaml:"cluster"`    // name below opstrace.io, or the whole domain
	Name      string `yaml:"tenant"`     // label in the host name of its endpoint
	TokenFile string `yaml:"token_file"` // read anew when it changes; empty: no authentication

	RemoteWrite config.RemoteWriteConfig `yaml:",inline"`
}

// UnmarshalYAML decodes over the defaults, so that what is set wins, field by
// field also inside queue_config and metadata_config.
func (t *tenant) UnmarshalYAML(unmarshal func(any) error) error {
	type plain tenant
	t.RemoteWrite = constrainedHost()
	return unmarshal((*plain)(t))
}

// constrainedHost returns upstream's defaults, made for a host with little
// memory and an Opstrace endpoint.
func constrainedHost() config.RemoteWriteConfig {
	rw := config.DefaultRemoteWriteConfig
	// A redirect would carry the token to wherever it points.
	rw.HTTPClientConfig.FollowRedirects = false
	// One shard ships tens of thousands of samples a second; more would buffer
	// more, and their order would be unknown.
	rw.QueueConfig.MinShards = 1
	rw.QueueConfig.MaxShards = 1
	// The endpoint refuses more than 1 MiB compressed: over 500 bytes a sample.
	rw.QueueConfig.MaxSamplesPerSend = 2000
	rw.QueueConfig.Capacity = 5000
	rw.QueueConfig.BatchSendDeadline = model.Duration(5 * time.Second)
	// The endpoint limits rates without saying for how long: begin slowly
	// enough for a fleet that comes back at once.
	rw.QueueConfig.MinBackoff = model.Duration(time.Second)
	rw.QueueConfig.MaxBackoff = model.Duration(10 * time.Second)
	rw.QueueConfig.RetryOnRateLimit = true
	// All metadata is sent each time, on a small host a large part of all bytes.
	rw.MetadataConfig.SendInterval = model.Duration(10 * time.Minute)
	return rw
}

// expandOpstrace returns what a document that holds nothing but the block stands
// for. Errors are a *fieldError or upstream's.
func expandOpstrace(text []byte, names model.ValidationScheme) ([]*config.RemoteWriteConfig, error) {
	tenants, err := decodeOpstrace(text)
	if err != nil {
		return nil, err
	}
	var rws []*config.RemoteWriteConfig
	seen := map[string]bool{}
	for i, t := range tenants {
		if t == nil {
			return nil, &fieldError{entry: i, msg: "empty entry in the opstrace block", hint: "set cluster and tenant, or remove the entry"}
		}
		rw, err := t.expand(names)
		if fe, ok := errors.AsType[*fieldError](err); ok {
			fe.entry = i
		}
		if err != nil {
			return nil, err
		}
		if seen[rw.Name] {
			return nil, &fieldError{entry: i, msg: fmt.Sprintf("two entries of the opstrace block are named %q", rw.Name),
				hint: "remove one; if both are wanted, give one of them a name: of its own"}
		}
		seen[rw.Name] = true
		rws = append(rws, rw)
	}
	return rws, nil
}

// decodeOpstrace decodes the block's text, strictly.
func decodeOpstrace(text []byte) ([]*tenant, error) {
	var shape struct {
		Opstrace yaml.Node `yaml:"opstrace"`
	}
	if err := yaml.Unmarshal(text, &shape); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	const hint = "set at least cluster and tenant, and token_file unless the instance runs without authentication"
	switch n := shape.Opstrace; {
	case n.Kind == yaml.SequenceNode && len(n.Content) == 0:
		return nil, nil // none, in so many words
	case n.Kind == yaml.SequenceNode:
		var many struct {
			Opstrace []*tenant `yaml:"opstrace"`
		}
		err := dec.Decode(&many)
		return many.Opstrace, err
	case n.Kind == yaml.MappingNode:
		var one struct {
			Opstrace *tenant `yaml:"opstrace"`
		}
		err := dec.Decode(&one)
		return []*tenant{one.Opstrace}, err
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return nil, &fieldError{msg: "the opstrace block must be a mapping or a list of mappings", hint: hint}
	}
	return nil, &fieldError{msg: "the opstrace block is empty", hint: hint}
}

// expand returns the remote_write entry that t stands for, validated.
func (t *tenant) expand(names model.ValidationScheme) (*config.RemoteWriteConfig, error) {
	if err := t.validate(); err != nil {
		return nil, err
	}
	rw := t.RemoteWrite
	if t.TokenFile != "" {
		rw.HTTPClientConfig.BearerTokenFile = t.TokenFile
	}
	if rw.Name == "" {
		rw.Name = "opstrace-" + t.Name
	}
	if rw.URL == nil {
		rw.URL = &commonconfig.URL{URL: &url.URL{Scheme: "https", Host: t.host(), Path: "/api/v1/push"}}
	}
	decoded := rw
	// Upstream validates an entry only while it decodes one, and does not
	// export the checks. So its decoder runs, on a decoding that hands over
	// what is decoded already.
	err := rw.UnmarshalYAML(func(plain any) error {
		v := reflect.ValueOf(plain).Elem()
		v.Set(reflect.ValueOf(decoded).Convert(v.Type()))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &rw, rw.Validate(names)
}

func (t *tenant) host() string {
	domain := t.Cluster
	if !strings.Contains(domain, ".") {
		domain += ".opstrace.io"
	}
	return "cortex." + t.Name + "." + domain
}

var dnsLabel = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })

// nameHint is the hint for a name that is none.
func nameHint(name, hint string) string {
	if strings.Contains(name, "$") {
		return "write the name here: variables are replaced in global.external_labels only"
	}
	return hint
}

// validate checks what the host name and the authorization are made of.
func (t *tenant) validate() error {
	switch {
	case t.Name == "":
		return &fieldError{msg: "tenant is missing in the opstrace block", hint: "set tenant: to the name of the tenant, such as default"}
	case !dnsLabel().MatchString(t.Name):
		return &fieldError{path: []string{"tenant"}, msg: fmt.Sprintf("tenant %q is not a tenant's name", t.Name),
			hint: nameHint(t.Name, "a tenant's name has at most 63 lower-case letters, digits and dashes, and no dash at either end")}
	}
	if auth := t.otherAuth(); auth != "" && t.TokenFile != "" {
		return &fieldError{path: []string{auth}, msg: "token_file and " + auth + " are both set in the opstrace block", hint: "keep one of them"}
	}
	if t.RemoteWrite.URL != nil {
		return nil // The cluster's name is not used.
	}
	const other = "; for an endpoint with another address, set url:"
	switch {
	case t.Cluster == "":
		return &fieldError{msg: "cluster is missing in the opstrace block",
			hint: "set cluster: to the name of the cluster, or to its domain if that is not below opstrace.io"}
	case net.ParseIP(t.Cluster) != nil:
		return &fieldError{path: []string{"cluster"}, msg: fmt.Sprintf("cluster %q is an address, not a name", t.Cluster),
			hint: "the tenant is part of the endpoint's host name" + other}
	}
	for l := range strings.SplitSeq(t.Cluster, ".") {
		if !dnsLabel().MatchString(l) {
			return &fieldError{path: []string{"cluster"}, msg: fmt.Sprintf("cluster %q is not a cluster's name or domain", t.Cluster),
				hint: nameHint(t.Cluster, "give the name or domain alone, without scheme, port and path"+other)}
		}
	}
	if host := t.host(); len(host) > 253 {
		return &fieldError{path: []string{"cluster"}, msg: fmt.Sprintf("the endpoint's host name has %d characters", len(host)),
			hint: "a host name has at most 253"}
	}
	return nil
}

// otherAuth returns the field of a remote_write entry that authorizes, "" if
// there is none.
func (t *tenant) otherAuth() string {
	rw, http := &t.RemoteWrite, &t.RemoteWrite.HTTPClientConfig
	switch {
	case http.BasicAuth != nil:
		return "basic_auth"
	case http.Authorization != nil:
		return "authorization"
	case http.OAuth2 != nil:
		return "oauth2"
	case http.BearerToken != "":
		return "bearer_token"
	case http.BearerTokenFile != "":
		return "bearer_token_file"
	}
	return cloudLogin(rw)
}
