"""Runs a truth script, with jitspan and without, and compares what was reported with what was expected."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat
from typing import Any

import jitspan

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build"
OURS = ("OTEL_", "JITSPAN", "TRITON_", "TORCH", "TILELANG_", "FLASHINFER_", "SGLANG_", "DG_")


@dataclass
class Truth:
    """What came of one process."""

    outcomes: dict[str, str] = field(default_factory=dict)
    expected: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    reported: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    attributes: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    spans: dict[str, dict[str, Any]] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    said: str = ""

    def faults(self) -> dict[str, int]:
        return {name: count for name, count in self.stats.items() if name.startswith("faults.")}


@dataclass
class Place:
    """Where a script runs: a Python, what it imports, and what its dynamic linker finds."""

    python: Path
    folder: Path
    path: list[Path] = field(default_factory=list)
    libraries: list[Path] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, script: str, *arguments: str, timeout: float = 300, **variables: str) -> Truth:
        # The environment has no jitspan of its own: it sees this one's module, and nothing else that is beside it.
        own = self.folder / "path"
        own.mkdir(parents=True, exist_ok=True)
        module = next(Path(jitspan.__file__).parent.glob("jitspan*.so"))
        (own / module.name).exists() or (own / module.name).symlink_to(module)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "PYTHONPATH": os.pathsep.join(map(str, [own, HERE, *self.path])),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, self.libraries)),
            "OTEL_TRACES_EXPORTER": "console",
            **self.variables,
            **variables,
        }
        command = [self.python, "-W", "ignore", HERE / script, *arguments]
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=self.folder, timeout=timeout
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return read(finished.stdout, finished.stderr)


def site_packages(environment: Path) -> Path:
    version = sysconfig.get_python_version()
    return environment / "lib" / f"python{version}" / "site-packages"


def read(stdout: str, said: str) -> Truth:
    truth = Truth(said=said)
    lines = [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]
    spans = [line for line in lines if "events" in line]
    names = {span["context"]: span["name"] for span in spans}
    parents = {(span["name"], span["started"]): names.get(span["parent"], "") for span in spans}
    for line in lines:
        if "step" in line:
            truth.outcomes[line["step"]] = line["outcome"]
            for expected in line["expected"]:
                truth.expected[expected.pop("request") or line["step"]].append(expected)
        elif "stats" in line:
            truth.stats, truth.status = line["stats"], line["status"]
        elif line.get("events"):
            truth.spans[line["name"]] = line
            for event in line["events"]:
                if event["name"].startswith("jit."):
                    truth.reported[line["name"]].append(brief(event, parents))
                    truth.attributes[line["name"]].append(event["attributes"])
    return truth


def brief(event: dict[str, Any], parents: dict[tuple[str, int], str]) -> dict[str, str]:
    found = event["attributes"]
    parent = parents.get((event["name"], event["time"]), "")
    return {
        "event": event["name"],
        "runtime": found["jit.runtime"],
        "kernel": found["jit.kernel.name"],
        "cache": found["jit.cache.result"],
        "cause": found.get("jit.cause", ""),
        "changes": found.get("jit.changes", ""),
        "error": found.get("error.type", "").rpartition(".")[2],
        "parent": parent if parent.startswith("jit.") else "",
        "key": found.get("jit.autotune.key", ""),
    }


def check(truth: Truth, without: Truth | None = None) -> None:
    """Every step reports all that it should and nothing else, and the host saw what it sees without jitspan."""
    pairs = {name: (agreed(truth, name), found) for name, found in truth.reported.items()}
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    assert differing == {}, pformat(differing, width=200)
    missed = {name: expected for name, expected in truth.expected.items() if not truth.reported.get(name)}
    assert missed == {}
    assert truth.faults() == {}
    if without:
        assert truth.outcomes == without.outcomes


def agreed(truth: Truth, name: str) -> list[dict[str, str]]:
    """What was expected, with a name or a text as it was reported where that agrees."""
    expected, reported = truth.expected.get(name, []), truth.reported[name]
    result = []
    for index, wanted in enumerate(expected):
        found = reported[index] if index < len(reported) else {}
        wanted = {"runtime": found.get("runtime", "")} | wanted
        if wanted["changes"] and wanted["changes"] in found.get("changes", ""):
            wanted["changes"] = found["changes"]
        if wanted["kernel"] in found.get("kernel", ""):
            wanted["kernel"] = found["kernel"]
        result.append(wanted)
    return result
