"""A collector that is absent, stuck, rude or restarted never reaches the host, and what is lost is counted."""

from __future__ import annotations

import time

import pytest
from support.receiver import INVALID, UNAVAILABLE, black_hole, closed_port, partial_success
from support.records import outline, parent_id, trace_id, traceparent

EXPECTED = [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]

COMPILE = f"""
import json, time, jitspan, kernels

kernels.launch_add(block=128)
jitspan.activate()
with jitspan.request({traceparent(1)!r}):
    kernels.launch_add(block=256)
"""

# Compiles, flushes for a second, and prints what became of it.
COMPILE_AND_FLUSH = (
    COMPILE
    + """
start = time.perf_counter()
flushed = jitspan.flush(timeout=1)
print(json.dumps({"flushed": flushed, "seconds": time.perf_counter() - start, "stats": jitspan.stats()}))
"""
)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_both_protocols_deliver(scripts, receiver, protocol):
    result = scripts.run(COMPILE_AND_FLUSH, env=receiver.environment(protocol)).json()
    assert result["flushed"] is True
    assert outline(receiver.spans) == EXPECTED
    assert result["stats"]["spans.exported"] == result["stats"]["spans.recorded"] == len(receiver.spans)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_absent_collector_costs_the_host_nothing_but_the_flush(scripts, protocol):
    started = time.monotonic()
    result = scripts.run(
        COMPILE_AND_FLUSH,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": closed_port(),
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "JITSPAN_FLUSH_TIMEOUT": "0.5",
        },
    ).json()
    assert result["flushed"] is False
    assert result["seconds"] < 1.5
    assert result["stats"]["spans.exported"] == 0
    assert result["stats"]["spans.recorded"] > 0
    assert time.monotonic() - started < 30


def test_a_stuck_collector_holds_neither_the_flush_nor_the_exit(scripts):
    with black_hole() as endpoint:
        result = scripts.run(
            COMPILE_AND_FLUSH + "\nimport sys; print(time.time(), file=sys.stderr)\n",
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "JITSPAN_FLUSH_TIMEOUT": "0.5"},
        )
        exit_seconds = time.time() - float(result.stderr.splitlines()[-1])
    assert result.json()["flushed"] is False
    assert 0.9 < result.json()["seconds"] < 1.5
    assert exit_seconds < 2.0


def test_a_collector_that_takes_the_request_and_never_answers_does_not_hold_the_flush(scripts, receiver):
    receiver.hang()
    result = scripts.run(COMPILE_AND_FLUSH, env=receiver.environment() | {"JITSPAN_FLUSH_TIMEOUT": "0.5"}).json()
    assert result["flushed"] is False
    assert 0.9 < result["seconds"] < 1.5


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_comes_back_gets_what_waited_once(scripts, receiver, protocol):
    environment = receiver.environment(protocol)
    receiver.stop()
    process = scripts.start(
        COMPILE
        + """
print("compiled", flush=True)
input()
print(json.dumps(jitspan.flush(timeout=20)))
""",
        env=environment,
    )
    try:
        assert process.stdout.readline() == "compiled\n"
        receiver.start()
        stdout, stderr = process.communicate("go on\n", timeout=60)
    finally:
        process.kill()
    assert stdout == "true\n", stderr
    assert outline(receiver.spans) == EXPECTED


def test_a_collector_that_is_restarted_between_two_compiles_gets_both(scripts, receiver):
    process = scripts.start(
        COMPILE
        + f"""
assert jitspan.flush(timeout=10)
print("compiled", flush=True)
input()
with jitspan.request({traceparent(2)!r}):
    kernels.launch_add(block=512)
print(json.dumps(jitspan.flush(timeout=20)))
""",
        env=receiver.environment(),
    )
    try:
        assert process.stdout.readline() == "compiled\n"
        receiver.stop()
        receiver.start()
        stdout, stderr = process.communicate("go on\n", timeout=60)
    finally:
        process.kill()
    assert stdout == "true\n", stderr
    assert outline(receiver.spans) == [*EXPECTED, (trace_id(2), parent_id(2), "inference", ["jit.compile"])]


def test_a_refusal_for_now_is_tried_again(scripts, receiver):
    receiver.answer_next(UNAVAILABLE)
    scripts.run(COMPILE + "\nprint(json.dumps(jitspan.flush(timeout=20)))\n", env=receiver.environment()).json()
    assert outline(receiver.spans) == EXPECTED
    assert [export.answer.accepts for export in receiver.exports if export.signal == "traces"][:2] == [False, True]


def test_a_refusal_for_good_is_counted_and_not_tried_again(scripts, receiver):
    receiver.answer(INVALID)
    stats = scripts.run(COMPILE_AND_FLUSH, env=receiver.environment()).json()["stats"]
    traces = [export for export in receiver.exports if export.signal == "traces"]
    assert stats["spans.dropped.refused"] == stats["spans.recorded"] == sum(len(export.records) for export in traces)


def test_a_partial_success_is_counted(scripts, receiver):
    receiver.answer_next(partial_success(1, "one was too old"))
    stats = scripts.run(COMPILE_AND_FLUSH, env=receiver.environment()).json()["stats"]
    assert stats["spans.dropped.rejected"] == 1
    assert stats["spans.exported"] == stats["spans.recorded"] - 1
