"""What exporting costs a Python server: CPU for spans of 3 events, and how late the event loop runs meanwhile; jitspan
and opentelemetry-python beside each other, in one run, to one receiver in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from support import QUICK, ROOT, figure, has, skip, tests

TESTS = ROOT / "tests" / "python"
SPANS = 200 if QUICK else 5_000
BATCH = 100 if QUICK else 500
IDLE = 0.2 if QUICK else 2.0
ATTRIBUTES = {
    "jit.runtime": "triton",
    "jit.runtime_version": "3.6.0",
    "jit.kernel.name": "rms_norm",
    "jit.kernel.module": "fake",
    "code.function.name": "fake.rms_norm",
    "jit.duration": 0.18,
    "jit.cache.result": "miss",
    "jit.cause": "new_specialization",
}


async def lag(task: asyncio.Task[object] | None, seconds: float = IDLE) -> list[float]:
    """By how much sleeps of 1 ms are late, ms: while `task` runs, or for some time with nothing else."""
    late, deadline = [], time.perf_counter() + seconds
    while (not task.done()) if task else time.perf_counter() < deadline:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - began) * 1e3 - 1)
    return late


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(batch, flush) -> dict[str, float]:
    idle, busy, used = await lag(None), [], 0.0
    for _ in range(SPANS // BATCH):
        began = cpu()
        batch()
        used += cpu() - began
        began = cpu()
        busy += await lag(asyncio.create_task(asyncio.to_thread(flush)))
        used += cpu() - began
    (idle_median, idle_99), (busy_median, busy_99) = ((statistics.median(each), last(each)) for each in (idle, busy))
    return {
        "CPU": used * 100_000 / SPANS,
        "p50, ratio to idle": busy_median / idle_median,
        "p99, ratio to idle": busy_99 / idle_99,
        "p50": busy_median,
        "p99": busy_99,
        "p50 idle": idle_median,
        "p99 idle": idle_99,
    }


def last(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def of_jitspan() -> dict[str, float]:
    import logging

    logging.disable(logging.CRITICAL)
    fake_triton = tests("fake_triton")
    fake_triton.install()
    import jitspan

    kernel = fake_triton.JITFunction("rms_norm")
    number = 0
    jitspan.activate()

    def batch() -> None:
        nonlocal number
        for _ in range(BATCH):
            with jitspan.request():
                for _ in range(3):
                    kernel.launch(str(number))
                    number += 1

    result = asyncio.run(measure(batch, lambda: jitspan.flush(timeout=60)))
    stats = jitspan.stats()
    assert stats["spans.exported"] == stats["spans.recorded"] == SPANS, stats
    return result


def of_opentelemetry() -> dict[str, float]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True), schedule_delay_millis=60_000))
    tracer = provider.get_tracer("bench")

    def batch() -> None:
        for _ in range(BATCH):
            with tracer.start_as_current_span("inference") as span:
                for _ in range(3):
                    span.add_event("jit.compile", ATTRIBUTES)

    return asyncio.run(measure(batch, provider.force_flush))


UNITS = {"CPU": "CPU-s per 100,000 spans", "p50, ratio to idle": "", "p99, ratio to idle": ""}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(of_jitspan() if sys.argv[1] == "jitspan" else of_opentelemetry()))
        return
    if not has("jitspan", "opentelemetry.exporter.otlp.proto.grpc", "google.rpc.status_pb2"):
        skip("jitspan, opentelemetry-exporter-otlp-proto-grpc or grpcio is not installed here")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    receiver = subprocess.Popen(
        [sys.executable, "-m", "support.receiver", "quiet"], env=environment, stdout=subprocess.PIPE, text=True
    )
    endpoint = json.loads(receiver.stdout.readline())["grpc"]
    own = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "JITSPAN_COMPILE_SPANS": "0",
    }
    try:
        for subject in ("jitspan", "opentelemetry-python"):
            run = [sys.executable, __file__, subject]
            done = subprocess.run(run, env=os.environ | own, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            if subject == "jitspan":
                # Not of exporting: three imitated compiles go through all hooks. `export.rs` has ours.
                found.pop("CPU")
            for name, value in found.items():
                figure(f"{subject}, {name}", value, UNITS.get(name, "ms"))
    finally:
        receiver.terminate()


if __name__ == "__main__":
    main()
