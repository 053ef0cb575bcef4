"""Programs that know nothing of jitspan: `jitspan run`, and `opentelemetry-instrument` where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PROGRAM = """
import json, subprocess, sys, jitspan
try:
    import kernels
    kernels.launch_add(block=128)
    raised = None
except RuntimeError as error:
    raised = type(error).__name__
print(json.dumps({"active": jitspan.is_active(), "raised": raised}))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


def run(command: list[object], environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def environment(scripts, receiver, tmp_path: Path) -> dict[str, str]:
    return scripts.environment | receiver.environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"active": False, "raised": None}),
        (["--arm", "now"], {"active": True, "raised": None}),
        (["--arm", "now", "--jit-monitor-mode", "error"], {"active": True, "raised": "UnexpectedCompileError"}),
        (["--arm", "after=60"], {"active": False, "raised": None}),
    ],
)
def test_run_gives_a_program_vllms_flags(program, environment, flags, expected):
    code, stdout, stderr = run([BIN / "jitspan", "run", *flags, "--", sys.executable, program], environment)
    assert (code, json.loads(stdout or "null")) == (0, expected), stderr


def test_run_keeps_the_sitecustomize_that_is_there(program, environment, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins; builtins.own_ran = True")
    program.write_text("import json, jitspan; print(json.dumps([own_ran, jitspan.is_active()]))")
    environment["PYTHONPATH"] = str(own)
    code, stdout, stderr = run([BIN / "jitspan", "run", "--arm", "now", "--", sys.executable, program], environment)
    assert (code, json.loads(stdout or "null")) == (0, [True, True]), stderr


def test_run_says_what_a_shell_says_when_there_is_no_such_program(environment):
    code, _, stderr = run([BIN / "jitspan", "run", "--", "no-such-program"], environment)
    assert code == 127
    assert "no-such-program" in stderr


def test_the_environments_mode_wins_over_the_programs(scripts, receiver):
    finished = scripts.run(
        """
        import json, jitspan, kernels

        jitspan.activate(mode="warn")
        try:
            kernels.launch_add(block=128)
            print("null")
        except jitspan.UnexpectedCompileError:
            print(json.dumps("raised"))
        """,
        env=receiver.environment() | {"JITSPAN_MODE": "error"},
    )
    assert finished.json() == "raised"


@pytest.mark.parametrize("variable", [{}, {"JITSPAN": "0"}, {"OTEL_SDK_DISABLED": "true"}])
def test_a_servers_plugin_prepares_once_and_does_nothing_when_switched_off(scripts, receiver, variable):
    finished = scripts.run(
        """
        import json, sys, jitspan

        before = set(sys.modules)
        path = list(sys.meta_path)
        jitspan._vllm_plugin()
        jitspan._vllm_plugin()
        imported = set(sys.modules) - before
        print(json.dumps([jitspan.is_active(), len(sys.meta_path) - len(path), sorted(imported)]))
        """,
        env=receiver.environment() | variable,
    )
    active, finders, imported = finished.json()
    assert active is False
    assert finders == (0 if variable else 1)
    assert [name for name in imported if name.split(".")[0] in ("torch", "triton", "vllm", "opentelemetry")] == []


def test_what_compiles_before_arming_is_counted_as_warm_up_and_goes_nowhere(scripts, receiver):
    finished = scripts.run(
        """
        import json, jitspan

        jitspan._vllm_plugin()
        import kernels

        kernels.launch_add(block=128)
        jitspan.activate()
        kernels.launch_add(block=256)
        assert jitspan.flush(timeout=10)
        stats = jitspan.stats()
        print(json.dumps([stats["events.warmup"], stats["events.compile"]]))
        """,
        env=receiver.environment(),
    )
    assert finished.json() == [1, 1]
    assert [span["name"] for span in receiver.spans] == ["jit.compile"]


def test_opentelemetry_instrument_installs_and_arms(program, environment):
    instrument = BIN / "opentelemetry-instrument"
    if not instrument.exists():
        pytest.skip("opentelemetry-instrument is not installed: pip install opentelemetry-distro")
    for arm, active in (("now", True), ("manual", False)):
        flags = ["--metrics_exporter", "none", "--logs_exporter", "none", "--traces_exporter", "none"]
        said = environment | {"JITSPAN_ARM": arm}
        code, stdout, stderr = run([instrument, *flags, sys.executable, program], said)
        assert (code, json.loads(stdout or "null")) == (0, {"active": active, "raised": None}), stderr


@pytest.mark.parametrize("arm", ["after=1e10", "after=nan", "after=-1", "later"])
def test_an_arming_that_never_comes_is_refused_at_once_and_nothing_fails_later(scripts, arm):
    finished = scripts.run(
        "import json, jitspan, threading; jitspan._start(); print(json.dumps(threading.active_count()))",
        env={"OTEL_TRACES_EXPORTER": "none", "JITSPAN_ARM": arm},
    )
    assert finished.json() == 1
    assert finished.stderr.strip() == (
        f'JITSPAN_ARM="{arm}": expected now, after=<seconds> (at most 31536000) or manual'
    )
