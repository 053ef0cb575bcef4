# The real Collector and Jaeger, from sources pinned by hash (go.sum, Cargo.lock), under build/. Nothing of the system is
# touched. Prometheus, promtool and Chromium are the system's: Debian's packages `prometheus` and `chromium`.

GO ?= go
BUILT := build/bin
# Two CPUs' worth of Go build beside a Rust build needs no more than one at a time.
GO_BUILD := $(GO) build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w'
COLLECTOR_BUILD := otel-config/collector/build
JAEGER_BUILD := otel-config/jaeger/build

.PHONY: backends jaeger slo test-backends test-collector test-collector-long generated check-rules screenshots kafka check-go

backends: $(BUILT)/otelcol $(BUILT)/otelcol-load-balancing $(BUILT)/jaeger build/jaeger-ui/index.html ## Build the Collector and Jaeger with its UI, from pinned sources; some 10 minutes.

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

# slokit is a generator of Sloth's rules that builds with Rust alone; some 4 minutes.
build/slokit/bin/slokit: make/slokit-version | check-rust
	@echo "make: building slokit; it takes some minutes"
	CARGO_TARGET_DIR=build/slokit/target cargo install --quiet --locked --root build/slokit --version =$$(cat $<) slokit
	@rm -rf build/slokit/target
	@touch $@

# The rules only if slo.yaml has changed since.
generated: $(STAMPS)/venv ## Write the dashboard, the registry of names, and the objectives' rules.
	$(BIN)/python otel-config/grafana/generate.py
	$(BIN)/python otel-config/semconv/generate.py
	@$(BIN)/python otel-config/prometheus/generate.py --check 2>/dev/null || { \
		$(MAKE) build/slokit/bin/slokit && $(BIN)/python otel-config/prometheus/generate.py; }

check-rules: build/slokit/bin/slokit $(STAMPS)/venv ## Make the objectives' rules again and compare; builds slokit.
	$(BIN)/python otel-config/prometheus/generate.py --check --again

jaeger: $(BUILT)/jaeger build/jaeger-ui/index.html $(STAMPS)/demo $(STAMPS)/triton $(STAMPS)/jitspan ## Start Jaeger and the demo's server, and print links to the slow requests.
	@$(BIN)/python tools/jaeger.py

SLO_NEEDS := check-prometheus $(BUILT)/jaeger build/jaeger-ui/index.html $(BUILT)/otelcol

# Where something is running that it may send to, only the server is needed.
slo: $(if $(OTEL_EXPORTER_OTLP_ENDPOINT),,$(SLO_NEEDS)) $(STAMPS)/backends $(STAMPS)/demo $(STAMPS)/triton $(STAMPS)/jitspan ## Watch the objective on real traffic: server, Collector, Prometheus, alerts.
	@$(BIN)/python tools/slo.py

test-collector: $(BUILT)/otelcol $(STAMPS)/test $(STAMPS)/jitspan ## Test the exporters, ours and a Rust program's, against the real Collector.
	cargo build --locked -p jitspan-examples --bin rust_jit
	$(BIN)/python -m pytest tests/python/test_collector_real.py tests/python/test_collector_rust.py

test-collector-long: $(BUILT)/otelcol $(STAMPS)/test $(STAMPS)/jitspan ## The same, away for a minute, and 1,000 forks.
	JITSPAN_TEST_FORKS=1000 cargo test --locked --features sdk --test sdk_fork
	JITSPAN_TEST_AWAY=60 JITSPAN_TEST_FORKS=1000 $(BIN)/python -m pytest -rA tests/python/test_collector_real.py \
		-k 'away or fork'

test-backends: backends check-prometheus check-chromium $(STAMPS)/backends $(STAMPS)/triton $(STAMPS)/jitspan ## Test otel-config on the real Collector, Jaeger and Prometheus.
	$(BIN)/python -m pytest tests/backends $(PYTEST_ARGUMENTS)

screenshots: $(BUILT)/jaeger build/jaeger-ui/index.html check-chromium $(STAMPS)/backends $(STAMPS)/triton $(STAMPS)/jitspan ## Take the README's pictures of Jaeger again.
	$(BIN)/python tools/screenshots.py

$(STAMPS)/backends: requirements/test.txt

# A broker for the one test that needs it, from Maven Central; without it that test is skipped, and says so.
build/kafka/lib: otel-config/collector/build/kafka/pom.xml
	@command -v mvn >/dev/null || { echo "make: no mvn here; install maven and a JDK, 17 or newer" >&2; exit 1; }
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$@
	@touch $@

kafka: build/kafka/lib ## Fetch a Kafka broker, with which `make test-backends` tests Kafka too.

.PHONY: check-prometheus check-chromium
check-prometheus check-chromium: check-%:
	@command -v $* >/dev/null || { echo "make: no $* here; on Debian install the package $*" >&2; exit 1; }
