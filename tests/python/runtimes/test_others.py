"""FlashInfer, SGLang's `load_jit`, TileLang and DeepGEMM, version by version: each build once, nothing else, and the
user's calls do what they did.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.truth import BUILD, Place, check, site_packages

# `flashinfer/0.7.2 tilelang/0.1.15 ...`: folders of `build`, which `make` has installed.
INSTALLED = os.environ.get("JITSPAN_RUNTIMES", "").split()

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the runtimes: run `make test-runtimes`"),
    pytest.mark.timeout(600),
]


def place(package: str, folder: Path, libraries: Callable[[Path], list[Path]]) -> Place:
    environment, torch = BUILD / package, BUILD / "torch" / TORCH.get(package, "2.15.0")
    own = site_packages(environment)
    folder.mkdir(parents=True, exist_ok=True)
    return Place(
        torch / "bin" / "python",
        folder,
        path=[own],
        libraries=[*libraries(environment), torch / "stubs"],
        variables={"TILELANG_CACHE_DIR": str(folder / "tilelang")},
    )


# Those that do not work with the newest torch.
TORCH = {"flashinfer/0.3.1": "2.8.0"}

SCRIPTS = {
    "flashinfer": ("flashinfer_truth.py", lambda _: []),
    "sglang": ("sglang_truth.py", lambda _: []),
    "tilelang": ("tilelang_truth.py", lambda environment: [site_packages(environment) / "z3" / "lib"]),
    # The package's own libraries ask more of CUDA than torch does.
    "deep_gemm": ("deep_gemm_truth.py", lambda environment: [environment / "stubs"]),
}


@pytest.mark.parametrize("package", INSTALLED or ["none"])
def test_all_that_happened_is_reported_and_nothing_else(package: str, tmp_path: Path) -> None:
    script, libraries = SCRIPTS[package.partition("/")[0]]
    without = place(package, tmp_path / "without", libraries).run(script, "without")
    check(place(package, tmp_path / "with", libraries).run(script), without)


@pytest.mark.parametrize("package", INSTALLED or ["none"])
def test_error_mode_raises_after_the_build_and_the_next_call_works(package: str, tmp_path: Path) -> None:
    script, libraries = SCRIPTS[package.partition("/")[0]]
    steps = {
        "flashinfer": ("a_module_that_is_nowhere", "a_ninja_run_with_nothing_to_do"),
        "sglang": ("a_module_that_is_nowhere", "a_module_of_the_cache"),
        "tilelang": ("a_kernel_that_is_nowhere", "a_kernel_in_memory"),
        "deep_gemm": ("a_kernel_that_is_nowhere", "a_kernel_in_memory"),
    }[package.partition("/")[0]]
    ran = place(package, tmp_path / "error", libraries).run(script, "error", *steps)
    assert ran.outcomes[steps[0]].startswith("UnexpectedCompileError: ")
    assert "kernel JIT compilation during inference" in ran.outcomes[steps[0]]
    assert ran.spans[steps[0]]["status"]["Error"].startswith(ran.outcomes[steps[0]].partition(": ")[2][:40])
    # It is in the cache, or in memory, and is no error.
    assert "Error" not in ran.outcomes[steps[1]]
    assert {event["event"] for event in ran.reported[steps[1]]} <= {"jit.load"}
