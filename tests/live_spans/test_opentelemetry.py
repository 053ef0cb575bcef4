"""A server that traces itself with opentelemetry-python sees the compile on its own span."""

from __future__ import annotations

from expected import ERROR, arrived, compile_attributes, summary, theirs, without_times
from support.records import outline, parent_id, trace_id, traceparent

PRELUDE = """
import json, jitspan, kernels
from provider import PROVIDER, TRACER
"""

FINISH = """
assert jitspan.flush(timeout=10)
print(json.dumps({name: count for name, count in jitspan.stats().items() if count}))
"""


def test_the_open_span_carries_the_event_and_the_summary_and_the_compile_is_its_child(opentelemetry, receiver):
    stats = opentelemetry.run(
        PRELUDE
        + """
jitspan.activate()
with TRACER.start_as_current_span("generate"):
    kernels.launch_add(block=128)
"""
        + FINISH
    )
    assert stats == {"events.compile": 1, "requests.stalled": 1, "spans.recorded": 1, "spans.exported": 1}
    generate, own = arrived(receiver)
    event = {"name": "jit.compile", "attributes": compile_attributes(own)}
    assert without_times(generate) == theirs("generate", "span-1", attributes=summary(), events=[event])
    # The event's time is the start of the stall, to the nanosecond.
    assert generate["events"][0]["time_ns"] == own["start_ns"]
    assert without_times(own) == theirs(
        "jit.compile", "span-2", "span-1", scope="jitspan", attributes={**event["attributes"], "jit.stalled": True}
    )


def test_a_second_compile_on_the_same_span_adds_to_its_summary(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
jitspan.activate()
with TRACER.start_as_current_span("generate"):
    kernels.launch_add(block=128)
    kernels.launch_softmax()
"""
        + FINISH
    )
    [generate] = [span for span in arrived(receiver) if span["name"] == "generate"]
    assert generate["attributes"] == summary(2, "add,softmax")
    assert [event["attributes"]["jit.kernel.name"] for event in generate["events"]] == ["add", "softmax"]


def test_the_server_span_around_it_gets_the_summary_of_all_its_spans(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + f"""
import contextvars, threading
from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

jitspan.activate()
other = TRACER.start_span("other request")
remote = TraceContextTextMapPropagator().extract({{"traceparent": {traceparent(1)!r}}})
with TRACER.start_as_current_span("server", context=remote):
    with TRACER.start_as_current_span("prefill"):
        kernels.launch_add(block=128)
    with TRACER.start_as_current_span("decode"), TRACER.start_as_current_span("sample"):
        # A handler in a worker thread: the spans around it are on no stack of this thread.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(kernels.launch_softmax,))
        thread.start()
        thread.join()
other.end()
"""
        + FINISH
    )
    attributes = {span["name"]: span["attributes"] for span in arrived(receiver) if span["scope"] == "server"}
    assert attributes == {
        "server": summary(2, "add,softmax"),
        "prefill": summary(1, "add"),
        "decode": {},
        "sample": summary(1, "softmax"),
        "other request": {},
    }
    events = {span["name"]: [event["name"] for event in span["events"]] for span in receiver.spans}
    assert (events["server"], events["prefill"], events["sample"]) == ([], ["jit.compile"], ["jit.compile"])


def test_error_mode_fails_the_span_before_it_raises(opentelemetry, receiver):
    message = opentelemetry.run(
        PRELUDE
        + """
jitspan.activate(mode="error")
with TRACER.start_as_current_span("generate"):
    try:
        kernels.launch_add(block=128)
    except jitspan.UnexpectedCompileError as error:
        message = str(error)
        # The compile's own span has been sent by now, without anybody's flush.
        assert jitspan.stats()["spans.exported"] == 1
print(json.dumps(message))
"""
    )
    generate, own = arrived(receiver)
    exception = {
        "exception.type": ERROR,
        "exception.message": message,
        "exception.stacktrace": f"{ERROR}: {message}\n",
        "exception.escaped": "False",
    }
    assert without_times(generate) == theirs(
        "generate",
        "span-1",
        status="ERROR",
        status_message=message,
        attributes=dict(sorted({**summary(), "error.type": ERROR}.items())),
        events=[
            {"name": "jit.compile", "attributes": compile_attributes(own)},
            {"name": "exception", "attributes": exception},
        ],
    )


def test_error_mode_asks_the_spans_own_provider_to_flush(opentelemetry):
    flushed = opentelemetry.run(
        PRELUDE
        + """
from opentelemetry.sdk.trace import SpanProcessor

class Noting(SpanProcessor):
    asked = []

    def force_flush(self, timeout_millis=30000):
        self.asked.append(timeout_millis)
        raise ValueError("a fault of the provider's")

PROVIDER.add_span_processor(Noting())
jitspan.activate(mode="error")
with TRACER.start_as_current_span("generate"):
    try:
        kernels.launch_add(block=128)
    except jitspan.UnexpectedCompileError:
        print(json.dumps(Noting.asked))
""",
        env={"JITSPAN_FLUSH_TIMEOUT": "1.5"},
    )
    # The SDK takes what its first processor has used off what the next one gets.
    assert len(flushed) == 1
    assert 1000 < flushed[0] <= 1500


def test_a_provider_that_hangs_delays_the_error_by_the_flush_timeout_and_no_more(opentelemetry):
    seconds = opentelemetry.run(
        PRELUDE
        + """
import threading, time
from opentelemetry.sdk.trace import SpanProcessor

class Hanging(SpanProcessor):
    def force_flush(self, timeout_millis=30000):
        threading.Event().wait()

ticks = []
def tick():
    while True:
        ticks.append(time.perf_counter())
        time.sleep(0.01)

PROVIDER.add_span_processor(Hanging())
kernels.launch_add(block=128)
jitspan.activate(mode="error")
threading.Thread(target=tick, daemon=True).start()
with TRACER.start_as_current_span("generate"):
    start = time.perf_counter()
    try:
        kernels.launch_add(block=256)
    except jitspan.UnexpectedCompileError:
        end = time.perf_counter()
        waited = [tick for tick in ticks if end - 0.9 < tick < end]
        print(json.dumps([end - start, len(waited)]))
""",
        env={"JITSPAN_FLUSH_TIMEOUT": "1"},
    )
    taken, ticks = seconds
    # The flush, and a compile of a few tenths of a second.
    assert 1.0 <= taken < 2.0
    # Other threads ran meanwhile.
    assert ticks > 30


def test_an_ended_span_is_the_parent_of_the_stalls_own_span(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
jitspan.activate()
with TRACER.start_as_current_span("generate") as span:
    span.end()
    kernels.launch_add(block=128)
"""
        + FINISH
    )
    generate, own = arrived(receiver)
    assert without_times(generate) == theirs("generate", "span-1")
    assert (own["parent_span_id"], own["trace_id"], own["scope"]) == ("span-1", "trace-1", "jitspan")
    assert own["attributes"].items() >= summary().items()
    assert [event["name"] for event in own["events"]] == ["jit.compile"]


