"""A real compile, from the launch to the receiver's socket: all that leaves the process, compared as a whole."""

from __future__ import annotations

from pathlib import Path

from support.records import parent_id, trace_id, traceparent

KERNELS = Path(__file__).with_name("kernels.py")
# Python counts a function's lines from its first decorator.
ADD_LINE = KERNELS.read_text().split("\n").index("def add(output, left, right, length, BLOCK: tl.constexpr):")


def test_a_compile_leaves_as_an_event_on_the_request_and_a_child_span(scripts, receiver):
    scripts.run(
        f"""
        import jitspan, kernels

        kernels.launch_add(block=128)
        jitspan.activate()
        with jitspan.request({{"TraceParent": {traceparent(1)!r}}}, name="generate", attributes={{"beams": 4}}):
            kernels.launch_add(block=128)
            kernels.launch_add(block=256)
        """,
        env=receiver.environment() | {"OTEL_RESOURCE_ATTRIBUTES": "service.name=serve,region=eu%20west"},
    )
    spans = {span["name"]: span for span in receiver.spans}
    assert set(spans) == {"generate", "jit.compile"}
    request, compile_span = spans["generate"], spans["jit.compile"]

    [event] = request.pop("events")
    assert event.pop("name") == "jit.compile"
    assert request["start_ns"] <= event.pop("time_ns") <= request["end_ns"]
    about_the_compile = event.pop("attributes")
    assert event == {}
    stages = {name for name in about_the_compile if name.startswith("jit.stage.")}
    assert stages >= {f"jit.stage.{stage}" for stage in ("ttir", "ttgir", "llir", "ptx", "cubin")}
    about = {name: value for name, value in about_the_compile.items() if name not in stages}
    assert about == {
        "jit.runtime": "triton",
        "jit.runtime_version": about["jit.runtime_version"],
        "jit.kernel.name": "add",
        "jit.kernel.module": "kernels",
        "code.function.name": "kernels.add",
        "code.file.path": str(KERNELS),
        "code.line.number": ADD_LINE,
        "jit.duration": about["jit.duration"],
        "jit.cache.result": "miss",
        "jit.cause": "new_specialization",
        "jit.changes": "BLOCK: 128 -> 256 (constexpr)",
        "jit.options": about["jit.options"],
        "jit.specialization": about["jit.specialization"],
        "thread.id": about["thread.id"],
        "thread.name": "MainThread",
    }
    assert "num_warps=4" in about["jit.options"]

    assert (request["trace_id"], request["parent_span_id"]) == (trace_id(1), parent_id(1))
    assert request["attributes"] == {
        "jit.stalled": True,
        "jit.compile.count": 1,
        "jit.autotune.count": 0,
        "jit.load.count": 0,
        "jit.stall.time": request["attributes"]["jit.stall.time"],
        "jit.stall.longest": request["attributes"]["jit.stall.longest"],
        "jit.runtimes": "triton",
        "jit.kernels": "add",
        "beams": 4,
    }
    assert (request["kind"], request["status"], request["dropped_events"]) == ("INTERNAL", "UNSET", 0)
    assert request["resource"]["service.name"] == "serve"
    assert request["resource"]["region"] == "eu west"

    assert (compile_span["trace_id"], compile_span["parent_span_id"]) == (trace_id(1), request["span_id"])
    assert compile_span["attributes"] == about_the_compile | {"jit.stalled": True}
    assert compile_span["events"] == []
