"""`make jaeger`: Jaeger with its UI, the demo's server sending to it, and links that find the slow requests.

Stays until stopped. `--once` leaves at the end, which is for tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from backends import (
    CONFIG,
    HOST,
    LOOPBACK,
    ROOT,
    Jaeger,
    Program,
    ProgramFailed,
    ends_by_signal,
    free_ports,
    wait_until,
)

sys.path.insert(0, str(ROOT / "examples"))
import demo

EXAMPLES = ROOT / "examples"
SERVICE = "serve"
CLIENT = "gateway"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="stop as soon as the traces are in Jaeger")
    arguments = parser.parse_args()
    try:
        with ends_by_signal(), ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jitspan-jaeger-")))
            say("starting Jaeger")
            jaeger = cleanup.enter_context(Jaeger(CONFIG / "jaeger" / "memory.yaml", folder))
            server, requests = run_demo(jaeger, folder, cleanup)
            demo.print_latencies(requests)
            print_links(jaeger.url, requests)
            if not arguments.once:
                say(
                    "Jaeger and the server stay until Ctrl-C. Some lengths that nobody has asked for yet compile again:"
                )
                body = """'{"prompt_tokens": 9001}'"""
                print(f"\n  curl -d {body} -H 'content-type: application/json' {server}/generate\n", flush=True)
                signal.pause()
    except (ProgramFailed, demo.DemoFailed) as failure:
        sys.exit(f"jaeger FAILED: {failure}")
    except KeyboardInterrupt:
        say("stopped")


def run_demo(
    jaeger: Jaeger, folder: Path, cleanup: ExitStack, examples: Path = EXAMPLES
) -> tuple[str, list[demo.Request]]:
    """The demo's server, sending to Jaeger, and the demo's requests; returns when Jaeger has them."""
    say("starting examples/serve.py; its warm-up compiles for the lengths that it expects")
    server = cleanup.enter_context(demo_server(f"http://{jaeger.otlp_grpc}", folder, examples))
    say("sending requests; some have lengths that warm-up missed")
    requests = asyncio.run(demo.send_all(f"{server.url}/generate"))
    send_client_spans(f"http://{HOST}:{jaeger.http_port}", requests)
    stalled = {request.trace_id for request in requests if request.compiles}
    wait_until(
        lambda: {trace["traceID"] for trace in jaeger.search(service=SERVICE, tags={"jit.stalled": "true"})} == stalled,
        20,
        f"the stalled requests {stalled}, and no others, are found in Jaeger",
    )
    return server.url, requests


class DemoServer(Program):
    """examples/serve.py; ready when its warm-up is done."""

    start_timeout = demo.START_TIMEOUT

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ready_port}"


def demo_server(otlp_endpoint: str, folder: Path, examples: Path = EXAMPLES, **environment: str) -> DemoServer:
    (port,) = free_ports(1)
    settings = {
        "OTEL_SERVICE_NAME": SERVICE,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }
    command = [sys.executable, str(examples / "serve.py"), "--port", str(port)]
    return DemoServer("serve", command, folder, settings | environment, port)


def send_client_spans(otlp_http: str, requests: list[demo.Request]) -> None:
    """The client's side of each request, as a gateway in front of the server would report it."""
    spans = [
        {
            "traceId": request.trace_id,
            "spanId": request.span_id,
            "name": "POST /generate",
            "kind": 3,
            "startTimeUnixNano": str(request.started_ns),
            "endTimeUnixNano": str(request.started_ns + int(request.seconds * 1e9)),
            "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(request.prompt_tokens)}}],
        }
        for request in requests
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": CLIENT}}]}
    message = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    LOOPBACK.open(
        urllib.request.Request(
            f"{otlp_http.rstrip('/')}/v1/traces",
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json"},
        ),
        timeout=10,
    ).close()


def print_links(url: str, requests: list[demo.Request]) -> None:
    for title, link in links(url, requests).items():
        print(f"  {title}:\n    {link}\n", flush=True)


def links(url: str, requests: list[demo.Request]) -> dict[str, str]:
    """The deep links that otel-config/jaeger/README.md explains."""
    slowest = max((request for request in requests if request.compiles), key=lambda request: request.seconds)
    healthy = next(request for request in requests if not request.compiles)
    return {
        "requests that waited for a compile, and took 100 ms or longer": search_link(
            url, SERVICE, {"jit.stalled": "true"}, minDuration="100ms"
        ),
        f"requests that waited for the kernel {demo.KERNEL}": search_link(
            url, SERVICE, {"jit.kernel.name": demo.KERNEL}
        ),
        "the slowest of them": f"{url}/trace/{slowest.trace_id}?uiFind=jit",
        "the same beside a healthy one": f"{url}/trace/{slowest.trace_id}...{healthy.trace_id}"
        f"?cohort={slowest.trace_id}&cohort={healthy.trace_id}",
    }


def search_link(url: str, service: str, tags: dict[str, str], **more: str) -> str:
    query = {"service": service, "tags": json.dumps(tags), "lookback": "1h", "limit": "20", **more}
    return f"{url}/search?{urllib.parse.urlencode(query)}"


def say(message: str) -> None:
    print(f"jaeger: {message}", flush=True)


if __name__ == "__main__":
    main()
