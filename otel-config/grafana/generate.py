"""Writes the dashboard "Compiles and SLO" (compiles-and-slo.json); `--check` says whether it is up to date.

Every metric in it comes from jitspan, from the Collector's span_metrics, from otel-config/prometheus/rules or from the
server itself. The tests run each query on a real Prometheus. Knows nothing outside Python's library.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).with_name("compiles-and-slo.json")
WIDTH = 24  # Grafana's grid

Panel = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = 'job=~"$job", instance=~"$instance"'
# Of the counters that every SDK in the process may have.
DROPPED = 'otel_component_name="jitspan", error_type!=""'
OURS_BY_RUNTIME = f'{OURS}, jit_runtime=~"$runtime"'
# Open: the range and two brackets follow.
COMPILES = f"increase(jit_compiles_total{{{OURS_BY_RUNTIME}}}"
COMPILE_TIME = f"increase(jit_compile_duration_seconds_sum{{{OURS_BY_RUNTIME}}}"
COMPILE_BUCKETS = COMPILE_TIME.replace("_sum", "_bucket")
# The request's own span with jit.stalled, not those of the compiles below it.
STALLED_SPANS = 'job=~"$job", jit_stalled="true", span_name!~"jit[.].+"'
SERVER_SPANS = 'job=~"$job", jit_stalled!="true", span_kind="SPAN_KIND_SERVER"'
# Of a counter whose series may begin with its first value, which `increase` does not see.
KERNEL_TIME = (
    f"sum by (jit_kernel_name, jit_runtime) ("
    f"clamp_min(jit_kernel_time_seconds_total{{{OURS_BY_RUNTIME}}}"
    f" - jit_kernel_time_seconds_total{{{OURS_BY_RUNTIME}}} offset $__range, 0)"
    f" or jit_kernel_time_seconds_total{{{OURS_BY_RUNTIME}}})"
)


def dashboard() -> dict[str, Any]:
    return {
        "uid": "jitspan",
        "title": "Compiles and SLO",
        "description": "Which requests waited for kernel compiles, what it cost, and why. Made by generate.py.",
        "tags": ["jitspan", "llm"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [compile_annotation()]},
        "templating": {"list": variables()},
        "links": [trace_link()],
        "panels": placed(
            row("Objective"),
            [
                stat(
                    "Requests stalled",
                    f"sum(increase(jit_stalled_requests_total{{{OURS}}}[$__range]))",
                    "Requests that waited for at least one compile.",
                    steps=((1, "orange"),),
                ),
                stat(
                    "Share of requests",
                    'avg_over_time(job:jit_requests_stalled:ratio_rate5m{job=~"$job"}[$__range])',
                    "Stalled requests of all requests.",
                    unit="percentunit",
                    decimals=3,
                    steps=((0.001, "red"),),
                    legend="{{job}}",
                ),
                stat(
                    "Error budget left",
                    'slo:period_error_budget_remaining:ratio{sloth_slo="requests-not-stalled"}',
                    "Of the 30 days' objective in otel-config/prometheus/slo.yaml.",
                    unit="percentunit",
                    decimals=1,
                    steps=((0, "orange"), (0.5, "green")),
                    base="red",
                ),
                stat(
                    "Burn rate",
                    'slo:current_burn_rate:ratio{sloth_slo="requests-not-stalled"}',
                    "1 uses the budget up exactly at the end of the period; alerts page at 14.4.",
                    decimals=1,
                    steps=((1, "orange"), (14.4, "red")),
                ),
                stat(
                    "Seconds lost",
                    f"sum({KERNEL_TIME})",
                    "Spent in compiles and autotunes while serving.",
                    unit="s",
                    steps=((1, "orange"),),
                ),
                stat(
                    "Since the last compile",
                    'min(job:jit_last_compile:age_seconds{job=~"$job"})',
                    "Long is good: a warm server compiles nothing.",
                    unit="s",
                    base="orange",
                    steps=((3600, "green"),),
                ),
            ],
            row("Stalls over time, and who pays"),
            [
                series(
                    "Compiles, by runtime and cause",
                    f"sum by (jit_runtime, jit_cause) ({COMPILES}[$__rate_interval]))",
                    "{{jit_runtime}}, {{jit_cause}}",
                    "Compiles after warm-up.",
                    bars=True,
                ),
                series(
                    "Requests that waited",
                    f"sum by (job) (increase(jit_stalled_requests_total{{{OURS}}}[$__rate_interval]))",
                    "{{job}}",
                    "One compile stalls every request of its batch.",
                    bars=True,
                    by_job=True,
                ),
                series(
                    "Time that requests waited, per second",
                    'sum by (job, jit_runtimes) (rate(jit_spans_stall_time_seconds_total{job=~"$job"}'
                    "[$__rate_interval]))",
                    "{{job}}, {{jit_runtimes}}",
                    "Summed over requests, from their spans. 1 means that at all times one request waits.",
                    unit="s",
                    by_job=True,
                ),
            ],
            row("Latency with and without stalls"),
            [
                series(
                    "p99 of requests, with and without a stall",
                    [
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(traces_span_metrics_duration_seconds_bucket"
                            f"{{{STALLED_SPANS}}}[$__rate_interval])))",
                            "stalled",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(traces_span_metrics_duration_seconds_bucket"
                            f"{{{SERVER_SPANS}}}[$__rate_interval])))",
                            "not stalled",
                        ),
                    ],
                    "",
                    "Each dot is a request: it opens its trace.",
                    unit="s",
                    exemplars=True,
                ),
                series(
                    "p99 of the time to the first token",
                    'job:llm_time_to_first_token_seconds:p99_5m_by_stall{job=~"$job"}',
                    "{{job}}, minutes with stalls: {{stalled}}",
                    "From vLLM or SGLang, split into minutes in which requests were stalled and all others.",
                    unit="s",
                ),
                series(
                    "p99 end to end",
                    'job:llm_e2e_request_latency_seconds:p99_5m{job=~"$job"}',
                    "{{job}}",
                    "From vLLM or SGLang.",
                    unit="s",
                ),
            ],
            row("Kernels and causes"),
            [
                table(
                    "Kernels that cost most",
                    f"topk(20, {KERNEL_TIME} > 0)",
                    "Time lost in the range shown.",
                    {"jit_kernel_name": "kernel", "jit_runtime": "runtime", "Value": "lost"},
                    unit="s",
                ),
                bar_gauge(
                    "Causes",
                    f"sum by (jit_cause) ({COMPILES}[$__range])) > 0",
                    "{{jit_cause}}",
                    "new_specialization: warm-up did not call the kernel with such arguments. first_use: not at all.",
                ),
                heatmap(
                    "Durations of compiles",
                    f"sum by (le) ({COMPILE_BUCKETS}[$__rate_interval]))",
                    "Each dot opens the trace of a request that waited.",
                ),
            ],
            row("Ranks"),
            [
                series(
                    "Compiles, by rank",
                    f"sum by (job, instance) ({COMPILES}[$__rate_interval]))",
                    "{{job}} {{instance}}",
                    "One process each. A rank that compiles alone holds the others up at the next collective.",
                    bars=True,
                    by_job=True,
                ),
                series(
                    "Time compiling, by rank",
                    f"sum by (job, instance) ({COMPILE_TIME}[$__rate_interval]))",
                    "{{job}} {{instance}}",
                    "Seconds in each step of the graph.",
                    unit="s",
                    bars=True,
                ),
                series(
                    "Dropped by jitspan",
                    "sum by (job, error_type) ("
                    f"increase(otel_sdk_exporter_span_exported_total{{{OURS}, {DROPPED}}}[$__rate_interval]))",
                    "{{job}}, {{error_type}}",
                    "Nothing should be here: spans that could not be kept or sent.",
                ),
            ],
        ),
    }


def variables() -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
            "refresh": 1,
        },
        query_variable("job", "Service", "label_values(jit_compiles_total, job)"),
        query_variable("instance", "Rank", 'label_values(jit_compiles_total{job=~"$job"}, instance)'),
        query_variable("runtime", "Runtime", 'label_values(jit_compiles_total{job=~"$job"}, jit_runtime)'),
        {
            "name": "traces",
            "label": "Traces",
            "type": "textbox",
            "query": "http://localhost:16686",
            "current": {"text": "http://localhost:16686", "value": "http://localhost:16686"},
            "hide": 0,
        },
    ]


def query_variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "Variable"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def compile_annotation() -> dict[str, Any]:
    return {
        "name": "compiles",
        "datasource": DATASOURCE,
        "enable": False,
        "iconColor": "orange",
        "expr": f"sum by (job) ({COMPILES}[$__rate_interval])) > 0",
        "titleFormat": "{{job}} compiled",
        "step": "60s",
    }


def trace_link() -> dict[str, Any]:
    return {
        "title": "Jaeger",
        "type": "link",
        "url": "${traces}/search",
        "targetBlank": True,
        "icon": "external link",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
    }


def stalled_requests_link() -> dict[str, Any]:
    """On a click on a series: its service's requests that waited, in the time shown. Jaeger wants microseconds."""
    tags = "%7B%22jit.stalled%22%3A%22true%22%7D"
    return {
        "title": "Stalled requests of ${__field.labels.job} in Jaeger",
        "url": "${traces}/search?service=${__field.labels.job}"
        f"&tags={tags}&lookback=custom&start=${{__from}}000&end=${{__to}}000&limit=20",
        "targetBlank": True,
    }


