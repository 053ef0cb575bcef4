"""`make slo`: the objective "requests do not wait for compiles" on real traffic, from the server to Prometheus' alerts.

Starts Jaeger, the Collector and Prometheus with the files in otel-config, the demo's server, which also traces its
requests with opentelemetry-python, and traffic in which now and then a request needs a kernel that warm-up missed.
With OTEL_EXPORTER_OTLP_ENDPOINT set (over HTTP) only server and traffic: for what `compose.yaml` started, and Grafana.

Stays until stopped. `--once` leaves with the first report, which is for tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import yaml
from backends import (
    CONFIG,
    HOST,
    Collector,
    Jaeger,
    Missing,
    ProgramFailed,
    Prometheus,
    ends_by_signal,
    get_text,
    wait_until,
)
from jaeger import EXAMPLES, SERVICE, DemoServer, demo_server, search_link, send_client_spans

sys.path.insert(0, str(EXAMPLES))
import demo

DASHBOARD = CONFIG / "grafana" / "compiles-and-slo.json"
REQUESTS_PER_SECOND = 10
# The rules look at five minutes; less than one of traffic is enough for all of them to have a value.
FIRST_REPORT = 45.0  # seconds
LATER_REPORTS = 60.0  # seconds
BETWEEN_STALLS = 8.0  # seconds
# Half of the export interval of metrics, and of the Collector's flush, so that nothing is late for the first report.
SCRAPE_INTERVAL = "2s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="stop after the first report")
    arguments = parser.parse_args()
    try:
        with ends_by_signal(), ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jitspan-slo-")))
            if endpoint := os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
                send_to(endpoint, folder, cleanup)
            else:
                watch(folder, cleanup, once=arguments.once)
    except (ProgramFailed, demo.DemoFailed) as failure:
        sys.exit(f"slo FAILED: {failure}")
    except KeyboardInterrupt:
        say("stopped")


def send_to(endpoint: str, folder: Path, cleanup: ExitStack) -> None:
    if ":4317" in endpoint:
        raise ProgramFailed(f"{endpoint} is for gRPC; here it must be the address for HTTP, whose port is 4318")
    server = cleanup.enter_context(traced_server(endpoint, folder))
    say(f"sending to {endpoint} until Ctrl-C; what compose.yaml started shows it in two minutes:")
    print("\n  http://localhost:3000/d/jitspan\n  http://localhost:9090/alerts\n", flush=True)
    asyncio.run(traffic(server.url, endpoint, float("inf"), unexpected_lengths()))


def watch(folder: Path, cleanup: ExitStack, *, once: bool) -> None:
    collector, prometheus, jaeger = start(folder, cleanup)
    endpoint = f"http://{HOST}:{collector.http_port}"
    say("starting examples/serve.py; its warm-up compiles for the lengths that it expects")
    server = cleanup.enter_context(traced_server(endpoint, folder))
    # From here on every series is there, with 0.
    begun = f'count(jit_stalled_requests_total{{job="{SERVICE}"}})'
    wait_until(lambda: prometheus.value(begun), 30, "metrics arrive")
    say(f"{REQUESTS_PER_SECOND} requests a second; every {BETWEEN_STALLS:.0f} s one that warm-up missed")
    lengths = unexpected_lengths()
    seconds = FIRST_REPORT
    while True:
        asyncio.run(traffic(server.url, endpoint, seconds, lengths))
        report(prometheus)
        print_links(prometheus, jaeger)
        if once:
            return
        seconds = LATER_REPORTS


def start(folder: Path, cleanup: ExitStack) -> tuple[Collector, Prometheus, Jaeger]:
    say("starting Jaeger, the Collector and Prometheus")
    jaeger = cleanup.enter_context(Jaeger(CONFIG / "jaeger" / "memory.yaml", folder))
    fast = {"METRICS_FLUSH_INTERVAL": "4s", "DECISION_WAIT": "5s", "TRACES_ENDPOINT": jaeger.otlp_grpc}
    collector = cleanup.enter_context(Collector(CONFIG / "collector" / "single.yaml", folder=folder, environment=fast))
    config = prometheus_config(folder, collector, interval=SCRAPE_INTERVAL)
    return collector, cleanup.enter_context(Prometheus(config, folder)), jaeger


def prometheus_config(folder: Path, collector: Collector, interval: str, pages: dict[str, str] | None = None) -> Path:
    """otel-config/prometheus/prometheus.yml with other addresses, shorter intervals, and the servers' own pages."""
    config = yaml.safe_load((CONFIG / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
    config["rule_files"] = [str(CONFIG / "prometheus" / "rules" / "*.yaml")]
    targets = {"collector:9464": collector.prometheus_port, "collector:8888": collector.telemetry_port}
    for job in config["scrape_configs"]:
        (group,) = job["static_configs"]
        group["targets"] = [f"{HOST}:{targets[target]}" for target in group["targets"]]
    for name, address in (pages or {}).items():
        config["scrape_configs"].append({"job_name": name, "static_configs": [{"targets": [address]}]})
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def traced_server(otlp_http: str, folder: Path) -> DemoServer:
    """The demo's server under opentelemetry-python, as one in production is, which makes a span of each request."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    if not instrument.exists():
        raise Missing("opentelemetry-instrument is missing: requirements/backends.txt has it")
    settings = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "4000",
        # Of its own metrics and logs we need none; the variables hold for jitspan too, whose metrics stay on.
        "OTEL_LOGS_EXPORTER": "none",
    }
    server = demo_server(otlp_http, folder, **settings)
    server.command = [str(instrument), *server.command]
    return server


def unexpected_lengths() -> Iterator[int]:
    """Lengths that compile: of each block the longest that 16 does not divide, and the blocks above the warm-up's."""
    for exponent in range(15, 4, -1):
        yield 2**exponent - 1
        if 2**exponent > max(demo.EXPECTED):
            yield 2**exponent


async def traffic(server: str, otlp_http: str, seconds: float, lengths: Iterator[int]) -> None:
    """Requests as clients send them; the client's side of each is reported, too."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    next_stall, number = began + 1, 0
    waiting: list[asyncio.Task[None]] = []
    requests: list[demo.Request] = []
    async with httpx.AsyncClient(timeout=demo.REQUEST_TIMEOUT, trust_env=False) as client:
        while loop.time() < began + seconds:
            number += 1
            length = demo.EXPECTED[number % len(demo.EXPECTED)]
            if loop.time() >= next_stall:
                length = next(lengths, length)
                next_stall += BETWEEN_STALLS
            requests.append(demo.Request(length, compiles=False))
            waiting.append(asyncio.create_task(demo.send(client, f"{server}/generate", requests[-1], 0)))
            await asyncio.sleep(1 / REQUESTS_PER_SECOND)
            if len(waiting) >= 5 * REQUESTS_PER_SECOND:
                await asyncio.gather(*waiting)
                await asyncio.to_thread(send_client_spans, otlp_http, requests)
                waiting, requests = [], []
        await asyncio.gather(*waiting)
        await asyncio.to_thread(send_client_spans, otlp_http, requests)


def report(prometheus: Prometheus) -> None:
    """What the recording rules say, as the dashboard's first row does."""
    job = f'job="{SERVICE}"'
    wait_until(
        lambda: (prometheus.value(f"job:jit_requests_stalled:ratio_rate5m{{{job}}}") or 0) > 0,
        30,
        "the share of stalled requests is recorded",
    )
    p99 = f"job:llm_request_duration_seconds:p99_5m{{{job}, stalled="
    rows = {
        "requests that waited for a compile": (f"sum(jit_stalled_requests_total{{{job}}})", "{:.0f}"),
        "share of all requests": (
            f"100 * job:jit_requests_stalled:ratio_rate5m{{{job}}}",
            "{:.2f} %; objective: 0.1 %",
        ),
        "burn rate": (
            'slo:current_burn_rate:ratio{sloth_slo="requests-not-stalled"}',
            "{:.1f}; alerts page at 14.4, over half an hour at 6",
        ),
        "time lost to compiles": (f"sum(jit_kernel_time_seconds_total{{{job}}})", "{:.2f} s"),
        "p99 of requests that waited": (f'{p99}"true"}}', "{:.3f} s"),
        "p99 of all requests": (f'{p99}"false"}}', "{:.3f} s"),
    }
    print("\nWhat Prometheus says:\n")
    for title, (expression, form) in rows.items():
        value = prometheus.value(expression)
        print(f"  {title:36} {'no data' if value is None else form.format(value)}")
    alerts = prometheus.query('ALERTS{alertstate="firing"}')
    names = sorted({f"{sample['metric']['alertname']} ({sample['metric']['severity']})" for sample in alerts})
    print(f"  {'alerts':36} {', '.join(names) or 'none'}\n", flush=True)


def print_links(prometheus: Prometheus, jaeger: Jaeger) -> None:
    links = {
        "the dashboard's graphs, without Grafana": graph_link(prometheus),
        "alerts": page(prometheus.url, "alerts"),
        "the requests that waited": search_link(jaeger.url, SERVICE, {"jit.stalled": "true"}),
    }
    for title, link in links.items():
        print(f"  {title}:\n    {link}\n", flush=True)


def graph_link(prometheus: Prometheus) -> str:
    """Prometheus' own page with those of the dashboard's graphs that have data; there is no vLLM here."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [
        filled_in(target["expr"])
        for panel in panels
        if panel["type"] == "timeseries"
        for target in panel["targets"]
        if prometheus.query(filled_in(target["expr"]))
    ]
    query = {}
    for number, expression in enumerate(expressions):
        query |= {f"g{number}.expr": expression, f"g{number}.tab": "0", f"g{number}.range_input": "15m"}
    return f"{page(prometheus.url, 'graph')}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"


def page(url: str, name: str) -> str:
    """Debian's Prometheus has the older pages only."""
    try:
        get_text(f"{url}/{name}")
    except urllib.error.HTTPError:
        return f"{url}/classic/{name}"
    return f"{url}/{name}"


def filled_in(expression: str) -> str:
    """A query as Grafana sends it, with every variable at All."""
    values = {"$__rate_interval": "1m", "$__range": "5m", "$job": ".*", "$instance": ".*", "$runtime": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable that is not known here: {expression}"
    return expression


def say(message: str) -> None:
    print(f"slo: {message}", flush=True)


if __name__ == "__main__":
    main()
