"""A real server: uvicorn, FastAPI and opentelemetry-instrumentation-fastapi, with requests at the same time."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
from support.records import parent_id, trace_id, traceparent

REQUESTS = 200
KINDS = ("worker", "task", "nested")
# By the number of the request: a block size that nobody has asked for before. Each of KINDS is among them.
UNLUCKY = {7: 256, 23: 512, 42: 1024, 99: 2048, 140: 4096, 199: 8192}


async def ask_all(port: str) -> list[int]:
    # All at once: the server does not know which of them will wait.
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=120) as client:
        asked = [
            client.get(
                f"/{KINDS[number % 3]}/{number}/{UNLUCKY.get(number, 128)}",
                headers={"traceparent": traceparent(number)},
            )
            for number in range(REQUESTS)
        ]
        return [(await answer).json() for answer in asyncio.as_completed(asked)]


def test_of_200_concurrent_requests_only_those_that_waited_carry_an_event(opentelemetry, receiver):
    source = Path(__file__).with_name("fastapi_server.py").read_text()
    process = opentelemetry.start(source, env={"OTEL_SEMCONV_STABILITY_OPT_IN": "http"})
    try:
        port = process.stdout.readline().strip()
        assert port, process.communicate()[1]
        assert sorted(asyncio.run(ask_all(port))) == list(range(REQUESTS))
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    servers = {span["trace_id"]: span for span in receiver.spans if span["parent_span_id"].startswith("0000000000b")}
    assert sorted(servers) == sorted(trace_id(number) for number in range(REQUESTS)), stderr

    # The span with the event: the server's, or the one that the handler has opened inside it.
    events = sorted(
        (span["trace_id"], span["name"], [event["name"] for event in span["events"]])
        for span in receiver.spans
        if span["events"]
    )
    names = {"worker": "GET /worker/{number}/{block}", "task": "GET /task/{number}/{block}", "nested": "model"}
    assert events == sorted((trace_id(number), names[KINDS[number % 3]], ["jit.compile"]) for number in UNLUCKY)

    # The summary: on the server's span in each case, and on no other request's.
    stalled = {trace for trace, span in servers.items() if "jit.stalled" in span["attributes"]}
    assert stalled == {trace_id(number) for number in UNLUCKY}
    assert all(servers[trace]["attributes"]["jit.compile.count"] == 1 for trace in stalled)
    assert all(servers[trace_id(number)]["parent_span_id"] == parent_id(number) for number in UNLUCKY)

    # The compiles' own spans: one for each, in the same traces.
    own = sorted(span["trace_id"] for span in receiver.spans if span["scope"] == "jitspan")
    assert own == sorted(stalled)
