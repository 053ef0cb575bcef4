# `make test-engines`: the real vLLM, whole, without a GPU, and the source of the releases that we plug into. vLLM takes
# 8 GB and 3 minutes to install; it has a virtual environment of its own, below build/. SGLang's wheel is unpacked beside
# it, without what it requires: vLLM has most of that, and the rest is for GPUs.

ENGINES := build/engines
ENGINES_BIN := $(ENGINES)/venv/bin
ENGINE_RELEASES := vllm==0.20.0 vllm==0.26.0 vllm==0.33.0 sglang==0.5.12 sglang==0.5.23

NEWEST_BIN := $(ENGINES)/newest/venv/bin

.PHONY: test-engines test-engines-known test-engines-newest test-contract screenshot-vllm
test-engines: test-engines-known test-engines-newest ## Run the real vLLM in two releases, and SGLang's scheduler, with jitspan installed (16 GB).

test-engines-known: $(ENGINES)/.vllm $(ENGINES)/.sglang $(ENGINES)/.releases $(ENGINES)/.jitspan
	ENGINE_RELEASES=$(ENGINES)/releases $(ENGINES_BIN)/python -m pytest tests/engines --timeout 2400 --basetemp $(ENGINES)/pytest

# SGLang and the source of releases are read once, above.
test-engines-newest: $(ENGINES)/newest/.vllm $(ENGINES)/newest/.jitspan
	$(NEWEST_BIN)/python -m pytest tests/engines --timeout 2400 --basetemp $(ENGINES)/newest/pytest \
		--ignore tests/engines/test_sglang.py --ignore tests/engines/test_contract.py

# Says which place has moved in a release: make test-contract ENGINE_RELEASES="vllm==0.34.0"
test-contract: $(ENGINES)/.jitspan
	$(ENGINES_BIN)/python tests/engines/releases.py $(ENGINES)/releases $(ENGINE_RELEASES)
	ENGINE_RELEASES=$(ENGINES)/releases $(ENGINES_BIN)/python -m pytest tests/engines/test_contract.py

$(ENGINES)/.vllm: requirements/engines.txt | $(STAMPS)/venv
	@echo "make: installing vLLM, which is large"
	@mkdir -p $(ENGINES)
	@test -x $(ENGINES_BIN)/python || $(PYTHON) -m venv $(ENGINES)/venv
	$(ENGINES_BIN)/pip install --quiet -r $<
	@touch $@

$(ENGINES)/newest/.vllm: requirements/engines-newest.txt | $(STAMPS)/venv
	@echo "make: installing the newest vLLM, which is large"
	@mkdir -p $(ENGINES)/newest
	@test -x $(NEWEST_BIN)/python || $(PYTHON) -m venv $(ENGINES)/newest/venv
	$(NEWEST_BIN)/pip install --quiet -r $<
	@touch $@

$(ENGINES)/newest/.jitspan: $(STAMPS)/jitspan $(ENGINES)/newest/.vllm
	$(NEWEST_BIN)/pip install --quiet --force-reinstall --no-deps dist/debug/*.whl
	@touch $@

$(ENGINES)/.sglang: requirements/engines-sglang.txt | $(ENGINES)/.vllm
	$(ENGINES_BIN)/pip install --quiet --no-deps --upgrade --target $(ENGINES)/sglang -r $<
	@touch $@

$(ENGINES)/.releases: tests/engines/releases.py | $(ENGINES)/.vllm
	$(ENGINES_BIN)/python $< $(ENGINES)/releases $(ENGINE_RELEASES)
	@touch $@

$(ENGINES)/.jitspan: $(STAMPS)/jitspan $(ENGINES)/.vllm
	$(ENGINES_BIN)/pip install --quiet --force-reinstall --no-deps dist/debug/*.whl
	@touch $@

screenshot-vllm: $(BUILT)/jaeger build/jaeger-ui/index.html $(STAMPS)/backends $(ENGINES)/.jitspan ## Take the README's picture of vLLM in Jaeger again.
	$(BIN)/python tools/screenshot_vllm.py
