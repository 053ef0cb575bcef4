"""What a person finds in Jaeger, through the Collector with single.yaml, by the searches in otel-config/jaeger."""

from __future__ import annotations

import random

import pytest
from backends import Jaeger, wait_until
from conftest import Running
from traffic import SERVER, STEP, Request

SHORT = Request(seconds=2.5, stall=0.1, kernel="rms_norm")
LONG = Request(seconds=1.0, stall=0.9)
FAILED = Request(seconds=0.6, stall=0.5, failed=True, kernel="gemm_bf16", runtime="cutedsl")
HEALTHY = [Request() for _ in range(20)]
SLOW_WITHOUT_STALL = Request(seconds=3.0)
SENT = [SHORT, LONG, FAILED, *HEALTHY, SLOW_WITHOUT_STALL]
STALLED = {SHORT.hex, LONG.hex, FAILED.hex}


@pytest.fixture(scope="module", params=["memory", "badger"])
def jaeger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    from contextlib import ExitStack

    with ExitStack() as cleanup:
        running = Running(tmp_path_factory.mktemp(request.param), cleanup)
        jaeger = running.jaeger(request.param)
        collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
        running.sender(collector).send(random.sample(SENT, len(SENT)))
        wait_until(lambda: len(jaeger.search(service="vllm")) >= 4, 30, "the sampled traces are in Jaeger")
        yield jaeger


def found(jaeger: Jaeger, **search: object) -> set[str]:
    return {trace["traceID"] for trace in jaeger.search(service="vllm", **search)}


def test_all_requests_that_waited_are_found_by_one_tag_and_no_others(jaeger: Jaeger) -> None:
    assert found(jaeger, tags={"jit.stalled": "true"}) == STALLED


def test_slow_requests_that_waited_are_found_by_the_tag_and_a_minimum_duration(jaeger: Jaeger) -> None:
    slow = found(jaeger, tags={"jit.stalled": "true"}, minDuration="800ms")

    assert slow == {LONG.hex, SHORT.hex}
    assert SLOW_WITHOUT_STALL.hex in found(jaeger, minDuration="800ms")


def test_the_tag_and_the_duration_hold_on_one_span_of_one_operation(jaeger: Jaeger) -> None:
    assert found(jaeger, tags={"jit.stalled": "true"}, operation=STEP, minDuration="800ms") == {LONG.hex, SHORT.hex}


def test_a_kernel_is_found_by_its_name(jaeger: Jaeger) -> None:
    assert found(jaeger, tags={"jit.kernel.name": "gemm_bf16"}) == {FAILED.hex}
    assert found(jaeger, tags={"jit.kernels": "rms_norm"}) == {SHORT.hex}


def test_requests_that_failed_are_found_by_their_status(jaeger: Jaeger) -> None:
    # Jaeger 2.13 answers `error=true` only where storage is Badger; the status' text is a tag everywhere.
    assert found(jaeger, tags={"otel.status_description": "compile in error mode"}) == {FAILED.hex}


def test_the_trace_has_all_its_spans_and_the_event_with_typed_attributes(jaeger: Jaeger) -> None:
    spans = {span["name"]: span for span in jaeger.trace(LONG.hex)}

    assert set(spans) == {SERVER, STEP, "jit.compile"}
    (event,) = spans[STEP]["events"]
    values = {attribute["key"]: attribute["value"] for attribute in event["attributes"]}
    assert event["name"] == "jit.compile"
    assert values["jit.kernel.name"] == {"stringValue": "attention_softmax"}
    assert values["jit.duration"] == {"doubleValue": 0.9}
