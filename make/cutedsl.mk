# CuTeDSL: the tests run the real packages, each version in an environment of its own in build/cutedsl. No GPU is needed.

CUTEDSL_TESTED := 4.2.1 4.5.3 4.8.1
CUTEDSL_ALL := 4.2.1 4.3.5 4.4.2 4.5.3 4.6.3 4.7.1 4.8.1
# Versions that are tested with TVM-FFI too.
CUTEDSL_TVM_FFI := 4.5.3 4.6.3 4.7.1 4.8.1
TVM_FFI := apache-tvm-ffi==0.1.15.post2

.PHONY: test-cutedsl test-cutedsl-matrix

test-cutedsl: $(STAMPS)/test $(STAMPS)/jitspan $(CUTEDSL_TESTED:%=build/cutedsl/%/.installed) ## Run the CuTeDSL tests: oldest, 4.5 and newest version.
	JITSPAN_CUTEDSL="$(CUTEDSL_TESTED)" $(BIN)/python -m pytest tests/python/cutedsl

test-cutedsl-matrix: $(STAMPS)/test $(STAMPS)/jitspan $(CUTEDSL_ALL:%=build/cutedsl/%/.installed) ## The same for every version that is supported.
	JITSPAN_CUTEDSL="$(CUTEDSL_ALL)" $(BIN)/python -m pytest tests/python/cutedsl

build/cutedsl/%/.installed: $(STAMPS)/venv
	@echo "make: installing nvidia-cutlass-dsl $*, which is large"
	@rm -rf build/cutedsl/$*
	@mkdir -p build/cutedsl
	$(PYTHON) -m venv build/cutedsl/$*
	build/cutedsl/$*/bin/pip install --quiet --disable-pip-version-check nvidia-cutlass-dsl==$* \
		$(if $(filter $*,$(CUTEDSL_TVM_FFI)),$(TVM_FFI))
	@touch $@
