.PHONY: test-triton test-triton-matrix test-gpu

# The oldest Triton, the one that vLLM runs with today, and the newest.
test-triton: $(STAMPS)/test $(STAMPS)/jitspan ## Run the Triton tests with three versions of Triton, from 3.0.0 to 3.9.0.
	$(BIN)/python tests/triton_matrix.py 3.0.0 3.6.0 3.9.0

test-triton-matrix: $(STAMPS)/test $(STAMPS)/jitspan ## Run them with all ten, or with TRITON_VERSIONS="3.1.0 3.8.0".
	$(BIN)/python tests/triton_matrix.py

# torch is a large thing to install beside a driver that fits it: the one that $(PYTHON) has is used.
test-gpu: $(STAMPS)/test $(STAMPS)/triton $(STAMPS)/jitspan ## Run what only a GPU can show: needs torch with CUDA in $(PYTHON).
	$(BIN)/python -m pytest tests/gpu
