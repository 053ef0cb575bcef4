"""Triton under another package's name (`tokenspeed_triton`, which vLLM pins beside Triton): the whole truth of
`test_triton_truth.py`, of the same programs with that name in their imports.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from runtimes.truth import BUILD, site_packages
from test_triton_truth import SCRIPT, brief

# `tokenspeed_triton/3.9.10.post20261028`, which `make` has installed.
FORK = os.environ.get("JITSPAN_TRITON_FORK", "")

pytestmark = [
    pytest.mark.skipif(not FORK, reason="needs the fork: run `make test-runtimes`"),
    pytest.mark.timeout(300),
]

EXAMPLES = Path(__file__).parents[3] / "examples"


def rewritten(source: str) -> str:
    package = FORK.partition("/")[0]
    source = re.sub(r"^(\s*)from triton\b", rf"\1from {package}", source, flags=re.MULTILINE)
    source = re.sub(r"^(\s*)import triton\.language as", rf"\1import {package}.language as", source, flags=re.MULTILINE)
    source = re.sub(r"^(\s*)import triton\.[\w.]+$", r"\1pass", source, flags=re.MULTILINE)
    return re.sub(r"^(\s*)import triton$", rf"\1import {package} as triton", source, flags=re.MULTILINE)


@pytest.fixture
def truth(scripts, tmp_path):
    folder = tmp_path / "rewritten"
    folder.mkdir()
    (folder / "fake_gpu.py").write_text(rewritten((EXAMPLES / "fake_gpu.py").read_text()))
    path = os.pathsep.join(map(str, [folder, site_packages(BUILD / FORK), scripts.environment["PYTHONPATH"]]))
    environment = {"OTEL_TRACES_EXPORTER": "console", "TRITON_PRINT_AUTOTUNING": "0", "PYTHONPATH": path}
    lines = scripts.run(rewritten(SCRIPT.read_text()), env=environment, timeout=250).stdout.splitlines()
    return dict(json.loads(lines[-1])), [json.loads(line) for line in lines[:-1] if line.startswith('{"')]


def test_all_that_happened_is_reported_under_the_forks_name_and_nothing_else(truth) -> None:
    expected, spans = truth
    names = {span["context"]: span["name"] for span in spans}
    parents = {(span["name"], span["started"]): names.get(span["parent"]) for span in spans}
    reported = {span["name"]: [brief(event, parents) for event in span["events"]] for span in spans if span["events"]}
    assert reported == {name: events for name, events in expected.items() if events}
    events = [event["attributes"] for span in spans for event in span["events"] if event["name"] != "jit.summary"]
    assert {event["jit.runtime"] for event in events} == {FORK.partition("/")[0]}
