# Packages, archives, and the tests that need a booted system or another architecture.
# ARCHES and FORMATS choose: make packages ARCHES="amd64 arm64" FORMATS="deb rpm"

ARCHES  ?= amd64 arm64 armv7 armv6 386 riscv64 mipsle
FORMATS ?= deb rpm apk archlinux
DIST    ?= dist

# What a release is compiled with, whatever Go the machine has: the standard
# library in it is what parses the network's answers, and is mended by minor
# releases. The go command gets this one from the module proxy. go.mod says what
# is enough to build for oneself.
TOOLCHAIN := go1.27.3

.PHONY: release packages tarballs sbom checksums binaries
release packages tarballs sbom checksums binaries: export GOTOOLCHAIN := $(TOOLCHAIN)
release checksums: export RELEASE_KEY := $(RELEASE_KEY)
release packages tarballs sbom checksums binaries: export ARCHES := $(ARCHES)
release packages tarballs sbom checksums binaries: export FORMATS := $(FORMATS)
release packages tarballs sbom checksums binaries: export DIST := $(DIST)

release: ## dist/: packages, archives, bills of materials, provenance, checksums, which RELEASE_KEY signs; the same commit gives the same bytes
	packaging/release.sh binaries packages tarballs sbom notes provenance checksums

binaries:
	packaging/release.sh binaries

packages: ## deb, rpm, apk, archlinux
	packaging/release.sh binaries packages

tarballs: ## archives with install.sh, for hosts without a package manager
	packaging/release.sh binaries tarballs

sbom: ## CycloneDX, from what the linker wrote into each binary
	packaging/release.sh binaries sbom

checksums: ## sha256sums.txt of what is in dist/
	packaging/release.sh checksums

.PHONY: repository
repository: export DIST := $(DIST)
repository: ## dist/repository: apt and dnf, static files; REPOSITORY_KEY signs, REPOSITORY_URL is where they will be
	@REPOSITORY_KEY='$(REPOSITORY_KEY)' REPOSITORY_URL='$(REPOSITORY_URL)' packaging/repository.sh

.PHONY: test-systemd
test-systemd: ## the package in booted Debian trees, and what can happen to a service there (needs root)
	packaging/systemd-test/run.sh

.PHONY: test-arch
test-arch: ## scrape, deliver, restart, catch up, on the other architectures, emulated
	packaging/arch-test/run.sh

.PHONY: test-release
test-release: ## releases the last commit twice, in different folders, and compares the bytes
	packaging/reproducible.sh
