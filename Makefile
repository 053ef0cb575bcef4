# Everything is made in .venv, target and dist. `make demo` and `make test` work on a machine that has Rust and Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
HAS_TORCH := import sys, importlib.util; sys.exit(importlib.util.find_spec("torch") is None)
# A glob that `find` follows, so that a new file is noticed too.
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(wildcard jitspan.pyi README.md) $(shell find src -type f)

.DEFAULT_GOAL := help

# Two pips at work in one virtual environment break it.
.NOTPARALLEL:
.PHONY: fuzz test-fuzz test-model help demo test test-both test-rust test-python lint lint-rust lint-python lint-types stub check-stub clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 24

demo: $(STAMPS)/demo $(STAMPS)/triton $(STAMPS)/jitspan ## Run a server with an unexpected compile and show which request paid for it.
	@$(BIN)/python examples/demo.py

test: lint test-both ## Run all lints and tests that this machine can run.
	@echo
	@echo "make test: all passed. Not covered by it:"
	@$(BIN)/python -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null \
		&& echo "  - launches on the GPU: the tests use the fake one always; \`make demo\` uses the real one" \
		|| echo "  - launches on a GPU: none here, or torch is missing; all compiles were real, the launches were not"
	@echo "  - Triton versions other than $$($(BIN)/python -c 'from importlib.metadata import version; print(version("triton"))'): \`make test-triton\`"
	@echo "  - what has a target of its own: test-cutedsl test-runtimes test-engines test-live-spans test-collector test-backends"
	@echo "    test-hostile test-model test-fuzz test-sanitizers test-ray dist; \`make help\` says what each is"
	@echo "  - tests reported above as ignored or skipped, each with its reason"

lint: lint-rust lint-python lint-types check-stub ## Check format and lints.

lint-rust: | check-rust
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features python,sdk -- -D warnings

lint-python: $(STAMPS)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Over the stub that is committed, and the examples; tests/python/test_stub.py holds the stub against the built module.
lint-types: $(STAMPS)/test
	$(BIN)/mypy
	$(BIN)/pyright

check-stub: $(STAMPS)/build | check-rust
	$(BIN)/python tools/stub.py --check

# At the same time: the Rust tests wait for clocks and sockets, most of theirs is idle. What they say comes at the end.
test-both: $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan | check-rust
	cargo test --locked --features sdk,view --no-run
	@log=$$(mktemp); $(MAKE) --no-print-directory test-rust > $$log 2>&1 & rust=$$!; \
		$(MAKE) --no-print-directory test-python; python=$$?; \
		wait $$rust; rust=$$?; cat $$log; rm -f $$log; \
		[ $$rust -eq 0 ] && [ $$python -eq 0 ]

# Once, with all that needs no PyO3. Nothing behaves otherwise without a feature; that it builds so is the linter's.
test-rust: | check-rust
	cargo test --locked --no-fail-fast --features sdk,view

# Most wait for a process of their own, so there is room for more at a time than cores.
TEST_PROCESSES ?= 3

test-python: $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

stub: $(STAMPS)/build | check-rust ## Write jitspan.pyi from the Rust items.
	$(BIN)/python tools/stub.py

FUZZ_SECONDS ?= 60

fuzz: ## Look for nonsense that breaks a parser, FUZZ_SECONDS (60) for each; needs nightly Rust.
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: no nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make: no cargo-fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	for target in carriers configuration attributes; do \
		mkdir -p fuzz/target/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 || exit 1; \
	done

# The same without looking for new code that an input reaches: needs nothing but stable Rust.
test-fuzz: | check-rust ## Feed the parsers with mutations of the fuzzer's corpus, FUZZ_SECONDS (60) for each.
	JITSPAN_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --locked --test nonsense -- --nocapture

# The flag is for our crate alone, so that nothing else is built again; cargo says where the tests are.
test-model: | check-rust $(STAMPS)/venv ## Try every order in which the exporter's threads can take their steps (loom).
	@set -e; tests=$$(cargo rustc --locked --lib --profile test --message-format json-render-diagnostics \
		-- --cfg jitspan_loom -C opt-level=2 -A dead_code -A unused_imports \
		| $(BIN)/python -c 'import json, sys; print([json.loads(line).get("executable") for line in sys.stdin][-2])'); \
	$$tests pipe::model:: installed::model::

clean: ## Remove everything that was made here.
	rm -rf $(VENV) build dist target fuzz/target .pytest_cache .ruff_cache

# The wheel for tests and the demo is a debug build: it is made in half the time, and checks for overflows.
$(STAMPS)/jitspan: $(SOURCES) $(STAMPS)/build | check-rust
	@echo "make: building jitspan; the first time takes some minutes"
	@rm -rf dist/debug
	$(BIN)/maturin build --locked --out dist/debug
	$(BIN)/pip install --quiet --force-reinstall --no-deps dist/debug/*.whl
	@touch $@

# requirements/build.txt, demo.txt and test.txt.
$(STAMPS)/%: requirements/%.txt $(STAMPS)/venv
	@echo "make: installing requirements/$*.txt"
	$(BIN)/pip install --quiet -r $<
	@touch $@

$(STAMPS)/test: requirements/demo.txt

# torch works with one version of Triton, which came with it: that one is kept.
$(STAMPS)/triton: requirements/triton.txt $(STAMPS)/venv
	@if $(BIN)/python -c '$(HAS_TORCH)'; then \
		echo "make: using torch and its Triton, which $(PYTHON) has"; \
	else \
		echo "make: installing requirements/triton.txt, which is large"; \
		$(BIN)/pip install --quiet -r $<; \
	fi
	@touch $@

$(STAMPS)/venv:
	@command -v $(PYTHON) >/dev/null \
		|| { echo "make: no $(PYTHON) here; install Python 3.10 or newer, or say PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1); jitspan needs Python 3.10 or newer: PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) cannot make virtual environments; on Debian install python3-venv" >&2; exit 1; }
	@echo "make: making a virtual environment in $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	$(PYTHON) -m venv $$($(PYTHON) -c '$(HAS_TORCH)' && echo --system-site-packages) $(VENV)
	@$(BIN)/pip config --site set global.disable-pip-version-check true >/dev/null
	@mkdir -p $(STAMPS)
	@touch $@

include make/backends.mk make/bench.mk make/cutedsl.mk make/dist.mk make/docs.mk make/engines.mk make/examples.mk make/hostile.mk make/live-spans.mk make/runtimes.mk make/triton.mk

.PHONY: check-rust
check-rust:
	@command -v cargo >/dev/null || { echo "make: no cargo here; install Rust 1.88 or newer (https://rustup.rs)" >&2; exit 1; }
