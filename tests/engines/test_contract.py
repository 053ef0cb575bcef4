"""Says which place of an engine has moved, by reading each release's source; nothing of it is imported or installed.

The places are those that `jitspan` itself would stand at in this process. `releases.py` unpacks the releases.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jitspan
import pytest

# One folder for each release, named `vllm-0.33.0`.
RELEASES = Path(os.environ.get("ENGINE_RELEASES", "build/engines/releases"))

# Attributes of engine objects that we read, or set, and where each is defined: module, class, names.
READ = {
    "vllm": [
        ("vllm.v1.core.sched.output", "SchedulerOutput", "num_scheduled_tokens"),
        ("vllm.v1.core.sched.output", "NewRequestData", "req_id"),
        ("vllm.v1.request", "Request", "request_id trace_headers arrival_time"),
        ("vllm.v1.worker.gpu.input_batch", "InputBatch", "req_ids num_scheduled_tokens"),
        ("vllm.v1.engine", "EngineCoreRequest", "trace_headers"),
        ("vllm.v1.engine", "EngineCoreOutput", "trace_headers"),
        ("vllm.config.parallel", "ParallelConfig", "data_parallel_index world_size tensor_parallel_size"),
        ("vllm.v1.worker.worker_base", "WorkerBase", "rank vllm_config"),
        ("vllm.v1.worker.gpu_worker", "Worker", "model_runner"),
        ("vllm.config.observability", "ObservabilityConfig", "otlp_traces_endpoint"),
    ],
    "sglang": [
        ("sglang.srt.managers.schedule_batch", "Req", "rid time_stats"),
        ("sglang.srt.managers.schedule_batch", "ScheduleBatch", "reqs"),
        ("sglang.srt.observability.req_time_stats", "ReqTimeStatsBase", "trace_ctx"),
        ("sglang.srt.observability.trace", "TraceReqContext", "tracing_enable thread_context root_span_context"),
        ("sglang.srt.observability.trace", "TraceReqContext", "trace_event trace_set_thread_attrs abort"),
        ("sglang.srt.observability.trace", "TraceThreadContext", "thread_span cur_slice_stack"),
        ("sglang.srt.plugins.hook_registry", "HookRegistry", "register apply_hooks"),
    ],
}

# Parameters that we take by position where they are not given by name: place, parameter, position (`self` counts).
# A release may lack the parameter, but not have another one in its place.
PARAMETERS = {
    "vllm": [
        ("vllm.v1.core.sched.output", "NewRequestData.from_request", "request", 1),
        ("vllm.v1.core.sched.scheduler", "Scheduler.add_request", "request", 1),
        ("vllm.v1.core.sched.scheduler", "Scheduler._free_request", "request", 1),
        ("vllm.v1.engine.async_llm", "AsyncLLM.add_request", "trace_headers", 7),
        ("vllm.v1.engine.input_processor", "InputProcessor.__init__", "vllm_config", 1),
        ("vllm.v1.engine.input_processor", "InputProcessor.assign_request_id", "request", -1),
        ("vllm.v1.engine.output_processor", "OutputProcessor.do_tracing", "engine_core_output", 1),
        ("vllm.v1.engine.output_processor", "OutputProcessor.do_tracing", "req_state", 2),
        ("vllm.tracing", "instrument_manual", "span_name", 0),
        ("vllm.tracing", "instrument_manual", "attributes", 3),
    ],
    "sglang": [
        ("sglang.srt.managers.scheduler", "Scheduler.run_batch", "batch", 1),
        ("sglang.srt.managers.scheduler", "Scheduler.launch_batch_sample_if_needed", "batch_result", 1),
        ("sglang.srt.managers.scheduler", "Scheduler.launch_batch_sample_if_needed", "cur_batch", 2),
    ],
}

# Classes on whose objects we put an attribute of our own, which pickles with the rest.
OPEN = {
    "vllm": [
        ("vllm.v1.core.sched.output", "NewRequestData"),
    ],
    "sglang": [],
}

# Places that a release does not have, and that are not needed there. Everything else that is missing is a failure.
NOT_IN = {
    # vLLM's monitor came after it: warm-up's end is known by `vllm.warm_up` alone.
    "vllm-0.20.0": {"vllm.arm", "vllm.jit_event"},
    # Its monitor has no error mode yet.
    "vllm-0.22.1": {"vllm.jit_event"},
    "vllm-0.24.0": {"vllm.jit_event"},
}


def releases(engine: str = "*") -> list[Path]:
    return sorted(folder for folder in RELEASES.glob(f"{engine}-*") if folder.is_dir())


@cache
def module(release: Path, name: str) -> ast.Module | None:
    path = release.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.exists():
            return ast.parse(file.read_text())
    return None


def classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def members(scope: ast.Module | ast.ClassDef) -> set[str]:
    """Functions and classes, annotated and assigned names, and what methods set on `self`."""
    found: set[str] = set()
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {name.asname or name.name for name in node.names}
    for node in ast.walk(scope):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                found.add(target.id)
            elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                found.add(target.attr)
    return found


def is_there(release: Path, name: str, path: str) -> bool:
    tree = module(release, name)
    if tree is None:
        return False
    owner, _, member = path.rpartition(".")
    if not owner:
        return member in members(tree)
    return any(member in members(node) for node in classes(tree) if owner in ("*", node.name))


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_every_place_that_we_stand_at_is_there(release: Path) -> None:
    engine = release.name.partition("-")[0]
    points = [point for point in jitspan._engine_points() if point["engine"] == engine]
    assert points
    moved = {
        point["point"]: point["places"]
        for point in points
        if not any(is_there(release, name, path) for name, path in point["places"])
    }
    assert set(moved) == NOT_IN.get(release.name, set()), moved


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_a_method_that_many_classes_have_is_known_in_all_of_them(release: Path) -> None:
    """Points with `*`: each module that defines the method is one of the point's places."""
    for point in jitspan._engine_points():
        known = {name for name, path in point["places"] if path.startswith("*.")}
        for method in {path.removeprefix("*.") for _, path in point["places"] if path.startswith("*.")}:
            files = [file for file in release.rglob("*.py") if f"def {method}(" in file.read_text()]
            names = {".".join(file.relative_to(release).with_suffix("").parts) for file in files}
            assert names <= known, f"{point['point']} does not know {names - known}"


