"""`span.add_event` of opentelemetry-python with 12 attributes: what our event, the row before, is compared with."""

from __future__ import annotations

import pyperf
from support import QUICK, has

ATTRIBUTES = {
    "jit.runtime": "triton",
    "jit.runtime_version": "3.6.0",
    "jit.kernel.name": "rms_norm",
    "jit.kernel.module": "fake",
    "code.function.name": "fake.rms_norm",
    "jit.duration": 0.18,
    "jit.cache.result": "miss",
    "jit.cause": "new_specialization",
    "jit.changes": "n: divisible by 16 -> not",
    "jit.stage.ttir": 0.09,
    "jit.options": "num_warps=4",
    "thread.id": 7,
}


def run(count: int) -> float:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("bench")
    spans = [tracer.start_span("inference") for _ in range(count // 100 + 1)]
    began = pyperf.perf_counter()
    for number in range(count):
        spans[number // 100].add_event("jit.compile", ATTRIBUTES)
    return pyperf.perf_counter() - began


if has("opentelemetry.sdk.trace"):
    pyperf.Runner(loops=100 if QUICK else 20_000).bench_time_func("opentelemetry-sdk `span.add_event`", run)
