# `make` alone lists what one can do.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The version is stamped by name; asking git again would only fail in a
# checkout that belongs to somebody else.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# Tests call programs that a plain user's PATH may lack.
export PATH := $(PATH):/usr/sbin:/sbin

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ARCHES  := amd64 arm64 arm riscv64 ppc64le s390x
PREFIX  ?= /usr/local
FUZZTIME   ?= 10s
TESTFLAGS  ?=
BENCHFLAGS ?=
PERF_FLAGS ?=
VM_FLAGS   ?=

# What the tests call, as command:Debian package.
TOOLS := ip:iproute2 ping:iputils-ping nft:nftables iptables:iptables tcpdump:tcpdump setpriv:util-linux tshark:tshark wg:wireguard-tools

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/weft, static, and bin/flanneld, which is the same program
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/weft ./cmd/weft
	@ln -sfn weft bin/flanneld

.PHONY: check
check: gofmt vet staticcheck arch cross ## everything short of running tests

.PHONY: gofmt
gofmt: ## fail on files that gofmt would change
	@bad=$$(find . -name '*.go' -not -path './.*' -not -path '*/testdata/*' -not -name deps.go -exec gofmt -l {} +); \
	if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck, in the version that go.mod names
	go tool staticcheck ./...

.PHONY: arch
arch: ## the import rules and the shape of the code
	go test -count=1 -run '^TestArchitecture' .

.PHONY: cross
cross: ## compile for every architecture
	@for arch in $(ARCHES); do \
		echo "CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build ./..."; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -o /dev/null ./...; \
	done

# Kernel tests run in network namespaces of their own, so packages do not
# disturb each other; -p 2 keeps their timing honest on small machines.
.PHONY: test
test: test-tools ## all tests; as root those for plain users first, as nobody
	@status=0; \
	if [ "$$(id -u)" = 0 ]; then $(MAKE) test-user || status=$$?; \
	else echo "as a plain user: what needs root is skipped, and listed at the end"; fi; \
	go test -p 2 -json $(TESTFLAGS) ./... | awk -f .ci/summary.awk || status=$$?; \
	exit $$status

.PHONY: test-tools
test-tools:
	@missing=; for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } </dev/null >/dev/null || \
			echo "could not install:$$missing; tests that need them will be skipped"; \
	else echo "not installed:$$missing; tests that need them will be skipped"; fi

# The tests named TestUserNS... show that weft works without root. Root gives
# the compiled tests and bin/weft (as $$WEFT_BIN) to nobody in a folder that he
# can read, and makes /dev/net/tun what it is on ordinary distributions.
.PHONY: test-user
test-user: ## the tests for plain users (TestUserNS...); as root: under nobody
	@dirs=$$({ grep -rl --include='*_test.go' '^func TestUserNS' . || true; } | xargs -r -n1 dirname | sort -u); \
	if [ -z "$$dirs" ]; then echo "no tests named TestUserNS"; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then go test -p 1 -count=1 -json -run '^TestUserNS' $$dirs | awk -f .ci/summary.awk; exit; fi; \
	if ! command -v setpriv >/dev/null; then echo "no setpriv: nothing run as nobody"; exit 0; fi; \
	$(MAKE) build; \
	box=$$(mktemp -d); trap 'rm -rf "$$box"' EXIT; chmod 755 "$$box"; \
	if [ -c /dev/net/tun ]; then chmod 0666 /dev/net/tun; fi; \
	cp -P bin/weft bin/flanneld "$$box"; \
	install -d -o 65534 -g 65534 "$$box/home"; \
	for dir in $$dirs; do \
		echo "as nobody: $$dir"; \
		rm -rf "$$box/run"; mkdir "$$box/run"; \
		go test -c -o "$$box/run/tests" "$$dir"; \
		if [ -d "$$dir/testdata" ]; then cp -r "$$dir/testdata" "$$box/run"; fi; \
		( cd "$$box/run"; setpriv --reuid=65534 --regid=65534 --clear-groups \
			env HOME="$$box/home" TMPDIR="$$box/home" XDG_RUNTIME_DIR="$$box/home" WEFT_BIN="$$box/weft" \
			./tests -test.v=test2json -test.run '^TestUserNS' </dev/null 2>&1 ) | \
			go tool test2json -p "$$dir" | awk -f .ci/summary.awk; \
	done

.PHONY: race
race: test-tools ## all tests under the race detector (slow; needs a C compiler)
	@CGO_ENABLED=1 go test -race -p 2 -json $(TESTFLAGS) ./... | awk -f .ci/summary.awk

# The kernels of Debian 12 and 11, emulated; VM_FLAGS=-help lists what can be
# asked for. They are downloaded once, below the user's cache.
.PHONY: test-vm
test-vm: ## the tests that depend on the kernel, on older kernels in VMs; VM_FLAGS
	@mkdir -p bin
	go build -o bin/testvm ./cmd/testvm && bin/testvm $(VM_FLAGS)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ { name[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, name[i]; n = 0 }' | \
	while read -r pkg name; do \
		echo "$$pkg $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$pkg" </dev/null; \
	done

.PHONY: bench
bench: bench-micro bench-perf ## both kinds of measurement (slow)

.PHONY: bench-micro
bench-micro: ## Go benchmarks, with allocations; BENCHFLAGS
	go test -run '^$$' -bench . -benchmem $(BENCHFLAGS) ./...

.PHONY: bench-perf
bench-perf: build ## the perf harness: labs, medians, tables and plots; PERF_FLAGS
	CGO_ENABLED=0 go build -o bin/wireguard-go golang.zx2c4.com/wireguard
	go build -ldflags '-X main.revision=$(VERSION)' -o bin/perf ./perf && bin/perf $(PERF_FLAGS)

# Two builds each of weft and of the engine's benchmarks: with what a trace
# listens to, and without.
.PHONY: bench-trace
bench-trace: build ## what tracing costs, off and on: six minutes at most; PERF_FLAGS
	CGO_ENABLED=0 go build -trimpath -tags weft_notap -ldflags '-X main.version=$(VERSION)' -o bin/weft-notap ./cmd/weft
	CGO_ENABLED=0 go test -c -o bin/engine.test ./engine
	CGO_ENABLED=0 go test -c -tags weft_notap -o bin/engine-notap.test ./engine
	go build -ldflags '-X main.revision=$(VERSION)' -o bin/perf ./perf && bin/perf -suite trace $(PERF_FLAGS)

.PHONY: demo
demo: build ## two nodes on this machine: ping, a gigabyte, a table
	bin/weft lab demo

.PHONY: install
install: build ## install weft into PREFIX/bin (/usr/local), below DESTDIR
	install -D -m 755 bin/weft $(DESTDIR)$(PREFIX)/bin/weft

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
