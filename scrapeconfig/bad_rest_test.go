package scrapeconfig

var badRests = []badCase{
	// URLs
	{`remote_write:
- url: http://x
- name: sb
  url: "mimir:9009/api/v1/push"`,
		"testdata/bad.yml:4: url \"mimir:9009/api/v1/push\" is not one of http or https",
		"write https://mimir:9009/api/v1/push, or http:// for an endpoint without TLS"},
	{`remote_write: [{url: cortex.example.org/push}]`,
		"testdata/bad.yml:1: url \"cortex.example.org/push\" is not one of http or https",
		"write https://cortex.example.org/push, or http:// for an endpoint without TLS"},
	{`remote_write: [{url: 'u:s3cret@host/push'}]`,
		"testdata/bad.yml:1: a url in remote_write is not one of http or https",
		"write https:// in front of the host, or http:// for an endpoint without TLS"},
	{`remote_write: [{url: 'ftp://host/push'}]`,
		"testdata/bad.yml:1: url \"ftp://host/push\" is not one of http or https",
		"write https:// in front of the host, or http:// for an endpoint without TLS"},
	{`remote_write: [{url: 'https:///push'}]`,
		"testdata/bad.yml:1: url \"https:///push\" names no host",
		"write it as in https://host/api/v1/push"},
	{`remote_write: [{url: 'https:/mimir/push'}]`,
		"testdata/bad.yml:1: url \"https:/mimir/push\" names no host",
		"write it as in https://host/api/v1/push"},
	{`remote_write: [{url: 'http://?token=s3cret'}]`,
		"testdata/bad.yml:1: a url in remote_write names no host",
		"write https:// in front of the host, or http:// for an endpoint without TLS"},
	{`remote_write:
- url: '10.0.0.1:9009/push'`,
		"testdata/bad.yml:2: parse \"10.0.0.1:9009/push\": first path segment in URL cannot contain colon",
		"write https:// or http:// in front of the host"},
	{`remote_write:
- url: ' https://mimir/push'`,
		"testdata/bad.yml:2: parse \" https://mimir/push\": first path segment in URL cannot contain colon",
		"remove the blank in front of the URL"},
	{`remote_write:
- url: http://x
  proxy_url: proxy:3128`,
		"testdata/bad.yml:3: a proxy_url in remote_write names no host",
		"write it as in http://proxy:3128"},
	{`scrape_configs:
- job_name: a
  http_sd_configs: [{url: 'sd:8080/targets'}]`,
		"testdata/bad.yml:3: URL scheme must be 'http' or 'https'",
		"write https:// or http:// in front of the host"},

	// two mistakes: the line is that of the one which is told
	{`remote_write:
- url: http://x
  tls_config:
    server_name: a
    min_version: TLS1
  protobuf_message: x`,
		"testdata/bad.yml:5: unknown TLS version: TLS1",
		manual},
	{`remote_write:
- url: http://x
  protobuf_message: x
  queue_config:
    capacity: 0`,
		"testdata/bad.yml:3: invalid protobuf_message value: unknown type for remote write protobuf message x, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
		manual},
	{`scrape_configs:
- job_name: c
  static_configs:
  - targets: ["http://x:1/"]
  relabel_configs:
  - action: drop
    source_labels: [a]
  - regex: a
    action: foo`,
		"testdata/bad.yml:9: unknown relabel action \"foo\"",
		manual},

	// lines of the rest
	{`opstrace:
  cluster: c
  tenant: t
global:
  scrape_intervall: 5s`,
		"testdata/bad.yml:5: field scrape_intervall not found in type config.plain",
		"did you mean scrape_interval?"},
	{`global:
  scrape_intervall: 5s
opstrace:
  cluster: c
  tenant: t
foo: bar`,
		"testdata/bad.yml:2: field scrape_intervall not found in type config.plain; line 6: field foo not found in type config.plain",
		"did you mean scrape_interval?"},
	{`opstrace:
  cluster: c
  tenant: t
scrape_configs:
- job_name: a
- scrape_interval: 5s`,
		"testdata/bad.yml:6: job_name is empty",
		manual},
	{`opstrace:
  cluster: c
   tenant: t`,
		"testdata/bad.yml:3: mapping values are not allowed in this context",
		"check the indentation, the colons and the quotes here and in the line above"},

	// discoveries
	{`scrape_configs:
- job_name: a
  consul_sd_configs:
  - server: x`,
		"testdata/bad.yml:3: consul_sd_configs: this build has no consul discovery, only {discoveries}",
		"use the full build, opstrace-agent-full, which has all discoveries of Prometheus"},
	{`scrape_configs:
- job_name: a
  konsul_sd_configs:
  - server: x`,
		"testdata/bad.yml:3: field konsul_sd_configs not found in type config.ScrapeConfig",
		"check its spelling and its indentation; see https://prometheus.io/docs/prometheus/latest/configuration/configuration/"},
	{`alerting:
  alertmanagers:
  - consul_sd_configs:
    - server: x`,
		"testdata/bad.yml:3: field alerting is not allowed in agent mode",
		"an agent sends no alerts; `opstrace-agent init --from FILE` writes a copy without the sections of a server"},

	// server sections
	{`opstrace:
  cluster: c
  tenant: t
rule_files: [a.yml]`,
		"testdata/bad.yml:4: field rule_files is not allowed in agent mode",
		"an agent only scrapes and sends; `opstrace-agent init --from testdata/bad.yml` writes a copy without the sections of a server"},
	{`scrape_configs: []
alerting:
  alertmanagers:
  - static_configs: [{targets: [a:1]}]
remote_read: []`,
		"testdata/bad.yml:2: field alerting is not allowed in agent mode",
		"an agent only scrapes and sends; `opstrace-agent init --from testdata/bad.yml` writes a copy without the sections of a server"},
	{`remote_read:
- url: http://x`,
		"testdata/bad.yml:1: field remote_read is not allowed in agent mode",
		"an agent only scrapes and sends; `opstrace-agent init --from testdata/bad.yml` writes a copy without the sections of a server"},

	// destinations
	{`remote_write:
- url: http://x
- url: http://y
- url: http://x
  queue_config: {capacity: 5}`,
		"testdata/bad.yml:4: two remote_write entries send the same to http://x",
		"remove one; if both are wanted, give each a name:"},
	{`remote_write:
- url: http://x
  name: a
- url: http://y
  name: a`,
		"testdata/bad.yml:5: found multiple remote write configs with job name \"a\"",
		"give each of them a name of its own"},
	{`remote_write:
- name: a`,
		"testdata/bad.yml:2: url for remote_write is empty",
		manual},

	{`remote_write:
- url: http://x
- url: http://y
  convert_nhcb_to_classic: true`,
		"testdata/bad.yml:4: convert_nhcb_to_classic is not supported: of the several series that one sample would become some may be refused, and what became of it could not be counted",
		"send custom buckets as they are, with protobuf_message: io.prometheus.write.v2.Request and send_native_histograms: true, or scrape classic histograms"},
	{`opstrace:
- cluster: c
  tenant: a
- cluster: c
  tenant: b
  convert_nhcb_to_classic: true
remote_write:
- url: http://x`,
		"testdata/bad.yml:6: convert_nhcb_to_classic is not supported: of the several series that one sample would become some may be refused, and what became of it could not be counted",
		"send custom buckets as they are, with protobuf_message: io.prometheus.write.v2.Request and send_native_histograms: true, or scrape classic histograms"},

	// semantics
	{`scrape_configs:
- job_name: a
  relabel_configs:
  - regex: '('`,
		"testdata/bad.yml:4: error parsing regexp: missing closing ): `^(?s:()$`",
		manual},
	{`global:
  scrape_interval: 5s
  scrape_timeout: 10s`,
		"testdata/bad.yml:3: global scrape timeout greater than scrape interval",
		manual},
	{`otlp:
  translation_strategy: x`,
		"testdata/bad.yml:2: unsupported OTLP translation strategy \"x\"",
		manual},
	{`- a
- b`,
		"testdata/bad.yml:1: cannot unmarshal !!seq into config.plain",
		manual},
	{`abc`,
		"testdata/bad.yml:1: cannot unmarshal !!str `abc` into config.plain",
		manual},
	{`alerting:
  alertmanagers:
  - `,
		"testdata/bad.yml:3: invalid section: Prometheus cannot read it: runtime error: invalid memory address or nil pointer dereference",
		manual},

	// syntax
	{"global:\n\tscrape_interval: 5s\n",
		"testdata/bad.yml:2: found character that cannot start any token",
		"indent with spaces: YAML does not allow tabs there"},
	{`scrape_configs:
  - job_name: a
 - job_name: b`,
		"testdata/bad.yml:3: did not find expected key",
		"check the indentation, the colons and the quotes here and in the line above"},
	{`scrape_configs: [
global: {}`,
		"testdata/bad.yml:1: did not find expected ',' or ']'",
		"check the indentation, the colons and the quotes here and in the line above"},
	{`global:
  external_labels: {a: "b}
scrape_configs: []`,
		"testdata/bad.yml:2: found unexpected end of stream",
		"check the indentation, the colons and the quotes here and in the line above"},
	{`a: @x`,
		"testdata/bad.yml:1: found character that cannot start any token",
		"check the indentation, the colons and the quotes here and in the line above"},
	{`global: {}
scrape_configs: *x`,
		"testdata/bad.yml:2: unknown anchor 'x' referenced",
		"define the anchor before it is used"},
	{"global: {}\nscrape_configs:\n- job_name: a\x01b\n",
		"testdata/bad.yml:3: control characters are not allowed",
		"write the file as UTF-8 text"},
	{"global: {}\nscrape_configs:\n- job_name: a\xffb\n",
		"testdata/bad.yml:3: invalid leading UTF-8 octet",
		"write the file as UTF-8 text"},
	{`global:
scrape_interval 5s
runtime: {}`,
		"testdata/bad.yml:2: could not find expected ':'",
		"check the indentation, the colons and the quotes here and in the line above"},

	// included
	{`scrape_config_files: [bad/consul.yml]`,
		"{dir}/testdata/bad/consul.yml:3: consul_sd_configs: this build has no consul discovery, only {discoveries}",
		"use the full build, opstrace-agent-full, which has all discoveries of Prometheus"},
	{`scrape_configs: [{job_name: b}]
scrape_config_files: [bad/twice.yml]`,
		"{dir}/testdata/bad/twice.yml:3: found multiple scrape configs with job name \"b\", first found in main config file",
		"give each of them a name of its own"},
	{`global: {scrape_interval: 1m}
scrape_config_files: [bad/timeout.yml]`,
		"{dir}/testdata/bad/timeout.yml:6: scrape timeout greater than scrape interval for scrape config with job name \"slow\"",
		manual},
	{`scrape_config_files: [bad/block.yml]`,
		"{dir}/testdata/bad/block.yml:1: field opstrace not found in type config.ScrapeConfigs",
		"move the opstrace block into the main configuration file"},
	{`scrape_config_files: [bad/syntax.yml]`,
		"{dir}/testdata/bad/syntax.yml:2: found unexpected end of stream",
		"check the indentation, the colons and the quotes here and in the line above"},
	{`runtime: {}
scrape_config_files: ['bad/[.yml']`,
		"testdata/bad.yml:2: error retrieving scrape config files for \"testdata/bad/[.yml\": syntax error in pattern",
		manual},
}
