"""A configuration that is broken stops its program at the start, and the failure names file and line; others start."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from backends import CONFIG, HOST, Collector, Jaeger, Program, ProgramFailed, find
from blame import blame
from conftest import Running

NOWHERE = f"{HOST}:1"
ADDRESSES = {
    "TRACES_ENDPOINT": NOWHERE,
    "GATEWAY_ENDPOINT": NOWHERE,
    "LOGS_ENDPOINT": f"http://{NOWHERE}",
    "KAFKA_BROKER": NOWHERE,
    "SAMPLER_1": NOWHERE,
    "SAMPLER_2": f"{HOST}:2",
}
# Laid over another file, because alone they are no configuration.
OVERLAYS = ("kafka", "logs-events")


def program(name: str, file: Path, folder: Path) -> Program:
    """The one that `name` is for, with `file` in its place."""
    if (CONFIG / "jaeger" / f"{name}.yaml").exists():
        return Jaeger(file, folder, ADDRESSES)
    files = files_of(name, file)
    binary = "otelcol-load-balancing" if name == "gateway-loadbalancer" else "otelcol"
    return Collector(*files, folder=folder, environment=ADDRESSES, program=binary, name=name)


def files_of(name: str, file: Path) -> list[Path]:
    return [CONFIG / "collector" / "single.yaml", file] if name in OVERLAYS else [file]


def path_of(name: str) -> Path:
    (path,) = (path for path in CONFIG.glob(f"*/{name}.yaml") if path.parent.name in ("collector", "jaeger"))
    return path


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        pytest.param("single", "decision_wait:", "decision_wiat:", id="a key that does not exist"),
        pytest.param("single", "  tail_sampling:\n", "  tail_simpling:\n", id="a component that does not exist"),
        pytest.param(
            "single",
            "processors: [tail_sampling]",
            "processors: [tail_sampler]",
            id="a component that is not configured",
        ),
        pytest.param("single", 'jit.stalled"] == true', 'jit.stalled"] = true', id="a sampling condition"),
        pytest.param("single", "IsMatch(spanevent.name,", "IsMatch(spanevent.nam,", id="a path that does not exist"),
        pytest.param("single", "- {name: slow,", "- {nam: slow,", id="an item of a list"),
        pytest.param("single", "Seconds(span.end_time", "Secs(span.end_time", id="a function that does not exist"),
        pytest.param("single", "max_elapsed_time: 0s}", "max_elapsed_time: 0s", id="YAML"),
        pytest.param("gateway-sampler", "sampling_percentage:", "percentage:", id="gateway-sampler"),
        pytest.param("gateway-loadbalancer", "routing_key: traceID", "routing_key: traceid", id="gateway-loadbalancer"),
        pytest.param("agent", "create_directory:", "make_directory:", id="agent"),
        pytest.param("kafka", "partition_traces_by_id:", "partition_by_trace:", id="kafka"),
        pytest.param("kafka", "producer:", "producers:", id="below a word of the other file"),
        pytest.param("logs-events", "log.event_name ==", "log.eventname ==", id="logs-events"),
        pytest.param("memory", "max_traces:", "max_trace:", id="memory"),
        pytest.param("badger", "ephemeral:", "ephemral:", id="badger"),
        pytest.param("kafka-ingester", "group_id:", "groupid:", id="kafka-ingester"),
    ],
)
def test_the_failure_names_the_line(running: Running, name: str, right: str, wrong: str) -> None:
    text = path_of(name).read_text()
    assert right in text
    broken = running.folder / "broken.yaml"
    broken.write_text(text.replace(right, wrong, 1))
    # Of a condition that cannot be parsed the Collector tells only the policy.
    right = "- name: stalled" if "jit.stalled" in right else right
    line = 1 + text[: text.index(right)].count("\n") + right.strip("\n").count("\n")

    with pytest.raises(ProgramFailed, match=f"^{re.escape(str(broken))}:{line}: "):
        running(program(name, broken, running.folder), files_of(name, broken))


def test_without_the_pipeline_of_kept_traces_and_what_leads_there_single_still_starts(running: Running) -> None:
    config = yaml.safe_load(path_of("single").read_text())
    del config["service"]["pipelines"]["traces/keep"]
    config["service"]["pipelines"]["traces/in"]["exporters"].remove("forward")
    metrics_only = running.folder / "metrics-only.yaml"
    metrics_only.write_text(yaml.safe_dump(config))

    running(program("single", metrics_only, running.folder))


def test_prometheus_names_the_line_of_a_broken_rule(tmp_path: Path) -> None:
    rules = CONFIG / "prometheus" / "rules" / "jitspan.yaml"
    text = rules.read_text()
    right = "- alert: JitspanDropsSpans"
    broken = tmp_path / "rules.yaml"
    broken.write_text(text.replace('error_type!=""}[15m])', 'error_type!=""})'))

    done = subprocess.run([find("promtool"), "check", "rules", str(broken)], capture_output=True, text=True)

    line = 1 + text[: text.index(right)].count("\n") + 1
    assert done.returncode
    assert f"{broken}: {line}:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "path",
    sorted([*CONFIG.rglob("*.yaml"), *CONFIG.rglob("*.yml"), *CONFIG.rglob("*.json")]),
    ids=lambda path: str(path.relative_to(CONFIG)),
)
def test_every_file_can_be_read(path: Path) -> None:
    """Those that no program here reads, too: the dashboard, Grafana's provisioning, `compose.yaml`."""
    text = path.read_text()
    try:
        json.loads(text) if path.suffix == ".json" else list(yaml.compose_all(text))
    except json.JSONDecodeError as error:
        pytest.fail(f"{path}:{error.lineno}: {error}")
    except yaml.YAMLError as error:
        pytest.fail(f"{blame(str(error), [path])}: {error}")


@pytest.mark.parametrize("path", sorted((CONFIG / "collector").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_states_the_oldest_collector(path: Path) -> None:
    text = path.read_text()

    assert "0.153" in text or "laid over" in text
