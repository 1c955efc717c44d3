# Go builds everything into .run. The versions are in go.mod and in the go.mod files below test/cluster and test/tools.
# Debian packages are needed only for real nodes and for building images.

SHELL := /bin/bash -o pipefail
BIN := .run/bin
PARTS := .run/machine
MODULES := . $(patsubst %/go.mod,%,$(wildcard test/cluster/go.mod test/cluster/*/go.mod)) test/tools test/tools/lint
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

# The versions of Kubernetes that the control plane can have. .run/bin has the newest, .run/bin/k8s-VERSION another one.
NEWEST := $(shell sed -nE 's/.*k8s.io\/kubernetes v(1\.[0-9]+)\..*/\1/p' test/cluster/go.mod)
OLDER := $(patsubst test/cluster/%/go.mod,%,$(wildcard test/cluster/1.*/go.mod))
CLUSTER := $(BIN)/$(if $(filter-out $(NEWEST),$(K8S)),k8s-$(K8S)/).cluster

# The shape of a new system of `make up`. A running system keeps its shape.
SHAPE = $(if $(LOCAL_NODES),--local-nodes=$(LOCAL_NODES)) $(if $(LOCAL_CPU),--local-cpu=$(LOCAL_CPU)) \
	$(if $(LOCAL_MEMORY),--local-memory=$(LOCAL_MEMORY)) $(if $(VIRTUAL_NODES),--virtual-nodes=$(VIRTUAL_NODES)) \
	$(if $(VIRTUAL_ZONES),--virtual-zones=$(VIRTUAL_ZONES)) $(if $(TOPOLOGY),--topology=$(TOPOLOGY)) \
	$(if $(HA),--ha=$(HA)) $(KUBERNETES)
KUBERNETES = $(if $(K8S),--kubernetes=$(K8S))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make up takes LOCAL_NODES (3), LOCAL_CPU (4), LOCAL_MEMORY (8Gi), VIRTUAL_NODES (1), VIRTUAL_ZONES"
	@echo "  (a,b: a virtual node in each), HA (1: two of each program) and TOPOLOGY (sidecar,"
	@echo "  own-scheduler or service). make demo takes TOPOLOGY too."
	@echo "  make up, demo and prove take K8S, the version of Kubernetes: $(OLDER) or $(NEWEST) (default)."

.PHONY: build
build: programs $(BIN)/helm ## Build the programs and the control plane for the tests

# What a trial system runs, and no more: only tests need Helm. Programs link faster without debug information.
.PHONY: programs
programs: $(CLUSTER) $(BIN)/.kwok
	@echo "Building Spillway: some minutes the first time"
	@go build -ldflags '-s -w' -o $(BIN)/ \
		./extender ./admission ./vnode ./proxy ./test/ccisim/cmd/ccisim ./test/forwarder ./test/trial
	@go build -ldflags '-s -w' -o $(BIN)/kubectl-spillway ./cli

$(BIN)/.cluster: test/cluster/build.sh $(wildcard test/cluster/go.*)
	@test/cluster/build.sh $(BIN) $(NEWEST)

$(BIN)/k8s-%/.cluster: test/cluster/build.sh $(wildcard test/cluster/1.*/go.*)
	@test/cluster/build.sh $(BIN) $*

$(BIN)/.kwok: test/cluster/build.sh $(wildcard test/cluster/kwok/go.*)
	@test/cluster/build.sh $(BIN) kwok

$(BIN)/helm: test/tools/go.mod
	@echo "Building Helm: about 2 minutes on 2 cores the first time"
	@go build -modfile=test/tools/go.mod -trimpath -ldflags '-s -w' -o $(BIN)/ helm.sh/helm/v3/cmd/helm
	@touch $@

.PHONY: generate
generate: charts ## Generate the reference pages
	@go run ./test/reference

.PHONY: charts
charts:
	@go tool -modfile=test/tools/go.mod helm-docs --log-level=warning --chart-search-root charts \
		--template-files README.md.gotmpl --sort-values-order file

.PHONY: up
up: programs ## Start a trial system in the background, or restart its processes that have ended
	@$(BIN)/trial up $(SHAPE)

.PHONY: down
down: ## Stop the trial system and delete its state
	@if [ -x $(BIN)/trial ]; then $(BIN)/trial down; else echo "No trial system was started."; fi

.PHONY: demo
demo: programs ## Run the stories of Spillway on a new system, and stop it
	@$(BIN)/trial demo $(KUBERNETES) $(if $(TOPOLOGY),--topology=$(TOPOLOGY))

.PHONY: doctor
doctor: ## Run vnode doctor against the simulated cloud: a good one and five bad ones
	@go run ./test/doctor

# Some tests wait most of the time, so more of them run at once than there are processors.
.PHONY: test-unit
test-unit: compiler browser ## Run the tests that need no control plane
	@go test -race -vet=off -p 4 $$(test/packages.sh unit)

# Undocumented behavior of the cloud is a policy of the simulated one. Each of them is flipped alone, and all together.
# POLICY_SETS is what `make test` plays: all, and what it hides.
UNPUBLISHED := events+persistentvolumes+persistentvolumeclaims+imagesnapshots+pods/exec+resourcequotas
POLICY_SETS := all,events=watch,unpublished=$(UNPUBLISHED)

.PHONY: policies
policies: build compiler ## Run the tests of vnode under each set of policies of the simulated cloud, or under SETS
	@go build -o $(BIN)/ ./test/policies
	@go test -race -vet=off -p 4 -timeout 2h -exec "$(abspath $(BIN))/policies $(if $(SETS),--sets=$(SETS))" \
		$$(test/packages.sh policies)
	@go test -race -vet=off -p 1 -timeout 6h -exec "$(abspath $(BIN))/policies $(if $(SETS),--sets=$(SETS))" \
		./vnode/integration/...

.PHONY: test-policies
test-policies: compiler
	@go build -o $(BIN)/ ./test/policies
	@go test -race -vet=off -p 4 -timeout 20m -exec "$(abspath $(BIN))/policies --sets=$(POLICY_SETS)" \
		$$(test/packages.sh policies)

.PHONY: test
test: build test-unit test-policies ## Run all tests, from unit to end-to-end
	go test -race -p 3 -parallel 4 $$(test/packages.sh controlplane)
	go test -race -count=1 -p 2 -parallel 3 -timeout 30m ./test/system/... ./test/e2e/... ./test/commands \
		./test/tenants ./test/endure/...
	go test -race -count=1 -timeout 45m ./test/prove
	@$(MAKE) -s test-monitoring test-bench

# Prometheus is a Debian package. Without it, all other tests run.
.PHONY: test-monitoring
test-monitoring: build ## Load alerts and dashboards into a real Prometheus that scrapes a system
	@if test/monitoring/prometheus.sh $(BIN); then go test -race -count=1 -timeout 20m ./test/monitoring; \
		else echo "*** LEFT OUT: ./test/monitoring, because there is no Prometheus ***" >&2; fi

.PHONY: prove
prove: build ## Run random histories with faults, and check the quotas (BUDGET, ROUNDS, SEED, TOPOLOGY, K8S)
	@go build -o $(BIN)/prove ./test/prove
	@$(BIN)/prove $(if $(BUDGET),--budget=$(BUDGET)) $(if $(SEED),--seed=$(SEED)) $(if $(ROUNDS),--rounds=$(ROUNDS)) \
		$(if $(TOPOLOGY),--topology=$(TOPOLOGY)) $(KUBERNETES) $(PROVE)

.PHONY: matrix
matrix: build $(OLDER:%=$(BIN)/k8s-%/.cluster) ## Run all stories and a short proof on each version of Kubernetes
	@go build -o $(BIN)/ ./test/prove ./test/matrix
	@go test -c -o $(BIN)/e2e.test ./test/e2e
	@$(BIN)/matrix --document=docs/compatibility.md $(MATRIX)

.PHONY: endure
endure: build ## Run ROUNDS (200) of workloads, faults and kills against a virtual node, with a SEED
	go test -v -count=1 -timeout 60m ./test/endure -rounds=$(or $(ROUNDS),200) $(if $(SEED),-seed=$(SEED))

.PHONY: bench
bench: build ## Measure the cost of Spillway, and write the figures to docs/benchmarks.md
	@go build -o $(BIN)/bench ./test/bench
	@$(BIN)/bench --document=docs/benchmarks.md --commit=$$(git describe --always --dirty --abbrev=12 || echo unknown)

# Ratios only: they hold on a busy machine too, within wide ranges (test/bench/ranges.yaml).
.PHONY: test-bench
test-bench: build
	@go build -o $(BIN)/bench ./test/bench
	@$(BIN)/bench --dir=.run/test-bench --check --parts=filter,cloud --names=1000 --asks=600 --writes=90 --cloud=500/4

# Images have the version that the chart installs.
VERSION = $(shell sed -n 's/^appVersion: //p' charts/spillway/Chart.yaml)

.PHONY: images
images: ## Build images and SBOMs of the programs for amd64 and arm64 into .run/images, without a daemon
	@command -v buildah >/dev/null || \
		{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends buildah; }
	@charts/images/build.sh .run/images $(VERSION)

.PHONY: plugin
plugin: ## Build archives of kubectl spillway for all platforms, with a manifest for Krew, into .run/plugin
	@cli/krew/build.sh .run/plugin $(VERSION)
	@go test -count=1 ./cli/krew -archives=$(abspath .run/plugin)

$(PARTS)/.nodes: test/cluster/build.sh $(wildcard test/cluster/go.* test/cluster/containerd/go.* test/cluster/coredns/*)
	@test/cluster/build.sh $(PARTS) nodes

.PHONY: e2e-install
e2e-install: build $(PARTS)/.nodes ## Install the charts on real nodes, as root, and run the stories there
	@for file in /usr/bin/buildah /usr/sbin/runc /usr/sbin/nft /usr/lib/cni/bridge; do \
		[ -e $$file ] || missing=yes; done; [ -z "$$missing" ] || \
		{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends \
			buildah runc nftables containernetworking-plugins iproute2; }
	@test/machine/images.sh $(PARTS)/images $(PARTS)
	@ARCHITECTURES=$$(go env GOARCH) charts/images/build.sh $(PARTS)/images $(VERSION)
	go test -v -count=1 -p 1 -timeout 20m ./test/machine ./test/uninstall ./test/ccisim/networks
	go test -v -count=1 -timeout 60m -parallel 12 ./test/services $(if $(IDLE),-args -idle=$(IDLE))
	go test -v -count=1 -timeout 40m ./test/install $(if $(DOCUMENT),-args -document=$(abspath $(DOCUMENT)))

# The race detector needs a C compiler.
.PHONY: compiler
compiler:
	@command -v gcc >/dev/null || \
		{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends gcc libc6-dev; }

# The tests of the dashboard load it in Chromium.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || \
		{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; }

.PHONY: lint
lint: ## Check code, words, module files and generated pages
	@echo "no test may skip"; ! git grep -nE '\b[tb]\.(Skip|SkipNow|Skipf)\(|testing\.Short\(' -- '*.go'
	@echo "words"; go run ./test/words
	@for module in $(MODULES); do echo "go mod tidy: $$module"; (cd $$module && go mod tidy -diff) || exit 1; done
	@echo "generated pages"; $(MAKE) -s generate && git diff --exit-code -- charts/*/README.md docs/reference
	@echo "golangci-lint: takes some minutes to build the first time"
	@go tool -modfile=test/tools/lint/go.mod golangci-lint run ./...
