"""`JITSPAN_EVENTS=log|both` where the request's span is somebody else's: the record carries that span's identity, and
the span has the summary, whether or not it has the event.
"""

from __future__ import annotations

import pytest
from expected import ERROR, summary
from support.records import trace_id
from test_ddtrace import FINISH as DATADOG_FINISH
from test_ddtrace import PRELUDE as DATADOG
from test_ddtrace import SUMMARY, both, of_jitspan
from test_opentelemetry import FINISH, PRELUDE
from test_rust_host import by_trace, get, running

modes = pytest.mark.parametrize(("mode", "on_the_span"), [("log", []), ("both", ["jit.compile"])])

# The event of the compile's own span, in every mode: the record carries the same.
SEVERITY_WARN, SEVERITY_ERROR = 13, 17


def check_record(record, own, severity: int = SEVERITY_WARN) -> None:
    """The record is on the span that the compile's own span is a child of, and tells what that one does."""
    assert (record["trace_id"], record["span_id"]) == (own["trace_id"], own["parent_span_id"])
    assert (record["event_name"], record["time_ns"]) == ("jit.compile", own["start_ns"])
    assert {**record["attributes"], "jit.stalled": True} == own["attributes"]
    assert (record["severity"], record["resource"]) == (severity, own["resource"])


@modes
def test_a_span_of_opentelemetry(opentelemetry, receiver, mode, on_the_span):
    stats = opentelemetry.run(
        PRELUDE
        + """
jitspan.activate()
with TRACER.start_as_current_span("server"):
    with TRACER.start_as_current_span("generate"):
        kernels.launch_add(block=128)
"""
        + FINISH,
        env={"JITSPAN_EVENTS": mode},
    )
    spans = {span["name"]: span for span in receiver.spans}
    generate, own = spans["generate"], spans["jit.compile"]
    assert [event["name"] for event in generate["events"]] == on_the_span
    for span in (generate, spans["server"]):
        assert {name: type(value) for name, value in span["attributes"].items()} == {
            name: value if isinstance(value, type) else type(value) for name, value in summary().items()
        }
    [record] = receiver.logs
    assert record["span_id"] == generate["span_id"]
    check_record(record, own)
    assert (stats["logs.recorded"], stats["logs.exported"], stats["spans.exported"]) == (1, 1, 1)


@modes
def test_error_mode_fails_the_span_of_opentelemetry(opentelemetry, receiver, mode, on_the_span):
    opentelemetry.run(
        PRELUDE
        + """
jitspan.activate(mode="error")
with TRACER.start_as_current_span("generate"):
    try:
        kernels.launch_add(block=128)
    except jitspan.UnexpectedCompileError:
        # The record has been sent by now, as the compile's own span has.
        assert jitspan.stats()["logs.exported"] == 1
"""
        + FINISH,
        env={"JITSPAN_EVENTS": mode},
    )
    spans = {span["name"]: span for span in receiver.spans}
    generate = spans["generate"]
    assert (generate["status"], generate["attributes"]["error.type"]) == ("ERROR", ERROR)
    assert [event["name"] for event in generate["events"]] == [*on_the_span, "exception"]
    [record] = receiver.logs
    check_record(record, spans["jit.compile"], SEVERITY_ERROR)


def test_a_span_that_ended_during_the_compile_leaves_the_record_on_the_stalls_own(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
import threading

jitspan.activate()
with TRACER.start_as_current_span("generate") as span:
    threading.Timer(0.03, span.end).start()
    kernels.launch_add(block=128)
    assert not span.is_recording()
"""
        + FINISH,
        env={"JITSPAN_EVENTS": "log"},
    )
    spans = {span["name"]: span for span in receiver.spans}
    own = spans["jit.compile"]
    assert (own["parent_span_id"], own["events"]) == (spans["generate"]["span_id"], [])
    [record] = receiver.logs
    assert (record["trace_id"], record["span_id"]) == (own["trace_id"], own["span_id"])


def test_a_span_that_is_not_sampled_has_no_record(opentelemetry, receiver):
    stats = opentelemetry.run(
        """
import json, jitspan, kernels
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

jitspan.activate()
with TracerProvider(sampler=ALWAYS_OFF).get_tracer("server").start_as_current_span("generate"):
    kernels.launch_add(block=128)
"""
        + FINISH,
        env={"JITSPAN_EVENTS": "both"},
    )
    assert (receiver.spans, receiver.logs) == ([], [])
    assert stats == {"events.compile": 1, "requests.stalled": 1, "requests.not_sampled": 1}


@both
@modes
def test_a_span_of_ddtrace(ddtrace, receiver, spans, environment, mode, on_the_span):
    [generate] = ddtrace.run(
        DATADOG
        + spans
        + """
jitspan.activate()
with span("generate"):
    kernels.launch_add(block=128)
"""
        + DATADOG_FINISH,
        env={**environment, "JITSPAN_EVENTS": mode},
    )
    assert ([name for name, *_ in generate["events"]], of_jitspan(generate)) == (on_the_span, SUMMARY)
    [own], [record] = receiver.spans, receiver.logs
    assert [record["trace_id"], record["span_id"]] == generate["ids"]
    check_record(record, own)


@modes
def test_a_span_of_a_rust_program(logfire, receiver, mode, on_the_span):
    with running(logfire, JITSPAN_EVENTS=mode) as address:
        assert get(f"{address}/generate/1000", 1000) == 200
    request = by_trace(receiver)[trace_id(1000)]
    assert [event["name"] for event in request["events"]] == on_the_span
    assert request["attributes"]["jit.stalled"] is True
    [own] = [span for span in receiver.spans if span["scope"] == "jitspan"]
    [record] = receiver.logs
    assert record["span_id"] == request["span_id"]
    # The span leaves through the host's exporter, with the host's resource; the record as OTEL_* says.
    assert own["resource"]["telemetry.sdk.name"] == "opentelemetry"
    assert record["resource"]["service.name"] == own["resource"]["service.name"]
    check_record({**record, "resource": own["resource"]}, own)
