"""What exporting costs a Python server: CPU for spans of 3 events, and how late the event loop runs meanwhile; jitspan
and opentelemetry-python beside each other, in one run, to one receiver in a process of its own.

    python benches/export.py [SPANS]

Needs jitspan (a release build), opentelemetry-sdk, opentelemetry-exporter-otlp-proto-grpc and grpcio.
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
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "python"
SPANS = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
BATCH = 500
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


async def lag(task: asyncio.Task[object] | None, seconds: float = 2.0) -> list[float]:
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
    return {
        "CPU-s per 100,000 spans": used * 100_000 / SPANS,
        "lag idle, ms (median)": statistics.median(idle),
        "lag while exporting, ms (median)": statistics.median(busy),
        "lag while exporting, ms (99 %)": statistics.quantiles(busy, n=100)[98],
    }


def of_jitspan() -> dict[str, float]:
    sys.path.insert(0, str(TESTS))
    from support import fake_triton

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


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ("jitspan", "opentelemetry"):
        print(json.dumps(of_jitspan() if sys.argv[1] == "jitspan" else of_opentelemetry()))
        return
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    receiver = subprocess.Popen(
        [sys.executable, "-m", "support.receiver", "quiet"], env=environment, stdout=subprocess.PIPE, text=True
    )
    endpoint = json.loads(receiver.stdout.readline())["grpc"]
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "JITSPAN_COMPILE_SPANS": "0",
    }
    spans = sys.argv[1] if len(sys.argv) > 1 else str(SPANS)
    try:
        for subject in ("jitspan", "opentelemetry"):
            command = [sys.executable, __file__, subject, spans]
            result = json.loads(
                subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            )
            print(subject, {name: round(value, 3) for name, value in result.items()})
    finally:
        receiver.terminate()


if __name__ == "__main__":
    main()
