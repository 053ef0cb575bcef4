"""In error mode the span is failed and has arrived before anything is raised."""

from __future__ import annotations

import signal

import pytest
from support.receiver import black_hole
from support.records import parent_id, trace_id, traceparent

PRELUDE = f"""
import json, os, signal, time, jitspan, kernels

kernels.launch_add(block=128)
jitspan.activate(mode="error")

def compile_unexpectedly(block=256):
    with jitspan.request({traceparent(1)!r}, name="generate"):
        kernels.launch_add(block=block)
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_failed_span_has_arrived_before_the_process_dies(scripts, receiver, protocol):
    # The delay would hold back what is not flushed; SIGKILL leaves no time for anything at exit.
    finished = scripts.run(
        PRELUDE
        + """
try:
    compile_unexpectedly()
except jitspan.UnexpectedCompileError:
    os.kill(os.getpid(), signal.SIGKILL)
""",
        env=receiver.environment(protocol) | {"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    )
    assert finished.returncode == -signal.SIGKILL
    [span] = [span for span in receiver.spans if span["name"] == "generate"]
    assert (span["trace_id"], span["parent_span_id"], span["status"]) == (trace_id(1), parent_id(1), "ERROR")
    assert "add" in span["status_message"]
    assert span["attributes"]["error.type"] == "jitspan.UnexpectedCompileError"
    assert [event["name"] for event in span["events"]] == ["jit.compile", "exception"]
    assert span["events"][1]["attributes"] == {
        "exception.type": "jitspan.UnexpectedCompileError",
        "exception.message": span["status_message"],
    }


def test_the_error_is_a_runtime_error_out_of_the_launch_with_the_spans_message(scripts, receiver):
    finished = scripts.run(
        PRELUDE
        + """
assert issubclass(jitspan.UnexpectedCompileError, RuntimeError)
try:
    compile_unexpectedly()
except RuntimeError as error:
    print(json.dumps([type(error).__name__, str(error)]))
""",
        env=receiver.environment(),
    )
    name, message = finished.json()
    assert name == "UnexpectedCompileError"
    assert [span["status_message"] for span in receiver.spans if span["name"] == "generate"] == [message]


def test_a_stuck_collector_delays_the_error_by_the_flush_timeout_and_no_more(scripts):
    with black_hole() as endpoint:
        finished = scripts.run(
            PRELUDE
            + """
start = time.perf_counter()
try:
    compile_unexpectedly()
except jitspan.UnexpectedCompileError:
    print(json.dumps(time.perf_counter() - start))
""",
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "JITSPAN_FLUSH_TIMEOUT": "1"},
        )
    # The flush, and a compile of a few tenths of a second.
    assert 1.0 < finished.json() < 2.5


def test_the_launch_after_the_error_works(scripts, receiver):
    finished = scripts.run(
        PRELUDE
        + """
try:
    compile_unexpectedly()
except jitspan.UnexpectedCompileError:
    before = len(kernels.GPU.launches)
    compile_unexpectedly()
    print(json.dumps(len(kernels.GPU.launches) - before))
""",
        env=receiver.environment(),
    )
    assert finished.json() == 1


LOAD = (
    """
import kernels

kernels.launch_add(block=256)
kernels.forget(kernels.add)
"""
    + PRELUDE
    + """
try:
    compile_unexpectedly()
    print(json.dumps("went on"))
except jitspan.UnexpectedCompileError:
    print(json.dumps("raised"))
assert jitspan.flush(timeout=10)
"""
)


LOADS = {"JITSPAN_ERROR_ON": "compile,autotune,load"}


@pytest.mark.parametrize(
    ("environment", "outcome", "status"),
    [
        ({}, "went on", "UNSET"),
        (LOADS | {"JITSPAN_LOAD_THRESHOLD": "0"}, "raised", "ERROR"),
        (LOADS | {"JITSPAN_LOAD_THRESHOLD": "600"}, "went on", "UNSET"),
    ],
)
def test_a_load_from_disk_raises_only_when_asked_and_only_if_it_is_long(
    scripts, receiver, environment, outcome, status
):
    finished = scripts.run(LOAD, env=receiver.environment() | environment)
    assert finished.json() == outcome
    [span] = [span for span in receiver.spans if span["name"] == "generate"]
    assert (span["status"], span["events"][0]["name"]) == (status, "jit.load")
    if environment:
        assert span["attributes"]["jit.stalled"] is (outcome == "raised")


def test_a_kernel_that_cannot_compile_raises_its_own_error_and_is_reported(scripts, receiver):
    finished = scripts.run(
        PRELUDE
        + f"""
try:
    with jitspan.request({traceparent(1)!r}, name="generate"):
        kernels.launch_broken()
except Exception as error:
    print(json.dumps(type(error).__name__))
assert jitspan.flush(timeout=10)
""",
        env=receiver.environment(),
    )
    assert finished.json() == "CompileTimeAssertionFailure"
    [span] = [span for span in receiver.spans if span["name"] == "generate"]
    [event] = [event for event in span["events"] if event["name"] == "jit.compile"]
    assert event["attributes"]["jit.kernel.name"] == "broken"
    assert event["attributes"]["error.type"].endswith("CompileTimeAssertionFailure")
