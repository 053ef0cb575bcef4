"""What a process compiles now stands on the board, and outlives it: `jitspan top`, `jitspan busy`, and the span of
a process that was killed in the middle of a compile."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.records import parent_id, trace_id, traceparent

JITSPAN = Path(sys.executable).with_name("jitspan")

# A kernel that compiles for so many seconds, for request 1. Says when it is armed.
SLOW = f"""
import os, sys, time
from support import fake_triton
fake_triton.install()
import jitspan

def compile_for(seconds, kernel="attention"):
    with jitspan.request({traceparent(1)!r}):
        fake_triton.JITFunction(kernel, seconds).launch("n")

jitspan.activate()
print("armed", flush=True)
"""


def files(scripts: Any) -> list[str]:
    folder = scripts.folder / "board"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def jitspan(scripts: Any, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [JITSPAN, *arguments], env=scripts.environment | env, capture_output=True, text=True, check=False, timeout=60
    )


def top(scripts: Any) -> list[dict[str, Any]]:
    shown = jitspan(scripts, "top", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return found


def compiling(scripts: Any) -> list[str]:
    return [now["kernel"] for row in top(scripts) if row["state"] == "alive" for now in row["compiling"]]


def kill_in_compile(scripts: Any, after: float = 0.0, **env: str) -> int:
    """Returns the pid."""
    process = scripts.start(SLOW + "compile_for(600)\n", env=env)
    wait_until(lambda: "attention" in compiling(scripts))
    time.sleep(after)
    process.kill()
    process.communicate()
    return process.pid


def test_a_process_killed_in_a_compile_is_told_of_by_the_next_start(scripts, receiver) -> None:
    pid = kill_in_compile(scripts, after=2.5)
    assert [row["state"] for row in top(scripts)] == ["ended"]

    started = scripts.run(SLOW, env=receiver.environment()).check()

    assert f"process {pid} (python" in started.stderr
    assert "ended while it compiled attention of triton" in started.stderr
    request, compiled = sorted(receiver.spans, key=lambda span: span["name"])
    assert (request["name"], compiled["name"]) == ("inference", "jit.compile")
    assert {request["trace_id"], compiled["trace_id"]} == {trace_id(1)}
    assert request["parent_span_id"] == parent_id(1)
    assert compiled["parent_span_id"] == request["span_id"]
    for span in (request, compiled):
        assert span["status"] == "ERROR"
        assert span["attributes"]["error.type"] == "process_ended"
        assert 2.0 <= (span["end_ns"] - span["start_ns"]) / 1e9 <= 4.0  # it says each second that it lives
    assert request["attributes"]["jit.ended_process"] == pid
    assert request["attributes"]["jit.kernels"] == "attention"
    assert [event["name"] for event in request["events"]] == ["jit.compile", "exception"]
    (row,) = top(scripts)
    assert (row["state"], row["spans_sent"]) == ("ended", True)


def test_of_six_that_start_at_once_one_sends_the_span(scripts, receiver) -> None:
    kill_in_compile(scripts)
    starting = [scripts.start(SLOW, env=receiver.environment()) for _ in range(6)]
    for process in starting:
        assert process.wait(60) == 0
        process.communicate()

    assert [span["name"] for span in receiver.spans].count("inference") == 1


def test_a_living_process_finds_it_when_it_compiles_itself(scripts, receiver) -> None:
    """Within ten seconds: it looks while something compiles."""
    living = scripts.start(SLOW + "sys.stdin.readline()\ncompile_for(14, 'other')\n", env=receiver.environment())
    assert living.stdout.readline() == "armed\n"
    kill_in_compile(scripts)
    print(file=living.stdin, flush=True)
    _, errors = living.communicate(timeout=60)

    assert "ended while it compiled attention" in errors
    failed = [span for span in receiver.spans if span["status"] == "ERROR"]
    assert sorted(span["name"] for span in failed) == ["inference", "jit.compile"]


def test_another_service_leaves_it_alone(scripts, receiver) -> None:
    kill_in_compile(scripts, OTEL_SERVICE_NAME="one")
    scripts.run(SLOW, env=receiver.environment() | {"OTEL_SERVICE_NAME": "two"}).check()

    assert receiver.spans == []
    assert [row["spans_sent"] for row in top(scripts)] == [False]


def test_a_process_that_ends_in_order_leaves_nothing(scripts) -> None:
    scripts.run(SLOW + "compile_for(0.01)\n").check()
    assert files(scripts) == []


def test_deactivate_takes_the_file_away_and_activate_makes_it_again(scripts) -> None:
    body = """
folder = os.environ["JITSPAN_BOARD"]
counts = [len(os.listdir(folder))]
jitspan.deactivate(); counts.append(len(os.listdir(folder)))
jitspan.activate(); counts.append(len(os.listdir(folder)))
import json; print(json.dumps(counts))
"""
    assert scripts.run(SLOW + body).json() == [1, 0, 1]
    assert files(scripts) == []


@pytest.mark.parametrize("switch", [{"JITSPAN": "0"}, {"OTEL_SDK_DISABLED": "true"}, {"JITSPAN_BOARD": "off"}], ids=str)
def test_switched_off_it_leaves_nothing(scripts, switch) -> None:
    body = """
