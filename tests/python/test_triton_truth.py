"""Each thing that happened is reported once, and nothing that did not happen is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("triton_truth.py")


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """What was expected and what was reported, by step."""
    from conftest import Scripts

    scripts = Scripts(tmp_path_factory.mktemp("truth"))
    environment = {"OTEL_TRACES_EXPORTER": "console", "TRITON_PRINT_AUTOTUNING": "0"}
    lines = scripts.run(SCRIPT.read_text(), env=environment, timeout=170).stdout.splitlines()
    expected = dict(json.loads(lines[-1]))
    spans = [json.loads(line) for line in lines[:-1] if line.startswith('{"')]
    names = {span["context"]: span["name"] for span in spans}
    parents = {(span["name"], span["started"]): names.get(span["parent"]) for span in spans}
    reported = {span["name"]: [brief(event, parents) for event in span["events"]] for span in spans if span["events"]}
    return expected, reported


def test_all_that_happened_is_reported_and_nothing_else(truth):
    expected, reported = truth
    assert reported == {name: events for name, events in expected.items() if events}


def brief(event, parents):
    found = event["attributes"]
    parent = parents.get((event["name"], event["time"]))
    compared = {
        "event": event["name"],
        "kernel": found["jit.kernel.name"],
        "cache": found["jit.cache.result"],
        "cause": found.get("jit.cause"),
        "changes": found.get("jit.changes"),
        "error": found.get("error.type", "").rpartition(".")[2],
        "manual": found.get("jit.manual_warmup"),
        "key": found.get("jit.autotune.key"),
        "declared": found.get("jit.autotune.declared"),
        "benchmarked": found.get("jit.autotune.benchmarked"),
        "parent": parent if parent == "jit.autotune" else None,
    }
    return {name: value for name, value in compared.items() if value not in (None, "")}
