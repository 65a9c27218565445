# vethtrace: one door. "make" alone tells what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO            ?= go
VERSION       ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS       := -s -w -X main.version=$(VERSION)
BIN           := bin
PKG           ?= ./...
TEST_FLAGS    ?=
TEST_TIMEOUT  ?= 40m
BENCH_FLAGS   ?=
SCALE_FLAGS   ?=
ACCURACY_FLAGS ?=
SOAK_FLAGS    ?=
MODES_FLAGS   ?=
KERNEL        ?=
VM_FLAGS      ?=
CLANG_VERSION := 19.1.7
C_FILES        = $(wildcard bpf/*.c bpf/*.h bpf/bpftest/*.c bpf/oracle/*.c bpf/oracle/*.h internal/lab/labbpf/*.c internal/lab/labbpf/*.h bench/benchbpf/*.c bench/benchbpf/*.h bench/peers/peersbpf/*.c)

export CGO_ENABLED := 0
export CLANG_VERSION
export BPF2GO_CC    := clang-19
export BPF2GO_STRIP := llvm-strip-19

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/vethtrace (needs Go only)
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: ## set up and run the demo: bridge and host mode side by side, no Docker needed (root)
	@deploy/setup/demo.sh
	@$(MAKE) --no-print-directory build
	$(BIN)/vethtrace demo

.PHONY: test
test: ## set up, vet, check generated files, run every test (root); PKG=./tracer/... for some
	@deploy/setup/test.sh
	@mkdir -p $(BIN); failed=0; \
	echo '$(GO) vet ./...'; $(GO) vet ./... || failed=1; \
	$(MAKE) --no-print-directory generated-check || failed=1; \
	$(GO) run ./internal/tools/testsum -summary $(BIN)/test-summary -total $(TEST_TIMEOUT) -again 8 -- \
		-count=1 -p=1 -timeout=$(TEST_TIMEOUT) $(TEST_FLAGS) $(PKG) || failed=1; \
	exit $$failed

.PHONY: oracle
oracle: ## ten million numbered packets: is each stamp the right packet's? (root, five to thirty minutes)
	@deploy/setup/test.sh
	VETHTRACE_ORACLE_PACKETS=10000000 $(GO) test -count=1 -v -timeout 2h -run '^TestOracle' ./tracer/

# What needs Prometheus (grafana), clang (vmlinuxh) or Chromium (InABrowser) has no part in it.
.PHONY: race
race: ## run the tests that need no kernel and no other programs under the race detector (needs gcc)
	@packages=$$($(GO) list ./tracer/histogram/... ./tracer/journey/... ./exporter/... ./internal/tools/... | \
		grep -v -e /exporter/grafana -e /tools/vmlinuxh); \
	CGO_ENABLED=1 $(GO) test -race -count=1 -skip InABrowser $$packages

.PHONY: bench
bench: ## measure what tracing costs, against untraced, A/A and other tools (root, a quiet machine); BENCH_FLAGS=-quick for a trial
	@deploy/setup/bench.sh
	$(GO) run ./bench -version '$(VERSION)' $(BENCH_FLAGS)
	$(GO) test -run '^$$' -bench Scrape -benchtime 20x ./exporter/prom ./cmd/vethtrace

.PHONY: scale
scale: build ## measure 1 to 1,000 targets: time, locks, memory, CPU, cost (root, a quiet machine); SCALE_FLAGS=-counts=1,10 for a trial
	$(GO) run ./bench/scale -vethtrace $(BIN)/vethtrace -version '$(VERSION)' $(SCALE_FLAGS)
	@$(MAKE) --no-print-directory docs

.PHONY: modes
modes: build ## measure bridge against host mode by IPv4 and IPv6, and make docs/bridge-vs-host.md of it, about 5 minutes (root, a quiet machine); MODES_FLAGS="-four 30s -six 20s" for a trial
	$(GO) run ./bench/modes -vethtrace $(BIN)/vethtrace $(MODES_FLAGS)
	@$(MAKE) --no-print-directory docs

.PHONY: accuracy
accuracy: ## measure how right the figures are, about 25 minutes (root, a quiet machine); ACCURACY_FLAGS="-continue -limit 4m" for pieces, -again for the blocks that are not right, once more
	@deploy/setup/accuracy.sh
	$(GO) run ./bench/accuracy -version "$(VERSION)" $(ACCURACY_FLAGS)
	$(GO) generate -run "docs/" ./bench/accuracy

.PHONY: soak
soak: build ## ten minutes of the exporter under load, containers starting and stopping: nothing may grow (root); SOAK_FLAGS=-duration=1m for a trial
	@deploy/setup/test.sh
	$(GO) run ./bench/soak -vethtrace $(BIN)/vethtrace $(SOAK_FLAGS)

.PHONY: vm
vm: ## root tests in guests with other kernels, one after the other (QEMU without KVM); KERNEL=6.12 for one, VM_FLAGS=-record for docs/kernels.md
	@deploy/setup/vm.sh
	$(GO) run ./internal/tools/vm -kernels '$(KERNEL)' $(VM_FLAGS)

.PHONY: lint
lint: ## golangci-lint with gofumpt, and clang-format, all pinned
	@deploy/setup/lint.sh
	@lint=$$($(GO) -C internal/tools/lint tool -n golangci-lint) && "$$lint" run ./... && "$$lint" fmt --diff ./...
	@$(if $(C_FILES),clang-format-19 --dry-run --Werror $(C_FILES))

.PHONY: fmt
fmt: ## format Go and C files
	@deploy/setup/lint.sh
	@"$$($(GO) -C internal/tools/lint tool -n golangci-lint)" fmt ./...
	@$(if $(C_FILES),clang-format-19 -i $(C_FILES))

.PHONY: generate
generate: ## make the committed generated files again: kernel objects and bindings, docs (clang-19)
	@deploy/setup/generate.sh
	@$(MAKE) --no-print-directory generate-only

# Without the set-up: for the copy in which generated-check works.
.PHONY: generate-only
generate-only:
	$(GO) generate ./...

.PHONY: docs
docs: ## make only the generated pages of docs/ again
	$(GO) generate -run 'docs/' ./...

.PHONY: dashboards-draw
dashboards-draw: ## draw the dashboards' panels into bin/dashboards, over a feed that moves (prometheus, chromium)
	@mkdir -p $(BIN)/dashboards
	$(GO) run ./exporter/grafana/draw -o $(BIN)/dashboards

.PHONY: vmlinux
vmlinux: ## make vmlinux.h again from bpf/vmlinux.types and the running kernel's BTF
	$(GO) run ./internal/tools/vmlinuxh -o vmlinux.h

.PHONY: vmlinux-check
vmlinux-check: ## check vmlinux.h against bpf/vmlinux.types and the running kernel's BTF
	$(GO) run ./internal/tools/vmlinuxh -o vmlinux.h -check

.PHONY: generated-check
generated-check: ## check that the committed generated files are what their sources give
	@deploy/setup/generate.sh
	@MAKE='$(MAKE)' internal/tools/generated-check.sh

.PHONY: ci-generated-check
ci-generated-check: generated-check ## the same, under the name that CI calls

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
