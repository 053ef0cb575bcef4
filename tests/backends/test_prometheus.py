"""Every rule and every query of the dashboard returns data on a real Prometheus behind a real Collector."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import yaml
from backends import CONFIG, Jaeger, Prometheus, wait_until
from conftest import Running
from ranks import Rank, ServerMetrics
from slo import filled_in, prometheus_config
from traffic import Request

RULES = CONFIG / "prometheus" / "rules"
DASHBOARD = CONFIG / "grafana" / "compiles-and-slo.json"
SECONDS_OF_TRAFFIC = 20


@dataclass
class Stack:
    prometheus: Prometheus
    jaeger: Jaeger
    stalled: list[Request]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two services with two ranks each: vLLM and SGLang, of which each request is slow or not, stalled or not."""
    with ExitStack() as cleanup:
        running = Running(tmp_path_factory.mktemp("stack"), cleanup)
        jaeger = running.jaeger()
        collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
        engines = {engine: ServerMetrics(engine) for engine in ("vllm", "sglang")}
        pages = {name: cleanup.enter_context(server.served_over_http()) for name, server in engines.items()}
        prometheus = running(Prometheus(prometheus_config(running.folder, collector, "1s", pages), running.folder))
        sender = running.sender(collector)
        ranks = {
            (engine, rank): Rank(collector.otlp_grpc, engine, f"{engine}-rank-{rank}", ("triton", "cutedsl"))
            for engine in engines
            for rank in range(2)
        }
        for rank in ranks.values():
            cleanup.callback(rank.stop)
        # All series must have been scraped once before the first compile, as they are in a server.
        wait_until(
            lambda: prometheus.value("count(count by (instance) (jit_stalled_requests_total))") == 4,
            30,
            "four ranks are in Prometheus",
        )
        wait_until(lambda: prometheus.value("count(up == 1)") == 4, 30, "all targets are up")

        stalled = []
        for second in range(SECONDS_OF_TRAFFIC):
            for (engine, number), rank in ranks.items():
                place = {"service": engine, "instance": f"{engine}-rank-{number}"}
                waited = Request(
                    seconds=4.0,
                    stall=3.2,
                    kernel=f"kernel_{second % 3}",
                    cause=("first_use", "new_specialization")[second % 2],
                    runtime=("triton", "cutedsl")[number],
                    **place,
                )
                rank.stalls(waited)
                rank.tunes(0.5)
                rank.drops(1)
                stalled.append(waited)
                healthy = [Request(seconds=0.2, **place) for _ in range(5)]
                sender.send([waited, *healthy])
                for request in (waited, *healthy):
                    engines[engine].served(request.seconds)
            time.sleep(1)
        time.sleep(6)  # the last flush, the last scrape, the last evaluation
        yield Stack(prometheus, jaeger, stalled)


def recording_rules() -> list[tuple[str, str]]:
    return [
        (path.name, rule["record"])
        for path in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    ]


def dashboard_queries() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]


@pytest.mark.parametrize("name", sorted({name for _, name in recording_rules()}))
def test_the_recording_rule_has_data(stack: Stack, name: str) -> None:
    wait_until(lambda: stack.prometheus.query(name), 10, f"{name} has data", every=1)
    values = [float(sample["value"][1]) for sample in stack.prometheus.query(name)]
    assert any(value == value for value in values), f"{name} is not a number"


@pytest.mark.parametrize(("panel", "expression"), dashboard_queries(), ids=lambda value: value[:40])
def test_the_query_of_the_dashboard_has_data(stack: Stack, panel: str, expression: str) -> None:
    result = stack.prometheus.query(filled_in(expression))

    assert result, f"{panel} shows nothing"
    assert any(float(sample["value"][1]) == float(sample["value"][1]) for sample in result), f"{panel} shows NaN"


def test_the_annotation_and_the_variables_of_the_dashboard_have_data(stack: Stack) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (annotation,) = dashboard["annotations"]["list"]
    assert stack.prometheus.query(filled_in(annotation["expr"]))
    queries = [variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    for query in queries:
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        assert stack.prometheus.query(f"count by ({label}) ({filled_in(metric)})")[0]["metric"][label]


def test_no_evaluation_of_a_rule_fails(stack: Stack) -> None:
    groups = stack.prometheus._get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert len(rules) > 30
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def test_the_numbers_are_those_of_the_traffic(stack: Stack) -> None:
    count = len(stack.stalled)
    query = stack.prometheus.value

    assert query("sum(jit_stalled_requests_total)") == count
    assert query('sum(traces_span_metrics_events_total{jit_runtime!="",span_name="vllm.execute_model"})') == count
    assert query("sum(jit_spans_compiles_total)") == count
    assert query("sum(jit_spans_compile_time_seconds_total)") == pytest.approx(3.2 * count)
    assert query("sum(jit_spans_stall_time_seconds_total)") == pytest.approx(3.2 * count)
    assert query("sum(jit_kernel_time_seconds_total)") == pytest.approx(3.2 * count)
    assert query("sum(job_kernel:jit_kernel_time_seconds:increase1h)") == pytest.approx(3.2 * count)
    assert query('sum(traces_span_metrics_calls_total{span_kind="SPAN_KIND_SERVER"})') == 6 * count
    assert query('job:jit_requests_stalled:ratio_rate5m{job="vllm"}') == pytest.approx(1 / 6, rel=0.15)


def test_ranks_are_apart(stack: Stack) -> None:
    per_rank = stack.prometheus.query("sum by (job, instance) (jit_compiles_total)")

    assert {(sample["metric"]["job"], sample["metric"]["instance"]) for sample in per_rank} == {
        (engine, f"{engine}-rank-{number}") for engine in ("vllm", "sglang") for number in range(2)
    }
    assert {float(sample["value"][1]) for sample in per_rank} == {float(SECONDS_OF_TRAFFIC)}


def test_p99_is_told_apart_by_stalls(stack: Stack) -> None:
    name = "job:llm_request_duration_seconds:p99_5m"
    value = stack.prometheus.value

    assert value(f'{name}{{job="vllm",stalled="true"}}') > 2.5
    assert value('histogram_quantile(0.5, sum by (le) (rate(traces_span_metrics_duration_seconds_bucket'
                 '{span_kind="SPAN_KIND_SERVER"}[5m])))') < 0.5  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        'traces_span_metrics_duration_seconds_bucket{jit_stalled="true"}',
        "traces_span_metrics_calls_total",
        "sum by (le) (rate(jit_compile_duration_seconds_bucket[1m]))",
    ],
)
def test_an_exemplar_opens_the_trace_of_a_request_that_waited(stack: Stack, expression: str) -> None:
    exemplars = stack.prometheus.exemplars(expression)

    of_stalled = {exemplar["labels"]["trace_id"] for exemplar in exemplars} & {one.hex for one in stack.stalled}
    assert of_stalled, exemplars
    assert stack.jaeger.trace(of_stalled.pop())


def test_the_storm_fires_its_alerts(stack: Stack) -> None:
    def firing() -> set[str]:
        return {sample["metric"]["alertname"] for sample in stack.prometheus.query('ALERTS{alertstate="firing"}')}

    wait_until(lambda: "JitCompileStorm" in firing(), 20, "the compile storm fires")
    assert {"JitCompileStorm", "RequestsStalledByCompiles"} <= firing()