def test_nothing_is_lost_of_a_span_that_ends_while_the_kernel_compiles(opentelemetry, receiver):
    # A client that goes away: the server ends the span, the kernel in the worker thread goes on compiling.
    opentelemetry.run(
        PRELUDE
        + """
import threading

jitspan.activate()
with TRACER.start_as_current_span("generate") as span:
    # The first compile of a process takes some tenths of a second.
    threading.Timer(0.03, span.end).start()
    kernels.launch_add(block=128)
    assert not span.is_recording()
"""
        + FINISH
    )
    generate, own = arrived(receiver)
    assert without_times(generate) == theirs("generate", "span-1")
    assert own["parent_span_id"] == "span-1"
    assert own["attributes"].items() >= summary().items()
    assert [event["name"] for event in own["events"]] == ["jit.compile"]


def test_a_parent_that_was_only_propagated_gets_a_span_of_ours(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + f"""
from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

jitspan.activate()
headers = {{"traceparent": {traceparent(1)!r}, "tracestate": "vendor=1"}}
context.attach(TraceContextTextMapPropagator().extract(headers))
kernels.launch_add(block=128)
"""
        + FINISH
    )
    assert outline(receiver.spans) == [(trace_id(1), parent_id(1), "jit.compile", ["jit.compile"])]
    assert [span["trace_state"] for span in receiver.spans] == ["vendor=1"]


def test_a_span_that_is_not_sampled_sends_nothing_and_is_counted(opentelemetry, receiver):
    stats = opentelemetry.run(
        """
import json, jitspan, kernels
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

jitspan.activate()
with TracerProvider(sampler=ALWAYS_OFF).get_tracer("server").start_as_current_span("generate"):
    kernels.launch_add(block=128)
"""
        + FINISH
    )
    assert stats == {"events.compile": 1, "requests.stalled": 1, "requests.not_sampled": 1}
    assert receiver.spans == []


def test_opentelemetry_is_never_imported_by_us_and_found_when_it_comes_later(opentelemetry, receiver):
    opentelemetry.run(
        """
import json, sys, jitspan, kernels

jitspan.activate()
kernels.launch_add(block=128)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]

from provider import TRACER
with TRACER.start_as_current_span("generate"):
    kernels.launch_add(block=256)
"""
        + FINISH
    )
    own = {span["span_id"] for span in receiver.spans}
    assert sorted((span["name"], span["parent_span_id"] in own) for span in receiver.spans) == [
        ("generate", False),
        ("jit.compile", False),
        ("jit.compile", True),
    ]


def test_an_autotune_on_the_open_span_counts_its_compiles(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
jitspan.activate()
with TRACER.start_as_current_span("generate"):
    kernels.launch_tuned_copy()
"""
        + FINISH
    )
    [generate] = [span for span in receiver.spans if span["name"] == "generate"]
    names = {event["name"] for event in generate["events"]}
    assert "jit.compile" in names
    assert generate["attributes"]["jit.compile.count"] == 2


def test_the_compiles_own_span_has_the_resource_of_the_program(opentelemetry, receiver):
    opentelemetry.run(
        PRELUDE
        + """
from opentelemetry import trace

trace.set_tracer_provider(PROVIDER)
jitspan.activate()
with TRACER.start_as_current_span("generate"):
    kernels.launch_add(block=128)
"""
        + FINISH
    )
    resources = {span["scope"]: span["resource"] for span in receiver.spans}
    assert resources["jitspan"]["service.name"] == resources["server"]["service.name"] == "server"
