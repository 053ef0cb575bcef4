"""The real OpenTelemetry Collector as a child process: built by `make backends`, configured, paused, killed, restarted.

What it took is read from the file that its `file` exporter writes, which no code of ours has touched.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BINARY = Path(__file__).parents[3] / "build" / "bin" / "otelcol"

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{grpc}{tls}{auth}}}
      http: {{endpoint: 127.0.0.1:{http}{tls}{auth}}}
extensions:
  bearertokenauth: {{token: {token}}}
exporters:
  file: {{path: {output}, flush_interval: 100ms}}
service:
  extensions: [{extensions}]
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
{pipelines}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def attributes(holder: dict) -> dict:
    """The attributes of a resource, a span or an event, whose values are JSON's of OTLP (a whole number is a text)."""
    return {pair["key"]: next(iter(pair["value"].values())) for pair in holder.get("attributes", [])}


class Collector:
    """On the same ports from `start` to `stop`, however often."""

    def __init__(
        self,
        folder: Path,
        *,
        signals: tuple[str, ...] = ("traces", "metrics", "logs"),
        tls: str = "",
        token: str = "",
    ) -> None:
        """With a `token` it takes nothing from whoever does not send that."""
        self.folder = folder
        self.grpc_port, self.http_port = free_port(), free_port()
        self.output = folder / "received.jsonl"
        self.scheme = "https" if tls else "http"
        pipelines = "\n".join(f"    {name}: {{receivers: [otlp], exporters: [file]}}" for name in signals)
        self._config = folder / "collector.yaml"
        self._config.write_text(
            CONFIG.format(
                grpc=self.grpc_port,
                http=self.http_port,
                output=self.output,
                pipelines=pipelines,
                tls=f", tls: {tls}" if tls else "",
                auth=", auth: {authenticator: bearertokenauth}" if token else "",
                extensions="bearertokenauth" if token else "",
                token=token or "unused",
            )
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._runs = 0

    def environment(self, protocol: str = "grpc") -> dict[str, str]:
        port = self.grpc_port if protocol == "grpc" else self.http_port
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{self.scheme}://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }

    def start(self) -> None:
        if self._runs:
            # The exporter begins its file anew at each start.
            self.output.rename(self.folder / f"received.{self._runs}.jsonl")
        self._runs += 1
        self._process = subprocess.Popen([BINARY, "--config", self._config], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "the Collector ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.grpc_port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the Collector did not listen within 30 s")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def spans(self) -> list[dict]:
        """Every span it has written, over all its lives."""
        return [span for _, span in self.spans_with_resource()]

    def spans_with_resource(self) -> list[tuple[dict, dict]]:
        """Each with the attributes of its resource."""
        return [
            (attributes(resource["resource"]), span)
            for message in self._messages()
            for resource in message.get("resourceSpans", [])
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def metrics(self) -> list[dict]:
        return [
            metric
            for message in self._messages()
            for resource in message.get("resourceMetrics", [])
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        ]

    def logs(self) -> list[dict]:
        return [
            record
            for message in self._messages()
            for resource in message.get("resourceLogs", [])
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]

    def _messages(self) -> Iterator[dict]:
        for path in sorted(self.folder.glob("received*.jsonl")):
            for line in path.read_text().splitlines():
                yield json.loads(line)
