"""The demo's server, with jitspan as it is built, through the Collector to Jaeger and Prometheus; and `make jaeger`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import demo
from backends import HOST, ROOT, get_text, wait_until
from conftest import Running
from jaeger import SERVICE, demo_server
from ranks import Rank


def test_the_demos_stalled_requests_are_found_in_jaeger_and_counted(running: Running) -> None:
    jaeger = running.jaeger()
    collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
    server = running(demo_server(f"http://{collector.otlp_grpc}", running.folder, OTEL_METRIC_EXPORT_INTERVAL="1000"))

    requests = asyncio.run(demo.send_all(f"{server.url}/generate"))

    stalled = {request.trace_id: request for request in requests if request.compiles}
    by_tag = {"jit.stalled": "true"}
    wait_until(lambda: len(jaeger.search(service=SERVICE, tags=by_tag)) == 2, 30, "both stalled requests are in Jaeger")
    assert {trace["traceID"] for trace in jaeger.search(service=SERVICE, tags=by_tag)} == stalled.keys()
    slowest = max(stalled.values(), key=lambda request: request.seconds)
    minimum = f"{int(slowest.seconds * 500)}ms"
    assert slowest.trace_id in {
        trace["traceID"] for trace in jaeger.search(service=SERVICE, tags=by_tag, minDuration=minimum)
    }
    assert len(jaeger.search(service=SERVICE, tags={"jit.kernel.name": demo.KERNEL})) == 2

    names = {span["name"] for span in jaeger.trace(slowest.trace_id)}
    assert names == {"generate", "jit.compile"}

    def page() -> str:
        return get_text(f"http://{HOST}:{collector.prometheus_port}/metrics")

    wait_until(
        lambda: "jit_request_stalled_total{" in page() and "jit_spans_compiles_total{" in page(), 20, "metrics arrive"
    )
    wait_until(lambda: total(page(), "jit_request_stalled_total") == 2, 20, "two requests are counted as stalled")
    assert total(page(), "jit_compile_count_total") == 2
    # The generator of the other tests sends what the server sends, by the same names.
    rank = Rank(collector.otlp_grpc, "generated", "rank-0")
    try:
        wait_until(lambda: 'job="generated"' in page(), 20, "the generator's metrics arrive")
    finally:
        rank.stop()
    assert names_of(page(), "generated") <= names_of(page(), SERVICE)


def test_make_jaeger_prints_links_that_find_the_slow_requests() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "jaeger.py"), "--once"], capture_output=True, text=True, timeout=170
    )

    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"http://127\.0\.0\.1:\d+/(?:search|trace)\S*", done.stdout)) == 4


def total(page: str, metric: str) -> float:
    found = re.findall(rf"^{metric}{{[^}}]*job=\"{SERVICE}\"[^}}]*}} (\S+)", page, re.MULTILINE)
    return sum(map(float, found))


def names_of(page: str, job: str) -> set[str]:
    return set(re.findall(rf"^(jit\w+){{[^}}]*job=\"{job}\"", page, re.MULTILINE))
