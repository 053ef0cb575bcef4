"""Starts the real programs that otel-config is written for, on free ports of the loopback interface.

The files in otel-config are used as they are: ports and addresses come in by the environment variables that they name.
Whoever leaves a `with` block leaves no process behind. Knows nothing of pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "otel-config"
BUILT = ROOT / "build" / "bin"
UI_ASSETS = ROOT / "build" / "jaeger-ui"
HOST = "127.0.0.1"

START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 15.0  # seconds

T = TypeVar("T")

# No proxy can reach loopback.
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ProgramFailed(Exception):
    """A program did not start, or ended; the message holds its last words."""


class Missing(ProgramFailed):
    """A program is not on this machine; the message says where it comes from."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def find(program: str) -> str:
    """One that `make backends` built, or one of the system's."""
    path = shutil.which(program, path=str(BUILT)) or shutil.which(program)
    if path is None:
        raise Missing(f"{program} is missing: `make backends` builds Jaeger and the Collector; prometheus, promtool and"
                      " chromium are packages of the system")  # fmt: skip
    return path


def wait_until(condition: Callable[[], T | None], timeout: float, what: str, every: float = 0.1) -> T:
    """What `condition` returns, as soon as that is neither None nor false nor empty."""
    deadline = time.monotonic() + timeout
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise ProgramFailed(f"not within {timeout:.0f} s: {what}")
        time.sleep(every)


class Program:
    """A running process that writes to a log file, and that can be stopped, killed and started again."""

    start_timeout = START_TIMEOUT

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: dict[str, str], ready_port: int
    ) -> None:
        self.name = name
        self.command = command
        self.environment = {**inherited_environment(), **environment}
        self.folder = folder
        self.ready_port = ready_port
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            # A session of its own, so that Ctrl-C reaches us alone and the children end in order.
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_ready, self.start_timeout, f"{self.name} listens on port {self.ready_port}; see {self.log}")

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise ProgramFailed(f"{self.name} ended with status {self.process.returncode}:\n{self.last_words()}")
        return listens(self.ready_port)

    def stop(self) -> int:
        """Asks it to end, and waits; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)

    def kill(self) -> None:
        """Ends it at once, whatever it holds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def last_words(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Program:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()


def inherited_environment() -> dict[str, str]:
    """Ours, less what would change how a program under test behaves, and without a proxy in front of loopback."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "JITSPAN_")) and name.lower() not in ("http_proxy", "https_proxy", "all_proxy")
    }


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


class Jaeger(Program):
    """Jaeger with one of the configurations of otel-config/jaeger, and the real UI."""

    def __init__(self, config: Path, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.grpc_port, self.http_port, self.query_port, query_grpc, health, telemetry = free_ports(6)
        settings = {
            "OTLP_GRPC_LISTEN": f"{HOST}:{self.grpc_port}",
            "OTLP_HTTP_LISTEN": f"{HOST}:{self.http_port}",
            "QUERY_HTTP_LISTEN": f"{HOST}:{self.query_port}",
            "QUERY_GRPC_LISTEN": f"{HOST}:{query_grpc}",
            "HEALTH_LISTEN": f"{HOST}:{health}",
            "TELEMETRY_HOST": HOST,
            "TELEMETRY_PORT": str(telemetry),
            "JAEGER_UI_CONFIG": str(CONFIG / "jaeger" / "ui-config.json"),
            "JAEGER_UI_ASSETS": f"{UI_ASSETS}/" if (UI_ASSETS / "index.html").exists() else "",
            "BADGER_DIRECTORY": str(folder / "badger"),
        }
        command = [find("jaeger"), "--config", str(config)]
        super().__init__("jaeger", command, folder, settings | (environment or {}), self.query_port)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.query_port}"

    @property
    def otlp_grpc(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    def search(self, *, service: str, tags: dict[str, str] | None = None, **query: str) -> list[dict[str, Any]]:
        """Traces by the search that the UI uses; `tags` must all hold on one span."""
        query |= {"service": service, "lookback": "2d", "limit": query.get("limit", "1000")}
        if tags:
            query["tags"] = json.dumps(tags)
        return get_json(f"{self.url}/api/traces?{urllib.parse.urlencode(query)}")["data"]

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace as Jaeger's API of today gives them (OTLP in JSON); none if it is not there."""
        try:
            answer = get_json(f"{self.url}/api/v3/traces/{trace_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return [
            span
            for resource in answer["result"]["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


class Collector(Program):
    """The Collector with configurations of otel-config/collector, laid over one another in the order given."""

    def __init__(
        self,
        *configs: Path,
        folder: Path,
        environment: dict[str, str] | None = None,
        program: str = "otelcol",
        name: str = "",
    ) -> None:
        self.grpc_port, self.http_port, self.prometheus_port, health, self.telemetry_port = free_ports(5)
        settings = {
            "OTLP_GRPC_LISTEN": f"{HOST}:{self.grpc_port}",
            "OTLP_HTTP_LISTEN": f"{HOST}:{self.http_port}",
            "PROMETHEUS_LISTEN": f"{HOST}:{self.prometheus_port}",
            "HEALTH_LISTEN": f"{HOST}:{health}",
            "TELEMETRY_HOST": HOST,
            "TELEMETRY_PORT": str(self.telemetry_port),
            "QUEUE_DIRECTORY": str(folder / "queue"),
        }
        command = [find(program), *(f"--config={config}" for config in configs)]
        super().__init__(name or configs[0].stem, command, folder, settings | (environment or {}), self.grpc_port)

    @property
    def otlp_grpc(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    def own_metric(self, name: str) -> float:
        """The sum over all series of one of the Collector's metrics about itself."""
        lines = get_text(f"http://{HOST}:{self.telemetry_port}/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


class Prometheus(Program):
    """Prometheus with a configuration file."""

    def __init__(self, config: Path, folder: Path) -> None:
        (self.port,) = free_ports(1)
        command = [
            find("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--enable-feature=exemplar-storage",
        ]
        super().__init__("prometheus", command, folder, {}, self.port)

    def _is_ready(self) -> bool:
        # It listens before it has read its configuration, and answers 503 until then.
        try:
            return super()._is_ready() and bool(get_text(f"{self.url}/-/ready"))
        except urllib.error.HTTPError:
            return False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        return self._get("query", query=expression)["result"]

    def value(self, expression: str) -> float | None:
        """The one number that a query gives, if it gives any."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def exemplars(self, expression: str, seconds: float = 3600) -> list[dict[str, Any]]:
        now = time.time()
        series = self._get("query_exemplars", query=expression, start=now - seconds, end=now)
        return [exemplar for one in series for exemplar in one["exemplars"]]

    def _get(self, what: str, **query: Any) -> Any:
        try:
            return get_json(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}")["data"]
        except urllib.error.HTTPError as error:
            raise ProgramFailed(f"Prometheus refused {query.get('query')!r}: {error.read().decode()}") from None


def get_json(url: str) -> Any:
    return json.loads(get_text(url))


def get_text(url: str) -> str:
    with LOOPBACK.open(url, timeout=30) as answer:
        return answer.read().decode()


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that children are stopped."""

    def raise_exit(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, raise_exit) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
