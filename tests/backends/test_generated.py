"""What is generated is up to date, and names mean the same in the code, the registry, the README and the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from backends import CONFIG, find

REGISTRY = CONFIG / "semconv" / "registry"
DASHBOARD = CONFIG / "grafana" / "compiles-and-slo.json"
ATTRIBUTE_TYPES = ("boolean", "int", "double", "string", "template[double]")


@pytest.mark.parametrize("generator", ["grafana/generate.py", "semconv/generate.py", "prometheus/generate.py"])
def test_what_is_generated_is_up_to_date(generator: str) -> None:
    done = subprocess.run([sys.executable, str(CONFIG / generator), "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_the_configuration_of_prometheus_are_accepted() -> None:
    promtool("check", "config", str(CONFIG / "prometheus" / "prometheus.yml"))


@pytest.mark.parametrize("path", sorted((CONFIG / "prometheus" / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_in_a_storm_and_are_silent_in_a_healthy_hour(path: Path) -> None:
    promtool("test", "rules", str(path))


def promtool(*arguments: str) -> None:
    done = subprocess.run([find("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def groups() -> list[dict]:
    return [
        group
        for path in sorted(REGISTRY.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text()).get("groups", ())
    ]


@cache
def defined() -> dict[str, str]:
    """The attributes that the registry defines, with their types."""
    return {
        attribute["id"]: attribute["type"]
        for group in groups()
        for attribute in group.get("attributes", ())
        if "id" in attribute
    }


def test_the_registry_has_the_form_that_weaver_reads() -> None:
    identifiers = [group["id"] for group in groups()]
    assert len(identifiers) == len(set(identifiers))
    for group in groups():
        assert group["type"] in ("attribute_group", "span", "event", "metric")
        assert group["brief"]
        assert group["stability"] == "development"
        for attribute in group.get("attributes", ()):
            known = attribute.get("ref") in defined() or attribute.get("ref", "").startswith(OPENTELEMETRY)
            assert known or attribute["type"] in ATTRIBUTE_TYPES


OPENTELEMETRY = ("code.", "error.", "exception.", "thread.", "gen_ai.", "http.", "process.", "service.")


def test_no_name_is_a_leaf_and_a_namespace() -> None:
    clashes = [(leaf, name) for leaf in defined() for name in defined() if name.startswith(f"{leaf}.")]

    assert clashes == []


def test_every_metric_of_the_dashboard_and_of_the_rules_is_sent_by_somebody() -> None:
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel.get("targets", ())
    ]
    recorded = set()
    for path in (CONFIG / "prometheus" / "rules").glob("*.yaml"):
        for rule in (rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]):
            expressions.append(rule["expr"])
            recorded.add(rule.get("record"))
    used = {name for expression in expressions for name in re.findall(r"\b((?:jit|jitspan)_\w+)(?=[{\[])", expression)}

    assert used <= prometheus_names() | recorded


def test_every_metric_of_the_instructions_is_sent_by_somebody() -> None:
    told = set(re.findall(r"`((?:jit|jitspan)_\w+)", (CONFIG / "README.md").read_text()))

    assert told
    assert told <= prometheus_names() | histograms()


def prometheus_names() -> set[str]:
    """What Prometheus calls the metrics of the registry, and those that the Collector makes of spans and logs."""
    names = set()
    for base, is_histogram in metrics():
        names |= {f"{base}_{part}" for part in (("bucket", "sum", "count") if is_histogram else ("total",))}
    return names


def histograms() -> set[str]:
    return {base for base, is_histogram in metrics() if is_histogram}


def metrics() -> Iterator[tuple[str, bool]]:
    for group in groups():
        if group["type"] == "metric":
            yield in_prometheus(group["metric_name"], group["unit"]), group["instrument"] == "histogram"
    for path in (CONFIG / "collector").glob("*.yaml"):
        for name, connector in yaml.safe_load(path.read_text()).get("connectors", {}).items():
            if name.startswith("signal_to_metrics"):
                for metric in (metric for signal in connector.values() for metric in signal):
                    yield in_prometheus(metric["name"], metric.get("unit", "")), "histogram" in metric


def in_prometheus(name: str, unit: str) -> str:
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "")


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")
    for panel in panels:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(references) == len(set(references))
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_a_graph_leads_to_the_stalled_requests_of_its_service() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    linked = [panel for panel in panels if panel.get("fieldConfig", {}).get("defaults", {}).get("links")]

    assert len(linked) == 3
    for panel in linked:
        # The label that the link names is on every series.
        assert all(re.match(r"sum by \(job\b", target["expr"]) for target in panel["targets"])
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        assert "service=${__field.labels.job}&tags=%7B%22jit.stalled%22%3A%22true%22%7D&" in link["url"]


def test_provisioning_leads_from_an_exemplar_to_its_trace() -> None:
    provisioned = provisioned_datasources()
    uids = {source["uid"] for source in provisioned}
    (prometheus,) = (source for source in provisioned if source["type"] == "prometheus")

    (destination,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert destination["datasourceUid"] in uids


def test_compose_starts_pinned_images_with_the_files_that_are_tested_here() -> None:
    for name, service in compose().items():
        assert re.search(r":v?\d+[.]\d+[.]\d+$", service["image"]), f"{name}: the image is not pinned"
        places = {}
        for volume in service.get("volumes", ()):
            source, target, _ = volume.split(":")
            assert (CONFIG / source).exists(), f"{name} mounts {source}, which is not there"
            places[target] = CONFIG / source
        for argument in service.get("command", ()):
            if file := re.search(r"=(/.+)/([^/]+)$", argument):
                assert (places[file[1]] / file[2]).is_file(), f"{name} is told to read {argument}"


def test_the_services_of_compose_find_each_other() -> None:
    asked = [source["url"].split("/")[2] for source in provisioned_datasources()]
    asked += [
        target
        for job in yaml.safe_load((CONFIG / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
        for target in job["static_configs"][0]["targets"]
    ]
    asked.append(compose()["collector"]["environment"]["TRACES_ENDPOINT"])
    # What each listens on by its configuration, or by default.
    configs = (CONFIG / "collector" / "single.yaml", CONFIG / "jaeger" / "memory.yaml")
    collector, jaeger = (re.findall(r"_(?:LISTEN|PORT):-(?:[\d.]+:)?(\d+)", path.read_text()) for path in configs)
    ports = {"collector": collector, "jaeger": jaeger, "prometheus": ["9090"]}

    assert [address for address in asked if address.split(":")[1] not in ports[address.split(":")[0]]] == []


def test_grafana_finds_the_dashboard_where_compose_puts_it() -> None:
    (provider,) = yaml.safe_load((CONFIG / "grafana/provisioning/dashboards/jitspan.yaml").read_text())["providers"]

    assert any(f":{provider['options']['path']}/" in volume for volume in compose()["grafana"]["volumes"])


def compose() -> dict:
    return yaml.safe_load((CONFIG / "compose.yaml").read_text())["services"]


def provisioned_datasources() -> list[dict]:
    return yaml.safe_load((CONFIG / "grafana/provisioning/datasources/jitspan.yaml").read_text())["datasources"]
