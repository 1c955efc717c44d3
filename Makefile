# Everything is built with Go alone, into .run. Versions stand in go.mod and in the go.mod files below test/cluster and test/tools. Only what real
# nodes need, and what builds images, comes from Debian.

SHELL := /bin/bash -o pipefail
BIN := .run/bin
PARTS := .run/machine
MODULES := . test/cluster test/cluster/kwok test/cluster/containerd test/tools
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

# What `make up` makes a new system of; a running one keeps its shape.
SHAPE = $(if $(LOCAL_NODES),--local-nodes=$(LOCAL_NODES)) $(if $(LOCAL_CPU),--local-cpu=$(LOCAL_CPU)) \
	$(if $(LOCAL_MEMORY),--local-memory=$(LOCAL_MEMORY)) $(if $(VIRTUAL_NODES),--virtual-nodes=$(VIRTUAL_NODES)) $(if $(TOPOLOGY),--topology=$(TOPOLOGY))

.PHONY: help
help: ## Say what the targets do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make up takes LOCAL_NODES (3), LOCAL_CPU (4), LOCAL_MEMORY (8Gi) and VIRTUAL_NODES (1), and TOPOLOGY (sidecar, or service)."

.PHONY: build
build: $(BIN)/.cluster $(BIN)/helm ## Build the programs, and the control plane they are tried with (minutes, the first time)
	@echo "Building Spillway"
	@go build -o $(BIN)/ ./extender ./admission ./vnode ./test/ccisim/cmd/ccisim ./test/forwarder ./test/trial

$(BIN)/.cluster: test/cluster/build.sh $(wildcard test/cluster/go.* test/cluster/kwok/go.*)
	@test/cluster/build.sh $(BIN)
	@touch $@

$(BIN)/helm: test/tools/go.mod
	@echo "Building Helm: about 2 minutes on 2 cores the first time"
	@go build -modfile=test/tools/go.mod -trimpath -ldflags '-s -w' -o $(BIN)/ helm.sh/helm/v3/cmd/helm
	@touch $@

.PHONY: charts
charts: ## Write the pages of the charts' values
	@go tool -modfile=test/tools/go.mod helm-docs --log-level=warning --chart-search-root charts --template-files README.md.gotmpl --sort-values-order file

.PHONY: up
up: build ## Start a trial system in the background, or what has died of it
	@$(BIN)/trial up $(SHAPE)

.PHONY: down
down: ## Stop the trial system and forget its state
	@if [ -x $(BIN)/trial ]; then $(BIN)/trial down; else echo "Nothing was ever started."; fi

.PHONY: demo
demo: build ## Play the stories of Spillway on a system of their own
	@$(BIN)/trial demo

# What starts programs mostly waits, so more runs at once than there are processors; ./vnode/integration takes longest, and begins.
.PHONY: test
test: build compiler ## Run every test, from unit to end-to-end
	go test -race -p 3 -parallel 4 ./vnode/integration $$(go list ./... | grep -v -e /test/machine -e /test/install -e /test/uninstall -e /test/system -e /test/e2e -e /test/endure -e '/test/prove$$' -e '/vnode/integration$$')
	go test -race -count=1 -p 2 -parallel 3 -timeout 30m ./test/system/... ./test/e2e/... ./test/endure/...
	go test -race -count=1 -timeout 30m ./test/prove

.PHONY: prove
prove: build ## Play random histories with faults, and check that quotas are kept (BUDGET, ROUNDS, SEED, TOPOLOGY; docs/prove.md)
	@go build -o $(BIN)/prove ./test/prove
	@$(BIN)/prove $(if $(BUDGET),--budget=$(BUDGET)) $(if $(SEED),--seed=$(SEED)) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(TOPOLOGY),--topology=$(TOPOLOGY)) $(PROVE)

.PHONY: endure
endure: build ## Wear out a virtual node: ROUNDS (200) of workloads, faults and kills, of a SEED
	go test -v -count=1 -timeout 60m ./test/endure -rounds=$(or $(ROUNDS),200) $(if $(SEED),-seed=$(SEED))

.PHONY: bench
bench: build ## Measure what Spillway costs, and keep the figures in docs/benchmarks.md
	@go build -o $(BIN)/bench ./test/bench
	@$(BIN)/bench --document=docs/benchmarks.md

# Images have the version that the chart installs.
VERSION = $(shell sed -n 's/^appVersion: //p' charts/spillway/Chart.yaml)

.PHONY: images
images: ## Build the images of the programs, for amd64 and arm64, without a daemon, and their bills of materials, into .run/images
	@command -v buildah >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends buildah; }
	@charts/images/build.sh .run/images $(VERSION)

$(PARTS)/.nodes: test/cluster/build.sh $(wildcard test/cluster/go.* test/cluster/containerd/go.*)
	@test/cluster/build.sh $(PARTS) nodes
	@touch $@

.PHONY: e2e-install
e2e-install: build $(PARTS)/.nodes ## Install the charts on a cluster with real nodes, as root, and play the stories there (DOCUMENT=docs/benchmarks.md keeps the figures)
	@for file in /usr/bin/buildah /usr/sbin/runc /usr/sbin/nft /usr/lib/cni/bridge; do [ -e $$file ] || missing=yes; done; [ -z "$$missing" ] || \
		{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends buildah runc nftables containernetworking-plugins iproute2; }
	@test/machine/images.sh $(PARTS)/images $(PARTS)
	@ARCHITECTURES=$$(go env GOARCH) charts/images/build.sh $(PARTS)/images $(VERSION)
	go test -v -count=1 -p 1 -timeout 20m ./test/machine ./test/uninstall
	go test -v -count=1 -timeout 40m ./test/install $(if $(DOCUMENT),-args -document=$(abspath $(DOCUMENT)))

# The race detector needs a C compiler.
.PHONY: compiler
compiler:
	@command -v gcc >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends gcc libc6-dev; }

.PHONY: lint
lint: ## Check the form of the code, and that the module files are complete
	@echo "gofmt"; files=$$(gofmt -l .) && [ -z "$$files" ] || { echo "not formatted: $$files"; exit 1; }
	@echo "no test may skip"; ! git grep -nE '\b[tb]\.(Skip|SkipNow|Skipf)\(|testing\.Short\(' -- '*.go'
	@for module in $(MODULES); do echo "go mod tidy: $$module"; (cd $$module && go mod tidy -diff) || exit 1; done
	@echo "the pages of the charts"; $(MAKE) -s charts && git diff --exit-code -- charts/*/README.md
	@echo "go vet"; go vet ./...
	@echo "staticcheck"; go tool -modfile=test/tools/go.mod staticcheck ./...
