"""vLLM's front end in Rust (`VLLM_USE_RUST_FRONTEND=1`): there is no Python in it, and it hands no traceparent on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Receiver, Serve, Server, named


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cold: Path = tmp_path_factory.mktemp("triton")
    with serve(triton_cache=cold, tracing=False, env={"VLLM_USE_RUST_FRONTEND": "1"}) as running:
        yield running


def test_a_traceparent_in_the_bodys_extra_arguments_is_the_requests(server: Server, receiver: Receiver) -> None:
    answer = server.ask(traceparent="vllm_xargs")
    spans = receiver.wait_for(answer.trace_id, lambda spans: bool(named(spans, "vllm.execute_model")))
    assert {step["parent_span_id"] for step in named(spans, "vllm.execute_model")} == {answer.span_id}


def test_one_in_the_header_of_the_requests_id_as_well(server: Server, receiver: Receiver) -> None:
    answer = server.ask(traceparent="X-Request-Id", temperature=0.8, top_p=0.9, stream=True)
    spans = receiver.wait_for(answer.trace_id, lambda spans: bool(named(spans, "vllm.execute_model")))
    assert {step["parent_span_id"] for step in named(spans, "vllm.execute_model")} == {answer.span_id}


def test_one_in_its_own_header_is_lost_and_the_log_says_what_to_do(server: Server, receiver: Receiver) -> None:
    answer = server.ask(logprobs=3)
    assert answer.status == 200
    (line,) = [line for line in server.text().splitlines() if "front end in Rust" in line]
    assert "WARNING" in line
    assert "X-Request-Id" in line
    assert answer.trace_id not in receiver.traces
