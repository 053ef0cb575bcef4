"""Where the event goes, first match wins, and it goes to one place only.

A jitspan scope, a span of opentelemetry-python, one of ddtrace (test_ddtrace.py), one of a Rust program
(test_rust_host.py, tests/live_spans.rs), nobody: each neighbour of each once.
"""

from __future__ import annotations

from support.records import outline, parent_id, trace_id, traceparent

PRELUDE = """
import jitspan, kernels
from provider import TRACER

jitspan.activate()
"""


def test_a_jitspan_scope_wins_over_a_span_of_opentelemetry(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + f"""
with TRACER.start_as_current_span("generate"), jitspan.request({traceparent(1)!r}):
    kernels.launch_add(block=128)
assert jitspan.flush(timeout=10)
"""
    )
    [generate] = [span for span in receiver.spans if span["name"] == "generate"]
    assert (generate["attributes"], generate["events"]) == ({}, [])
    ours = [span for span in receiver.spans if span["name"] != "generate"]
    assert outline(ours) == [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]


def test_after_the_scope_the_span_takes_the_next_one(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
with TRACER.start_as_current_span("generate"):
    with jitspan.request(None):
        kernels.launch_add(block=128)
    kernels.launch_softmax()
assert jitspan.flush(timeout=10)
"""
    )
    kernels = {
        span["name"]: [event["attributes"]["jit.kernel.name"] for event in span["events"]]
        for span in receiver.spans
        if span["events"]
    }
    assert kernels == {"inference": ["add"], "generate": ["softmax"]}


def test_with_neither_it_is_a_root_span(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
with TRACER.start_as_current_span("generate"):
    pass
kernels.launch_add(block=128)
assert jitspan.flush(timeout=10)
"""
    )
    ours = [span for span in receiver.spans if span["name"] != "generate"]
    [(trace, parent, name, events)] = outline(ours)
    assert (parent, name, events) == ("", "jit.compile", ["jit.compile"])
    assert trace not in [span["trace_id"] for span in receiver.spans if span["name"] == "generate"]
