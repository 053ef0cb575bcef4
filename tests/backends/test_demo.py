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
from test_generated import defined


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

    spans = jaeger.trace(slowest.trace_id)
    assert {span["name"] for span in spans} == {"generate", "jit.compile"}
    sent = [attributes for span in spans for attributes in (span["attributes"], *events_of(span))]
    ours = {(one["key"], *one["value"]) for attributes in sent for one in attributes if one["key"].startswith("jit.")}
    assert len(ours) > 15
    assert {one for one in ours if one not in registered(one[0])} == set(), "not in the registry with that type"

    def page() -> str:
        return get_text(f"http://{HOST}:{collector.prometheus_port}/metrics")

    wait_until(
        lambda: "jit_stalled_requests_total{" in page() and "jit_spans_compiles_total{" in page(), 20, "metrics arrive"
    )
    wait_until(lambda: total(page(), "jit_stalled_requests_total") == 2, 20, "two requests are counted as stalled")
    assert total(page(), "jit_compiles_total") == 2
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


def test_make_slo_shows_the_objective_and_the_alerts_of_the_demo_under_traffic() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "slo.py"), "--once"], capture_output=True, text=True, timeout=170
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(re.findall(r"^  (\S.{34}\S*) +(\S.*)$", done.stdout, re.MULTILINE))
    told = {title.strip(): value for title, value in told.items()}
    assert int(told["requests that waited for a compile"]) >= 3
    assert "no data" not in told.values()
    assert "RequestsStalledByCompiles (page)" in told["alerts"]
    links = re.findall(r"http://127\.0\.0\.1:\d+/\S+", done.stdout)
    assert len(links) == 3
    assert links[0].count(".expr=") >= 6, "the graphs of the dashboard have data"


def events_of(span: dict) -> list[list[dict]]:
    return [event.get("attributes", []) for event in span.get("events", [])]


def registered(key: str) -> set[tuple[str, str]]:
    """The key with the type that otel-config/semconv gives it, as OTLP in JSON calls that."""
    types = {"boolean": "boolValue", "int": "intValue", "double": "doubleValue", "string": "stringValue"}
    known = defined()
    if key.startswith("jit.stage."):
        return {(key, "doubleValue")} if known["jit.stage"] == "template[double]" else set()
    return {(key, types[known[key]])} if key in known else set()


def total(page: str, metric: str) -> float:
    found = re.findall(rf"^{metric}{{[^}}]*job=\"{SERVICE}\"[^}}]*}} (\S+)", page, re.MULTILINE)
    return sum(map(float, found))


def names_of(page: str, job: str) -> set[str]:
    return set(re.findall(rf"^(jit\w+){{[^}}]*job=\"{job}\"", page, re.MULTILINE))
