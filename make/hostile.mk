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

# std is not built with the sanitizer, for that needs its source: what std's own locks order is told to the sanitizer by
# tests/sanitizers/thread.txt, or is not seen at all. So a report is looked at, and silence proves less than it seems.
SANITIZER_TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
SANITIZED_TESTS := --lib --test races --test exporter --test broken_answers --test soak --test storm

test-sanitizers: | check-rust ## Run the exporter's and the monitor's Rust tests under ThreadSanitizer and AddressSanitizer.
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0 \
		cargo test --locked --target $(SANITIZER_TARGET) --target-dir target/address $(SANITIZED_TESTS)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" TSAN_OPTIONS="suppressions=$(CURDIR)/tests/sanitizers/thread.txt" \
		cargo test --locked --target $(SANITIZER_TARGET) --target-dir target/thread $(SANITIZED_TESTS)
