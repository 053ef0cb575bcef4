"""What must arrive, as whole spans."""

from __future__ import annotations

from typing import Any

from support.records import Record, normalised

ERROR = "jitspan.UnexpectedCompileError"


def arrived(receiver: Any, **names: str) -> list[Record]:
    """All spans, normalised. Without the flags, in which opentelemetry-python leaves out whether it is sampled."""
    spans = normalised(receiver.spans, **names)
    return [{key: content for key, content in span.items() if key != "flags"} for span in spans]


def summary(compiles: int = 1, kernels: str = "add") -> Record:
    return {
        "jit.autotune.count": 0,
        "jit.compile.count": compiles,
        "jit.kernels": kernels,
        "jit.load.count": 0,
        "jit.runtimes": "triton",
        "jit.stall.longest": float,
        "jit.stall.time": float,
        "jit.stalled": True,
    }


def compile_attributes(own: Record) -> Record:
    """What a compile's event carries: all of the compile's own span, less the mark for the tail sampler.

    The names and types are pinned by `tests/python/test_payload.py`.
    """
    assert (own["name"], own["scope"]) == ("jit.compile", "jitspan")
    assert own["attributes"]["jit.kernel.name"] == "add"
    assert own["attributes"]["jit.duration"] is float
    assert own["attributes"]["code.line.number"] == 12
    return {name: content for name, content in own["attributes"].items() if name != "jit.stalled"}


def theirs(name: str, span_id: str, parent: str = "", **changed: Any) -> Record:
    """A span of the server's own SDK, to which nothing has happened but what `changed` says."""
    return {
        "scope": "server",
        "name": name,
        "trace_id": "trace-1",
        "span_id": span_id,
        "parent_span_id": parent,
        "trace_state": "",
        "kind": "INTERNAL",
        "status": "UNSET",
        "status_message": "",
        "attributes": {},
        "events": [],
        "dropped_events": 0,
        "dropped_attributes": 0,
        **changed,
    }


def without_times(span: Record) -> Record:
    return {
        **{key: content for key, content in span.items() if key not in ("start_ns", "end_ns")},
        "events": [{key: content for key, content in event.items() if key != "time_ns"} for event in span["events"]],
    }
