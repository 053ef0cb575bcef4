"""logfire's spans are opentelemetry-python's, in a wrapper of its own."""

from __future__ import annotations

from expected import ERROR, arrived, compile_attributes, summary
from support.records import outline

PRELUDE = """
import json, logfire, jitspan, kernels

# It sends to OTEL_EXPORTER_OTLP_ENDPOINT by itself.
logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
"""

# What is logfire's own: it writes a span of its own when one opens, and adds where and how it was opened.
OWN = ("logfire.", "code.")


def finished(receiver):
    spans = [span for span in arrived(receiver) if span["attributes"].get("logfire.span_type") != "pending_span"]
    jit = [
        {name: content for name, content in span["attributes"].items() if not name.startswith(OWN)} for span in spans
    ]
    return spans, jit


def test_the_event_is_on_logfires_span_and_the_summary_on_the_outermost_too(logfire, receiver):
    logfire.run(
        PRELUDE
        + """
jitspan.activate()
with logfire.span("server"):
    with logfire.span("generate"):
        kernels.launch_add(block=128)
assert jitspan.flush(timeout=10) and logfire.force_flush()
"""
    )
    [server, generate, own], [of_server, of_generate, _] = finished(receiver)
    assert (server["name"], generate["name"]) == ("server", "generate")
    assert (of_server, of_generate) == (summary(), summary())
    assert (own["parent_span_id"], own["trace_id"]) == (generate["span_id"], generate["trace_id"])
    [event] = generate["events"]
    assert event["time_ns"] == own["start_ns"]
    assert (event["name"], event["attributes"]) == ("jit.compile", compile_attributes(own))
    assert server["events"] == []


def test_error_mode_fails_logfires_span(logfire, receiver):
    message = logfire.run(
        PRELUDE
        + """
jitspan.activate(mode="error")
with logfire.span("generate"):
    try:
        kernels.launch_add(block=128)
    except jitspan.UnexpectedCompileError as error:
        message = str(error)
assert logfire.force_flush()
print(json.dumps(message))
"""
    )
    [generate, own], [of_generate, _] = finished(receiver)
    assert (generate["status"], generate["status_message"]) == ("ERROR", message)
    assert of_generate.items() >= {**summary(), "error.type": ERROR}.items()
    assert [event["name"] for event in generate["events"]] == ["jit.compile", "exception"]
    assert generate["events"][1]["attributes"]["exception.type"] == ERROR
    assert own["name"] == "jit.compile"


def test_a_jitspan_scope_wins_over_logfires_span(logfire, receiver):
    logfire.run(
        PRELUDE
        + """
jitspan.activate()
with logfire.span("generate"), jitspan.request(None, name="inference"):
    kernels.launch_add(block=128)
assert jitspan.flush(timeout=10) and logfire.force_flush()
"""
    )
    events = {name: events for _, _, name, events in outline(receiver.spans)}
    assert (events["generate"], events["inference"]) == ([], ["jit.compile"])
