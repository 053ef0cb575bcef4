"""`make demo`: a server, some requests, and the answer to which of them paid for a kernel compile.

Starts `jitspan view` and `serve.py`, sends real HTTP requests with `traceparent` headers, and checks that each compile
arrived on the trace of the request that waited for it, and on no other. With OTEL_EXPORTER_OTLP_ENDPOINT set, the
server sends there instead, and the trace ids to look for are printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SERVER = Path(__file__).with_name("serve.py")
KERNEL = "attention_softmax"

# What warm-up missed, and why that compiles.
UNEXPECTED = {
    20_000: "longer than any prompt of the warm-up, so a new BLOCK",
    1_000: "its BLOCK is warm, but every warm-up length was a multiple of 16, and Triton specializes on that",
}
EXPECTED = (128, 256, 512, 1024, 2048)

START_TIMEOUT = 120.0  # seconds; a cold start imports and compiles
REQUEST_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 10.0  # seconds


class DemoFailed(Exception):
    """Something did not go as it must; the message is for the user."""


@dataclass
class Request:
    prompt_tokens: int
    compiles: bool
    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    started_ns: int = 0
    seconds: float = 0.0

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


def main() -> None:
    # An end by signal must stop the children too; SIGINT does so by itself.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        run(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    except DemoFailed as failure:
        sys.exit(f"demo FAILED: {failure}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")


def run(external_endpoint: str | None) -> None:
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jitspan-demo-")))
        environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / "triton"), "PYTHONUNBUFFERED": "1"}

        view = None
        if external_endpoint:
            environment.setdefault("OTEL_SERVICE_NAME", "serve")
            say(f"the server will send to {external_endpoint}, as the service {environment['OTEL_SERVICE_NAME']}")
        else:
            say("starting `jitspan view`, which receives what the server exports")
            view = cleanup.enter_context(
                child("jitspan view", view_command(folder / "traces.jsonl"), folder, environment)
            )
            endpoint = view.wait_for(r"listening on grpc ([\d.]+:\d+)")
            environment = {name: value for name, value in environment.items() if not name.startswith("OTEL_")}
            environment |= {
                "OTEL_SERVICE_NAME": "serve",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}",
            }

        say("starting examples/serve.py; its warm-up compiles for the lengths it expects")
        server_command = [sys.executable, str(SERVER), "--port", "0"]
        server = cleanup.enter_context(child("serve.py", server_command, folder, environment))
        url = server.wait_for(r"running on (http://[\d.]+:\d+)")
        say(server.wait_for(r"(warm-up done.*)"))

        say("sending requests; some have lengths that warm-up missed")
        requests = asyncio.run(send_all(f"{url}/generate"))
        print_latencies(requests)

        say("stopping the server, which flushes what is still pending")
        server.stop()
        if view is None:
            say("done; look for the trace ids above in your backend")
            return
        view.stop()

        print("\nWhat `jitspan view` shows:\n")
        print(view.stdout.read_text())
        check(requests, folder / "traces.jsonl")
        say("OK: every compile is on the trace of the request that waited for it, and on no other")


async def send_all(url: str) -> list[Request]:
    """The unexpected lengths among healthy requests, then the same lengths again, which nobody waits for."""
    healthy = [Request(length, compiles=False) for length in EXPECTED * 4]
    unexpected = [Request(length, compiles=True) for length in UNEXPECTED]
    first = [*healthy[:5], *unexpected, *healthy[5:]]
    again = [Request(length, compiles=False) for length in (*UNEXPECTED, *EXPECTED)]
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT, trust_env=False) as client:
        for requests in (first, again):
            await asyncio.gather(*(send(client, url, request, 0.05 * index) for index, request in enumerate(requests)))
    return [*first, *again]


async def send(client: httpx.AsyncClient, url: str, request: Request, delay: float) -> None:
    await asyncio.sleep(delay)
    request.started_ns = time.time_ns()
    start = time.perf_counter()
    try:
        response = await client.post(
            url, json={"prompt_tokens": request.prompt_tokens}, headers={"traceparent": request.traceparent}
        )
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise DemoFailed(f"the request with {request.prompt_tokens} tokens failed: {error!r}") from error
    request.seconds = time.perf_counter() - start


def print_latencies(requests: list[Request]) -> None:
    print("\nWhat the client saw:\n")
    for request in requests:
        if request.compiles:
            print(f"  {request.seconds * 1e3:6.0f} ms   {request.prompt_tokens:6} tokens   trace {request.trace_id}")
            print(f"              {UNEXPECTED[request.prompt_tokens]}")
    healthy = [request.seconds * 1e3 for request in requests if not request.compiles]
    print(
        f"  {statistics.median(healthy):6.0f} ms   median of the other {len(healthy)}, slowest {max(healthy):.0f} ms\n"
    )


def check(requests: list[Request], traces: Path) -> None:
    """Compares what `jitspan view` received with what must have been sent, trace by trace."""
    try:
        received = [json.loads(line) for line in traces.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise DemoFailed(f"cannot read what `jitspan view` received: {error}") from error
    found = {trace["trace_id"]: compiles(trace) for trace in received}
    expected = {request.trace_id: request.seconds for request in requests if request.compiles}
    if found.keys() != expected.keys():
        raise DemoFailed(f"compiles must be on the traces {sorted(expected)}, and are on {sorted(found)}")
    for trace_id, waited in expected.items():
        if [kernel for kernel, _ in found[trace_id]] != [KERNEL]:
            raise DemoFailed(f"trace {trace_id} must hold one compile of {KERNEL}, and holds {found[trace_id]}")
        if not 0 < (duration := found[trace_id][0][1]) < waited:
            raise DemoFailed(f"trace {trace_id}: the compile took {duration} s, and the client waited {waited} s")


def compiles(trace: dict[str, Any]) -> list[tuple[str, float]]:
    """The kernel and the duration in seconds of each compile of a trace."""
    return [
        (event["attributes"]["jit.kernel.name"], event["attributes"]["jit.duration"])
        for span in trace["spans"]
        for event in span["events"]
        if event["name"] == "jit.compile"
    ]


@dataclass
class Child:
    """A process of the demo; what it writes goes to two files."""

    name: str
    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def wait_for(self, pattern: str) -> str:
        """The first group of `pattern`, as soon as the process has written it on stderr."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if match := re.search(pattern, self.stderr.read_text(errors="replace")):
                return match[1]
            if ended:
                raise DemoFailed(f"{self.name} ended with status {self.process.returncode}:\n{self.last_words()}")
            time.sleep(0.05)
        raise DemoFailed(f"{self.name} did not say {pattern!r} within {START_TIMEOUT:.0f} s:\n{self.last_words()}")

    def stop(self) -> None:
        """Ends the process and waits for it; one that does not end in time is killed and is a failure."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.name} did not end within {STOP_TIMEOUT:.0f} s of SIGTERM") from None

    def last_words(self) -> str:
        return "\n".join(self.stderr.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def child(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[Child]:
    """A running process, which is gone when the block is left, however it is left."""
    stdout, stderr = (folder / f"{name}.{stream}" for stream in ("stdout", "stderr"))
    with stdout.open("wb") as out, stderr.open("wb") as err:
        # In a session of its own, so that Ctrl-C reaches the demo alone, which then ends its children in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
        )
    try:
        yield Child(name, process, stdout, stderr)
    finally:
        process.kill()
        process.wait()


def view_command(traces: Path) -> list[str]:
    """`jitspan view` on free ports: the script that was installed beside this interpreter."""
    script = shutil.which("jitspan", path=sysconfig.get_path("scripts"))
    if script is None:
        raise DemoFailed("jitspan is not installed for this interpreter; `make demo` does that")
    color = "always" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else "never"
    # It settles later than the demo takes, so that each trace is printed once, when it ends.
    settings = {"grpc-port": 0, "http-port": 0, "settle": 600, "color": color, "json-file": traces}
    return [script, "view", *(f"--{name}={value}" for name, value in settings.items())]


def say(message: str) -> None:
    print(f"demo: {message}", flush=True)


if __name__ == "__main__":
    main()
