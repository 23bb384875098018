# The front door. `make demo` shows the main job, `make test` proves it, `make lint` is what a reviewer would say first.
SHELL := /bin/bash
.DELETE_ON_ERROR:

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kn-agent-lab
TARGET ?= $(CACHE)/target
export CARGO_TARGET_DIR := $(TARGET)
DENY_VERSION := 0.20.2
# The least that the modules in tests/ ask for, where a toolchain of their own is not fetched.
GO_VERSION := 1.26.6
# Of the demo and the crash table: 1.36 (Debian 13, cri-dockerd) or 1.20 (Debian 12, dockershim).
KUBERNETES ?= 1.36
# Of the demo: docker or containerd.
RUNTIME ?= docker

BINARY := $(TARGET)/release/kn-agent
DEB := $(TARGET)/debian/kn-agent.deb
IMAGE := $(TARGET)/image/kn-agent.tar
export KN_AGENT_DEB := $(DEB)
export KN_AGENT := $(BINARY)
LAB := cargo run --locked --quiet -p kn-agent-tests --bin lab --

.PHONY: all build deb image lab demo bench crash attacks approver-bench differential test test-programs test-long test-jobs test-machine test-matrix test-versions lint audit fmt toolchain lab-toolchain root help

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

all: build

toolchain:
	@command -v cargo >/dev/null || { echo "make: Rust is missing; install rustup as its site says, rust-toolchain.toml chooses the version" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing; on Debian: apt-get install gcc" >&2; exit 1; }

lab-toolchain: toolchain
	@command -v go >/dev/null || { echo "make: Go $(GO_VERSION) or later is missing; it builds the test cluster: see its site's download page" >&2; exit 1; }
	@printf '%s\n' "$(GO_VERSION)" "$$(go env GOVERSION | sed 's/^go//')" | sort -CV || { echo "make: Go is $$(go env GOVERSION), the test cluster needs $(GO_VERSION) or later: see its site's download page" >&2; exit 1; }

root: lab-toolchain
	@[ "$$(id -u)" = 0 ] || { echo "make: the lab boots machines and makes networks: run this as root (sudo -i)" >&2; exit 1; }

build: toolchain ## The binary as it ships
	@[ -e $(BINARY) ] || echo "make: compiling kn-agent: some five minutes, the last ones without a word"
	cargo build --locked --release -p kn-agent

deb: build ## The Debian package
	packaging/deb/build $(BINARY) $(DEB)

image: build ## The approver's container image, as a tar for `docker load` and `ctr images import`
	packaging/image/build $(BINARY) $(IMAGE)

# Compiled for itself, so that whoever waits for it sees what for.
lab: lab-toolchain
	cargo build --locked -p kn-agent-tests --bin lab

demo: root deb lab ## A throw-away node from "package installed" to Ready, watched (root; KUBERNETES=1.20, RUNTIME=containerd, KEEP=1 leaves it up)
	$(LAB) demo --kubernetes $(KUBERNETES) --runtime $(RUNTIME)

bench: root deb lab ## Speed and size against the least there could be; the figures go to docs/evidence (root, 30 minutes)
	$(LAB) bench

crash: root deb lab ## kill -9 before, within and after each step of a join; the table goes to docs/evidence (root, 12 minutes)
	$(LAB) crash --evidence docs/evidence/crash-$(KUBERNETES).md --kubernetes $(KUBERNETES)

differential: lab-toolchain ## The approver and the label rule against Kubernetes' own code, 120,000 requests; the table goes to docs/evidence (2 minutes)
	KN_AGENT_LAB_DIFFERENTIAL=$(CURDIR)/docs/evidence/differential.md cargo test --locked -p kn-agent-tests --test differential

attacks: root build lab ## Attacks on the approver, on both versions; the table goes to docs/evidence (root, 20 minutes)
	$(LAB) attacks

# Not the debug build: the sender of requests must not be what is measured.
approver-bench: root build ## The approver's speed, on both versions; the figures go to docs/evidence (root, 10 minutes)
	cargo run --locked --quiet --profile lab -p kn-agent-tests --bin lab -- approver-bench

test-matrix: root deb lab ## Every node: runtimes × Debian 12, 13 × kube-proxy's modes; with ONLY=TEXT just those cells, else the versions' data against kubelets 1.20 to 1.36 too; to docs/evidence (root; 15 minutes, builds 35 once)
	[ -n "$(ONLY)" ] || $(MAKE) --no-print-directory test-versions
	$(LAB) matrix --only "$(ONLY)"

test-versions: lab-toolchain # The versions' data, and what is written for each, against kubelets and kube-proxies 1.20, 1.24, 1.28, 1.32 and 1.36
	KN_AGENT_LAB_MATRIX=$(CURDIR)/docs/evidence/versions.md cargo test --locked -p kn-agent-tests --test versions

test-jobs: root lab-toolchain # 1,000 starts of a unit on each systemd, while it reads its unit files without a pause; the record goes to docs/evidence (root, 10 minutes)
	KN_AGENT_LAB_JOBS=$(CURDIR)/docs/evidence/jobs.md cargo test --locked -p kn-agent-tests --test scenarios -- jobs::

test-machine: root deb ## A whole emulated machine: cgroup v2 under both drivers, kube-proxy's ipvs; the record goes to docs/evidence (root, 6 minutes)
	KN_AGENT_LAB_MACHINE=$(CURDIR)/docs/evidence/machine.md cargo test --locked -p kn-agent-tests --test scenarios -- machine::

# The program as it ships is linked on one processor, for minutes: the tests are compiled beside that.
# A failure is told by its chain of causes; the backtraces of a test that failed would hide it.
test: export RUST_LIB_BACKTRACE := 0
test: root ## Every test, in the lab too (root)
	$(MAKE) --no-print-directory -j2 deb test-programs
	cargo test --locked --workspace -- --test-threads=6

test-programs: toolchain
	cargo test --locked --workspace --no-run

test-long: root deb lab ## The API server away for 2 minutes; certificates that live for minutes, renewed 10 times in a row and more, on both versions; the figures go to docs/evidence (root, 1 hour)
	LONG=1 cargo test --locked -p kn-agent-tests --test scenarios -- bad_world:: requests::
	$(LAB) rotation

lint: toolchain ## Formatting, clippy, dependencies, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	@cargo deny --version 2>/dev/null | grep -q ' $(DENY_VERSION)$$' || cargo install --locked --quiet cargo-deny@$(DENY_VERSION)
	cargo deny --log-level error check bans licenses sources

audit: ## Known vulnerabilities in dependencies (needs the internet)
	cargo deny check advisories

fmt: ## Formats
	cargo fmt --all
