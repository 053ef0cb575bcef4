"""A configuration that is broken stops its program at the start, and the failure names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from backends import CONFIG, Collector, ProgramFailed
from blame import blame
from conftest import Running


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("decision_wait:", "decision_wiat:", id="a key that does not exist"),
        pytest.param("  tail_sampling:\n", "  tail_simpling:\n", id="a component that does not exist"),
        pytest.param(
            "processors: [tail_sampling]", "processors: [tail_sampler]", id="a component that is not configured"
        ),
        pytest.param(
            'span.attributes["jit.stalled"] == true', 'span.attributes["jit.stalled"] = true', id="a sampling condition"
        ),
        pytest.param(
            "'spanevent.name == \"jit.compile\"'", "'spanevent.nam == \"jit.compile\"'", id="a counting condition"
        ),
        pytest.param("Seconds(span.end_time", "Secs(span.end_time", id="a function that does not exist"),
        pytest.param("max_elapsed_time: 0s}", "max_elapsed_time: 0s", id="YAML"),
    ],
)
def test_the_failure_names_the_line(running: Running, right: str, wrong: str) -> None:
    text = (CONFIG / "collector" / "single.yaml").read_text()
    assert text.count(right) == 1
    broken = running.folder / "broken.yaml"
    broken.write_text(text.replace(right, wrong))
    line = 1 + text[: text.index(right)].count("\n") + right.strip("\n").count("\n")

    with pytest.raises(ProgramFailed) as failure:
        running(Collector(broken, folder=running.folder, environment={"DECISION_WAIT": "4s"}))

    found = blame(str(failure.value), [broken])
    # A parser may notice that something was left open on the line after it.
    assert found in (f"{broken}:{line}", f"{broken}:{line + 1}") if right.endswith("}") else found == f"{broken}:{line}"


@pytest.mark.parametrize("path", sorted((CONFIG / "collector").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_states_the_oldest_collector(path: Path) -> None:
    text = path.read_text()

    assert "0.153" in text or "laid over" in text
