"""The real vLLM, whole, with the wheel of jitspan installed and nothing else changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import Answer, Receiver, Serve, Server, Span, events, named, wait_until

VERSION = version("vllm")
# What the first request of all waits for: each release warms up something else.
FIRST = {"kernel_unified_attention", "reduce_segments"} if VERSION == "0.26.0" else {"_gumbel_sample_kernel"}
LORA = ("--enable-lora", "--max-lora-rank", "8")


@pytest.fixture(scope="module")
def earlier(receiver: Receiver) -> set[str]:
    """Traces of other tests' engines."""
    return set(receiver.traces)


@pytest.fixture(scope="module")
def server(serve: Serve, model: Path, earlier: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    del earlier  # asked for before the start
    cold = tmp_path_factory.mktemp("triton")
    with serve(*LORA, "--lora-modules", f"tiny={model}/adapter", triton_cache=cold) as running:
        yield running


def kernels(spans: list[Span]) -> set[str]:
    return {kernel for span in spans for kernel in span["attributes"]["jit.kernels"].split(",")}


def finished(receiver: Receiver, answer: Answer, count: int = 1) -> list[Span]:
    """The trace of a request, once vLLM's own spans of it are there, and what jitspan says of its steps."""
    assert answer.status == 200, answer.body
    return receiver.wait_for(answer.trace_id, lambda spans: complete(spans, count))


def complete(spans: list[Span], count: int) -> bool:
    requests, steps = named(spans, "llm_request"), named(spans, "vllm.execute_model") + named(spans, "vllm.queued")
    return len(requests) == count and sum(map(stalls, requests)) <= sum(map(stalls, steps))


def stalls(span: Span) -> int:
    return sum(span["attributes"].get(f"jit.{kind}.count", 0) for kind in ("compile", "autotune", "load"))


def ranks(spans: list[Span]) -> set[int]:
    return {step["attributes"]["jit.worker.rank"] for step in named(spans, "vllm.execute_model")}


# In this order: what a shape compiles is compiled for those after it.


def test_the_first_request_alone_shows_its_compiles(server: Server, receiver: Receiver) -> None:
    answer = server.ask()
    spans = finished(receiver, answer)

    steps = named(spans, "vllm.execute_model")
    assert kernels(steps) == FIRST
    assert {step["parent_span_id"] for step in steps} == {answer.span_id}
    prefill, *later = sorted(steps, key=lambda step: step["start_unix_nano"])
    assert (
        prefill["attributes"]
        | {
            "gen_ai.request.id": answer.body["id"] + "-0",
            "jit.stalled": True,
            "jit.compile.count": 1,
            "jit.worker.rank": 0,
            "jit.request.scheduled_tokens": 4,
        }
        == prefill["attributes"]
    )
    assert {step["attributes"]["jit.request.scheduled_tokens"] for step in later} <= {1}

    compiles = named(spans, "jit.compile")
    assert {compile["parent_span_id"] for compile in compiles} <= {step["span_id"] for step in steps}
    assert len(compiles) == sum(len(events(step)) for step in steps)


def test_the_requests_own_span_carries_the_summary_and_the_events(server: Server, receiver: Receiver) -> None:
    answer = server.ask(logprobs=3)
    (request,) = named(finished(receiver, answer), "llm_request")

    assert request["parent_span_id"] == answer.span_id
    assert request["attributes"]["jit.stalled"] is True
    assert request["attributes"]["jit.kernels"] == "_topk_log_softmax_kernel"
    assert request["attributes"]["jit.stall.time"] > 0.05
    assert request["attributes"]["gen_ai.request.id"] == answer.body["id"] + "-0"
    assert events(request) == ["jit.compile"]
    (event,) = request["events"]
    assert event["attributes"]["jit.kernel.name"] == "_topk_log_softmax_kernel"
    assert request["start_unix_nano"] <= event["time_unix_nano"]
    assert "jitspan" not in str(answer.body)


def test_a_request_that_waits_for_nothing_has_only_vllms_span(server: Server, receiver: Receiver) -> None:
    answer = server.ask()
    (request,) = finished(receiver, answer)
    assert not [name for name in request["attributes"] if name.startswith("jit.")]


def test_without_a_traceparent_all_spans_share_a_trace_with_a_root(server: Server, receiver: Receiver) -> None:
    before = set(receiver.traces)
    answer = server.ask(traceparent=None, temperature=0.8, top_p=0.9)
    assert answer.status == 200

    def ours() -> list[Span]:
        new = [spans for trace, spans in receiver.traces.items() if trace not in before]
        return next((spans for spans in new if named(spans, "llm_request") and named(spans, "vllm.request")), [])

    spans = wait_until(lambda: complete(ours(), 1) and ours(), 60, "a trace with a root")
    (root,) = named(spans, "vllm.request")
    assert root["parent_span_id"] in ("", None)
    assert root["attributes"]["jit.stalled"] is True
    children = named(spans, "llm_request") + named(spans, "vllm.execute_model")
    assert {child["parent_span_id"] for child in children} == {root["span_id"]}


def test_a_batch_puts_the_compile_on_each_of_its_requests_and_on_no_other(server: Server, receiver: Receiver) -> None:
    alone = server.ask()
    answers = server.ask_together(3, prompt="w5 w6 w7 w8 " * 4, max_tokens=6)
    stalled = []
    for answer in answers:
        steps = named(finished(receiver, answer), "vllm.execute_model")
        stalled += [step for step in steps if step["attributes"].get("jit.batch.size") in (2, 3)]
    assert "kernel_unified_attention" in kernels(stalled)
    sizes = {step["start_unix_nano"]: step["attributes"]["jit.batch.size"] for step in stalled}
    for start, size in sizes.items():
        assert len([step for step in stalled if step["start_unix_nano"] == start]) == size
    assert [span["name"] for span in finished(receiver, alone)] == ["llm_request"]


def test_sixteen_at_once_each_have_the_compiles_of_their_own_steps(server: Server, receiver: Receiver) -> None:
    answers = server.ask_together(16, max_tokens=2, temperature=0.8, top_k=20, top_p=0.9)
    stalled = []
    for answer in answers:
        stalled += named(finished(receiver, answer), "vllm.execute_model")
    if not stalled and VERSION != "0.26.0":
        pytest.skip("this release of vLLM has compiled all of it in its warm-up")
    assert "_topk_topp_kernel" in kernels(stalled)
    assert max(step["attributes"].get("jit.batch.size", 1) for step in stalled) > 3
    for start in {step["start_unix_nano"] for step in stalled}:
        steps = [step for step in stalled if step["start_unix_nano"] == start]
        assert {step["attributes"].get("jit.batch.size", 1) for step in steps} == {len(steps)}


def test_a_request_that_comes_while_another_one_compiles_has_waited_in_the_queue(
    server: Server, receiver: Receiver
) -> None:
    with ThreadPoolExecutor() as pool:
        # A prompt that keeps the step busy before its sampling compiles; nobody has asked for top-k alone yet.
        first = pool.submit(server.ask, prompt="w5 " * 100, max_tokens=1, temperature=0.8, top_k=20)
        time.sleep(0.5)
        second = pool.submit(server.ask, max_tokens=1)
        third = pool.submit(server.ask, max_tokens=1, flags="00")
        stalled, waited, unsampled = first.result(), second.result(), third.result()
    later = server.ask(max_tokens=1)
    steps = named(finished(receiver, stalled), "vllm.execute_model")
    (step,) = [step for step in steps if "_topk_topp_kernel" in step["attributes"]["jit.kernels"]]
    assert step["attributes"]["jit.request.state"] == "running"
    assert not named(finished(receiver, stalled), "vllm.queued")

    spans = receiver.wait_for(
        waited.trace_id, lambda spans: {"llm_request", "vllm.queued"} <= {s["name"] for s in spans}
    )
    assert not named(spans, "vllm.execute_model")
    (request,), (queued,) = named(spans, "llm_request"), named(spans, "vllm.queued")
    assert queued["parent_span_id"] == waited.span_id
    assert queued["attributes"]["jit.request.state"] == "queued"
    assert queued["attributes"]["gen_ai.request.id"] == waited.body["id"] + "-0"
    (event,) = [event for event in queued["events"] if event["attributes"]["jit.kernel.name"] == "_topk_topp_kernel"]
    (compiled,) = [event for event in step["events"] if event["attributes"]["jit.kernel.name"] == "_topk_topp_kernel"]
    # From when it came, or the compile began, to when that ended.
    ended = compiled["time_unix_nano"] + compiled["attributes"]["jit.duration"] * 1e9
    assert queued["start_unix_nano"] >= request["start_unix_nano"] - 1_000_000
    assert abs(queued["end_unix_nano"] - ended) < 1000
    assert event["attributes"]["jit.duration"] == compiled["attributes"]["jit.duration"]
    assert abs(event["attributes"]["jit.request.waited"] * 1e9 - (ended - event["time_unix_nano"])) < 1000
    assert queued["attributes"]["jit.stall.time"] == pytest.approx(request["attributes"]["jit.stall.time"])

    assert [span["name"] for span in finished(receiver, later)] == ["llm_request"]
    assert unsampled.trace_id not in receiver.traces


def test_several_choices_of_one_request_are_one_wait(server: Server, receiver: Receiver) -> None:
    """vLLM makes a request of each, and they run together."""
    answer = server.ask(n=5, max_tokens=2, temperature=0.8, top_p=0.9)
    assert answer.status == 200, answer.body
    spans = receiver.wait_for(
        answer.trace_id,
        lambda spans: len(named(spans, "llm_request")) == 5 and bool(named(spans, "vllm.execute_model")),
    )
    steps = named(spans, "vllm.execute_model")
    assert len({step["start_unix_nano"] for step in steps}) == len(steps)
    assert max(step["attributes"].get("jit.request.sequences", 1) for step in steps) > 1
    assert {step["attributes"]["gen_ai.request.id"] for step in steps} == {answer.body["id"] + "-0"}


def test_an_adapter_compiles_its_kernels_for_its_request(server: Server, receiver: Receiver) -> None:
    spans = finished(receiver, server.ask(model="tiny", prompt="w5 " * 16, max_tokens=2))
    assert {"_lora_shrink_kernel", "_lora_expand_kernel"} <= kernels(named(spans, "vllm.execute_model"))


def test_vllms_own_monitor_goes_on_logging(server: Server) -> None:
    assert "jit_monitor.py" in server.text()
    assert "Kernel JIT monitor activated" in server.text()
    assert "jitspan fault" not in server.text()


def test_the_log_has_one_line_when_armed_and_one_for_each_compile_in_vllms_format(
    server: Server, receiver: Receiver
) -> None:
    lines = [line for line in server.text().splitlines() if "jitspan" in line or "JIT compilation during" in line]
    (armed,) = [line for line in lines if "Kernel JIT monitor activated" in line]
    assert re.search(r"INFO \d\d-\d\d .* jitspan [\d.]+; rank 0 of 1; spans go to http://127.0.0.1:\d+", armed), armed
    assert re.search(r"Triton [\d.]+ is watched", armed), armed
    assert re.search(r"CuTeDSL( [\d.]+)? is watched", armed), armed
    told = [
        line for line in lines if re.search(r"WARNING \d\d-\d\d .* \[rank 0; request cmpl-\S+ trace [0-9a-f]{32}", line)
    ]
    assert {line.split("trace ")[1][:32] for line in told} & set(receiver.traces)


@pytest.mark.usefixtures("server")
def test_no_compile_is_on_a_trace_that_nobody_sent(receiver: Receiver, earlier: set[str]) -> None:
    """Warm-up is counted only; the trace of vLLM's start has none of it."""
    for trace, spans in receiver.traces.items():
        if trace not in earlier and not named(spans, "llm_request"):
            assert not named(spans, "jit.compile"), [span["name"] for span in spans]


def test_with_two_ranks_the_request_has_the_events_of_both(
    server: Server, serve: Serve, receiver: Receiver, triton_cache: Path
) -> None:
    server.stop()
    with serve("--tensor-parallel-size", "2", triton_cache=triton_cache) as pair:
        answer = pair.ask()
        spans = receiver.wait_for(answer.trace_id, lambda spans: ranks(spans) == {0, 1} and complete(spans, 1))
    (request,) = named(spans, "llm_request")
    steps = named(spans, "vllm.execute_model")
    # Its own span counts as the rank does that stalled longest, and its time is that of both together.
    counts = {
        rank: sum(stalls(step) for step in steps if step["attributes"]["jit.worker.rank"] == rank) for rank in (0, 1)
    }
    assert stalls(request) in counts.values()
    assert len({event["attributes"]["jit.worker.rank"] for event in request["events"]}) == 1
    assert request["attributes"]["jit.stall.time"] >= max(step["attributes"]["jit.stall.time"] for step in steps)
    assert {step["parent_span_id"] for step in steps} == {answer.span_id}


def test_error_mode_delivers_the_failed_span_of_every_rank_before_the_engine_dies(
    server: Server, serve: Serve, receiver: Receiver, tmp_path: Path
) -> None:
    server.stop()
    flags = ("--tensor-parallel-size", "2", "--jit-monitor-mode", "error")
    # Nothing is exported in the background for a minute: what arrives was flushed. vLLM's own tracing is off, so that
    # only we have heard of the traceparent.
    with serve(*flags, triton_cache=tmp_path, tracing=False, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"}) as pair:
        answer = pair.ask()
        assert answer.status == 500
        spans = receiver.wait_for(answer.trace_id, lambda spans: len(named(spans, "vllm.execute_model")) == 2)

    steps = named(spans, "vllm.execute_model")
    assert ranks(spans) == {0, 1}
    for step in steps:
        assert step["parent_span_id"] == answer.span_id
        assert step["status"] == "ERROR"
        assert step["attributes"]["error.type"] == "jitspan.UnexpectedCompileError"
        assert events(step) == ["jit.compile", "exception"]
