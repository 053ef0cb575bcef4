"""The caller's trace context comes through to the step, whichever way a request takes through vLLM's front end.

vLLM's own tracing is off, as it mostly is: it drops the headers then, and only we keep them. Each test asks for
sampling that nobody has asked for before, so that something compiles for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Receiver, Serve, Server, Span, named

CHAT = {"path": "/v1/chat/completions", "messages": [{"role": "user", "content": "w5 w6 w7 w8"}]}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cold = tmp_path_factory.mktemp("triton")
    with serve("--api-server-count", "2", "--jit-monitor-verbose", triton_cache=cold, tracing=False) as running:
        yield running


def stalled_steps(server: Server, receiver: Receiver, **how: Any) -> list[Span]:
    """The stalled steps in the caller's trace; each is a child of the caller's span."""
    before = server.compiles
    answer = server.ask(**how)
    assert answer.status == 200, answer.body
    if server.compiles == before:
        pytest.skip("this release of vLLM has compiled all of it in its warm-up")
    steps = named(
        receiver.wait_for(answer.trace_id, lambda spans: bool(named(spans, "vllm.execute_model"))), "vllm.execute_model"
    )
    assert {step["parent_span_id"] for step in steps} == {answer.span_id}
    return steps


def test_a_completion_by_beams_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    """Each beam is a request of vLLM's own making. The first request of all compiles for itself alone."""
    stalled_steps(server, receiver, use_beam_search=True, n=2, max_tokens=2)


def test_a_streamed_completion_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    (step,) = stalled_steps(server, receiver, stream=True, logprobs=3, max_tokens=1)
    assert step["attributes"]["jit.kernels"] == "_topk_log_softmax_kernel"


def test_a_streamed_chat_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    steps = stalled_steps(server, receiver, **CHAT, stream=True, temperature=0.8, top_p=0.9)
    assert "_topk_topp_kernel" in {step["attributes"]["jit.kernels"] for step in steps}


def test_a_streamed_request_that_is_not_sampled_gets_nothing(server: Server, receiver: Receiver) -> None:
    before, compiles = set(receiver.traces), server.compiles
    assert server.ask(stream=True, flags="00", temperature=0.8, top_k=20).status == 200
    assert server.compiles > compiles
    time.sleep(2)
    # Neither in its own trace nor in one that nobody asked for.
    assert set(receiver.traces) == before


def test_several_choices_of_one_streamed_request_are_in_its_trace(server: Server, receiver: Receiver) -> None:
    stalled_steps(server, receiver, stream=True, n=3, temperature=0.8, top_k=20, top_p=0.9)


def test_the_log_misses_no_place_that_is_there(server: Server) -> None:
    """The first module of a point to be imported may be one in which another release has it."""
    assert "is not there in this release" not in server.text()


def test_an_embedding_keeps_its_traceparent(serve: Serve, server: Server, receiver: Receiver, tmp_path: Path) -> None:
    server.stop()
    flags = ("--runner", "pooling", "--convert", "embed", "--jit-monitor-verbose")
    with serve(*flags, triton_cache=tmp_path, tracing=False) as pooling:
        stalled_steps(pooling, receiver, path="/v1/embeddings", input="w5 w6 w7 w8")
