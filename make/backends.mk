# The real Collector and Jaeger, from sources pinned by hash (go.sum, Cargo.lock), under build/. Nothing of the system is
# touched. Prometheus, promtool and Chromium are the system's: Debian's packages `prometheus` and `chromium`.

GO ?= go
BUILT := build/bin
# Two CPUs' worth of Go build beside a Rust build needs no more than one at a time.
GO_BUILD := $(GO) build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w'
COLLECTOR_BUILD := otel-config/collector/build
JAEGER_BUILD := otel-config/jaeger/build
SLOKIT_VERSION := 1.9.0

.PHONY: backends jaeger test-backends generated check-generated screenshots kafka check-go

backends: $(BUILT)/otelcol $(BUILT)/otelcol-load-balancing $(BUILT)/jaeger build/jaeger-ui/index.html ## Build the Collector and Jaeger with its UI, from pinned sources; some 8 minutes.

$(BUILT)/jaeger: $(JAEGER_BUILD)/go.mod $(JAEGER_BUILD)/go.sum | check-go
	@echo "make: building Jaeger; the first time takes some minutes"
	cd $(JAEGER_BUILD) && $(GO_BUILD) -o $(CURDIR)/$@ github.com/jaegertracing/jaeger/cmd/jaeger

# Jaeger's Go module has no UI in it; this crate carries Jaeger's own, built.
build/jaeger-ui/index.html: $(JAEGER_BUILD)/ui/Cargo.lock | check-rust
	cargo fetch --locked --manifest-path $(JAEGER_BUILD)/ui/Cargo.toml
	@rm -rf $(@D) && mkdir -p $(@D)
	cp -R "$$(cargo metadata --offline --locked --format-version 1 --manifest-path $(JAEGER_BUILD)/ui/Cargo.toml \
		| $(PYTHON) -c 'import json, os, sys; print(next(os.path.dirname(package["manifest_path"]) for package in json.load(sys.stdin)["packages"] if package["name"] == "otlp-embedded"))')/jaeger-ui/build/." $(@D)
	@touch $@

$(BUILT)/otelcol: $(wildcard $(COLLECTOR_BUILD)/collector/*) $(BUILT)/builder
	$(call build_collector,collector)

$(BUILT)/otelcol-load-balancing: $(wildcard $(COLLECTOR_BUILD)/load-balancing/*) $(BUILT)/builder
	$(call build_collector,load-balancing)

# `go.mod` and `go.sum` are ours: left to itself the builder asks for the newest of everything, and for test
# dependencies, which not every module proxy has.
define build_collector
	@echo "make: building $(@F); the first time takes some minutes"
	@rm -rf build/$(@F)-source && mkdir -p build/$(@F)-source
	@cp $(COLLECTOR_BUILD)/$(1)/* build/$(@F)-source/
	cd build/$(@F)-source && $(CURDIR)/$(BUILT)/builder --config manifest.yaml --skip-get-modules --skip-compilation
	@cp $(COLLECTOR_BUILD)/$(1)/go.mod build/$(@F)-source/
	cd build/$(@F)-source && $(GO_BUILD) -o $(CURDIR)/$@ .
endef

$(BUILT)/builder: $(COLLECTOR_BUILD)/builder/go.mod $(COLLECTOR_BUILD)/builder/go.sum | check-go
	cd $(COLLECTOR_BUILD)/builder && $(GO_BUILD) -o $(CURDIR)/$@ go.opentelemetry.io/collector/cmd/builder

check-go:
	@command -v $(GO) >/dev/null || { echo "make: no go here; install Go 1.26 or newer (https://go.dev/dl), or say GO=/path/to/it" >&2; exit 1; }
