"""The two Rust examples, as built by `make test-live-spans`."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ENVIRONMENTS, ROOT
from expected import ERROR
from support.records import parent_id, trace_id, traceparent

BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"


@contextmanager
def running(sdk, mode: str = "warn", **environment: str) -> Iterator[str]:
    """The server, until it is interrupted; gives its address."""
    env = sdk.environment | sdk.receiver.environment("grpc") | {"PORT": "0", "JIT_MONITOR_MODE": mode} | environment
    process = subprocess.Popen([BINARIES / "rust_host"], env=env, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.send_signal(2)
        assert process.wait(timeout=30) == 0


def get(url: str, number: int) -> int:
    request = urllib.request.Request(url, headers={"traceparent": traceparent(number)})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def by_trace(receiver):
    return {span["trace_id"]: span for span in receiver.spans if span["name"] == "GET /generate"}


def test_the_compile_is_on_the_span_of_the_request_that_waited(logfire, receiver):
    with running(logfire) as address:
        assert [get(f"{address}/generate/{length}", length) for length in (128, 1000, 112)] == [200, 200, 200]
    requests = by_trace(receiver)
    events = {trace: [event["name"] for event in span["events"]] for trace, span in requests.items()}
    assert events == {trace_id(128): [], trace_id(1000): ["jit.compile"], trace_id(112): []}
    unlucky = requests[trace_id(1000)]
    assert (unlucky["parent_span_id"], unlucky["status"]) == (parent_id(1000), "UNSET")
    assert unlucky["attributes"]["jit.stalled"] is True
    [own] = [span for span in receiver.spans if span["scope"] == "jitspan"]
    assert (own["trace_id"], own["parent_span_id"]) == (unlucky["trace_id"], unlucky["span_id"])
    # Python code has activated jitspan, and the program's exporter sends it.
    assert own["resource"] == unlucky["resource"]
    assert own["resource"]["telemetry.sdk.name"] == "opentelemetry"
    attributes = {name: content for name, content in own["attributes"].items() if name != "jit.stalled"}
    assert unlucky["events"] == [
        {"name": "jit.compile", "time_ns": own["start_ns"], "attributes": attributes},
    ]


def test_error_mode_fails_the_request_and_its_span(logfire, receiver):
    with running(logfire, mode="error") as address:
        # The kernel is there after the error: the second request is served.
        assert [get(f"{address}/generate/1000", number) for number in (1, 2)] == [500, 200]
    requests = by_trace(receiver)
    failed, served = requests[trace_id(1)], requests[trace_id(2)]
    assert (failed["status"], served["status"]) == ("ERROR", "UNSET")
    assert "attention_softmax" in failed["status_message"]
    assert failed["attributes"]["error.type"] == ERROR
    assert [event["name"] for event in failed["events"]] == ["jit.compile", "exception"]


MODEL = f"""
# The model of the example, with a span of opentelemetry-python around each step.
import importlib.util
from provider import TRACER

spec = importlib.util.spec_from_file_location("model", {str(ROOT / "examples/rust_host_model.py")!r})
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)

def generate(length):
    with TRACER.start_as_current_span("step"):
        return model.generate(length)
"""


def test_a_span_of_embedded_python_wins_over_the_programs_own(opentelemetry, receiver):
    (opentelemetry.folder / "path/rust_host_model.py").write_text(MODEL)
    [packages] = (ENVIRONMENTS / opentelemetry.name).glob("lib/*/site-packages")
    # opentelemetry-python's exporter sends over HTTP, the program's over gRPC.
    environment = {
        "PYTHONPATH": f"{opentelemetry.environment['PYTHONPATH']}{os.pathsep}{packages}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    }
    with running(opentelemetry, **environment) as address:
        assert get(f"{address}/generate/1000", 1) == 200
    events = {span["name"]: [event["name"] for event in span["events"]] for span in receiver.spans}
    assert events["step"] == ["jit.compile"]
    assert events.get("GET /generate", []) == []


def test_a_program_that_compiles_kernels_itself_sees_it_on_its_span(logfire, receiver):
    environment = logfire.environment | receiver.environment("grpc")
    finished = subprocess.run([BINARIES / "rust_jit"], env=environment, capture_output=True, text=True, timeout=60)
    assert finished.stdout.splitlines() == ["3^2 = 9", "3^5 = 243"], finished.stderr
    requests = {span["attributes"]["exponent"]: span for span in receiver.spans if span["name"] == "request"}
    events = {exponent: [event["name"] for event in span["events"]] for exponent, span in requests.items()}
    assert events == {"2": [], "5": ["jit.compile"]}
    [event] = requests["5"]["events"]
    duration = event["attributes"].pop("jit.duration")
    assert 0 < duration < 10
    assert event["attributes"] == {
        "jit.runtime": "cranelift",
        "jit.kernel.name": "power",
        "code.function.name": "power",
        "jit.cache.result": "miss",
        "jit.cause": "new_specialization",
        "jit.changes": "exponent: 5",
    }
    [own] = [span for span in receiver.spans if span["scope"] == "jitspan"]
    assert own["parent_span_id"] == requests["5"]["span_id"]


def test_error_mode_is_an_error_that_the_program_can_handle(logfire, receiver):
    environment = logfire.environment | receiver.environment("grpc") | {"JIT_MONITOR_MODE": "error"}
    finished = subprocess.run([BINARIES / "rust_jit"], env=environment, capture_output=True, text=True, timeout=60)
    [fine, failed] = finished.stdout.splitlines()
    assert fine == "3^2 = 9"
    assert failed.startswith("3^5 failed: cranelift kernel JIT compilation during inference: power")
    [request] = [span for span in receiver.spans if span["attributes"].get("exponent") == "5"]
    assert (request["status"], [event["name"] for event in request["events"]]) == (
        "ERROR",
        ["jit.compile", "exception"],
    )