def target(expression: str, legend: str, *, exemplars: bool = False, instant: bool = False, **more: Any) -> Panel:
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend,
        "range": not instant,
        "instant": instant,
        "exemplar": exemplars,
        **more,
    }


def panel(
    kind: str, title: str, description: str, targets: list[Panel], *, height: int, width: int = 0, **more: Any
) -> Panel:
    for letter, one in zip("ABCDEF", targets, strict=False):
        one["refId"] = letter
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"h": height, "w": width},
        "targets": targets,
        **more,
    }


def field_config(unit: str, **more: Any) -> dict[str, Any]:
    return {"defaults": {"unit": unit, **more}, "overrides": []}


def thresholds(base: str, steps: tuple[tuple[float, str], ...]) -> dict[str, Any]:
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in steps)],
    }


def stat(
    title: str,
    expression: str,
    description: str,
    *,
    unit: str = "short",
    decimals: int = 0,
    base: str = "green",
    steps: tuple[tuple[float, str], ...] = (),
    legend: str = "",
) -> Panel:
    return panel(
        "stat",
        title,
        description,
        [target(expression, legend, instant=True)],
        height=4,
        fieldConfig=field_config(
            unit, decimals=decimals, color={"mode": "thresholds"}, thresholds=thresholds(base, steps)
        ),
        options={
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    )


def series(
    title: str,
    expressions: str | list[tuple[str, str]],
    legend: str,
    description: str,
    *,
    unit: str = "short",
    bars: bool = False,
    exemplars: bool = False,
    by_job: bool = False,
) -> Panel:
    pairs = [(expressions, legend)] if isinstance(expressions, str) else expressions
    links = {"links": [stalled_requests_link()]} if by_job else {}
    drawing = {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal"}} if bars else {"fillOpacity": 8}
    return panel(
        "timeseries",
        title,
        description,
        [target(expression, name, exemplars=exemplars) for expression, name in pairs],
        height=8,
        fieldConfig=field_config(unit, min=0, custom={"lineWidth": 1, "showPoints": "never", **drawing}, **links),
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def table(title: str, expression: str, description: str, columns: dict[str, str], *, unit: str) -> Panel:
    return panel(
        "table",
        title,
        description,
        [target(expression, "", instant=True, format="table")],
        height=9,
        fieldConfig=field_config(unit),
        options={"showHeader": True, "sortBy": [{"displayName": columns["Value"], "desc": True}]},
        transformations=[
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": columns}},
        ],
    )


def bar_gauge(title: str, expression: str, legend: str, description: str) -> Panel:
    return panel(
        "bargauge",
        title,
        description,
        [target(expression, legend, instant=True)],
        height=9,
        fieldConfig=field_config("short", decimals=0, color={"mode": "palette-classic"}),
        options={
            "orientation": "horizontal",
            "displayMode": "basic",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    )


def heatmap(title: str, expression: str, description: str) -> Panel:
    return panel(
        "heatmap",
        title,
        description,
        [target(expression, "{{le}}", exemplars=True, format="heatmap")],
        height=9,
        fieldConfig=field_config("short"),
        options={
            "calculate": False,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "yAxis": {"unit": "s"},
            "cellGap": 1,
            "exemplars": {"color": "rgba(31,120,193,0.9)"},
            "tooltip": {"mode": "single", "showColorScale": False},
        },
    )


def row(title: str) -> Panel:
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": WIDTH}}


def placed(*rows: Panel | list[Panel]) -> list[Panel]:
    """Numbers the panels and lays them out: those of one list share a line."""
    found: list[Panel] = []
    top = 0
    for line in rows:
        panels = line if isinstance(line, list) else [line]
        for index, one in enumerate(panels):
            width = WIDTH // len(panels)
            one["id"] = len(found) + 1
            one["gridPos"] |= {"x": index * width, "y": top, "w": width}
            found.append(one)
        top += panels[0]["gridPos"]["h"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the file is not up to date")
    arguments = parser.parse_args()
    wanted = json.dumps(dashboard(), indent=2) + "\n"
    if not arguments.check:
        DASHBOARD.write_text(wanted)
        return
    found = DASHBOARD.read_text() if DASHBOARD.exists() else ""
    if found != wanted:
        lines = (found.splitlines(), wanted.splitlines())
        print("\n".join(difflib.unified_diff(*lines, "in the repository", "generated", lineterm="")))
        sys.exit(f"{DASHBOARD.name} is not up to date: run generate.py")


if __name__ == "__main__":
    main()
