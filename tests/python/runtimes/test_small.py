"""numba, JAX and Warp on the CPU, oldest and newest version: each compile once, nothing else, and the user's calls do
what they did. Small enough to be installed in CI.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runtimes.truth import BUILD, Place, check

# `numba/0.59.1 jax/0.10.2 ...`: folders of `build`, which `make` has installed.
INSTALLED = os.environ.get("JITSPAN_SMALL_RUNTIMES", "").split()

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the runtimes: run `make test-runtimes-small`"),
    pytest.mark.timeout(300),
]

# A step that compiles, and one after it that must go well in error mode.
STEPS = {
    "numba": ("a_function_that_is_nowhere", "a_function_in_memory"),
    "jax": ("a_function_that_is_nowhere", "a_function_in_memory"),
    "warp": ("a_module_that_is_nowhere", "a_module_in_memory"),
}


def place(package: str, folder: Path) -> Place:
    return Place(BUILD / package / "bin" / "python", folder, variables={"JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize("package", INSTALLED or ["none"])
def test_all_that_happened_is_reported_and_nothing_else(package: str, tmp_path: Path) -> None:
    script = f"{package.partition('/')[0]}_truth.py"
    without = place(package, tmp_path / "without").run(script, "without")
    truth = place(package, tmp_path / "with").run(script)
    check(truth, without)
    state, missing = truth.status[package.partition("/")[0]]
    assert (state, missing) == ("hooked", [])


@pytest.mark.parametrize("package", INSTALLED or ["none"])
def test_error_mode_raises_after_the_compile_and_the_next_call_works(package: str, tmp_path: Path) -> None:
    runtime = package.partition("/")[0]
    first, second = STEPS[runtime]
    ran = place(package, tmp_path).run(f"{runtime}_truth.py", "error", first, second)
    assert ran.outcomes[first].startswith("UnexpectedCompileError: ")
    assert "kernel JIT compilation during inference" in ran.outcomes[first]
    assert "Error" in ran.spans[first]["status"]
    # It is in memory, or on disk, and is no error.
    assert "Error" not in ran.outcomes[second]
    assert {event["event"] for event in ran.reported[second]} <= {"jit.load"}
    assert ran.faults() == {}
