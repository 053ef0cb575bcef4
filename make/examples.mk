# Examples that need more than `make test` installs.

.PHONY: test-ray
test-ray: build/ray/.installed $(STAMPS)/test $(STAMPS)/jitspan ## Run examples/ray_serve.py in Ray Serve, on a cluster of this machine alone.
	build/ray/bin/pip install --quiet --force-reinstall --no-deps dist/debug/*.whl
	$(BIN)/python -m pytest tests/examples

build/ray/.installed: requirements/ray.txt requirements/demo.txt requirements/triton.txt | $(STAMPS)/venv
	@echo "make: installing Ray, which is large"
	@test -x build/ray/bin/python || $(PYTHON) -m venv build/ray
	build/ray/bin/pip install --quiet -r $<
	@touch $@
