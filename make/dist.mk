# What is released: wheels for Linux on x86-64 and aarch64, and the source distribution, in dist/. RELEASING.md has the rest.

# Linked by zig, so that they load on servers that are older than this machine. Rust's own standard library asks for
# glibc 2.17, which is manylinux2014's: nothing lower can be had.
WHEEL_PLATFORMS := x86_64 aarch64
MANYLINUX := manylinux2014

# Each is a build of its own, with everything optimized: some minutes on two cores.
DIST_JOBS ?= 2

.PHONY: dist wheels sdist test-dist crate deny msrv

dist: wheels sdist test-dist crate ## Build and check the wheels, the source distribution and the crate that are released.
	@ls -l dist/*.whl dist/*.tar.gz

wheels: $(WHEEL_PLATFORMS:%=dist/.wheel-%)

# maturin looks for zig in the Python that it finds first.
dist/.wheel-%: $(SOURCES) $(STAMPS)/dist | check-rust
	@echo "make: building the wheel for $*; it takes some minutes"
	@mkdir -p dist && rm -f dist/*_$*.whl
	@command -v rustup >/dev/null && rustup target add $*-unknown-linux-gnu || true
	PATH="$(CURDIR)/$(BIN):$$PATH" CARGO_BUILD_JOBS=$(DIST_JOBS) $(BIN)/maturin build --release --locked --zig \
		--target $*-unknown-linux-gnu --compatibility $(MANYLINUX) --out dist
	@touch $@

sdist: dist/.sdist

dist/.sdist: $(SOURCES) $(STAMPS)/dist
	@rm -f dist/*.tar.gz
	$(BIN)/maturin sdist --out dist
	@touch $@

$(STAMPS)/dist: requirements/build.txt requirements/test.txt requirements/demo.txt

# `build/aarch64` is a Debian for aarch64 that qemu runs; without qemu, or apt, what needs it is skipped and says so.
test-dist: wheels sdist $(STAMPS)/dist $(STAMPS)/triton ## Test the built wheels: x86-64 on each CPython, aarch64 under qemu, the source distribution.
	@$(BIN)/python tools/aarch64_python.py build/aarch64 || true
	$(BIN)/python -m pytest tests/wheels --timeout 900

# `--no-verify`: the tests have built the same source distribution already.
crate: | check-rust ## Check what would go to the crates' registry: the package, and its documentation without a warning.
	cargo package --locked --no-verify --allow-dirty --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet --features sdk

MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

msrv: ## Build with the oldest Rust that Cargo.toml promises.
	rustup toolchain install --profile minimal $(MSRV)
	cargo +$(MSRV) check --locked --features python,sdk --target-dir target/msrv

# Advisories are looked up in a database that has to be fetched: `cargo deny check advisories`, with a network.
deny: ## Check the licences and the origin of everything that we are built from (cargo-deny).
	@cargo deny --version >/dev/null 2>&1 || { echo "make: no cargo-deny: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check licenses bans sources
