# The other compilers: the tests run the real packages, each version in an environment of its own in build. No GPU is
# needed. torch comes without the NVIDIA libraries that it is linked to, 3 GB of which nothing here calls: see
# tests/python/runtimes/stub_libraries.py.

TORCH_TESTED := 2.8.0 2.15.0
TORCH_NEEDS := filelock typing_extensions sympy networkx jinja2 fsspec setuptools numpy

.PHONY: test-runtimes

test-runtimes: $(STAMPS)/test $(STAMPS)/jitspan $(TORCH_TESTED:%=build/torch/%/.installed) ## Run the tests of the other compilers: torch.compile, oldest and newest version.
	JITSPAN_TORCH="$(TORCH_TESTED)" $(BIN)/python -m pytest tests/python/runtimes

build/torch/%/.installed: $(STAMPS)/venv
	@echo "make: installing torch $*, which is large"
	@rm -rf build/torch/$*
	@mkdir -p build/torch
	$(PYTHON) -m venv build/torch/$*
	build/torch/$*/bin/pip install --quiet --disable-pip-version-check --no-deps torch==$*
	build/torch/$*/bin/pip install --quiet --disable-pip-version-check $(TORCH_NEEDS) 2>/dev/null
	$(PYTHON) tests/python/runtimes/stub_libraries.py \
		$$(build/torch/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') build/torch/$*/stubs
	@touch $@
