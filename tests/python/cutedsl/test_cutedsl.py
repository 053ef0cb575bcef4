"""Real CuTeDSL, version by version: each real compile once, nothing else, and the user's calls do what they did."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jitspan
import pytest
from cutedsl.expected import ABSENT, EXPECTED, TVM_FFI, Event
from cutedsl.stub_driver import build

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[2] / "build" / "cutedsl"
VERSIONS = os.environ.get("JITSPAN_CUTEDSL", "").split()
# These do not compile without a driver.
NEED_A_DRIVER = ("4.2.1", "4.3.5", "4.4.2")

pytestmark = [
    pytest.mark.skipif(not VERSIONS, reason="needs CuTeDSL: run `make test-cutedsl`"),
    # Two dozen compiles.
    pytest.mark.timeout(600),
]


@dataclass
class Ran:
    """What came of one process."""

    outcomes: dict[str, str] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    attributes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, int] = field(default_factory=dict)

    def read(self, line: dict[str, Any]) -> None:
        if "step" in line:
            self.outcomes[line["step"]] = line["outcome"]
        elif "stats" in line:
            self.stats = line["stats"]
        elif "events" in line:
            name = line["name"]
            jit = [event for event in line["events"] if event["name"].startswith("jit.")]
            self.events.setdefault(name, []).extend(map(short, jit))
            self.attributes.setdefault(name, []).extend(event["attributes"] for event in jit)
            self.status[name] = line["status"]


def short(event: dict[str, Any]) -> Event:
    attributes = event["attributes"]
    # Options have other names in 4.2, and the class of a made-up tensor another in 4.3.
    changes = attributes.get("jit.changes", "").replace("opt_level", "OptLevel").replace("_FakeCompact", "_Fake")
    return Event(
        event["name"],
        attributes["jit.kernel.name"],
        attributes["jit.cause"],
        changes,
        attributes.get("error.type", ""),
    )


class Version:
    """One installed version."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        self.python = ENVIRONMENTS / version / "bin" / "python"
        # Its environment has no jitspan of its own: it sees this one's module, and nothing else that is beside it.
        (folder / "path").mkdir()
        module = next(Path(jitspan.__file__).parent.glob("jitspan*.so"))
        (folder / "path" / module.name).symlink_to(module)
        self.libraries = ""
        if version in NEED_A_DRIVER:
            shared = (ENVIRONMENTS / version).rglob("nvidia_cutlass_dsl/**/*.so*")
            self.libraries = str(build(folder / "driver", *shared))

    def run(self, *arguments: str, cache: str = "cache") -> Ran:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN", "CUTE_"))}
        environment = kept | {
            "CUTE_DSL_ARCH": "sm_90a",
            "CUTE_DSL_CACHE_DIR": str(self.folder / cache),
            # 4.2 takes no other folder than /tmp/$USER/...
            "USER": f"..{self.folder / cache}",
            "LD_LIBRARY_PATH": self.libraries,
            "OTEL_TRACES_EXPORTER": "console",
            "JITSPAN_COMPILE_SPANS": "0",
            "PYTHONPATH": str(self.folder / "path"),
        }
        (self.folder / cache).mkdir(exist_ok=True)
        command = [self.python, "-W", "ignore", HERE / "triggers.py", *arguments]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.folder)
        assert finished.returncode == 0, finished.stderr
        ran = Ran()
        for line in finished.stdout.splitlines():
            if line.startswith("{"):
                ran.read(json.loads(line))
        return ran


@pytest.fixture(params=VERSIONS or ["none"])
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Version:
    return Version(request.param, tmp_path)


def test_each_compile_is_one_event_and_every_call_does_what_it_did(version: Version) -> None:
    without = version.run("without", cache="cache_without")
    ran = version.run()
    assert ran.outcomes == without.outcomes
    assert set(ran.outcomes) | {"in_threads"} == set(EXPECTED)
    absent = {step for step, outcome in without.outcomes.items() if outcome.startswith(ABSENT)}
    expected = {step: events for step, events in EXPECTED.items() if step not in absent and events}
    for step in TVM_FFI:
        if not without.outcomes[step].startswith("TVMFFI"):
            failed = ran.events.pop(step, [])
            assert [event.error != "" for event in failed] == [True] * (step not in absent)
            expected.pop(step, None)
    assert ran.events == expected
    assert [name for name in ran.stats if name.startswith("faults.")] == []


def test_an_event_says_what_is_known(version: Version) -> None:
    ran = version.run("compile", "implicit_constexpr")
    [compiled] = ran.attributes["compile"]
    assert compiled["jit.runtime"] == "cutedsl"
    assert compiled["jit.runtime_version"] == version.version
    assert compiled["jit.kernel.module"] == "__main__"
    assert compiled["code.function.name"] == "__main__.host"
    assert compiled["code.file.path"] == str(HERE / "triggers.py")
    source = (HERE / "triggers.py").read_text().splitlines()
    assert source[compiled["code.line.number"] - 1].startswith("def host(")
    assert compiled["jit.cache.result"] == "miss"
    assert compiled["jit.signature"] == "n=3, k=1"
    [dynamic] = ran.attributes["implicit_constexpr"]
    assert (dynamic["jit.signature"], dynamic["jit.constexprs"]) == ("n=Int32, k=2", "k=2")
    assert {"OptLevel=3", "opt_level=3"} & set(compiled["jit.options"].split(", "))
    stages = {name: value for name, value in compiled.items() if name.startswith("jit.stage.")}
    assert set(stages) == {"jit.stage.trace", "jit.stage.pipeline", "jit.stage.engine"}
    assert sum(stages.values()) == pytest.approx(compiled["jit.duration"])


def test_the_second_process_loads_from_the_disk_cache(version: Version) -> None:
    steps = ["implicit", "implicit_again", "nested", "compile"]
    first, second = version.run(*steps), version.run(*steps)
    assert names(first) == {"jit.compile": 3}
    assert {step: [event.name for event in events] for step, events in second.events.items()} == {
        "implicit": ["jit.load"],
        "nested": ["jit.load"],
        # Explicit compiles never use the cache.
        "compile": ["jit.compile"],
    }
    assert second.attributes["implicit"][0]["jit.cache.result"] == "hit"
    assert second.stats["events.retrace"] == 1


def test_error_mode_raises_after_the_compile_and_the_next_call_works(version: Version) -> None:
    ran = version.run("error", "implicit", "implicit_again", "compile", "compile_kernel", "failing", "after_failing")
    raised = {step for step, outcome in ran.outcomes.items() if outcome.startswith("UnexpectedCompileError")}
    assert raised == {"implicit", "compile", "compile_kernel", "after_failing"}
    # The same call again: it is in memory, and runs; with a driver that does nothing as well as it can.
    assert ran.outcomes["implicit_again"].startswith(("NoneType", "DSLCudaRuntimeError"))
    assert ran.outcomes["failing"].startswith("KeyError")
    assert [event.error for event in ran.events["failing"]] == ["KeyError"]
    for step in raised:
        assert ran.outcomes[step].startswith("UnexpectedCompileError: CuTeDSL kernel JIT compilation during inference")
        assert ran.status[step]["Error"].startswith("CuTeDSL kernel JIT compilation during inference")
    assert "implicit_again" not in ran.events


def names(ran: Ran) -> Counter[str]:
    return Counter(event.name for events in ran.events.values() for event in events)
