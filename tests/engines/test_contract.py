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
        ("vllm.v1.core.sched.output", "SchedulerOutput", "scheduled_new_reqs num_scheduled_tokens finished_req_ids"),
        ("vllm.v1.core.sched.output", "NewRequestData", "req_id"),
        ("vllm.v1.core.sched.scheduler", "Scheduler", "requests"),
        ("vllm.v1.request", "Request", "trace_headers"),
        ("vllm.v1.outputs", "ModelRunnerOutput", "req_ids"),
        ("vllm.v1.outputs", "AsyncModelRunnerOutput", "get_output"),
        ("vllm.v1.engine", "EngineCoreRequest", "trace_headers"),
        ("vllm.v1.engine", "EngineCoreOutput", "request_id finish_reason trace_headers"),
        ("vllm.v1.engine", "EngineCoreOutputs", "outputs"),
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

# Places that a release does not have, and that are not needed there. Everything else that is missing is a failure.
NOT_IN = {
    # vLLM's monitor came after it: warm-up's end is known by `vllm.warm_up` alone.
    "vllm-0.20.0": {"vllm.arm", "vllm.jit_event"},
}


def releases() -> list[Path]:
    return sorted(folder for folder in RELEASES.glob("*-*") if folder.is_dir())


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
