"""Metrics: there from the start with 0, cumulative, in seconds, with exemplars; and switched off where nobody asked."""

from __future__ import annotations

import json

import pytest
from support.records import trace_id, traceparent

PRELUDE = """
import json, os, sys, time
from support import fake_triton
fake_triton.install()
import jitspan
kernel = fake_triton.JITFunction("rms_norm", seconds=0.02)
"""


def total(receiver, name: str, **attributes: object) -> list[float]:
    """The sum over the series of a metric, export for export."""
    totals = []
    for export in receiver.exports:
        if export.signal == "metrics" and export.answer.accepts:
            points = [point for point in export.records if point["name"] == name]
            points = [point for point in points if attributes.items() <= point["attributes"].items()]
            totals.append(sum(point.get("value", point.get("count", 0)) for point in points))
    return totals


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_counters_are_sent_as_zero_before_the_first_compile_and_grow_from_there(scripts, receiver, protocol):
    scripts.run(
        PRELUDE
        + f"""
jitspan.activate()
assert jitspan.flush(timeout=10)
for number in range(3):
    with jitspan.request({traceparent(1)!r}):
        kernel.launch(str(number))
assert jitspan.flush(timeout=10)
print("null")
""",
        env=receiver.environment(protocol, metrics=True),
    ).json()
    for name in ("jit.compiles", "jit.compile.duration", "jit.stalled_requests"):
        assert total(receiver, name)[0] == 0, name
        assert total(receiver, name)[-1] == 3, name
    assert total(receiver, "jit.kernel.time", **{"jit.kernel.name": "rms_norm"})[-1] >= 0.06
    names = {point["name"] for point in receiver.metrics}
    assert {"jit.autotune.duration", "jitspan.dropped_events", "otel.sdk.exporter.span.exported"} <= names
    histogram = next(point for point in receiver.metrics if point["name"] == "jit.compile.duration")
    assert histogram["unit"] == "s"
    assert histogram["bounds"][-1] == 600
    assert {0.5, 2.5, 7.5} <= set(histogram["bounds"])
    assert all(0 < point["start_ns"] <= point["time_ns"] for point in receiver.metrics)
    # A series is one series: the same start each time, and no two points of it in one export.
    assert len({point["start_ns"] for point in receiver.metrics}) == 1


def test_an_exemplar_leads_to_the_request_that_waited(scripts, receiver):
    scripts.run(
        PRELUDE
        + f"""
jitspan.activate()
with jitspan.request({traceparent(7)!r}):
    kernel.launch("a")
assert jitspan.flush(timeout=10)
assert jitspan.flush(timeout=10)
print("null")
""",
        env=receiver.environment(metrics=True),
    ).json()
    exemplars = [exemplar for point in receiver.metrics for exemplar in point.get("exemplars", [])]
    # Sent once: the next export has those since.
    assert [exemplar["trace_id"] for exemplar in exemplars] == [trace_id(7)]
    waited = {span["span_id"] for span in receiver.spans if span["name"] == "inference"}
    assert {exemplar["span_id"] for exemplar in exemplars} == waited
    assert 0.02 <= exemplars[0]["value"] < 5


def test_metrics_go_out_at_intervals_without_a_compile(scripts, receiver):
    scripts.run(
        PRELUDE + "jitspan.activate()\ntime.sleep(1.5)\nprint('null')\n",
        env=receiver.environment(metrics=True) | {"OTEL_METRIC_EXPORT_INTERVAL": "300"},
    ).json()
    assert len([export for export in receiver.exports if export.signal == "metrics"]) >= 4


def test_nobody_is_called_and_no_thread_runs_where_nobody_asked(scripts):
    threads = scripts.run(
        PRELUDE + "jitspan.activate()\ntime.sleep(0.5)\nprint(json.dumps(len(os.listdir('/proc/self/task'))))\n"
    ).json()
    assert threads == 1


def test_a_collector_without_a_pipeline_for_metrics_is_asked_once(scripts, receiver):
    import grpc
    from support.receiver import Answer

    receiver.answer(Answer(grpc.StatusCode.UNIMPLEMENTED, 404))
    stats = scripts.run(
        PRELUDE
        + """
jitspan.activate()
for _ in range(5):
    jitspan.flush(timeout=2)
print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment(metrics=True) | {"OTEL_METRIC_EXPORT_INTERVAL": "100"},
    ).json()
    assert len([export for export in receiver.exports if export.signal == "metrics"]) == 1
    assert stats["metrics.exports.failed"] == 1


def test_each_process_has_series_of_its_own(scripts, receiver):
    scripts.run(
        PRELUDE
        + """
jitspan.activate()
kernel.launch("parent")
assert jitspan.flush(timeout=10)
process = os.fork()
if process == 0:
    kernel.launch("child")
    os._exit(0 if jitspan.flush(timeout=10) else 1)
assert os.waitpid(process, 0)[1] == 0
print("null")
""",
        env=receiver.environment(metrics=True),
    ).json()
    counts: dict[str, float] = {}
    for point in receiver.metrics:
        if point["name"] == "jit.compiles" and point["value"]:
            counts[point["resource"]["service.instance.id"]] = point["value"]
    assert sorted(counts.values()) == [1, 1]


def test_console_writes_metrics_as_lines_of_json(scripts):
    output = scripts.run(
        PRELUDE + "jitspan.activate()\nkernel.launch('a')\njitspan.flush()\n",
        env={"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "none"},
    ).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"jit.compiles", "jit.compile.duration"} <= {line["name"] for line in lines}


def test_a_flush_with_all_three_signals_stuck_ends_at_its_deadline(scripts, receiver):
    receiver.hang()
    seconds = scripts.run(
        PRELUDE
        + """
jitspan.activate()
kernel.launch("a")
began = time.monotonic()
assert not jitspan.flush(timeout=1)
print(json.dumps(time.monotonic() - began))
sys.stdout.flush()
os._exit(0)
""",
        env=receiver.environment(metrics=True) | {"JITSPAN_EVENTS": "both"},
    ).json()
    assert 0.9 < seconds < 1.5
