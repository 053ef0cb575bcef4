"""A real OTLP receiver on real sockets, gRPC and HTTP, that shares no code with jitspan.

Tests read what arrived as plain Python values, and say how it answers: refuse, ask for a retry, take only a part, hang,
go away and come back on the same port. As a child process (`python -m support.receiver`) it writes each export to
stdout as one line of JSON, so that it outlives the process under test.
"""

from __future__ import annotations

import gzip
import json
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

from support.records import Record, log_records, metric_records, span_records

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What the receiver says to one export, over either protocol."""

    grpc_status: grpc.StatusCode = grpc.StatusCode.OK
    http_status: int = 200
    # Seconds: `RetryInfo` over gRPC, `Retry-After` over HTTP, where a date will do too.
    retry_after: int | str | None = None
    # A partial success: so many records were not taken, and why.
    rejected: int = 0
    message: str = ""

    @property
    def accepts(self) -> bool:
        return self.grpc_status is grpc.StatusCode.OK


OK = Answer()
UNAVAILABLE = Answer(grpc.StatusCode.UNAVAILABLE, 503)
RESOURCE_EXHAUSTED = Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
INVALID = Answer(grpc.StatusCode.INVALID_ARGUMENT, 400)


def retry_after(seconds: int) -> Answer:
    return Answer(grpc.StatusCode.UNAVAILABLE, 503, retry_after=seconds)


def partial_success(rejected: int, message: str) -> Answer:
    return Answer(rejected=rejected, message=message)


@dataclass(frozen=True)
class Signal:
    """How one of OTLP's three signals is read and answered."""

    name: str
    request: type
    response: type
    partial: str
    records: Callable[[Any], list[Record]]


TRACES = Signal(
    "traces",
    traces.ExportTraceServiceRequest,
    traces.ExportTraceServiceResponse,
    "rejected_spans",
    span_records,
)
LOGS = Signal(
    "logs",
    logs.ExportLogsServiceRequest,
    logs.ExportLogsServiceResponse,
    "rejected_log_records",
    log_records,
)
METRICS = Signal(
    "metrics",
    metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse,
    "rejected_data_points",
    metric_records,
)


@dataclass(frozen=True)
class Export:
    """One export that came in, whatever was answered."""

    signal: str
    protocol: str
    headers: dict[str, str]
    answer: Answer
    records: list[Record] = field(repr=False)
    received_ns: int = field(default_factory=time.time_ns)


class Receiver:
    """Listens on a gRPC and on an HTTP port from `start` to `stop`; may be started again, on the same ports."""

    def __init__(self, *, on_export: Callable[[Export], None] | None = None) -> None:
        self.grpc_port = 0
        self.http_port = 0
        self.exports: list[Export] = []
        self._next_answers: deque[Answer] = deque()
        self._answer = OK
        self._on_export = on_export
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._released.set()
        self._stopped = False
        self._grpc: grpc.Server | None = None
        self._http: ThreadingHTTPServer | None = None

    # What arrived.

    @property
    def spans(self) -> list[Record]:
        return self._accepted(TRACES)

    @property
    def logs(self) -> list[Record]:
        return self._accepted(LOGS)

    @property
    def metrics(self) -> list[Record]:
        return self._accepted(METRICS)

    def wait_for(self, condition: Callable[[Receiver], bool], timeout: float = 10.0) -> None:
        """Returns as soon as `condition` holds for what arrived; fails after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise AssertionError(f"not within {timeout} s; arrived: {self.exports}")

    # How it answers.

    def answer(self, answer: Answer) -> None:
        """Answers every export so from now on."""
        self._answer = answer

    def answer_next(self, *answers: Answer) -> None:
        """Answers the next exports so, one each, and then as before."""
        self._next_answers.extend(answers)

    def hang(self) -> None:
        """Takes exports and says nothing, until `release`."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    # Where it listens.

    @property
    def grpc_endpoint(self) -> str:
        return f"http://{HOST}:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    def environment(self, protocol: str = "grpc", *, metrics: bool = False) -> dict[str, str]:
        """The variables that make an exporter send here. Without `metrics`, every export is one of the test's own."""
        endpoint = self.grpc_endpoint if protocol == "grpc" else self.http_endpoint
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "otlp" if metrics else "none",
        }

    def start(self) -> None:
        self._stopped = False
        # Without this, a second server could share the port, and a test would not notice.
        self._grpc = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        traces_grpc.add_TraceServiceServicer_to_server(_Service(self, TRACES), self._grpc)
        logs_grpc.add_LogsServiceServicer_to_server(_Service(self, LOGS), self._grpc)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Service(self, METRICS), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"{HOST}:{self.grpc_port}")
        self._grpc.start()

        self._http = ThreadingHTTPServer((HOST, self.http_port), _handler(self))
        self._http.daemon_threads = True
        self.http_port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, name="otlp-http", daemon=True).start()

    def stop(self) -> None:
        """Closes both ports; exports that hang are let go, and are not noted."""
        self._stopped = True
        self._released.set()
        if self._grpc is not None:
            self._grpc.stop(grace=None).wait()
            self._grpc = None
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def take(self, signal_: Signal, protocol: str, headers: dict[str, str], request: Any) -> Answer:
        """Notes one export and says how to answer it. Called by the two servers."""
        self._released.wait()
        if self._stopped:
            return UNAVAILABLE
        with self._changed:
            answer = self._next_answers.popleft() if self._next_answers else self._answer
            export = Export(signal_.name, protocol, headers, answer, signal_.records(request))
            self.exports.append(export)
            self._changed.notify_all()
        if self._on_export is not None:
            self._on_export(export)
        return answer

    def _accepted(self, signal_: Signal) -> list[Record]:
        return [
            record
            for export in list(self.exports)
            if export.signal == signal_.name and export.answer.accepts
            for record in export.records
        ]


