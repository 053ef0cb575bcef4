"""ddtrace: its own spans, and its stand-in for opentelemetry-python."""

from __future__ import annotations

import pytest
from expected import ERROR, summary

PRELUDE = """
import json, jitspan, kernels
from ddtrace import tracer
from ddtrace.trace import TraceFilter

FINISHED = []

class Keep(TraceFilter):
    def process_trace(self, trace):
        for span in trace:
            events = [[event.name, event.attributes, event.time_unix_nano] for event in span._get_events()]
            FINISHED.append({
                "name": span.resource,
                "ids": [f"{span.trace_id:032x}", f"{span.span_id:016x}"],
                "error": span.error,
                "tags": {**span.get_tags(), **span.get_metrics()},
                "events": events,
                "start_ns": span.start_ns,
                "end_ns": span.start_ns + span.duration_ns,
            })
        return None  # Nothing is sent: there is no agent here.

tracer.configure(trace_processors=[Keep()])
"""

FINISH = """
assert jitspan.flush(timeout=10)
print(json.dumps(FINISHED))
"""

PLAIN = """
def span(name):
    return tracer.trace(name)
"""

STAND_IN = """
import ddtrace.auto
from opentelemetry import trace

def span(name):
    return trace.get_tracer("server").start_as_current_span(name)
"""

both = pytest.mark.parametrize(
    ("spans", "environment"),
    [(PLAIN, {}), (STAND_IN, {"DD_TRACE_OTEL_ENABLED": "true"})],
    ids=["plain", "DD_TRACE_OTEL_ENABLED"],
)


def of_jitspan(span):
    """The tags that are ours, as `expected.summary` has them."""
    varying = {"jit.stall.time", "jit.stall.longest"}
    ours = {name: tag for name, tag in span["tags"].items() if name.startswith(("jit.", "error."))}
    return {name: type(tag) if name in varying else tag for name, tag in sorted(ours.items())}


# ddtrace's tags are text and numbers.
SUMMARY = {**summary(), "jit.stalled": "true"}


@both
def test_the_event_is_on_ddtraces_span_and_the_summary_on_the_outermost_too(ddtrace, receiver, spans, environment):
    finished = ddtrace.run(
        PRELUDE
        + spans
        + """
jitspan.activate()
with span("server"):
    with span("generate"):
        kernels.launch_add(block=128)
"""
        + FINISH,
        env=environment,
    )
    server, generate = finished
    assert (server["name"], generate["name"]) == ("server", "generate")
    assert (of_jitspan(server), of_jitspan(generate)) == (SUMMARY, SUMMARY)
    [own] = receiver.spans
    assert [own["trace_id"], own["parent_span_id"]] == generate["ids"]
    # In nanoseconds: the stand-in would have made 1970 of it.
    assert generate["start_ns"] < own["start_ns"] < generate["end_ns"]
    attributes = {name: content for name, content in own["attributes"].items() if name != "jit.stalled"}
    assert generate["events"] == [["jit.compile", attributes, own["start_ns"]]]
    assert server["events"] == []


@both
def test_error_mode_fails_ddtraces_span(ddtrace, spans, environment):
    message, [generate] = ddtrace.run(
        PRELUDE
        + spans
        + """
jitspan.activate(mode="error")
with span("generate"):
    try:
        kernels.launch_add(block=128)
    except jitspan.UnexpectedCompileError as error:
        message = str(error)
print(json.dumps([message, FINISHED]))
""",
        env=environment,
    )
    assert generate["error"] == 1
    tags = of_jitspan(generate)
    assert tags.pop("error.stack").endswith(f"{ERROR}: {message}\n")
    assert tags == {**SUMMARY, "error.type": ERROR, "error.message": message}


def test_a_span_of_opentelemetry_wins_over_one_of_ddtrace(ddtrace, receiver):
    finished = ddtrace.run(
        PRELUDE
        + """
from opentelemetry.sdk.trace import TracerProvider

jitspan.activate()
with tracer.trace("datadog"), TracerProvider().get_tracer("server").start_as_current_span("generate") as span:
    kernels.launch_add(block=128)
FINISHED.append([event.name for event in span.events])
"""
        + FINISH
    )
    [datadog, events] = finished
    assert (datadog["events"], of_jitspan(datadog), events) == ([], {}, ["jit.compile"])
    assert [span["name"] for span in receiver.spans] == ["jit.compile"]


def test_a_finished_span_of_ddtrace_loses_nothing(ddtrace, receiver):
    ddtrace.run(
        PRELUDE
        + """
jitspan.activate()
with tracer.trace("generate"):
    pass
kernels.launch_add(block=128)
"""
        + FINISH
    )
    [own] = receiver.spans
    assert (own["parent_span_id"], [event["name"] for event in own["events"]]) == ("", ["jit.compile"])