compile_for(0.3)
import pathlib; print(len(list(pathlib.Path("/dev/shm").glob(f"jitspan-{os.getuid()}/{os.getpid()}-*"))))
"""
    assert scripts.run(SLOW + body, env=switch).json() == 0
    assert files(scripts) == []


def test_it_is_seen_in_warm_up_and_says_why_it_is_not_armed(scripts) -> None:
    script = scripts.folder / "warm.py"
    script.write_text("import time\nprint('here', flush=True)\ntime.sleep(600)\n")
    command = [JITSPAN, "run", "--arm", "manual", "--", sys.executable, str(script)]
    process = subprocess.Popen(command, env=scripts.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "here\n"
        (row,) = top(scripts)
        assert row["armed_since_s"] is None
        assert "warm-up is not over" in row["why_not_armed"]
        assert jitspan(scripts, "busy", "--pid", str(process.pid)).returncode == 1
    finally:
        process.kill()
        process.wait()


def test_a_forked_child_has_a_file_of_its_own_and_does_not_keep_its_parent_alive(scripts, receiver) -> None:
    body = """
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
compile_for(600)
"""
    process = scripts.start(SLOW + body)
    try:
        assert process.stdout.readline() == "armed\n"
        child = int(process.stdout.readline())
        wait_until(lambda: compiling(scripts))
        assert [row["pid"] for row in top(scripts)] == [process.pid]
        process.kill()
        process.wait()
        assert [row["state"] for row in top(scripts)] == ["ended"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    body = """
child = os.fork()
compile_for(0.01)
mine = [name for name in os.listdir(os.environ["JITSPAN_BOARD"]) if name.startswith(f"{os.getpid()}-")]
assert len(mine) == 1, mine
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    scripts.run(SLOW + body, env=receiver.environment()).check()
    assert [name for name in files(scripts) if name.endswith(".board")] == []


def test_a_fork_in_the_middle_of_a_compile_ends_nothing_of_the_parents(scripts) -> None:
    body = """
import threading
thread = threading.Thread(target=compile_for, args=(600,), daemon=True)
thread.start()
time.sleep(0.5)
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("forked", flush=True)
time.sleep(600)
"""
    process = scripts.start(SLOW + body)
    try:
        assert process.stdout.readline() == "armed\n"
        assert process.stdout.readline() == "forked\n"
        assert compiling(scripts) == ["attention"]
    finally:
        process.kill()
        process.communicate()


def test_a_daemon_that_closes_all_descriptors_loses_nothing_and_lives(scripts) -> None:
    """What it opens then has the numbers that ours had."""
    body = """
os.closerange(3, 256)
kept = [open(os.environ["KEPT"] + str(number), "w+") for number in range(8)]
child = os.fork()
if child == 0:
    os._exit(0 if all(os.fstat(file.fileno()) for file in kept) else 1)
assert os.waitpid(child, 0)[1] == 0
compile_for(1.5)
jitspan.deactivate()
jitspan.activate()
for file in kept:
    assert os.fstat(file.fileno()).st_size == 0
    file.write("mine")
    file.flush()
print("well", flush=True)
time.sleep(600)
"""
    process = scripts.start(SLOW + body, env={"KEPT": str(scripts.folder / "kept")})
    try:
        assert process.stdout.readline() == "armed\n"
        assert process.stdout.readline() == "well\n"
        assert [row["state"] for row in top(scripts)] == ["alive"]
    finally:
        process.kill()
        process.communicate()


def no_folder(folder: Path) -> None:
    folder.write_text("a file")


def for_everybody(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def a_strangers(folder: Path) -> None:
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 12345, 12345)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_folder, "it is no folder"),
        (for_everybody, "others may write it"),
        (a_strangers, "it belongs to user 12345"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line_and_everything_else_works(scripts, receiver, spoil, said) -> None:
    spoil(scripts.folder / "board")
    done = scripts.run(SLOW + "compile_for(0.01)\ncompile_for(0.01, 'two')\n", env=receiver.environment()).check()

    assert [said in line for line in done.stderr.splitlines() if "the board" in line] == [True]
    assert [span["name"] for span in receiver.spans].count("inference") == 2
    if (scripts.folder / "board").is_dir():
        assert files(scripts) == []


def test_doctor_says_so_before_the_server_starts(scripts) -> None:
    def warnings() -> list[str]:
        shown = jitspan(scripts, "doctor", "--offline", "--json")
        return [problem["text"] for problem in json.loads(shown.stdout)["problems"] if "board" in problem["text"]]

    assert warnings() == []
    assert not (scripts.folder / "board").exists()
    no_folder(scripts.folder / "board")
    (warning,) = warnings()
    assert "it is no folder" in warning


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("mount -t tmpfs -o size=4k,mode=700 none {board}", "No space left on device"),
        ("mount -t tmpfs -o ro,mode=700 none {board}", "Read-only file system"),
        # No shared memory at all: the next place is taken.
        ("mount -t tmpfs -o ro none /dev/shm && unset JITSPAN_BOARD", None),
    ],
)
def test_a_full_or_read_only_file_system_is_one_line_and_everything_else_works(scripts, receiver, mount, said) -> None:
    board = scripts.folder / "board"
    board.mkdir()
    script = scripts.folder / "script.py"
    show = 'import glob\nprint(len(glob.glob(os.environ["TMPDIR"] + f"/jitspan-*/{os.getpid()}-*.board")))\n'
    script.write_text(SLOW + "compile_for(0.01)\ncompile_for(0.01, 'two')\n" + show)
    temporary = scripts.folder / "tmp"
    temporary.mkdir()
    shell = f'{mount.format(board=board)} || exit 77; exec "{sys.executable}" "{script}"'
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    env = {name: value for name, value in scripts.environment.items() if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", shell],
        env=env | receiver.environment() | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr}")

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "the board" in line]
    assert [said in line for line in lines] == [True] if said else lines == []
    assert done.stdout.splitlines()[-1] == ("0" if said else "1")
    assert [span["name"] for span in receiver.spans].count("inference") == 2


