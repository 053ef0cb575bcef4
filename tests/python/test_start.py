"""Programs that know nothing of jitspan: `jitspan run`, and `opentelemetry-instrument` where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
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


def test_run_lets_an_error_in_the_users_own_sitecustomize_be_told_as_python_tells_it(program, environment, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    program.write_text("import json, sys, jitspan; print(json.dumps([jitspan.is_active(), sys.path]))")
    environment["PYTHONPATH"] = str(own)
    for source in ("import no_such_module", "raise ImportError('mine')", "1 / 0"):
        (own / "sitecustomize.py").write_text(source)
        alone = run([sys.executable, "-c", ""], environment)
        code, stdout, stderr = run([BIN / "jitspan", "run", "--arm", "now", "--", sys.executable, program], environment)
        active, path = json.loads(stdout)
        assert (code, active) == (0, True)
        # `jitspan` is a Python program itself.
        assert stderr == 2 * alone[2] != ""
        assert str(own) in path


@pytest.fixture
def places(tmp_path: Path, environment: dict[str, str]) -> tuple[Path, Path]:
    """A cache and a place for temporary files, both private."""
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "tmp").mkdir(mode=0o700)
    environment["TMPDIR"] = str(tmp_path / "tmp")
    return tmp_path / "cache", tmp_path / "tmp"


WHERE = "import jitspan, sitecustomize; print(sitecustomize.__file__)"


def where(environment: dict[str, str]) -> Path:
    command = [BIN / "jitspan", "run", "--", sys.executable, "-c", WHERE]
    code, stdout, stderr = run(command, environment)
    assert (code, stderr) == (0, "")
    return Path(stdout.strip())


def test_run_keeps_its_file_in_the_cache_and_writes_it_once(environment, places):
    cache, temporary = places
    first = where(environment)
    written = first.stat().st_mtime_ns
    assert cache in first.parents
    assert where(environment) == first
    assert first.stat().st_mtime_ns == written
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("who", ["folder", "parent", "cache"])
def test_run_imports_nothing_that_others_could_have_planted(environment, places, who):
    cache, temporary = places
    folder = where(environment).parent
    # A module of the standard library that `site` does not import.
    (folder / "json.py").write_text("print('planted')")
    changed = {"folder": folder, "parent": folder.parent, "cache": cache}[who]
    changed.chmod(0o777)
    assert temporary in where(environment).parents
    code, stdout, _ = run([BIN / "jitspan", "run", "--", sys.executable, "-c", "import json"], environment)
    assert (code, stdout) == (0, "")


@pytest.mark.usefixtures("places")
def test_run_does_not_wait_for_a_fifo(environment):
    file = where(environment)
    file.unlink()
    os.mkfifo(file)
    assert where(environment) == file
    assert file.is_file()


@pytest.mark.parametrize("cache", ["relative", "/tmp/with:colon", "/proc/no/such/place"])
def test_run_works_without_a_cache_that_can_be_used(environment, places, tmp_path, cache):
    _, temporary = places
    environment |= {"XDG_CACHE_HOME": cache, "HOME": "/proc/nowhere"}
    assert temporary in where(environment).parents
    assert not (tmp_path / "relative").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--arm", "foo", "--", "true"], 2, "--arm"),
        (["run", "--jit-monitor-mode", "loud", "--", "true"], 2, "warn, error"),
        (["run"], 2, "COMMAND"),
        (["run", "--port", "80", "serve"], 2, "put `--` before the command"),
        (["veiw"], 2, "'view'"),
        (["completions", "tcsh"], 2, "bash, zsh, fish"),
        (["man", "veiw"], 2, "veiw"),
        (["run", "--", "/"], 126, "Permission denied"),
        (["run", "--", "no-such-program"], 127, "No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_the_documented_status(environment, arguments, code, said):
    status, stdout, stderr = run([BIN / "jitspan", *arguments], environment)
    assert (status, stdout) == (code, "")
    [line] = stderr.splitlines()
    assert line.startswith("jitspan")
    assert said in line


def test_run_takes_a_program_without_dashes_and_ends_as_it_ends(environment):
    code, _, _ = run([BIN / "jitspan", "run", "--arm", "now", sys.executable, "-c", "raise SystemExit(7)"], environment)
    assert code == 7


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["run", "--help"], ["man"], ["man", "view"]])
def test_what_is_asked_for_is_printed_and_ends_with_0(environment, arguments):
    code, stdout, stderr = run([BIN / "jitspan", *arguments], environment)
    assert (code, stderr) == (0, "")
    assert "jitspan" in stdout
    assert "\x1b" not in stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_read_by_their_shell(environment, tmp_path, shell):
    code, stdout, _ = run([BIN / "jitspan", "completions", shell], environment)
    assert (code, "doctor" in stdout) == (0, True)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: what it makes of its completions was not tried")
    file = tmp_path / "completions"
    file.write_text(stdout)
    code, _, stderr = run([shell, "-n", file], environment)
    assert (code, stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_viewer_in_order(environment, number):
    command = [BIN / "jitspan", "view", "--grpc-port", "0", "--http-port", "0"]
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as viewer:
        assert "listening" in viewer.stderr.readline()
        viewer.send_signal(number)
        stdout, stderr = viewer.communicate(timeout=30)
    assert (viewer.returncode, stdout, stderr) == (0, "", "jitspan view: 0 traces, 0 with a stall\n")


def test_pythons_own_handler_is_back_after_the_viewer(scripts):
    finished = scripts.run(
        """
        import os, signal, threading, jitspan

        def interrupt():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Timer(1, interrupt).start()
        print(jitspan.main(["jitspan", "view", "--grpc-port", "0", "--http-port", "0"]))
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert finished.check().stdout == "0\ninterrupted\n"


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
        f'jitspan stays switched off: JITSPAN_ARM="{arm}": expected now, manual, or after=<seconds> '
        "with at most 604800 seconds, a week"
    )