class _Service(traces_grpc.TraceServiceServicer, logs_grpc.LogsServiceServicer, metrics_grpc.MetricsServiceServicer):
    """One of the three gRPC services; all have a single method, `Export`."""

    def __init__(self, receiver: Receiver, signal_: Signal) -> None:
        self._receiver = receiver
        self._signal = signal_

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        answer = self._receiver.take(self._signal, "grpc", headers, request)
        if answer.accepts:
            return _response(self._signal, answer)
        if answer.retry_after is not None:
            status = Status(code=answer.grpc_status.value[0], message=answer.message)
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=answer.retry_after)))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(answer.grpc_status, answer.message)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    signals = {f"/v1/{signal_.name}": signal_ for signal_ in (TRACES, LOGS, METRICS)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            signal_ = signals.get(self.path)
            if signal_ is None or self.headers["Content-Type"] != "application/x-protobuf":
                self._reply(404 if signal_ is None else 415, b"")
                return
            headers = {key.lower(): value for key, value in self.headers.items()}
            answer = receiver.take(signal_, "http", headers, signal_.request.FromString(body))
            if answer.accepts:
                self._reply(200, _response(signal_, answer).SerializeToString())
            else:
                self._reply(answer.http_status, Status(message=answer.message).SerializeToString(), answer.retry_after)

        def _reply(self, status: int, body: bytes, retry_after: int | str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


def _response(signal_: Signal, answer: Answer) -> Any:
    response = signal_.response()
    if answer.rejected or answer.message:
        setattr(response.partial_success, signal_.partial, answer.rejected)
        response.partial_success.error_message = answer.message
    return response


@contextmanager
def black_hole() -> Iterator[str]:
    """An endpoint whose connections are made by the kernel and never answered: a collector that is stuck."""
    with socket.create_server((HOST, 0), backlog=16) as listener:
        yield f"http://{HOST}:{listener.getsockname()[1]}"


def closed_port() -> str:
    """An endpoint where nobody listens: a collector that is absent."""
    with socket.create_server((HOST, 0)) as listener:
        return f"http://{HOST}:{listener.getsockname()[1]}"


def main() -> None:
    """Receives until SIGTERM; the first line on stdout tells the endpoints, each further line is one export (or not,
    when called with `quiet`)."""

    def write(export: Export) -> None:
        line = {"signal": export.signal, "received_ns": export.received_ns, "records": export.records}
        print(json.dumps(line), flush=True)

    with Receiver(on_export=None if "quiet" in sys.argv else write) as receiver:
        print(json.dumps({"grpc": receiver.grpc_endpoint, "http": receiver.http_endpoint}), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # Blocked before any thread starts, so that all of them inherit it and only `sigwait` sees the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
