"""Fixtures: `jitspan view` as the receiver, and the real `vllm serve` in a process tree of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENGINES = Path(os.environ.get("ENGINES", ROOT / "build/engines"))
BIN = Path(sys.executable).parent

# Seconds, for a machine that has other things to do as well.
START = 900
REQUEST = 300
SPANS = 60

Span = dict[str, Any]


def inherited() -> dict[str, str]:
    """The environment without what would configure tracing."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN"))}


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return found


@dataclass
class Receiver:
    """What `jitspan view` has written: the newest line of each trace."""

    file: Path
    grpc_port: int
    http_port: int

    @property
    def traces(self) -> dict[str, list[Span]]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return {trace["trace_id"]: trace["spans"] for trace in map(json.loads, lines)}

    def wait_for(self, trace_id: str, condition: Callable[[list[Span]], bool]) -> list[Span]:
        spans: list[Span] = []

        def holds() -> bool:
            spans[:] = self.traces.get(trace_id, [])
            return condition(spans)

        deadline = time.monotonic() + SPANS
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"trace {trace_id} has only {[span['name'] for span in spans]}")
            time.sleep(0.2)
        return spans


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span["name"] == name]


def events(span: Span) -> list[str]:
    return [event["name"] for event in span["events"]]


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    file = tmp_path_factory.mktemp("receiver") / "traces.jsonl"
    command = [BIN / "jitspan", "view", "--all", "--grpc-port", "0", "--http-port", "0", "--json-file", file]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        ports: list[int] = []
        while len(ports) < 2:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line, f"jitspan view ended: {said}"
            said += line
            ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", said)]
        yield Receiver(file, *ports)
        process.send_signal(signal.SIGINT)
        process.wait(10)


@dataclass(frozen=True)
class Answer:
    """One request that has been answered."""

    trace_id: str
    span_id: str
    status: int
    body: dict[str, Any] = field(repr=False)


@dataclass
class Server:
    """A running `vllm serve`."""

    base: str
    model: str
    log: Path
    process: subprocess.Popen[bytes]

    def ask(
        self,
        *,
        traceparent: str | None = "traceparent",
        path: str = "/v1/completions",
        flags: str = "01",
        **body: Any,
    ) -> Answer:
        """`traceparent`: the header it goes in, or `vllm_xargs`. A streamed answer is read to its end; its body is
        the first piece."""
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        context = f"00-{trace_id}-{span_id}-{flags}"
        headers = {"Content-Type": "application/json"}
        if traceparent == "vllm_xargs":
            body["vllm_xargs"] = {"traceparent": context}
        elif traceparent:
            headers[traceparent] = context
        if path != "/v1/embeddings":
            body = {"temperature": 0, "max_tokens": 3, "ignore_eos": True} | body
        body = {"model": self.model} | body
        if "messages" not in body and "input" not in body:
            body.setdefault("prompt", "w5 w6 w7 w8")
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST) as response:
                if not body.get("stream"):
                    return Answer(trace_id, span_id, response.status, json.load(response))
                pieces = [line.removeprefix(b"data: ").strip() for line in response if line.startswith(b"data: ")]
                assert pieces[-1] == b"[DONE]", pieces[-1]
                return Answer(trace_id, span_id, response.status, json.loads(pieces[0]))
        except urllib.error.HTTPError as error:
            return Answer(trace_id, span_id, error.code, json.load(error))

    def ask_together(self, count: int, **body: Any) -> list[Answer]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.ask(**body), range(count)))

    @property
    def is_up(self) -> bool:
        assert self.process.poll() is None, f"vllm serve ended with {self.process.returncode}: {self.log}"
        try:
            return urllib.request.urlopen(f"{self.base}/health", timeout=5).status == 200
        except OSError:
            return False

    @property
    def compiles(self) -> int:
        """Late ones, as vLLM's own monitor has logged them; each of them with --jit-monitor-verbose."""
        return len(re.findall(r"jit_monitor.py.*JIT compilation during inference", self.text()))

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """May be called twice."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own: also the workers of a dead engine
        self.process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, HERE / "tiny_model.py", folder], check=True)
    return folder


@dataclass
class Serve:
    """Starts servers; nothing of jitspan is named but variables of OpenTelemetry."""

    receiver: Receiver
    model: Path
    folder: Path

    @contextmanager
    def __call__(
        self, *flags: str, triton_cache: Path, tracing: bool = True, env: dict[str, str] | None = None
    ) -> Iterator[Server]:
        port = free_port()
        log = self.folder / f"serve-{port}.log"
        environment = inherited() | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT / "examples")]),
            "INTERPRETED_GPU": "1",
            "TRITON_CACHE_DIR": str(triton_cache),
            "VLLM_CACHE_ROOT": str(ENGINES / "vllm-cache"),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.receiver.http_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        command = [BIN / "vllm", "serve", self.model, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--max-model-len", "2048", "--max-num-seqs", "16", "--max-num-batched-tokens", "128"]
        command += ["--kv-cache-memory-bytes", str(256 << 20), *flags]
        if tracing:
            command += ["--otlp-traces-endpoint", f"http://127.0.0.1:{self.receiver.grpc_port}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment | (env or {}), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        server = Server(f"http://127.0.0.1:{port}", str(self.model), log, process)
        try:
            wait_until(lambda: server.is_up, START, "the start of vllm serve")
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def serve(receiver: Receiver, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    return Serve(receiver, model, tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="session")
def triton_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cold at first; later servers of the session find in it what earlier ones compiled."""
    return tmp_path_factory.mktemp("triton")
