# The other compilers: the tests run the real packages, each version in a folder of its own in build. No GPU is needed.
# torch comes without the NVIDIA libraries that it is linked to, 3 GB of which nothing here calls: see
# tests/python/runtimes/stub_libraries.py. The others see that torch, and nothing of each other.

TORCH_TESTED := 2.8.0 2.15.0
# The Triton that each came with.
TRITON_OF_TORCH = $(if $(filter 2.8.0,$(1)),3.4.0,3.9.0)
TORCH_NEEDS := filelock typing_extensions sympy networkx jinja2 fsspec setuptools numpy

TORCH_NEWEST := $(lastword $(TORCH_TESTED))

# Of each runtime the newest that takes no large download.
RUNTIMES_TESTED := flashinfer/0.7.2.post1 tilelang/0.1.15 deep_gemm/0.2.5
RUNTIMES_ALL := $(RUNTIMES_TESTED) flashinfer/0.3.1 tilelang/0.1.8 sglang/0.5.23

# Triton under another name.
TRITON_FORK := tokenspeed_triton/3.9.10.post20261028

# What takes neither a large download nor torch: the oldest and the newest of each.
SMALL_RUNTIMES := numba/0.59.1 numba/0.68.1 jax/0.4.38 jax/0.10.2 warp/1.5.1 warp/1.19.0
DISTRIBUTION = $(if $(filter warp/%,$(1)),warp-lang,$(firstword $(subst /, ,$(1))))==$(lastword $(subst /, ,$(1)))

STUBS := tests/python/runtimes/stub_libraries.py
SITE = lib/python$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_python_version())')/site-packages
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target

.PHONY: test-runtimes test-runtimes-matrix test-runtimes-small

test-runtimes: $(STAMPS)/test $(STAMPS)/jitspan $(STAMPS)/triton build/torch/$(TORCH_NEWEST)/.installed $(RUNTIMES_TESTED:%=build/%/.installed) $(SMALL_RUNTIMES:%=build/%/.installed) build/$(TRITON_FORK)/.installed ## Run the tests of all other runtimes, each in its newest version.
	JITSPAN_TORCH="$(TORCH_NEWEST)" JITSPAN_RUNTIMES="$(RUNTIMES_TESTED)" \
		JITSPAN_SMALL_RUNTIMES="$(SMALL_RUNTIMES)" JITSPAN_TRITON_FORK="$(TRITON_FORK)" $(BIN)/python -m pytest tests/python/runtimes

test-runtimes-matrix: $(STAMPS)/test $(STAMPS)/jitspan $(TORCH_TESTED:%=build/torch/%/.installed) $(RUNTIMES_ALL:%=build/%/.installed) ## The same for the oldest versions too, and for SGLang's load_jit.
	JITSPAN_TORCH="$(TORCH_TESTED)" JITSPAN_RUNTIMES="$(RUNTIMES_ALL)" $(BIN)/python -m pytest tests/python/runtimes

test-runtimes-small: $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan $(SMALL_RUNTIMES:%=build/%/.installed) build/$(TRITON_FORK)/.installed ## Run those of numba, JAX, Warp and Triton's fork, which are installed in a minute.
	JITSPAN_SMALL_RUNTIMES="$(SMALL_RUNTIMES)" JITSPAN_TRITON_FORK="$(TRITON_FORK)" \
		$(BIN)/python -m pytest tests/python/runtimes/test_small.py tests/python/runtimes/test_triton_fork.py

# Only wheels: a source of one of them would want LLVM or CUDA.
$(SMALL_RUNTIMES:%=build/%/.installed): build/%/.installed: $(STAMPS)/venv
	@echo "make: installing $(call DISTRIBUTION,$*)"
	@rm -rf build/$*
	@mkdir -p build/$(*D)
	@$(PYTHON) -m venv --without-pip build/$*
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
		--target build/$*/$(SITE) $(call DISTRIBUTION,$*)
	@touch $@

build/$(TRITON_FORK)/.installed: $(STAMPS)/venv
	@echo "make: installing $(TRITON_FORK), which is large"
	@rm -rf build/$(TRITON_FORK)
	@mkdir -p build/$(TRITON_FORK)/$(SITE)
	$(INSTALL) build/$(TRITON_FORK)/$(SITE) tokenspeed-triton==$(notdir $(TRITON_FORK))
	@touch $@

