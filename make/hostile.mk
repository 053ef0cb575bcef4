# What is hostile to a process with jitspan, bounded to some minutes: a collector that misbehaves, nonsense in the
# environment, and whatever test is marked as hostile. On the oldest and the newest CPython that is supported and here.

PYENV_ROOT ?= $(HOME)/.pyenv
HOSTILE_WANTED := 3.10 3.13
HOSTILE_PYTHONS := $(foreach version,$(HOSTILE_WANTED),$(lastword $(sort $(wildcard $(PYENV_ROOT)/versions/$(version).*/bin/python))))
HOSTILE_MISSING := $(filter-out $(foreach python,$(HOSTILE_PYTHONS),$(filter $(HOSTILE_WANTED),$(basename $(notdir $(patsubst %/bin/python,%,$(python)))))),$(HOSTILE_WANTED))

space := $(subst ,, )

.PHONY: test-hostile test-sanitizers

test-hostile: $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan ## Test what is hostile: a collector that misbehaves, nonsense in the environment, forks, signals.
	@$(if $(HOSTILE_MISSING),echo "make: SKIPPED on CPython $(HOSTILE_MISSING): not in $(PYENV_ROOT)/versions",:)
	$(if $(HOSTILE_PYTHONS),JITSPAN_TEST_PYTHONS="$(subst $(space),:,$(HOSTILE_PYTHONS))" )$(BIN)/python -m pytest -m hostile tests/hostile tests/python

# RUSTC_BOOTSTRAP lets a stable compiler take -Z flags; std is not built with the sanitizer, which needs its source and
# nightly Rust. tests/sanitizers/judge.py says what that means for ThreadSanitizer's reports.
HOST_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZED := --lib --test races --test storm --test exporter --test broken_answers --test soak
SANITIZER := RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
REPORTS := target/sanitize-thread/reports

test-sanitizers: $(STAMPS)/venv | check-rust ## Run the exporter's and the monitor's tests under AddressSanitizer and ThreadSanitizer.
	$(SANITIZER) RUSTFLAGS="-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer" ASAN_OPTIONS=detect_leaks=0 \
		cargo test --locked --target $(HOST_TARGET) --target-dir target/sanitize-address $(SANITIZED)
	@rm -rf $(REPORTS) && mkdir -p $(REPORTS)
	$(SANITIZER) RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg jitspan_sanitized" \
		TSAN_OPTIONS="log_path=$(CURDIR)/$(REPORTS)/report exitcode=0" \
		cargo test --locked --target $(HOST_TARGET) --target-dir target/sanitize-thread $(SANITIZED)
	@$(BIN)/python tests/sanitizers/judge.py $(REPORTS)
