"""Real torch, version by version: each compile once, nothing else, and the user's calls do what they did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runtimes.truth import BUILD, Place, check

VERSIONS = os.environ.get("JITSPAN_TORCH", "").split()

pytestmark = [
    pytest.mark.skipif(not VERSIONS, reason="needs torch: run `make test-runtimes`"),
    # A dozen compiles, each with the C++ compiler, twice.
    pytest.mark.timeout(600),
]


def torch(version: str, folder: Path) -> Place:
    environment = BUILD / "torch" / version
    return Place(environment / "bin" / "python", folder, libraries=[environment / "stubs"])


@pytest.fixture(params=VERSIONS or ["none"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return torch(request.param, tmp_path)


def cache(place: Place, name: str) -> dict[str, str]:
    return {"TORCHINDUCTOR_CACHE_DIR": str(place.folder / name), "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def test_all_that_happened_is_reported_and_nothing_else(place: Place) -> None:
    without = place.run("torch_truth.py", "without", **cache(place, "without"))
    check(place.run("torch_truth.py", **cache(place, "with")), without)


def test_an_event_says_what_is_known(place: Place) -> None:
    ran = place.run("torch_truth.py", "a_first_call", "a_graph_that_must_be_whole_and_is_not", **cache(place, "with"))
    [compiled] = ran.attributes["a_first_call"]
    assert compiled["jit.runtime"] == "torch_compile"
    assert compiled["jit.compile.id"] == "0/0"
    assert compiled["jit.options"] == "backend=inductor"
    assert compiled["code.function.name"] == "__main__.scale"
    source = Path(compiled["code.file.path"]).read_text().splitlines()
    assert source[compiled["code.line.number"] - 1 :][:2] == ["@torch.compile", "def scale(x, y):"]
    # Dynamo and Inductor are in it: the whole of what the request waited for.
    assert ran.spans["a_first_call"]["attributes"]["jit.stall.time"] == pytest.approx(compiled["jit.duration"])
    [failed] = ran.attributes["a_graph_that_must_be_whole_and_is_not"]
    assert failed["error.type"] == "torch._dynamo.exc.Unsupported"


def test_a_second_process_loads_what_the_first_one_compiled(place: Place) -> None:
    steps = ["a_first_call", "another_backend"]
    first, second = (place.run("torch_truth.py", *steps, **cache(place, "both")) for _ in range(2))
    names = [[event["event"] for step in steps for event in ran.reported[step]] for ran in (first, second)]
    assert names == [["jit.compile", "jit.compile"], ["jit.load", "jit.compile"]]


def test_error_mode_raises_once_out_of_the_outermost_compile(place: Place) -> None:
    steps = ["a_first_call", "a_call_whose_guards_hold", "a_backend_that_fails", "without_compiling"]
    ran = place.run("torch_truth.py", "error", *steps, **cache(place, "error"))
    assert ran.outcomes["a_first_call"].startswith(
        "UnexpectedCompileError: torch.compile kernel JIT compilation during inference: scale"
    )
    # Dynamo has nothing of it, and compiles again: from the disk now, which is no error.
    assert ran.outcomes["a_call_whose_guards_hold"] == "289.543"
    assert [event["event"] for event in ran.reported["a_call_whose_guards_hold"]] == ["jit.load"]
    # A compile that fails by itself raises what it raised.
    assert ran.outcomes["a_backend_that_fails"].startswith("BackendCompilerFailed")
    assert ran.outcomes["without_compiling"] == "84.0"


def test_a_kernel_of_inductors_pool_is_told_by_who_waits_for_it(place: Place) -> None:
    without = place.run("pool_truth.py", "without", TORCHINDUCTOR_CACHE_DIR=str(place.folder / "without"))
    check(place.run("pool_truth.py", TORCHINDUCTOR_CACHE_DIR=str(place.folder / "with")), without)


def test_error_mode_does_not_raise_into_the_middle_of_a_compile(place: Place) -> None:
    if "2.8.0" in str(place.python):
        pytest.skip("2.8 fails by itself where the C++ kernel wins the benchmark")
    ran = place.run("torch_truth.py", "error", "a_kernel_that_is_chosen_by_benchmark", **cache(place, "error"))
    # Both the autotune and the compile around it are unexpected; Inductor would wrap what is raised inside.
    [said] = ran.outcomes.values()
    assert said.startswith("UnexpectedCompileError: torch.compile kernel JIT compilation during inference")
    [reported] = ran.reported.values()
    assert sorted(event["event"] for event in reported) == ["jit.autotune", "jit.compile"]
