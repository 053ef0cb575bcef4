# Tests against the tracing SDKs of others, each in a virtual environment of its own: one process cannot hold two
# versions of opentelemetry-python.

LIVE_SPANS := build/live-spans
LIVE_SPANS_SDKS := oldest newest logfire ddtrace

# What embeds Python is linked with it.
WITH_LIBPYTHON := LD_LIBRARY_PATH="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))'):$$LD_LIBRARY_PATH"

.PHONY: test-live-spans

test-live-spans: $(LIVE_SPANS_SDKS:%=$(LIVE_SPANS)/%/.stamp) $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan ## Run the tests against opentelemetry-python, logfire, ddtrace and Rust hosts.
	cargo clippy --locked -p jitspan-examples --all-targets -- -D warnings
	cargo build --locked -p jitspan-examples
	cargo test --locked --test live_spans
	$(WITH_LIBPYTHON) cargo test --locked -p jitspan-examples
	$(WITH_LIBPYTHON) $(BIN)/python -m pytest tests/live_spans

$(LIVE_SPANS)/%/.stamp: requirements/live-spans-%.txt
	@echo "make: installing $<"
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
