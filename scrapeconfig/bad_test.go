package scrapeconfig

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/discovery"
)

type badCase struct{ in, want, hint string }

func TestBad(t *testing.T) {
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	names := discovery.RegisteredConfigNames()
	fill := strings.NewReplacer("{dir}", dir, "{discoveries}", strings.Join(names, ", "))
	for _, c := range slices.Concat(badBlocks, badHosts, badRests) {
		if strings.Contains(c.in, "consul") && slices.Contains(names, "consul") {
			continue // The full build.
		}
		_, err := Load([]byte(c.in), "testdata/bad.yml", log.NewNopLogger())
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s\ngot  %v", c.in, err)
			continue
		}
		if want := fill.Replace(c.want); e.Error() != want || e.Hint != c.hint {
			t.Errorf("%s\ngot  %v\nwant %s\ngot hint  %s\nwant hint %s", c.in, err, want, e.Hint, c.hint)
		}
	}
}

var badBlocks = []badCase{
	// the block
	{`opstrace:`,
		"testdata/bad.yml:1: the opstrace block is empty",
		"set at least cluster and tenant, and token_file unless the instance runs without authentication"},
	{`global: {}
opstrace: {}`,
		"testdata/bad.yml:2: tenant is missing in the opstrace block",
		"set tenant: to the name of the tenant, such as default"},
	{`
opstrace: testcluster`,
		"testdata/bad.yml:2: the opstrace block must be a mapping or a list of mappings",
		"set at least cluster and tenant, and token_file unless the instance runs without authentication"},
	{`opstrace: 3`,
		"testdata/bad.yml:1: the opstrace block must be a mapping or a list of mappings",
		"set at least cluster and tenant, and token_file unless the instance runs without authentication"},
	{`opstrace:
  tenant: default`,
		"testdata/bad.yml:1: cluster is missing in the opstrace block",
		"set cluster: to the name of the cluster, or to its domain if that is not below opstrace.io"},
	{`opstrace:
  cluster: testcluster`,
		"testdata/bad.yml:1: tenant is missing in the opstrace block",
		"set tenant: to the name of the tenant, such as default"},
	{`opstrace:
- cluster: c
  tenant: a
- cluster: c
  tenent: b`,
		"testdata/bad.yml:5: unknown field \"tenent\" in the opstrace block",
		"did you mean tenant?"},
	{`opstrace:
- cluster: c
  tenant: a
- cluster: c
  tenant: b
-`,
		"testdata/bad.yml:6: empty entry in the opstrace block",
		"set cluster and tenant, or remove the entry"},
	{`opstrace:
- cluster: c
  tenant: a
- foo`,
		"testdata/bad.yml:4: cannot unmarshal !!str `foo` into an entry of the opstrace block",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  passphrase: x`,
		"testdata/bad.yml:4: unknown field \"passphrase\" in the opstrace block",
		"the block takes cluster, tenant, token_file and every field of a remote_write entry"},
	{`opstrace:
  tenant: t
  url: mimir:9009/api/v1/push`,
		"testdata/bad.yml:3: url \"mimir:9009/api/v1/push\" is not one of http or https",
		"write https://mimir:9009/api/v1/push, or http:// for an endpoint without TLS"},
	{`opstrace:
  cluster: testcluster
  tenant: Default`,
		"testdata/bad.yml:3: tenant \"Default\" is not a tenant's name",
		"a tenant's name has at most 63 lower-case letters, digits and dashes, and no dash at either end"},
	{`opstrace:
  cluster: testcluster
  tenant: a.b`,
		"testdata/bad.yml:3: tenant \"a.b\" is not a tenant's name",
		"a tenant's name has at most 63 lower-case letters, digits and dashes, and no dash at either end"},
	{`opstrace:
  cluster: testcluster
  tenant: [a]`,
		"testdata/bad.yml:3: cannot unmarshal !!seq into string",
		manual},
	{`opstrace:
  tenant: default
  cluster: https://testcluster.opstrace.io`,
		"testdata/bad.yml:3: cluster \"https://testcluster.opstrace.io\" is not a cluster's name or domain",
		"give the name or domain alone, without scheme, port and path; for an endpoint with another address, set url:"},
	{`opstrace:
  tenant: default
  cluster: testcluster.opstrace.io:443`,
		"testdata/bad.yml:3: cluster \"testcluster.opstrace.io:443\" is not a cluster's name or domain",
		"give the name or domain alone, without scheme, port and path; for an endpoint with another address, set url:"},
	{`opstrace:
  tenant: default
  cluster: 10.0.0.1`,
		"testdata/bad.yml:3: cluster \"10.0.0.1\" is an address, not a name",
		"the tenant is part of the endpoint's host name; for an endpoint with another address, set url:"},
	{`opstrace:
  tenant: default
  cluster: under_score`,
		"testdata/bad.yml:3: cluster \"under_score\" is not a cluster's name or domain",
		"give the name or domain alone, without scheme, port and path; for an endpoint with another address, set url:"},
	{`opstrace:
  tenant: default
  cluster: a..b`,
		"testdata/bad.yml:3: cluster \"a..b\" is not a cluster's name or domain",
		"give the name or domain alone, without scheme, port and path; for an endpoint with another address, set url:"},
	{`opstrace:
  cluster: c
  tenant: t
  token_file: f
  basic_auth:
    username: u`,
		"testdata/bad.yml:5: token_file and basic_auth are both set in the opstrace block",
		"keep one of them"},
	{`opstrace:
  cluster: c
  bearer_token_file: g
  tenant: t
  token_file: f`,
		"testdata/bad.yml:3: token_file and bearer_token_file are both set in the opstrace block",
		"keep one of them"},
	{`opstrace:
  cluster: c
  tenant: t
  token_file: f
  sigv4: {region: x}`,
		"testdata/bad.yml:5: token_file and sigv4 are both set in the opstrace block",
		"keep one of them"},
	{`opstrace:
  cluster: c
  tenant: t
  basic_auth: {username: u}
  oauth2: {client_id: a, token_url: http://x}`,
		"testdata/bad.yml:5: at most one of basic_auth, oauth2 & authorization must be configured",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  tls_config:
    insecure_skip_verify: perhaps`,
		"testdata/bad.yml:5: cannot unmarshal !!str `perhaps` into bool",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  tls_config:
    unsafe: true`,
		"testdata/bad.yml:5: field unsafe not found in type config.plain",
		"check its spelling and its indentation; see https://prometheus.io/docs/prometheus/latest/configuration/configuration/"},
	{`opstrace:
  cluster: c
  tenant: t
  queue_config:
    capacity: 0`,
		"testdata/bad.yml:5: remote write queue capacity must be positive",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  queue_config:
    min_shards: 4`,
		"testdata/bad.yml:5: remote write queue min_shards must not be greater than max_shards",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  headers:
    X-A: b
    Authorization: Bearer x`,
		"testdata/bad.yml:6: authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  write_relabel_configs:
  - action: drop
    regex: a
    source_labels: [a]
  - action: drop
    regex: '('
    source_labels: [a]`,
		"testdata/bad.yml:9: error parsing regexp: missing closing ): `^(?s:()$`",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  protobuf_message: x`,
		"testdata/bad.yml:4: invalid protobuf_message value: unknown type for remote write protobuf message x, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  remote_timeout: 5 parsecs`,
		"testdata/bad.yml:4: unknown unit \" parsecs\" in duration \"5 parsecs\"",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  proxy_url: 'http://u:p/w@h'`,
		"testdata/bad.yml:4: parse \"http://xxxxx@h\": invalid port \":p\" after host",
		manual},
	{`opstrace:
  cluster: c
  tenant: t
  tenant: u`,
		"testdata/bad.yml:4: mapping key \"tenant\" already defined at line 3",
		"keep one of them"},
	{`global: {metric_name_validation_scheme: legacy}
opstrace:
  cluster: c
  tenant: t
  write_relabel_configs:
  - target_label: 'a.b'
    replacement: x`,
		"testdata/bad.yml:6: \"a.b\" is invalid 'target_label' for replace action",
		manual},
	{`opstrace:
- cluster: c
  tenant: t
- cluster: d
  tenant: t`,
		"testdata/bad.yml:4: two entries of the opstrace block are named \"opstrace-t\"",
		"remove one; if both are wanted, give one of them a name: of its own"},
	{`opstrace:
  cluster: c
  tenant: t
remote_write:
- name: opstrace-t
  url: http://x`,
		"testdata/bad.yml:1: the name \"opstrace-t\" is taken by another remote_write entry",
		"give each of them a name: of its own"},

	// how the block is written
	{`opstrace:
  cluster: c
  tenant: t
global: {}
opstrace:
  cluster: d
  tenant: t`,
		"testdata/bad.yml:5: opstrace is set a second time (first in line 1)",
		"for several tenants, make opstrace: a list"},
	{`{opstrace: {cluster: c, tenant: t}}`,
		"testdata/bad.yml:1: the opstrace block does not start a line",
		"write `opstrace:` at the start of a line of its own, in block style, and the other sections too"},
	{`? opstrace
: {cluster: c, tenant: t}`,
		"testdata/bad.yml:1: the opstrace block does not start a line",
		"write `opstrace:` at the start of a line of its own, in block style, and the other sections too"},
	{`global: {external_labels: &l {a: b}}
opstrace:
  cluster: c
  tenant: t
  headers: *l`,
		"testdata/bad.yml:5: the opstrace block uses the anchor &l, which lies outside of the block",
		"write the value out in the block: it is read apart from the rest of the file"},
	{`opstrace:
  cluster: c
  tenant: t
  headers: &l {a: b}
global: {external_labels: *l}`,
		"testdata/bad.yml:5: the anchor &l lies inside the opstrace block",
		"write the value out here: the block is read apart from the rest of the file"},
	{`global: {}
---
opstrace: {cluster: c, tenant: t}`,
		"testdata/bad.yml:3: the opstrace block is not in the first YAML document of the file",
		"remove the `---`, `...` or `%` line above it: only the first document is read"},
	{`global: {}
...
opstrace: {cluster: c, tenant: t}`,
		"testdata/bad.yml:3: the opstrace block is not in the first YAML document of the file",
		"remove the `---`, `...` or `%` line above it: only the first document is read"},
	{`global: {}
---
x: [
"opstrace" : {cluster: c, tenant: t}`,
		"testdata/bad.yml:4: the opstrace block is not in the first YAML document of the file",
		"remove the `---`, `...` or `%` line above it: only the first document is read"},
	{`global: {}
%YAML 1.1

  opstrace:
    cluster: c
    tenant: t
`,
		"testdata/bad.yml:4: the opstrace block is not in the first YAML document of the file",
		"remove the `---`, `...` or `%` line above it: only the first document is read"},
	{"global: {}\n...\u2028a: b\nopstrace: {cluster: c, tenant: t}",
		"testdata/bad.yml:4: the opstrace block is not in the first YAML document of the file",
		"remove the `---`, `...` or `%` line above it: only the first document is read"},
	{`opstrace: {cluster: c, tenant: t}
---
global: {}`,
		"testdata/bad.yml:1: the opstrace block cannot be separated from the rest of the file",
		"write `opstrace:` at the start of a line of its own, in block style, and the other sections too"},
	{`global:
  opstrace: {cluster: c, tenant: t}`,
		"testdata/bad.yml:2: field opstrace not found in type config.plain",
		"write `opstrace:` once, at the top level of the file, in UTF-8 and at the start of a line"},
	{`o: &o {opstrace: {cluster: c, tenant: t}}
<<: *o`,
		"testdata/bad.yml:1: field o not found in type config.plain; line 1: field opstrace not found in type config.plain",
		"check its spelling and its indentation; see https://prometheus.io/docs/prometheus/latest/configuration/configuration/"},
}
