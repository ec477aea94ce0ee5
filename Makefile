# make help lists the targets.

GO    ?= go
comma := ,
BIN   ?= bin
# Only the service discoveries that a VM or an edge device uses: static, file, http and dns.
TAGS  ?= remove_all_sd,enable_dns_sd
# Nor does it have the collectors of the host block for what such a host has not: hardware
# of data centres, other kinds of file systems and daemons.
empty :=
NO_COLLECTORS := $(subst $(empty) ,$(comma),$(addprefix no,bcache bcachefs btrfs dmmultipath drbd ethtool fibrechannel \
	infiniband ipvs logind mountstats nfs nfsd ntp pcidevice perf qdisc runit selinux supervisord systemd tapestats \
	tcpstat wifi xfs zfs))
# What is shipped has no logins of clouds either: packaging/lean/go.work says how and why.
LEAN_WORK := $(CURDIR)/packaging/lean/go.work
LEAN_TAGS := $(TAGS),remove_cloud_logins,$(NO_COLLECTORS)
LEAN_STANDINS := $(patsubst %/go.mod,./%/...,$(wildcard packaging/lean/*/go.mod))
# Where make lint keeps the tools it builds.
OPSTRACE_AGENT_TOOLS ?= $(HOME)/.cache/opstrace-agent-tools
DEMO_FOR ?=
# How make torture goes about it: how long, from which seed (nothing: another one each time)
# or by which schedule, and how long it may look for a shorter one that fails as well.
TORTURE_FOR        ?= 2m
TORTURE_SEED       ?=
TORTURE_SCHEDULE   ?=
TORTURE_SHRINK_FOR ?= 10m
# 1: steps of the clock as well. Only the test binary of cmd/opstrace-agent has one that can be set.
TORTURE_CLOCK      ?=
# The binary of another version, which the directory goes to and comes back from.
TORTURE_OTHER      ?=
# Where make bench-peers and bench-quick write their table and picture.
BENCH_DIR ?= $(BIN)/bench-peers

STATICCHECK_VERSION   := v0.8.2
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.8.0

VERSION  ?= $(shell awk '/^\#\# [0-9]/ { print $$2; exit }' CHANGELOG.md)
REVISION ?= $(shell git rev-parse --verify -q HEAD || echo unknown)
BRANCH   ?= $(shell git symbolic-ref --short -q HEAD || echo unknown)

version_pkg := github.com/prometheus/common/version
# Code that runs at start, at a reload, for a person, a few times a minute or never: not
# inlining in it makes the binary smaller. In the full build most of it is cloud clients.
# What runs for each sample or record does not belong here.
COLD := k8s.io sigs.k8s.io github.com/aws github.com/Azure github.com/AzureAD google.golang.org cloud.google.com \
	github.com/googleapis github.com/fxamacker github.com/miekg golang.org/x/net golang.org/x/oauth2 github.com/gogo \
	github.com/json-iterator github.com/alecthomas go.yaml.in go.uber.org/zap go.opentelemetry.io/otel/exporters \
	github.com/prometheus/prometheus/promql github.com/modern-go github.com/opstrace/opstrace-agent/cmd \
	text/template html/template encoding/json math/big runtime/pprof regexp/syntax crypto/x509 internal/profile \
	github.com/prometheus/exporter-toolkit github.com/prometheus/prometheus/discovery github.com/prometheus/prometheus/config \
	github.com/opstrace/opstrace-agent/scrapeconfig github.com/prometheus/node_exporter github.com/prometheus/procfs \
	github.com/mdlayher github.com/jsimonetti github.com/josharian github.com/open-telemetry github.com/opstrace/opstrace-agent/agent/hostmetrics
GCFLAGS := $(foreach module,$(COLD),-gcflags=$(module)/...=-l)
LDFLAGS := -s -w -X $(version_pkg).Version=$(VERSION) -X $(version_pkg).Revision=$(REVISION) -X $(version_pkg).Branch=$(BRANCH)

# Set whole: what a machine has in GOFLAGS and GOWORK must not choose what is built.
export GOFLAGS := -buildvcs=false -tags=$(TAGS)
export GOWORK := off

.DEFAULT_GOAL := build

.PHONY: build
build: ## bin/opstrace-agent, static
	CGO_ENABLED=0 GOWORK="$(LEAN_WORK)" $(GO) build -tags=$(LEAN_TAGS) -trimpath $(GCFLAGS) -ldflags "$(LDFLAGS)" -o $(BIN)/opstrace-agent ./cmd/opstrace-agent

# What the release is compiled with, too.
.PHONY: gcflags lean-tags
gcflags:
	@echo $(GCFLAGS)
lean-tags:
	@echo $(LEAN_TAGS)

.PHONY: full
full: ## bin/opstrace-agent-full, with all service discoveries and cloud logins of Prometheus
	CGO_ENABLED=0 GOFLAGS=-buildvcs=false $(GO) build -trimpath $(GCFLAGS) -ldflags "$(LDFLAGS)" -o $(BIN)/opstrace-agent-full ./cmd/opstrace-agent

.PHONY: demo
demo: ## an outage and a kill -9 on loopback, without a loss; DEMO_FOR=20s ends it by itself
	@mkdir -p $(BIN)
	@echo "Building; the first time takes a minute or two."
	@$(MAKE) --no-print-directory build demo-programs > $(BIN)/demo-build.log 2>&1 || { cat $(BIN)/demo-build.log >&2; exit 1; }
	@$(BIN)/demo -agent=$(BIN)/opstrace-agent -sandbox=$(BIN)/opstrace-sandbox $(if $(DEMO_FOR),-for=$(DEMO_FOR))

.PHONY: demo-programs
demo-programs:
	CGO_ENABLED=0 $(GO) build -o $(BIN)/opstrace-sandbox ./cmd/opstrace-sandbox
	CGO_ENABLED=0 $(GO) build -o $(BIN)/demo ./.ci/demo

# FLEET_ANSWER is what the endpoint answers in the outage; 0: it refuses connections.
FLEET_AGENTS ?= 200
FLEET_OUTAGE ?= 60s
FLEET_ANSWER ?= 0
.PHONY: fleet
fleet: ## many agents come back to one endpoint with limits after an outage: some three minutes
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -o $(BIN)/fleet ./.ci/fleet
	$(BIN)/fleet -agents=$(FLEET_AGENTS) -outage=$(FLEET_OUTAGE) -answer=$(FLEET_ANSWER)

.PHONY: torture
torture: build ## trouble without end for the binary, judged from outside; TORTURE_FOR=30m TORTURE_SEED=1, or TORTURE_SCHEDULE=FILE
	CGO_ENABLED=0 $(GO) build -o $(BIN)/torture ./.ci/torture
ifdef TORTURE_CLOCK
	CGO_ENABLED=0 $(GO) test -c -o $(BIN)/opstrace-agent-clock ./cmd/opstrace-agent
endif
	$(BIN)/torture $(if $(TORTURE_CLOCK),-clock -agent=$(BIN)/opstrace-agent-clock,-agent=$(BIN)/opstrace-agent) $(if $(TORTURE_OTHER),-other=$(TORTURE_OTHER)) -for=$(TORTURE_FOR) -shrink-for=$(TORTURE_SHRINK_FOR) $(if $(TORTURE_SEED),-seed=$(TORTURE_SEED)) $(if $(TORTURE_SCHEDULE),-schedule=$(TORTURE_SCHEDULE))

.PHONY: test
test: vet ## go vet and all tests
	$(GO) test -timeout=20m -p=$$(($$(nproc) + 1)) -parallel=6 ./... ./.ci/demo ./.ci/bench ./.ci/fleet ./.ci/torture

.PHONY: test-race
test-race: ## all tests under the race detector, which needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -timeout=30m ./... ./.ci/demo ./.ci/bench ./.ci/fleet ./.ci/torture

# FUZZ_FOR is how long each fuzz test runs.
.PHONY: fuzz
fuzz: ## all fuzz tests, one after the other
	TAGS=$(TAGS) .ci/fuzz $(FUZZ_FOR)

# POWER_CUTS is how many of each kind of file system.
POWER_CUTS ?= 500
.PHONY: power-cuts
power-cuts: ## power cuts of a disk that remembers its writes (needs root, /dev/fuse and loop devices)
	OPSTRACE_AGENT_POWER_CUTS=$(POWER_CUTS) $(GO) test -count=1 -timeout=60m -v -run='^TestPowerCuts$$' ./agent

.PHONY: test-browser
test-browser: ## the status page in a headless Chromium; CHROMIUM names one that is not in the path
	$(GO) vet -tags=$(TAGS),browser ./agent/web/browser
	$(GO) test -tags=$(TAGS),browser -count=1 -timeout=5m ./agent/web/browser

.PHONY: vet
vet:
	$(GO) vet ./... ./.ci/demo ./.ci/bench ./.ci/fleet ./.ci/torture
	GOWORK="$(LEAN_WORK)" $(GO) vet -tags=$(LEAN_TAGS) ./scrapeconfig $(LEAN_STANDINS)
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$(find . -name '*.go' -not -path './bin/*' -not -path './dist/*')); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt: $$unformatted" >&2; exit 1; fi

.PHONY: bench
bench: ## bench-go, bench-peers, bench-guest; never at once, whatever -j says
	@$(MAKE) --no-print-directory bench-go
	@$(MAKE) --no-print-directory bench-peers
	@$(MAKE) --no-print-directory bench-guest

.PHONY: bench-go
bench-go: ## Go benchmarks
	$(GO) test -run='^$$' -bench=. -benchmem -timeout=60m ./...

.PHONY: bench-peers
bench-peers: bench-programs ## beside prometheus --agent and vmagent: hours, on a machine with nothing else to do
	$(BIN)/bench -agent=$(BIN)/opstrace-agent -dir=$(BENCH_DIR)

.PHONY: bench-quick
bench-quick: bench-programs ## a part of bench-peers in some five minutes
	$(BIN)/bench -agent=$(BIN)/opstrace-agent -dir=$(BENCH_DIR) -quick

.PHONY: bench-guest
bench-guest: bench-programs ## what is missing in an emulated machine of 128 MB with the agent or a peer in it (needs root)
	$(BIN)/bench -agent=$(BIN)/opstrace-agent -dir=$(BENCH_DIR) -guest

.PHONY: profile
profile: bench-programs ## takes cmd/opstrace-agent/default.pgo anew, by which the agent is optimised: some five minutes
	rm -rf $(BENCH_DIR)/profiles
	$(BIN)/bench -agent=$(BIN)/opstrace-agent -dir=$(BENCH_DIR)/profiles -profiles=$(BENCH_DIR)/profiles
	$(GO) tool pprof -proto -output=cmd/opstrace-agent/default.pgo $(BENCH_DIR)/profiles/*.pprof

.PHONY: bench-programs
bench-programs: build
	CGO_ENABLED=0 $(GO) build -o $(BIN)/bench ./.ci/bench

.PHONY: lint
lint: vet audit staticcheck golangci-lint ## go vet, audit, staticcheck and golangci-lint

.PHONY: staticcheck
staticcheck: $(OPSTRACE_AGENT_TOOLS)/staticcheck-$(STATICCHECK_VERSION)
	$< ./... ./.ci/demo ./.ci/bench ./.ci/fleet ./.ci/torture
	$< -tags=$(TAGS),browser ./agent/web/browser
	GOWORK="$(LEAN_WORK)" $< -tags=$(LEAN_TAGS) ./scrapeconfig $(LEAN_STANDINS)

.PHONY: golangci-lint
golangci-lint: $(OPSTRACE_AGENT_TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
	$< run ./...

# GOVULNDB is https://vuln.go.dev, a mirror of it, or file:///FOLDER.
.PHONY: audit
audit: $(if $(GOVULNDB),$(OPSTRACE_AGENT_TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)) ## modules, toolchain of what is in dist/ and, if GOVULNDB names a database, known vulnerabilities
	$(GO) mod verify
	$(GO) test -run='^TestModulesNotBehindPrometheus$$' ./cmd/opstrace-agent
	@for binary in $(wildcard $(DIST)/build/*/opstrace-agent); do \
	  $(GO) version $$binary; \
	  [ "$$($(GO) version $$binary)" = "$$binary: $(TOOLCHAIN)" ] || { echo "audit: releases are compiled with $(TOOLCHAIN): make release" >&2; exit 1; }; \
	done
ifdef GOVULNDB
	GOTOOLCHAIN=$(TOOLCHAIN) $< -db=$(GOVULNDB) ./cmd/opstrace-agent
else
	@echo "audit: known vulnerabilities were NOT looked up: no GOVULNDB; with a network: make audit GOVULNDB=https://vuln.go.dev"
endif

# $(call install,MODULE,NAME,VERSION) builds a tool once.
define install
	mkdir -p $(OPSTRACE_AGENT_TOOLS)
	GOFLAGS=-buildvcs=false GOBIN=$(OPSTRACE_AGENT_TOOLS)/build $(GO) install $(1)@$(3)
	mv $(OPSTRACE_AGENT_TOOLS)/build/$(2) $@
endef

$(OPSTRACE_AGENT_TOOLS)/staticcheck-$(STATICCHECK_VERSION):
	$(call install,honnef.co/go/tools/cmd/staticcheck,staticcheck,$(STATICCHECK_VERSION))

# It reads sources as the Go version that it was built with, so that is the release's.
$(OPSTRACE_AGENT_TOOLS)/govulncheck-$(GOVULNCHECK_VERSION): export GOTOOLCHAIN = $(TOOLCHAIN)
$(OPSTRACE_AGENT_TOOLS)/govulncheck-$(GOVULNCHECK_VERSION):
	$(call install,golang.org/x/vuln/cmd/govulncheck,govulncheck,$(GOVULNCHECK_VERSION))

$(OPSTRACE_AGENT_TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,golangci-lint,$(GOLANGCI_LINT_VERSION))

.PHONY: clean
clean: ## removes what was built
	rm -rf $(BIN) dist

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include packaging/packaging.mk
