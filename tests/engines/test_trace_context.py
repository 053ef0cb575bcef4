"""The caller's trace context comes through to the step, whichever way a request takes through vLLM's front end.

vLLM's own tracing is off, as it mostly is: it drops the headers then, and only we keep them. Each test asks for
sampling that nobody has asked for before, so that something compiles for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Answer, Receiver, Serve, Server, Span, named

CHAT = {"path": "/v1/chat/completions", "messages": [{"role": "user", "content": "w5 w6 w7 w8"}]}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cold = tmp_path_factory.mktemp("triton")
    with serve("--api-server-count", "2", triton_cache=cold, tracing=False) as running:
        yield running


def steps_of(receiver: Receiver, answer: Answer, kernel: str) -> list[Span]:
    """The stalled steps in the caller's trace, once the one with `kernel` is there. Each is a child of the caller's."""
    assert answer.status == 200, answer.body

    def has_it(spans: list[Span]) -> bool:
        return any(kernel in step["attributes"]["jit.kernels"] for step in named(spans, "vllm.execute_model"))

    steps = named(receiver.wait_for(answer.trace_id, has_it), "vllm.execute_model")
    assert {step["parent_span_id"] for step in steps} == {answer.span_id}
    return steps


def test_a_completion_by_beams_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    """Each beam is a request of vLLM's own making. The first request of all compiles for itself alone."""
    answer = server.ask(use_beam_search=True, n=2, max_tokens=2)
    steps_of(receiver, answer, "kernel_unified_attention")


def test_a_streamed_completion_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    answer = server.ask(stream=True, logprobs=3)
    steps_of(receiver, answer, "_topk_log_softmax_kernel")


def test_a_streamed_chat_keeps_its_traceparent(server: Server, receiver: Receiver) -> None:
    answer = server.ask(**CHAT, stream=True, temperature=0.8, top_k=20, top_p=0.9)
    steps_of(receiver, answer, "_topk_topp_kernel")


def test_one_that_is_not_streamed_keeps_it_as_well(server: Server, receiver: Receiver) -> None:
    steps_of(receiver, server.ask(temperature=0.8, top_p=0.9), "_topk_topp_kernel")


def test_a_streamed_request_that_is_not_sampled_gets_nothing(server: Server, receiver: Receiver) -> None:
    before = set(receiver.traces)
    # Several at once are the first batch.
    answer = server.ask(stream=True, flags="00", n=3, temperature=0.8)
    assert answer.status == 200
    sampled = server.ask(stream=True, temperature=0.8, top_k=20)
    steps_of(receiver, sampled, "_topk_topp_kernel")
    time.sleep(1)
    # Neither in its own trace nor in one that nobody asked for; and it did compile.
    assert set(receiver.traces) - before == {sampled.trace_id}


def test_several_choices_of_one_streamed_request_are_in_its_trace(server: Server, receiver: Receiver) -> None:
    answer = server.ask(stream=True, n=3, temperature=0.8, top_k=20, top_p=0.9)
    steps_of(receiver, answer, "_topk_topp_kernel")


def test_the_log_misses_no_place_that_is_there(server: Server) -> None:
    """The first module of a point to be imported may be one in which another release has it."""
    assert "is not there in this release" not in server.text()


def test_an_embedding_keeps_its_traceparent(serve: Serve, server: Server, receiver: Receiver, tmp_path: Path) -> None:
    server.stop()
    flags = ("--runner", "pooling", "--convert", "embed")
    with serve(*flags, triton_cache=tmp_path, tracing=False) as pooling:
        answer = pooling.ask(path="/v1/embeddings", input="w5 w6 w7 w8")
        steps_of(receiver, answer, "kernel_unified_attention")
