"""Ranks of a server that send jitspan's metrics, made with opentelemetry-python, and the server's own metrics page.

`test_demo.py` shows that jitspan itself sends these names.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backends import HOST
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from traffic import Request

BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0]


class Rank:
    """One process: its counters begin at 0 and are sent once a second."""

    def __init__(self, otlp_grpc: str, service: str, instance: str, runtimes: tuple[str, ...] = ("triton",)) -> None:
        exporter = OTLPMetricExporter(endpoint=f"http://{otlp_grpc}", insecure=True)
        self._provider = MeterProvider(
            metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=1000)],
            resource=Resource({"service.name": service, "service.instance.id": instance}),
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("jitspan")

        def histogram(name: str):
            return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=BOUNDS)

        self._compile_duration = histogram("jit.compile.duration")
        self._autotune_duration = histogram("jit.autotune.duration")
        self._compile_count = meter.create_counter("jit.compiles", "{compile}")
        self._load_count = meter.create_counter("jit.loads", "{load}")
        self._kernel_time = meter.create_counter("jit.kernel.time", "s")
        self._requests = meter.create_counter("jit.stalled_requests", "{request}")
        self._dropped = meter.create_counter("otel.sdk.exporter.span.exported", "{span}")
        self._requests.add(0)
        self._dropped.add(0, {"otel.component.name": "jitspan", "error.type": "queue_full"})
        for runtime in runtimes:
            self._load_count.add(0, {"jit.runtime": runtime})
            for cause in ("first_use", "new_specialization", "recompile", "retune"):
                self._compile_count.add(0, {"jit.runtime": runtime, "jit.cause": cause})

    def stalls(self, request: Request) -> None:
        """Counts the compile that `request` waited for, which is also what the exemplar leads to."""
        runtime = {"jit.runtime": request.runtime}
        context = SpanContext(
            int.from_bytes(request.trace_id, "big"),
            int.from_bytes(request.trace_id[8:], "big"),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        self._compile_duration.record(
            request.stall,
            runtime | {"jit.cache.result": "miss"},
            context=trace.set_span_in_context(NonRecordingSpan(context)),
        )
        self._compile_count.add(1, runtime | {"jit.cause": request.cause})
        self._kernel_time.add(request.stall, runtime | {"jit.kernel.name": request.kernel})
        self._requests.add(1)

    def tunes(self, seconds: float, runtime: str = "triton") -> None:
        self._autotune_duration.record(seconds, {"jit.runtime": runtime})

    def drops(self, spans: int) -> None:
        self._dropped.add(spans, {"otel.component.name": "jitspan", "error.type": "queue_full"})

    def stop(self) -> None:
        self._provider.shutdown(timeout_millis=5000)


class ServerMetrics:
    """The latency metrics of vLLM or SGLang, by the names that they have there."""

    BOUNDS = (0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._seconds: list[float] = []

    def served(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def page(self) -> str:
        lines = []
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
            name = f"{self._engine}:{name}"
            lines.append(f"# TYPE {name} histogram")
            for bound in (*self.BOUNDS, float("inf")):
                count = sum(seconds <= bound for seconds in self._seconds)
                lines.append(
                    f'{name}_bucket{{model_name="m",le="{bound if bound != float("inf") else "+Inf"}"}} {count}'
                )
            lines.append(f'{name}_sum{{model_name="m"}} {sum(self._seconds)}')
            lines.append(f'{name}_count{{model_name="m"}} {len(self._seconds)}')
        return "\n".join(lines) + "\n"

    @contextmanager
    def served_over_http(self) -> Iterator[str]:
        """The address of the page."""
        page = self.page

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        with ThreadingHTTPServer((HOST, 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"{HOST}:{server.server_port}"
            finally:
                server.shutdown()
