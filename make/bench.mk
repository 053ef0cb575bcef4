# `make bench`: what it costs, and compared with what. A release wheel, and those whom we are measured against, in a virtual
# environment of their own.

BENCH := build/bench
BENCH_BIN := $(BENCH)/venv/bin
BENCH_TRITON := 3.6.0 3.9.0
ROWS ?=

.PHONY: bench

bench: $(BENCH)/.jitspan $(BENCH)/.floor $(BENCH_TRITON:%=build/triton/%/triton) ## Measure what it costs beside its peers, and write benches/RESULTS.md; some 10 minutes.
	$(BENCH_BIN)/python benches/run.py $(ROWS)

$(BENCH)/.venv: requirements/bench.txt
	@echo "make: installing $<"
	@rm -rf $(BENCH)/venv
	$(PYTHON) -m venv $(BENCH)/venv
	$(BENCH_BIN)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(BENCH)/.jitspan: $(SOURCES) $(BENCH)/.venv $(STAMPS)/build | check-rust
	@echo "make: building jitspan as it is released; it takes some minutes"
	@rm -rf $(BENCH)/dist
	$(BIN)/maturin build --release --out $(BENCH)/dist
	$(BENCH_BIN)/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps $(BENCH)/dist/*.whl
	@touch $@

$(BENCH)/.floor: $(wildcard benches/floor/* benches/floor/src/*) Cargo.lock $(BENCH)/.venv $(STAMPS)/build | check-rust
	@rm -rf $(BENCH)/floor
	$(BIN)/maturin build --release --manifest-path benches/floor/Cargo.toml --out $(BENCH)/floor
	$(BENCH_BIN)/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps $(BENCH)/floor/*.whl
	@touch $@

build/triton/%/triton: | $(STAMPS)/venv
	@echo "make: installing triton $*, which is large"
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) triton==$*