def test_the_gauge_counts_what_goes_on_now(scripts, receiver) -> None:
    env = receiver.environment(metrics=True) | {"OTEL_METRIC_EXPORT_INTERVAL": "100"}
    scripts.run(SLOW + "compile_for(0.6)\ntime.sleep(0.3)\n", env=env).check()

    values = [
        point["value"]
        for point in receiver.metrics
        if point["name"] == "jit.active_compiles" and point["attributes"]["jit.runtime"] == "triton"
    ]
    assert (max(values), values[-1]) == (1, 0)


def on_a_terminal(scripts: Any, *arguments: str, **env: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [JITSPAN, "top", "--interval", "0.2", *arguments],
        env=scripts.environment | {"TERM": "xterm"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def read_for(terminal: int, seconds: float) -> bytes:
    text, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:  # nobody is there any more
                break
    return text


@pytest.mark.parametrize("colors", [True, False])
def test_on_a_terminal_it_is_refreshed_until_ctrl_c_and_leaves_the_screen_as_it_was(scripts, colors) -> None:
    process = scripts.start(SLOW + "compile_for(600)\n")
    try:
        wait_until(lambda: compiling(scripts))
        shown, terminal = on_a_terminal(scripts, **({} if colors else {"NO_COLOR": "1"}))
        text = read_for(terminal, 2)
        shown.send_signal(signal.SIGINT)
        text += read_for(terminal, 2)
        assert shown.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert text.count(b"1 process, 1 of them compiling") >= 3
    assert text.startswith(b"\x1b[?1049h\x1b[?25l")
    assert text.endswith(b"\x1b[?25h\x1b[?1049l")
    assert (b"\x1b[33m" in text) is colors


def test_doctor_says_of_a_process_that_runs_whether_it_is_armed(scripts) -> None:
    process = scripts.start(SLOW + "compile_for(0.2)\nprint('lost', flush=True)\ntime.sleep(600)\n")
    try:
        assert [process.stdout.readline(), process.stdout.readline()] == ["armed\n", "lost\n"]
        found = jitspan(scripts, "doctor", "--pid", str(os.getpid()))
        assert found.returncode == 0, found.stderr
        said = rf"^{process.pid} \S+: jitspan [\d.]+, armed since .*; 1 late compiles so far, 0\.\d+ s$"
        assert re.search(said, found.stdout.strip()), found.stdout
        row = json.loads(jitspan(scripts, "doctor", "--json", "--pid", str(process.pid)).stdout)
        assert row["armed_since_s"]
        assert row["lost"]["compiles"] == 1
    finally:
        process.kill()
        process.communicate()
    nobody = jitspan(scripts, "doctor", "--pid", str(process.pid))
    assert nobody.returncode == 1
    assert "is on the board" in nobody.stderr


def test_busy_is_a_liveness_probe(scripts) -> None:
    assert jitspan(scripts, "busy").returncode == 2
    process = scripts.start(SLOW + "sys.stdin.readline()\ncompile_for(3)\nprint('done', flush=True)\ntime.sleep(600)\n")
    try:
        assert process.stdout.readline() == "armed\n"
        idle = jitspan(scripts, "busy", "--pid", str(process.pid))
        assert (idle.returncode, idle.stdout) == (1, "")
        print(file=process.stdin, flush=True)
        busy = wait_until(lambda: (said := jitspan(scripts, "busy")).returncode == 0 and said)
        assert "triton compile attention for" in busy.stdout
        # What this test has started, with all below it.
        assert jitspan(scripts, "busy", "--pid", str(os.getpid())).returncode == 0
        assert process.stdout.readline() == "done\n"
        assert jitspan(scripts, "busy", "--pid", str(process.pid)).returncode == 1
    finally:
        process.kill()
        process.communicate()