def function(release: Path, name: str, path: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    tree = module(release, name)
    owner, _, member = path.rpartition(".")
    scopes = [tree] if not owner else [node for node in classes(tree) if node.name == owner] if tree else []
    found = (node for scope in scopes if scope for node in ast.walk(scope))
    return next(
        (node for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == member),
        None,
    )


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_every_parameter_is_where_we_take_it_from(release: Path) -> None:
    engine = release.name.partition("-")[0]
    moved = []
    for name, path, parameter, position in PARAMETERS[engine]:
        node = function(release, name, path)
        if node is None:
            continue  # told by the test of places
        names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
        if parameter in names and names.index(parameter) != position % len(names):
            moved.append(f"{name}.{path}: {parameter} in {names}")
        if parameter not in names and len(names) > abs(position):
            moved.append(f"{name}.{path}: no {parameter} in {names}")
    assert moved == []


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_every_frame_that_we_look_for_has_one_of_its_variables(release: Path) -> None:
    engine = release.name.partition("-")[0]
    places = [
        (name, path, set(point["variables"]))
        for point in jitspan._engine_points()
        if point["engine"] == engine and point["variables"]
        for name, path in point["places"]
    ]
    without = []
    for name, path, variables in places:
        node = function(release, name, path)
        assert node, f"{name}.{path}"
        known = {argument.arg for argument in node.args.args}
        known |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        if not variables & known:
            without.append(f"{name}.{path}: none of {variables}")
    assert without == []


@pytest.mark.parametrize("release", releases("vllm"), ids=lambda release: release.name)
def test_a_request_is_freed_before_its_last_output_is_made(release: Path) -> None:
    """What it waited for is put among its trace headers when it is freed, and has to be on that output."""
    node = function(release, "vllm.v1.core.sched.scheduler", "Scheduler.update_from_output")
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
    freed = [call.lineno for call in calls if "_free_request" in ast.unparse(call.func)]
    made = [key.value.lineno for key in ast.walk(node) if isinstance(key, ast.keyword) and key.arg == "trace_headers"]
    assert freed
    assert made
    assert min(freed) < min(made)


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_classes_that_carry_our_attribute_have_no_slots(release: Path) -> None:
    for name, owner in OPEN[release.name.partition("-")[0]]:
        (node,) = (node for node in classes(module(release, name)) if node.name == owner)
        assert not [base for base in node.bases if "Struct" in ast.unparse(base)], owner
        assert "slots=True" not in " ".join(map(ast.unparse, node.decorator_list)), owner
        assert "__slots__" not in members(node), owner


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.name)
def test_every_attribute_that_we_read_is_there(release: Path) -> None:
    engine = release.name.partition("-")[0]
    gone = [
        f"{name}.{owner}.{member}"
        for name, owner, wanted in READ[engine]
        for member in wanted.split()
        if not is_there(release, name, f"{owner}.{member}")
    ]
    assert gone == []


def test_the_oldest_and_the_newest_release_of_each_engine_are_read() -> None:
    """`jitspan.status()` says that they are tested."""
    assert {release.name for release in releases()} >= {"vllm-0.20.0", "vllm-0.33.0", "sglang-0.5.12", "sglang-0.5.23"}
