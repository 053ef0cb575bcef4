"""`JITSPAN_EVENTS=log|both`: compiles as named log records on the spans of those who waited."""

from __future__ import annotations

from support.records import trace_id, traceparent

SOURCE = f"""
import json
from support import fake_triton
fake_triton.install()
import jitspan
jitspan.activate()
with jitspan.batch([{traceparent(1)!r}, {traceparent(2)!r}]):
    fake_triton.JITFunction("rms_norm").launch("a")
assert jitspan.flush(timeout=10)
print(json.dumps(jitspan.stats()))
"""


def span_events(receiver) -> set[str]:
    return {event["name"] for span in receiver.spans for event in span["events"]}


def test_log_events_have_the_same_name_attributes_and_context_as_the_span_events(scripts, receiver):
    stats = scripts.run(SOURCE, env=receiver.environment() | {"JITSPAN_EVENTS": "both"}).json()
    assert span_events(receiver) == {"jit.compile"}
    spans = {span["span_id"]: span for span in receiver.spans if span["name"] == "inference"}
    assert sorted(record["trace_id"] for record in receiver.logs) == [trace_id(1), trace_id(2)]
    for record in receiver.logs:
        span = spans[record["span_id"]]
        (event,) = span["events"]
        assert record["trace_id"] == span["trace_id"]
        assert (record["event_name"], record["time_ns"]) == (event["name"], event["time_ns"])
        assert record["attributes"] == event["attributes"]
        assert record["severity"] == 13
        assert "rms_norm" in record["body"]
        assert record["resource"] == span["resource"]
    assert stats["logs.recorded"] == stats["logs.exported"] == 2


def test_in_log_mode_the_spans_stay_and_carry_no_events(scripts, receiver):
    scripts.run(SOURCE, env=receiver.environment() | {"JITSPAN_EVENTS": "log"}).json()
    assert span_events(receiver) == set()
    assert sorted(span["name"] for span in receiver.spans) == ["inference", "inference", "jit.compile", "jit.compile"]
    assert len(receiver.logs) == 2


def test_without_being_asked_no_log_record_is_sent(scripts, receiver):
    stats = scripts.run(SOURCE, env=receiver.environment()).json()
    assert receiver.logs == []
    assert stats["logs.recorded"] == 0


def test_in_error_mode_the_record_says_error_and_has_arrived_when_it_is_raised(scripts, receiver):
    stats = scripts.run(
        f"""
import json
from support import fake_triton
fake_triton.install()
import jitspan
jitspan.activate(mode="error")
try:
    with jitspan.request({traceparent(1)!r}):
        fake_triton.JITFunction("rms_norm").launch("a")
except jitspan.UnexpectedCompileError:
    print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment() | {"JITSPAN_EVENTS": "log"},
    ).json()
    assert stats["logs.recorded"] == stats["logs.exported"] == 1
    [record] = receiver.logs
    assert (record["trace_id"], record["severity"]) == (trace_id(1), 17)
    # The failure itself stays on the span: the record is of the compile.
    assert span_events(receiver) == {"exception"}


def test_a_storm_sends_as_many_records_as_a_span_has_events(scripts, receiver):
    stats = scripts.run(
        """
import json
from support import fake_triton
fake_triton.install()
import jitspan
jitspan.activate()
kernel = fake_triton.JITFunction("rms_norm")
with jitspan.request():
    for number in range(300):
        kernel.launch(str(number))
assert jitspan.flush(timeout=10)
print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment() | {"JITSPAN_EVENTS": "log"},
    ).json()
    assert len(receiver.logs) == stats["logs.exported"] == 128
    [inference] = [span for span in receiver.spans if span["name"] == "inference"]
    assert inference["attributes"]["jit.compile.count"] == 300