build/torch/%/.installed: $(STAMPS)/venv
	@echo "make: installing torch $*, which is large"
	@rm -rf build/torch/$*
	@mkdir -p build/torch
	$(PYTHON) -m venv --without-pip build/torch/$*
	$(INSTALL) build/torch/$*/$(SITE) torch==$* triton==$(call TRITON_OF_TORCH,$*) $(TORCH_NEEDS) mpmath markupsafe
	$(PYTHON) $(STUBS) build/torch/$*/stubs build/torch/$*/$(SITE)/torch/lib/*.so*
	@touch $@

build/flashinfer/0.3.1/.installed: $(STAMPS)/venv
	@echo "make: unpacking flashinfer-python 0.3.1, which is published as source"
	@rm -rf build/flashinfer/0.3.1
	@mkdir -p build/flashinfer/0.3.1/$(SITE)
	$(PYTHON) -m pip download --quiet --no-deps --no-build-isolation --no-binary :all: -d build/flashinfer/0.3.1 flashinfer-python==0.3.1 2>/dev/null || true
	tar -xzf build/flashinfer/0.3.1/flashinfer_python-0.3.1.tar.gz -C build/flashinfer/0.3.1
	mv build/flashinfer/0.3.1/flashinfer_python-0.3.1/flashinfer build/flashinfer/0.3.1/$(SITE)
	$(INSTALL) build/flashinfer/0.3.1/$(SITE) $(FLASHINFER_NEEDS)
	@touch $@

FLASHINFER_NEEDS := apache-tvm-ffi filelock tqdm requests urllib3 idna certifi charset_normalizer click tabulate packaging \
	numpy typing_extensions einops nvidia-ml-py ninja

build/flashinfer/%/.installed: $(STAMPS)/venv
	@echo "make: installing flashinfer-python $*"
	@rm -rf build/flashinfer/$*
	@mkdir -p build/flashinfer/$*/$(SITE)
	$(INSTALL) build/flashinfer/$*/$(SITE) flashinfer-python==$* $(FLASHINFER_NEEDS)
	@touch $@

# 0.1.8 works with no newer tvm-ffi.
TVM_FFI_OF_TILELANG = $(if $(filter 0.1.8,$(1)),0.1.8,0.1.12)

build/tilelang/%/.installed: $(STAMPS)/venv
	@echo "make: installing tilelang $*"
	@rm -rf build/tilelang/$*
	@mkdir -p build/tilelang/$*/$(SITE)
	$(INSTALL) build/tilelang/$*/$(SITE) tilelang==$* apache-tvm-ffi==$(call TVM_FFI_OF_TILELANG,$*) z3-solver==4.15.4.0 \
		cloudpickle ml-dtypes psutil tqdm typing_extensions numpy torch_c_dlpack_ext
	@touch $@

build/deep_gemm/%/.installed: $(STAMPS)/venv build/torch/$(TORCH_NEWEST)/.installed
	@echo "make: installing sgl-deep-gemm $*"
	@rm -rf build/deep_gemm/$*
	@mkdir -p build/deep_gemm/$*/$(SITE)
	$(INSTALL) build/deep_gemm/$*/$(SITE) sgl-deep-gemm==$*
	$(PYTHON) $(STUBS) build/deep_gemm/$*/stubs build/torch/$(TORCH_NEWEST)/$(SITE)/torch/lib/*.so* build/deep_gemm/$*/$(SITE)/deep_gemm/_C.so
	@touch $@

build/sglang/%/.installed: $(STAMPS)/venv
	@echo "make: installing sglang $*, which is large"
	@rm -rf build/sglang/$*
	@mkdir -p build/sglang/$*/$(SITE)
	$(INSTALL) build/sglang/$*/$(SITE) sglang==$* apache-tvm-ffi msgspec psutil pyzmq orjson pybase64 pillow einops triton ninja tqdm packaging
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--target build/sglang/$*/$(SITE) ipython aiohttp requests fastapi numpy 2>/dev/null
	@touch $@
