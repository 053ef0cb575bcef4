"""What is generated is up to date, and names mean the same in the code, the registry, the README and the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from backends import CONFIG, ROOT, find

REGISTRY = CONFIG / "semconv" / "registry"
DASHBOARD = CONFIG / "grafana" / "compiles-and-slo.json"
ATTRIBUTE_TYPES = {
    "boolean": "bool",
    "int": "int",
    "double": "double, s",
    "string": "string",
    "template[double]": "double, s",
}


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


def groups() -> list[dict]:
    return [
        group
        for path in sorted(REGISTRY.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text()).get("groups", ())
    ]


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


def test_every_attribute_of_the_readme_is_in_the_registry_with_its_type() -> None:
    told = readme_attributes()
    types = defined()

    assert {name for name in told if name.startswith("jit.")} <= types.keys()
    wrong = {
        name: (said, types[name])
        for name, said in told.items()
        if name in types and said and said != ATTRIBUTE_TYPES[types[name]]
    }
    assert wrong == {}


def test_every_attribute_on_spans_and_events_is_in_the_readme() -> None:
    untold = defined().keys() - readme_attributes().keys()

    # On an event that stands for others, and on a metric.
    assert untold <= {"jit.events.omitted", "jitspan.reason"}


def readme_attributes() -> dict[str, str]:
    """The names in the first column of README's tables of attributes, with the type in the second."""
    section = (ROOT / "README.md").read_text().split("## What you search for")[1].split("\n## ")[0]
    told = {}
    for cells in (line.split("|") for line in section.splitlines() if line.startswith("| `")):
        for name in re.findall(r"`([^`]+)`", cells[1]):
            for one in expanded(name.replace(".<stage>", "")):
                told[one] = cells[2].strip()
    return told


def expanded(name: str) -> list[str]:
    """`a.{b,c}` is `a.b` and `a.c`."""
    head, brace, tail = name.partition("{")
    return [head + each for each in tail.rstrip("}").split(",")] if brace else [name]


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


def prometheus_names() -> set[str]:
    """What Prometheus calls the metrics of the registry."""
    names = set()
    for group in groups():
        if group["type"] == "metric":
            name = group["metric_name"].replace(".", "_") + ("_seconds" if group["unit"] == "s" else "")
            names |= {
                f"{name}_{part}"
                for part in (("bucket", "sum", "count") if group["instrument"] == "histogram" else ("total",))
            }
    return names


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")
    for panel in panels:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(references) == len(set(references))
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_provisioning_leads_from_an_exemplar_to_its_trace() -> None:
    provisioned = yaml.safe_load((CONFIG / "grafana/provisioning/datasources/jitspan.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in provisioned}
    (prometheus,) = (source for source in provisioned if source["type"] == "prometheus")

    (destination,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert destination["datasourceUid"] in uids


def test_compose_mounts_the_files_that_are_tested_here() -> None:
    compose = yaml.safe_load((ROOT / "otel-config" / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+[.]\d+[.]\d+$", service["image"]), f"{name}: the image is not pinned"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / "otel-config" / source).exists(), f"{name} mounts {source}, which is not there"
