"""Requests as a server with jitspan reports them, made by hand, so that a test says how many, how slow and when.

A healthy request is one SERVER span. A stalled one has below it the span that jitspan makes, with the summary and the
event, and below that the compile's own span. `test_demo.py` shows that the real server sends the same shape.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SECOND = 1_000_000_000  # nanoseconds
SERVER = "llm_request"
STEP = "vllm.execute_model"


@dataclass
class Request:
    """One request and what happened to it; `stall` is the time in seconds that it waited for a compile."""

    seconds: float = 0.05
    stall: float = 0.0
    failed: bool = False
    kernel: str = "attention_softmax"
    runtime: str = "triton"
    cause: str = "new_specialization"
    service: str = "vllm"
    instance: str = "rank-0"
    started_ns: int = 0
    trace_id: bytes = field(default_factory=lambda: random.randbytes(16))

    def __post_init__(self) -> None:
        self.started_ns = self.started_ns or time.time_ns() - int(self.seconds * SECOND)

    @property
    def hex(self) -> str:
        return self.trace_id.hex()

    def server_span(self) -> Span:
        span = Span(
            trace_id=self.trace_id,
            span_id=self.trace_id[:8],
            name=SERVER,
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=self.started_ns,
            end_time_unix_nano=self.started_ns + int(self.seconds * SECOND),
            attributes=attributes({"gen_ai.request.id": self.hex[:8]}),
        )
        if self.failed:
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="compile in error mode"))
        return span

    def stall_spans(self) -> list[Span]:
        """What jitspan sends: nothing for a request that did not wait."""
        if not self.stall:
            return []
        summary = {
            "jit.stalled": True,
            "jit.compile.count": 1,
            "jit.stall.time": self.stall,
            "jit.stall.longest": self.stall,
            "jit.runtimes": self.runtime,
            "jit.kernels": self.kernel,
        }
        step = Span(
            trace_id=self.trace_id,
            span_id=self.trace_id[8:],
            parent_span_id=self.trace_id[:8],
            name=STEP,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=self.started_ns,
            end_time_unix_nano=self.started_ns + int(self.seconds * SECOND),
            attributes=attributes(summary),
            events=[
                Span.Event(
                    name="jit.compile", time_unix_nano=self.started_ns, attributes=attributes(self.compile_attributes())
                )
            ],
        )
        compile_span = Span(
            trace_id=self.trace_id,
            span_id=random.randbytes(8),
            parent_span_id=step.span_id,
            name="jit.compile",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=self.started_ns,
            end_time_unix_nano=self.started_ns + int(self.stall * SECOND),
            attributes=attributes({"jit.stalled": True, **self.compile_attributes()}),
        )
        return [step, compile_span]

    def compile_attributes(self) -> dict[str, Any]:
        return {
            "jit.runtime": self.runtime,
            "jit.kernel.name": self.kernel,
            "jit.duration": self.stall,
            "jit.cache.result": "miss",
            "jit.cause": self.cause,
            "jit.changes": "length: divisible by 16 -> not",
        }

    def spans(self) -> list[Span]:
        return [self.server_span(), *self.stall_spans()]


def many(count: int, *, stalled: int = 0, failed: int = 0, **same: Any) -> list[Request]:
    """`count` requests in random order, of which so many were stalled and so many others failed."""
    requests = [Request(**same) for _ in range(count)]
    for request in requests[:stalled]:
        request.stall = request.seconds * 0.8
    for request in requests[stalled : stalled + failed]:
        request.failed = True
    random.shuffle(requests)
    return requests


class Sender:
    """Sends to an OTLP receiver over gRPC; a call returns when what it sent was acknowledged."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def send(self, requests: Iterable[Request], *, part: str = "spans", at_once: int = 200) -> None:
        """`part` is the method of `Request` that makes the spans: a server and an engine send one each."""
        stub = traces_grpc.TraceServiceStub(self._channel)
        for some in _chunks(list(requests), at_once):
            message = traces.ExportTraceServiceRequest()
            for request in some:
                spans = getattr(request, part)()
                if spans:
                    block = message.resource_spans.add(resource=resource(request.service, request.instance))
                    block.scope_spans.add().spans.extend(spans if isinstance(spans, list) else [spans])
            stub.Export(message, timeout=30, wait_for_ready=True)

    def send_logs(self, requests: Iterable[Request]) -> None:
        """The compiles of `requests` as log-based events."""
        message = logs.ExportLogsServiceRequest()
        for request in requests:
            block = message.resource_logs.add(resource=resource(request.service, request.instance))
            block.scope_logs.add().log_records.add(
                event_name="jit.compile",
                time_unix_nano=request.started_ns,
                trace_id=request.trace_id,
                span_id=request.trace_id[8:],
                severity_number=13,
                attributes=attributes(request.compile_attributes()),
            )
        logs_grpc.LogsServiceStub(self._channel).Export(message, timeout=30, wait_for_ready=True)

    def send_metrics(self, message: metrics.ExportMetricsServiceRequest) -> None:
        metrics_grpc.MetricsServiceStub(self._channel).Export(message, timeout=30, wait_for_ready=True)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def resource(service: str, instance: str) -> Resource:
    return Resource(attributes=attributes({"service.name": service, "service.instance.id": instance}))


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)


def _chunks(items: list[Request], size: int) -> Iterator[list[Request]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
